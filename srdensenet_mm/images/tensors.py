# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Between an image as OpenCV reads it and the tensors that networks read."""
import numpy as np
import torch
from torch import Tensor

from srdensenet_mm.errors import UserError


def check_image(image: np.ndarray) -> None:
    """Refuse what is no image.

    Raises:
        UserError: The array is empty, has another type than uint8 and uint16,
            or another shape than (H, W), (H, W, 1), (H, W, 3) and (H, W, 4).
    """
    if not isinstance(image, np.ndarray):
        raise UserError(f'an image is a NumPy array as cv2.imread gives it, '
                        f'not {type(image).__name__}')
    if image.dtype not in (np.uint8, np.uint16):
        raise UserError(f'images of {image.dtype} are not supported: '
                        'convert to uint8 (0..255) or uint16 (0..65535)')
    if image.ndim not in (2, 3) or image.ndim == 3 and image.shape[2] not in (1, 3, 4):
        raise UserError(f'an image of shape {image.shape} is not supported: expected (H, W), '
                        '(H, W, 1) grayscale, (H, W, 3) BGR or (H, W, 4) BGRA')
    if image.size == 0:
        raise UserError(f'the image is empty, its shape is {image.shape}')


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
