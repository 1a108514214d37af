# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What is promised of the default network at its real size: quality in bf16, and memory."""
from pathlib import Path

import cv2
import numpy as np
import pytest

from srdensenet_mm.benchmark.peak_memory import run_fresh
from srdensenet_mm.datasets import matlab_bicubic
from srdensenet_mm.inference import Upscaler, memory

ROOT = Path(__file__).parents[2]


def luma(bgr):
    return 16 + bgr.astype(np.float64) @ np.array([24.966, 128.553, 65.481]) / 255


def test_bf16_scores_as_fp32_does():
    checkpoint, = (ROOT / 'checkpoints').glob('srdensenet_x4-*.pth')
    psnr = {'fp32': [], 'bf16': []}
    for path in sorted((ROOT / 'tests/data/Set5/HR').glob('*.png')):
        high = cv2.imread(str(path))
        height, width = (side // 12 * 12 for side in high.shape[:2])
        high = high[:height, :width]
        low = matlab_bicubic(high, 4)
        for dtype, values in psnr.items():
            made = Upscaler(checkpoint, device='cpu', dtype=dtype)(low)
            error = (luma(made) - luma(high))[4:-4, 4:-4]
            values.append(10 * np.log10(255**2 / np.mean(error**2)))
    assert psnr['bf16'] != psnr['fp32']
    assert abs(np.mean(psnr['bf16']) - np.mean(psnr['fp32'])) < 0.01


@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='needs Linux')
def test_480x270_takes_less_than_1_gib():
    found = run_fresh(f'{ROOT / "benchmarks/speed_parts.py"}:ours_peak',
                      dict(checkpoint=None, size=[270, 480], threads=1), threads=1)
    # Not less than the picture itself.
    assert 3 * 1920 * 1080 < found['peak_bytes'] < memory.GIB
