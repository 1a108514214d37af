# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The weights that come with the package."""
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from run_tools_here import call_tool, refused

from srdensenet_mm.checkpoints import find_weights, load_network, published
from srdensenet_mm.checkpoints.published import in_package, published_files
from srdensenet_mm.errors import UserError

ROOT = Path(__file__).parents[2]


def test_every_published_file_has_one_name():
    found = published_files()
    assert sorted(found.values()) == sorted((ROOT / 'checkpoints').glob('*.pth'))
    for (name, scale), path in found.items():
        assert getattr(load_network(path), 'upscale_factor', None) == scale
        assert find_weights(name, scale) == path
        assert path.stem.endswith(hashlib.sha256(path.read_bytes()).hexdigest()[:8])


def test_the_largest_scale_is_the_default():
    assert find_weights() == find_weights('plain', 4)


@pytest.mark.parametrize('name, scale', [('phot', None), ('photo', 7)])
def test_unknown_weights_are_named_beside_those_there_are(name, scale):
    with pytest.raises(UserError, match=rf'{name}.*plain x4.*plain x2'):
        find_weights(name, scale)


def test_a_scale_without_weights_of_its_own(tmp_path, monkeypatch):
    names = [f'srdensenet_{name}-00000000.pth' for name in ('x2', 'x4', 'x4_photo', 'liif')]
    (tmp_path / 'checkpoints').mkdir()
    for name in names:
        (tmp_path / 'checkpoints' / name).touch()
    monkeypatch.setattr(published, 'configs_folder', lambda: tmp_path / 'configs')
    found = [find_weights(*given).name for given in (
        ('plain', 2), ('plain', 4.0), ('photo', ), ('liif', 2), ('plain', 2.7), ('plain', 6))]
    assert found == [*names[:3], *[names[3]] * 3]
    with pytest.raises(UserError, match='photo x2.7 .*plain x4, .*liif of any scale'):
        find_weights('photo', 2.7)


def test_the_tool_upscales_by_the_scale_asked_for(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((9, 12, 3), 90, np.uint8))
    status, _, _ = call_tool('infer', tmp_path / 'a.png', '--scale', 2, '--out', tmp_path / 'out')
    assert status == 0 and cv2.imread(str(tmp_path / 'out/a.png')).shape == (18, 24, 3)
    line = refused('infer', tmp_path / 'a.png', '--scale', 2, '--checkpoint', find_weights(),
                   '--out', tmp_path / 'out')
    assert line.startswith('error: scale=2:') and 'upscales by 4 alone' in line


def test_a_recipes_checkpoint_is_found_in_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = find_weights()
    named = f'checkpoints/{path.name}'
    assert in_package(named) == str(path)
    assert in_package(f'elsewhere/{path.name}') == f'elsewhere/{path.name}'
    Path('checkpoints').mkdir()
    Path(named).touch()
    assert in_package(named) == named
