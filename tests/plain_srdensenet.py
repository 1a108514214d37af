# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""SRDenseNet in its plain form, the reference of the tests.

Written from the description of the network alone, as another author would:
every concatenation is made, every convolution called as it is named, tensors
are contiguous. It has the state-dict keys of ``srdensenet_mm.models.SRDenseNet``
and shares no code with it.
"""
import torch
from torch import nn


class _Layers(nn.Module):
    """Holds the layers of a block under the key ``layers``."""

    def __init__(self, in_channels, num_layers, growth_rate):
        super().__init__()
        self.layers = nn.ModuleList()
        for k in range(num_layers):
            reads = in_channels if k == 0 else k * growth_rate
            self.layers.append(nn.Conv2d(reads, growth_rate, kernel_size=3, padding=1))

    def forward(self, x):
        outputs = [torch.relu(self.layers[0](x))]
        for layer in self.layers[1:]:
            outputs.append(torch.relu(layer(torch.cat(outputs, dim=1))))
        return torch.cat(outputs, dim=1)


class _Deconvs(nn.Module):
    """Holds the deconvolutions under the key ``deconvs``."""

    def __init__(self, channels, upscale_factor, deconv_kernel):
        super().__init__()
        self.deconvs = nn.ModuleList()
        if upscale_factor == 3:
            self.deconvs.append(nn.ConvTranspose2d(channels, channels, 3, 3))
            return
        for _ in range({2: 1, 4: 2, 8: 3}[upscale_factor]):
            if deconv_kernel == 2:
                self.deconvs.append(nn.ConvTranspose2d(channels, channels, 2, 2))
            else:
                self.deconvs.append(nn.ConvTranspose2d(channels, channels, 3, 2, 1, 1))

    def forward(self, x):
        for deconv in self.deconvs:
            x = torch.relu(deconv(x))
        return x


class PlainSRDenseNet(nn.Module):

    def __init__(self, in_channels=1, out_channels=1, upscale_factor=4, mid_channels=128,
                 num_blocks=8, num_layers=8, growth_rate=16, bottleneck_channels=256,
                 bottleneck_act=False, deconv_kernel=2, feature_level='all'):
        super().__init__()
        self.feature_level = feature_level
        self.bottleneck_act = bottleneck_act
        width = num_layers * growth_rate
        self.conv_first = nn.Conv2d(in_channels, mid_channels, 3, padding=1)
        self.blocks = nn.ModuleList()
        for i in range(num_blocks):
            if feature_level == 'all':
                reads = mid_channels + i * width
            else:
                reads = mid_channels if i == 0 else width
            self.blocks.append(_Layers(reads, num_layers, growth_rate))
        reads = {'all': mid_channels + num_blocks * width, 'hl': mid_channels + width,
                 'h': width}[feature_level]
        self.bottleneck = nn.Conv2d(reads, bottleneck_channels, 1)
        self.upsampler = _Deconvs(bottleneck_channels, upscale_factor, deconv_kernel)
        self.conv_last = nn.Conv2d(bottleneck_channels, out_channels, 3, padding=1)

    def forward(self, x):
        low_level = torch.relu(self.conv_first(x))
        if self.feature_level == 'all':
            sources = [low_level]
            for block in self.blocks:
                sources.append(block(torch.cat(sources, dim=1)))
            x = torch.cat(sources, dim=1)
        else:
            x = low_level
            for block in self.blocks:
                x = block(x)
            if self.feature_level == 'hl':
                x = torch.cat([low_level, x], dim=1)
        x = self.bottleneck(x)
        if self.bottleneck_act:
            x = torch.relu(x)
        return self.conv_last(self.upsampler(x))
