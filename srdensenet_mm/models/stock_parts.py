# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Whether the modules inside a network are those that its constructor makes by default."""
from torch import nn

from .deconv_upsampler import STRIDES, DeconvUpsampler
from .dense_block import DenseBlock


def are_stock_parts(network: nn.Module) -> bool:
    """Whether the parts of an SRDenseNet are the paper's.

    Args:
        network (nn.Module): An SRDenseNet.

    Returns:
        bool: Whether blocks and upsampler are exactly this package's classes,
        and every convolution is exactly PyTorch's, with the kernel, stride,
        padding and number of maps that its place demands. A parametrized
        module has another class, so it does not count.
    """
    if type(network.upsampler) is not DeconvUpsampler or not has_stock_trunk(network):
        return False
    width = network.bottleneck.out_channels
    deconvs = network.upsampler.deconvs
    return (all(_is_deconv(deconv, width) for deconv in deconvs)
            and tuple(deconv.stride[0] for deconv in deconvs) == STRIDES[network.upscale_factor]
            and _is_conv(network.conv_last, 3, width))


def has_stock_trunk(network: nn.Module) -> bool:
    """The same up to the bottleneck alone."""
    if not all(type(block) is DenseBlock for block in network.blocks):
        return False
    if not _is_conv(network.conv_first, 3):
        return False
    widths = [network.conv_first.out_channels]
    for block in network.blocks:
        growth = block.layers[0].weight.size(0)
        reads = sum(widths) if network.feature_level == 'all' else widths[-1]
        for layer in block.layers:
            if not _is_conv(layer, 3, reads, growth):
                return False
            reads = growth if layer is block.layers[0] else reads + growth
        widths.append(growth * len(block.layers))
    reads = {'all': sum(widths), 'hl': widths[0] + widths[-1], 'h': widths[-1]}
    return _is_conv(network.bottleneck, 1, reads[network.feature_level])


def _is_conv(module: nn.Module, kernel: int, reads: int | None = None,
             writes: int | None = None) -> bool:
    if type(module) is not nn.Conv2d:
        return False
    shape = (writes or module.out_channels, reads or module.in_channels, kernel, kernel)
    return (module.weight.shape == shape and module.bias is not None
            and module.padding == (kernel // 2, kernel // 2) and module.padding_mode == 'zeros'
            and module.stride == (1, 1) and module.dilation == (1, 1) and module.groups == 1)


def _is_deconv(module: nn.Module, width: int) -> bool:
    if type(module) is not nn.ConvTranspose2d:
        return False
    kernel, stride, padding = module.kernel_size[0], module.stride[0], (0, 0)
    if kernel != stride:
        if (kernel, stride) != (3, 2):
            return False
        padding = (1, 1)
    return (module.weight.shape == (width, width, kernel, kernel) and module.bias is not None
            and module.stride == (stride, stride) and module.padding == padding
            and module.output_padding == padding
            and module.dilation == (1, 1) and module.groups == 1)
