# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Finding pictures in folders, and decoding them into 8-bit RGB."""
import os
from pathlib import Path
from typing import List, Sequence, Union

import cv2
import numpy as np
from mmengine.fileio import get

from srdensenet_mm.errors import UserError

# What OpenCV reads on every platform.
EXTENSIONS = frozenset({
    '.png', '.jpg', '.jpeg', '.jpe', '.jp2', '.bmp', '.dib', '.tif', '.tiff', '.webp', '.ppm',
    '.pgm', '.pbm', '.pnm', '.ras', '.sr'
})


def find_pictures(folders: Union[str, Path, Sequence[Union[str, Path]]]) -> List[Path]:
    """The pictures in folders and all folders below them, sorted.

    Links to folders are followed; a folder met twice (a loop of links) is
    entered once. Hidden files and folders are passed over.

    Args:
        folders (str | Path | Sequence): One folder or several.

    Returns:
        List[Path]: Files whose ending is one of OpenCV's picture formats.

    Raises:
        UserError: A folder is missing or holds no picture.
    """
    if isinstance(folders, (str, Path)):
        folders = [folders]
    found: List[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(f'{folder}: no such folder of pictures')
        inside = sorted(_walk(folder))
        if not inside:
            raise UserError(f'{folder}: holds no picture '
                            f'({", ".join(sorted(EXTENSIONS))} are looked for)')
        found.extend(inside)
    return found


def _walk(folder: Path):
    entered = set()
    for root, subfolders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in entered:
            subfolders.clear()
            continue
        entered.add(real)
        subfolders[:] = [name for name in subfolders if not name.startswith('.')]
        for name in files:
            if not name.startswith('.') and Path(name).suffix.lower() in EXTENSIONS:
                yield Path(root) / name


def read_rgb(path: Union[str, Path]) -> np.ndarray:
    """Decode a picture into 8-bit RGB.

    Grayscale becomes three equal channels, alpha is dropped, 16 bits become 8
    by dividing by 257 and rounding, palette and CMYK are what OpenCV makes of
    them. EXIF orientation is not applied: crops for training do not need it,
    and prepared sets must keep the file's own pixels.

    Args:
        path (str | Path): The file.

    Returns:
        np.ndarray: uint8, shape (H, W, 3), RGB.

    Raises:
        UserError: The file cannot be read or is no whole picture.
    """
    try:
        content = get(str(path))
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror or error})') from error
    if not content:
        raise UserError(f'{path}: is empty (0 bytes)')
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise UserError(f'{path}: OpenCV cannot decode it ({error.err})') from error
    if image is None:
        raise UserError(f'{path}: is no picture that OpenCV reads, or is damaged')
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif image.dtype != np.uint8:
        raise UserError(f'{path}: holds {image.dtype} values, give 8 or 16 bits a channel')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
