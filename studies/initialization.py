# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Effects of a network's initial weights on its maps, in short trainings.

Each trial trains the default network for some hundred iterations (warm-up,
then a linear decay to zero) from one kind of initial weights. ``carry`` are the
network's own, which carry the image through it. ``he`` are He-normal alone. The
table shows PSNR on Set5. For the first convolution and each block, it shows the
share of maps that are zero everywhere on Set5, and the deviation of all maps.

    python studies/initialization.py muon=1e-3 adam=1e-3 --start carry he --bias-rate 0.1
"""
import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'studies')]

from amp_curves import find_data  # noqa: E402
from optimizers import Images, parse_optimizers  # noqa: E402

from srdensenet_mm.errors import run_tool  # noqa: E402

SMALL = dict(mid_channels=16, num_blocks=2, num_layers=2, bottleneck_channels=16)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('optimizers', nargs='+', metavar='NAME=RATE', help='adam or muon')
    parser.add_argument('--start', nargs='+', choices=('carry', 'he'), default=['carry'],
                        help='first weights (default: carry)')
    parser.add_argument('--level', nargs='+', choices=('all', 'hl', 'h'), default=['all'],
                        help='feature level (default: all)')
    parser.add_argument('--bias-rate', nargs='+', type=float, default=[0.1], metavar='FACTOR',
                        help="learning rate of biases, relative to the others' (default: 0.1)")
    parser.add_argument('--warm-up', nargs='+', type=int, default=[60], metavar='ITERS',
                        help='iterations (default: 60)')
    parser.add_argument(
        '--data', nargs='+', metavar='FOLDER',
        help='HR images (default: data/train, or else tests/data/Set5/HR)')
    parser.add_argument('--iters', type=int, default=600, help='iterations (default: 600)')
    parser.add_argument('--batch', type=int, default=8, help='patches in a batch (default: 8)')
    parser.add_argument('--small', action='store_true', help='a small network, for a quick look')
    return parser.parse_args(arguments)


def new_network(start: str, level: str, small: bool):
    """A network with the first weights of a trial."""
    import torch
    from torch import nn

    from srdensenet_mm.models import SRDenseNet
    from srdensenet_mm.models.initialization import he_normal
    torch.manual_seed(0)
    network = SRDenseNet(feature_level=level, **(SMALL if small else {}))
    if start == 'he':
        he_normal(*(module for module in network.modules()
                    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))))
    return network


def train(network, images: Images, optimizer: tuple[str, float], iters: int, bias_rate: float,
          warm_up: int) -> None:
    """Train in bf16, where the device computes in it, with L1."""
    import numpy as np
    import torch
    from torch.nn.functional import l1_loss
    from tqdm import tqdm

    from srdensenet_mm.engine import AutocastOptimWrapper, MuonWithAdam
    name, rate = optimizer
    np.random.seed(0)
    groups = [dict(params=[p for p in network.parameters() if (p.ndim == 1) == biases], share=share)
              for biases, share in ((False, 1), (True, bias_rate))]
    wrapper = AutocastOptimWrapper(
        optimizer=dict(adam=torch.optim.Adam, muon=MuonWithAdam)[name](groups, lr=rate),
        clip_grad=dict(max_norm=1))
    for i in tqdm(range(iters), desc=f'{name} {rate:g}', unit='iteration', dynamic_ncols=True):
        low, high = images.draw()
        for group in wrapper.optimizer.param_groups:
            group['lr'] = group['share'] * rate * min(1, (i + 1) / max(1, warm_up)) * (
                1 - i / iters)
        with wrapper.optim_context(network):
            loss = l1_loss(network(low).float(), high)
        wrapper.update_params(loss)


def look(network) -> tuple[list[int], list[float]]:
    """Dead maps, and the deviation of all maps, of the first convolution and each block."""
    import cv2
    import torch
    from speed_parts import SET5, luma
    sources = [network.conv_first, *network.blocks]
    alive, values = {}, {}

    def see(module, _, out):
        out = out.relu()  # which a block's output has gone through already
        alive[module] = alive.get(module, False) | (out > 0).any(0).flatten(1).any(1)
        values.setdefault(module, []).append(float(out.std()))

    handles = [module.register_forward_hook(see) for module in sources]
    with torch.no_grad():
        for path in sorted((SET5.parent / 'LR_bicubic/X4').glob('*.png')):
            network(luma(cv2.imread(str(path))))
    for handle in handles:
        handle.remove()
    return ([int((~alive[module]).sum()) for module in sources],
            [sum(values[module]) / len(values[module]) for module in sources])


def main() -> None:
    args = parse_args()
    optimizers = parse_optimizers(args.optimizers)
    from speed_parts import quality
    images = Images(find_data(args.data), args.batch)
    print('| first weights | level | optimizer | biases | warm-up | Set5 at the start | Set5 | '
          'dead maps: first convolution; blocks | deviation |\n' + '| --- ' * 9 + '|', flush=True)
    for text, start, level, bias_rate, warm_up in itertools.product(
            optimizers, args.start, args.level, args.bias_rate, args.warm_up):
        network = new_network(start, level, args.small)
        scores = [*quality(network.eval(), names=['ours, fp32']).values()]
        train(network.train(), images, optimizers[text], args.iters, bias_rate, warm_up)
        scores += quality(network.eval(), names=['ours, fp32']).values()
        dead, deviation = look(network)
        print(f'| {start} | {level} | {text} | x {bias_rate:g} | {warm_up} | '
              f'{scores[0]:.2f} dB | {scores[1]:.3f} dB | '
              f'{dead[0]}; {", ".join(map(str, dead[1:]))} | '
              f'{deviation[0]:.3f}; {", ".join(f"{one:.3f}" for one in deviation[1:])} |',
              flush=True)


if __name__ == '__main__':
    run_tool(main)
