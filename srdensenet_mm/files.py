# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Folders to write to, and files of which no reader ever meets half."""
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UserError

# In the name of a file that is being written, before its suffix.
_MARK = '.half-written'
# The process' file mask can only be read by setting it, which no other thread may see.
_UMASK = os.umask(0o077)
os.umask(_UMASK)


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
    if not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f'{path}: cannot be written to')


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
        handle, name = tempfile.mkstemp(
            prefix=f'.{path.stem[:32]}-', suffix=_MARK + path.suffix, dir=path.parent)
        temporary = Path(name)
        os.close(handle)
        yield temporary
        # mkstemp makes private files; give the permissions that open() would.
        temporary.chmod(0o666 & ~_UMASK)
        with open(temporary, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f'{path}: cannot be written ({error.strerror or error})') from error
    finally:
        if temporary is not None:
            with suppress(FileNotFoundError):
                temporary.unlink()


def remove_half_written(folder: str | Path, suffix: str) -> None:
    """Remove what :func:`atomic_write` left where its process was killed.

    Args:
        folder (str | Path): Where nobody else is writing.
        suffix (str): Of the files, such as ``'.pth'``.
    """
    for path in Path(folder).glob(f'.*{_MARK}{suffix}'):
        path.unlink(missing_ok=True)
