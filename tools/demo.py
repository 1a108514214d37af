# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Train a small SRDenseNet in minutes, score it on Set5, and draw its results."""
import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from srdensenet_mm.errors import run_tool
from srdensenet_mm.files import path_from_here

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/srdensenet_x4_demo.py'
SCALE = 4


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', default='work_dirs/demo', metavar='FOLDER',
                        help='folder for all results (default: work_dirs/demo)')
    parser.add_argument('--iters', type=int, metavar='N',
                        help="iterations of the training (default: the recipe's 1500)")
    return parser.parse_args()


def run(*command, quiet: bool = False) -> None:
    """Run one of the tools as a user would; what a quiet one says is only shown if it fails."""
    done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE if quiet else None,
                          stderr=subprocess.STDOUT if quiet else None)
    if done.returncode:
        print(done.stdout or '', end='', file=sys.stderr)
        sys.exit(done.returncode)


def say(text: str) -> None:
    print(text, flush=True)


def main():
    args = parse_args()
    from srdensenet_mm.demo import (
        copy_training_images,
        draw_figure,
        print_table,
        print_tool_scores,
        score_checkpoints,
    )
    out = Path(args.out).resolve()
    shown = Path(path_from_here(out))
    say(f'1/4 Prepare Set5 and the training images: {shown / "data"}')
    run('tools/prepare_dataset.py', 'tests/data/Set5/HR', out / 'data/Set5', '--scales', SCALE,
        quiet=True)
    images = copy_training_images(out / 'data/train_HR')

    say(f'2/4 Train a small SRDenseNet on {len(images)} images of scikit-image, some minutes')
    # Quoted: a comma in a path would make two of it.
    train_data = f'train_dataloader.dataset.data_root={str(out / "data/train_HR")!r}'
    val_data = f'val_dataloader.dataset.data_root={str(out / "data/Set5")!r}'
    test_data = f'test_dataloader.0.dataset.data_root={str(out / "data/Set5")!r}'
    length = [f'train_cfg.max_iters={args.iters}'] if args.iters else []
    run('tools/train.py', CONFIG, '--work-dir', out / 'training',
        '--cfg-options', train_data, val_data, *length)
    trained = os.fsdecode((out / 'training/last_checkpoint').read_bytes()).strip()

    say("3/4 Score it on Set5 with tools/test.py, by MMagic's metrics")
    run('tools/test.py', CONFIG, trained, '--work-dir', out / 'test', '--out', out / 'scores.json',
        '--cfg-options', test_data, quiet=True)
    print_tool_scores(json.loads((out / 'scores.json').read_text()),
                      f'The short training on Set5 x{SCALE}')

    checkpoints = {'short training': trained}
    published = sorted((ROOT / 'checkpoints').glob('srdensenet_x4-*.pth'))
    if published:
        checkpoints['published'] = published[-1]
    say(f'4/4 Upscale Set5 with {" and ".join(checkpoints)} weights')
    scores = score_checkpoints(out / 'data/Set5', checkpoints, SCALE)
    print_table(scores, f'Set5 x{SCALE}, PSNR (dB) and SSIM on Y, rounded to 8 bits as PNGs are')
    draw_figure(out / 'figure.png', out / 'data/Set5', scores, SCALE)
    say(f'Figure: {shown / "figure.png"}   scores: {shown / "scores.json"}')
    weights = [] if published else ['--checkpoint', path_from_here(trained)]
    say('Upscale your own images:\n    ' + shlex.join(
        [path_from_here(sys.executable), 'tools/infer.py', 'IMAGE_OR_FOLDER',
         *weights, '--out', 'FOLDER']))


if __name__ == '__main__':
    run_tool(main)
