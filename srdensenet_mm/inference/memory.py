# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""How much memory there is, and how much a network takes for a tile."""
import weakref
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from srdensenet_mm.free_memory import free_main_memory

GIB = 2**30
# What libraries take however small a tile is: threads, packed weights, code.
OVERHEAD = 96 * 2**20
# The sides of the tiles, LR pixels, that a network is tried with.
_TRIALS = (24, 48, 96)


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device now, as far as a container's limit allows.

    Args:
        device (torch.device): Anything but CUDA means main memory.

    Returns:
        int: Bytes.
    """
    if device.type == 'cuda':
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free_main_memory()


class _LiveBytes(TorchDispatchMode):
    """Adds up the tensors that operations make, while they live."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self._known = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._add(leaf)
        return out

    def _add(self, tensor: Tensor) -> None:
        try:
            holder = tensor.untyped_storage()
            key, size = holder._cdata, holder.nbytes()
        except (NotImplementedError, RuntimeError):
            # A layout without a storage of its own, such as oneDNN's.
            holder, key, size = tensor, id(tensor), tensor.numel() * tensor.element_size()
        if key in self._known:
            return
        self.live += size
        self.peak = max(self.peak, self.live)

        def gone(_, key=key, size=size):
            if self._known.pop(key, None) is not None:
                self.live -= size

        self._known[key] = weakref.ref(holder, gone)


def peak_bytes(function: Callable[[Tensor], Tensor], inputs: Tensor) -> int:
    """The most memory that the tensors of one call take at once.

    Args:
        function (Callable): What to call. It is run.
        inputs (Tensor): Its argument, which is counted too.

    Returns:
        int: Bytes, without what libraries take behind torch's back.
    """
    with torch.no_grad(), _LiveBytes() as counted:
        out = function(inputs)
        del out
    return counted.peak + inputs.numel() * inputs.element_size()


def bytes_per_pixel(function: Callable[[Tensor], Tensor], inputs_channels: int,
                    limit: float) -> float:
    """What upscaling a tile takes for each of its LR pixels, found by trials.

    What is computed in pieces of a fixed size, or only once, weighs most on a
    small tile, so a trial's figure is on the safe side for a larger one.

    Args:
        function (Callable): Upscales (1, inputs_channels, h, w).
        inputs_channels (int): Channels of its input.
        limit (float): Bytes that a trial may take, as far as the smaller one
            before it can tell.

    Returns:
        float: Bytes, by the largest trial.
    """
    found = 0.
    for side in _TRIALS:
        if found and found * side**2 > limit:
            break
        found = peak_bytes(function, torch.zeros(1, inputs_channels, side, side)) / side**2
    return found
