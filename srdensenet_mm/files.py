# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Writing files so that no reader ever meets half of one."""
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UserError

# The process' file mask can only be read by setting it, which no other thread may see.
_UMASK = os.umask(0o077)
os.umask(_UMASK)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Write a file that appears whole or not at all.

    ::

        with atomic_write('out/picture.png') as temporary:
            cv2.imwrite(str(temporary), picture)

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
            prefix=f'.{path.stem[:32]}-', suffix=path.suffix, dir=path.parent)
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
