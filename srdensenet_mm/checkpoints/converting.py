# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Converting SRDenseNet weights of other implementations."""
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError, naming
from ..files import same_file
from ..models import SRDenseNet
from .architecture import build_network, colour_of, complete_config, read_architecture
from .layouts import OURS, Layout, Mismatch, recognise, rename
from .reading import Checkpoint, build_checkpoint, read_checkpoint
from .writing import ready_file, write_file


@dataclass
class Conversion:
    """The result of a conversion.

    Attributes:
        layout (str): Title of the layout that was recognised.
        meta (dict): The written file's meta.
        num_parameters (int): Of the network.
    """
    layout: str
    meta: dict[str, Any]
    num_parameters: int


def convert_checkpoint(source: str | Path, target: str | Path) -> Conversion:
    """Convert a checkpoint of another implementation into this project's form.

    The keys show the layout, the shapes show the hyper-parameters. The
    converted network computes the same as the original.

    Args:
        source (str | Path): The checkpoint: a state dict, bare or under
            ``state_dict``, with or without ``module.`` and ``_orig_mod.`` in
            front of its keys. One of this project is written again.
        target (str | Path): The file to write, ``.pth`` or ``.safetensors``.

    Returns:
        Conversion: What was found and written.

    Raises:
        UserError: The source cannot be read, or is no SRDenseNet of a known
            layout (the message names the first key or shape that does not fit).
            Or the target cannot be written, or is the source.
    """
    if Path(source).exists() and same_file(target, source):
        raise UserError(f'{target}: is the source, name another file to write')
    checkpoint = read_checkpoint(source)
    with naming(source):
        layout = OURS if 'network' in checkpoint.meta else recognise(checkpoint.weights)
        if layout is OURS:
            network, meta = build_checkpoint(checkpoint)
            if not isinstance(network, SRDenseNet):
                raise Mismatch(f'holds weights of {type(network).__name__}, not of an SRDenseNet')
        else:
            network, meta = _convert(checkpoint, layout)
    write_file(target, ready_file(network.state_dict(), meta, Path(target).suffix))
    return Conversion(layout.title, meta, sum(p.numel() for p in network.parameters()))


def _convert(checkpoint: Checkpoint, layout: Layout) -> tuple[nn.Module, dict[str, Any]]:
    config, weights = from_layout(checkpoint.weights, layout)
    meta = dict(
        network=config, colour=colour_of(config, None), converted_from=layout.title.split(' (')[0])
    if checkpoint.meta.get('averaged_weights'):
        meta['averaged_weights'] = True
    return build_network(config, weights), meta


def from_layout(weights: Mapping[str, Tensor],
                layout: Layout) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and the weights of this project's network that computes the same as a file's.

    Args:
        weights (Mapping[str, Tensor]): By the layout's names.
        layout (Layout): Ours or another.

    Returns:
        tuple: The network's config, and the weights in this project's names and
        order.

    Raises:
        Mismatch: Names the first key or shape that does not fit, by the layout's name.
    """
    weights = rename(weights, layout)
    config = complete_config(read_architecture(weights, layout))
    # Before any channel moves, so that messages name the file's shapes.
    build_network(config, weights, layout)
    return config, _oldest_first(weights, config) if layout.newest_first else weights


def _oldest_first(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Reverse the order of the sources that blocks and the bottleneck read.

    A source is the group of maps of the first convolution, or of a block. The
    order inside a group stays.
    """
    num_blocks = config['num_blocks']
    width = config['num_layers'] * config['growth_rate']
    widths = [config['mid_channels']] + [width] * num_blocks
    readers = {}
    if config['feature_level'] == 'all':
        readers = {f'blocks.{i}.layers.0.weight': widths[:i + 1] for i in range(num_blocks)}
        readers['bottleneck.weight'] = widths
    elif config['feature_level'] == 'hl':
        readers['bottleneck.weight'] = [widths[0], widths[-1]]
    return {key: _reverse_sources(value, readers[key]) if key in readers else value
            for key, value in weights.items()}


def _reverse_sources(weight: Tensor, widths: list[int]) -> Tensor:
    return torch.cat(weight.split(widths[::-1], dim=1)[::-1], dim=1)
