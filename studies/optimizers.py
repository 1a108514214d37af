# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Compare optimizers: the same network, initial weights, batches and schedule.

Each trains a new default network for some hundred iterations (warm-up, then
a linear decay to zero) in bf16 where the CPU computes in it. Compared
are the last losses and PSNR on Y over held-back images, every fortieth.

    python studies/optimizers.py adam=6e-4 adam=1.2e-3 muon=1e-3 --iters 300
"""
import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'studies')]

from amp_curves import find_data, luma  # noqa: E402

from srdensenet_mm.errors import UserError, run_tool  # noqa: E402

HELD_BACK_EVERY = 40
SCALE = 4


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('optimizers', nargs='+', metavar='NAME=RATE', help='adam or muon')
    parser.add_argument(
        '--data', nargs='+', metavar='FOLDER',
        help='HR images (default: data/train, or else tests/data/Set5/HR)')
    parser.add_argument('--iters', type=int, default=300, help='iterations (default: 300)')
    parser.add_argument('--batch', type=int, default=8, help='patches in a batch (default: 8)')
    parser.add_argument('--small', action='store_true', help='a small network, for a quick look')
    parser.add_argument('--out', metavar='PATH', help='JSON file for the figures')
    return parser.parse_args(arguments)


def parse_optimizers(texts: Sequence[str]) -> dict[str, tuple[str, float]]:
    found = {}
    for text in texts:
        name, _, rate = text.partition('=')
        try:
            found[text] = name, float(rate)
        except ValueError:
            raise UserError(f'{text}: give NAME=RATE, such as adam=6e-4') from None
        if name not in ('adam', 'muon'):
            raise UserError(f'{text}: the optimizer is adam or muon')
    return found


class Images:
    """Patches to train on, and images held back from them."""

    def __init__(self, folders: Sequence[str], batch: int, patch: int = 96):
        from srdensenet_mm.datasets import HRFolderDataset, RandomPatchPair
        self.dataset = HRFolderDataset(
            folders, [RandomPatchPair(scale=SCALE, gt_patch_size=patch)], on_bad_image='skip')
        self.batch = batch
        self.held_back = range(0, len(self.dataset), HELD_BACK_EVERY)

    def draw(self):
        samples = []
        while len(samples) < self.batch:
            index = np.random.randint(len(self.dataset))
            sample = None if index in self.held_back else self.dataset.prepare_data(index)
            samples += [sample] if sample is not None else []
        return [luma([one[key] for one in samples]) for key in ('img', 'gt')]

    def pairs_held_back(self):
        from srdensenet_mm.datasets import matlab_bicubic, read_rgb
        for index in self.held_back:
            image = read_rgb(self.dataset.get_data_info(index)['gt_path'])
            height, width = (side // 12 * 12 for side in image.shape[:2])
            image = image[:height, :width]
            yield luma([matlab_bicubic(image, SCALE)]), luma([image])


def train(images: Images, name: str, rate: float, iters: int, small: bool) -> dict:
    """Train a new network; returns the losses, the held-back PSNR and seconds per iteration."""
    import torch
    from torch.nn.functional import l1_loss
    from tqdm import tqdm

    from srdensenet_mm.engine import AutocastOptimWrapper, MuonWithAdam
    from srdensenet_mm.models import SRDenseNet
    torch.manual_seed(0)
    np.random.seed(0)
    network = SRDenseNet(**dict(
        mid_channels=16, num_blocks=2, num_layers=2, bottleneck_channels=16) if small else {})
    optimizer = dict(adam=torch.optim.Adam, muon=MuonWithAdam)[name](network.parameters(), lr=rate)
    wrapper = AutocastOptimWrapper(optimizer=optimizer, clip_grad=dict(max_norm=1))
    warm_up = max(1, iters // 10)
    losses, seconds = [], []
    for i in tqdm(range(iters), desc=f'{name} {rate:g}', unit='iteration', dynamic_ncols=True):
        low, high = images.draw()
        for group in wrapper.param_groups:
            group['lr'] = rate * min(1, (i + 1) / warm_up) * (1 - i / iters)
        start = time.perf_counter()
        with wrapper.optim_context(network):
            loss = l1_loss(network(low).float(), high)
        wrapper.update_params(loss)
        seconds.append(time.perf_counter() - start)
        losses.append(loss.item())
    return dict(
        losses=losses, last_loss=float(np.mean(losses[-max(1, iters // 10):])),
        psnr_held_back=psnr(network, images), seconds=float(np.median(seconds)))


def psnr(network, images: Images) -> float:
    """Mean PSNR on Y over the images held back, dB, ``SCALE`` pixels of border cut off."""
    import torch
    values = []
    with torch.no_grad():
        for low, high in images.pairs_held_back():
            difference = (network(low).clamp(16 / 255, 235 / 255) - high)[
                ..., SCALE:-SCALE, SCALE:-SCALE]
            values.append(-10 * np.log10(float(difference.square().mean())))
    return float(np.mean(values))


def main() -> None:
    args = parse_args()
    optimizers = parse_optimizers(args.optimizers)
    images = Images(find_data(args.data), args.batch)
    results = {text: train(images, *optimizer, args.iters, args.small)
               for text, optimizer in optimizers.items()}
    print(f'| optimizer | last loss | PSNR on {len(images.held_back)} images held back | '
          's an iteration |\n| --- | ---: | ---: | ---: |')
    for text, result in results.items():
        print(f'| {text} | {result["last_loss"]:.5f} | {result["psnr_held_back"]:.2f} dB | '
              f'{result["seconds"]:.3f} |')
    if args.out:
        from srdensenet_mm.files import atomic_write
        with atomic_write(args.out) as temporary:
            temporary.write_text(json.dumps(
                dict(iters=args.iters, batch=args.batch, results=results), indent=2) + '\n')


if __name__ == '__main__':
    run_tool(main)
