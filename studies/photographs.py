# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Score weights on LR images that were stored as JPEG, or are noisy.

    python studies/photographs.py                    # the published weights, Set5 and Set14
    python studies/photographs.py mine=CHECKPOINT --data data/Set5 --jpeg 30 --noise 20
    python studies/photographs.py --data data/Set5 --jpeg 60 --noise --figure docs/photographs.png

It prints a Markdown table: PSNR in dB on Y for bicubic and each of the weights. The LR images are
those of the test set. JPEG stores colours at half the size (4:2:0), as cameras do. Noise is
Gaussian, of the given deviation in levels, in all channels, the same at each run. The figure shows
Set5's butterfly, of the lowest quality.
"""
import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from srdensenet_mm.benchmark.scoring import (  # noqa: E402
    DataSet,
    Score,
    Scorer,
    mean_metrics,
)
from srdensenet_mm.checkpoints import find_weights  # noqa: E402
from srdensenet_mm.demo import draw_figure  # noqa: E402
from srdensenet_mm.errors import run_tool  # noqa: E402
from srdensenet_mm.images.matlab_bicubic import matlab_bicubic_upscale  # noqa: E402
from srdensenet_mm.inference import Upscaler  # noqa: E402

Degradation = Callable[[np.ndarray], np.ndarray]


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('weights', nargs='*', metavar='NAME=CHECKPOINT',
                        help='what to score (default: the published plain and photo weights)')
    parser.add_argument('--scale', type=int, default=4, help='the upscale factor (default: 4)')
    parser.add_argument('--data', nargs='+', default=['data/Set5', 'data/Set14'],
                        metavar='FOLDER', help='(default: data/Set5 data/Set14)')
    parser.add_argument('--jpeg', type=int, nargs='*', default=[95, 80, 60, 40],
                        metavar='QUALITY', help='(default: 95 80 60 40)')
    parser.add_argument('--noise', type=float, nargs='*', default=[5, 10],
                        metavar='LEVELS', help='(default: 5 10)')
    parser.add_argument('--figure', metavar='PNG', help='draw a detail, too')
    return parser.parse_args(arguments)


def degradations(qualities: list[int], levels: list[float]) -> dict[str, Degradation]:
    """Name -> a function of an image, uint8 (H, W, 3) BGR."""
    def stored(quality: int) -> Degradation:
        return lambda image: cv2.imdecode(cv2.imencode(
            '.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)

    def noisy(level: float) -> Degradation:
        def add(image: np.ndarray) -> np.ndarray:
            noise = np.random.default_rng(0).normal(0, level, image.shape)
            return (image + noise).round().clip(0, 255).astype(np.uint8)
        return add

    found = {
        'clean': lambda image: image,
        **{f'JPEG {quality}': stored(quality) for quality in qualities},
        **{f'noise {level:g}': noisy(level) for level in levels},
    }
    if qualities and levels:
        level, quality = levels[0], qualities[len(qualities) // 2]
        found[f'noise {level:g}, then JPEG {quality}'] = (
            lambda image: stored(quality)(noisy(level)(image)))
    return found


def score(degrade: Degradation, data: DataSet, scale: int,
          upscalers: dict[str, Upscaler]) -> dict[str, dict[str, Score]]:
    """Name, ``'bicubic'`` among them -> image -> its score."""
    scorer = Scorer(scale)
    found = {name: {} for name in ('bicubic', *upscalers)}
    for image, pair in data:
        low = degrade(pair['inputs'].permute(1, 2, 0).numpy()[..., ::-1].copy())
        results = {'bicubic': matlab_bicubic_upscale(low, scale),
                   **{name: upscale(low) for name, upscale in upscalers.items()}}
        for name, result in results.items():
            rgb = np.ascontiguousarray(result[..., ::-1])
            found[name][image] = scorer.score_image(pair, rgb)
    return found


def main() -> None:
    args = parse_args()
    files = dict(entry.split('=', 1) for entry in args.weights) or {
        name: str(find_weights(name, args.scale)) for name in ('plain', 'photo')}
    upscalers = {name: Upscaler(path) for name, path in files.items()}
    sets = [DataSet(folder, args.scale) for folder in args.data]
    names = ['bicubic', *upscalers]
    print('| LR | ' + ' | '.join(f'{data.name} {name}' for data in sets for name in names) + ' |')
    print('| --- |' + ' ---: |' * len(sets) * len(names))
    for title, degrade in degradations(args.jpeg, args.noise).items():
        scores = [score(degrade, data, args.scale, upscalers) for data in sets]
        print(f'| {title} | ' + ' | '.join(
            f'{mean_metrics([*found[name].values()])["PSNR-Y"]:.2f}'
            for found in scores for name in names) + ' |', flush=True)
        if args.figure and title == f'JPEG {min(args.jpeg)}':
            draw_figure(args.figure, args.data[0], scores[0], args.scale)


if __name__ == '__main__':
    torch.set_grad_enabled(False)
    run_tool(main)
