# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from srdensenet_mm.backends.autocast import Autocast
from srdensenet_mm.backends.engines import check_dtype, make_backend
from srdensenet_mm.compat import return_freed_memory
from srdensenet_mm.device import cpu_has_bf16, find_device
from srdensenet_mm.errors import UserError
from srdensenet_mm.images.tensors import as_image, to_float
from srdensenet_mm.images.transparency import fill_hidden
from srdensenet_mm.models.at_points import UpscaledBy, output_size, self_ensemble_at_points
from srdensenet_mm.models.fused import computing
from srdensenet_mm.models.self_ensemble import self_ensemble

from . import memory
from .colours import image_part, network_inputs
from .networks import from_checkpoint, from_config, from_network
from .planning import STRIP_PIXELS, Planner
from .tiling import Axis, Grid, Span, run_tiles, run_tiles_at_points

# Memory of inference engines, relative to the tensors of the same graph in torch.
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
        dtype (str): The type that the network computes in: ``'fp32'``,
            ``'bf16'`` or ``'fp16'``. ``'int8'`` with OpenVINO, the fast type on
            CPUs without bf16 arithmetic. On such a CPU, torch uses fp32 instead
            of bf16, with a warning: it is faster there. Defaults to ``'fp32'``.
        tile (int, optional): 0 takes the whole image at once. N takes tiles of
            N by N LR pixels. None chooses the tiles that cost least within
            ``max_memory``. Defaults to None.
        overlap (int, optional): LR pixels that a tile is read with on each
            side. None takes the network's receptive field (66 for the default
            network). The result is then that of the whole image. Less is
            faster, but not exact. A :class:`SpandrelNetwork` whose receptive
            field is too large overlaps by 32, with a warning. Defaults to None.
        max_memory (float, optional): GiB that a call may take on the device, in
            addition to what the process has. On a CPU, the returned image
            counts too. Has no effect with ``tile``. None takes about 1.8 GiB
            and the image on a CPU, and three quarters of the free memory on a
            GPU. Backends other than torch need several times as much: None lets
            them take half of the free memory. Defaults to None.
        self_ensemble (bool): Average over the eight flips and rotations: about
            0.1 dB for eight times the time. Defaults to False.
        backend (str): The engine that runs the network: ``'torch'``,
            ``'onnxruntime'`` or ``'openvino'``. Defaults to ``'torch'``.
        config (str | Path, optional): The MMagic config that a checkpoint of
            another network needs, a path or ``mmagic::folder/file.py``.
        scale (float, optional): The upscale factor, at least 1. Needed for a
            network that upscales by any factor (:class:`LIIFSRDenseNet`). Others
            have their own.

    Attributes:
        scale (int | float): The upscale factor.
        dtype (str): The type that it computes in.

    Raises:
        UserError: An argument has an unsupported value, or the checkpoint
            cannot be read.

    Several threads may call one Upscaler at once. Each call takes its own
    memory. It can be pickled, for joblib or spawned processes. The network is
    sent, and the receiving process prepares its own backend.
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
                 config: str | Path | None = None,
                 scale: float | None = None):
        for name, value in (('tile', tile), ('overlap', overlap), ('max_memory', max_memory)):
            if value is not None and not 0 <= value < math.inf:
                raise UserError(f'{name}={value!r}: give a number of at least 0')
        check_dtype(backend, dtype)
        self.device = find_device(device, backend)
        check_dtype(backend, dtype, self.device)
        if self.device.type == 'cpu' and dtype == 'bf16' and backend == 'torch' and (
                not cpu_has_bf16()):
            warnings.warn('dtype=bf16: this CPU does not compute in bf16, so fp32 is used, '
                          'which is many times faster here', stacklevel=2)
            dtype = 'fp32'
        self.dtype = dtype

        if config is not None:
            self._model = from_config(config, network)
        elif isinstance(network, nn.Module):
            self._model = from_network(network)
        else:
            self._model = from_checkpoint(network)
        if dtype not in self._model.dtypes:
            raise UserError(f'dtype={dtype}: {self._model.title} does not compute in it, choose '
                            f'one of {", ".join(self._model.dtypes)}')
        self.scale = self._choose_scale(scale, backend)
        self._ensemble = self_ensemble
        self._backend = backend
        self._tiles = tile, overlap, max_memory
        self._prepare()

    def _choose_scale(self, scale: float | None, backend: str) -> int | float:
        title, own = self._model.title, self._model.scale
        if scale is not None and not 1 <= scale < math.inf:
            raise UserError(f'scale={scale!r}: give a number of at least 1')
        if own is not None:
            if scale not in (None, own):
                raise UserError(f'scale={scale:g}: {title} upscales by {own} alone; '
                                'configs/srdensenet_liif.py makes networks of any scale')
            return own
        if scale is None:
            raise UserError(f'{title} upscales by any factor: give the scale, for example '
                            '--scale 2.7')
        if backend != 'torch':
            raise UserError(f'backend={backend}: {title} upscales by any factor, which torch '
                            'alone can compute')
        return scale

    def _prepare(self) -> None:
        """Set up what runs the network, in this process."""
        if self.device.type == 'cpu':
            return_freed_memory()
        self._forward, tile_memory = self._make_forward(self._backend, self.dtype)
        self._planner = Planner(self._model, self.device, self._backend, *self._tiles, tile_memory)

    def __getstate__(self) -> dict:
        # An engine's session and functions cannot travel.
        return {name: value for name, value in self.__dict__.items()
                if name not in ('_forward', '_planner')}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self.device = find_device(self.device, self._backend)
        self._prepare()

    @property
    def overlap(self) -> int | None:
        """LR pixels that tiles overlap by; None where no overlap is exact."""
        return self._planner.overlap

    def __call__(self,
                 image: np.ndarray,
                 progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Upscale an image.

        Args:
            image (np.ndarray): As OpenCV reads it: (H, W) or (H, W, 1)
                grayscale, (H, W, 3) BGR or (H, W, 4) BGRA; uint8 or uint16, in
                any byte order and layout.
            progress (Callable, optional): Called after each tile with the LR
                pixels that it finished; over an image they add up to H * W.

        Returns:
            np.ndarray: The same type (in the machine's byte order) and
            channels, (s*H, s*W) or (s*H, s*W, C), rounded. With a network on luma, Cb
            and Cr are upscaled by bicubic interpolation. Alpha always is.
            Colours of transparent pixels are replaced by those of visible
            neighbours. Grayscale goes through an RGB network as R = G = B, and
            the average is returned.

        Raises:
            UserError: The array is no image, or memory is too small.
        """
        pixels = fill_hidden(as_image(image))
        height, width, channels = pixels.shape
        self._planner.check_output(pixels, self.scale)
        size = output_size(height, width, self.scale)
        out = np.empty((*size, channels), pixels.dtype)
        held = out.nbytes + (0 if np.may_share_memory(pixels, image) else pixels.nbytes)
        done = 0

        def count(pixels: int) -> None:
            nonlocal done
            # After a new start with smaller tiles, no pixel counts twice.
            new = max(0, pixels - done)
            done += new
            if progress is not None and new:
                progress(new)

        limit = None
        while True:
            grid, batch = self._planner.plan(height, width, held, limit)
            try:
                self._fill(out, pixels, grid, batch, count)
                break
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                reason = ' '.join(str(error).split()[:12])
            limit = self._planner.smaller(grid, reason)
        return out if image.ndim == 3 else out[..., 0]

    def _fill(self, out: np.ndarray, pixels: np.ndarray, grid: Grid, batch: int,
              count: Callable[[int], None]) -> None:
        model = self._model
        axes = tuple(map(Axis, pixels.shape[:2], out.shape[:2]))

        def read(rows: slice, cols: slice) -> Tensor:
            colours = to_float(pixels, rows, cols, self.device)[:, :3]  # without alpha
            return network_inputs(colours, model)

        if model.scale is None:
            tiles = run_tiles_at_points(self._forward, grid, axes, read)
        else:
            tiles = run_tiles(self._forward, grid, model.scale, read, batch)
        finished = 0
        with torch.no_grad():
            for row, col, part in tiles:
                top = axes[0].out(row.keep_start, row.keep_stop).start
                cols = slice(col.keep_start, col.keep_stop)
                for rows in _strips(row, col, self.scale):
                    kept = axes[0].out(rows.start, rows.stop)
                    out[kept, axes[1].out(cols.start, cols.stop)] = image_part(
                        part[:, :, kept.start - top:kept.stop - top], pixels, rows, cols, axes,
                        model)
                finished += (row.keep_stop - row.keep_start) * (col.keep_stop - col.keep_start)
                count(finished)

    def _make_forward(self, backend: str,
                      dtype: str) -> tuple[Callable[[Tensor], Tensor], memory.TileMemory]:
        if backend == 'torch':
            forward = counted = Autocast(self._model.network, dtype, self.device)
            margin = 1.
        else:
            forward = make_backend(self._model.network, backend, dtype, keep_memory=False)
            # torch's tensors do not show the memory of engines.
            counted, margin = _graph_form(self._model.network), _ENGINE_MARGIN
        if self._ensemble:
            average = self_ensemble if self._model.scale else self_ensemble_at_points
            forward, counted = average(forward), average(counted)
        if self._model.scale is None:
            counted = UpscaledBy(counted, self.scale)
        return forward, memory.TileMemory(counted, self._model.channels, margin)


def _graph_form(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network as it is exported: computed neither in place nor in pieces."""

    def forward(inputs: Tensor) -> Tensor:
        with computing('graph'):
            return network(inputs)

    return forward


def _strips(row: Span, col: Span, scale: float):
    """Slices of a tile's rows, small enough that their colours take little memory."""
    step = max(1, int(STRIP_PIXELS / ((col.keep_stop - col.keep_start) * scale**2)))
    for start in range(row.keep_start, row.keep_stop, step):
        yield slice(start, min(start + step, row.keep_stop))


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or _OUT_OF_MEMORY in str(error)
