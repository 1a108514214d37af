# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Maps that are zero everywhere: which they are, and how they come back to life.

ReLU has no gradient where it is zero, so a map that is zero everywhere stays so.
"""
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .colour import luma_of
from .dense_block import DenseBlock
from .initialization import he_normal
from .srdensenet import bottleneck_maps


@torch.no_grad()
def which_dead(network: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """The maps that are zero everywhere on a batch.

    Args:
        network (nn.Module): An SRDenseNet or LIIFSRDenseNet. Does not change.
        inputs (Tensor): Shape (N, 3, H, W), or (N, C, H, W) as the network reads
            it. Float, 0..1. A network with one channel gets luma.

    Returns:
        Dict[str, Tensor]: ``conv_first`` (behind its ReLU), ``blocks.0``,
        ``blocks.1``, ...: bool, shape (maps, ).
    """
    found = {}

    def look(part: str, maps: Tensor) -> None:
        found[part] = (maps == 0).all(dim=3).all(dim=2).all(dim=0)

    _run_with(network, inputs, [
        network.conv_first.register_forward_hook(
            lambda module, args, out: look('conv_first', F.relu(out))),
        *(block.register_forward_hook(
            lambda module, args, out, number=number: look(f'blocks.{number}', out))
            for number, block in enumerate(network.blocks))])
    return found


def behind_conv_first(network: nn.Module) -> list[nn.Conv2d]:
    """The convolutions of a network that read maps behind a ReLU, up to the bottleneck."""
    return [*(layer for block in network.blocks if type(block) is DenseBlock
              for layer in block.layers), network.bottleneck]


@torch.no_grad()
def input_means(network: nn.Module, inputs: Tensor) -> dict[nn.Conv2d, Tensor]:
    """The means of the maps that the convolutions of :func:`behind_conv_first` read.

    Args:
        network (nn.Module): An SRDenseNet or LIIFSRDenseNet. Does not change.
        inputs (Tensor): As for :func:`which_dead`.

    Returns:
        Dict[nn.Conv2d, Tensor]: Means over images and pixels, shape
        (in_channels, ).
    """
    found = {}
    _run_with(network, inputs, [conv.register_forward_pre_hook(
        lambda conv, args: found.update({conv: args[0].float().mean((0, 2, 3))}))
        for conv in behind_conv_first(network)])
    return found


def _run_with(network: nn.Module, inputs: Tensor, hooks: Sequence[RemovableHandle]) -> None:
    """Run a network with hooks, which are removed then.

    It runs in its plain form, up to the bottleneck. The rest would take two
    thirds of the time.
    """
    try:
        if network.conv_first.in_channels == 1 and inputs.size(1) != 1:
            inputs = luma_of(inputs)
        with _evaluating(network):
            bottleneck_maps(network, inputs)
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def revive(network: nn.Module, dead: Sequence[Tensor]) -> None:
    """Make dead maps new, and let the network compute what it did before.

    The kernels that yield a dead map become He-normal. The kernels that yield
    other maps no longer read it: their weights for it were of no effect, and
    become zero. Training then grows these from zero.

    Args:
        network (nn.Module): An SRDenseNet or LIIFSRDenseNet whose blocks are
            ``DenseBlock``. Changed in place.
        dead (Sequence[Tensor]): Which maps are dead, of ``conv_first`` and of
            each block: bool, shape (maps, ).
    """
    for part, layers in enumerate([[network.conv_first]]
                                  + [block.layers for block in network.blocks]):
        if network.feature_level == 'all':
            sources = torch.cat(list(dead[:part])) if part else None
        else:
            sources = dead[part - 1] if part else None
        for k, (layer, rows) in enumerate(zip(
                layers, dead[part].split(layers[0].out_channels), strict=True)):
            new = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size)
            he_normal(new)
            layer.weight[rows] = new.weight[rows.cpu()].to(layer.weight)
            layer.bias[rows] = 0
            if part:
                _read_no_more(layer, ~rows, dead[part][:layer.in_channels] if k else sources)
    reads = {'all': dead, 'hl': [dead[0], dead[-1]], 'h': [dead[-1]]}[network.feature_level]
    of_all = torch.ones(network.bottleneck.out_channels, dtype=torch.bool, device=dead[0].device)
    _read_no_more(network.bottleneck, of_all, torch.cat(list(reads)))


def _read_no_more(layer: nn.Conv2d, rows: Tensor, maps: Tensor) -> None:
    """Set the weights to zero with which these rows read these maps."""
    layer.weight[rows.outer(maps)] = 0


@contextmanager
def followed(network: nn.Module, averages: Sequence[nn.Module],
             optimizers: Sequence[torch.optim.Optimizer]) -> Iterator[None]:
    """Let averages and momentum follow what changes in a network within a context.

    Weights that have changed are set in the averages, and their momentum is
    zero. For :func:`revive` in the middle of a training.

    Args:
        network (nn.Module): The network that is trained.
        averages (Sequence[nn.Module]): Networks with the same parameters.
        optimizers (Sequence[Optimizer]): Those that train it.
    """
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    yield
    for name, weight in network.named_parameters():
        new = weight.detach() != before[name]
        for average in averages:
            own = average.get_parameter(name).data
            own.copy_(torch.where(new, weight.detach(), own))
        for optimizer in optimizers:
            for value in optimizer.state.get(weight, {}).values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value.masked_fill_(new, 0)
