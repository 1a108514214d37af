# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The source distribution, the wheel built from it, and its use in an empty folder."""
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmagic_layout import write_layout
from mmengine.config import Config

from srdensenet_mm.inference import Upscaler

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'LICENSE', 'CITATION.cff', 'README.md',
           'Makefile', 'model-index.yml', 'requirements', 'configs', 'tools', 'checkpoints',
           'srdensenet_mm')
SKIPPED = shutil.ignore_patterns('__pycache__', '.mim')


def checked(*command, cwd, **env):
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **env}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """A wheel, built from a source distribution, built from a clean copy of the project."""
    clone = tmp_path_factory.mktemp('clone')
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, clone / name, ignore=SKIPPED)
        elif (ROOT / name).exists():
            shutil.copy2(ROOT / name, clone / name)
    # What must not get into a wheel: leftovers of earlier builds and runs.
    (clone / 'tools' / '__pycache__').mkdir()
    (clone / 'tools' / '__pycache__' / 'train.cpython-311.pyc').write_bytes(b'')
    stale = clone / 'build' / 'lib' / 'srdensenet_mm' / '.mim' / 'configs'
    stale.mkdir(parents=True)
    (stale / 'stale.py').write_text('')
    out = tmp_path_factory.mktemp('out')
    checked(sys.executable, '-c', 'import setuptools.build_meta as backend, sys\n'
            'backend.build_sdist(sys.argv[1])', str(out), cwd=clone)
    with tarfile.open(next(out.glob('*.tar.gz'))) as archive:
        archive.extractall(out / 'sdist', filter='data')
    source = next((out / 'sdist').iterdir())
    checked(sys.executable, '-m', 'pip', 'wheel', '.', '--no-deps', '--no-build-isolation',
            '--wheel-dir', str(out), cwd=source)
    return next(out.glob('*.whl'))


@pytest.fixture(scope='module')
def site(wheel, tmp_path_factory):
    """The wheel's content, as an installer would lay it out."""
    folder = tmp_path_factory.mktemp('site')
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def test_recipes_and_tools_travel_in_mim(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if '/.mim/' in name}
    expected = {
        f'srdensenet_mm/.mim/{path.relative_to(ROOT).as_posix()}'
        for top in ('configs', 'tools', 'checkpoints') for path in (ROOT / top).rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
        and (top != 'checkpoints' or path.suffix == '.pth')}
    if (ROOT / 'model-index.yml').exists():
        expected.add('srdensenet_mm/.mim/model-index.yml')
    assert names == expected
    assert 'srdensenet_mm/.mim/tools/train.py' in names


def test_every_module_travels_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist()
             if '/.mim/' not in name and '.dist-info/' not in name}
    assert names == {path.relative_to(ROOT).as_posix()
                     for path in (ROOT / 'srdensenet_mm').rglob('*.py')
                     if '.mim' not in path.parts}


def test_metadata(site):
    info = next(site.glob('*.dist-info'))
    metadata = Parser().parsestr((info / 'METADATA').read_text())
    version = re.search("'(.+)'", (ROOT / 'srdensenet_mm/version.py').read_text()).group(1)
    assert metadata['Version'] == version
    assert set(metadata['Requires-Python'].split(',')) == {'>=3.10', '<3.13'}
    assert set(metadata.get_all('Provides-Extra')) >= {
        'lite', 'ops', 'onnxruntime', 'openvino', 'tests', 'all'}
    needed = [line for line in metadata.get_all('Requires-Dist') if 'extra' not in line]
    names = {re.match(r'[\w-]+', line).group() for line in needed}
    assert {'mmagic', 'mmengine', 'torch'} <= names
    # Either would be put over the other in somebody's environment.
    assert names.isdisjoint({'mmcv', 'mmcv-lite'})
    # Ranges: exact pins would take somebody's own environment apart.
    assert not [line for line in needed if '==' in line]
    assert (info / 'entry_points.txt').read_text().split('=')[0].endswith('srdensenet-mm ')


def test_list_copy_and_train_in_an_empty_folder(site, tmp_path):
    """Nothing but the wheel and images: recipes by name, from the copy in the wheel."""
    write_layout(tmp_path / 'data')
    environment = {'PYTHONPATH': str(site), 'OMP_NUM_THREADS': '1'}
    command = (sys.executable, '-m', 'srdensenet_mm')
    listing = ('from srdensenet_mm import cli; from srdensenet_mm.config import recipes; '
               'print(recipes.configs_folder()); '
               "cli.sys.argv = ['srdensenet-mm', 'list']; cli.entry()")
    listed = checked(sys.executable, '-c', listing, cwd=tmp_path, **environment).split()
    assert str(site / 'srdensenet_mm/.mim/configs') in listed and 'srdensenet_x4_div2k' in listed
    small = [f'model.generator.{name}=4' for name in (
        'mid_channels', 'num_blocks', 'num_layers', 'growth_rate', 'bottleneck_channels')]
    checked(
        *command, 'train', 'srdensenet_x4_div2k', '--work-dir', 'work', '--cfg-options',
        'train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2',
        'train_dataloader.num_workers=1', *small, cwd=tmp_path, **environment)
    assert (tmp_path / 'work/best_PSNR_iter_2.pth').is_file()

    checked(*command, 'copy', 'srdensenet_x4_div2k', cwd=tmp_path, **environment)
    assert (Config.fromfile(tmp_path / 'srdensenet_x4_div2k.py').to_dict()
            == Config.fromfile(ROOT / 'configs/srdensenet_x4_div2k.py').to_dict())


def test_upscale_and_fine_tune_with_the_weights_of_the_wheel(site, tmp_path):
    image = cv2.imread(str(next((ROOT / 'tests/data/Set5/HR').glob('*.png'))))[:24, :20]
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    environment = {'PYTHONPATH': str(site), 'OMP_NUM_THREADS': '1'}
    checked(sys.executable, '-m', 'srdensenet_mm', 'infer', 'image.png', '--out', 'out',
            cwd=tmp_path, **environment)
    expected = Upscaler(next((ROOT / 'checkpoints').glob('srdensenet_x4-*.pth')))(image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'out/image.png')), expected)

    # What srdensenet_x3 and others begin from.
    started = checked(
        sys.executable, '-c', 'from srdensenet_mm.checkpoints.published import in_package; '
        'from srdensenet_mm.config.reading import read_config; '
        "print(in_package(read_config('srdensenet_x3').load_from))", cwd=tmp_path, **environment)
    assert Path(started.strip()).parent == site / 'srdensenet_mm/.mim/checkpoints'
