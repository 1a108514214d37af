# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Images from which quantisation learns the ranges of a network's maps."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from srdensenet_mm.errors import UserError
from srdensenet_mm.images.files import read_image
from srdensenet_mm.images.reading import find_images
from srdensenet_mm.images.tensors import as_image, to_float
from srdensenet_mm.images.transparency import fill_hidden
from srdensenet_mm.models.colour import luma_of

MAX_IMAGES = 32
# Of each image, the middle: LR pixels.
_SIDE = 96


def lr_batches(pictures: Sequence[str | Path], colour: str) -> list[np.ndarray]:
    """Read images as a graph's inputs.

    Args:
        pictures (Sequence[str | Path]): Image files, or folders of them, of
            the size and kind that is to be upscaled.
        colour (str): ``'y'`` or ``'rgb'``, what the graph reads.

    Returns:
        list[np.ndarray]: The middle of up to 32 images, spread over all that
        there are; float32, shape (1, C, h, w), 0..1.

    Raises:
        UserError: A file is no image, or there are less than two.
    """
    files = [file for path in map(Path, pictures) for file in _files(path)]
    if len(files) < 2:
        raise UserError(f'{", ".join(map(str, pictures))}: give two images at least, one to '
                        'learn from and one to judge by')
    chosen = np.linspace(0, len(files) - 1, min(len(files), MAX_IMAGES)).round().astype(int)
    return [_read(files[i], colour).numpy() for i in chosen]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return find_images(path)
    if not path.exists():
        raise UserError(f'{path}: there is no such image or folder')
    return [path]


def _read(file: Path, colour: str) -> Tensor:
    image = fill_hidden(as_image(read_image(file).pixels))
    top, left = (max(0, (size - _SIDE) // 2) for size in image.shape[:2])
    part = to_float(image, slice(top, top + _SIDE), slice(left, left + _SIDE), 'cpu')
    colours = part[:, :3]  # without alpha
    return luma_of(colours) if colour == 'y' else colours.expand(-1, 3, -1, -1).contiguous()
