# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Decoding images of all formats.

Pillow recognises the format and decodes most formats. OpenCV decodes the usual ones: it is faster,
and only it keeps 16 bits in all channels. Files that neither decodes correctly are refused.
"""
import io
import os
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
from PIL import ExifTags, Image, ImageCms, PngImagePlugin, UnidentifiedImageError

from srdensenet_mm.errors import UserError, naming

from .colour_meaning import Meaning, meaning_of

# The formats that Pillow may try. Its others are drawings and data, or start other programs.
_FORMATS = ('PNG', 'JPEG', 'GIF', 'WEBP', 'AVIF', 'HEIF', 'TIFF', 'BMP', 'DIB', 'JPEG2000',
            'PPM', 'SUN', 'TGA', 'PSD', 'ICO', 'CUR', 'ICNS', 'PCX', 'SGI', 'QOI', 'DDS', 'XBM',
            'XPM')
# The first of these are most images. Pillow has them at hand, and takes long to load all others.
_AT_HAND = 3
# OpenCV decodes all kinds of these correctly, or this module corrects its result.
_BY_OPENCV = ('PNG', 'JPEG', 'MPO', 'WEBP', 'JPEG2000', 'PPM')
# Formats that Pillow checks for damage first: OpenCV would write its own lines to stderr.
_CHECKED = ('PNG', 'JPEG', 'WEBP', 'PPM')
# Formats whose further images are views or layers of the first one, not frames or pages.
_ONE_IMAGE = ('MPO', 'PSD')
# Bytes that the texts in a PNG may unpack to; Pillow's own limit is 1 MiB.
_MAX_TEXT = 2**28
# The kind, width, height and highest value, with blanks and comments between.
_PNM_HEADER = re.compile(rb'P[2356]' + 3 * rb'(?:\s|#[^\r\n]*[\r\n])+(\d+)')
_JPEG2000_CODESTREAM = b'\xff\x4f\xff\x51'
# A PNG with EXIF has one of these near its beginning or end: a chunk, or ImageMagick's text.
_PNG_EXIF = (b'eXIf', b'Raw profile type')
_ENDS = 2**16
# Position of the bit depth in a PNG's header.
_PNG_DEPTH_AT = 24

_Tag = ExifTags.Base
# Values of a TIFF's PhotometricInterpretation, with the number of colour samples.
_WHITE_IS_ZERO = 0
_BY_OPENCV_TIFFS = {_WHITE_IS_ZERO: 1, 1: 1, 2: 3}
# Values of its ExtraSamples.
_ASSOCIATED, _UNASSOCIATED = 1, 2

_pillow_lock = threading.RLock()


@dataclass
class DecodedImage:
    """A decoded image file.

    Attributes:
        pixels (np.ndarray): As OpenCV reads it, upright: (H, W), BGR (H, W, 3)
            or BGRA (H, W, 4).
        meaning (Meaning): The meaning of its values.
        notes (tuple[str, ...]): Notes for the user, such as that the file holds
            more frames.
    """
    pixels: np.ndarray
    meaning: Meaning = Meaning()
    notes: tuple[str, ...] = ()

    @property
    def icc_profile(self) -> bytes | None:
        """The ICC profile of these colours."""
        return self.meaning.icc_profile


def decode(path: str | Path, data: bytes, pixels_only: bool = False) -> DecodedImage:
    """Decode an image file.

    Args:
        path (str | Path): Its name, for messages.
        data (bytes): Its content.
        pixels_only (bool): Faster: do not read the meaning of the values, and
            let Pillow check for damage only where it decodes. Where OpenCV
            finds damage, it writes its own lines. Defaults to False.

    Returns:
        DecodedImage: Upright, with values of the type's full range, and colours
        that are not multiplied by alpha. Gray with alpha is BGRA.

    Raises:
        UserError: It is damaged, no image, or of a kind that would not be
            decoded correctly.
    """
    notes = []
    with naming(path, 'is damaged or truncated', Exception):  # of many kinds, by format
        image = _identify(data)
        with _without_limits():
            orientation = _orientation(image, data)
            frames = 1 if image.format in _ONE_IMAGE else getattr(image, 'n_frames', 1)
            # It changes when an image is loaded.
            mode, transparency = image.mode, image.info.get('transparency')
            meaning = Meaning() if pixels_only else meaning_of(image, data)
            if not pixels_only and image.format in _CHECKED and mode != 'CMYK':
                # An eighth of the size is quicker, and all of the file is read.
                image.draft('L', (max(1, image.width // 8), max(1, image.height // 8)))
                image.load()
        pixels = _decode_pixels(data, image, mode)
    # The box of AV1's configuration has a flag for more than 8 bits.
    if image.format == 'AVIF' and data[(at := data.find(b'av1C')) + 6] & 0x40 and at > 0:
        notes.append(f'{path}: has more than 8 bits a channel, of which 8 are read')
    if frames > 1:
        notes.append(f'{path}: holds {frames} frames or pages, the first is taken')
    if image.format == 'PPM' and (header := _PNM_HEADER.match(data)):
        pixels = _of_full_range(pixels, int(header[3]), plain=data[:2] in (b'P2', b'P3'))
    if image.format == 'PNG' and pixels.ndim == 2 and isinstance(transparency, int):
        # The one kind of transparency that OpenCV does not resolve.
        alpha = np.where(pixels == _scaled_gray(transparency, data), 0,
                         np.iinfo(pixels.dtype).max)
        pixels = np.dstack([pixels] * 3 + [alpha.astype(pixels.dtype)])

    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    meaning, left_behind = meaning.fitted(channels)
    if left_behind:
        notes.append(f'{path}: {left_behind}')
    return DecodedImage(_upright(pixels, orientation), meaning, tuple(notes))


def read_size(path: str | Path) -> tuple[int, int] | None:
    """Width and height of an image, upright, from its header.

    None where the header cannot be read. Reading the image then raises the reason.
    """
    try:
        with _without_limits(), _open(path) as image:
            return image.size[::-1] if _orientation(image) >= 5 else image.size
    except Exception:  # of many kinds, by format: MemoryError too
        return None


@contextmanager
def _without_limits() -> Iterator[None]:
    """Remove Pillow's limits to the size of images and texts, and its warnings on metadata.

    One thread at a time: limits and warnings belong to the process.
    """
    with _pillow_lock:
        limits = (Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK,
                  PngImagePlugin.MAX_TEXT_MEMORY)
        # For pixels, OpenCV has a limit of its own.
        Image.MAX_IMAGE_PIXELS = None
        PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = _MAX_TEXT
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                yield
        finally:
            (Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK,
             PngImagePlugin.MAX_TEXT_MEMORY) = limits


def _new_lock() -> None:
    global _pillow_lock
    _pillow_lock = threading.RLock()


if hasattr(os, 'register_at_fork'):
    # Else a worker that is forked while another thread reads an image would wait for ever.
    os.register_at_fork(after_in_child=_new_lock)


def _open(source: str | Path | BinaryIO) -> Image.Image:
    try:
        return Image.open(source, formats=_FORMATS[:_AT_HAND])
    except UnidentifiedImageError:
        Image.init()
        # Older versions lack some, and HEIF is registered by a package of its own.
        return Image.open(source, formats=[name for name in _FORMATS if name in Image.OPEN])


def _identify(data: bytes) -> Image.Image:
    """Read an image's header. Its pixels are decoded later."""
    if not data:
        raise UserError('is empty (0 bytes)')
    try:
        with _without_limits():
            try:
                return _open(io.BytesIO(data))
            except UnidentifiedImageError:
                if not (is_heif(data) and _learn_heif()):
                    raise
                return _open(io.BytesIO(data))
    except UnidentifiedImageError:
        if is_heif(data):
            raise UserError(HEIF_HELP) from None
        if data.startswith(b'version https://git-lfs.'):
            raise UserError(
                'is a Git LFS pointer, not the image itself: fetch it by "git lfs pull"') from None
        if b'<html' in data[:1000].lower():
            raise UserError(
                'is a web page (HTML), not an image: download the image itself') from None
        if data.startswith((b'II', b'MM')):
            raise UserError('is damaged, or a TIFF of a rare kind: convert it to PNG') from None
        raise UserError('is no image of a format that is read here, or is damaged: if another '
                        'program shows it, convert it to PNG') from None


HEIF_HELP = ('is a HEIC or HEIF image, for which the package pillow-heif is needed: '
             'pip install pillow-heif, or convert it to PNG')


def is_heif(data: bytes) -> bool:
    """Whether a file begins as HEIC and HEIF do."""
    return data[4:8] == b'ftyp' and data[8:12] in (b'heic', b'heix', b'hevc', b'mif1', b'msf1')


def _learn_heif() -> bool:
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _rare(what: str) -> UserError:
    return UserError(f'is a {what}, of a rare kind that would not be read rightly: convert it '
                     'to PNG')


def _orientation(image: Image.Image, data: bytes = b'') -> int:
    """The EXIF orientation; 1, upright, where EXIF is none or cannot be read."""
    if image.format == 'TIFF':  # which Pillow and OpenCV decode upright
        return 1
    # To find no EXIF in a PNG, Pillow would decode all of it.
    ends = data[:_ENDS] + data[-_ENDS:]
    if image.format == 'PNG' and data and not any(name in ends for name in _PNG_EXIF):
        return 1
    try:
        return image.getexif().get(_Tag.Orientation, 1)
    except Exception:  # of many kinds; the pixels may well be good
        return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation, 1 to 8. Other values have no effect."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


# What follows decodes pixels.


def _decode_pixels(data: bytes, image: Image.Image, mode: str) -> np.ndarray:
    if image.format == 'TIFF':
        return _tiff(data, image)
    if image.format not in _BY_OPENCV or mode == 'CMYK':
        return _by_pillow(image)
    return _jpeg2000(data) if image.format == 'JPEG2000' else _by_opencv(data)


def _by_opencv(data: bytes) -> np.ndarray:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise UserError(f'cannot be decoded ({error.err or error})') from error
    if pixels is None:
        raise UserError('is no image that OpenCV reads, or is damaged or cut short')
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UserError(f'holds {pixels.dtype} values; give 8 or 16 bits a channel')
    return pixels


def _by_pillow(image: Image.Image) -> np.ndarray:
    try:
        image.load()
        mode = image.mode
        if mode == 'CMYK':
            image = _from_cmyk(image)
        elif mode in ('1', 'PA', 'YCbCr', 'RGBX'):
            image = image.convert({'1': 'L', 'PA': 'RGBA'}.get(mode, 'RGB'))
        elif mode in ('P', 'L', 'RGB') and 'transparency' in image.info:
            image = image.convert('RGBA')
        elif mode == 'P':
            image = image.convert('RGB')
            colours = np.asarray(image)
            if (colours == colours[..., :1]).all():  # as OpenCV reads a palette of grays
                image = image.convert('L')
        pixels = np.asarray(image)
    except ValueError as error:  # a layout that Pillow can open, but not decode
        raise _rare(f'{image.format} ({error})') from error
    if image.mode in ('RGBa', 'La'):
        pixels = _divided_by_alpha(pixels)
    elif image.mode not in ('L', 'LA', 'RGB', 'RGBA') and pixels.dtype != np.uint16:
        raise _rare(f'{image.format or "image"} of the mode {mode}')
    if pixels.ndim == 2:
        return pixels
    return pixels[..., {2: [0, 0, 0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]]


def _from_cmyk(image: Image.Image) -> Image.Image:
    """Convert to sRGB, with the image's own profile where it has a valid one."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info['icc_profile']))
        return ImageCms.profileToProfile(
            image, profile, ImageCms.createProfile('sRGB'), outputMode='RGB')
    except (KeyError, ImportError, OSError, ImageCms.PyCMSError):
        return image.convert('RGB')


def _tiff(data: bytes, image: Image.Image) -> np.ndarray:
    tags = image.tag_v2
    photometric, bits = tags.get(_Tag.PhotometricInterpretation), tags.get(_Tag.BitsPerSample, (1,))
    samples, extra = tags.get(_Tag.SamplesPerPixel, 1), tags.get(_Tag.ExtraSamples, ())
    rare = _rare(f'TIFF (SamplesPerPixel {samples}, BitsPerSample {bits[0]}, '
                 f'PhotometricInterpretation {photometric})')
    if set(tags.get(_Tag.SampleFormat, (1,))) != {1}:  # numbers with a sign, or floating-point
        raise rare
    colours = _BY_OPENCV_TIFFS.get(photometric)
    multiplied = (samples, colours) == (4, 3) and extra[:1] == (_ASSOCIATED, )
    if max(bits) <= 8 and not multiplied:
        return _by_pillow(image)
    # Pillow would keep only 8 bits, and round down when it divides by alpha.
    known = (set(bits) <= {8, 16} and (samples == colours or (samples, colours) == (4, 3))
             or set(bits) == {12} and (samples, photometric) == (1, 1))
    if not known or samples > 1 and tags.get(_Tag.PlanarConfiguration, 1) != 1:
        raise rare
    pixels = _by_opencv(data)
    if pixels.dtype != (np.uint8 if bits[0] == 8 else np.uint16) or (
            (1 if pixels.ndim == 2 else pixels.shape[2]) != samples):
        raise rare
    if bits[0] == 12:
        pixels = _of_full_range(pixels >> 4, 4095)
    if photometric == _WHITE_IS_ZERO:
        pixels = ~pixels
    if multiplied:
        return _divided_by_alpha(pixels)
    if samples == 4 and extra and extra[0] != _UNASSOCIATED:  # a selection or the like
        return pixels[..., :3]
    return pixels


def _jpeg2000(data: bytes) -> np.ndarray:
    # The marker segment SIZ; of each component, 3 bytes: the depth less 1 and, as the highest
    # bit, whether it has a sign, then two steps of sampling.
    siz = data.find(_JPEG2000_CODESTREAM) + 2
    count = int.from_bytes(data[siz + 38:siz + 40], 'big')
    kinds = set(data[siz + 40:siz + 40 + 3 * count:3])
    if siz < 2 or len(kinds) != 1 or max(kinds) > 15:
        raise UserError('is a JPEG 2000 file whose channels differ in their bits, have a sign, or '
                        'more than 16 bits: convert it to PNG')
    return _of_full_range(_by_opencv(data), 2**(kinds.pop() + 1) - 1)


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


def _scaled_gray(value: int, png: bytes) -> int:
    """A gray value of a PNG of less than 8 bits as OpenCV's pixels have it, 0..255."""
    depth = png[_PNG_DEPTH_AT]
    return value if depth >= 8 or value >= 2**depth else value * (255 // (2**depth - 1))


def _divided_by_alpha(pixels: np.ndarray) -> np.ndarray:
    """Divide colours by alpha, the last channel, which they were multiplied by."""
    full = np.iinfo(pixels.dtype).max
    # 32 bits hold the largest product, 65535 * 65535, and its rounding.
    colours, alpha = np.split(pixels.astype(np.uint32), [-1], axis=2)
    colours = (colours * full + alpha // 2) // np.maximum(alpha, 1)
    return np.dstack([np.minimum(colours, full), alpha]).astype(pixels.dtype)
