# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Measure time and memory of the network and of its plain form, in one run.

The plain form is the network as its description reads and as other
implementations have it: concatenations, contiguous tensors, each convolution
called as it is named (SRDenseNet's own forward). It and the forms compared
with it have the same weights, read the same image, and take turns, so that
what slows the machine down slows all alike; ratios are medians of the rounds'
ratios.

    python studies/speed.py --checkpoint checkpoints/srdensenet_x4-*.pth --out speed
"""
import argparse
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'studies')]

from srdensenet_mm.errors import UserError, run_tool  # noqa: E402

SECTIONS = ('forward', 'training', 'memory', 'quality')
PARTS = str(Path(__file__).with_name('speed_parts.py'))


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--checkpoint', help='weights on luma (default: the default network, random weights); '
        'with them, PSNR on Set5 is compared too')
    parser.add_argument(
        '--only', nargs='+', choices=SECTIONS, default=SECTIONS, help='parts to measure')
    parser.add_argument('--size', type=int, default=128, help='side of the LR image that is '
                        'timed (default: 128)')
    parser.add_argument('--batch', type=int, default=16, help='of a training step (default: 16)')
    parser.add_argument('--patch', type=int, default=25, help='LR side of its patches '
                        '(default: 25)')
    parser.add_argument('--runs', type=int, default=7, help='rounds (default: 7)')
    parser.add_argument('--threads', type=int, help="for torch (default: torch's choice)")
    parser.add_argument(
        '--memory-sizes', nargs='+', default=['480x270'], metavar='WxH',
        help='LR sizes that peak memory is measured at (default: 480x270)')
    parser.add_argument(
        '--large', action='store_true', help='measure 1920x1080 too (minutes, and 8 GiB for '
        'the image without tiles)')
    parser.add_argument('--max-memory', type=float, metavar='GIB', help="Upscaler's limit, beside "
                        'its default')
    parser.add_argument('--no-plain-memory', action='store_true', help='leave out the plain '
                        "form's peak memory, about 10 GiB at 480x270")
    parser.add_argument('--out', metavar='PATH', help='write PATH.json and PATH.md')
    return parser.parse_args(arguments)


def measure(args: argparse.Namespace) -> dict:
    """All requested measurements, as in the JSON file."""
    import speed_parts as parts
    import torch
    from tqdm import tqdm

    from srdensenet_mm.benchmark.complexity import count_parameters
    from srdensenet_mm.device import device_name
    for name in ('size', 'batch', 'patch', 'runs', 'threads'):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f'--{name} {value}: give a positive number')
    sizes = [_parse_size(text) for text in args.memory_sizes]
    if args.large:
        sizes.append((1080, 1920))
    if args.threads:
        torch.set_num_threads(args.threads)
    network, plain = parts.make_network(args.checkpoint)
    result = dict(
        processor=device_name(), threads=torch.get_num_threads(), torch=torch.__version__,
        python=platform.python_version(), runs=args.runs, scale=network.upscale_factor,
        parameters=count_parameters(network), checkpoint=args.checkpoint)
    if 'forward' in args.only:
        result['forward'] = _forward(parts, network, plain, args)
    if 'training' in args.only:
        result['training'] = _training(parts, network, plain, args)
    if 'quality' in args.only and args.checkpoint:
        with tqdm(total=5 * len(parts.FORMS), desc='Set5', unit='image', leave=False) as bar:
            result['quality'] = parts.quality(network, bar.update)
    del network, plain
    if 'memory' in args.only:
        result['memory'] = [row for size in sizes for row in _memory(parts, size, args)]
    return result


def _parse_size(text: str) -> tuple[int, int]:
    width, _, height = text.partition('x')
    try:
        size = int(height), int(width)
    except ValueError:
        raise UserError(f'--memory-sizes {text}: give WIDTHxHEIGHT, such as 480x270') from None
    if min(size) < 1:
        raise UserError(f'--memory-sizes {text}: give positive numbers')
    return size


def _forward(parts, network, plain, args) -> dict:
    size = (args.size, args.size)
    calls, missing = parts.forward_calls(network, plain, size)
    apart = parts.differences(calls)
    work = parts.gflop(plain, size)
    seconds, rates = _time_with_gemm(parts, calls, args.runs, 'forward')
    rows = [_row(name, seconds, work, rates, parts.PLAIN,
                 largest_difference=apart.get(name)) for name in calls]
    return dict(lr_size=args.size, gflop=work, gemm_gflop_per_second=rates, rows=rows,
                not_measured=missing)


def _training(parts, network, plain, args) -> dict:
    calls = parts.training_calls(network, plain, args.batch, args.patch, network.upscale_factor)
    work = parts.gflop_of_step(plain, args.batch, args.patch)
    seconds, rates = _time_with_gemm(parts, calls, args.runs, 'training step')
    rows = [_row(name, seconds, work, rates, parts.PLAIN) for name in calls]
    return dict(batch=args.batch, patch=args.patch, gflop=work, gemm_gflop_per_second=rates,
                rows=rows)


def _time_with_gemm(parts, calls, runs, title):
    """Seconds of each call, and the rates of matrix products in the same rounds."""
    from tqdm import tqdm

    from srdensenet_mm.benchmark.timing import time_interleaved
    calls = {**calls, **parts.gemm_calls()}
    with tqdm(total=len(calls) * (runs + 1), unit='run', leave=False) as bar:
        def on_call(name):
            bar.set_description(f'{title}: {name}')
            bar.update()

        seconds = time_interleaved(calls, runs, on_call=on_call)
    rates = {name.rpartition(' ')[2]: 2 * parts.GEMM_SIZE**3 / 1e9 / median(seconds[name])
             for name in parts.GEMM}
    return seconds, rates


def _row(name: str, seconds: Mapping[str, list[float]], work: float, rates: Mapping[str, float],
         reference: str, **more) -> dict:
    taken = median(seconds[name])
    # torch multiplies no int8 matrices on a CPU, so their rate is not known.
    rate = rates.get(name.rpartition(' ')[2])
    return dict(
        name=name,
        median_seconds=taken,
        times_as_fast=median(a / b for a, b in zip(seconds[reference], seconds[name], strict=True)),
        gflop_per_second=work / taken,
        share_of_gemm_rate=rate and work / taken / rate,
        seconds=seconds[name],
        **more)


def _share(row: Mapping) -> str:
    share = row['share_of_gemm_rate']
    return '' if share is None else f'{share:.0%}'


def _memory(parts, size: tuple[int, int], args) -> list[dict]:
    import torch
    from tqdm import tqdm

    from srdensenet_mm.benchmark.peak_memory import run_fresh
    small = size[0] * size[1] <= 640 * 360
    asked = dict(checkpoint=args.checkpoint, size=size, threads=torch.get_num_threads())
    tile = max(1, max(size) // 3)
    jobs = {'ours, fp32': ('ours_peak', dict(compare=True))}
    if 'bf16' in parts.DTYPES:
        jobs['ours, bf16'] = 'ours_peak', dict(dtype='bf16')
    if small:  # A large image goes through in tiles anyhow.
        jobs[f'ours, fp32, tiles of {tile}'] = 'ours_peak', dict(tile=tile, compare=True)
    if args.max_memory:
        jobs[f'ours, fp32, at most {args.max_memory:g} GiB'] = (
            'ours_peak', dict(max_memory=args.max_memory, compare=True))
    # For the large size, the plain form would need 16 times as much.
    if small and not args.no_plain_memory:
        jobs['plain form, fp32'] = 'plain_peak', {}
    rows = []
    for name, (function, more) in tqdm(jobs.items(), unit='run', leave=False,
                                       desc=f'memory, {size[1]}x{size[0]}'):
        try:
            found = run_fresh(f'{PARTS}:{function}', {**asked, **more}, asked['threads'])
        except RuntimeError as error:
            # A process that the kernel kills for lack of memory leaves no other message.
            found = dict(failed=str(error).strip().splitlines()[-1])
        rows.append(dict(name=name, lr_width=size[1], lr_height=size[0], **found))
    return rows


def to_markdown(result: dict) -> str:
    """The tables for a README."""
    scale = result['scale']
    lines = []
    if 'forward' in result:
        part = result['forward']
        side = part['lr_size']
        lines += [
            f'Forward pass, x{scale}, luma, {side}x{side} -> {scale * side}x{scale * side} '
            f'({part["gflop"]:.1f} GFLOP; matrix products run at {_rates(part)} here):', '',
            '| | time (ms) | times as fast | GFLOP/s | share of matrix-product rate | largest '
            'difference |', '| --- | ---: | ---: | ---: | ---: | ---: |']
        for row in part['rows']:
            apart = row['largest_difference']
            lines.append(f'| {row["name"]} | {row["median_seconds"] * 1e3:.0f} | '
                         f'{row["times_as_fast"]:.2f} | {row["gflop_per_second"]:.0f} | '
                         f'{_share(row)} | '
                         f'{"-" if apart is None else f"{apart:.1e}"} |')
        lines += [f'\nNot measured: {name}: {reason}.' for name, reason in
                  part['not_measured'].items()] + ['']
    if 'training' in result:
        part = result['training']
        lines += [
            f'Training step (forward, backward, Adam), x{scale}, {part["batch"]} patches '
            f'{part["patch"]}x{part["patch"]} ({part["gflop"]:.1f} GFLOP; matrix products run at '
            f'{_rates(part)}):', '',
            '| | time (ms) | times as fast | GFLOP/s | share of matrix-product rate |',
            '| --- | ---: | ---: | ---: | ---: |']
        lines += [f'| {row["name"]} | {row["median_seconds"] * 1e3:.0f} | '
                  f'{row["times_as_fast"]:.2f} | {row["gflop_per_second"]:.0f} | '
                  f'{_share(row)} |' for row in part['rows']] + ['']
    if 'quality' in result:
        first = next(iter(result['quality'].values()))
        lines += ['PSNR on Y, Set5:', '', '| | PSNR (dB) | above fp32 (dB) |',
                  '| --- | ---: | ---: |']
        lines += [f'| {name} | {value:.4f} | {value - first:+.4f} |'
                  for name, value in result['quality'].items()] + ['']
    if 'memory' in result:
        lines += ['Peak memory above the level before the call, each in a process of its own '
                  '(ours by Upscaler, RGB image in and out; the plain form on luma alone):', '',
                  '| | image | peak (GiB) | time (s), one run | tiles | differs from untiled |',
                  '| --- | --- | ---: | ---: | ---: | --- |']
        lines += [_memory_line(row, scale) for row in result['memory']] + ['']
    lines.append(f'{result["processor"]}, {result["threads"]} threads, torch {result["torch"]}; '
                 f'medians of {result["runs"]} interleaved rounds after one that does not count; '
                 'ratios are medians of the ratios within a round.')
    return '\n'.join(lines) + '\n'


def _rates(part: dict) -> str:
    return ', '.join(f'{rate:.0f} GFLOP/s in {dtype}' for dtype, rate in
                     part['gemm_gflop_per_second'].items())


def _memory_line(row: dict, scale: int) -> str:
    width, height = row['lr_width'], row['lr_height']
    line = f'| {row["name"]} | {width}x{height} -> {scale * width}x{scale * height} | '
    if 'failed' in row:
        return line + f'failed: {row["failed"]} | - | - | - |'
    apart = '-'
    if 'largest_difference_in_levels' in row:
        levels = row['largest_difference_in_levels']
        apart = 'nowhere' if not levels else (
            f'{row["share_of_values_that_differ"]:.1e} of values, by {levels} of 255')
    return line + (f'{row["peak_bytes"] / 2**30:.2f} | {row["seconds"]:.1f} | '
                   f'{row.get("tiles", "-")} | {apart} |')


def main() -> None:
    args = parse_args()
    result = measure(args)
    text = to_markdown(result)
    print(text)
    if args.out:
        from srdensenet_mm.files import atomic_write
        for suffix, content in (('.json', json.dumps(result, indent=2) + '\n'), ('.md', text)):
            with atomic_write(args.out + suffix) as temporary:
                temporary.write_text(content, encoding='utf-8')
        print(f'{args.out}.json, {args.out}.md')


if __name__ == '__main__':
    run_tool(main)
