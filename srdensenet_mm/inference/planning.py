# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Choosing the tiles of an image by the free memory."""
import math
import warnings
from functools import cached_property

import numpy as np
import torch

from srdensenet_mm.errors import UserError
from srdensenet_mm.models.at_points import UpscaledBy

from . import memory
from .networks import Upscaling
from .receptive_field import receptive_field
from .tiling import Grid, cheapest_grid, fixed_grid, whole_grid

# Output pixels whose colours are computed at a time.
STRIP_PIXELS = 2**19
# Without a limit given: the share of the free memory that a call may take.
_DEFAULT_SHARE = 0.75
# The same for tiles on a CPU, in bytes, beside the image itself. More makes a large image little
# faster and slows other programs down.
_DEFAULT_LIMIT = int(1.8 * memory.GIB)
# Engines need several times as much as torch for a tile. Within that limit, overlaps would be
# most of their work. So they may take this share of the free memory.
_ENGINE_SHARE = 0.5
# More bytes per LR pixel than any network takes. Ours takes up to 160,000 (x8 with kernel 3).
_MOST_PER_PIXEL = 300_000
# Small tiles go through the network together, up to this many LR pixels.
_BATCH_PIXELS = {'cpu': 128 * 128, 'cuda': 512 * 512}


class Planner:
    """Chooses the tiles of images.

    Args:
        model (Upscaling): The network.
        device (torch.device): The device that computes.
        backend (str): The backend that runs the network.
        tile (int, optional): LR pixels of a tile's side, 0 for the whole
            image, None to choose.
        overlap (int, optional): LR pixels that tiles overlap by. None for the
            exact overlap.
        max_memory (float, optional): GiB that a call may take.
        tile_memory (memory.TileMemory): The memory that a tile takes.

    Raises:
        UserError: There is no exact overlap, and none was given for ``tile``.
    """

    def __init__(self, model: Upscaling, device: torch.device, backend: str, tile: int | None,
                 overlap: int | None, max_memory: float | None, tile_memory: memory.TileMemory):
        self.device = device
        self.tile = tile
        self.max_memory = max_memory
        self.tile_memory = tile_memory
        self._model = model
        self._backend = backend
        self._name = model.title
        self._given_overlap = overlap
        if tile and self.overlap is None and model.inexact_overlap is None:
            raise UserError(f'tile={tile}: no tiles are exact, because {self._name} works in '
                            'windows or its receptive field is too large; give an overlap to use '
                            'tiles nevertheless')

    @cached_property
    def overlap(self) -> int | None:
        """LR pixels that tiles overlap by; None where no overlap is exact."""
        if self._given_overlap is not None:
            return self._given_overlap
        # Probing a large network takes seconds. An image without tiles does not need it.
        network, scale = self._model.network, self._model.scale
        if scale is None:  # at x2, a point has neighbours on both sides, as at any scale
            network, scale = UpscaledBy(network, 2), 2
        return receptive_field(network, self._model.channels, scale, self._model.size_multiple)

    @cached_property
    def _inexact_overlap(self) -> int | None:
        """The overlap where no overlap is exact; warns on first use."""
        overlap = self._model.inexact_overlap if self._given_overlap is None else None
        if overlap is not None:
            warnings.warn(
                f'the receptive field of {self._name} is too large for exact tiles: they overlap '
                f'by {overlap} LR pixels, and values may differ a little from those of the whole '
                'image (tile=0)',
                stacklevel=4)
        return overlap

    def plan(self, height: int, width: int, out_bytes: int,
             limit: int | None = None) -> tuple[Grid, int]:
        """Choose the tiles of an image.

        Args:
            height, width (int): The image's, LR pixels.
            out_bytes (int): Bytes of the upscaled image and of copies kept beside it.
            limit (int, optional): LR pixels that a tile may have, from
                :meth:`smaller`.

        Returns:
            Tuple[Grid, int]: The tiles, and how many go through the network
            together.

        Raises:
            UserError: There is not enough memory for any tiles.
        """
        together = _BATCH_PIXELS.get(self.device.type, 0)
        if self.tile == 0:
            grid = whole_grid(height, width)
        elif self.tile:
            overlap = self._inexact_overlap if self.overlap is None else self.overlap
            grid = fixed_grid(height, width, self.tile, overlap, self._model.size_multiple)
        else:
            if limit is None:
                limit = self.largest_tile(height * width, out_bytes)
            grid = self._cheapest(height, width, out_bytes, limit)
            together = min(together, limit)
        tile_height, tile_width = grid.tile_shape
        if self._model.size_multiple > 1 or self._model.scale is None:
            together = 0  # the last of a row or column may be smaller, or points lie otherwise
        return grid, max(1, together // (tile_height * tile_width))

    def smaller(self, grid: Grid, reason: str) -> int:
        """The next limit to a tile's LR pixels, after memory was too small."""
        if self.tile is not None:
            raise UserError(f'out of memory with tile={self.tile} ({reason}): give a smaller '
                            'tile, or none to have it chosen')
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()
        tile_height, tile_width = grid.tile_shape
        return tile_height * tile_width // 2

    def check_output(self, image: np.ndarray, scale: float) -> None:
        """Refuse an image whose result would not fit into main memory."""
        need = image.nbytes * scale**2
        free = memory.free_bytes(torch.device('cpu'))
        if need > free:
            height, width = image.shape[:2]
            raise UserError(f'an image of {width} x {height} becomes one of '
                            f'{need / memory.GIB:.1f} GiB, but {free / memory.GIB:.1f} GiB of '
                            'memory are free: cut it up first')

    def largest_tile(self, pixels: int, out_bytes: int) -> int:
        """LR pixels that a tile may have, its overlap included."""
        beside = self._beside(out_bytes)
        if self.max_memory is not None:
            budget = int(self.max_memory * memory.GIB) - beside
        else:
            free = memory.free_bytes(self.device)
            budget = int(free * _DEFAULT_SHARE) - beside
        # A small image fits with any network, so no trial is needed.
        if pixels * _MOST_PER_PIXEL <= min(budget, _DEFAULT_LIMIT):
            return pixels
        can_tile = self._model.inexact_overlap is not None or self.overlap is not None
        if self.max_memory is None and self.device.type == 'cpu' and can_tile:
            share = 0 if self._backend == 'torch' else int(free * _ENGINE_SHARE)
            budget = min(budget, max(_DEFAULT_LIMIT, share))
        room = budget - memory.OVERHEAD
        return int(room / self.tile_memory.per_pixel(room, pixels))

    def _cheapest(self, height: int, width: int, out_bytes: int, limit: int) -> Grid:
        if limit >= height * width:
            return whole_grid(height, width)
        multiple, grid = self._model.size_multiple, None
        if self.overlap is not None:
            grid = cheapest_grid(height, width, self.overlap, limit, multiple)
        if grid is None and self._inexact_overlap is not None:
            grid = cheapest_grid(height, width, self._inexact_overlap, limit, multiple)
        if grid is None and self.overlap is None:
            raise UserError(f'{self._name} needs the whole image of {width} x {height} at once, '
                            'more than memory allows: raise max_memory, or give an overlap to use '
                            'tiles that are not exact')
        if grid is None:
            side = 2 * self.overlap + 1
            need = self._need(min(side, height) * min(side, width)) + self._beside(out_bytes)
            enough = math.ceil(100 * need / memory.GIB) / 100
            raise UserError(f'an image of {width} x {height} takes more than memory allows, even '
                            f'in tiles: raise max_memory ({enough:.2f} GiB will do), or give a '
                            'smaller overlap')
        return grid

    def _beside(self, out_bytes: int) -> int:
        """Bytes that a call takes on the device beside the tiles."""
        strip = 40 * STRIP_PIXELS * 4
        return strip + (out_bytes if self.device.type == 'cpu' else 0)

    def _need(self, pixels: int) -> int:
        return memory.OVERHEAD + int(pixels * self.tile_memory.per_pixel(0))
