# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Compare super-resolution models: quality, parameters, multiply-adds, time and memory.

Writes benchmark.csv, .json and .md, psnr_over_time.png, and index.html with a sortable table and
the images side by side.
"""
import argparse

from srdensenet_mm.errors import run_tool


def parse_size(text: str) -> tuple[int, int]:
    """``128`` or ``WIDTHxHEIGHT`` -> (height, width)."""
    width, _, height = text.partition('x')
    return int(height or width), int(width)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'models', nargs='+', metavar='CONFIG[=CHECKPOINT]|NAME=CHECKPOINT',
        help='config file, or package::path of an installed one such as '
        'mmagic::edsr/edsr_x4c64b16_1xb16-300k_div2k.py; without a checkpoint it has no scores. '
        "Or any name and a checkpoint that needs no config: SRDenseNet's, or another project's "
        'that spandrel reads')
    parser.add_argument(
        '--data', nargs='+', default=[], metavar='FOLDER',
        help='test sets as tools/prepare_dataset.py makes them: GTmod12, LRbicx4, ...')
    parser.add_argument('--out', required=True, metavar='FOLDER', help='where the files go')
    parser.add_argument(
        '--size', type=parse_size, default=(128, 128), metavar='N|WxH',
        help='LR size of the image that is timed (default: 128)')
    parser.add_argument('--runs', type=int, default=5, help='timed runs of each (default: 5)')
    parser.add_argument('--threads', type=int, help="for torch (default: torch's choice)")
    parser.add_argument('--device', default='cpu', help='cpu (default), cuda, cuda:1, ...')
    parser.add_argument(
        '--backends', nargs='+', default=['torch'], metavar='BACKEND',
        help='backends for SRDenseNets, a row each: torch (default), torch:bf16, '
        'torch:fp16 (GPU), onnxruntime, openvino, openvino:bf16, openvino:fp16')
    parser.add_argument(
        '--no-images', action='store_true', help='leave the images out of index.html')
    return parser.parse_args()


def main():
    args = parse_args()
    from srdensenet_mm.benchmark.running import run_benchmark
    from srdensenet_mm.benchmark.tables import to_markdown
    results = run_benchmark(
        args.models, args.data, args.out, args.size, args.runs, args.threads, args.device,
        args.backends, not args.no_images)
    print(to_markdown(results))
    print(f'{args.out}: {", ".join(results.files)}')


if __name__ == '__main__':
    run_tool(main)
