# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Measure time and memory of the network and of its plain form on a GPU, in one run.

The machine needs PyTorch and NumPy, but neither MMagic nor MMEngine. The plain
form is the network as its description reads. All forms of one type read the
same batch, have the same weights and take turns with a matrix product. Compiled
forms run as CUDA graphs (the compiler's mode reduce-overhead). Results are
written after each batch: a run that is cut off leaves what it has measured.

    python studies/gpu_speed.py --out speed_gpu
"""
import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'studies')]

from gpu_training.bare import make_importable  # noqa: E402

make_importable()

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from srdensenet_mm.backends.autocast import DTYPES, Autocast  # noqa: E402
from srdensenet_mm.benchmark.timing import time_interleaved  # noqa: E402
from srdensenet_mm.errors import run_tool  # noqa: E402
from srdensenet_mm.models.srdensenet import SRDenseNet, bottleneck_maps  # noqa: E402

FORMS = ('plain form', 'ours', 'plain form, compiled', 'ours, compiled')
# A call is repeated in a round for at least this long: a GPU takes time to reach its clock.
_SECONDS = 0.03


class PlainForm(nn.Module):
    """A network computed by its plain forward, for a compiler too."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network._reconstruct(bottleneck_maps(self.network, x))


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--out', required=True, metavar='PATH', help='write PATH.json and PATH.md')
    parser.add_argument('--sizes', nargs='+', type=_size, default=[(128, 128), (270, 480)],
                        metavar='WxH', help='LR sizes')
    parser.add_argument('--batches', nargs='+', type=int, default=[1, 8])
    parser.add_argument('--dtypes', nargs='+', default=['fp16', 'bf16', 'fp32'], choices=DTYPES,
                        help='fp32 is computed with TF32')
    parser.add_argument('--memory-size', type=_size, default=(1080, 1920), metavar='WxH',
                        help='LR size that peak memory is measured at')
    parser.add_argument('--product', type=int, default=8192, help='side of the matrix product')
    parser.add_argument('--runs', type=int, default=7, help='rounds')
    parser.add_argument('--minutes', type=float, default=8,
                        help='nothing is compiled any more after so many')
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--network', type=json.loads, default={}, metavar='JSON',
                        help='arguments of SRDenseNet')
    return parser.parse_args(arguments)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition('x')
    return int(height), int(width)


def measure(args: argparse.Namespace, write: Callable[[dict], None]) -> None:
    """Measure all, and write the result so far after each batch."""
    end = time.monotonic() + 60 * args.minutes
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    network = SRDenseNet(**args.network).eval()
    result = dict(
        device=torch.cuda.get_device_name(args.device) if args.device != 'cpu' else 'cpu',
        torch=torch.__version__, runs=args.runs, scale=network.upscale_factor, rows=[],
        memory=_memory(network, args))
    write(result)
    for size in args.sizes:
        work = gflop(network, size)
        for batch in args.batches:
            x = torch.rand(batch, network.conv_first.in_channels, *size, device=args.device)
            for dtype in args.dtypes:
                names = FORMS if time.monotonic() < end else FORMS[:2]
                calls = {name: form(network, name, dtype, args.device) for name in names}
                apart = _differences(network, calls, x)
                a, b = torch.rand(2, args.product, args.product, device=args.device).to(
                    DTYPES[dtype])
                seconds = in_turns({'product': partial(torch.matmul, a, b),
                                    **{name: partial(call, x) for name, call in calls.items()}},
                                   args.runs, args.device)
                rate = 2 * args.product**3 / 1e9 / median(seconds['product'])
                for name in names:
                    taken = median(seconds[name])
                    result['rows'].append(dict(
                        form=name, dtype=dtype, batch=batch, lr_height=size[0], lr_width=size[1],
                        seconds=taken, gflop_per_second=batch * work / taken,
                        share_of_product_rate=batch * work / taken / rate,
                        largest_difference=apart[name]))
                write(result)
                torch.compiler.reset()


def form(network: nn.Module, name: str, dtype: str, device: str) -> Callable[[Tensor], Tensor]:
    """One of :data:`FORMS`: (N, C, H, W) -> (N, C', s * H, s * W), float32 both."""
    module = Autocast(network, dtype, device).eval()
    if name.startswith('plain'):
        module.network = PlainForm(module.network)
    if name.endswith('compiled'):
        module = torch.compile(module, mode='reduce-overhead', dynamic=False)

    @torch.no_grad()
    def run(x: Tensor) -> Tensor:
        return module(x)

    return run


def gflop(network: nn.Module, size: Sequence[int]) -> float:
    """Floating-point operations of the plain form for one image, in 1e9."""
    x = torch.zeros(1, network.conv_first.in_channels, *size, device='meta')
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        PlainForm(copy.deepcopy(network).to('meta'))(x)
    return counter.get_total_flops() / 1e9


def _differences(network: nn.Module, calls: dict[str, Callable], x: Tensor) -> dict[str, float]:
    """The largest difference of each form's first output from the plain form's in float32."""
    with torch.no_grad():
        exact = PlainForm(copy.deepcopy(network).to(x.device))(x[:1])
        return {name: float((call(x)[:1] - exact).abs().max()) for name, call in calls.items()}


def in_turns(calls: dict[str, Callable], runs: int, device: str) -> dict[str, list[float]]:
    """Seconds of each call, round by round."""
    # The first calls capture the graph and choose kernels, the last tells how long one takes.
    times = {name: max(1, round(_SECONDS / time_interleaved({name: call}, 3, device)[name][-1]))
             for name, call in calls.items()}

    def repeat(name: str) -> None:
        for _ in range(times[name]):
            calls[name]()

    found = time_interleaved({name: partial(repeat, name) for name in calls}, runs, device)
    return {name: [seconds / times[name] for seconds in rounds] for name, rounds in found.items()}


def _memory(network: nn.Module, args: argparse.Namespace) -> list[dict]:
    """Peak memory of the eager forms, GiB beyond the input."""
    x = torch.rand(1, network.conv_first.in_channels, *args.memory_size, device=args.device)
    rows = []
    for dtype in args.dtypes:
        for name in FORMS[:2]:
            call = form(network, name, dtype, args.device)
            rows.append(dict(form=name, dtype=dtype, lr_height=args.memory_size[0],
                             lr_width=args.memory_size[1], peak_gib=_peak(call, x)))
    return rows


def _peak(call: Callable[[Tensor], Tensor], x: Tensor) -> float | str:
    if not x.is_cuda:
        return 'not measured'
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    try:
        call(x)
    except torch.cuda.OutOfMemoryError:
        return 'more than there is'
    return (torch.cuda.max_memory_allocated() - held) / 2**30


def to_markdown(result: dict) -> str:
    """The tables for docs/speed.md."""
    lines = ['| LR, batch, type | ' + ' | '.join(FORMS) + ' |', '| --- |' + ' ---: |' * len(FORMS)]
    cells: dict[str, dict[str, str]] = {}
    for row in result['rows']:
        title = f'{row["lr_width"]}x{row["lr_height"]}, {row["batch"]}, {row["dtype"]}'
        cells.setdefault(title, {})[row['form']] = (
            f'{1e3 * row["seconds"]:.2f} ms, {row["share_of_product_rate"]:.0%}')
    lines += [f'| {title} | ' + ' | '.join(found.get(name, '') for name in FORMS) + ' |'
              for title, found in cells.items()]
    lines += ['', '| LR, type | ' + ' | '.join(FORMS[:2]) + ' |', '| --- | ---: | ---: |']
    peaks: dict[str, dict[str, str]] = {}
    for row in result['memory']:
        peak = row['peak_gib']
        peaks.setdefault(f'{row["lr_width"]}x{row["lr_height"]}, {row["dtype"]}', {})[
            row['form']] = peak if isinstance(peak, str) else f'{peak:.2f} GiB'
    lines += [f'| {title} | ' + ' | '.join(found[name] for name in FORMS[:2]) + ' |'
              for title, found in peaks.items()]
    return '\n'.join([
        *lines, '', f'{result["device"]}, torch {result["torch"]}, x{result["scale"]}, luma; '
        f'medians of {result["runs"]} rounds. Shares are of the rate of a matrix product of the '
        'same type; fp32 is computed with TF32.', ''])


def main() -> None:
    args = parse_args()
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)

    def write(result: dict) -> None:
        Path(args.out + '.json').write_text(json.dumps(result, indent=2) + '\n')
        Path(args.out + '.md').write_text(to_markdown(result))

    measure(args, write)
    print(Path(args.out + '.md').read_text())


if __name__ == '__main__':
    run_tool(main)
