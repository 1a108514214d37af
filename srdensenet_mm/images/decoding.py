# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Decoding images, those too that OpenCV does not hand out as they are.

Of PGM, PPM and JPEG 2000 it leaves numbers unscaled; of TIFF it drops or
multiplies in alpha, and makes negatives. What cannot be mended in a few lines is
refused.
"""
import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError
from PIL.ExifTags import Base as Tag

from srdensenet_mm.errors import UserError

_PILLOW = threading.RLock()
_TIFF_SIGNATURES = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_SUN_SIGNATURE = b'\x59\xa6\x6a\x95'
# A file of boxes, and the bare codestream, as it also stands in the last of them.
_JPEG2000_SIGNATURES = (b'\0\0\0\x0cjP  ', b'\xff\x4f\xff\x51')
# Bytes that the texts in a PNG may unpack to; Pillow's own limit is 1 MiB.
_MAX_TEXT = 2**28
# The kind, width, height and highest value, with blanks and comments between.
_PNM_HEADER = re.compile(rb'P[2356]' + 3 * rb'(?:\s|#[^\r\n]*[\r\n])+(\d+)')

# Values of a TIFF's PhotometricInterpretation, then of its ExtraSamples.
_WHITE_IS_ZERO, _GRAY, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_ASSOCIATED, _UNASSOCIATED = 1, 2
# Samples without alpha, the channels that they become, the bits that each may have.
_TIFF_KINDS = {
    _WHITE_IS_ZERO: (1, 1, (1, 8, 16)),
    _GRAY: (1, 1, (1, 8, 12, 16)),
    _RGB: (3, 3, (8, 16)),
    _PALETTE: (1, 3, (4, 8)),
    _YCBCR: (3, 3, (8,)),
}


def decode(path: str | Path, data: bytes, flags: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    """Decode an image file.

    Args:
        path (str | Path): Its name, for messages.
        data (bytes): Its content.
        flags (int): OpenCV's ``IMREAD_...``; of TIFFs, which come as with
            ``IMREAD_UNCHANGED``, none counts.

    Returns:
        np.ndarray: As OpenCV's ``imdecode``, with values of the type's full
        range and colours that alpha is not multiplied into. TIFFs are upright,
        and gray with alpha is BGRA.

    Raises:
        UserError: It is damaged, no image, or of a kind that would not be
            read rightly.
    """
    if data.startswith(_TIFF_SIGNATURES):
        return _tiff(path, data)
    if data.startswith(b'P7'):
        # Its red and blue would be exchanged.
        raise UserError(f'{path}: is a PAM, convert it to PNG first')
    if data.startswith(b'BM') and data[28:30] == b'\x10\0':
        raise UserError(f'{path}: is a BMP of 16 bits a pixel, whose colours would come out too '
                        'dark: convert it to PNG')
    if data.startswith(_SUN_SIGNATURE):
        return _sun_raster(path, data, flags)
    if data.startswith(_JPEG2000_SIGNATURES):
        return _jpeg2000(path, data, flags)
    pixels = _by_opencv(path, data, flags)
    header = _PNM_HEADER.match(data)
    if header is None:
        return pixels
    return _of_full_range(pixels, int(header[3]), plain=data[:2] in (b'P2', b'P3'))


@contextmanager
def open_with_pillow(source: str | Path | BinaryIO) -> Iterator[Image.Image]:
    """Open an image however large it and its texts are, without warnings of its metadata.

    One thread at a time: the limits and the warnings are the process's.
    """
    with _PILLOW:
        limits = (Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK,
                  PngImagePlugin.MAX_TEXT_MEMORY)
        # For pixels, OpenCV has a limit of its own.
        Image.MAX_IMAGE_PIXELS = None
        PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = _MAX_TEXT
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                with Image.open(source) as image:
                    yield image
        finally:
            (Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK,
             PngImagePlugin.MAX_TEXT_MEMORY) = limits


def damaged(path: str | Path, error: Exception) -> UserError:
    """What to raise for a file that Pillow cannot read to its end."""
    return UserError(f'{path}: is damaged or truncated ({str(error) or type(error).__name__})')


def _by_opencv(path: str | Path, data: bytes, flags: int) -> np.ndarray:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise UserError(f'{path}: cannot be decoded ({error.err or error})') from error
    if pixels is None:
        raise UserError(f'{path}: is no image that OpenCV reads, or is damaged or cut short')
    return pixels


def _of_full_range(pixels: np.ndarray, highest: int, plain: bool = False) -> np.ndarray:
    """Rescale 0..highest, of ``plain`` (text) files too, to 0..255 or 0..65535."""
    full = np.iinfo(pixels.dtype).max
    if highest == full:
        return pixels
    values = np.arange(highest + 1)
    # OpenCV rescales plain files of 8 bits, but rounds down.
    given = values * full // highest if plain and full == 255 else values
    table = np.full(full + 1, full, pixels.dtype)
    table[given] = (2 * values * full + highest) // (2 * highest)
    return table[pixels]


def _sun_raster(path: str | Path, data: bytes, flags: int) -> np.ndarray:
    depth, map_type = (int.from_bytes(data[i:i + 4], 'big') for i in (12, 24))
    if map_type or depth not in (1, 8):
        return _by_opencv(path, data, flags)
    if depth == 1:
        raise UserError(f'{path}: is a Sun raster of 1 bit without a colour map, which would come '
                        'out in one colour: convert it to PNG')
    # Gray. Read as gray, it would go through a colour map of zeros.
    return _by_opencv(path, data, cv2.IMREAD_COLOR)[..., 0]


def _jpeg2000(path: str | Path, data: bytes, flags: int) -> np.ndarray:
    # The marker segment SIZ; of each component, 3 bytes: the depth less 1 and, as the highest
    # bit, whether it has a sign, then two steps of sampling.
    siz = data.find(_JPEG2000_SIGNATURES[1]) + 2
    count = int.from_bytes(data[siz + 38:siz + 40], 'big')
    kinds = set(data[siz + 40:siz + 40 + 3 * count:3])
    if siz < 2 or not kinds:
        return _by_opencv(path, data, flags)  # which says what is wrong
    if len(kinds) > 1 or max(kinds) > 15:
        raise UserError(f'{path}: is a JPEG 2000 file whose channels differ in their bits, have a '
                        'sign, or more than 16 bits: convert it to PNG')
    return _of_full_range(_by_opencv(path, data, flags), 2**(kinds.pop() + 1) - 1)


@dataclass
class _TiffKind:
    photometric: int
    bits: int
    samples: int
    alpha: int | None
    channels: int

    def __str__(self) -> str:
        return (f'SamplesPerPixel {self.samples}, BitsPerSample {self.bits}, '
                f'PhotometricInterpretation {self.photometric}')


def _tiff(path: str | Path, data: bytes) -> np.ndarray:
    kind = _tiff_kind(path, data)
    if kind.bits == 8 and (kind.samples == 2 or kind.alpha == _UNASSOCIATED):
        # OpenCV would drop alpha, or multiply it in.
        pixels = _by_pillow(path, data)
    else:
        pixels = _by_opencv(path, data, cv2.IMREAD_UNCHANGED)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if pixels.dtype != (np.uint8 if kind.bits <= 8 else np.uint16) or channels != kind.channels:
        raise _rare_tiff(path, kind)

    if kind.bits == 12:
        pixels = _of_full_range(pixels >> 4, 4095)
    if kind.bits == 16 and kind.photometric == _WHITE_IS_ZERO:
        pixels = ~pixels
    if kind.alpha == _ASSOCIATED:
        pixels = _divided_by_alpha(pixels)
    return pixels[..., [0, 0, 0, 1]] if channels == 2 else pixels


def _tiff_kind(path: str | Path, data: bytes) -> _TiffKind:
    """What the tags tell; refuses what would not be read rightly."""
    try:
        with open_with_pillow(io.BytesIO(data)) as image:
            mode, tags = image.mode, image.tag_v2
    except UnidentifiedImageError:
        raise UserError(
            f'{path}: is damaged, or a TIFF of a rare kind: convert it to PNG') from None
    except Exception as error:  # of many kinds
        raise damaged(path, error) from error
    if mode in ('CMYK', 'LAB'):
        raise UserError(f'{path}: is a TIFF in {mode}, convert it to RGB first')

    photometric = tags.get(Tag.PhotometricInterpretation)
    samples, bits = tags.get(Tag.SamplesPerPixel, 1), tags.get(Tag.BitsPerSample, (1,))
    extra = tags.get(Tag.ExtraSamples, ())
    colours, channels, known_bits = _TIFF_KINDS.get(photometric, (0, 0, ()))
    transparent = samples == colours + 1 and photometric in (_GRAY, _RGB)
    kind = _TiffKind(photometric, bits[0], samples, extra[0] if transparent and extra else None,
                     channels + transparent)
    if not (
            (samples == colours or transparent)
            and set(bits) == {kind.bits} and kind.bits in known_bits
            and set(tags.get(Tag.SampleFormat, (1,))) == {1}  # whole numbers without a sign
            # OpenCV reads separate planes of 8 bits only, and Pillow those of RGB.
            and (samples == 1 or tags.get(Tag.PlanarConfiguration, 1) == 1
                 or kind.bits == 8 and photometric == _RGB)):
        raise _rare_tiff(path, kind)
    return kind


def _rare_tiff(path: str | Path, kind: _TiffKind) -> UserError:
    return UserError(f'{path}: is a TIFF of a kind that would not be read rightly ({kind}): '
                     'convert it to PNG')


def _by_pillow(path: str | Path, data: bytes) -> np.ndarray:
    """(H, W, 2) or BGRA; upright, as Pillow's TIFFs are when they have been loaded."""
    try:
        with open_with_pillow(io.BytesIO(data)) as image:
            pixels = np.array(image)
    except Exception as error:  # of many kinds
        raise damaged(path, error) from error
    return pixels[..., [2, 1, 0, 3]] if pixels.shape[2:] == (4,) else pixels


def _divided_by_alpha(pixels: np.ndarray) -> np.ndarray:
    """The colours that alpha, the last channel, has been multiplied into."""
    full = np.iinfo(pixels.dtype).max
    # 32 bits hold the largest product, 65535 * 65535, and its rounding.
    colours, alpha = np.split(pixels.astype(np.uint32), [-1], axis=2)
    colours = (colours * full + alpha // 2) // np.maximum(alpha, 1)
    return np.dstack([np.minimum(colours, full), alpha]).astype(pixels.dtype)
