# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from srdensenet_mm.backends.autocast import DTYPES, Autocast
from srdensenet_mm.backends.engines import DTYPES as BACKENDS
from srdensenet_mm.backends.engines import make_backend
from srdensenet_mm.compat import return_freed_memory
from srdensenet_mm.device import cpu_has_bf16, find_device
from srdensenet_mm.errors import UserError
from srdensenet_mm.images.tensors import check_image, to_float
from srdensenet_mm.models.fused import computing
from srdensenet_mm.models.self_ensemble import self_ensemble

from . import memory
from .colours import image_part, network_inputs
from .networks import from_checkpoint, from_config, from_network
from .receptive_field import receptive_field
from .tiling import Grid, Span, cheapest_grid, fixed_grid, run_tiles, whole_grid

# Without a limit given: what a call may take of the memory that is free, ...
_DEFAULT_SHARE = 0.75
# ... and tiles on a CPU, beside the image itself. More makes a large image little faster and
# slows others down.
_DEFAULT_LIMIT = int(1.8 * memory.GIB)
# Engines take several times what torch does for a tile: within that limit, overlaps would be most
# of their work, so they may have this share of what is free.
_ENGINE_SHARE = 0.5
# More bytes for an LR pixel than networks take: ours up to 160,000, for x8 with kernel 3.
_MOST_PER_PIXEL = 300_000
# Small tiles go through the network together, up to this many LR pixels.
_BATCH_PIXELS = {'cpu': 128 * 128, 'cuda': 512 * 512}
# Output pixels that are turned into colours at a time.
_STRIP_PIXELS = 2**19
# What inference engines take, of what the tensors of the same graph do in torch.
_ENGINE_MARGIN = 1.2
_OUT_OF_MEMORY = "can't allocate memory"


class Upscaler:
    """Upscales images, large ones in tiles that leave no seams.

    ::

        upscaler = Upscaler('checkpoints/srdensenet_x4.pth')
        large = upscaler(cv2.imread('small.png', cv2.IMREAD_UNCHANGED))

    Args:
        network (str | Path | nn.Module): A checkpoint file, or a bare network
            (copied) that works on Y (1 channel) or RGB (3) divided by 255.
        device (str | torch.device, optional): Defaults to a GPU where there is
            one.
        dtype (str): ``'fp32'``, ``'bf16'`` or ``'fp16'``, what the network
            computes in. On a CPU without bf16 arithmetic, torch takes fp32 for
            bf16, with a warning: it is the faster there. Defaults to
            ``'fp32'``.
        tile (int, optional): 0 takes the whole image at once, N tiles of N
            by N LR pixels. None chooses the tiles that cost least within
            ``max_memory``. Defaults to None.
        overlap (int, optional): LR pixels that a tile is read with on each
            side. None makes it the network's receptive field (66 with the default
            network), with which the result is that of the whole image. Less
            is faster, but not exact. Defaults to None.
        max_memory (float, optional): GiB that a call may take above what the
            process has, on the device that computes, the image that is
            returned included on a CPU. With ``tile`` it has no say. None takes
            about 1.8 GiB and the image on a CPU, half of what is free with
            another backend than torch (they need several times as much), three
            quarters of it on a GPU. Defaults to None.
        self_ensemble (bool): Average over the eight flips and rotations: about
            0.1 dB for eight times the time. Defaults to False.
        backend (str): ``'torch'``, ``'onnxruntime'`` or ``'openvino'``, what
            runs the network. Defaults to ``'torch'``.
        config (str | Path, optional): The MMagic config that a checkpoint of
            another network needs, a path or ``mmagic::folder/file.py``.

    Attributes:
        scale (int): How much it upscales.
        dtype (str): What it computes in.

    Raises:
        UserError: An argument has an unsupported value, or the checkpoint
            cannot be read.

    One Upscaler may be called by several threads at once; each call takes
    memory of its own.
    """

    def __init__(self,
                 network: str | Path | nn.Module,
                 device: str | torch.device | None = None,
                 dtype: str = 'fp32',
                 tile: int | None = None,
                 overlap: int | None = None,
                 max_memory: float | None = None,
                 self_ensemble: bool = False,
                 backend: str = 'torch',
                 config: str | Path | None = None):
        _check_choice('dtype', dtype, DTYPES)
        _check_choice('backend', backend, BACKENDS)
        _check_lr_pixels('tile', tile)
        _check_lr_pixels('overlap', overlap)
        if max_memory is not None and not (_is_number(max_memory) and 0 < max_memory < math.inf):
            raise UserError(f'max_memory={max_memory!r}: give the GiB that may be used, above 0')
        self.device = find_device(device, backend)
        if self.device.type == 'cpu' and dtype == 'fp16' and backend == 'torch':
            raise UserError('dtype=fp16: is for GPUs; on a CPU, bf16 is the fast type')
        if self.device.type == 'cpu' and dtype == 'bf16' and backend == 'torch' and (
                not cpu_has_bf16()):
            warnings.warn('dtype=bf16: this CPU does not compute in bf16, so fp32 is used, '
                          'which is many times faster here', stacklevel=2)
            dtype = 'fp32'
        self.dtype = dtype

        if isinstance(network, nn.Module):
            if config is not None:
                raise UserError(f'config={config}: is for a checkpoint; a network needs none')
            self._model = from_network(network)
        elif config is not None:
            self._model = from_config(config, network)
        else:
            self._model = from_checkpoint(network)
        self.scale = self._model.scale
        self.tile = tile
        self.max_memory = max_memory
        self._ensemble = self_ensemble
        self._backend = backend
        self._overlap = overlap
        if tile and self.overlap is None:
            raise UserError(
                f'tile={tile}: {type(self._model.network).__name__} sees too far, or works in '
                'windows, so no tiles of it are exact; give an overlap to use tiles nevertheless')
        if self.device.type == 'cpu':
            return_freed_memory()
        self._forward = self._make_forward(backend, dtype)

    @cached_property
    def overlap(self) -> int | None:
        """What tiles overlap by, LR pixels; None where no overlap is exact."""
        if self._overlap is not None:
            return self._overlap
        # Of large networks that are not ours, a trial of seconds: not for a
        # image that needs no tiles.
        return receptive_field(self._model.network, self._model.channels, self.scale)

    def __call__(self,
                 image: np.ndarray,
                 progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Upscale an image.

        Args:
            image (np.ndarray): As OpenCV reads it: (H, W) or (H, W, 1)
                grayscale, (H, W, 3) BGR or (H, W, 4) BGRA; uint8 or uint16.
            progress (Callable, optional): Called after each tile with the LR
                pixels that it finished; over an image they add up to H * W.

        Returns:
            np.ndarray: The same type and channels, (s*H, s*W) or (s*H, s*W,
            C). With a network on luma, Cb and Cr are upscaled by bicubic
            interpolation; so is alpha with every network. Grayscale goes
            through an RGB network as R = G = B, and the average comes back.

        Raises:
            UserError: The array is no image, or memory does not suffice.
        """
        check_image(image)
        pixels = image if image.ndim == 3 else image[..., None]
        height, width, channels = pixels.shape
        self._check_output(pixels)
        out = np.empty((self.scale * height, self.scale * width, channels), image.dtype)
        done = 0

        def count(pixels: int) -> None:
            nonlocal done
            # An image that is begun again with smaller tiles is not counted twice.
            new = max(0, pixels - done)
            done += new
            if progress is not None and new:
                progress(new)

        limit = None
        while True:
            grid, batch = self._plan(height, width, out.nbytes, limit)
            try:
                self._fill(out, pixels, grid, batch, count)
                break
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                reason = ' '.join(str(error).split()[:12])
            limit = self._smaller(grid, reason)
        return out if image.ndim == 3 else out[..., 0]

    def _fill(self, out: np.ndarray, pixels: np.ndarray, grid: Grid, batch: int,
              count: Callable[[int], None]) -> None:
        scale, model = self.scale, self._model

        def read(rows: slice, cols: slice) -> Tensor:
            colours = to_float(pixels, rows, cols, self.device)[:, :3]  # without alpha
            return network_inputs(colours, model)

        finished = 0
        with torch.no_grad():
            for row, col, part in run_tiles(self._forward, grid, scale, read, batch):
                for rows in _strips(row, col, scale):
                    top = scale * (rows.start - row.keep_start)
                    cols = slice(col.keep_start, col.keep_stop)
                    out[scale * rows.start:scale * rows.stop,
                        scale * cols.start:scale * cols.stop] = image_part(
                            part[:, :, top:top + scale * (rows.stop - rows.start)],
                            pixels, rows, cols, model)
                finished += (row.keep_stop - row.keep_start) * (col.keep_stop - col.keep_start)
                count(finished)

    # What follows decides on tiles.

    def _plan(self, height: int, width: int, out_bytes: int,
              limit: int | None) -> tuple[Grid, int]:
        """The tiles of an image, and how many of them go through the network together.

        ``limit`` is LR pixels, found by failing.
        """
        together = _BATCH_PIXELS.get(self.device.type, 0)
        if self.tile == 0:
            grid = whole_grid(height, width)
        elif self.tile:
            grid = fixed_grid(height, width, self.tile, self.overlap)
        else:
            if limit is None:
                limit = self._largest_tile(height * width, out_bytes)
            grid = self._cheapest(height, width, out_bytes, limit)
            together = min(together, limit)
        tile_height, tile_width = grid.tile_shape
        return grid, max(1, together // (tile_height * tile_width))

    def _cheapest(self, height: int, width: int, out_bytes: int, limit: int) -> Grid:
        if limit >= height * width:
            return whole_grid(height, width)
        if self.overlap is None:
            raise UserError(f'{type(self._model.network).__name__} needs the whole image of '
                            f'{width} x {height} at once, more than memory allows: raise '
                            'max_memory, or give an overlap to use tiles that are not exact')
        grid = cheapest_grid(height, width, self.overlap, limit)
        if grid is None:
            side = 2 * self.overlap + 1
            need = self._need(min(side, height) * min(side, width)) + self._beside(out_bytes)
            enough = math.ceil(100 * need / memory.GIB) / 100
            raise UserError(f'an image of {width} x {height} takes more than memory allows, even '
                            f'in tiles: raise max_memory ({enough:.2f} GiB will do), or give a '
                            'smaller overlap')
        return grid

    def _largest_tile(self, pixels: int, out_bytes: int) -> int:
        """LR pixels that a tile may have, its overlap included."""
        beside = self._beside(out_bytes)
        if self.max_memory is not None:
            budget = int(self.max_memory * memory.GIB) - beside
        else:
            free = memory.free_bytes(self.device)
            budget = int(free * _DEFAULT_SHARE) - beside
        # An image so small that no network takes too much needs no trial.
        if pixels * _MOST_PER_PIXEL <= min(budget, _DEFAULT_LIMIT):
            return pixels
        if self.max_memory is None and self.device.type == 'cpu' and self.overlap is not None:
            share = 0 if self._backend == 'torch' else int(free * _ENGINE_SHARE)
            budget = min(budget, max(_DEFAULT_LIMIT, share))
        room = budget - memory.OVERHEAD
        return int(room / self._tile_memory.per_pixel(room))

    def _beside(self, out_bytes: int) -> int:
        """Memory that a call takes on the device however small the tiles are."""
        strip = 40 * _STRIP_PIXELS * 4
        return strip + (out_bytes if self.device.type == 'cpu' else 0)

    def _need(self, pixels: int) -> int:
        return memory.OVERHEAD + int(pixels * self._tile_memory.per_pixel(0))

    def _smaller(self, grid: Grid, reason: str) -> int:
        """After a failure for lack of memory: the next limit to a tile's LR pixels."""
        if self.tile is not None:
            raise UserError(f'out of memory with tile={self.tile} ({reason}): give a smaller '
                            'tile, or none to have it chosen')
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()
        tile_height, tile_width = grid.tile_shape
        return tile_height * tile_width // 2

    def _check_output(self, image: np.ndarray) -> None:
        need = image.nbytes * self.scale**2
        free = memory.free_bytes(torch.device('cpu'))
        if need > free:
            height, width = image.shape[:2]
            raise UserError(f'an image of {width} x {height} becomes one of '
                            f'{need / memory.GIB:.1f} GiB, but {free / memory.GIB:.1f} GiB of '
                            'memory are free: cut it up first')

    # What follows makes the function that upscales a batch.

    def _make_forward(self, backend: str, dtype: str) -> Callable[[Tensor], Tensor]:
        if backend == 'torch':
            forward = counted = Autocast(self._model.network, dtype, self.device)
            margin = 1.
        else:
            forward = make_backend(self._model.network, backend, dtype, keep_memory=False)
            # Their memory does not show in torch's tensors.
            counted, margin = _graph_form(self._model.network), _ENGINE_MARGIN
        if self._ensemble:
            forward, counted = self_ensemble(forward), self_ensemble(counted)
        self._tile_memory = memory.TileMemory(counted, self._model.channels, margin)
        return forward


def _graph_form(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """A network computed as it is exported: nothing in place, nothing in pieces."""

    def forward(inputs: Tensor) -> Tensor:
        with computing('graph'):
            return network(inputs)

    return forward


def _strips(row: Span, col: Span, scale: int):
    """Slices of a tile's rows with so many output pixels that colours take little memory."""
    step = max(1, _STRIP_PIXELS // ((col.keep_stop - col.keep_start) * scale**2))
    for start in range(row.keep_start, row.keep_stop, step):
        yield slice(start, min(start + step, row.keep_stop))


def _check_choice(name: str, value: str, choices) -> None:
    if value not in choices:
        raise UserError(f'{name}={value!r}: choose one of {", ".join(choices)}')


def _check_lr_pixels(name: str, value: int | None) -> None:
    if value is not None and not (_is_number(value) and isinstance(value, int) and value >= 0):
        raise UserError(f'{name}={value!r}: give a whole number of LR pixels, at least 0')


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or _OUT_OF_MEMORY in str(error)
