# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Checkpoints of earlier trainings in a work folder."""
import json
import logging
import os
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.logging import print_log

from srdensenet_mm.checkpoints.reading import read_content
from srdensenet_mm.errors import UserError
from srdensenet_mm.files import atomic_write

# Lists the names and times of the checkpoints that were there when a new training started.
_EARLIER = '.earlier_checkpoints.json'


def mark_earlier_checkpoints(work_dir: str) -> None:
    """Mark the checkpoints of earlier trainings before a new one starts.

    They stay where they are, but :func:`find_whole_checkpoint` ignores them
    from now on. Every process may call this; the first one acts.
    """
    folder = Path(work_dir)
    if not is_main_process() or '://' in work_dir:
        return
    # It may name a checkpoint in another folder.
    (folder / 'last_checkpoint').unlink(missing_ok=True)
    earlier = _checkpoints(folder)
    if not earlier:
        return
    with atomic_write(folder / _EARLIER) as temporary:
        temporary.write_text(json.dumps(
            {path.name: path.stat().st_mtime_ns for path in earlier}))
    print_log(f'{work_dir} holds checkpoints of an earlier training ({earlier[0].name}, ...); '
              'this one starts from the beginning and overwrites those of the same names',
              'current', logging.WARNING)


def find_whole_checkpoint(work_dir: str) -> str | None:
    """The newest checkpoint in a work folder that can be read to its end.

    Args:
        work_dir (str): Where a Runner has saved.

    Returns:
        str or None: The checkpoint that ``last_checkpoint`` names, if it is
        whole. Else (it was damaged, or the folder moved) the newest whole
        ``iter_*.pth`` or ``epoch_*.pth``. None where there is no checkpoint.

    Raises:
        UserError: There are checkpoints, but none is whole, or all belong to an
            earlier training.
    """
    folder = Path(work_dir)
    checkpoints = _checkpoints(folder)
    candidates = [path for path in checkpoints if not _is_earlier(path)]
    try:
        text = os.fsdecode((folder / 'last_checkpoint').read_bytes()).strip()
    except OSError:
        text = ''
    if '://' in text:  # in a store, where an object is whole
        return text
    if text:
        named = Path(text)
        if not named.is_file():
            named = folder / named.name
        if named.is_file():
            candidates = [named, *(path for path in candidates if path.name != named.name)]
    if checkpoints and not candidates:
        raise UserError(
            f'{work_dir}: the training begun there last has saved no checkpoint yet; go on from '
            f'an earlier one, e.g. --resume {checkpoints[0]}, or start again, without --resume')
    first_error = None
    for candidate in candidates:
        try:
            read_content(candidate)
        except UserError as error:
            print_log(f'{error}; trying an older one', 'current', logging.WARNING)
            first_error = first_error or error
        else:
            return str(candidate)
    if first_error is not None:
        raise UserError(f'{first_error}; {work_dir} has no whole checkpoint to resume from: start '
                        'again, without --resume')
    return None


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints that a training can resume from, the newest first."""
    return sorted([*folder.glob('iter_*.pth'), *folder.glob('epoch_*.pth')],
                  key=lambda path: path.stat().st_mtime, reverse=True)


def _is_earlier(path: Path) -> bool:
    try:
        earlier = json.loads((path.parent / _EARLIER).read_text())
        return earlier.get(path.name) == path.stat().st_mtime_ns
    except (OSError, ValueError, AttributeError):
        return False
