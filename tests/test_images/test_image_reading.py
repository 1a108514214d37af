# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from image_corpus import as_nobody, make_rgb, write, write_bad, write_good
from PIL import Image

from srdensenet_mm.datasets import find_images, read_rgb
from srdensenet_mm.errors import UserError


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


def test_a_very_wide_image(tmp_path):
    rgb = make_rgb(height=20, width=40_000)
    np.testing.assert_array_equal(read_rgb(write(tmp_path / 'wide.png', rgb)), rgb)


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


def test_what_may_not_be_read():
    folder = Path(tempfile.mkdtemp(prefix='may not be read '))
    try:
        folder.chmod(0o755)
        image = write(folder / 'secret.png', make_rgb())
        image.chmod(0)
        write(folder / 'closed' / 'x.png', make_rgb())
        (folder / 'closed').chmod(0)
        with as_nobody():
            if os.access(image, os.R_OK, effective_ids=True):
                pytest.skip('permissions mean nothing here')
            with pytest.raises(UserError, match='secret.png: cannot be read .Permission denied'):
                read_rgb(image)
            with pytest.raises(UserError, match='closed: cannot be listed'):
                find_images(folder)
    finally:
        (folder / 'closed').chmod(0o755)
        shutil.rmtree(folder)
