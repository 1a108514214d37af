# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Train a small SRDenseNet in minutes, score it on Set5, and draw its results."""
import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

from srdensenet_mm.demo import copy_training_images, draw_figure, print_table, score_images
from srdensenet_mm.errors import run_tool

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/srdensenet_x4_demo.py'
SCALE = 4


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', default='work_dirs/demo', help='folder for all results')
    parser.add_argument('--iters', type=int, help='iterations, if not the recipe\'s')
    return parser.parse_args()


def run(*command) -> None:
    """Run one of the tools as a user would, and show the command."""
    command = [str(part) for part in command]
    print(f'\n$ python {shlex.join(command)}', flush=True)
    status = subprocess.run([sys.executable, *command], cwd=ROOT).returncode
    if status:
        sys.exit(status)


def show(checkpoint, name, out, figure) -> None:
    """Upscale Set5 with a checkpoint; print the table and draw the figure."""
    results = out / f'Set5_{figure.stem}'
    run('tools/infer.py', out / 'data/Set5' / f'LRbicx{SCALE}', '--checkpoint', checkpoint,
        '--out', results, '--overwrite')
    scores = score_images(out / 'data/Set5', {name: results}, SCALE)
    print_table(scores, f'Set5 x{SCALE}, PSNR (dB) and SSIM on Y')
    draw_figure(figure, out / 'data/Set5', scores, SCALE)
    print(f'figure: {figure}')


def main():
    args = parse_args()
    out = Path(args.out).resolve()
    run('tools/prepare_dataset.py', 'tests/data/Set5/HR', out / 'data/Set5', '--scales', SCALE)

    published = sorted((ROOT / 'checkpoints').glob('srdensenet_x4-*.pth'))
    if published:
        print('\nThe published weights:')
        show(published[-1], 'SRDenseNet', out, out / 'published.png')

    print('\nA small network, trained now:')
    images = copy_training_images(out / 'data/train_HR')
    print(f'{len(images)} images of scikit-image in {out / "data/train_HR"}')
    # Quoted: a comma in a path would make two of it.
    train_data = f'train_dataloader.dataset.data_root={str(out / "data/train_HR")!r}'
    val_data = f'val_dataloader.dataset.data_root={str(out / "data/Set5")!r}'
    test_data = f'test_dataloader.0.dataset.data_root={str(out / "data/Set5")!r}'
    length = [f'train_cfg.max_iters={args.iters}'] if args.iters else []
    run('tools/train.py', CONFIG, '--work-dir', out / 'training',
        '--cfg-options', train_data, val_data, *length)
    trained = os.fsdecode((out / 'training/last_checkpoint').read_bytes()).strip()
    run('tools/test.py', CONFIG, trained, '--work-dir', out / 'test', '--out', out / 'scores.json',
        '--cfg-options', test_data)
    show(trained, 'SRDenseNet (small)', out, out / 'figure.png')


if __name__ == '__main__':
    run_tool(main)
