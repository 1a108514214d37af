# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Initial weights with which a new network upscales from the first step.

A stack of ReLU layers usually starts with He-normal weights and zero biases.
With these alone, the output of a new SRDenseNet is noise (9 dB on Set5 at x4).
The quickest way to a smaller loss is then to make the deep maps zero. After
some hundred steps, many maps are zero everywhere. ReLU has no gradient there,
so they stay dead.

:func:`carry_image` therefore makes a path through the network. One map for each
channel of the image goes unchanged from the first convolution to the last,
which smooths it. All other weights stay He-normal, but the last convolution
gives their maps a small weight at first. So the output is an upscaled image (25
dB and more) and the loss is small. Making a map zero would not reduce it.
"""
from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Factor on the last convolution's He-normal weights for maps that do not carry the image.
_LAST_SCALE = 0.01


@torch.no_grad()
def he_normal(*modules: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> None:
    """He-normal weights and zero biases, so that a stack of ReLUs keeps the size of its maps.

    Args:
        *modules (nn.Conv2d | nn.ConvTranspose2d | nn.Linear): Changed in place.
    """
    for module in modules:
        if module.weight.is_meta:  # has no values
            continue
        if isinstance(module, nn.ConvTranspose2d):
            # An output of a deconvolution depends on kernel / stride inputs on each axis.
            # PyTorch's own fan-in ignores the stride.
            taps = module.weight[0, 0].numel() / (module.stride[0] * module.stride[1])
            nn.init.normal_(module.weight, std=(2 / (module.in_channels * taps))**0.5)
        else:
            nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def carry_image(convs: Sequence[nn.Conv2d], deconvs: Sequence[nn.ConvTranspose2d],
                conv_last: nn.Conv2d) -> None:
    """Make a chain of layers carry the image. Each layer may be followed by ReLU.

    Channel k of the image becomes map k of every layer. An image has no
    negative values, so ReLU does not change it. Deconvolutions repeat each
    pixel, and the last convolution smooths their output.

    Where a layer has fewer maps than the image has channels, nothing changes.

    Args:
        convs (Sequence[nn.Conv2d]): The convolutions from the image to the
            deconvolutions, the first convolution first.
        deconvs (Sequence[nn.ConvTranspose2d]): The deconvolutions.
        conv_last (nn.Conv2d): Makes the output, 3x3.
    """
    channels = convs[0].in_channels
    if conv_last.weight.is_meta or (
            min(layer.out_channels for layer in (*convs, *deconvs)) < channels):
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
        # If input and output differ in their number of channels, an output is the inputs' mean.
        of = [k] if conv_last.out_channels == channels else range(channels)
        for channel in of:
            conv_last.weight[k, channel] = row.outer(row) / len(of)


def _carry(weight: Tensor, kernel: Tensor, channels: int) -> None:
    """Set the rows of (out, in, h, w) that make the image's maps; they read nothing else."""
    weight[:channels] = 0
    for k in range(channels):
        weight[k, k] = kernel


def _centre(size: int) -> Tensor:
    kernel = torch.zeros(size, size)
    kernel[size // 2, size // 2] = 1
    return kernel


def _nearest(deconv: nn.ConvTranspose2d) -> Tensor:
    # With kernel 3, stride 2 and padding 1, the first tap writes to the pixel before.
    row = torch.zeros(deconv.kernel_size[0])
    row[deconv.padding[0]:deconv.padding[0] + deconv.stride[0]] = 1
    return row.outer(row)
