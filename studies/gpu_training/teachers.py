# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Teachers as files that only need torch, and their outputs in tiles."""
import gzip
import io
from pathlib import Path

import torch
from torch import Tensor, nn

from srdensenet_mm.models.colour import rgb_to_y

# Tiles that a traced network computes at once. A trace is of this one shape.
BATCH = 8
TILE = 64


def trace_teacher(network: nn.Module, path: Path) -> None:
    """Write an RGB network, (N, 3, H, W) -> (N, 3, sH, sW) in 0..1, as a gzipped TorchScript.

    Args:
        network (nn.Module): In eval mode, on the CPU.
        path (Path): The file to write.

    Raises:
        ValueError: What it computes is bound to the CPU.
    """
    with torch.no_grad():
        sample = torch.rand(BATCH, 3, TILE, TILE)
        traced = torch.jit.freeze(torch.jit.trace(network, sample, check_trace=False))
        off = (traced(sample) - network(sample)).abs().max().item()
    if 'value="cpu"' in str(traced.inlined_graph):
        raise ValueError(f'{path}: the network names the CPU, no GPU could compute its trace')
    if off > 1e-3:
        raise ValueError(f'{path}: the trace is {off} off')
    buffer = io.BytesIO()
    torch.jit.save(traced, buffer)
    path.write_bytes(gzip.compress(buffer.getvalue(), 6))


class Teacher:
    """The mean of some networks' luma, tile by tile.

    Args:
        paths (list[Path]): Files of :func:`trace_teacher`, all of one scale.
        device (torch.device): Where to compute.
    """

    def __init__(self, paths: list[Path], device: torch.device):
        self.networks = [torch.jit.load(io.BytesIO(gzip.decompress(path.read_bytes())),
                                        map_location=device) for path in paths]
        self.device = device

    @torch.no_grad()
    def __call__(self, tiles: Tensor, turns: int = 1) -> Tensor:
        """Upscale tiles.

        Args:
            tiles (Tensor): Shape (N, TILE, TILE, 3), N at most BATCH, uint8, RGB.
            turns (int): How many of the eight flips and rotations to average.

        Returns:
            Tensor: Luma of studio range, divided by 255, shape
            (N, s * TILE, s * TILE), float32.
        """
        images = tiles.permute(0, 3, 1, 2).float() / 255
        images = torch.cat([images, images[:1].expand(BATCH - len(images), -1, -1, -1)])
        total = 0
        for turn in range(turns):
            turned = _turn(images, turn)
            # The compiler of TorchScript would take minutes.
            with torch.jit.optimized_execution(False):
                for network in self.networks:
                    luma = rgb_to_y(255 * network(turned))[:, 0] / 255
                    total = total + _turn_back(luma, turn)
        return total[:len(tiles)] / (turns * len(self.networks))


def _turn(x: Tensor, turn: int) -> Tensor:
    x = x.rot90(turn % 4, (-2, -1))
    return (x.flip(-1) if turn >= 4 else x).contiguous()


def _turn_back(x: Tensor, turn: int) -> Tensor:
    return (x.flip(-1) if turn >= 4 else x).rot90(-(turn % 4), (-2, -1))
