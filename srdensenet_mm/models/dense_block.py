# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import MODELS, BaseModule
from .initialization import he_normal


@MODELS.register_module()
class DenseBlock(BaseModule):
    """The dense block of SRDenseNet (section 3.1 of the paper).

    ``num_layers`` convolutions 3x3, each followed by ReLU and adding
    ``growth_rate`` maps. The first layer reads the block's input. Layer k reads
    the concatenated outputs of layers 1..k-1, oldest first, without the block's
    input. The block returns the outputs of all its layers.

    Args:
        in_channels (int): Maps that the block reads.
        num_layers (int): Convolutions in the block. Defaults to 8.
        growth_rate (int): Maps that each convolution adds. Defaults to 16.
        init_cfg (dict, optional): MMEngine's initialization config. Without
            it, weights are He-normal and biases zero.

    Attributes:
        out_channels (int): Maps that the block returns:
            ``num_layers * growth_rate``.
    """

    def __init__(self, in_channels: int, num_layers: int = 8, growth_rate: int = 16, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.out_channels = num_layers * growth_rate
        self.layers = nn.ModuleList(
            nn.Conv2d(growth_rate * k if k else in_channels, growth_rate, 3, padding=1)
            for k in range(num_layers))
        he_normal(*self.layers)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block.

        Args:
            x (Tensor): Shape (N, in_channels, H, W), float.

        Returns:
            Tensor: Shape (N, out_channels, H, W), the layers' outputs, oldest
            first.
        """
        outputs = [F.relu(self.layers[0](x))]
        for layer in self.layers[1:]:
            outputs.append(F.relu(layer(torch.cat(outputs, dim=1))))
        return torch.cat(outputs, dim=1)
