# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Export a checkpoint to ONNX, for images of any size, and check it."""
import argparse

from srdensenet_mm.compat import leave_out_optimizers
from srdensenet_mm.errors import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='weights, with or without meta')
    parser.add_argument('target', metavar='TARGET.onnx', help='file to write')
    parser.add_argument(
        '--colour', choices=['y', 'rgb'], help='input and output: y is luma / 255, rgb is RGB in '
        '0..1 (for a network on luma, the conversion and bicubic chroma are then part of the '
        'model); default: as the network')
    parser.add_argument('--dtype', choices=['fp32', 'fp16', 'int8'], default='fp32',
                        help='type that the model computes in (default: fp32)')
    # 13 is the first with quantization per channel, 20 the last that torch's exporter writes.
    parser.add_argument('--opset', type=int, default=17, choices=range(13, 21), metavar='N',
                        help="version of ONNX's operators, 13 to 20 (default: 17)")
    parser.add_argument(
        '--pictures', nargs='+', default=[], metavar='FILE_OR_FOLDER',
        help='HR images on which the PSNR that int8 loses is measured')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    leave_out_optimizers()
    from srdensenet_mm.export.exporting import export_checkpoint
    report = export_checkpoint(
        args.checkpoint, args.target, colour=args.colour, dtype=args.dtype, opset=args.opset,
        pictures=args.pictures)
    print(report)


if __name__ == '__main__':
    run_tool(main)
