# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import runpy
import sys
from pathlib import Path

import pytest
from plain_srdensenet import PlainSRDenseNet
from small_models import SMALL
from torch import nn

from srdensenet_mm.benchmark import complexity
from srdensenet_mm.benchmark.complexity import count_multiply_adds, count_parameters
from srdensenet_mm.models import SRDenseNet

ROOT = Path(__file__).parents[2]
COUNT = complexity._count


def test_parameters_and_multiply_adds_of_the_default_network(monkeypatch):
    devices = []
    monkeypatch.setattr(complexity, '_count', lambda *arguments: devices.append(
        arguments[-1]) or COUNT(*arguments))
    network = SRDenseNet()
    assert count_parameters(network) == 2_004_225
    # By hand, for one LR pixel of x4.
    blocks = sum(9 * 16 * (128 * (i + 1) + 16 * sum(range(1, 8))) for i in range(8))
    tail = 1152 * 256 + (4 + 16) * 256 * 256 + 16 * 9 * 256
    pixel = 9 * 128 + blocks + tail
    found = count_multiply_adds(network, 1, 4, width=1280, height=720)
    assert found == pytest.approx(pixel * 320 * 180, rel=1e-12)
    assert devices == ['meta']  # nothing is computed
    assert network.training
    assert next(network.parameters()).device.type == 'cpu'


def test_multiply_adds_do_not_depend_on_the_form():
    plain = PlainSRDenseNet(**SMALL)
    assert count_multiply_adds(SRDenseNet(**SMALL), 1, 4) == count_multiply_adds(plain, 1, 4)


class _LooksAtValues(nn.Module):
    """Cannot run on shapes alone."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x):
        return self.conv(x) if x.sum() < 1 else x


def test_multiply_adds_of_a_network_that_looks_at_values():
    assert count_multiply_adds(_LooksAtValues(), 1, 1, width=80, height=40) == 9 * 2 * 80 * 40


def test_the_script(capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['complexity.py', '--width', '64', '--height', '48'])
    with pytest.raises(SystemExit) as leaving:
        runpy.run_path(str(ROOT / 'studies/complexity.py'), run_name='__main__')
    out, err = capsys.readouterr()
    assert not leaving.value.code, err
    rows = [line.split(' | ') for line in out.splitlines()[2:]]
    assert len(rows) == 12
    adds = count_multiply_adds(SRDenseNet(), 1, 4, 64, 48) / 1e9
    assert rows[0][:3] == ['| SRDenseNet_All', 'Y', 'kernel = stride']
    assert rows[0][5] == f'2,004,225 / {adds:.1f} G'
