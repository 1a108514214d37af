# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""studies/speed.py and amp_curves.py on small networks: what is measured, not how fast."""
import json
import subprocess
import sys
from statistics import median

import cv2
import numpy as np
import pytest
import torch
from rounding import assert_same_sums, rounding_error, terms
from small_models import ROOT, write_checkpoint

sys.path.insert(0, str(ROOT / 'studies'))

import amp_curves  # noqa: E402
import speed  # noqa: E402
import speed_parts  # noqa: E402

from srdensenet_mm.benchmark.peak_memory import run_fresh  # noqa: E402
from srdensenet_mm.datasets import matlab_bicubic  # noqa: E402
from srdensenet_mm.device import cpu_has_bf16  # noqa: E402
from srdensenet_mm.errors import UserError  # noqa: E402
from srdensenet_mm.inference import Upscaler  # noqa: E402
from srdensenet_mm.models import SRDenseNet  # noqa: E402
from srdensenet_mm.models.colour import rgb_to_y  # noqa: E402

# What is measured where the CPU computes in bf16.
OURS = ['ours, fp32', 'ours, bf16'] if cpu_has_bf16() else ['ours, fp32']


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return str(write_checkpoint(tmp_path_factory.mktemp('speed') / 'small.pth'))


@pytest.fixture(scope='module')
def result(checkpoint):
    return speed.measure(speed.parse_args([
        '--checkpoint', checkpoint, '--only', 'forward', 'training', 'memory', '--size', '20',
        '--batch', '2', '--patch', '6', '--runs', '2', '--memory-sizes', '40x30',
        '--no-plain-memory']))


def test_the_plain_form_has_the_networks_weights_and_output(checkpoint):
    network, plain = speed_parts.make_network(checkpoint)
    assert plain.network is network and isinstance(network, SRDenseNet)
    assert not network.training and not plain.training
    x = torch.rand(1, 1, 9, 11)
    with torch.no_grad():
        assert_same_sums(network(x), plain(x), terms(plain))


def test_the_work_is_counted_by_hand():
    _, plain = speed_parts.make_network(None)
    pixel = 9 * 128 + sum(9 * 16 * (128 * (i + 1) + 16 * 28) for i in range(8))
    pixel += 1152 * 256 + (4 + 16) * 256 * 256 + 16 * 9 * 256
    assert speed_parts.gflop(plain, (128, 128)) == pytest.approx(2 * pixel * 128**2 / 1e9)
    # Forward, and backward to weights and to inputs, but not to the first input.
    pixel = 3 * pixel - 9 * 128
    assert speed_parts.gflop_of_step(plain, 16, 25) == pytest.approx(2 * pixel * 16 * 25**2 / 1e9)


def test_the_image_is_real_and_of_any_size():
    baby = cv2.imread(str(ROOT / 'tests/data/Set5/LR_bicubic/X4/baby.png'))
    assert np.array_equal(speed_parts.image(128, 128), baby)
    assert np.array_equal(speed_parts.image(40, 30), baby[:40, :30])
    large = speed_parts.image(300, 130)
    assert large.shape == (300, 130, 3)
    assert np.array_equal(large[128:256, :128], baby[::-1])
    x = speed_parts.luma(baby)
    assert x.shape == (1, 1, 128, 128) and x.stride() == (128 * 128, 128 * 128, 128, 1)
    rgb = torch.tensor(baby[5, 7, ::-1].astype(np.float32)).view(1, 3, 1, 1)
    assert x[0, 0, 5, 7] == pytest.approx(rgb_to_y(rgb).item() / 255, abs=rounding_error(x, 5))


def test_patches_are_pairs():
    low, high = speed_parts.patches(7, 12, 4)
    assert low.shape == (7, 1, 12, 12) and high.shape == (7, 1, 48, 48)
    means = torch.nn.functional.avg_pool2d(high, 4)
    assert (low - means).abs().mean() < 0.03
    assert (low - means.roll(1, 0)).abs().mean() > 0.1


def test_ratios_and_shares_follow_from_the_times(result):
    for part in (result['forward'], result['training']):
        plain, *others = part['rows']
        assert plain['name'] == 'plain form, fp32' and plain['times_as_fast'] == 1
        for row in others:
            ratios = [a / b for a, b in zip(plain['seconds'], row['seconds'], strict=True)]
            assert row['times_as_fast'] == median(ratios)
            assert len(row['seconds']) == 2
        for row in part['rows']:
            rate = part['gflop'] / row['median_seconds']
            assert row['gflop_per_second'] == pytest.approx(rate)
            dtype = row['name'][-4:]
            known = part['gemm_gflop_per_second'].get(dtype)
            assert (dtype == 'int8') == (known is None)
            assert row['share_of_gemm_rate'] == (known and pytest.approx(rate / known))


def test_forms_that_cannot_be_had_are_named(result):
    part = result['forward']
    measured = [row['name'] for row in part['rows'][1:]]
    assert sorted([*measured, *part['not_measured']]) == sorted(speed_parts.FORMS)
    apart = {row['name']: row['largest_difference'] for row in part['rows']}
    # A short type has 2^13 times as large roundings, or more.
    assert all(0 <= 100 * apart['ours, fp32'] < apart[name] < 0.2 for name in OURS[1:])
    assert [row['name'] for row in result['training']['rows']] == ['plain form, fp32', *OURS]


def test_memory_of_each_form_in_a_process_of_its_own(result):
    rows = {row['name']: row for row in result['memory']}
    assert list(rows) == [*OURS, 'ours, fp32, tiles of 13']
    for row in rows.values():
        assert (row['lr_width'], row['lr_height']) == (40, 30)
        assert row['seconds'] > 0
    tiled = rows['ours, fp32, tiles of 13']
    assert tiled['tiles'] > 1 and tiled['largest_difference_in_levels'] <= 1
    assert rows['ours, fp32']['tiles'] == 1


def test_the_plain_forms_memory_is_its_maps():
    found = run_fresh(f'{ROOT / "studies/speed_parts.py"}:plain_peak',
                      dict(checkpoint=None, size=[100, 90], threads=1), threads=1)
    maps = 256 * 400 * 360 * 4  # one set of the widest, at output size
    assert 1.5 * maps < found['peak_bytes'] < 5 * maps


def test_a_training_step_trains(checkpoint):
    network, plain = speed_parts.make_network(checkpoint)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    calls = speed_parts.training_calls(network, plain, 2, 8, 4)
    for call in calls.values():
        call()
    # Copies are trained, the networks stay as they are.
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    trained = speed_parts._training_step(network, 'fp32', *speed_parts.patches(2, 8, 4))
    trained()
    assert any(not torch.equal(value, before[key])
               for key, value in network.state_dict().items())


def test_markdown_says_what_the_numbers_are(result):
    result = dict(result, quality={'ours, fp32': 31.2345, 'ours, bf16': 31.2305})
    text = speed.to_markdown(result)
    row = result['forward']['rows'][1]
    time, ratio = row['median_seconds'] * 1e3, row['times_as_fast']
    assert f'| ours, fp32 | {time:.0f} | {ratio:.2f} |' in text
    assert '20x20 -> 80x80' in text and '40x30 -> 160x120' in text
    assert '| ours, bf16 | 31.2305 | -0.0040 |' in text
    assert 'nowhere' in text or 'by 1 of 255' in text
    failed = dict(result, memory=[dict(name='plain form, fp32', lr_width=9, lr_height=9,
                                       failed='out of memory')])
    assert 'failed: out of memory' in speed.to_markdown(failed)


@pytest.mark.parametrize('arguments, message', [
    (['--runs', '0'], '--runs 0'),
    (['--memory-sizes', '480'], '--memory-sizes 480: give WIDTHxHEIGHT'),
    (['--checkpoint', 'nowhere.pth'], 'nowhere.pth: cannot be read .No such file'),
])
def test_a_mistake_is_named(arguments, message):
    with pytest.raises(UserError, match=message):
        speed.measure(speed.parse_args(arguments))


def test_a_network_on_colour_is_refused(tmp_path):
    path = write_checkpoint(tmp_path / 'rgb.pth', in_channels=3, out_channels=3)
    with pytest.raises(UserError, match='rgb.pth: is for colour'):
        speed_parts.make_network(str(path))


def test_quality_is_measured_by_the_fields_protocol():
    class Bicubic(torch.nn.Module):
        in_channels, upscale_factor = 1, 4

        def __init__(self):
            super().__init__()
            self.unused = torch.nn.Conv2d(1, 1, 1)

        def forward(self, x):
            return torch.nn.functional.interpolate(x, scale_factor=4, mode='bicubic')

    def luma(bgr):
        return 16 + bgr.astype(np.float64) @ np.array([24.966, 128.553, 65.481]) / 255

    expected = []
    for path in sorted((ROOT / 'tests/data/Set5/HR').glob('*.png')):
        high = cv2.imread(str(path))
        height, width = (side // 12 * 12 for side in high.shape[:2])
        high = high[:height, :width]
        made = Upscaler(Bicubic(), device='cpu')(matlab_bicubic(high, 4))
        error = (luma(made) - luma(high))[4:-4, 4:-4]
        expected.append(10 * np.log10(255**2 / np.mean(error**2)))
    found = speed_parts.quality(Bicubic())
    assert found['ours, fp32'] == pytest.approx(np.mean(expected), abs=0.005)
    assert set(found) <= set(speed_parts.FORMS)


# Curves of mixed precision.


def test_curves_of_a_short_training(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / 'studies/amp_curves.py'), '--small', '--iters', '12',
         '--batch', '2', '--patch', '32', '--data', str(ROOT / 'tests/data/Set5/HR'),
         '--out', str(tmp_path / 'curves')], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / 'curves.json').read_text())
    fp32, bf16, again = content['losses'].values()
    assert list(content['losses']) == ['fp32', 'bf16', 'fp32, weights off by 1e-6']
    assert len(fp32) == len(bf16) == len(again) == 12
    # The same start: what differs is the rounding.
    assert again[0] == pytest.approx(fp32[0], rel=1e-4)
    assert bf16[0] == pytest.approx(fp32[0], rel=0.02) and bf16[0] != fp32[0]
    image = cv2.imread(str(tmp_path / 'curves.png'))
    orange = (np.abs(image.astype(int) - (0x0b, 0x48, 0xd1)) < 24).all(axis=2)
    assert orange.sum() > 50


def test_ends_are_compared_by_their_means():
    losses = {amp_curves.FP32: [9.] * 6 + [1., 3.], amp_curves.BF16: [9.] * 6 + [1., 4.],
              amp_curves.AGAIN: [9.] * 6 + [1., 2.]}
    ends = amp_curves.compare_ends(losses)
    assert ends['iterations'] == 2
    assert ends['fp32_tail'] == 2
    assert ends['bf16_difference'] == 0.5 and ends['bf16_difference_share'] == 0.25
    assert ends['fp32_again_difference_share'] == -0.25
    assert ends['standard_error_of_the_mean'] == pytest.approx(1 / 2**0.5)


def test_smoothing_keeps_straight_lines():
    at, means = amp_curves.smooth([2. * i for i in range(1, 31)], width=5)
    assert np.allclose(means, 2 * at)
