# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Peak memory of one call above what the process held before it."""
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

_CLEAR = Path('/proc/self/clear_refs')
_STATUS = Path('/proc/self/status')
_MARK = 'peak_memory_result:'
# Of a model, in one process: it may differ by what the allocator has left over.
MEMORY_RUNS = 3


def measure_peak(call: Callable[[], object]) -> int:
    """Run a call and watch the process's resident memory.

    Args:
        call (Callable): Without arguments; what it returns is dropped.

    Returns:
        int: Bytes of the highest level during the call above that before it.
        The kernel's own high-water mark where it can be reset (Linux), else
        the highest of samples every 2 ms.
    """
    try:
        _CLEAR.write_text('5')
        before = _read_status('VmRSS')
    except OSError:
        return _sample_peak(call)
    call()
    return max(0, _read_status('VmHWM') - before)


def _read_status(field: str) -> int:
    return int(re.search(rf'^{field}:\s+(\d+) kB', _STATUS.read_text(), re.M)[1]) * 1024


def _sample_peak(call: Callable[[], object]) -> int:
    process = psutil.Process()
    before = peak = process.memory_info().rss
    done = threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        call()
        peak = max(peak, process.memory_info().rss)
    finally:
        done.set()
        thread.join()
    return peak - before


def measure_cuda_peak(call: Callable[[], object]) -> int:
    """The same for the memory that torch holds on the current GPU, bytes."""
    import torch
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def run_fresh(code: str, argument: Mapping[str, Any], threads: int) -> Any:
    """Run a function in a new process, whose memory nothing else has touched.

    Args:
        code (str): ``module:function``, or ``file.py:function``.
        argument (Mapping): Its keyword arguments, as JSON can hold them.
        threads (int): For torch and the libraries below it.

    Returns:
        Any: What the function returned, through JSON.

    Raises:
        RuntimeError: It failed; the message has the end of its stderr.
    """
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    result = subprocess.run(
        [sys.executable, '-m', __name__, code, json.dumps(argument)],
        capture_output=True, text=True, env=environment)
    found = re.search(f'^{_MARK}(.*)$', result.stdout, re.M)
    if result.returncode or not found:
        raise RuntimeError(f'{code} failed with status {result.returncode}:\n'
                           f'{result.stderr[-3000:]}')
    return json.loads(found[1])


def entry_peak(spec, size: tuple[int, int], scale: int, threads: int) -> int:
    """Peak memory of upscaling one random image, in a fresh process.

    Args:
        spec (Spec): The model; None is bicubic.
        size (tuple[int, int]): Height and width of the image, LR pixels.
        scale (int): The upscale factor.
        threads (int): For torch.

    Returns:
        int: Bytes above the level with the model loaded and warmed up, the
        most of :data:`MEMORY_RUNS` runs.
    """
    argument = dict(spec=spec and asdict(spec), size=size, scale=scale, threads=threads)
    return run_fresh('srdensenet_mm.benchmark.peak_memory:_entry_peak_here', argument, threads)


def _entry_peak_here(spec: dict | None, size: list[int], scale: int, threads: int) -> int:
    import torch

    from .timing import bicubic_call, torch_call
    torch.set_num_threads(threads)
    if spec is None:
        bicubic_call((24, 24), scale)()
        return _most(bicubic_call(size, scale))
    from .entries import Spec, build
    entry = build(Spec(**spec))
    torch_call(entry, (24, 24))()
    return _most(torch_call(entry, size))


def _most(call: Callable[[], object]) -> int:
    return max(measure_peak(call) for _ in range(MEMORY_RUNS))


def _main() -> None:
    import importlib
    import runpy
    module, _, function = sys.argv[1].rpartition(':')
    if module.endswith('.py'):
        found = runpy.run_path(module)[function]
    else:
        found = getattr(importlib.import_module(module), function)
    value = found(**json.loads(sys.argv[2]))
    print(f'\n{_MARK}{json.dumps(value)}', flush=True)


if __name__ == '__main__':
    _main()
