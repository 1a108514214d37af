# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Importing the package in an environment that is not as it should be."""
import os
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
    gone = {'mmcv': None, 'mmcv_lite': None} if package == 'mmcv' else {package: None}
    message = message_of(monkeypatch, **gone)
    assert f'needs {package}, not installed here' in message
    assert "pip install" in message and f"'{package}{'-lite' * (package == 'mmcv')}>=" in message


@pytest.mark.parametrize('package, version', [
    ('mmagic', '1.0.1'), ('mmagic', '2.0.0'), ('mmcv', '1.7.2'), ('mmcv', '2.2.0'),
    ('mmengine', '0.9.1'), ('torch', '1.13.1+cu117')])
def test_too_old_or_too_new(monkeypatch, package, version):
    message = message_of(monkeypatch, **{package: version})
    assert f'but {version} is installed' in message
    assert f"'{package}{'-lite' * (package == 'mmcv')}>=" in message


@pytest.mark.parametrize('package, version', [
    ('torch', '2.9.1+cu128'), ('mmcv', '2.0.1'), ('mmagic', '1.2.1')])
def test_versions_in_between_pass(monkeypatch, package, version):
    pretend(monkeypatch, **{package: version})
    check_environment()


def test_without_mmcv_the_remedy_needs_no_compiler(monkeypatch):
    assert "pip install 'mmcv-lite>=" in message_of(monkeypatch, mmcv=None, mmcv_lite=None)


def test_mmcv_lite_is_enough_and_must_fit_too(monkeypatch):
    pretend(monkeypatch, mmcv=None, mmcv_lite='2.1.0')
    check_environment()
    assert 'but 1.7.1 is installed' in message_of(monkeypatch, mmcv=None, mmcv_lite='1.7.1')


def run_code(code, **env):
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          env={**os.environ, **env})
    assert done.returncode == 0, done.stderr
    return done.stdout


STAND_IN = """
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == 'mmcv._ext':
            raise ImportError('_ext.so: undefined symbol: _ZN3c106detail')
sys.meta_path.insert(0, Broken())
for name in [name for name in sys.modules if name.startswith('mmcv')]:
    del sys.modules[name]
import srdensenet_mm
from srdensenet_mm.errors import UserError
"""


def test_models_of_mmagic_without_ops():
    """They import and build; those that call the ops say in one line what to do."""
    said = run_code(STAND_IN + """
import mmagic.models, mmagic.apis, mmagic.datasets, mmagic.evaluation
from mmagic.registry import MODELS
MODELS.build(dict(type='EDSRNet', in_channels=3, out_channels=3, mid_channels=4, num_blocks=1))
try:
    MODELS.build(dict(type='EDVRNet', in_channels=3, out_channels=3, mid_channels=8))
except Exception as error:
    chain = []
    while error is not None:
        chain.append(error)
        error = error.__cause__ or error.__context__
    print(next(one for one in chain if isinstance(one, UserError)))
""").splitlines()
    assert len(said) == 1
    assert 'mmcv.ops.ModulatedDeformConv2d' in said[0] and 'undefined symbol' in said[0]
    assert 'pip uninstall mmcv-lite' in said[0] and 'make env MMCV_OPS=1' in said[0]


def test_names_that_nobody_imports_are_not_made_up():
    run_code(STAND_IN + """
import mmcv.ops, mmcv.ops.anything
assert not hasattr(mmcv.ops, '__all__')
assert isinstance(mmcv.ops.RoIAlign, type)
""")


def test_nothing_stands_in_where_the_ops_are():
    run_code("""
import sys, types
import mmcv
sys.modules['mmcv._ext'] = types.ModuleType('mmcv._ext')
import srdensenet_mm
from srdensenet_mm import compat
for finder in sys.meta_path:
    if type(finder).__module__ == compat.__name__:
        assert finder.find_spec('mmcv.ops', mmcv.__path__) is None
""")


@pytest.mark.parametrize('package', ['cv2', 'mmcv'])
def test_opencv_without_libgl(package, tmp_path):
    broken = tmp_path / package / '__init__.py'
    broken.parent.mkdir()
    broken.write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get('PYTHONPATH'))))
    said = run_code("""
import srdensenet_mm
from srdensenet_mm.errors import UserError
for _ in range(2):
    try:
        import srdensenet_mm.inference
    except UserError as error:
        print(error)
""", PYTHONPATH=path).splitlines()
    assert len(said) == 2
    for line in said:
        assert line.startswith(f'{package} cannot be imported: libGL.so.1')
        assert 'opencv-python-headless==' in line


@pytest.mark.parametrize('first', ['torch', 'mmengine', 'mmcv', 'mmagic', 'srdensenet_mm.models'])
def test_workarounds_are_there_whatever_is_imported_first(first, tmp_path):
    # Another program may look for a package before it is imported.
    said = run_code(f"""
import importlib, importlib.util, sys
import srdensenet_mm
assert 'torch' not in sys.modules
importlib.util.find_spec({first!r}.partition('.')[0])
importlib.import_module({first!r})
import torch
allowed = torch.serialization.get_safe_globals()
print(any(getattr(one, '__name__', '') == 'HistoryBuffer' for one in allowed))
from mmagic.registry import HOOKS, MODELS
print(MODELS.get('SRDenseNet').__module__, HOOKS.get('SaveOnSignalHook').__module__)
""")
    assert said.split() == ['True', 'srdensenet_mm.models.srdensenet',
                            'srdensenet_mm.engine.hooks.save_on_signal_hook']


def test_workarounds_are_there_where_all_was_imported_before():
    run_code("""
import torch, mmagic.registry
import srdensenet_mm
allowed = torch.serialization.get_safe_globals()
assert any(getattr(one, '__name__', '') == 'HistoryBuffer' for one in allowed)
assert mmagic.registry.MODELS.get('SRDenseNet')
""")


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
