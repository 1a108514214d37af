# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Folders to write to, and files that no reader ever finds half-written."""
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UserError, naming

# In the name of a file that is being written, before its suffix.
_MARK = '.half-written'
# Error numbers of network shares and object stores for operations that they lack.
_REFUSALS = {errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP,
             errno.EOPNOTSUPP, errno.ENOTTY}


def make_folder(path: str | Path) -> None:
    """Make a folder where it is missing, and check that it can be written to.

    Raises:
        UserError: It cannot be made or written to.
    """
    path = Path(path)
    with naming(path, 'cannot be made'):
        path.mkdir(parents=True, exist_ok=True)
    with naming(path, 'cannot be written to'):
        # os.access() considers neither quotas nor a server's permissions.
        trial = _new_file(path / 'trial')
    with suppress(OSError):
        trial.unlink()


def path_from_here(path: str | Path) -> str:
    """A path as seen from the working folder where it lies below that, else as it is."""
    try:
        return str(Path(os.path.abspath(path)).relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def same_file(one: str | Path, other: str | Path) -> bool:
    """Whether two names mean the same file, which may be missing."""
    return os.path.realpath(one) == os.path.realpath(other) or (
        os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other))


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Write a file that appears whole or not at all.

    ::

        with atomic_write('out/image.png') as temporary:
            cv2.imwrite(str(temporary), image)

    Some file systems have no permissions, no flushing to the disk or no
    renaming: these steps are then left out. Without renaming, the whole file is
    copied to its place. Only a kill during this copy leaves half of it.

    Args:
        path (str | Path): The file to write. Missing folders above it are
            made. An existing file is replaced at the end, and kept where
            writing fails.

    Yields:
        Path: A new, empty, hidden file in the same folder, with the same
        suffix. Write to it instead. It becomes ``path`` when the block ends. If
        the block raises, it is removed.

    Raises:
        UserError: The folder cannot be made or written to, ``path`` is a
            folder, or the disk is full. (Any ``OSError`` of the block counts as
            a failure to write ``path``.)
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
    # Not with tempfile: its files are private until their permissions are changed.
    file = path.with_name(f'.{path.stem[:32]}-{uuid.uuid4().hex[:12]}{_MARK}{path.suffix}')
    file.touch(exist_ok=False)
    return file


def _flush(file) -> None:
    """Write a file's data through to the disk, where the file system supports it."""
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
    with suppress(OSError):
        shutil.copystat(source, target)


def remove_half_written(folder: str | Path, suffix: str) -> None:
    """Remove temporary files of :func:`atomic_write` after its process was killed.

    Args:
        folder (str | Path): A folder that no other process is writing to.
        suffix (str): The files' suffix, such as ``'.pth'``.
    """
    for path in Path(folder).glob(f'.*{_MARK}{suffix}'):
        path.unlink(missing_ok=True)
