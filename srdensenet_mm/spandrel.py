# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""SRDenseNet for the package ``spandrel`` and all programs that load files through it.

Importing this module registers the architecture; MMagic need not be installed::

    import srdensenet_mm.spandrel
    from spandrel import ModelLoader
    model = ModelLoader().load_from_file('srdensenet_x4-2708f7eb.pth')

It reads published and converted checkpoints of this project, ``.pth`` and
``.safetensors``. It also reads those of the two other implementations that
``tools/convert_checkpoint.py`` knows. Publish a Runner's own checkpoint first.
A network on luma takes and returns RGB: Y goes through the network, Cb and Cr
through bicubic interpolation.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from .checkpoints.architecture import build_network
from .checkpoints.converting import from_layout
from .checkpoints.layouts import LAYOUTS, Mismatch, recognise
from .checkpoints.unwrapping import bare_weights
from .models.colour import upscale_through_luma
from .optional_packages import import_optional

_spandrel = import_optional('spandrel')


class ImagesThroughLuma(nn.Module):
    """Makes a network on luma work on RGB, in the type of its weights.

    Args:
        network (nn.Module): 1 -> 1 channel, on Y / 255.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """RGB in 0..1, (N, 3, H, W) -> (N, 3, s*H, s*W), of the same type."""
        # Colours are computed in float32: in 16 bits they would be a level off.
        return upscale_through_luma(
            lambda y: self.network(y.to(x.dtype)).float(), x.float()).to(x.dtype)


class SRDenseNetArch(_spandrel.Architecture[nn.Module]):
    """How spandrel recognises and reads SRDenseNet."""

    def __init__(self):
        super().__init__(id='SRDenseNet', name='SRDenseNet', detect=is_srdensenet)

    def load(self, state_dict: dict[str, Any]):
        """Find the hyper-parameters from the weights, and build the network.

        Returns:
            spandrel.ImageModelDescriptor: It takes RGB images, even where the
            network works on luma.

        Raises:
            Mismatch: A weight is missing, surplus or has another shape.
        """
        weights, _ = bare_weights(state_dict)
        config, weights = from_layout(weights, recognise(weights))
        network = build_network(config, weights)
        is_luma = config['in_channels'] == 1
        tags = [
            config['feature_level'], f'{config["num_blocks"]}x{config["num_layers"]}',
            f'{config["growth_rate"]}gr', f'{config["mid_channels"]}nf',
            'luma' if is_luma else 'rgb']
        model = ImagesThroughLuma(network) if is_luma else network
        channels = 3 if is_luma else config['in_channels']
        return _spandrel.ImageModelDescriptor(
            model, model.state_dict(), architecture=self, purpose='SR', tags=tags,
            supports_half=True, supports_bfloat16=True, scale=config['upscale_factor'],
            input_channels=channels,
            output_channels=3 if is_luma else config['out_channels'])


def is_srdensenet(state_dict: Mapping[str, Any]) -> bool:
    """Whether a state dict has an SRDenseNet's keys, in any layout that we know."""
    weights, _ = bare_weights(state_dict)
    return any(
        all(layout.from_ours(f'{part}.weight') in weights for part in (
            'conv_first', 'blocks.0.layers.0', 'bottleneck', 'upsampler.deconvs.0', 'conv_last'))
        for layout in LAYOUTS)


_spandrel.MAIN_REGISTRY.add(
    _spandrel.ArchSupport.from_architecture(SRDenseNetArch()), ignore_duplicates=True)

__all__ = ['ImagesThroughLuma', 'Mismatch', 'SRDenseNetArch', 'is_srdensenet']
