# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import errno
import os
import signal
import sys
from pathlib import Path

import pytest

# Tests run side by side, and networks as small as theirs are slower on several
# threads, much so on a busy machine. Tools that tests start inherit this.
os.environ['OMP_NUM_THREADS'] = '1'

# A background job ignores Ctrl-C and hands that on to its children, which tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Modules that tests share (plain_srdensenet, ...) lie beside this file, those that they share with
# the studies (tiny_training, ...) beside these.
TESTS = Path(__file__).parent
sys.path[:0] = [str(TESTS), str(TESTS.parent / 'studies')]

# Before any test imports MMagic: it stands in for mmcv's ops where they are missing.
import srdensenet_mm  # noqa: E402, F401


@pytest.fixture(autouse=True, scope='module')
def no_run_before():
    """A file's tests find no default scope of a run before them, as a user's script does.

    `Runner` sets it for the whole process. Which files share a process differs between runs.
    """
    from mmengine.registry import DefaultScope

    before = dict(DefaultScope._instance_dict)
    DefaultScope._instance_dict.clear()
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


@pytest.fixture(params=['EPERM', 'ENOTSUP', 'EINVAL', 'ENOSYS'])
def grudging_share(request, monkeypatch):
    """A file system that takes files, and nothing that can be asked of them."""
    code = getattr(errno, request.param)

    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    for name in ('chmod', 'fchmod', 'lchmod', 'chown', 'fchown', 'lchown', 'utime', 'fsync',
                 'fdatasync', 'link', 'symlink', 'rename', 'replace', 'setxattr'):
        monkeypatch.setattr(os, name, refuse, raising=False)


@pytest.fixture
def config_as_it_is(monkeypatch):
    """Without MMEngine's layout of a config's text for each log and checkpoint: a second a time."""
    monkeypatch.setattr(
        'mmengine.config.config.FormatCode', lambda text, **kwargs: (text, False))
