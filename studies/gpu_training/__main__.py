# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Train x4, x3 and x2 on a GPU that is at hand for half an hour, see docs/gpu_training.md.

    python studies/gpu_training pack FOLDER... --out packs       # where the images are
    python studies/gpu_training teacher WEIGHTS packs/dat_x4.ts.gz
    python studies/gpu_training train packs --out run            # on the GPU, again and again
    python studies/gpu_training collect run --out checkpoints    # where MMagic is
"""
import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu_training.bare import make_importable  # noqa: E402

make_importable()


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=text, description=text, formatter_class=parser.formatter_class)

    pack = command('pack', 'write images into parts that can travel')
    pack.add_argument('folders', nargs='+', type=Path, help='folders of HR images')
    pack.add_argument('--out', type=Path, required=True)
    pack.add_argument('--part-mib', type=float, default=15, help='no part is larger')
    pack.add_argument('--total-mib', type=float, default=60)
    pack.add_argument('--quality', type=int, default=90, help='of the JPEGs')
    pack.add_argument('--held-back', type=int, default=8, help='images for validation')
    pack.add_argument('--min-side', type=int, default=192)

    teacher = command('teacher', "write a network that spandrel reads as a teacher's file")
    teacher.add_argument('weights', type=Path)
    teacher.add_argument('out', type=Path, help='PACKS/NAME_xSCALE.ts.gz')

    train = command('train', 'train, or go on with a training')
    train.add_argument('packs', nargs='+', help='folders of parts and teachers')
    train.add_argument('--out', nargs='+', required=True, help='folders, all get the same')
    train.add_argument('--resume', nargs='*', default=[], help='more folders that may hold a state')
    train.add_argument('--minutes', type=float, default=9.3, help='of this run, all in all')
    train.add_argument('--reserve', type=float, default=60,
                       help='seconds that a phase needs before the end to be begun')
    train.add_argument('--phases', nargs='+', type=_phase, default=[(4, 17.), (3, 4.), (2, 4.)],
                       metavar='SCALE:MINUTES', help='minutes of training steps, all runs together')
    train.add_argument('--save-every', type=float, default=60, help='seconds')
    train.add_argument('--device', default='cuda')
    train.add_argument('--choose', type=float, default=0, metavar='SECONDS',
                       help='time variants of a step, after so many seconds for compiling')
    train.add_argument('--variant', help='JSON, takes the place of the choice')
    train.add_argument('--batch', type=int, default=64, help='without a choice or variant')
    train.add_argument('--patch', type=int, default=32, help='side, LR pixels')
    train.add_argument('--sizes', type=float, nargs='+', default=[1, 0.7, 0.5],
                       help='in which each image serves')
    train.add_argument('--share', type=float, default=0.8, help="the teachers' part of the target")
    train.add_argument('--teacher-seconds', type=float, default=60, help='for a phase')
    train.add_argument('--rate', type=float, default=1e-3, help='for batches of 64')
    train.add_argument('--schedule', choices=('linear', 'cosine'), default='linear')
    train.add_argument('--warm-up', type=float, default=0.02, help='part of the planned time')
    train.add_argument('--average', type=float, default=0.999, help='decay of the averages, a step')
    train.add_argument('--from', dest='start', help='a published checkpoint to start from')
    train.add_argument('--revive-every', type=int, default=500, metavar='STEPS',
                       help='make dead maps new, 0: never')
    train.add_argument('--seed', type=int, default=0)
    train.add_argument('--network', type=json.loads, default={}, metavar='JSON',
                       help='arguments of SRDenseNet')

    collect = command('collect', 'publish what came back: checkpoint, log and curve of each scale')
    collect.add_argument('run', type=Path)
    collect.add_argument('--out', type=Path, required=True)

    timing = command('time', 'time one variant of a step')
    timing.add_argument('variant', help='JSON')
    timing.add_argument('--device', default='cuda')
    args = parser.parse_args(arguments)
    args.script = str(Path(__file__).parent)
    return args


def _phase(text: str) -> tuple[int, float]:
    scale, minutes = text.split(':')
    return int(scale), float(minutes)


def main() -> None:
    args = parse_args()
    if args.command == 'pack':
        from gpu_training.images import pack
        for path in pack(args.folders, args.out, args.part_mib, args.total_mib, args.quality,
                         args.held_back, args.min_side):
            print(f'{path}: {path.stat().st_size / 2**20:.1f} MiB')
    elif args.command == 'teacher':
        from spandrel import ModelLoader

        from gpu_training.teachers import trace_teacher
        trace_teacher(ModelLoader().load_from_file(args.weights).model.eval(), args.out)
        print(f'{args.out}: {args.out.stat().st_size / 2**20:.1f} MiB')
    elif args.command == 'train':
        from gpu_training.training import train
        train(args)
    elif args.command == 'collect':
        from gpu_training.collecting import collect
        collect(args.run, args.out)
    else:
        import torch

        from gpu_training.steps import Variant, time_variant
        device = torch.device(args.device)
        dtype = torch.bfloat16 if device.type == 'cuda' else torch.float32
        print(json.dumps(time_variant(
            Variant(**json.loads(args.variant)), dtype, device,
            lambda: (print('ready', flush=True), sys.stdin.readline()))))


if __name__ == '__main__':
    from srdensenet_mm.errors import run_tool
    run_tool(main)
