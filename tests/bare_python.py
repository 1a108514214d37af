# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Scripts of studies/ on a machine that has PyTorch, but neither MMEngine, MMagic nor MMCV."""
import subprocess
import sys

from small_models import ROOT

_WITHOUT = '''
import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('mmengine', 'mmagic', 'mmcv'):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name='__main__')
'''


def run(script, *arguments, bare=True):
    """Run a script of studies/ and return what it prints."""
    command = [str(ROOT / 'studies' / script), *map(str, arguments)]
    done = subprocess.run([sys.executable, *(['-c', _WITHOUT] if bare else []), *command],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
