# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Upscale images: files, folders, patterns; one PNG each."""
import argparse
import sys

from srdensenet_mm.compat import leave_out_optimizers
from srdensenet_mm.errors import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('inputs', nargs='+', metavar='IMAGE_OR_FOLDER_OR_GLOB',
                        help='an image file, a folder of them, or a pattern in quotes')
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument('--checkpoint', metavar='FILE', help='weights of yours')
    weights.add_argument(
        '--weights', default='plain', metavar='NAME', help='weights that come with the package: '
        'plain for clean images, photo for photographs stored as JPEG or noisy, liif for any '
        'scale (default: plain)')
    parser.add_argument('--out', required=True, metavar='FOLDER', help='where to write the PNGs')
    parser.add_argument(
        '--scale', type=float, metavar='S', help='how many times larger the images become, any '
        'number of at least 1 (default: 4 with weights of the package); weights of yours have '
        'their own, but for those of configs/srdensenet_liif.py')
    parser.add_argument(
        '--config', help="the MMagic config of another network's checkpoint: "
        'a file, or mmagic::folder/file.py')
    parser.add_argument(
        '--tile', type=int, metavar='N', help='tiles of N LR pixels; 0 takes each image as a '
        'whole (default: chosen from the image and --max-memory)')
    parser.add_argument(
        '--overlap', type=int, metavar='N', help='LR pixels that a tile is read with on each '
        "side (default: the network's receptive field, which makes tiles exact; less leaves an "
        'error, which studies/overlap.py measures)')
    parser.add_argument(
        '--max-memory', type=float, metavar='GIB', help='memory to use at most for an image '
        '(default: on a CPU 1.8 GiB and the image, on a GPU three quarters of the free memory; '
        'backends other than torch need more and take half of the free memory)')
    parser.add_argument('--dtype', choices=['fp32', 'bf16', 'fp16', 'int8'],
                        default='fp32', help='type that the network computes in; int8 needs '
                        '--backend openvino (default: fp32)')
    parser.add_argument(
        '--self-ensemble', action='store_true',
        help='average over eight flips and rotations: better, eight times slower')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: a GPU if there is one)')
    parser.add_argument('--backend', choices=['torch', 'onnxruntime', 'openvino'], default='torch',
                        help='what computes the network (default: torch)')
    parser.add_argument('--overwrite', action='store_true', help='write existing outputs again')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    leave_out_optimizers()
    from srdensenet_mm.checkpoints.published import find_weights
    from srdensenet_mm.inference.folder import Summary, find_jobs, prepare_output, upscale_files
    from srdensenet_mm.inference.upscaler import Upscaler
    checkpoint = args.checkpoint or find_weights(args.weights, args.scale)
    jobs = find_jobs(args.inputs, args.out)
    prepare_output(args.out)
    upscaler = Upscaler(
        checkpoint,
        device=args.device,
        dtype=args.dtype,
        tile=args.tile,
        overlap=args.overlap,
        max_memory=args.max_memory,
        self_ensemble=args.self_ensemble,
        backend=args.backend,
        config=args.config,
        scale=args.scale)
    summary = Summary()
    try:
        upscale_files(jobs, upscaler, args.overwrite, summary)
    finally:  # also after Ctrl-C or with a full disk
        print(f'{len(summary.written)} written to {args.out}')
        if summary.skipped:
            print(f'{len(summary.skipped)} skipped, there already (--overwrite writes them again)')
        if summary.passed_over:
            print(f'{len(summary.passed_over)} passed over, of formats that are not read')
        for line in summary.passed_over:
            print(f'passed over: {line}')
        for line in summary.notes:
            print(f'note: {line}')
        if summary.failed:
            print(f'{len(summary.failed)} failed')
        for line in summary.failed:
            print(f'error: {line}', file=sys.stderr)
    return 1 if summary.failed else 0


if __name__ == '__main__':
    run_tool(main)
