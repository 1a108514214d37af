# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What says how values are meant travels from any file into the PNG."""
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from srdensenet_mm.inference.folder import find_jobs, upscale_files

ADOBE = {b'gAMA': struct.pack('>I', 45471), b'cHRM': struct.pack(
    '>8I', 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)}


def chunk(name, content):
    return struct.pack('>I', len(content)) + name + content + struct.pack(
        '>I', zlib.crc32(name + content))


def chunks_of(data):
    """Name -> content of all chunks before the pixels; checks what PNG demands of them."""
    found, at = {}, 8
    while data[at + 4:at + 8] != b'IDAT':
        size, name = int.from_bytes(data[at:at + 4], 'big'), data[at + 4:at + 8]
        content = data[at + 8:at + 8 + size]
        assert data[at:at + 12 + size] == chunk(name, content) and name not in found
        found[name] = content
        at += 12 + size
    return found


def travelled(tmp_path, name):
    jobs = find_jobs([str(tmp_path / name)], tmp_path / 'out')
    summary = upscale_files(jobs, lambda pixels, progress: np.kron(
        pixels, np.ones((2, 2, *(1, ) * (pixels.ndim - 2)), pixels.dtype)))
    assert not summary.failed, summary.failed
    data = jobs[0].target.read_bytes()
    assert cv2.imdecode(np.frombuffer(data, np.uint8), -1) is not None
    return {key: value for key, value in chunks_of(data).items() if key != b'IHDR'}, summary


def profile(space=b'RGB '):
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes())
    content[16:20] = space
    return bytes(content)


SAID = {b'gAMA': struct.pack('>I', 100_000), b'cHRM': ADOBE[b'cHRM'], b'sRGB': b'\1',
        b'cICP': bytes([9, 16, 0, 1]), b'mDCV': bytes(range(24)), b'cLLI': bytes(range(8)),
        b'pHYs': struct.pack('>IIB', 3000, 1500, 0)}


@pytest.mark.parametrize('names', [[name] for name in SAID] + [list(SAID)],
                         ids=lambda names: b'-'.join(names).decode())
@pytest.mark.parametrize('pixels', [
    np.full((5, 7), 9, np.uint8), np.full((5, 7, 3), 9, np.uint16), np.full((5, 7, 4), 9, np.uint8),
    'palette'], ids=['gray', 'rgb16', 'rgba', 'palette'])
def test_chunks_of_a_png(tmp_path, pixels, names):
    if isinstance(pixels, str):
        file = io.BytesIO()
        Image.fromarray(np.arange(35, dtype=np.uint8).reshape(5, 7)).convert('P').save(file, 'PNG')
        data = file.getvalue()
    else:
        data = cv2.imencode('.png', pixels)[1].tobytes()
    said = b''.join(chunk(name, SAID[name]) for name in names)
    (tmp_path / 'a.png').write_bytes(data[:33] + chunk(b'tEXt', b'a\0b') + said + data[33:])
    assert travelled(tmp_path, 'a.png')[0] == {name: SAID[name] for name in names}


@pytest.mark.parametrize('name', ['a.png', 'a.jpg', 'a.webp', 'a.tif', 'a.avif', 'a.jp2'])
def test_profiles(tmp_path, name):
    image = Image.fromarray(np.full((16, 16, 3), 99, np.uint8))
    image.save(tmp_path / name, icc_profile=profile())
    if name == 'a.jp2':  # whose profile Pillow does not write
        data = (tmp_path / name).read_bytes()
        box = data.index(b'colr') - 4
        size = int.from_bytes(data[box:box + 4], 'big')
        new = b'colr\2\0\0' + profile()
        header = data.index(b'jp2h') - 4
        grown = int.from_bytes(data[header:header + 4], 'big') + 4 + len(new) - size
        (tmp_path / name).write_bytes(
            data[:header] + struct.pack('>I', grown) + data[header + 4:box]
            + struct.pack('>I', 4 + len(new)) + new + data[box + size:])
    found, _ = travelled(tmp_path, name)
    assert zlib.decompress(found[b'iCCP'].partition(b'\0')[2][1:]) == profile()


def test_a_profile_that_does_not_fit_is_left_behind_and_said(tmp_path):
    Image.fromarray(np.full((6, 6, 3), 9, np.uint8)).save(
        tmp_path / 'a.png', icc_profile=profile(b'GRAY'))
    found, summary = travelled(tmp_path, 'a.png')
    assert not found and 'a.png: its ICC profile is for GRAY' in summary.notes[0]


@pytest.mark.parametrize('name', ['a.jpg', 'a.webp', 'a.png'])
@pytest.mark.parametrize('how', ['rules', 'space', 'tags', 'garbage'])
def test_colours_that_exif_tells(tmp_path, name, how):
    exif = Image.Exif()
    exif[274] = 1  # without any tag, Pillow writes no EXIF into a PNG
    details = exif.get_ifd(0x8769)
    details[0xA001] = 2 if how == 'space' else 0xFFFF
    if how == 'rules':
        details[0xA005] = {1: 'R03'}
    if how == 'tags':
        details[0xA500] = 2.19921875
        exif[318], exif[319] = (0.3127, 0.329), (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
    if how == 'garbage':
        details[0xA500], exif[318] = 0., (0.3127, )
    Image.fromarray(np.full((16, 16, 3), 99, np.uint8)).save(tmp_path / name, exif=exif)
    found, _ = travelled(tmp_path, name)
    found.pop(b'pHYs', None)
    assert found == ({} if how == 'garbage' else ADOBE)


def test_colours_that_a_tiff_tells(tmp_path):
    tags = {318: (0.3127, 0.329), 319: (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)}
    exif = Image.Exif()
    exif.update(tags)
    Image.fromarray(np.full((6, 6, 3), 99, np.uint8)).save(tmp_path / 'a.tif', exif=exif)
    assert travelled(tmp_path, 'a.tif')[0] == {b'cHRM': ADOBE[b'cHRM']}


def test_the_profile_in_a_bmp(tmp_path):
    inside, pixels = profile(), bytes(4 * 3 * 4)
    header = struct.pack('<IiiHHIIiiII', 124, 4, 4, 1, 24, *[0] * 6) + bytes(16) + b'DEBM'
    header += bytes(52) + struct.pack('<II', 124 + len(pixels), len(inside)) + bytes(4)
    size = 14 + len(header) + len(pixels) + len(inside)
    (tmp_path / 'a.bmp').write_bytes(struct.pack(
        '<2sIHHI', b'BM', size, 0, 0, 14 + len(header)) + header + pixels + inside)
    assert len(header) == 124
    found, _ = travelled(tmp_path, 'a.bmp')
    assert zlib.decompress(found[b'iCCP'][13:]) == inside


def test_colours_that_avif_names(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), 99, np.uint8)).save(file, 'AVIF')
    data = file.getvalue()
    at = data.index(b'colrnclx') + 8
    for codes, said in (((12, 13), {b'cICP': bytes([12, 13, 0, 1])}), ((1, 13), {}), ((2, 2), {})):
        (tmp_path / 'a.avif').write_bytes(data[:at] + struct.pack('>HH', *codes) + data[at + 4:])
        found = travelled(tmp_path, 'a.avif')[0]
        assert found == said
        (tmp_path / 'out/a.png').unlink()


def test_the_resolution_stays(tmp_path):
    for name in ('a.jpg', 'b.tif', 'c.bmp'):
        Image.fromarray(np.full((6, 6, 3), 9, np.uint8)).save(tmp_path / name, dpi=(300, 300))
        assert travelled(tmp_path, name)[0] == {b'pHYs': struct.pack('>IIB', 11811, 11811, 1)}


def test_cmyk_by_its_profile(tmp_path, monkeypatch):
    # No profile for CMYK comes with Pillow; the transform is looked at as it is asked for.
    asked = []

    def transform(image, source, target, outputMode):
        asked.append((image.mode, outputMode))
        return Image.new('RGB', image.size, (1, 2, 3))

    monkeypatch.setattr(ImageCms, 'profileToProfile', transform)
    image = Image.new('CMYK', (6, 5), (10, 20, 30, 40))
    for name in ('a.jpg', 'a.tif'):
        image.save(tmp_path / name, icc_profile=profile(b'CMYK'))
        found, summary = travelled(tmp_path, name)
        assert b'iCCP' not in found and not summary.notes
        assert cv2.imread(str(tmp_path / 'out/a.png'))[0, 0].tolist() == [3, 2, 1]
        (tmp_path / 'out/a.png').unlink()
    assert asked == [('CMYK', 'RGB')] * 2
