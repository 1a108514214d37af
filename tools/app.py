# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Open a page to try it on: drop an image, compare with bicubic, download the PNG."""
import argparse
import signal
import sys

from srdensenet_mm.errors import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--checkpoint', nargs='+', action='extend', metavar='FILE', help='weights to choose from '
        '(default: those that come with the package)')
    parser.add_argument('--host', default='127.0.0.1', help='the address to listen on; 0.0.0.0 '
                        'lets other machines in, without a password (default: 127.0.0.1)')
    parser.add_argument('--port', type=int, default=7860, help='0 takes a free one (default: 7860)')
    parser.add_argument('--dtype', choices=['fp32', 'bf16', 'fp16', 'int8'], default='fp32',
                        help='what the network computes in (default: fp32)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: a GPU if there is one)')
    parser.add_argument('--backend', choices=['torch', 'onnxruntime', 'openvino'], default='torch',
                        help='what computes the network (default: torch)')
    parser.add_argument(
        '--max-memory', type=float, metavar='GIB', help='memory to use at most for an image')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from srdensenet_mm.app import Jobs, make_server
    from srdensenet_mm.checkpoints.published import published_files
    from srdensenet_mm.optional_packages import import_optional
    import_optional('flask')
    checkpoints = args.checkpoint or [
        path for (_, scale), path in published_files().items()
        if scale or args.backend == 'torch']  # any scale: torch alone computes it
    # The images that it keeps go away however it is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print('Loading the weights ...', flush=True)
    jobs = Jobs(checkpoints, device=args.device, dtype=args.dtype, backend=args.backend,
                max_memory=args.max_memory)
    try:
        server = make_server(jobs, args.host, args.port)
        host = f'[{args.host}]' if ':' in args.host else args.host
        address = f'http://{host}:{server.server_address[1]}/'
        print(f'Open {address} in a browser. Ctrl-C ends.', flush=True)
        server.serve_forever()
    finally:
        jobs.close()


if __name__ == '__main__':
    run_tool(main)
