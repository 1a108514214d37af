# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Importing the package in an environment that is not as it should be."""
import importlib
import subprocess
import sys
from importlib import metadata

import pytest

from srdensenet_mm import compat
from srdensenet_mm.compat import BrokenEnvironment, check_environment


def pretend(monkeypatch, **versions):
    """Have the installed versions look otherwise; None: not installed."""
    real = metadata.version

    def version(name):
        found = versions.get(name.replace('-', '_'), real)
        if found is real:
            return real(name)
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(compat.metadata, 'version', version)


def message_of(monkeypatch, **versions):
    pretend(monkeypatch, **versions)
    with pytest.raises(BrokenEnvironment) as caught:
        check_environment()
    message = str(caught.value)
    assert '\n' not in message
    return message


def test_this_environment_is_fine():
    check_environment()


@pytest.mark.parametrize('package', ['torch', 'mmengine', 'mmcv', 'mmagic'])
def test_missing(monkeypatch, package):
    message = message_of(monkeypatch, **{package: None, 'mmcv_lite': None})
    assert f'needs {package}, not installed here' in message
    assert "pip install" in message and f"'{package}>=" in message


@pytest.mark.parametrize('package, version', [
    ('mmagic', '1.0.1'), ('mmagic', '2.0.0'), ('mmcv', '1.7.2'), ('mmcv', '2.2.0'),
    ('mmengine', '0.9.1'), ('torch', '1.13.1+cu117')])
def test_too_old_or_too_new(monkeypatch, package, version):
    message = message_of(monkeypatch, **{package: version})
    assert f'but {version} is installed' in message
    assert f"'{package}>=" in message


@pytest.mark.parametrize('package, version', [
    ('torch', '2.9.1+cu128'), ('mmcv', '2.0.1'), ('mmagic', '1.2.1')])
def test_versions_in_between_pass(monkeypatch, package, version):
    pretend(monkeypatch, **{package: version})
    check_environment()


def test_mmcv_is_never_built_in_isolation(monkeypatch):
    assert '--no-build-isolation' in message_of(monkeypatch, mmcv=None, mmcv_lite=None)


def test_mmcv_lite(monkeypatch):
    message = message_of(monkeypatch, mmcv=None, mmcv_lite='2.1.0')
    assert 'mmcv-lite, which has no ops' in message
    assert 'pip uninstall mmcv-lite' in message


@pytest.mark.parametrize('reason', [
    "No module named 'mmcv._ext'",
    '_ext.cpython-311-x86_64-linux-gnu.so: undefined symbol: _ZN3c106detail'])
def test_mmcv_without_usable_ops(monkeypatch, reason):
    real = importlib.import_module

    def import_module(name, *args):
        if name == 'mmcv._ext':
            raise ImportError(reason)
        return real(name, *args)

    monkeypatch.setattr(compat.importlib, 'import_module', import_module)
    message = message_of(monkeypatch)
    assert reason in message
    assert (f'--force-reinstall --no-deps --no-build-isolation mmcv=={metadata.version("mmcv")}'
            in message)


def test_opencv_without_libgl(monkeypatch):
    real = importlib.import_module

    def import_module(name, *args):
        if name == 'mmcv':
            raise ImportError('libGL.so.1: cannot open shared object file')
        return real(name, *args)

    monkeypatch.setattr(compat.importlib, 'import_module', import_module)
    assert 'opencv-python-headless==' in message_of(monkeypatch)


def test_a_config_gets_to_see_the_reason(tmp_path):
    # mmengine's custom_imports hides an ImportError's message behind its own.
    config = tmp_path / 'config.py'
    config.write_text("custom_imports = dict(imports=['srdensenet_mm'])\n")
    code = (
        'import importlib.metadata as metadata\n'
        'real = metadata.version\n'
        "metadata.version = lambda name: '1.0.0' if name == 'mmagic' else real(name)\n"
        'from mmengine.config import Config\n'
        f'Config.fromfile({str(config)!r})\n')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert 'needs mmagic from 1.2.0 on' in last
    assert "pip install 'mmagic>=1.2.0,<2.0.0'" in last
