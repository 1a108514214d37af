# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What is promised of the default network at its real size: quality in fewer bits, and memory."""
from pathlib import Path

import cv2
import numpy as np
import pytest
import speed_parts

from srdensenet_mm.backends.agreement import psnr_loss
from srdensenet_mm.backends.onnx_graph import folded, to_onnx
from srdensenet_mm.backends.quantization import dead_leaves, to_int8
from srdensenet_mm.benchmark.peak_memory import run_fresh
from srdensenet_mm.checkpoints import load_network
from srdensenet_mm.device import cpu_has_bf16
from srdensenet_mm.errors import UserError
from srdensenet_mm.export.judging import image_pairs
from srdensenet_mm.inference import Upscaler, memory

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not cpu_has_bf16(), reason='this CPU does not compute in bf16')
def test_bf16_scores_as_fp32_does():
    checkpoint, = (ROOT / 'checkpoints').glob('srdensenet_x4-*.pth')
    fp32, bf16 = speed_parts.quality(
        load_network(checkpoint), names=['ours, fp32', 'ours, bf16']).values()
    assert bf16 != fp32
    assert abs(bf16 - fp32) < 0.01


def test_an_upscaler_in_int8():
    """OpenVINO computes what torch does, to the roundings of 8 bits."""
    pytest.importorskip('openvino')
    checkpoint, = (ROOT / 'checkpoints').glob('srdensenet_x4-*.pth')
    low = cv2.imread(str(ROOT / 'tests/data/Set5/LR_bicubic/X4/bird.png'), cv2.IMREAD_GRAYSCALE)
    int8, fp32 = (Upscaler(checkpoint, device='cpu', dtype=dtype, backend=backend)(low)
                  for dtype, backend in (('int8', 'openvino'), ('fp32', 'torch')))
    apart = np.abs(int8.astype(int) - fp32)
    assert 0.01 < apart.mean() < 0.5 and apart.max() < 16
    with pytest.raises(UserError, match='backend=torch, dtype'):
        Upscaler(checkpoint, device='cpu', dtype='int8')


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_int8_loses_little(scale):
    """The published weights, on the middle of Set5's images, in onnxruntime."""
    pytest.importorskip('onnxruntime')
    checkpoint, = (ROOT / 'checkpoints').glob(f'srdensenet_x{scale}-*.pth')
    network = load_network(checkpoint)
    pairs = image_pairs([ROOT / 'tests/data/Set5/HR'], 'y', scale)
    assert psnr_loss(folded(to_onnx(network)), network, pairs) == pytest.approx(0, abs=1e-3)
    int8 = to_int8(folded(to_onnx(network)), dead_leaves(8, 1))
    assert 0 != psnr_loss(int8, network, pairs) < 0.05


@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='needs Linux')
def test_480x270_takes_less_than_1_gib():
    found = run_fresh(f'{ROOT / "studies/speed_parts.py"}:ours_peak',
                      dict(checkpoint=None, size=[270, 480], threads=1), threads=1)
    # Not less than the image itself.
    assert 3 * 1920 * 1080 < found['peak_bytes'] < memory.GIB
