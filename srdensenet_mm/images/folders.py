# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Which files are images, by their names, and where they lie in folders."""
import os
from collections.abc import Iterator
from pathlib import Path

# Of the formats that OpenCV reads on every platform.
EXTENSIONS = frozenset({
    '.png', '.jpg', '.jpeg', '.jpe', '.jp2', '.bmp', '.dib', '.tif', '.tiff', '.webp', '.ppm',
    '.pgm', '.pbm', '.pnm', '.ras', '.sr'
})


def is_image(path: Path) -> bool:
    """Whether a file's ending is one of OpenCV's image formats."""
    return path.suffix.lower() in EXTENSIONS


def walk_images(folder: str | Path, left_out: str | Path | None = None) -> Iterator[Path]:
    """The images in a folder and all folders below it.

    Links to folders are followed; a folder met twice (a loop of links) is
    entered once. Hidden files and folders are passed over.

    Args:
        folder (str | Path): Where to search.
        left_out (str | Path, optional): A folder that is not entered.

    Raises:
        OSError: A folder cannot be listed.
    """
    entered = set() if left_out is None else {os.path.realpath(left_out)}
    for root, subfolders, files in os.walk(folder, followlinks=True, onerror=_raise):
        real = os.path.realpath(root)
        if real in entered:
            subfolders.clear()
            continue
        entered.add(real)
        # Sorted: which of two ways to one folder is taken must not be the file system's whim.
        subfolders[:] = sorted(name for name in subfolders if not name.startswith('.'))
        for name in files:
            path = Path(root, name)
            if not name.startswith('.') and is_image(path):
                yield path


def _raise(error: OSError) -> None:
    raise error
