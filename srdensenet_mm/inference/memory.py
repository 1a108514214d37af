# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""How much memory a network needs for a tile."""
import math
import threading
import weakref
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from srdensenet_mm.free_memory import free_bytes  # noqa: F401  the upper limit of a tile

GIB = 2**30
# Bytes that libraries take even for the smallest tile: threads, packed weights, code.
OVERHEAD = 96 * 2**20
# Sides of the trial tiles, LR pixels.
_TRIALS = (24, 48, 96)


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

        def gone(_):
            if self._known.pop(key, None) is not None:
                self.live -= size

        self._known[key] = weakref.ref(holder, gone)


def peak_bytes(function: Callable[[Tensor], Tensor], inputs: Tensor) -> int:
    """The most memory that the tensors of one call take at once.

    Args:
        function (Callable): What to call. It is run.
        inputs (Tensor): Its argument, which is counted too.

    Returns:
        int: Bytes. Memory that libraries take outside torch is not counted.
    """
    with torch.no_grad(), _LiveBytes() as counted:
        out = function(inputs)
        del out
    return counted.peak + inputs.numel() * inputs.element_size()


class TileMemory:
    """The memory that upscaling a tile takes, found by trials.

    Some memory is the same for all tiles. It counts most on a small one, so the
    bytes per pixel of a trial are enough for a larger tile.

    Args:
        function (Callable): Upscales (1, channels, h, w).
        channels (int): Channels of its input.
        margin (float): Factor on the trials' figures. Defaults to 1.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], channels: int, margin: float = 1.):
        self._function = function
        self._channels = channels
        self._margin = margin
        self._lock = threading.Lock()
        # Pixels of a tile, and the bytes that it took.
        self._trials: list[tuple[int, int]] = []

    def per_pixel(self, limit: float = math.inf, wanted: int | None = None) -> float:
        """Bytes for each LR pixel of a tile, by the largest trial so far.

        Args:
            limit (float): Bytes that a trial may take, as expected from the
                smaller ones. Another call may allow more, and try larger tiles.
            wanted (int, optional): LR pixels of the largest tile that is of
                use. Where it keeps to ``limit``, no larger trial is needed.
        """
        with self._lock:
            for side in _TRIALS[len(self._trials):]:
                if self._trials and self._expected(side**2) > limit:
                    break
                if self._trials and wanted is not None and self._bound() * wanted <= limit:
                    break
                inputs = torch.zeros(1, self._channels, side, side)
                self._trials.append((side**2, peak_bytes(self._function, inputs)))
            return self._bound()

    def _bound(self) -> float:
        pixels, found = self._trials[-1]
        return self._margin * found / pixels

    def _expected(self, pixels: int) -> float:
        """Proportional to one trial, or on the line through the last two."""
        last_pixels, last = self._trials[-1]
        if len(self._trials) == 1:
            return last * pixels / last_pixels
        first_pixels, first = self._trials[-2]
        return last + (last - first) * (pixels - last_pixels) / (last_pixels - first_pixels)
