# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Compare the losses of training in bf16 and in fp32: two curves.

The default network is trained in fp32 and in bf16 (AutocastOptimWrapper), from
the same initial weights, on the same batches, taking turns. How far two
trainings of the same kind drift apart is shown by a third: fp32 again, its
initial weights off by a millionth. Written are the curves as PNG and JSON, and
how much the ends differ.

    python studies/amp_curves.py --iters 250 --out amp_curves
"""
import argparse
import copy
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from srdensenet_mm.errors import UserError, run_tool  # noqa: E402

FP32, BF16, AGAIN = 'fp32', 'bf16', 'fp32, weights off by 1e-6'
WARM_UP = 50
# The part of a training that counts as its end.
TAIL = 0.25


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--data', nargs='+', metavar='FOLDER',
        help='HR images (default: data/train, or else tests/data/Set5/HR)')
    parser.add_argument('--iters', type=int, default=250, help='iterations (default: 250)')
    parser.add_argument('--batch', type=int, default=8, help='patches in a batch (default: 8)')
    parser.add_argument('--patch', type=int, default=96, help='their HR side (default: 96)')
    parser.add_argument('--lr', type=float, default=4e-4, help='after warm-up (default: 4e-4)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--small', action='store_true', help='a small network, for a quick look')
    parser.add_argument('--out', required=True, metavar='PATH', help='writes PATH.png, PATH.json')
    return parser.parse_args(arguments)


def find_data(folders: Sequence[str] | None) -> list[str]:
    if folders:
        return list(folders)
    images = ROOT / 'data/train'
    return [str(images if images.is_dir() else ROOT / 'tests/data/Set5/HR')]


def luma(images: Sequence[np.ndarray]):
    """Y / 255 of uint8 RGB images of one size, shape (N, 1, H, W)."""
    import torch

    from srdensenet_mm.models.colour import rgb_to_y
    return rgb_to_y(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()) / 255


def train(args: argparse.Namespace) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The losses of each training, iteration by iteration, and its seconds an iteration."""
    import torch
    from torch.nn.functional import l1_loss
    from tqdm import tqdm

    from srdensenet_mm.datasets.hr_folder_dataset import HRFolderDataset
    from srdensenet_mm.datasets.transforms import RandomPatchPair
    from srdensenet_mm.engine import AutocastOptimWrapper
    from srdensenet_mm.models import SRDenseNet

    torch.manual_seed(args.seed)
    np.random.seed(args.seed)
    dataset = HRFolderDataset(
        find_data(args.data), [RandomPatchPair(scale=4, gt_patch_size=args.patch)],
        on_bad_image='skip', cache_gib=0)
    small = dict(mid_channels=16, num_blocks=2, num_layers=2, bottleneck_channels=16)
    network = SRDenseNet(**small if args.small else {}).train()
    networks = {FP32: network, BF16: copy.deepcopy(network), AGAIN: copy.deepcopy(network)}
    with torch.no_grad():
        for parameter in networks[AGAIN].parameters():
            parameter.mul_(1 + 1e-6 * torch.randn_like(parameter))
    wrappers = {
        name: AutocastOptimWrapper(
            dtype='bf16' if name == BF16 else 'fp32', clip_grad=dict(max_norm=1),
            optimizer=torch.optim.Adam(one.parameters(), lr=args.lr))
        for name, one in networks.items()}

    losses = {name: [] for name in networks}
    seconds = {name: [] for name in networks}
    for i in tqdm(range(args.iters), unit='iteration', dynamic_ncols=True):
        samples = []
        while len(samples) < args.batch:
            sample = dataset.prepare_data(np.random.randint(len(dataset)))
            samples += [sample] if sample is not None else []
        low, high = luma([one['img'] for one in samples]), luma([one['gt'] for one in samples])
        for name, one in networks.items():
            for group in wrappers[name].param_groups:
                group['lr'] = args.lr * min(1, (i + 1) / WARM_UP)
            start = time.perf_counter()
            with wrappers[name].optim_context(one):
                loss = l1_loss(one(low).float(), high)
            wrappers[name].update_params(loss)
            seconds[name].append(time.perf_counter() - start)
            losses[name].append(loss.item())
    return losses, {name: float(np.median(taken)) for name, taken in seconds.items()}


def compare_ends(losses: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """How the last quarter of each training differs from that of fp32.

    Returns:
        dict[str, float]: ``fp32_tail``, the mean loss there; for bf16 and for
        fp32 again the difference of their means from it, absolute and as a
        share of it; and the standard error of the mean, which different
        batches make it uncertain by.
    """
    count = max(1, round(TAIL * len(losses[FP32])))
    tails = {name: np.array(values[-count:]) for name, values in losses.items()}
    reference = tails[FP32].mean()
    found = dict(iterations=count, fp32_tail=float(reference),
                 standard_error_of_the_mean=float(tails[FP32].std() / np.sqrt(count)))
    for key, name in (('bf16', BF16), ('fp32_again', AGAIN)):
        found[f'{key}_tail'] = float(tails[name].mean())
        found[f'{key}_difference'] = float(tails[name].mean() - reference)
        found[f'{key}_difference_share'] = float(tails[name].mean() / reference - 1)
    return found


def smooth(values: Sequence[float], width: int = 15) -> tuple[np.ndarray, np.ndarray]:
    """Means over ``width`` iterations, and the iterations in the middle of them."""
    width = min(width, len(values))
    means = np.convolve(values, np.ones(width) / width, mode='valid')
    return np.arange(len(means)) + 1 + (width - 1) / 2, means


def draw(losses: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw the curves: each loss faint, their means over some iterations strong."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(8, 4.5), dpi=120, layout='constrained')
    axes = figure.add_subplot()
    styles = {FP32: ('#1d2733', '-', 2.4), AGAIN: ('#8a97a5', '-', 1.6),
              BF16: ('#d1480b', '--', 1.8)}
    for name, (colour, dashes, width) in styles.items():
        axes.plot(range(1, len(losses[name]) + 1), losses[name], color=colour, alpha=0.18,
                  linewidth=0.8)
        axes.plot(*smooth(losses[name]), dashes, color=colour, linewidth=width, label=name)
    axes.set_yscale('log')
    axes.set_xlabel('iteration')
    axes.set_ylabel('L1 loss on Y / 255')
    axes.set_title('The same training in fp32 and in bf16', loc='left', fontweight='bold')
    axes.grid(True, which='both', color='#e4e8ed', linewidth=0.8)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, format='png')


def main() -> None:
    args = parse_args()
    for name in ('iters', 'batch'):
        if getattr(args, name) < 1:
            raise UserError(f'--{name} {getattr(args, name)}: give a positive number')
    from srdensenet_mm.files import atomic_write
    losses, seconds = train(args)
    ends = compare_ends(losses)
    content = dict(
        iterations=args.iters, batch=args.batch, patch=args.patch, learning_rate=args.lr,
        seed=args.seed, data=find_data(args.data), median_seconds_an_iteration=seconds, ends=ends,
        losses=losses)
    with atomic_write(f'{args.out}.json') as temporary:
        temporary.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
    with atomic_write(f'{args.out}.png') as temporary:
        draw(losses, temporary)
    print(f'Mean loss of the last {ends["iterations"]} iterations, fp32: {ends["fp32_tail"]:.5f} '
          f'(standard error {ends["standard_error_of_the_mean"]:.5f})')
    for key, name in (('bf16', BF16), ('fp32_again', AGAIN)):
        print(f'{name}: {ends[f"{key}_tail"]:.5f}, {ends[f"{key}_difference_share"]:+.2%}')
    print(', '.join(f'{name}: {taken:.3f} s' for name, taken in seconds.items())
          + ' an iteration (median)')
    print(f'{args.out}.json, {args.out}.png')


if __name__ == '__main__':
    run_tool(main)
