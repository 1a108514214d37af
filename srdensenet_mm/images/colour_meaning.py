# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What a file says about how its values are meant, and a PNG that says the same.

Without it, an upscaled image would look other than the image it was made from.
"""
import struct
import zlib
from dataclasses import dataclass, replace

from PIL import ExifTags, Image

# Colours, light, and the size of a pixel.
_PNG_CHUNKS = (b'cICP', b'sRGB', b'gAMA', b'cHRM', b'mDCV', b'cLLI', b'pHYs')
_COLOUR_CHUNKS = _PNG_CHUNKS[:4]
_PROFILE_SPACE = {1: b'GRAY', 3: b'RGB ', 4: b'RGB '}
_AFTER_SIGNATURE = 8
# Adobe RGB (1998), which cameras name in EXIF without a profile: white, red, green, blue.
_ADOBE_GAMMA = 2.19921875
_ADOBE_POINTS = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
# Code points of ITU-T H.273 that say nothing, and those of sRGB.
_UNSPECIFIED, _SRGB = 2, (1, 13)


@dataclass(frozen=True)
class Meaning:
    """The meaning of an image's values.

    Attributes:
        icc_profile (bytes, optional): An ICC profile.
        chunks (bytes): Further chunks of a PNG, whole ones.
    """
    icc_profile: bytes | None = None
    chunks: bytes = b''

    def fitted(self, channels: int) -> tuple['Meaning', str]:
        """The part that fits this number of channels, and a note on what is left out."""
        space = (self.icc_profile or b'')[16:20]
        if self.icc_profile is None or space == _PROFILE_SPACE[channels]:
            return self, ''
        # Colours were converted from CMYK.
        left = '' if space == b'CMYK' else (
            f'its ICC profile is for {space.decode("latin-1").strip() or "nothing known"}, not for '
            'the channels it has, and was left behind')
        return replace(self, icc_profile=None), left

    def as_chunks(self) -> bytes:
        """All of it as chunks of a PNG, to stand after its header."""
        profile = b'' if self.icc_profile is None else _chunk(
            b'iCCP', b'ICC Profile\0\0' + zlib.compress(self.icc_profile))
        return profile + self.chunks


def meaning_of(image: Image.Image, data: bytes) -> Meaning:
    """Read the meaning of an image's values.

    Args:
        image (Image.Image): It, as Pillow opened it; not loaded.
        data (bytes): Its file.
    """
    profile = (image.info.get('icc_profile') or _jpeg2000_profile(image, data)
               or _bmp_profile(image, data))
    if image.format == 'PNG':
        chunks = _png_chunks(data)
        if not (profile or any(name in chunks for name in _COLOUR_CHUNKS)) and (
                'exif' in image.info):  # else Pillow would decode all of it to find EXIF
            chunks += _exif_colours(image)
    elif profile:
        chunks = _pixel_size(image)
    else:
        chunks = _video_colours(image, data) + _exif_colours(image) + _pixel_size(image)
    return Meaning(profile, chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack('>I', len(content)) + name + content + struct.pack(
        '>I', zlib.crc32(name + content))


def _png_chunks(data: bytes) -> bytes:
    """Those that count, as they stand; all of them come before the pixels."""
    found, at = b'', _AFTER_SIGNATURE
    while at + 12 <= len(data) and (name := data[at + 4:at + 8]) != b'IDAT':
        end = at + 12 + int.from_bytes(data[at:at + 4], 'big')
        if name in _PNG_CHUNKS:
            found += data[at:end]
        at = end
    return found


def _jpeg2000_profile(image: Image.Image, data: bytes) -> bytes | None:
    """From the box of its colours; the other formats' profiles Pillow finds."""
    at = data.find(b'colr\2') if image.format == 'JPEG2000' else -1
    if at < 4 or at > data.find(b'jp2c'):
        return None
    return data[at + 7:at - 4 + int.from_bytes(data[at - 4:at], 'big')]


def _bmp_profile(image: Image.Image, data: bytes) -> bytes | None:
    """Embedded by a header of version 5, which Pillow passes over."""
    header = int.from_bytes(data[14:18], 'little')
    if image.format != 'BMP' or header < 124 or data[70:74] != b'DEBM':
        return None
    at, size = struct.unpack('<II', data[126:134])
    return data[14 + at:14 + at + size] or None


def _video_colours(image: Image.Image, data: bytes) -> bytes:
    """Primaries and transfer of AVIF and HEIF, as numbers of H.273."""
    at = data.find(b'colrnclx') if image.format in ('AVIF', 'HEIF') else -1
    if at < 0:
        return b''
    primaries, transfer = struct.unpack('>HH', data[at + 8:at + 12])
    if _UNSPECIFIED in (primaries, transfer) or (primaries, transfer) == _SRGB:
        return b''
    # As RGB of full range, which it has been decoded into.
    return _chunk(b'cICP', bytes([primaries, transfer, 0, 1]))


def _exif_colours(image: Image.Image) -> bytes:
    """Gamma and primaries, from the tags of EXIF and TIFF."""
    try:
        exif = image.getexif()
        details = exif.get_ifd(ExifTags.IFD.Exif)
        gamma = details.get(ExifTags.Base.Gamma)
        points = (*exif.get(ExifTags.Base.WhitePoint, ()),
                  *exif.get(ExifTags.Base.PrimaryChromaticities, ()))
        rules = exif.get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex, '')
        # 2 is no value of the standard, but some cameras' Adobe RGB.
        if str(rules).startswith('R03') or details.get(ExifTags.Base.ColorSpace) == 2:
            gamma, points = _ADOBE_GAMMA, _ADOBE_POINTS
        found = b''
        if gamma and gamma > 0:
            found += _chunk(b'gAMA', struct.pack('>I', round(100_000 / gamma)))
        if len(points) == 8 and all(0 <= point < 10 for point in points):
            found += _chunk(b'cHRM', struct.pack(
                '>8I', *(round(100_000 * float(point)) for point in points)))
        return found
    except Exception:  # of many kinds; the pixels may well be good
        return b''


def _pixel_size(image: Image.Image) -> bytes:
    """The resolution, which stays: the image becomes larger, not its pixels smaller."""
    try:
        inch = [float(dots) for dots in image.info['dpi']]
        if min(inch) <= 1:  # Pillow's for a TIFF that tells none
            return b''
        return _chunk(b'pHYs', struct.pack('>IIB', *(round(dots / 0.0254) for dots in inch), 1))
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError, struct.error):
        return b''
