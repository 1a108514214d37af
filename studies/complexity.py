# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Count parameters and multiply-adds of all variants of SRDenseNet.

    python studies/complexity.py                      # a Markdown table
    python studies/complexity.py --width 1920 --height 1080

Multiply-adds are those of convolutions for one image whose output has the given size; the input
is that size divided by the scale, rounded.
"""
import argparse
import itertools
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from srdensenet_mm.benchmark.complexity import (  # noqa: E402
    OUTPUT_HEIGHT,
    OUTPUT_WIDTH,
    count_multiply_adds,
    count_parameters,
)
from srdensenet_mm.errors import run_tool  # noqa: E402
from srdensenet_mm.models import SRDenseNet  # noqa: E402

SCALES = (2, 3, 4, 8)
COLOURS = {'Y': 1, 'RGB': 3}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--width', type=int, default=OUTPUT_WIDTH, help='of the output')
    parser.add_argument('--height', type=int, default=OUTPUT_HEIGHT, help='of the output')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    print('| variant | colour | deconvolution | '
          + ' | '.join(f'x{scale}' for scale in SCALES) + ' |')
    print('| --- | --- | --- |' + ' ---: |' * len(SCALES))
    for level, kernel, (colour, channels) in itertools.product(
            ('all', 'hl', 'h'), (2, 3), COLOURS.items()):
        cells = []
        for scale in SCALES:
            if (scale, kernel) == (3, 3):
                cells.append('as kernel = stride')  # DeconvUpsampler takes 3x3 with stride 3
                continue
            with torch.device('meta'):
                network = SRDenseNet(
                    in_channels=channels, out_channels=channels, upscale_factor=scale,
                    feature_level=level, deconv_kernel=kernel)
            adds = count_multiply_adds(network, channels, scale, args.width, args.height)
            cells.append(f'{count_parameters(network):,} / {adds / 1e9:.1f} G')
        name = 'kernel = stride' if kernel == 2 else '3x3, stride 2'
        print(f'| SRDenseNet_{level.upper() if level != "all" else "All"} | {colour} | {name} | '
              + ' | '.join(cells) + ' |')


if __name__ == '__main__':
    run_tool(main)
