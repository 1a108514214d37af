# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Upscale the training images' LR with a better network, a teacher.

    python tools/make_teacher_targets.py TEACHER [TEACHER ...] --data FOLDERS --out FOLDER

A recipe then learns from a mix of HR and these images:

    train_dataloader = dict(dataset=dict(teachers=[dict(folder='FOLDER', share=0.75)]))

TEACHER is a checkpoint that tools/infer.py reads: this project's, or a file of any architecture
that the package spandrel knows (pip install -e '.[spandrel]'). CONFIG=CHECKPOINT is a network that
MMagic's registry builds (mmagic::edsr/... too). The outputs of several teachers are averaged.

The name of each output has a checksum of its HR image. If an image changes, or is used in a new
size, the training reports its output as stale or missing. A second call makes the missing images
and keeps the others. Ctrl-C, or a kill, loses only the current image.

For the pairs of MMagic's own datasets, upscale their LR folder with tools/infer.py and let
MixTarget mix it into the target: see docs/training_data.md.
"""
import argparse
import sys

from srdensenet_mm.errors import run_tool


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('teachers', nargs='+', metavar='TEACHER',
                        help='a checkpoint, or CONFIG=CHECKPOINT')
    parser.add_argument('--data', nargs='+', required=True, metavar='FOLDER',
                        help='folders of HR images, as data_root of the recipe')
    parser.add_argument('--out', required=True, metavar='FOLDER', help='folder for the images')
    parser.add_argument('--scale', type=int, help="refuse teachers of other scales (default: the "
                        "first teacher's)")
    parser.add_argument('--shrink', type=float, nargs='+', default=[1.], metavar='SIZE',
                        help='the sizes in which images are used, as in the recipe (default: 1)')
    parser.add_argument('--self-ensemble', action='store_true',
                        help='average over the eight flips and rotations, in 8 times the time')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: a GPU if there is one)')
    parser.add_argument('--dtype', default='fp32', choices=['fp32', 'bf16', 'fp16'],
                        help='type that the teachers compute in (default: fp32)')
    parser.add_argument('--tile', type=int, metavar='N',
                        help='tiles of N LR pixels, 0 for none (default: by memory)')
    return parser.parse_args()


def main():
    args = parse_args()
    from srdensenet_mm.inference.teacher_targets import make_teacher_targets
    report = make_teacher_targets(
        args.teachers, args.data, args.out, args.scale, args.shrink, args.self_ensemble,
        progress=True, device=args.device, dtype=args.dtype, tile=args.tile)
    print(f'{args.out}: {report.written} images written, {report.already_there} were there, '
          f'{report.too_small} too small in a size, {len(report.failed)} failed')
    for reason in report.failed.values():
        print(f'failed: {reason}'.encode(errors='backslashreplace').decode(), file=sys.stderr)
    return 1 if report.failed else 0


if __name__ == '__main__':
    run_tool(main)
