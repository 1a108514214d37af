# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Make a file for others from a training's checkpoint."""
import argparse

from srdensenet_mm.compat import leave_out_optimizers
from srdensenet_mm.errors import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write only the network of a checkpoint (its averaged weights, if it has any) '
        'into OUT_FOLDER/NAME-<first 8 digits of its SHA-256>.pth.')
    parser.add_argument('source', help='checkpoint of a training')
    parser.add_argument('out_folder', help='where to write')
    parser.add_argument('--name', help="default: the recipe's name, or the source's")
    parser.add_argument('--safetensors', action='store_true', help='write .safetensors instead')
    parser.add_argument('--base', metavar='FILE', help='the weights that the training began from, '
                        'to publish weights between the two')
    parser.add_argument('--base-share', type=float, metavar='S', help='their share, 0 to 1')
    args = parser.parse_args()
    if (args.base is None) != (args.base_share is None):
        parser.error('--base and --base-share go together')
    return args


def main() -> None:
    args = parse_args()
    leave_out_optimizers()
    from srdensenet_mm.checkpoints import publish_checkpoint
    result = publish_checkpoint(args.source, args.out_folder, args.name,
                                '.safetensors' if args.safetensors else '.pth',
                                base=args.base, base_share=args.base_share or 0)
    averaged = ', averaged weights' if result.meta.get('averaged_weights') else ''
    print(f'{result.path}: {result.num_bytes:,} bytes, '
          f'{result.num_parameters:,} parameters{averaged}')


if __name__ == '__main__':
    run_tool(main)
