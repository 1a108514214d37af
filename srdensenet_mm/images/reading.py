# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Images for training and scoring: finding them in folders, reading them as 8-bit RGB."""
import functools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.logging import print_log

from srdensenet_mm.errors import UserError

from .files import read_image
from .folders import take_images, walk_files

# By the number of channels.
_TO_RGB = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
# Skipped images that are named, for each folder. The others are counted.
_NAMED = 3


def find_images(folders: str | Path | Sequence[str | Path]) -> list[Path]:
    """The images in folders and all folders below them, sorted within each.

    Links to folders are followed. A folder found twice (a loop of links) is
    entered once. Hidden files and folders are left out. Images of unsupported
    formats are skipped, with a log line.

    Args:
        folders (str | Path | Sequence): One folder or several.

    Returns:
        list[Path]: Files whose ending, or else whose content, is that of an
        image.

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
            raise UserError(f'{folder}: no such folder; give one with high-resolution images '
                            '(PNG, JPEG, ...), which may lie in folders of their own')
        inside, passed_over = take_images(walk_files(folder))
        reasons = [f'{path}: {why}' for path, why in passed_over.items()]
        if not inside:
            raise UserError(f'{folder}: holds no image that can be read; put high-resolution '
                            'images into it (PNG, JPEG, TIFF, WebP, ...)'
                            + (f' ({reasons[0]})' if reasons else ''))
        if reasons:
            more = f'; and {len(reasons) - _NAMED} more' if len(reasons) > _NAMED else ''
            _log_once(f'{folder}: {len(reasons)} images are passed over: '
                      f'{"; ".join(reasons[:_NAMED])}{more}')
        found.extend(inside)
    return found


def read_rgb(path: str | Path) -> np.ndarray:
    """Decode an image into 8-bit RGB.

    As :func:`~srdensenet_mm.images.files.read_image` reads it, with these changes:

    - Grayscale becomes three equal channels (Set14's ``img_003``).
    - Alpha is dropped: the colours below it stay, nothing is blended.
    - 16 bits become 8: divided by 257 and rounded.
    - ICC profiles, gamma and similar data are ignored.
    - The first of several frames or pages is read, with one log line.

    Args:
        path (str | Path): The file.

    Returns:
        np.ndarray: uint8, shape (H, W, 3), RGB, 0..255.

    Raises:
        UserError: The file cannot be read, is no image, is damaged, holds
            floating-point values, or is of a kind that would not be decoded
            correctly.
    """
    found = read_image(path, pixels_only=True)
    for note in found.notes:
        _log_once(note)
    image = found.pixels
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return cv2.cvtColor(image, _TO_RGB[1 if image.ndim == 2 else image.shape[2]])


@functools.lru_cache(maxsize=10_000)
def _log_once(line: str) -> None:
    print_log(line, 'current', logging.WARNING)
