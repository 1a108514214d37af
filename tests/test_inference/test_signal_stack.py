# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""OpenVINO's models must not leave a signal stack that is gone: the next signal would kill."""
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Two models that go in the order of their coming, then a signal with a handler.
PROGRAM = '''
import signal, subprocess, torch
from srdensenet_mm.backends.engines import make_backend
from srdensenet_mm.models import SRDenseNet
signal.signal(signal.SIGCHLD, lambda *_: print('heard'))
net = SRDenseNet(mid_channels=4, num_blocks=1, num_layers=1, bottleneck_channels=4)
models = [make_backend(net, 'openvino') for _ in range(2)]
out = [model(torch.rand(1, 1, 8, 8)).shape for model in models]
while models:
    del models[0]
subprocess.run(['true'])
print('alive')
'''


def test_a_signal_after_two_models():
    pytest.importorskip('openvino')
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == ['heard', 'alive']
