# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Weights to start from, with which a new network upscales at once.

A stack of ReLU layers is usually begun with He-normal weights and zero biases.
With that alone, a new SRDenseNet's output is noise (9 dB on Set5 at x4). The
quickest way to a smaller loss is then to silence the deep maps, and in some
hundred steps many of them are zero everywhere. ReLU has no gradient there, so
they stay dead.

:func:`carry_image` therefore lays a path through the network. One map for each
channel of the image goes unchanged from the first convolution to the last,
which smooths it. All other weights stay He-normal, but the last convolution
hardly reads their maps at first. So the output is an upscaled image (25 dB and
more), the loss is small, and nothing is gained by silencing a map.
"""
from collections.abc import Sequence

import torch
from torch import Tensor, nn

# What the last convolution reads of the maps that carry no image, in parts of He-normal.
_LAST_SCALE = 0.01


@torch.no_grad()
def he_normal(*modules: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """He-normal weights and zero biases, so that a stack of ReLUs keeps the size of its maps.

    Args:
        *modules (nn.Conv2d | nn.ConvTranspose2d): Changed in place.
    """
    for module in modules:
        if isinstance(module, nn.ConvTranspose2d):
            # An output of a deconvolution sees kernel / stride inputs on
            # each axis, which PyTorch's own fan-in does not know.
            taps = module.weight[0, 0].numel() / (module.stride[0] * module.stride[1])
            nn.init.normal_(module.weight, std=(2 / (module.in_channels * taps))**0.5)
        else:
            nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def carry_image(convs: Sequence[nn.Conv2d], deconvs: Sequence[nn.ConvTranspose2d],
                conv_last: nn.Conv2d) -> None:
    """Have the image carried through a chain of layers, each followed by ReLU or nothing.

    Channel k of the image is made map k of every layer. An image has no
    negative values, so ReLU lets it pass. Deconvolutions repeat each pixel, and
    the last convolution smooths what they made.

    Where a layer has fewer maps than the image has channels, nothing is changed.

    Args:
        convs (Sequence[nn.Conv2d]): What leads from the image to the
            deconvolutions, the first convolution first.
        deconvs (Sequence[nn.ConvTranspose2d]): The deconvolutions.
        conv_last (nn.Conv2d): Makes the output, 3x3.
    """
    channels = convs[0].in_channels
    if min(layer.out_channels for layer in (*convs, *deconvs)) < channels:
        return
    for conv in convs:
        _carry(conv.weight, _centre(conv.kernel_size[0]), channels)
    for deconv in deconvs:
        _carry(deconv.weight.transpose(0, 1), _nearest(deconv), channels)
    conv_last.weight.mul_(_LAST_SCALE)
    # Nearest-neighbour x2 and then this is bilinear interpolation; so is x3 with three equal parts.
    taps = [1., 2., 1.] if [deconv.stride[0] for deconv in deconvs] == [2] else [1., 1., 1.]
    row = torch.tensor(taps, dtype=conv_last.weight.dtype) / sum(taps)
    conv_last.weight[:, :channels] = 0
    for k in range(conv_last.out_channels):
        # Without as many channels as the image has, an output is their mean.
        of = [k] if conv_last.out_channels == channels else range(channels)
        for channel in of:
            conv_last.weight[k, channel] = row.outer(row) / len(of)


def _carry(weight: Tensor, kernel: Tensor, channels: int) -> None:
    """Set the rows of (out, in, h, w) for the maps that carry, whatever else they read."""
    weight[:channels] = 0
    for k in range(channels):
        weight[k, k] = kernel


def _centre(size: int) -> Tensor:
    kernel = torch.zeros(size, size)
    kernel[size // 2, size // 2] = 1
    return kernel


def _nearest(deconv: nn.ConvTranspose2d) -> Tensor:
    # Of a kernel 3 of stride 2 and padding 1, the first tap would reach the pixel before.
    row = torch.zeros(deconv.kernel_size[0])
    row[deconv.padding[0]:deconv.padding[0] + deconv.stride[0]] = 1
    return row.outer(row)
