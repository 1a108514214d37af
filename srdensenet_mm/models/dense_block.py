# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import torch
import torch.nn.functional as F
from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn


@MODELS.register_module()
class DenseBlock(BaseModule):
    """The dense block of SRDenseNet (section 3.1 of the paper).

    ``num_layers`` convolutions 3x3, each followed by ReLU and adding
    ``growth_rate`` maps. The first layer reads the block's input, layer k the
    concatenation of the outputs of layers 1..k-1 (oldest first; the block's
    input is not among them). The block yields all of its layers' outputs.

    ``layers`` hold the weights. They are convolved with in other groups, so
    hooks on a layer may not be called.

    Args:
        in_channels (int): Maps that the block reads.
        num_layers (int): Convolutions in the block. Defaults to 8.
        growth_rate (int): Maps that each of them adds. Defaults to 16.
        init_cfg (dict, optional): MMEngine's initialization config.

    Attributes:
        out_channels (int): Maps that the block yields:
            ``num_layers * growth_rate``.
    """

    def __init__(self, in_channels: int, num_layers: int = 8, growth_rate: int = 16, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.out_channels = num_layers * growth_rate
        self.layers = nn.ModuleList(
            nn.Conv2d(growth_rate * k if k else in_channels, growth_rate, 3, padding=1)
            for k in range(num_layers))

    def forward(self, x: Tensor) -> Tensor:
        """Run the block.

        Args:
            x (Tensor): Shape (N, in_channels, H, W), float.

        Returns:
            Tensor: Shape (N, out_channels, H, W), the layers' outputs, oldest
            first.
        """
        return self.grow(self.layers[0](x))

    def grow(self, first: Tensor) -> Tensor:
        """Run the block from the first layer's convolution on.

        SRDenseNet computes that convolution for all blocks at once, a source
        at a time; this is the rest of the block.

        Args:
            first (Tensor): The first convolution's output, before its ReLU.
                Shape (N, growth_rate, H, W), float.

        Returns:
            Tensor: Shape (N, out_channels, H, W).
        """
        return _side_by_side(self._grow(0, len(self.layers), first))

    def _grow(self, start: int, stop: int, sums: Tensor) -> list[Tensor]:
        """The outputs of layers ``start`` to ``stop - 1``, oldest first, in pieces.

        Convolution is linear in its input channels. So the outputs of the
        earlier half of these layers are convolved with what reads them of all
        kernels of the later half, at once, and each half goes on alone. Wide
        convolutions are faster than narrow ones, and less is concatenated.

        Args:
            start (int): The first of the layers.
            stop (int): The layer after the last.
            sums (Tensor): Shape (N, (stop - start) * growth_rate, H, W), what
                layers before ``start`` contribute to these layers'
                convolutions, with the bias. With ``start=0``, there are none:
                the output of the first convolution alone.
        """
        if stop - start == 1:
            return [F.relu(sums)]
        middle = (start + stop) // 2
        width = self.layers[0].out_channels
        own = width * (middle - start)
        earlier = _side_by_side(self._grow(start, middle, sums[:, :own]))
        readers = list(self.layers)[middle:stop]
        later = F.conv2d(
            earlier,
            torch.cat([reader.weight[:, width * start:width * middle] for reader in readers]),
            None if start else torch.cat([reader.bias for reader in readers]), padding=1)
        if start:
            later.add_(sums[:, own:])
        return [earlier, *self._grow(middle, stop, later)]


def _side_by_side(pieces: list[Tensor]) -> Tensor:
    # torch.cat copies a single one, too.
    return torch.cat(pieces, dim=1) if len(pieces) > 1 else pieces[0]
