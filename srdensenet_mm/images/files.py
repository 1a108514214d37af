# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Images in files, with their orientation and colour profile.

OpenCV decodes and encodes, because it alone keeps 16 bits in all channels;
:mod:`srdensenet_mm.images.decoding` mends what it hands out wrong. Pillow tells what
OpenCV does not: damage, EXIF orientation, ICC profile.
"""
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from srdensenet_mm.errors import UserError
from srdensenet_mm.files import atomic_write

from .decoding import damaged, decode, open_with_pillow

# Formats that Pillow decodes whatever their variant: what it says of their
# damage is true.
_WELL_KNOWN = ('PNG', 'JPEG', 'WEBP', 'BMP', 'PPM')
_PROFILE_SPACE = {1: b'GRAY', 3: b'RGB ', 4: b'RGB '}
# A PNG begins with its signature (8 bytes) and the chunk IHDR (25).
_AFTER_IHDR = 33
_BIT_DEPTH_AT = 24


@dataclass
class DecodedImage:
    """A decoded image file.

    Attributes:
        pixels (np.ndarray): As OpenCV reads it, upright: (H, W), BGR (H, W, 3)
            or BGRA (H, W, 4).
        icc_profile (bytes, optional): The profile of these colours.
    """
    pixels: np.ndarray
    icc_profile: bytes | None = None


def read_image(path: str | Path) -> DecodedImage:
    """Read an image file.

    Palettes are resolved, transparency becomes alpha (of gray images too:
    BGRA with three equal colours), colours that alpha was multiplied into are
    divided by it, CMYK JPEGs become BGR (and lose their profile, which is not
    one of BGR), PGMs and PPMs of any highest value are rescaled to 255 or
    65535. The EXIF orientation is carried out where it can be read, of several
    frames the first is taken.

    Args:
        path (str | Path): A file in a format that OpenCV reads.

    Raises:
        UserError: It cannot be read, is damaged or truncated, no image, or of
            a kind that would not be read rightly.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f'{path}: there is no such file') from None
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror or error})') from error
    if not data:
        raise UserError(f'{path}: is empty')

    facts = _facts(path, data)
    pixels = decode(path, data)
    if facts.opaque and pixels.ndim == 3:
        pixels = pixels[..., :3]
    if facts.transparent_gray is not None and pixels.ndim == 2:
        # The one kind of transparency that OpenCV does not resolve.
        alpha = np.where(pixels == facts.transparent_gray, 0, np.iinfo(pixels.dtype).max)
        pixels = np.dstack([pixels] * 3 + [alpha.astype(pixels.dtype)])
    pixels = _upright(pixels, facts.orientation)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    fitting = (facts.icc_profile or b'')[16:20] == _PROFILE_SPACE.get(channels)
    return DecodedImage(pixels, facts.icc_profile if fitting else None)


def write_png(path: str | Path, image: DecodedImage) -> None:
    """Write a PNG, whole or not at all.

    Args:
        path (str | Path): The file. Missing folders above it are made.
        image (Image): uint8 or uint16.

    Raises:
        UserError: The file cannot be written, or is larger than a PNG can be.
    """
    try:
        done, data = cv2.imencode('.png', image.pixels)
    except cv2.error as error:
        raise UserError(f'{path}: cannot be made a PNG ({error.err or error})') from error
    if not done:
        raise UserError(f'{path}: cannot be made a PNG')
    view = memoryview(data).cast('B')
    with atomic_write(path) as temporary, open(temporary, 'wb') as file:
        file.write(view[:_AFTER_IHDR])
        if image.icc_profile:
            file.write(_icc_chunk(image.icc_profile))
        file.write(view[_AFTER_IHDR:])


def image_pixels(path: str | Path) -> int:
    """The number of pixels that a file's header tells, 0 where it tells none."""
    try:
        with open_with_pillow(path) as image:
            return image.width * image.height
    except Exception:  # of many kinds, by format: MemoryError too
        return 0


@dataclass
class _Facts:
    orientation: int = 1
    icc_profile: bytes | None = None
    transparent_gray: int | None = None
    opaque: bool = False


def _facts(path: str | Path, data: bytes) -> _Facts:
    """What Pillow knows of an image; nothing of formats that it does not know."""
    known = True
    try:
        with open_with_pillow(io.BytesIO(data)) as image:
            known, mode = image.format in _WELL_KNOWN, image.mode
            # A BMP may have a fourth byte in a pixel that is not alpha.
            facts = _Facts(icc_profile=image.info.get('icc_profile'),
                           opaque=image.format == 'BMP' and mode == 'RGB')
            if image.format == 'PNG' and mode in ('1', 'L', 'I;16'):
                facts.transparent_gray = _scaled_gray(image.info.get('transparency'), data)
            if known:
                # An eighth of the size is quicker, and all of the file is read.
                image.draft('L', (max(1, image.width // 8), max(1, image.height // 8)))
                image.load()
            if image.format != 'TIFF':  # which is decoded upright
                facts.orientation = _orientation(image)
            return facts
    except UnidentifiedImageError:
        return _Facts()
    except Exception as error:  # of many kinds, by format
        if not known:
            return _Facts()
        raise damaged(path, error) from error


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1, upright, where EXIF is none or cannot be read."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # of many kinds; the pixels may well be good
        return 1


def _scaled_gray(value: int | None, png: bytes) -> int | None:
    """A gray value of a PNG of less than 8 bits as OpenCV's pixels have it, 0..255."""
    depth = png[_BIT_DEPTH_AT]
    if value is None or depth >= 8 or value >= 2**depth:
        return value
    return value * (255 // (2**depth - 1))


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Carry out an EXIF orientation, 1 to 8; others mean nothing."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _icc_chunk(profile: bytes) -> bytes:
    """The PNG chunk iCCP."""
    content = b'ICC Profile\0\0' + zlib.compress(profile)
    name = b'iCCP'
    return struct.pack('>I', len(content)) + name + content + struct.pack(
        '>I', zlib.crc32(name + content))


def read_size(path: str) -> tuple[int, int] | None:
    """Width and height from an image's header, as OpenCV would turn it.

    None where the header says nothing: reading the image will tell why.
    """
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return image.size[::-1] if turned else image.size
    except Exception:  # PIL raises many kinds for damaged files
        return None
