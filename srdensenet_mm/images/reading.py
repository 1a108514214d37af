# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Finding images in folders, and decoding them into 8-bit RGB."""
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.fileio import get

from srdensenet_mm.errors import UserError

from .decoding import decode
from .folders import EXTENSIONS, walk_images

# By the number of channels.
_TO_RGB = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}


def find_images(folders: str | Path | Sequence[str | Path]) -> list[Path]:
    """The images in folders and all folders below them, sorted within each.

    Links to folders are followed; a folder met twice (a loop of links) is
    entered once. Hidden files and folders are passed over.

    Args:
        folders (str | Path | Sequence): One folder or several.

    Returns:
        list[Path]: Files whose ending is one of OpenCV's image formats.

    Raises:
        UserError: A folder is missing, cannot be listed or holds no image.
    """
    if isinstance(folders, (str, Path)):
        folders = [folders]
    if not folders or '' in folders:
        # An empty name would mean the current folder, with all that is below it.
        raise UserError("no folder of images was given, or '' for one")
    found: list[Path] = []
    for folder in map(Path, folders):
        if not os.path.isdir(folder):
            raise UserError(f'{folder}: no such folder; it is to hold high-resolution images '
                            '(PNG, JPEG, ...), in folders of their own if you like')
        try:
            inside = sorted(walk_images(folder))
        except OSError as error:
            raise UserError(f'{error.filename}: cannot be listed ({error.strerror})') from error
        if not inside:
            raise UserError(f'{folder}: holds no image; put high-resolution images into it '
                            f'({", ".join(sorted(EXTENSIONS))})')
        found.extend(inside)
    return found


def read_rgb(path: str | Path) -> np.ndarray:
    """Decode an image into 8-bit RGB.

    - Grayscale becomes three equal channels (Set14's ``img_003``).
    - Alpha is dropped: the colours below it stay, nothing is blended.
    - 16 bits become 8: divided by 257 and rounded.
    - PGMs, PPMs and JPEG 2000 files of another highest value are rescaled to 255.
    - Palettes and CMYK JPEGs become what OpenCV makes of them.
    - The EXIF orientation is applied, as OpenCV does by default.
    - Of an animation or several pages, the first image counts.

    Args:
        path (str | Path): The file.

    Returns:
        np.ndarray: uint8, shape (H, W, 3), RGB, 0..255.

    Raises:
        UserError: The file cannot be read, is no image, is damaged, holds
            floating-point values, or is of a kind that would not be read
            rightly.
    """
    try:
        content = get(str(path))
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror or error})') from error
    if not content:
        raise UserError(f'{path}: is empty (0 bytes)')
    image = decode(path, content, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif image.dtype != np.uint8:
        raise UserError(f'{path}: holds {image.dtype} values; give 8 or 16 bits a channel')
    return cv2.cvtColor(image, _TO_RGB[1 if image.ndim == 2 else image.shape[2]])
