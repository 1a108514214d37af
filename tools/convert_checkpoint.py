# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Convert SRDenseNet weights of another implementation into this project's form."""
import argparse

from srdensenet_mm.compat import leave_out_optimizers
from srdensenet_mm.errors import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Convert SRDenseNet weights of another implementation. The keys show the '
        'layout, the shapes show the architecture.')
    parser.add_argument('source', help='checkpoint to convert')
    parser.add_argument('target', help='file to write, .pth or .safetensors')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    leave_out_optimizers()
    from srdensenet_mm.checkpoints import convert_checkpoint
    result = convert_checkpoint(args.source, args.target)
    network = result.meta['network']
    print(f'{args.source}: {result.layout}')
    print(f'{args.target}: x{network["upscale_factor"]}, {result.meta["colour"]}, '
          f'{result.num_parameters:,} parameters')
    print(', '.join(f'{key}={value!r}' for key, value in network.items() if key != 'type'))


if __name__ == '__main__':
    run_tool(main)
