# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Timing calls fairly on a machine that also runs other programs."""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from srdensenet_mm.images.matlab_bicubic import matlab_bicubic_upscale

if TYPE_CHECKING:  # it needs MMagic, timing does not
    from .entries import Entry


def time_interleaved(calls: Mapping[str, Callable[[], object]],
                     runs: int,
                     device: str | torch.device = 'cpu',
                     on_call: Callable[[str], object] | None = None) -> dict[str, list[float]]:
    """Time several calls in rounds, each once a round.

    If the machine is slow for some time, all calls are slowed equally. The order
    rotates from round to round, so no call always runs at the same place.

    Args:
        calls (Mapping[str, Callable]): Name -> the call to time.
        runs (int): Rounds. One more before them warms up and does not count.
        device (str | torch.device): Where the calls compute; CUDA's own clock
            is read for a GPU.
        on_call (Callable, optional): Called with each name after its call, also
            in the warm-up.

    Returns:
        dict[str, list[float]]: Seconds, round by round.
    """
    timed = _time_cuda if torch.device(device).type == 'cuda' else _time_cpu
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for i in range(runs + 1):
        turn = i % len(names)
        for name in names[turn:] + names[:turn]:
            taken = timed(calls[name])
            if i:
                seconds[name].append(taken)
            if on_call is not None:
                on_call(name)
    return seconds


def _time_cpu(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _time_cuda(call: Callable[[], object]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000


def _random_image(size: Sequence[int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def bicubic_call(size: Sequence[int], scale: int) -> Callable[[], object]:
    """Bicubic upscaling of an RGB image of a size (height, width)."""
    image = _random_image(size)
    return lambda: matlab_bicubic_upscale(image, scale)


def torch_call(entry: Entry, size: Sequence[int]) -> Callable[[], object]:
    """A model's upscaling of an RGB image that is on its device already."""
    device = next(entry.generator.parameters()).device
    image = torch.from_numpy(_random_image(size)).permute(2, 0, 1)[None].to(device)
    image = (image.float() / 255).contiguous()
    return lambda: entry.upscale(image)
