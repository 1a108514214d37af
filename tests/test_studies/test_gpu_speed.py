# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""studies/gpu_speed.py on a CPU: what is measured, not how fast."""
import json

import gpu_speed
import pytest
import torch
from bare_python import run

from srdensenet_mm.models import SRDenseNet

SMALL = dict(mid_channels=6, num_blocks=2, num_layers=3, growth_rate=2, bottleneck_channels=8)


def test_it_runs_without_mmagic(tmp_path):
    printed = run(
        'gpu_speed.py', '--out', tmp_path / 'made' / 'speed', '--device', 'cpu', '--minutes', 0,
        '--sizes', '12x9', '--batches', 1, 2, '--dtypes', 'fp32', 'bf16', '--product', 32,
        '--runs', 2, '--memory-size', '16x8', '--network', json.dumps(SMALL))
    result = json.loads((tmp_path / 'made' / 'speed.json').read_text())
    assert printed.strip() == (tmp_path / 'made' / 'speed.md').read_text().strip()
    rows = result['rows']
    assert [(row['form'], row['dtype'], row['batch']) for row in rows] == [
        (name, dtype, batch) for batch in (1, 2) for dtype in ('fp32', 'bf16')
        for name in ('plain form', 'ours')]
    work = gpu_speed.gflop(SRDenseNet(**SMALL), (9, 12))
    for row in rows:
        assert (row['lr_height'], row['lr_width']) == (9, 12)
        assert row['gflop_per_second'] == pytest.approx(row['batch'] * work / row['seconds'])
        assert row['largest_difference'] < (1e-5 if row['dtype'] == 'fp32' else 0.1)
    assert '| 12x9, 2, bf16 |' in printed
    assert printed.count('| not measured | not measured |') == 2


def test_operations_of_the_plain_form():
    """As many as its convolutions have weights, twice, for each pixel that they make."""
    network = SRDenseNet(**SMALL)
    expected = 0
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            grown = 16 if module is network.conv_last else 1
            expected += 2 * grown * module.weight.numel()
    for i, deconv in enumerate(network.upsampler.deconvs):
        expected += 2 * 4**i * deconv.weight.numel()
    assert gpu_speed.gflop(network, (5, 7)) == pytest.approx(35 * expected / 1e9)


def test_the_forms_agree():
    network = SRDenseNet(**SMALL).eval()
    x = torch.rand(2, 1, 7, 6)
    plain, ours = (gpu_speed.form(network, name, 'fp32', 'cpu')(x) for name in gpu_speed.FORMS[:2])
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(plain, network(x).detach())
