# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The time from a command to its end: --help of every tool, and upscaling a small image.

    taskset -c 1 env OMP_NUM_THREADS=1 python studies/start_up.py

Prints medians: of the time that passes, and of the CPU time. Beside other work on the same core,
only the latter means something. The file cache is warm after the first, uncounted, run.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMAGE = ROOT / 'tests/data/Set5/LR_bicubic/X4/baby.png'
SIDE = 64


def run(*command) -> tuple[float, float]:
    """Run a command; the seconds that passed, and those of CPU time."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT,
                               stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f'{command[0]}: failed')
    return time.perf_counter() - start, used.ru_utime + used.ru_stime


def report(name: str, repeat: int, *command) -> None:
    times = [run(*command) for _ in range(repeat + 1)][1:]
    passed, used = map(statistics.median, zip(*times, strict=True))
    print(f'{name:32} {passed:6.2f} s {used:6.2f} s', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--repeat', type=int, default=5, help='counted runs (default: 5)')
    repeat = parser.parse_args().repeat
    print(f'{"":32} {"passed":>8} {"CPU":>8}')
    for tool in sorted(ROOT.glob('tools/*.py')):
        report(f'{tool.name} --help', repeat, tool, '--help')
    report('srdensenet-mm --help', repeat, '-m', 'srdensenet_mm', '--help')
    report('import torch', repeat, '-c', 'import torch')
    import cv2
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder, 'small.png')
        cv2.imwrite(str(small), cv2.imread(str(IMAGE))[:SIDE, :SIDE])
        checkpoint = next(ROOT.glob('checkpoints/srdensenet_x4-*.pth'))
        for name, image in ((f'{SIDE}x{SIDE}', small), ('128x128', IMAGE)):
            report(f'infer.py, {name}', repeat, ROOT / 'tools/infer.py', image, '--overwrite',
                   '--checkpoint', checkpoint, '--out', Path(folder, 'out'))


if __name__ == '__main__':
    main()
