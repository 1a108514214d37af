# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Results as a benchmark makes them, with numbers and images that a test knows."""
import numpy as np

from srdensenet_mm.benchmark.results import Results, Row, UpscaledImage
from srdensenet_mm.benchmark.scoring import METRICS

# BGR colours of the images, each model's own.
COLOURS = {'bicubic': (0, 0, 200), 'srdensenet': (0, 160, 0), 'HR': (220, 0, 0)}


def flat(colour, height=60, width=90):
    return np.full((height, width, 3), colour, np.uint8)


def made_up_results(names=('baby', 'bird')):
    """Three rows: bicubic, a model with scores, and one without; images of single colours."""
    rows = [
        Row('bicubic', None, None, 'MATLAB bicubic', 0, None, [0.004, 0.002, 0.003], 2**20,
            {'Set5': dict(zip(METRICS, (28.4, 0.81, 26.7, 0.79), strict=True))}),
        Row('srdensenet', 'ours.py', 'ours.pth', 'torch', 2_004_225, 312 * 10**9,
            [0.41, 0.40, 0.45], 300 * 2**20,
            {'Set5': dict(zip(METRICS, (31.25, 0.88, 29.4, 0.86), strict=True))}),
        Row('edsr <b>', 'mmagic::edsr.py', None, 'torch', 1_517_571, 114 * 10**9,
            [0.31, 0.30, 0.32], 200 * 2**20, {}),
    ]
    images = [
        UpscaledImage(
            'Set5', name, flat(COLOURS['HR']),
            {key: flat(COLOURS[key]) for key in ('bicubic', 'srdensenet')},
            dict(bicubic=28.4 + i, srdensenet=31.25 + i)) for i, name in enumerate(names)]
    settings = dict(processor='a <CPU>', device='cpu', threads=2, runs=3, memory_runs=3,
                    memory_of='each in a process of its own', python='3.11.7', torch='2.11.0',
                    srdensenet_mm='0.0.0')
    return Results(4, (128, 160), settings, ['Set5'], rows, images)
