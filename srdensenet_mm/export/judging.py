# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Pairs of LR and HR images for measuring an exported model's PSNR."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from srdensenet_mm.errors import UserError
from srdensenet_mm.images.matlab_bicubic import matlab_bicubic
from srdensenet_mm.images.reading import find_images, read_rgb
from srdensenet_mm.models.colour import luma_of

MAX_IMAGES = 32
# LR pixels to a side: only the middle of an image is used.
_SIDE = 96

Pair = tuple[np.ndarray, np.ndarray]


def image_pairs(pictures: Sequence[str | Path], colour: str, scale: int) -> list[Pair]:
    """Read images as pairs of a graph's input and its ideal output.

    LR is MATLAB's bicubic of the image, as in the field's scores.

    Args:
        pictures (Sequence[str | Path]): Image files, or folders of them.
        colour (str): The graph's colour, ``'y'`` or ``'rgb'``.
        scale (int): How many times smaller LR is.

    Returns:
        list[tuple]: LR and HR of up to 32 images, spread over all of them.
        float32, shape (1, C, h, w) and (1, C, scale * h, scale * w), 0..1.

    Raises:
        UserError: A file is no image, there is none, or one is too small.
    """
    files = [file for path in map(Path, pictures) for file in _files(path)]
    chosen = np.linspace(0, len(files) - 1, min(len(files), MAX_IMAGES)).round().astype(int)
    return [_read(files[i], colour, scale) for i in chosen]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return find_images(path)
    if not path.exists():
        raise UserError(f'{path}: there is no such image or folder')
    return [path]


def _read(file: Path, colour: str, scale: int) -> Pair:
    high = read_rgb(file)
    sides = [min(side // scale, _SIDE) * scale for side in high.shape[:2]]
    if min(sides) < 4 * scale:
        raise UserError(f'{file}: {high.shape[1]}x{high.shape[0]} pixels is too small to judge by, '
                        f'{4 * scale} to a side are needed')
    top, left = ((have - side) // 2 for have, side in zip(high.shape[:2], sides, strict=True))
    high = high[top:top + sides[0], left:left + sides[1]]
    return _to_graph(matlab_bicubic(high, scale), colour), _to_graph(high, colour)


def _to_graph(rgb: np.ndarray, colour: str) -> np.ndarray:
    values = torch.from_numpy(rgb.astype(np.float32)).permute(2, 0, 1)[None] / 255
    return (luma_of(values) if colour == 'y' else values).contiguous().numpy()
