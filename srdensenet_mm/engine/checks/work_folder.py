# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What earlier trainings have left in a work folder."""
import json
import logging
import os
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.logging import print_log

from srdensenet_mm.checkpoints.reading import read_checkpoint
from srdensenet_mm.errors import UserError
from srdensenet_mm.files import atomic_write

# The names and times of the checkpoints that were there when a training began anew.
_EARLIER = '.earlier_checkpoints.json'


def begin_anew(work_dir: str) -> None:
    """Set the checkpoints of earlier trainings apart from those that are to come.

    They stay where they are, but :func:`find_whole_checkpoint` does not take
    them for the new training's. To be called by every process.
    """
    folder = Path(work_dir)
    if not is_main_process() or '://' in work_dir:
        return
    # What it names may lie in another folder.
    (folder / 'last_checkpoint').unlink(missing_ok=True)
    earlier = _checkpoints(folder)
    if not earlier:
        return
    with atomic_write(folder / _EARLIER) as temporary:
        temporary.write_text(json.dumps(
            {path.name: path.stat().st_mtime_ns for path in earlier}))
    print_log(f'{work_dir} holds checkpoints of an earlier training ({earlier[0].name}, ...); '
              'this one begins anew and writes over those of the same names',
              'current', logging.WARNING)


def find_whole_checkpoint(work_dir: str) -> str | None:
    """The newest checkpoint in a work folder that can be read to its end.

    Args:
        work_dir (str): Where a Runner has saved.

    Returns:
        str or None: What ``last_checkpoint`` names, if it is whole. Else (it
        was damaged, or the folder moved) the newest ``iter_*.pth`` or
        ``epoch_*.pth`` that is. None where there has been none at all.

    Raises:
        UserError: There are checkpoints, but none is whole, or all are those of
            an earlier training.
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
            f'an earlier one, e.g. --resume {checkpoints[0]}, or begin anew, without --resume')
    first_error = None
    for candidate in candidates:
        try:
            read_checkpoint(candidate)
        except UserError as error:
            print_log(f'{error}; trying an older one', 'current')
            first_error = first_error or error
        else:
            return str(candidate)
    if first_error is not None:
        raise UserError(f'{first_error}; {work_dir} has no whole checkpoint to resume from: train '
                        'anew, without --resume')
    return None


def _checkpoints(folder: Path) -> list[Path]:
    """Those that a training can go on from, the newest first."""
    return sorted([*folder.glob('iter_*.pth'), *folder.glob('epoch_*.pth')],
                  key=lambda path: path.stat().st_mtime, reverse=True)


def _is_earlier(path: Path) -> bool:
    try:
        earlier = json.loads((path.parent / _EARLIER).read_text())
        return earlier.get(path.name) == path.stat().st_mtime_ns
    except (OSError, ValueError, AttributeError):
        return False
