# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Measure the error of tiles that overlap by less than the network's receptive field.

    python studies/overlap.py CHECKPOINT IMAGE              # a Markdown table
    python studies/overlap.py CHECKPOINT IMAGE --tile 48 --overlaps 0 8

Differences are those of the upscaled image to the one made as a whole, over all channels, in
levels of 8 bits. They are computed at 16 bits, where rounding is no more than 0.004 levels.
"""
import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from srdensenet_mm.errors import run_tool  # noqa: E402
from srdensenet_mm.images.files import read_image  # noqa: E402
from srdensenet_mm.inference import Upscaler  # noqa: E402
from srdensenet_mm.inference.tiling import fixed_grid  # noqa: E402

# Levels of 16 bits in one of 8.
_LEVEL = 257


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint')
    parser.add_argument('image', help='LR, of 8 bits')
    parser.add_argument('--overlaps', type=int, nargs='+', default=[0, 4, 8, 16, 32],
                        help="LR pixels, beside the network's own (default: 0 4 8 16 32)")
    parser.add_argument('--tile', type=int, default=32, help='LR pixels (default: 32)')
    args = parser.parse_args(arguments)
    if args.tile < 1:
        parser.error(f'--tile {args.tile}: give at least 1')
    return args


def measure(args: argparse.Namespace) -> list[dict]:
    """Largest and mean difference, and the pixels computed, for each overlap."""
    image = read_image(args.image).pixels
    if image.dtype == np.uint8:
        image = image.astype(np.uint16) * _LEVEL
    height, width = image.shape[:2]
    whole = Upscaler(args.checkpoint, tile=0)
    expected = whole(image).astype(np.float64)
    rows = []
    for overlap in [*args.overlaps, whole.overlap]:
        found = Upscaler(args.checkpoint, tile=args.tile, overlap=overlap)(image)
        difference = np.abs(found - expected) / _LEVEL
        grid = fixed_grid(height, width, args.tile, overlap)
        rows.append(dict(
            overlap=overlap, largest=float(difference.max()), mean=float(difference.mean()),
            changed=float((difference > 0.5).mean()), tiles=len(grid),
            computed=grid.pixels_read / (height * width)))
    return rows


def main() -> None:
    args = parse_args()
    print('| overlap | largest | mean | values off by more than half a level | tiles '
          '| pixels computed |')
    print('| ---: | ---: | ---: | ---: | ---: | ---: |')
    for row in measure(args):
        print('| {overlap} | {largest:.3f} | {mean:.5f} | {changed:.3%} | {tiles} '
              '| {computed:.2f} x |'.format(**row), flush=True)


if __name__ == '__main__':
    run_tool(main)
