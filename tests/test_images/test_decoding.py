# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Kinds of images that OpenCV alone does not hand out as they are."""
import io
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import cv2
import numpy as np
import PIL
import pytest
from PIL import Image

from srdensenet_mm.datasets import read_rgb
from srdensenet_mm.errors import UserError
from srdensenet_mm.images.decoding import decode
from srdensenet_mm.images.files import read_image, write_png

WHITE_IS_ZERO, GRAY, RGB, PALETTE, _, CMYK = range(6)
ASSOCIATED, UNASSOCIATED = 1, 2


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def rescaled(values, highest, full):
    """To the nearest, in exact arithmetic; halves go up."""
    return [int(Fraction(value * full, highest) + Fraction(1, 2)) for value in values]


@pytest.mark.parametrize('highest', [1, 7, 100, 254, 255, 256, 1023, 4095, 40000, 65535])
@pytest.mark.parametrize('kind', ['P2', 'P3', 'P5', 'P6'])
def test_pnm_of_any_highest_value(tmp_path, kind, highest):
    full, number = (255, 'B') if highest < 256 else (65535, '>H')
    channels = 3 if kind in ('P3', 'P6') else 1
    values = [round(highest * i / 29) for i in range(30)]  # 0 and the highest among them
    header = f'{kind}\n#made by hand 9 9\n# 8\n{30 // channels}\t1\n#x\n {highest}\n'.encode()
    body = (' '.join(map(str, values)).encode() + b'\n' if kind in ('P2', 'P3')
            else b''.join(struct.pack(number, value) for value in values))
    (tmp_path / 'a.pnm').write_bytes(header + body)
    found = read_image(tmp_path / 'a.pnm').pixels
    assert found.dtype == (np.uint8 if full == 255 else np.uint16)
    assert found.shape == ((1, 10, 3) if channels == 3 else (1, 30))
    found = found[..., ::-1] if channels == 3 else found
    assert found.reshape(-1).tolist() == rescaled(values, highest, full)


def test_pnm_values_beyond_the_highest_are_white(tmp_path):
    (tmp_path / 'a.pgm').write_bytes(b'P5 4 1 100\n\0\x64\xc8\x32')
    assert read_image(tmp_path / 'a.pgm').pixels.tolist() == [[0, 255, 255, 128]]


@pytest.mark.parametrize('data', [b'P1\n# 3 3\n4 1\n0 1 1 0\n', b'P4\n4 1\n\x60'])
def test_bilevel_pnm(tmp_path, data):
    (tmp_path / 'a.pbm').write_bytes(data)
    assert read_image(tmp_path / 'a.pbm').pixels.tolist() == [[255, 0, 0, 255]]


def test_pam_is_refused(tmp_path):
    (tmp_path / 'a.pam').write_bytes(b'P7\nWIDTH 1\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\n'
                                     b'TUPLTYPE RGB\nENDHDR\n\1\2\3')
    with pytest.raises(UserError, match='a.pam: is no image of a format that is read .* to PNG'):
        read_image(tmp_path / 'a.pam')


def test_a_bmp_of_16_bits_a_pixel(tmp_path):
    # 5 bits a colour.
    header = struct.pack('<2sIHHI', b'BM', 54 + 8, 0, 0, 54)
    header += struct.pack('<IiiHHIIiiII', 40, 2, 2, 1, 16, 0, 8, 2835, 2835, 0, 0)
    (tmp_path / 'a.bmp').write_bytes(header + struct.pack(
        '<4H', 0x7fff, 16 << 10, 31 << 5, 1))  # from the bottom
    expected = [[[0, 255, 0], [8, 0, 0]], [[255, 255, 255], [0, 0, 131]]]
    found = read_image(tmp_path / 'a.bmp').pixels
    assert np.abs(found - np.array(expected)).max() <= 1


def sun_raster(path, depth, body, colour_map=b''):
    path.write_bytes(
        struct.pack('>8I', 0x59a66a95, 16, 4, depth, len(body), 1, bool(colour_map),
                    len(colour_map)) + colour_map + body)


def test_gray_sun_rasters(tmp_path):
    values = noise(4, 16)
    sun_raster(tmp_path / 'plain.ras', 8, values.tobytes())
    # The negative, by a map of 256 reds, greens and blues each.
    sun_raster(tmp_path / 'map.ras', 8, values.tobytes(), bytes(range(256))[::-1] * 3)
    cv2.imwrite(str(tmp_path / 'opencv.ras'), values)
    for name, expected in dict(plain=values, map=255 - values, opencv=values).items():
        np.testing.assert_array_equal(read_image(tmp_path / f'{name}.ras').pixels, expected)
        np.testing.assert_array_equal(
            read_rgb(tmp_path / f'{name}.ras'), np.dstack([expected] * 3))


def test_colours_of_a_sun_raster(tmp_path):
    values = noise(4, 16, 3)
    cv2.imwrite(str(tmp_path / 'a.ras'), values)
    np.testing.assert_array_equal(read_image(tmp_path / 'a.ras').pixels, values)


def test_a_bilevel_sun_raster_without_a_map(tmp_path):
    sun_raster(tmp_path / 'a.ras', 1, b'\xf0\x0f' * 4)  # 1 is black
    assert read_image(tmp_path / 'a.ras').pixels.tolist() == 4 * [
        4 * [0] + 8 * [255] + 4 * [0]]


def jpeg2000(values, bits, suffix='.jp2'):
    """A lossless file that says that its values have ``bits`` bits."""
    stored = 8 * values.dtype.itemsize
    # Both are stored about their middle.
    shifted = (values + 2**(stored - 1) - 2**(bits - 1)).astype(values.dtype)
    file = io.BytesIO()
    Image.fromarray(shifted).save(file, 'JPEG2000', irreversible=False, no_jp2=suffix == '.j2k')
    data = bytearray(file.getvalue())
    count = 1 if values.ndim == 2 else values.shape[2]
    first = data.index(b'\xff\x51') + 40
    for i in range(count):
        data[first + 3 * i] = bits - 1
    if suffix == '.jp2':
        data[data.index(b'ihdr') + 14] = bits - 1
    return data


@pytest.mark.parametrize('bits', [8, 10, 12, 15, 16])
def test_jpeg2000_of_any_bits(tmp_path, bits):
    dtype, full = (np.uint8, 255) if bits <= 8 else (np.uint16, 65535)
    values = np.linspace(0, 2**bits - 1, 24 * 24).astype(dtype).reshape(24, 24)
    (tmp_path / 'a.jp2').write_bytes(jpeg2000(values, bits))
    found = read_image(tmp_path / 'a.jp2').pixels
    assert found.dtype == dtype
    assert found.reshape(-1).tolist() == rescaled(
        values.reshape(-1).tolist(), 2**bits - 1, full)
    # For training, as 8 bits.
    assert read_rgb(tmp_path / 'a.jp2')[[0, -1], [0, -1]].tolist() == [[0] * 3, [255] * 3]


def test_a_bare_codestream_of_jpeg2000(tmp_path):
    values = noise(24, 24, 3)
    (tmp_path / 'a.jp2').write_bytes(jpeg2000(values, 8, '.j2k'))
    np.testing.assert_array_equal(read_image(tmp_path / 'a.jp2').pixels, values[..., ::-1])


def test_jpeg2000_of_unequal_or_signed_channels_is_refused(tmp_path):
    usual = jpeg2000(noise(24, 24, 3), 8)
    first = usual.index(b'\xff\x51') + 40
    for where, value in ((first + 3, 6), (first, 0x87)):
        data = bytearray(usual)
        data[where] = value
        (tmp_path / 'a.jp2').write_bytes(data)
        with pytest.raises(UserError, match='a.jp2: is a JPEG 2000 file whose channels differ'):
            read_image(tmp_path / 'a.jp2')


@pytest.mark.parametrize('header_size, masks, channels', [
    (40, 3, 3), (52, 3, 3), (108, 3, 3), (124, 3, 3), (56, 4, 4), (108, 4, 4), (124, 4, 4)])
def test_alpha_of_a_bmp(tmp_path, header_size, masks, channels):
    pixels = noise(2, 3, 4)
    colours = struct.pack('<4I', 0xff0000, 0xff00, 0xff, 0xff000000)[:4 * masks]
    # Masks are part of the larger headers, and follow the smallest.
    header = struct.pack('<IiiHHIIiiII', header_size, 3, -2, 1, 32, 3, 24, 0, 0, 0, 0)
    header = (header + colours).ljust(header_size, b'\0')
    begin = 14 + len(header)
    (tmp_path / 'a.bmp').write_bytes(
        b'BM' + struct.pack('<IHHI', begin + 24, 0, 0, begin) + header + pixels.tobytes())
    np.testing.assert_array_equal(
        read_image(tmp_path / 'a.bmp').pixels, pixels[..., :channels])


def tiff(path, pixels, photometric, extra=None, order='<', separate=False, bits=None, more=()):
    """Write pixels, (H, W, samples) as they are to be stored; by hand, Pillow writes few kinds."""
    height, width, samples = pixels.shape
    planes = np.moveaxis(pixels, 2, 0) if separate else [pixels]
    strips = [plane.astype(pixels.dtype.newbyteorder(order)).tobytes() for plane in planes]
    if bits == 12:
        digits = ''.join(format(value, '012b') for value in pixels.reshape(-1).tolist())
        strips = [int(digits, 2).to_bytes(len(digits) // 8, 'big')]
    bits = bits or 8 * pixels.dtype.itemsize
    begins = [8 + sum(map(len, strips[:i])) for i in range(len(strips))]
    tags = {256: [width], 257: [height], 258: [bits] * samples, 259: [1], 262: [photometric],
            273: begins, 277: [samples], 278: [height], 279: list(map(len, strips)),
            284: [1 + separate], **({} if extra is None else {338: [extra]}), **dict(more)}
    body = b''.join(strips)
    at, entries, long = 8 + len(body), b'', b''
    for tag, values in sorted(tags.items()):
        value = struct.pack(f'{order}{len(values)}H', *values).ljust(4, b'\0')
        if len(value) > 4:
            begin = at + 2 + 12 * len(tags) + 4 + len(long)
            value, long = struct.pack(f'{order}I', begin), long + value
        entries += struct.pack(f'{order}HHI', tag, 3, len(values)) + value
    path.write_bytes(struct.pack(f'{order}2sHI', b'II' if order == '<' else b'MM', 42, at) + body
                     + struct.pack(f'{order}H', len(tags)) + entries + bytes(4) + long)


def multiplied(pixels):
    """By alpha, the last channel, as a writer of associated alpha does."""
    full = np.iinfo(pixels.dtype).max
    alpha = pixels[..., -1:] / full
    return np.dstack([np.rint(pixels[..., :-1] * alpha).astype(pixels.dtype), pixels[..., -1:]])


@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_straight_alpha_in_tiff(tmp_path, dtype, order):
    pixels = noise(5, 7, 4, dtype=dtype)
    tiff(tmp_path / 'a.tif', pixels, RGB, UNASSOCIATED, order)
    tiff(tmp_path / 'b.tif', pixels, RGB, None, order)  # as OpenCV writes it
    for name in 'ab':
        np.testing.assert_array_equal(
            read_image(tmp_path / f'{name}.tif').pixels, pixels[..., [2, 1, 0, 3]])


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_multiplied_alpha_in_tiff_is_divided_out(tmp_path, dtype):
    full = np.iinfo(dtype).max
    pixels = noise(9, 7, 4, dtype=dtype)
    pixels[0, :, 3] = [0, 1, 2, full // 2, full - 1, full, full]
    stored = multiplied(pixels)
    tiff(tmp_path / 'a.tif', stored, RGB, ASSOCIATED)
    found = read_image(tmp_path / 'a.tif').pixels
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[..., 3], pixels[..., 3])
    np.testing.assert_array_equal(multiplied(found)[..., [2, 1, 0, 3]], stored)
    opaque = pixels[..., 3] == full
    np.testing.assert_array_equal(found[opaque][:, 2::-1], pixels[opaque][:, :3])
    # As near as the rounding of what is stored allows.
    error = np.abs(found[..., 2::-1].astype(float) - pixels[..., :3])
    seen = pixels[..., 3] > 0
    assert (error[seen] <= 0.5 * full / pixels[..., 3:].astype(float)[seen] + 0.5).all()


def test_colours_larger_than_their_alpha_are_white(tmp_path):
    tiff(tmp_path / 'a.tif', np.array([[[200, 50, 0, 100]]], np.uint8), RGB, ASSOCIATED)
    assert read_image(tmp_path / 'a.tif').pixels.tolist() == [[[0, 128, 255, 100]]]


def test_gray_with_alpha_in_tiff(tmp_path):
    pixels = noise(5, 7, 2)
    expected = pixels[..., [0, 0, 0, 1]]
    tiff(tmp_path / 'a.tif', pixels, GRAY, UNASSOCIATED)
    np.testing.assert_array_equal(read_image(tmp_path / 'a.tif').pixels, expected)
    Image.fromarray(pixels, 'LA').save(tmp_path / 'b.tif', compression='tiff_lzw')
    np.testing.assert_array_equal(read_image(tmp_path / 'b.tif').pixels, expected)
    write_png(tmp_path / 'c.png', read_image(tmp_path / 'b.tif'))
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'c.png'), -1), expected)
    tiff(tmp_path / 'd.tif', multiplied(pixels), GRAY, ASSOCIATED)
    if int(PIL.__version__.partition('.')[0]) < 13:  # does not know this kind
        with pytest.raises(UserError, match='d.tif: is damaged, or a TIFF of a rare kind'):
            read_image(tmp_path / 'd.tif')
        return
    found = read_image(tmp_path / 'd.tif').pixels
    np.testing.assert_array_equal(multiplied(found)[..., [0, 3]], multiplied(pixels))


@pytest.mark.parametrize('photometric, extra, samples, dtype', [
    (GRAY, None, 1, np.uint8), (RGB, None, 3, np.uint16), (RGB, UNASSOCIATED, 4, np.uint8),
    (RGB, ASSOCIATED, 4, np.uint8), (GRAY, UNASSOCIATED, 2, np.uint8)])
def test_orientations_of_tiff(tmp_path, photometric, extra, samples, dtype):
    pixels = noise(5, 7, samples, dtype=dtype)
    tiff(tmp_path / 'a.tif', pixels, photometric, extra)
    upright = read_image(tmp_path / 'a.tif').pixels
    for orientation, expected in ((3, np.rot90(upright, 2)), (6, np.rot90(upright, -1)),
                                  (5, np.swapaxes(upright, 0, 1))):
        tiff(tmp_path / 'a.tif', pixels, photometric, extra, more={274: [orientation]})
        np.testing.assert_array_equal(read_image(tmp_path / 'a.tif').pixels, expected)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_white_is_zero(tmp_path, dtype):
    pixels = noise(5, 7, 1, dtype=dtype)
    tiff(tmp_path / 'a.tif', pixels, WHITE_IS_ZERO)
    np.testing.assert_array_equal(
        read_image(tmp_path / 'a.tif').pixels, np.iinfo(dtype).max - pixels[..., 0])


def test_twelve_bits(tmp_path):
    pixels = noise(5, 6, 1, dtype=np.uint16) >> 4
    pixels[0, :2, 0] = 0, 4095
    tiff(tmp_path / 'a.tif', pixels, GRAY, bits=12)
    assert read_image(tmp_path / 'a.tif').pixels.reshape(-1).tolist() == rescaled(
        pixels.reshape(-1).tolist(), 4095, 65535)


def test_separate_planes(tmp_path):
    for samples, extra in ((3, None), (4, UNASSOCIATED)):
        pixels = noise(5, 7, samples)
        tiff(tmp_path / 'a.tif', pixels, RGB, extra, separate=True)
        np.testing.assert_array_equal(
            read_image(tmp_path / 'a.tif').pixels, pixels[..., [2, 1, 0, 3][:samples]])


@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'RGB', 'YCbCr'])
def test_usual_tiffs(tmp_path, mode):
    image = Image.fromarray(cv2.resize(noise(4, 4, 3), (32, 24))).convert(mode)
    image.save(tmp_path / 'a.tif')
    expected = np.array(image.convert('L' if mode in '1L' else 'RGB'))
    found = read_image(tmp_path / 'a.tif').pixels
    found = found[..., ::-1] if found.ndim == 3 else found
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= (1 if mode == 'YCbCr' else 0)


@pytest.mark.parametrize('samples, dtype, photometric, more', [
    (2, np.uint16, GRAY, dict(extra=UNASSOCIATED)),
    (2, np.uint8, GRAY, dict()),
    (2, np.uint8, GRAY, dict(extra=UNASSOCIATED, separate=True)),
    (3, np.uint16, RGB, dict(separate=True)),
    (4, np.uint16, RGB, dict(extra=UNASSOCIATED, separate=True)),
    (1, np.int16, GRAY, dict(more={339: [2]})),
    (1, np.int8, GRAY, dict(more={339: [2]})),
    (1, np.uint32, GRAY, dict()),
    (4, np.uint16, CMYK, dict()),
])
def test_rare_tiffs_are_refused(tmp_path, samples, dtype, photometric, more):
    tiff(tmp_path / 'a.tif', noise(5, 7, samples, dtype=dtype), photometric, **more)
    with pytest.raises(UserError, match=r'a.tif: .* convert it to PNG'):
        read_image(tmp_path / 'a.tif')


@pytest.mark.parametrize('photometric, samples, dtype, extra, kept', [
    (GRAY, 2, np.uint8, [0], [0]), (RGB, 4, np.uint8, [0], [2, 1, 0]),
    (RGB, 4, np.uint16, [0], [2, 1, 0]), (RGB, 5, np.uint8, [UNASSOCIATED, 0], [2, 1, 0, 3])])
def test_samples_of_a_tiff_that_are_no_alpha_are_dropped(
        tmp_path, photometric, samples, dtype, extra, kept):
    pixels = noise(5, 7, samples, dtype=dtype)
    tiff(tmp_path / 'a.tif', pixels, photometric, more={338: extra})
    np.testing.assert_array_equal(
        read_image(tmp_path / 'a.tif').pixels, np.squeeze(pixels[..., kept]))


def test_a_palette_of_one_bit(tmp_path):
    pixels = np.array([[[0b10110000]]], np.uint8)
    tiff(tmp_path / 'a.tif', pixels, PALETTE, bits=1,
         more={256: [8], 320: [0, 65535, 0, 0, 65535, 0]})
    blue, red = [255, 0, 0], [0, 0, 255]
    assert read_image(tmp_path / 'a.tif').pixels.tolist() == [
        [red, blue, red, red, blue, blue, blue, blue]]


@pytest.mark.parametrize('extra', [None, UNASSOCIATED])
def test_a_damaged_tiff(tmp_path, extra):
    tiff(tmp_path / 'a.tif', noise(5, 7, 4), RGB, extra)
    data = (tmp_path / 'a.tif').read_bytes()
    (tmp_path / 'a.tif').write_bytes(data[:100])
    with pytest.raises(UserError, match='a.tif: is damaged'):
        read_image(tmp_path / 'a.tif')


def test_threads_leave_pillow_as_it_was(tmp_path):
    pixels = noise(5, 7, 4)
    tiff(tmp_path / 'a.tif', pixels, RGB, UNASSOCIATED)
    data = (tmp_path / 'a.tif').read_bytes()
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: decode('a.tif', data), range(400)):
            np.testing.assert_array_equal(found.pixels, pixels[..., [2, 1, 0, 3]])
    assert before[0] is not None and before == (Image.MAX_IMAGE_PIXELS, list(warnings.filters))
