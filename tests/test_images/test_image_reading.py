# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import logging

import numpy as np
import pytest
from image_corpus import make_rgb, write, write_bad, write_good
from PIL import Image

from srdensenet_mm.datasets import find_images, read_rgb
from srdensenet_mm.errors import UserError
from srdensenet_mm.images.folders import take_images, walk_files


def test_every_sort_of_good_image(tmp_path):
    expected = write_good(tmp_path)
    assert set(find_images(tmp_path)) == set(expected)
    for path, (rgb, tolerance) in expected.items():
        image = read_rgb(path)
        assert image.dtype == np.uint8 and image.shape == rgb.shape, path.name
        difference = np.abs(image.astype(int) - rgb).max()
        assert difference <= tolerance, f'{path.name}: {difference} levels off'


def test_every_sort_of_bad_image_is_named(tmp_path):
    too_small = ('1x1', '11x50')  # Bad for a purpose, not in themselves.
    for path, reason in write_bad(tmp_path).items():
        if reason in too_small:
            assert read_rgb(path).size
            continue
        with pytest.raises(UserError) as error:
            read_rgb(path)
        message = str(error.value)
        assert str(path) in message and reason in message and '\n' not in message, message


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_alpha_of_a_tiff_is_dropped(tmp_path, dtype):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (9, 7, 4), dtype, True)
    expected = pixels if dtype is np.uint8 else np.floor(pixels / 257 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(
        read_rgb(write(tmp_path / 'a.tif', pixels)), expected[..., :3])
    if dtype is np.uint8:
        Image.fromarray(pixels[..., 2:], 'LA').save(tmp_path / 'gray.tif')
        np.testing.assert_array_equal(
            read_rgb(tmp_path / 'gray.tif'), pixels[..., [2, 2, 2]])


def test_portable_maps_are_rescaled(tmp_path):
    (tmp_path / 'a.pgm').write_bytes(b'P5 4 1 100\n\x00\x64\x19\x32')
    assert read_rgb(tmp_path / 'a.pgm').tolist() == [[[v] * 3 for v in (0, 255, 64, 128)]]
    (tmp_path / 'b.ppm').write_bytes(b'P6 1 1 1023\n\x00\x00\x03\xff\x02\x00')
    assert read_rgb(tmp_path / 'b.ppm').tolist() == [[[0, 255, 128]]]


def test_what_is_found(tmp_path):
    wanted = [write(tmp_path / name, make_rgb()) for name in ('b.png', 'a/z.JPG', 'a/b/c/x.tif')]
    for name in ('.hidden.png', '.cache/y.png', 'a/notes.txt', 'a/png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'x')
    (tmp_path / 'folder.png').mkdir()
    assert find_images(tmp_path) == sorted(wanted)
    assert find_images([str(tmp_path / 'a' / 'b'), tmp_path / 'a']) == [
        wanted[2], wanted[2], wanted[1]]


def test_loops_of_links_end(tmp_path):
    write(tmp_path / 'a' / 'x.png', make_rgb())
    write(tmp_path / 'b' / 'y.png', make_rgb())
    for folder in 'ab':
        for target in ('.', 'a', 'b'):
            (tmp_path / folder / f'link to {target}').symlink_to(tmp_path / target)
    assert len(find_images(tmp_path)) == 2


def test_linked_folders_are_followed(tmp_path):
    write(tmp_path / 'elsewhere' / 'x.png', make_rgb())
    (tmp_path / 'here').mkdir()
    (tmp_path / 'here' / 'link').symlink_to(tmp_path / 'elsewhere')
    assert find_images(tmp_path / 'here') == [tmp_path / 'here' / 'link' / 'x.png']


def test_folders_that_are_no_use(tmp_path):
    (tmp_path / 'file').write_bytes(b'x')
    for folder in ('missing', 'file'):
        with pytest.raises(UserError, match=f'{folder}: no such folder'):
            find_images(tmp_path / folder)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'empty' / 'notes.txt').write_text('x')
    with pytest.raises(UserError, match='empty: holds no image'):
        find_images(tmp_path / 'empty')
    for nothing in ([], '', ['', tmp_path]):
        with pytest.raises(UserError, match='no folder of images was given'):
            find_images(nothing)


KINDS = {'a.jfif': 'JPEG', 'b.gif': 'GIF', 'c.avif': 'AVIF', 'd.tga': 'TGA', 'e.webp': 'WEBP',
         'f.jpx': 'JPEG2000', 'g.ico': 'ICO', 'h.qoi': 'QOI', 'i.pcx': 'PCX', 'j.MPO': 'JPEG',
         'named wrongly.png': 'JPEG', 'named wrongly.jpg': 'PNG', 'without ending': 'PNG',
         'unknown.download': 'JPEG', 'tiff without ending': 'TIFF', 'photo.heic': 'JPEG'}
OTHERS = {'x.heic': (b'\0\0\0\x18ftypheic', 'pillow-heif'), 'x.nef': (b'II*\0', 'raw file'),
          'x.svg': (b'<svg/>', 'drawing'), 'x.exr': (b'v/1\1', 'floating-point'),
          'x.jxl': (b'\xff\x0a', 'not read')}
NO_IMAGES = {'x.txt': b'II*\0', 'Thumbs.db': b'\xd0\xcf', 'x.json': b'{}', 'empty': b'',
             '.hidden.nef': b'II*\0', 'table.csv': b'GIF,1'}


def fill_folder(folder):
    """Images of many kinds, others that nobody reads, and files that are no images."""
    rgb = make_rgb(height=48, width=48)
    for name, kind in KINDS.items():
        Image.fromarray(rgb).save(folder / name, kind)
    for name, content in {**NO_IMAGES, **{key: value[0] for key, value in OTHERS.items()}}.items():
        (folder / name).write_bytes(content + bytes(40))
    return rgb


def test_every_image_of_a_folder_is_taken_or_said_to_be_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr('srdensenet_mm.images.folders._reads_heif', lambda: False)
    rgb = fill_folder(tmp_path)
    taken, passed_over = take_images(walk_files(tmp_path))
    # An ending that is passed over counts, whatever the file holds.
    assert [path.name for path in taken] == sorted(set(KINDS) - {'photo.heic'})
    assert {path.name for path in passed_over} == {*OTHERS, 'photo.heic'}
    for path, why in passed_over.items():
        assert path.name not in OTHERS or OTHERS[path.name][1] in why
    for path in taken:
        found = read_rgb(path)
        assert found.shape == rgb.shape
        # Of few colours (GIF), or in lossy formats.
        assert np.abs(found.astype(int) - rgb).mean() < 6, path.name


@pytest.mark.parametrize('content, words', [
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:00\n', 'Git LFS pointer'),
    (b'\n<!DOCTYPE html><HTML><title>404', 'web page')])
def test_what_was_fetched_in_an_images_place_is_named(tmp_path, content, words):
    (tmp_path / 'a.png').write_bytes(content)
    with pytest.raises(UserError, match=f'a.png: is a {words}'):
        read_rgb(tmp_path / 'a.png')


def test_what_is_passed_over_is_logged(tmp_path, monkeypatch):
    monkeypatch.setattr('srdensenet_mm.images.folders._reads_heif', lambda: False)
    said = []
    monkeypatch.setattr('srdensenet_mm.images.folders._reads_heif', lambda: False)
    monkeypatch.setattr('srdensenet_mm.images.reading.print_log',
                        lambda line, logger, level: said.append((line, level)))
    fill_folder(tmp_path)
    find_images(tmp_path)
    (line, level), = said
    assert level == logging.WARNING and line.count('\n') == 0
    assert f'{tmp_path}: 6 images are passed over: ' in line and line.endswith('and 3 more')
    with pytest.raises(UserError, match='holds no image that can be read.*x.svg: is a drawing'):
        (tmp_path / 'only').mkdir()
        (tmp_path / 'only/x.svg').write_text('<svg/>')
        find_images(tmp_path / 'only')


@pytest.mark.parametrize('kind', ['gif', 'png', 'webp', 'tif', 'avif'])
def test_of_several_frames_the_first_is_taken_and_it_is_said(tmp_path, monkeypatch, kind):
    said = []
    monkeypatch.setattr('srdensenet_mm.images.reading.print_log',
                        lambda line, logger, level: said.append(line))
    frames = [Image.new('RGB', (16, 16), colour) for colour in ('red', 'lime', 'blue')]
    path = tmp_path / f'a.{kind}'
    frames[0].save(path, save_all=True, append_images=frames[1:])
    for _ in range(2):
        assert np.abs(read_rgb(path).astype(int) - (255, 0, 0)).max() <= 4
    assert said == [f'{path}: holds 3 frames or pages, the first is taken']


def test_heic_is_read_where_its_package_is_there(tmp_path):
    pillow_heif = pytest.importorskip('pillow_heif')
    rgb = make_rgb()
    pillow_heif.from_pillow(Image.fromarray(rgb)).save(tmp_path / 'a.heic', quality=90)
    assert find_images(tmp_path) == [tmp_path / 'a.heic']
    assert np.abs(read_rgb(tmp_path / 'a.heic').astype(int) - rgb).mean() < 6
