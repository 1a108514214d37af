# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Image files: orientation, profile, damage, and the command line."""
import errno
import io
import os
import runpy
import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from srdensenet_mm.checkpoints import save_network
from srdensenet_mm.errors import UserError
from srdensenet_mm.images.decoding import DecodedImage, read_size
from srdensenet_mm.images.files import read_image, write_png
from srdensenet_mm.inference import Upscaler
from srdensenet_mm.inference.folder import find_jobs, prepare_output, upscale_files
from srdensenet_mm.models import SRDenseNet

ROOT = Path(__file__).parents[2]
SMALL = dict(mid_channels=6, num_blocks=2, num_layers=2, growth_rate=3, bottleneck_channels=6)


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def test_every_orientation(tmp_path):
    for suffix in ('png', 'jpg'):
        for orientation in range(1, 9):
            image = Image.fromarray(noise(5, 7, 3))
            exif = Image.Exif()
            exif[0x0112] = orientation
            path = tmp_path / f'{orientation}.{suffix}'
            image.save(path, exif=exif, **(dict(quality=95) if suffix == 'jpg' else {}))
            with Image.open(path) as stored:
                expected = np.array(ImageOps.exif_transpose(stored).convert('RGB'))[..., ::-1]
            found = read_image(path).pixels
            assert found.shape == expected.shape
            assert np.abs(found.astype(int) - expected).max() <= 3  # of two JPEG decoders


def test_profile_is_kept(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    Image.fromarray(noise(5, 7, 3)).save(tmp_path / 'a.png', icc_profile=profile)
    image = read_image(tmp_path / 'a.png')
    write_png(tmp_path / 'b.png', image)
    with Image.open(tmp_path / 'b.png') as again:
        assert again.info['icc_profile'] == profile
        np.testing.assert_array_equal(np.array(again), image.pixels[..., ::-1])


def test_palettes(tmp_path):
    colours = Image.fromarray(noise(9, 7, 3)).quantize(11)
    colours.save(tmp_path / 'opaque.png')
    colours.save(tmp_path / 'opaque.bmp')
    colours.save(tmp_path / 'seen_through.png', transparency=bytes([0, 100, 200] + 8 * [255]))
    for name, mode, order in (('opaque.png', 'RGB', [2, 1, 0]), ('opaque.bmp', 'RGB', [2, 1, 0]),
                              ('seen_through.png', 'RGBA', [2, 1, 0, 3])):
        with Image.open(tmp_path / name) as stored:
            assert stored.mode == 'P'
            expected = np.array(stored.convert(mode))[..., order]
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels, expected)


def test_cmyk(tmp_path):
    # Smooth: of noise, two decoders make different things.
    inks = cv2.resize(noise(4, 4, 4), (32, 24))
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes())
    profile[16:20] = b'CMYK'
    Image.fromarray(inks, 'CMYK').save(
        tmp_path / 'a.jpg', quality=100, subsampling=0, icc_profile=bytes(profile))
    with Image.open(tmp_path / 'a.jpg') as stored:
        assert stored.mode == 'CMYK' and stored.info['icc_profile'] == profile
        expected = np.array(stored.convert('RGB'))[..., ::-1]
    image = read_image(tmp_path / 'a.jpg')
    assert np.abs(image.pixels.astype(int) - expected).max() <= 4
    assert expected.std() > 20 and image.icc_profile is None
    Image.fromarray(inks, 'CMYK').save(tmp_path / 'a.tif')
    np.testing.assert_array_equal(
        read_image(tmp_path / 'a.tif').pixels,
        np.array(Image.fromarray(inks, 'CMYK').convert('RGB'))[..., ::-1])


@pytest.mark.parametrize('shape', [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_sixteen_bits_stay(tmp_path, shape):
    pixels = noise(*shape, dtype=np.uint16)
    write_png(tmp_path / 'a.png', DecodedImage(pixels))
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png').pixels, pixels)


def test_damaged_files(tmp_path):
    with io.BytesIO() as buffer:
        Image.fromarray(noise(40, 40, 3)).save(buffer, 'PNG')
        data = buffer.getvalue()
    for name, content in (('cut.png', data[:-300]), ('empty.png', b''), ('text.png', b'hello')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            read_image(tmp_path / name)
    with pytest.raises(UserError, match='none.png: cannot be read .No such file'):
        read_image(tmp_path / 'none.png')


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'webp'])
@pytest.mark.parametrize('exif', [
    b'Exif\0\0garbage!!', b'hello there', b'Exif\0\0II*\0\xff\xff\xff\xff'])
def test_an_exif_that_cannot_be_read_spoils_no_pixels(tmp_path, recwarn, suffix, exif):
    image = Image.fromarray(cv2.resize(noise(4, 4, 3), (9, 6)))
    image.save(tmp_path / f'good.{suffix}')
    image.save(tmp_path / f'odd.{suffix}', exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / f'odd.{suffix}').pixels,
                                  read_image(tmp_path / f'good.{suffix}').pixels)
    assert read_size(tmp_path / f'odd.{suffix}') == (9, 6) and not recwarn


def test_pillow_raises_where_an_exif_cannot_be_read(tmp_path, monkeypatch):
    pixels = noise(5, 7, 3)
    Image.fromarray(pixels).save(tmp_path / 'a.png')

    def getexif(self):
        raise MemoryError
    monkeypatch.setattr(Image.Image, 'getexif', getexif)
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png').pixels, pixels[..., ::-1])


def test_long_texts_in_a_png(tmp_path):
    pixels = noise(5, 7, 3)
    texts = PngImagePlugin.PngInfo()
    texts.add_text('a', 'a' * 2_000_000, zip=True)
    texts.add_itxt('b', 'b' * 2_000_000, zip=True)
    Image.fromarray(pixels).save(tmp_path / 'a.png', pnginfo=texts)
    limits = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png').pixels, pixels[..., ::-1])
    assert read_size(tmp_path / 'a.png') == (7, 5)
    assert limits == (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)


def test_damage_that_is_out_of_memory_stops_no_folder(tmp_path, monkeypatch):
    Image.fromarray(noise(5, 7)).save(tmp_path / 'good.png')
    (tmp_path / 'huge.jp2').write_bytes(b'huge')
    pillow_open = Image.open

    def opens(source, **kwargs):
        with open(source, 'rb') if isinstance(source, Path) else io.BytesIO(
                source.getvalue()) as file:
            if file.read(4) == b'huge':
                raise MemoryError
        return pillow_open(source, **kwargs)
    monkeypatch.setattr(Image, 'open', opens)
    jobs = find_jobs([str(tmp_path)], tmp_path / 'out')
    summary = upscale_files(jobs, lambda pixels, progress: pixels)
    assert [path.name for path in summary.written] == ['good.png']
    assert summary.failed == [f'{tmp_path / "huge.jp2"}: is damaged or truncated (MemoryError)']


def test_places_and_collisions(tmp_path):
    for name in ('in/a.png', 'in/sub/b.jpg', 'in/.hidden/c.png', 'in/note.txt', 'in/out/old.png'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    out = tmp_path / 'in' / 'out'
    for given in (tmp_path / 'in', tmp_path / 'in' / '**' / '*.*'):
        jobs = find_jobs([str(given)], out)
        assert [job.target for job in jobs] == [out / 'a.png', out / 'sub' / 'b.png']
    with pytest.raises(UserError, match='overwritten by its own'):
        find_jobs([str(tmp_path / 'in' / 'a.png')], tmp_path / 'in')
    # An earlier result among the images, and the image that it is the result of.
    for path in (tmp_path / 'more' / 'sub' / 'b.jpg', out / 'sub' / 'b.png'):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    faulty, good = find_jobs([str(tmp_path / 'more'), str(out / 'sub')], out)
    assert 'b.jpg: ' in faulty.fault and 'out/sub/b.png would be overwritten' in faulty.fault
    assert good.source == out / 'sub/b.png' and not good.fault
    with pytest.raises(UserError, match='in: is the --out folder as well'):
        find_jobs([str(tmp_path / 'in')], tmp_path / 'in' / 'sub' / '..')
    (tmp_path / 'none').mkdir()
    with pytest.raises(UserError, match='no image'):
        find_jobs([str(tmp_path / 'none')], out)


def test_files_that_are_not_there_are_found_out_later(tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'gone.png').touch()  # of an earlier run
    job, = find_jobs([str(tmp_path / 'gone.png')], tmp_path / 'out')
    assert job.source == tmp_path / 'gone.png'
    with pytest.raises(UserError, match='x/gone.png: .*y/gone.png would become .* too'):
        find_jobs([str(tmp_path / name / 'gone.png') for name in 'xy'], tmp_path / 'out')


def test_names_too_long_are_found_out_later(tmp_path):
    Image.fromarray(noise(5, 7)).save(tmp_path / 'good.png')
    long = tmp_path / ('x' * 300) / 'a.png'
    jobs = find_jobs([str(long), str(tmp_path / 'good.png'), f'{tmp_path}/good*'], tmp_path / 'out')
    summary = upscale_files(jobs, lambda pixels, progress: pixels)
    assert [path.name for path in summary.written] == ['good.png']
    line, = summary.failed
    assert line.startswith(f'{long}: cannot be read (') and '\n' not in line
    with pytest.raises(UserError, match='no image there'):
        find_jobs([f'{long}*'], tmp_path / 'out')

    out = tmp_path / ('y' * 300)
    job, = find_jobs([str(tmp_path / 'good.png')], out)
    with pytest.raises(UserError, match='--out: .*yyy: cannot be made'):
        prepare_output(out)
    summary = upscale_files([job], lambda pixels, progress: pixels)
    assert len(summary.failed) == 1 and 'cannot be written (' in summary.failed[0]


def test_forbidden_folders_are_found_out_later(tmp_path, monkeypatch):
    # The superuser meets no folder like this.
    forbidden, real_stat, real_open = str(tmp_path / 'forbidden'), os.stat, io.open

    def refuse(real):
        def call(path, *args, **kwargs):
            if str(path).startswith(forbidden):
                raise PermissionError(errno.EACCES, 'Permission denied', str(path))
            return real(path, *args, **kwargs)
        return call
    monkeypatch.setattr(os, 'stat', refuse(real_stat))
    monkeypatch.setattr(io, 'open', refuse(real_open))
    monkeypatch.setattr('builtins.open', refuse(real_open))
    monkeypatch.setattr(Path, 'open', refuse(Path.open))  # which has its own before Python 3.11
    job, = find_jobs([f'{forbidden}/a.png'], f'{forbidden}/out')
    summary = upscale_files([job], lambda pixels, progress: pixels)
    assert summary.failed == [f'{forbidden}/a.png: cannot be read (Permission denied)']


def test_an_empty_input_is_not_the_current_folder(tmp_path, monkeypatch):
    Image.fromarray(noise(5, 7)).save(tmp_path / 'a.png')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match='an input is empty'):
        find_jobs(['a.png', ''], 'out')
    assert len(find_jobs(['.'], 'out')) == 1


@pytest.mark.parametrize('depth', [1, 2, 4, 8, 16])
def test_a_transparent_gray(tmp_path, depth):
    # By hand: Pillow writes no PNGs of 2 and 4 bits.
    width, value = 16 // depth, 1
    row = 1 << (16 - depth)  # the value 1, then zeros
    data = b''.join(
        struct.pack('>I', len(content)) + name + content
        + struct.pack('>I', zlib.crc32(name + content)) for name, content in (
            (b'IHDR', struct.pack('>IIBBBBB', width, 1, depth, 0, 0, 0, 0)),
            (b'tRNS', struct.pack('>H', value)),
            (b'IDAT', zlib.compress(b'\0' + row.to_bytes(2, 'big'))), (b'IEND', b'')))
    (tmp_path / 'a.png').write_bytes(b'\x89PNG\r\n\x1a\n' + data)
    pixels = read_image(tmp_path / 'a.png').pixels
    assert pixels.shape == (1, width, 4)
    assert pixels[0, 0, 3] == 0 and (pixels[0, 1:, 3] == np.iinfo(pixels.dtype).max).all()


def run_infer(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['infer.py', *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / 'tools' / 'infer.py'), run_name='__main__')
    return ended.value.code or 0


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    save_network(SRDenseNet(**SMALL, upscale_factor=2), tmp_path / 'net.pth')
    return tmp_path / 'net.pth'


def test_a_broken_image_stops_no_folder(tmp_path, monkeypatch, capsys, checkpoint):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    folder.mkdir()
    cv2.imwrite(str(folder / 'c.png'), noise(6, 5, 4, dtype=np.uint16))
    cv2.imwrite(str(folder / 'a.png'), noise(1, 1))
    (folder / 'b.png').write_bytes((folder / 'c.png').read_bytes()[:100])
    common = (folder, '--checkpoint', checkpoint, '--out', out, '--device', 'cpu')
    assert run_infer(monkeypatch, *common) == 1
    captured = capsys.readouterr()
    assert '2 written' in captured.out and 'b.png' in captured.err
    assert sorted(path.name for path in out.iterdir()) == ['a.png', 'c.png']
    found = cv2.imread(str(out / 'c.png'), cv2.IMREAD_UNCHANGED)
    assert found.shape == (12, 10, 4) and found.dtype == np.uint16

    (folder / 'b.png').unlink()
    (out / 'a.png').write_bytes(b'mine')
    assert run_infer(monkeypatch, *common) == 0
    assert '2 skipped' in capsys.readouterr().out and (out / 'a.png').read_bytes() == b'mine'
    assert run_infer(monkeypatch, *common, '--overwrite', '--self-ensemble') == 0
    assert cv2.imread(str(out / 'a.png'), cv2.IMREAD_UNCHANGED).shape == (2, 2)


def test_the_tool_says_what_it_passes_over_and_refuses_only_what_collides(
        tmp_path, monkeypatch, capsys, checkpoint):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    folder.mkdir()
    image = Image.fromarray(noise(6, 5, 3))
    for name in ('bird.jfif', 'one.jpg', 'one.tif', 'one.webp', 'two.png'):
        image.save(folder / name, 'JPEG' if name == 'bird.jfif' else None)
    image.save(folder / 'moves.gif', save_all=True, append_images=[image.rotate(180)])
    (folder / 'raw.cr2').write_bytes(b'II*\0')
    (folder / 'notes.txt').write_text('no image')
    status = run_infer(monkeypatch, folder, folder / 'two.png', '--checkpoint', checkpoint,
                       '--out', out, '--device', 'cpu')
    told = capsys.readouterr()
    assert status == 1
    assert sorted(path.name for path in out.iterdir()) == ['bird.png', 'moves.png', 'two.png']
    for line in ('3 written', '1 passed over', f'passed over: {folder}/raw.cr2: is a raw file',
                 f'note: {folder}/moves.gif: holds 2 frames', '3 failed'):
        assert line in told.out
    assert 'notes.txt' not in told.out + told.err
    assert told.err.count('error: ') == told.err.count('would become') == 3

    # By its name it is asked for, so it fails; beside others and alone.
    common = ('--checkpoint', checkpoint, '--out', out, '--device', 'cpu', '--overwrite')
    for others, expected in (([folder / 'two.png'], 1), ([], 2)):
        assert run_infer(monkeypatch, *others, folder / 'raw.cr2', *common) == expected
        assert 'raw.cr2: is a raw file of a camera' in capsys.readouterr().err
    (folder / 'raw.png').mkdir()
    for path in folder.glob('*.*'):
        if path.is_file() and path.suffix != '.cr2':
            path.unlink()
    assert run_infer(monkeypatch, folder, '--checkpoint', checkpoint, '--out', out) == 2
    assert 'no image there that can be read' in capsys.readouterr().err


def test_what_would_overwrite_an_image_stops_no_other(tmp_path):
    for name in ('a.png', 'b.jpg', 'sub/c.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(noise(5, 7)).save(tmp_path / name)
    jobs = find_jobs([str(tmp_path / name) for name in ('a.png', 'b.jpg', 'sub/c.png')], tmp_path)
    summary = upscale_files(jobs, lambda pixels, progress: pixels)
    assert [path.name for path in summary.written] == ['b.png', 'c.png']
    line, = summary.failed
    assert line.startswith(f'{tmp_path}/a.png: would be overwritten by its own result')


def test_a_full_disk_stops_a_folder(tmp_path, monkeypatch):
    for name in 'ab':
        cv2.imwrite(str(tmp_path / f'{name}.png'), np.zeros((4, 5), np.uint8))
    tried = []

    def full(path, image):
        tried.append(path)
        try:
            raise OSError(errno.ENOSPC, 'No space left on device')
        except OSError as error:
            raise UserError(f'{path}: cannot be written') from error

    monkeypatch.setattr('srdensenet_mm.inference.folder.write_png', full)
    jobs = find_jobs([str(tmp_path)], tmp_path / 'out')
    with pytest.raises(UserError, match='cannot be written'):
        upscale_files(jobs, lambda pixels, progress: pixels)
    assert len(tried) == 1


def test_a_folder_is_no_result(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((4, 5), np.uint8))
    (tmp_path / 'out/a.png').mkdir(parents=True)
    summary = upscale_files(find_jobs([str(tmp_path / 'a.png')], tmp_path / 'out'),
                            lambda pixels, progress: pixels)
    assert not summary.skipped and 'out/a.png: is a folder' in summary.failed[0]


def test_what_was_done_is_told_when_it_is_cut_short(
        tmp_path, monkeypatch, capsys, checkpoint):
    (tmp_path / 'in').mkdir()
    cv2.imwrite(str(tmp_path / 'in' / 'a.png'), noise(4, 4))
    (tmp_path / 'in' / 'b.png').write_bytes(b'no image')
    cv2.imwrite(str(tmp_path / 'in' / 'c.png'), noise(5, 4))
    upscale = Upscaler.__call__

    def interrupted(self, image, progress=None):
        if image.shape[0] == 5:
            raise KeyboardInterrupt
        return upscale(self, image, progress)

    monkeypatch.setattr(Upscaler, '__call__', interrupted)
    assert run_infer(monkeypatch, tmp_path / 'in', '--checkpoint', checkpoint,
                     '--out', tmp_path / 'out', '--device', 'cpu') == 130
    told = capsys.readouterr()
    assert '1 written' in told.out and 'b.png' in told.err


def test_the_tool_keeps_profile_and_orientation(tmp_path, monkeypatch, checkpoint):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = noise(6, 9, 3)
    Image.fromarray(pixels).save(tmp_path / 'a.png', icc_profile=profile, exif=exif)
    assert run_infer(monkeypatch, tmp_path / 'a.png', '--checkpoint', checkpoint,
                     '--out', tmp_path / 'out', '--device', 'cpu') == 0
    expected = Upscaler(checkpoint, device='cpu')(np.rot90(pixels, -1)[..., ::-1].copy())
    with Image.open(tmp_path / 'out' / 'a.png') as found:
        assert found.info['icc_profile'] == profile and found.getexif().get(0x0112, 1) == 1
        np.testing.assert_array_equal(np.array(found), expected[..., ::-1])


def test_a_long_panorama(tmp_path, monkeypatch, checkpoint):
    cv2.imwrite(str(tmp_path / 'wide.png'), noise(8, 40000))
    assert run_infer(monkeypatch, tmp_path / 'wide.png', '--checkpoint', checkpoint,
                     '--out', tmp_path / 'out', '--device', 'cpu', '--tile', 2000) == 0
    found = cv2.imread(str(tmp_path / 'out' / 'wide.png'), cv2.IMREAD_UNCHANGED)
    assert found.shape == (16, 80000)
