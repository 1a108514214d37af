# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""LIIF's value at a point, with most of its first layer computed once for each LR pixel.

LIIF reads the maps of a pixel and its eight neighbours, the point's place from
its centre, and the size of an output pixel. The first layer of its MLP is
linear in all of them. Its share for the maps is a convolution 3x3 on the LR
image. Instead of nine times 256 maps, 256 sums are gathered for each point. The
share for the place and the size has four columns.
"""
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..autocast import in_float32
from ..local_ensemble import local_ensemble
from .form import Form
from .linear import linear_relu

# Points that most calls will have. More do not fit the cache.
_POINTS = 4096


def is_stock_mlp(imnet: nn.Module) -> bool:
    """Whether a network is MMagic's MLPRefiner, as its constructor makes it."""
    # Named, not imported: that would import all of MMagic's models.
    if type(imnet).__module__ != 'mmagic.models.editors.liif.mlp_refiner':
        return False
    layers = list(imnet.layers)
    return len(layers) > 1 and all(
        type(layer) is (nn.ReLU if i % 2 else nn.Linear) and (i % 2 or layer.bias is not None)
        for i, layer in enumerate(layers))


def query_of(network: nn.Module, maps: Tensor, form: Form) -> Callable[[Tensor, Tensor], Tensor]:
    """Prepare the values of images at points that are given later.

    Args:
        network (nn.Module): A LIIFSRDenseNet with MMagic's MLPRefiner.
        maps (Tensor): The bottleneck's maps, shape (N, C, H, W), float.
        form (str): See :func:`.network.compute`.

    Returns:
        Callable: (coord, cell), each (N, Q, 2) -> values, (N, Q, out_dim).
    """
    first, *hidden, last = (layer for layer in network.imnet.layers if isinstance(layer, nn.Linear))
    n, channels, height, width = maps.shape
    side = 3 if network.feat_unfold else 1
    columns = channels * side * side
    kernel = first.weight[:, :columns].unflatten(1, (channels, side, side))
    sums = F.conv2d(maps, kernel, first.bias, padding=side // 2)
    sums = sums.permute(0, 2, 3, 1).reshape(n * height * width, -1)
    place_weight = first.weight[:, columns:]
    images = torch.arange(n, device=maps.device).view(n, 1) * (height * width)
    if form == 'lean':
        layers = [linear_relu(layer.weight.to(sums.dtype), layer.bias.to(sums.dtype), _POINTS)
                  for layer in hidden]
    else:
        layers = [lambda x, layer=layer: F.relu(layer(x)) for layer in hidden]

    def value(pixel: Tensor, place: Tensor) -> Tensor:
        x = sums.index_select(0, (images + pixel).flatten())
        with torch.autocast(x.device.type, enabled=False):  # 16 bits would round the place
            place = F.linear(place.flatten(0, 1).to(place_weight.dtype), place_weight)
            x = F.relu_(place.add_(x)).to(x.dtype)
        for layer in layers:
            x = layer(x)
        return in_float32(last, x.to(last.weight.dtype)).view(*pixel.shape, -1)

    def query(coord: Tensor, cell: Tensor) -> Tensor:
        return local_ensemble(value, coord, cell if network.cell_decode else None,
                              (height, width), network.local_ensemble)

    return query
