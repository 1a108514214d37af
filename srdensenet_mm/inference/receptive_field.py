# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The receptive field of a network: the margin that makes tiles exact."""
import torch
from torch import Tensor, nn

from srdensenet_mm.models.srdensenet import SRDenseNet, has_stock_parts

# Above this receptive field, a probed network is given the whole image at once.
FARTHEST = 384
_PROBE_ROWS = 16


def receptive_field(network: nn.Module, in_channels: int = 1, scale: int = 1,
                    multiple: int = 1) -> int | None:
    """The LR pixels to each side that an output pixel depends on.

    For an SRDenseNet with the stock parts, it follows from the structure: 1
    pixel for the first convolution and for every layer of every block, and the
    share of the upsampling and the last convolution. Any other network is
    probed, see :func:`probe_receptive_field`.

    Args:
        network (nn.Module): The bare network.
        in_channels (int): Channels that it reads. Only used for probing.
        scale (int): Its upscale factor. Only used for probing.
        multiple (int): Tiles begin at multiples of this, LR pixels. Only used
            for probing.

    Returns:
        int, optional: LR pixels to each side; None where tiles cannot be exact (global
        attention or pooling, windows).
    """
    if not has_stock_parts(network):
        return probe_receptive_field(network, in_channels, scale, multiple)
    layers = [network.conv_first, *(conv for block in network.blocks for conv in block.layers)]
    return sum(conv.padding[0] for conv in layers) + _receptive_field_of_tail(network)


def _receptive_field_of_tail(network: SRDenseNet) -> int:
    """The share of the deconvolutions and the last convolution, in LR pixels."""
    farthest = 0
    for subpixel in range(network.upscale_factor):
        # The range of pixels that matter, followed back from the output.
        low, high = subpixel - 1, subpixel + 1
        for deconv in reversed(network.upsampler.deconvs):
            kernel, stride, padding = deconv.kernel_size[0], deconv.stride[0], deconv.padding[0]
            # Output o gets input i where o = stride * i - padding + tap.
            low = -(-(low + padding - kernel + 1) // stride)
            high = (high + padding) // stride
        farthest = max(farthest, -low, high)
    return farthest


def probe_receptive_field(network: nn.Module, in_channels: int, scale: int,
                 multiple: int = 1) -> int | None:
    """The receptive field of any network, found by running it.

    Every output that depends on a NaN is NaN, whatever the weights are. So all
    input on one side of a line is made NaN. The NaN outputs on the other side
    show the receptive field. Dilated networks leave gaps: gaps of up to a
    quarter of ``FARTHEST`` are found.

    A network that works in windows gives other values in tiles. So the input is
    also moved by one pixel, or by the multiple that tiles begin at. The output
    must move with it.

    Args:
        network (nn.Module): The network, on any device.
        in_channels (int): Channels that it reads.
        scale (int): Its upscale factor.
        multiple (int): Tiles begin at multiples of this, LR pixels. Defaults to
            1.

    Returns:
        int, optional: LR pixels; None where the receptive field is larger than
        ``FARTHEST`` or the output does not move with the input.
    """
    probe = _Probe(network, in_channels, scale)
    with torch.no_grad():
        for half in (FARTHEST // 4, FARTHEST):
            found = max(probe.across_middle(half, along_rows) for along_rows in (True, False))
            if found <= half:
                return found if probe.moves(found, multiple) else None
    return None


class _Probe:
    """Runs a network on strips of noise, long in one direction."""

    def __init__(self, network: nn.Module, in_channels: int, scale: int):
        self.network, self.channels, self.scale = network, in_channels, scale
        self.like = next(network.parameters(), torch.zeros(1))
        self.generator = torch.Generator().manual_seed(0)

    def strip(self, length: int) -> Tensor:
        return torch.rand(1, self.channels, _PROBE_ROWS, length, generator=self.generator)

    def run(self, strip: Tensor, along_rows: bool = True) -> Tensor:
        strip = strip if along_rows else strip.mT
        out = self.network(strip.to(self.like)).float().cpu()
        return out if along_rows else out.mT

    def across_middle(self, half: int, along_rows: bool) -> int:
        """The receptive field across the middle of a strip; a value above ``half`` is a bound."""
        length = 2 * half + 2
        found = 0
        for side in (slice(0, half + 1), slice(half + 1, length)):
            strip = self.strip(length)
            strip[..., side] = float('nan')
            hit = self.run(strip, along_rows).isnan().flatten(0, 2).any(0)
            hit = hit.view(length, self.scale).any(1)
            found = max(found, int(hit.sum()) - (half + 1))
        return found

    def moves(self, receptive_field: int, step: int) -> bool:
        """Whether the output moves by a step with the input, away from the ends of a strip."""
        margin = receptive_field + step
        strip = self.strip(2 * margin + 16)
        for along_rows in (True, False):
            still = self.run(strip, along_rows)[..., self.scale * margin:-self.scale * margin]
            moved = self.run(strip[..., step:], along_rows)[
                ..., self.scale * (margin - step):-self.scale * margin]
            tolerance = 1e-4 * float(still.abs().max())
            if not torch.allclose(still, moved, rtol=1e-3, atol=tolerance):
                return False
        return True
