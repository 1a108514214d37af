# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Folders to write to, and files of which no reader ever meets half."""
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UserError

# In the name of a file that is being written, before its suffix.
_MARK = '.half-written'
# How network shares and object stores say that they do not know an operation.
_REFUSALS = {errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP,
             errno.EOPNOTSUPP, errno.ENOTTY}


def make_folder(path: str | Path) -> None:
    """Make a folder, where it is not there, before anything is computed for it.

    Raises:
        UserError: It cannot be made or written to.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{path}: cannot be made ({error.strerror})') from error
    try:
        # os.access() knows neither quotas nor what a server allows.
        trial = _new_file(path / 'trial')
    except OSError as error:
        raise UserError(f'{path}: cannot be written to ({error.strerror})') from error
    with suppress(OSError):
        trial.unlink()


def same_file(one: str | Path, other: str | Path) -> bool:
    """Whether two names mean one file, which need not be there."""
    return os.path.realpath(one) == os.path.realpath(other) or (
        os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other))


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Write a file that appears whole or not at all.

    ::

        with atomic_write('out/image.png') as temporary:
            cv2.imwrite(str(temporary), image)

    Permissions, flushing to the disk and renaming are left out where the file
    system does not know them. Without renaming, the whole file is copied to its
    place: only a kill during this copy leaves half of it.

    Args:
        path (str | Path): The file to write. Missing folders above it are
            made. A file already there is replaced at the end, and kept where
            writing fails.

    Yields:
        Path: A new, empty, hidden file in the same folder, with the same
        suffix, to be written instead. It becomes ``path`` when the block ends;
        where the block raises, it is removed.

    Raises:
        UserError: The folder cannot be made or written to, ``path`` is a
            folder, or the disk is full (an ``OSError`` of the block is taken
            for a failure to write ``path``).
    """
    path = Path(path)
    temporary = None
    try:
        if path.is_dir():
            raise UserError(f'{path}: is a folder, give a file name')
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _new_file(path)
        yield temporary
        with open(temporary, 'rb') as file:
            _flush(file)
        _move(temporary, path)
    except OSError as error:
        raise UserError(f'{path}: cannot be written ({error.strerror or error})') from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


def _new_file(path: Path) -> Path:
    """Make a hidden file of the same suffix beside another, with the permissions of the folder."""
    # Not by tempfile, whose files are private until their permissions are changed.
    file = path.with_name(f'.{path.stem[:32]}-{uuid.uuid4().hex[:12]}{_MARK}{path.suffix}')
    file.touch(exist_ok=False)
    return file


def _flush(file) -> None:
    """Have what was written reach the disk, where the file system can tell that it does."""
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in _REFUSALS:  # a full disk may show here first
            raise


def _move(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
        return
    except OSError as error:
        if error.errno not in _REFUSALS | {errno.EEXIST}:
            raise
    with open(source, 'rb') as read, open(target, 'wb') as write:
        try:
            shutil.copyfileobj(read, write)
            write.flush()
            _flush(write)
        except BaseException:
            with suppress(OSError):
                target.unlink()
            raise


def remove_half_written(folder: str | Path, suffix: str) -> None:
    """Remove what :func:`atomic_write` left where its process was killed.

    Args:
        folder (str | Path): Where nobody else is writing.
        suffix (str): Of the files, such as ``'.pth'``.
    """
    for path in Path(folder).glob(f'.*{_MARK}{suffix}'):
        path.unlink(missing_ok=True)
