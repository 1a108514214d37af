# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Images in files: reading them, and writing PNGs."""
from pathlib import Path

import cv2
import numpy as np
from mmengine.fileio import get

from srdensenet_mm.errors import UserError, naming
from srdensenet_mm.files import atomic_write

from .decoding import DecodedImage, decode

# A PNG begins with its signature (8 bytes) and the chunk IHDR (25).
_AFTER_IHDR = 33


def read_image(path: str | Path, pixels_only: bool = False) -> DecodedImage:
    """Read an image file. Its content shows the format, not its name.

    - Palettes are resolved. Transparency becomes alpha (for gray images too:
      BGRA with three equal colours).
    - Colours that were multiplied by alpha are divided by it.
    - CMYK becomes sRGB, by the file's profile if it has one.
    - PGMs, PPMs and JPEG 2000 files with another highest value are rescaled to
      255 or 65535.
    - The EXIF orientation is applied where it can be read.
    - The first of several frames or pages is read.

    Args:
        path (str | Path): A file in a format that Pillow or OpenCV reads.
        pixels_only (bool): Faster, without the rest, see
            :func:`~srdensenet_mm.images.decoding.decode`. Defaults to False.

    Raises:
        UserError: It cannot be read, is damaged or truncated, no image, or of
            a kind that would not be decoded correctly.
    """
    with naming(path):
        data = get(str(path))
    return decode(path, data, pixels_only)


def encode_png(pixels: np.ndarray, compression: int | None = None) -> memoryview:
    """Make a PNG.

    Args:
        pixels (np.ndarray): (H, W), BGR (H, W, 3) or BGRA (H, W, 4), uint8 or uint16.
        compression (int, optional): 0 to 9. Defaults to a fast one.

    Raises:
        UserError: It is larger than a PNG can be.
    """
    options = [] if compression is None else [cv2.IMWRITE_PNG_COMPRESSION, compression]
    try:
        done, data = cv2.imencode('.png', pixels, options)
    except cv2.error as error:
        raise UserError(f'cannot be made a PNG ({error.err or error})') from error
    if not done:
        raise UserError('cannot be made a PNG')
    return memoryview(data).cast('B')


def write_png(path: str | Path, image: DecodedImage) -> None:
    """Write a PNG, whole or not at all, with the meaning of its values.

    Args:
        path (str | Path): The file. Missing folders above it are made.
        image (DecodedImage): uint8 or uint16.

    Raises:
        UserError: The file cannot be written, or is larger than a PNG can be.
    """
    with naming(path):
        data = encode_png(image.pixels)
    with atomic_write(path) as temporary, open(temporary, 'wb') as file:
        file.write(data[:_AFTER_IHDR])
        file.write(image.meaning.as_chunks())
        file.write(data[_AFTER_IHDR:])
