# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Between a picture as OpenCV reads it and the numbers that networks work on.

All of it works on parts of a picture, so that a large one never exists in
floats as a whole.
"""
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from srdensenet_mm.errors import UserError
from srdensenet_mm.models.colour import rgb_to_ycbcr
from srdensenet_mm.models.luma import join_luma, luma_of

from .networks import Upscaling

# Pixels that bicubic interpolation reads beyond those around a point.
_BICUBIC_REACH = 2


def check_picture(image: np.ndarray) -> None:
    """Refuse what is no picture.

    Raises:
        UserError: The array is empty, has another type than uint8 and uint16,
            or another shape than (H, W), (H, W, 1), (H, W, 3) and (H, W, 4).
    """
    if not isinstance(image, np.ndarray):
        raise UserError(f'a picture is a NumPy array as cv2.imread gives it, '
                        f'not {type(image).__name__}')
    if image.dtype not in (np.uint8, np.uint16):
        raise UserError(f'pictures of {image.dtype} are not supported: '
                        'convert to uint8 (0..255) or uint16 (0..65535)')
    if image.ndim not in (2, 3) or image.ndim == 3 and image.shape[2] not in (1, 3, 4):
        raise UserError(f'a picture of shape {image.shape} is not supported: expected (H, W), '
                        '(H, W, 1) grayscale, (H, W, 3) BGR or (H, W, 4) BGRA')
    if image.size == 0:
        raise UserError(f'the picture is empty, its shape is {image.shape}')


def to_float(image: np.ndarray, rows: slice, cols: slice, device: torch.device) -> Tensor:
    """A part of a picture (H, W, C) as floats 0..1, shape (1, C, h, w), RGB(A)."""
    part = image[rows, cols]
    if part.shape[2] >= 3:
        part = part[..., [2, 1, 0, *range(3, part.shape[2])]]
    part = torch.from_numpy(part.astype(np.float32)).to(device)
    return (part / np.iinfo(image.dtype).max).permute(2, 0, 1)[None]


def to_integer(values: Tensor, dtype: np.dtype) -> np.ndarray:
    """Floats 0..1, shape (1, C, h, w), as a part of a picture (h, w, C), RGB(A) to BGR(A)."""
    values = (values[0].clamp(0, 1) * np.iinfo(dtype).max).round_().permute(1, 2, 0)
    part = values.cpu().numpy().astype(dtype)
    return part[..., [2, 1, 0, *range(3, part.shape[2])]] if part.shape[2] >= 3 else part


def network_inputs(colours: Tensor, model: Upscaling) -> Tensor:
    """What a network reads for a part of a picture.

    Args:
        colours (Tensor): RGB or grayscale, shape (1, 3 | 1, h, w), 0..1.
        model (Upscaling): The network.

    Returns:
        Tensor: Shape (1, model.channels, h, w).
    """
    if model.colour == 'y':
        return luma_of(colours)
    rgb = colours.expand(-1, 3, -1, -1) * 255
    if model.colour == 'bgr':
        rgb = rgb.flip(1)
    return (rgb - _column(model.mean, rgb)) / _column(model.std, rgb)


def picture_part(out: Tensor, image: np.ndarray, rows: slice, cols: slice,
                 model: Upscaling) -> np.ndarray:
    """A part of the upscaled picture.

    With a network on luma, Cb and Cr are upscaled by bicubic interpolation, as
    :class:`LumaEditModel` does; so is alpha with every network.

    Args:
        out (Tensor): What the network made of it, shape (1, model.channels,
            s*h, s*w).
        image (np.ndarray): The whole picture before upscaling, (H, W, C).
        rows, cols (slice): Which part of it this is: h rows and w columns.
        model (Upscaling): The network.

    Returns:
        np.ndarray: Shape (s*h, s*w, C), of the picture's type.
    """
    source = _Bicubic(image, rows, cols, model.scale, out.device)
    channels = image.shape[2]
    out = out.float()
    if model.colour == 'y':
        chroma = source.upscaled(
            lambda part: rgb_to_ycbcr(part[:, :3].expand(-1, 3, -1, -1) * 255)[:, 1:])
        colours = join_luma(out, chroma)
        colours = colours if channels >= 3 else colours[:, :1]
    else:
        colours = (out * _column(model.std, out) + _column(model.mean, out)) / 255
        if model.colour == 'bgr':
            colours = colours.flip(1)
        colours = colours if channels >= 3 else colours.mean(1, keepdim=True)
    if channels == 4:
        colours = torch.cat([colours, source.upscaled(lambda part: part[:, 3:])], dim=1)
    return to_integer(colours, image.dtype)


class _Bicubic:
    """Bicubic interpolation of a part of a picture, the same as of the whole."""

    def __init__(self, image, rows, cols, scale, device):
        height, width = image.shape[:2]
        top, left = max(0, rows.start - _BICUBIC_REACH), max(0, cols.start - _BICUBIC_REACH)
        self.part = to_float(
            image,
            slice(top, min(height, rows.stop + _BICUBIC_REACH)),
            slice(left, min(width, cols.stop + _BICUBIC_REACH)), device)
        self.rows = slice(scale * (rows.start - top), scale * (rows.stop - top))
        self.cols = slice(scale * (cols.start - left), scale * (cols.stop - left))
        self.size = [scale * length for length in self.part.shape[-2:]]

    def upscaled(self, select) -> Tensor:
        values = F.interpolate(
            select(self.part), size=self.size, mode='bicubic', align_corners=False)
        return values[..., self.rows, self.cols]


def _column(numbers, like: Tensor) -> Tensor:
    return torch.tensor(tuple(numbers)).to(like).view(1, -1, 1, 1)
