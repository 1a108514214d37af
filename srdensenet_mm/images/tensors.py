# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Converting images as OpenCV reads them to tensors, and back."""
import numpy as np
import torch
from torch import Tensor

from srdensenet_mm.errors import UserError


def as_image(image: np.ndarray) -> np.ndarray:
    """Check that an array is an image, and give it the shape (H, W, C).

    Args:
        image (np.ndarray): uint8 or uint16, in any byte order and layout;
            shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).

    Returns:
        np.ndarray: The same values, shape (H, W, C), in the machine's byte
        order. A copy only where the byte order changes.

    Raises:
        UserError: The array is empty, has another type or another shape.
    """
    if not isinstance(image, np.ndarray):
        raise UserError(f'an image is a NumPy array as cv2.imread gives it, '
                        f'not {type(image).__name__}')
    if np.ma.is_masked(image):
        raise UserError('the image is an array with masked values: fill them first, '
                        'with image.filled(0) for example')
    dtype = image.dtype.newbyteorder('=')
    if dtype not in (np.uint8, np.uint16):
        ways = {'b': 'image.astype(np.uint8) * 255', 'f': '(image * 255).round().astype(np.uint8), '
                'where 1 is white'}
        way = f' ({ways[dtype.kind]})' if dtype.kind in ways else ''
        raise UserError(f'images of {dtype} are not supported: convert to uint8 (0..255){way} '
                        'or uint16 (0..65535)')
    if image.ndim not in (2, 3) or image.ndim == 3 and image.shape[2] not in (1, 3, 4):
        raise UserError(f'an image of shape {image.shape} is not supported: expected (H, W), '
                        '(H, W, 1) grayscale, (H, W, 3) BGR or (H, W, 4) BGRA')
    if image.size == 0:
        raise UserError(f'the image is empty, its shape is {image.shape}')
    image = np.asarray(image).astype(dtype, copy=False)
    return image if image.ndim == 3 else image[..., None]


def to_float(image: np.ndarray, rows: slice, cols: slice, device: torch.device) -> Tensor:
    """A part of an image (H, W, C) as floats 0..1, shape (1, C, h, w), RGB(A)."""
    part = image[rows, cols]
    if part.shape[2] >= 3:
        part = part[..., [2, 1, 0, *range(3, part.shape[2])]]
    part = torch.from_numpy(part.astype(np.float32)).to(device)
    return (part / np.iinfo(image.dtype).max).permute(2, 0, 1)[None]


def to_integer(values: Tensor, dtype: np.dtype) -> np.ndarray:
    """Floats 0..1, shape (1, C, h, w), as a part of an image (h, w, C), RGB(A) to BGR(A)."""
    values = (values[0].clamp(0, 1) * np.iinfo(dtype).max).round_().permute(1, 2, 0)
    part = values.cpu().numpy().astype(dtype)
    return part[..., [2, 1, 0, *range(3, part.shape[2])]] if part.shape[2] >= 3 else part
