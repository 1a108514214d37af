# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Upscaling in tiles, with the same values as for the whole image.

An output pixel depends on the input within the network's receptive field alone
(:func:`srdensenet_mm.inference.receptive_field`). So a tile is read with that
margin around it. Inside the margin, its output equals that of the whole image.
Tiles at the image's border end there. So convolutions pad zeros at the same
places as for the whole image.

All tiles of an image are read with the same size. So they can be batched, and a
backend prepares for one shape. The outer tiles need no margin at the image's
border, so more of them is kept.

Some networks work in windows, or on sides of a multiple of some pixels. They
give a tile the same values where tiles begin at such multiples. Where the
image's side is no multiple, the last tile of a row or column is smaller. The
network pads it as it pads the whole image.

A smaller margin saves time and leaves an error. This table shows it for tiles of
32 LR pixels against the whole image of 180x144, in levels of 8 bits. It is made by
``python studies/overlap.py checkpoints/srdensenet_x4-2708f7eb.pth
data/Set14/LRbicx4/img_002.png`` with the published weights (receptive field 66 to a side).
They hardly use distant pixels. Others may, so measure yours.

===================  =====  =====  =====  =====  =====  =====
overlap, LR pixels       0      4      8     16     32     66
===================  =====  =====  =====  =====  =====  =====
largest difference   71.42  41.39  11.37   0.32   0.00   0.00
mean difference      0.510  0.091  0.016  0.000  0.000  0.000
off by half a level  19.5%  3.88%  0.31%     0%     0%     0%
===================  =====  =====  =====  =====  =====  =====
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from srdensenet_mm.models.at_points import output_points


@dataclass(frozen=True)
class Axis:
    """An axis of an image, and of the upscaled image.

    Attributes:
        length (int): LR pixels.
        out_length (int): Output pixels.
    """
    length: int
    out_length: int

    @property
    def step(self) -> float:
        """LR pixels from one output pixel to the next."""
        return self.length / self.out_length

    def out(self, start: int, stop: int) -> slice:
        """The output pixels whose centres lie in the LR pixels from ``start`` to ``stop``."""
        # The first i with (i + 1/2) * length / out_length >= start, in whole numbers.
        return slice(*(-((self.length - 2 * place * self.out_length) // (2 * self.length))
                       for place in (start, stop)))

    def points(self, span: Span) -> Tensor:
        """Where the output pixels of the kept part lie in a tile, see ``output_points``."""
        points = output_points(self.length, self.out_length)
        return points[self.out(span.keep_start, span.keep_stop)] - span.start


@dataclass(frozen=True)
class Span:
    """One tile along one axis, in LR pixels, as half-open ranges.

    Attributes:
        start, stop (int): The pixels that are read.
        keep_start, keep_stop (int): The pixels that are kept. The spans of an
            axis keep every pixel once.
    """
    start: int
    stop: int
    keep_start: int
    keep_stop: int


@dataclass(frozen=True)
class Grid:
    """The tiles of an image: every row span with every column span.

    Attributes:
        rows, cols (Tuple[Span, ...]): The tiles along the height and the
            width.
    """
    rows: tuple[Span, ...]
    cols: tuple[Span, ...]

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)

    @property
    def tile_shape(self) -> tuple[int, int]:
        """Height and width that every tile is read with."""
        return self.rows[0].stop - self.rows[0].start, self.cols[0].stop - self.cols[0].start

    @property
    def pixels_read(self) -> int:
        """LR pixels that go through the network, overlaps counted each time."""
        height, width = self.tile_shape
        return len(self) * height * width

    def tiles(self) -> list[tuple[Span, Span]]:
        """All tiles as (row span, column span), row by row."""
        return [(row, col) for row in self.rows for col in self.cols]


def _in_blocks(height: int, width: int, overlap: int, multiple: int) -> tuple[int, int, int]:
    """Lengths in units of ``multiple`` LR pixels, rounded up."""
    return tuple(-(-length // multiple) for length in (height, width, overlap))


def _in_pixels(grid: Grid, height: int, width: int, multiple: int) -> Grid:
    """A grid made in units of ``multiple`` LR pixels, cut to the image."""

    def spans(axis: tuple[Span, ...], length: int) -> tuple[Span, ...]:
        return tuple(Span(*(min(multiple * place, length) for place in (
            span.start, span.stop, span.keep_start, span.keep_stop))) for span in axis)

    return Grid(spans(grid.rows, height), spans(grid.cols, width))


def _read_length(length: int, count: int, overlap: int) -> int:
    """The length that each of ``count`` spans needs to cover an axis."""
    return min(length, -(-(length + 2 * overlap * (count - 1)) // count))


def split_axis(length: int, count: int, overlap: int) -> tuple[Span, ...]:
    """Cover an axis with spans of equal length.

    Args:
        length (int): LR pixels along the axis.
        count (int): How many spans to use at most.
        overlap (int): The margin that is read on both sides of the kept pixels,
            except beyond the image's ends.

    Returns:
        Tuple[Span, ...]: At most ``count`` spans; fewer where they suffice.
    """
    size = _read_length(length, count, overlap)
    spans = []
    kept = 0
    while kept < length:
        start = min(max(0, kept - overlap), length - size)
        stop = start + size
        keep_stop = length if stop == length else stop - overlap
        spans.append(Span(start, stop, kept, keep_stop))
        kept = keep_stop
    return tuple(spans)


def whole_grid(height: int, width: int) -> Grid:
    """The grid of one tile, the whole image."""
    return Grid(split_axis(height, 1, 0), split_axis(width, 1, 0))


def fixed_grid(height: int, width: int, tile: int, overlap: int, multiple: int = 1) -> Grid:
    """The grid with tiles of a given size.

    Args:
        height, width (int): The image's, LR pixels.
        tile (int): LR pixels of a tile's side without its margins: at most
            ``tile + 2 * overlap`` are read.
        overlap (int): The margin, LR pixels.
        multiple (int): Tiles begin at multiples of this; all lengths are
            rounded up to them. Defaults to 1.

    Returns:
        Grid: The fewest tiles of that size.
    """
    if multiple > 1:
        rows, cols, overlap = _in_blocks(height, width, overlap, multiple)
        grid = fixed_grid(rows, cols, -(-tile // multiple), overlap)
        return _in_pixels(grid, height, width, multiple)

    def spans(length: int) -> tuple[Span, ...]:
        # The two outer spans keep a margin's width more than the others.
        count = 1 if length <= tile + 2 * overlap else -(-(length - 2 * overlap) // tile)
        return split_axis(length, count, overlap)

    return Grid(spans(height), spans(width))


def cheapest_grid(height: int, width: int, overlap: int, max_pixels: int,
                  multiple: int = 1) -> Grid | None:
    """The grid that computes least under a limit to a tile's size.

    Args:
        height, width (int): The image's, LR pixels.
        overlap (int): The margin, LR pixels.
        max_pixels (int): LR pixels of a tile, margins included, at most.
        multiple (int): Tiles begin at multiples of this; the margin is rounded
            up to one. Defaults to 1.

    Returns:
        Grid, optional: The grid with the fewest pixels to compute (up to the
        rounding of tile widths), then with the fewest tiles. None where no tile
        can be small enough.
    """
    if height * width <= max_pixels:
        return whole_grid(height, width)
    if multiple > 1:
        rows, cols, overlap = _in_blocks(height, width, overlap, multiple)
        grid = cheapest_grid(rows, cols, overlap, max_pixels // multiple**2)
        return grid and _in_pixels(grid, height, width, multiple)
    best = None
    for rows in range(1, height + 1):
        tile_height = _read_length(height, rows, overlap)
        if max_pixels < tile_height:
            continue
        # The fewest columns with which a tile is small enough: more columns
        # only add margins. width <= columns * (widest - 2 * overlap) + 2 * overlap
        widest = max_pixels // tile_height
        if widest >= width:
            columns = 1
        elif widest > 2 * overlap:
            columns = -(-(width - 2 * overlap) // (widest - 2 * overlap))
        else:
            continue
        tile_width = _read_length(width, columns, overlap)
        cost = (rows * columns * tile_height * tile_width, rows * columns)
        if best is None or cost < best[0]:
            best = (cost, rows, columns)
    if best is None:
        return None
    _, rows, columns = best
    return Grid(split_axis(height, rows, overlap), split_axis(width, columns, overlap))


def run_tiles(function: Callable[[Tensor], Tensor],
              grid: Grid,
              scale: int,
              read: Callable[[slice, slice], Tensor],
              batch_size: int = 1) -> Iterator[tuple[Span, Span, Tensor]]:
    """Upscale an image tile by tile.

    Args:
        function (Callable): Upscales a batch: (N, C, h, w) -> (N, C', s*h,
            s*w).
        grid (Grid): The tiles.
        scale (int): s.
        read (Callable): Gives a part of the image, shape (1, C, h, w), for a
            slice of its rows and one of its columns.
        batch_size (int): Tiles that go through ``function`` together. Defaults
            to 1.

    Yields:
        Tuple[Span, Span, Tensor]: A tile and its part of the output, margins
        cut off, shape (1, C', s * rows kept, s * columns kept). It is a view of
        the batch's output.
    """
    tiles = grid.tiles()
    for i in range(0, len(tiles), batch_size):
        batch = tiles[i:i + batch_size]
        out = function(torch.cat([
            read(slice(row.start, row.stop), slice(col.start, col.stop)) for row, col in batch]))
        for k, (row, col) in enumerate(batch):
            yield row, col, out[
                k:k + 1, :,
                scale * (row.keep_start - row.start):scale * (row.keep_stop - row.start),
                scale * (col.keep_start - col.start):scale * (col.keep_stop - col.start)]
        del out


def run_tiles_at_points(function: Callable[..., Tensor], grid: Grid, axes: tuple[Axis, Axis],
                        read: Callable[[slice, slice], Tensor]
                        ) -> Iterator[tuple[Span, Span, Tensor]]:
    """Upscale an image tile by tile with a network that computes values at points.

    Args:
        function (Callable): As :class:`~srdensenet_mm.models.at_points.AtPoints`.
        grid (Grid): The tiles.
        axes (Tuple[Axis, Axis]): Height and width.
        read (Callable): As for :func:`run_tiles`.

    Yields:
        Tuple[Span, Span, Tensor]: A tile and its part of the output, shape (1,
        C', H', W').
    """
    steps = tuple(axis.step for axis in axes)
    for row, col in grid.tiles():
        tile = read(slice(row.start, row.stop), slice(col.start, col.stop))
        yield row, col, function(tile, axes[0].points(row), axes[1].points(col), steps)
