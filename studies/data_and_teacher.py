# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Compare training images, with and without a teacher: a table at equal steps.

Each cell is the default network, trained from nothing as
configs/srdensenet_x4_short.py says, on one set of images against one target:
HR, a teacher's images, or a mix of both. Seeds are the same, but with a teacher
patches begin at multiples of the scale. The last weights are scored, none are
selected.

    python tools/make_teacher_targets.py TEACHER --out data/teachers/x4 \
        --data data/train/T91 data/train/BSD400 data/train/ImageNet1k-256 data/train/HQ
    python studies/data_and_teacher.py --iters 700

A call cut short is given again; what was trained is not trained again.
"""
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'studies')]

from same_budget import TRAINING, claim, read, train_and_score, training_of, write  # noqa: E402

from srdensenet_mm.errors import UserError, run_tool  # noqa: E402

OLD = ['data/train/T91', 'data/train/BSD400', 'data/train/ImageNet1k-256']
IMAGES = dict(old=OLD, HQ=['data/train/HQ'], both=[*OLD, 'data/train/HQ'])


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--images', nargs='+', metavar='NAME=FOLDER[,FOLDER...]',
        help='sets of images (default: old, HQ and both, below data/train)')
    parser.add_argument('--teacher', default='data/teachers/x4', metavar='FOLDER',
                        help="the teacher's images (default: data/teachers/x4)")
    parser.add_argument('--shares', type=float, nargs='+', default=[0, 0.5, 1], metavar='SHARE',
                        help="the teacher's shares of the target (default: 0 0.5 1)")
    parser.add_argument('--config', default=str(TRAINING),
                        help='the network, as a recipe has it (default: srdensenet_x4_short)')
    parser.add_argument('--iters', type=int, default=700, help='iterations (default: 700)')
    parser.add_argument('--batch', type=int, default=8, help='patches in a batch (default: 8)')
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/data_and_teacher'), metavar='FOLDER',
        help='for checkpoints, logs and scores (default: work_dirs/data_and_teacher)')
    return parser.parse_args(arguments)


def parse_images(texts: Sequence[str] | None) -> dict[str, list[str]]:
    """Set's name -> its folders."""
    found = {}
    for text in texts or ():
        name, _, folders = text.partition('=')
        if not name or not folders or name in found or '/' in name:
            raise UserError(f'{text}: give NAME=FOLDER or NAME=FOLDER,FOLDER, each name once')
        found[name] = folders.split(',')
    return found or IMAGES


def configured(args: argparse.Namespace, folders: list[str], share: float, work_dir: Path):
    """The training of one cell."""
    cfg = training_of(args.config, False, args.iters, args.batch, work_dir)
    teachers = [dict(folder=args.teacher, share=share)] if share else []
    cfg.train_dataloader.dataset.update(data_root=folders, teachers=teachers)
    return cfg


def table(results: dict[str, dict[float, dict]]) -> str:
    """Markdown: a row for each set of images, a column for each target; PSNR on Y, dB."""
    shares = list(next(iter(results.values())))
    names = {0: 'HR', 1: 'teacher'}
    lines = ['| images, Set5 / Set14 | ' + ' | '.join(
        names.get(share, f'{share:.0%} teacher') for share in shares) + ' |',
        '| --- |' + ' --- |' * len(shares)]
    for images, by_share in results.items():
        cells = [' / '.join(f'{by_share[share]["scores"][f"{data}-Y/PSNR"]:.2f}'
                            for data in ('Set5', 'Set14')) for share in shares]
        lines.append(f'| {images} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def main() -> None:
    args = parse_args()
    if not all(0 <= share <= 1 for share in args.shares):
        raise UserError(f'--shares {args.shares}: give parts of the target, 0 to 1')
    results = {}
    for name, folders in parse_images(args.images).items():
        results[name] = {}
        for share in args.shares:
            folder = args.out / f'{name}-{share:g}'
            said = dict(config=args.config, folders=folders, share=share, iters=args.iters,
                        batch=args.batch, teacher=args.teacher)
            claim(folder, **said)
            found = read(folder / 'scores.json')
            if not found:
                _, scores = train_and_score(
                    configured(args, folders, share, folder),
                    configured(args, folders, share, folder / 'test'))
                found = dict(said, scores=scores)
                write(folder / 'scores.json', found)
            results[name][share] = found
    print(table(results))


if __name__ == '__main__':
    run_tool(main)
