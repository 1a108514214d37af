# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The script that compares first weights."""
import sys
from pathlib import Path

import initialization
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


def test_dead_maps_are_counted():
    network = initialization.new_network('carry', 'all', small=True)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.fill_(name.endswith('bias'))
        network.conv_first.bias[5] = network.blocks[1].layers[0].bias[:3] = -1
    dead, deviation = initialization.look(network)
    # 16, 32 and 32 maps, one everywhere where they are alive.
    assert dead == [1, 0, 3]
    assert deviation == pytest.approx([15**0.5 / 16, 0, (3 * 29)**0.5 / 32], abs=1e-3)


def test_trials_become_rows(capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', [
        'initialization.py', 'muon=1e-3', 'adam=1e-3', '--start', 'carry', 'he', '--level', 'h',
        '--small', '--iters', '2', '--warm-up', '1', '--batch', '1',
        '--data', str(ROOT / 'tests/data/Set5/HR')])
    initialization.main()
    rows = [[cell.strip() for cell in line.split('|')[1:-1]]
            for line in capsys.readouterr().out.splitlines() if line.startswith('| ')][2:]
    assert [(row[0], row[2]) for row in rows] == [
        ('carry', 'muon=1e-3'), ('he', 'muon=1e-3'), ('carry', 'adam=1e-3'), ('he', 'adam=1e-3')]
    for row in rows:
        start = float(row[5].removesuffix(' dB'))
        assert (start > 25) == (row[0] == 'carry')
        assert len(row) == 9
