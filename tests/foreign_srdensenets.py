# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""SRDenseNet as two other implementations lay it out.

Written from the published layouts (names of the weights, order of the
concatenations, deconvolutions), sharing no code with the package.
"""
import torch
from torch import nn


class _BlockA(nn.Module):

    def __init__(self, reads, num_layers, growth):
        super().__init__()
        self.num_layers = num_layers
        for k in range(1, num_layers + 1):
            conv = nn.Conv2d(reads if k == 1 else (k - 1) * growth, growth, 3, padding=1)
            setattr(self, f'conv{k}', conv)

    def forward(self, x):
        outputs = [torch.relu(self.conv1(x))]
        for k in range(2, self.num_layers + 1):
            outputs.append(torch.relu(getattr(self, f'conv{k}')(torch.cat(outputs, 1))))
        return torch.cat(outputs, 1)


class _UpsampleA(nn.Module):

    def __init__(self, channels, stride):
        super().__init__()
        self.upsample_block = nn.Sequential(
            nn.ConvTranspose2d(channels, channels, stride, stride), nn.ReLU())

    def forward(self, x):
        return self.upsample_block(x)


class NetworkA(nn.Module):
    """Newest maps first in every concatenation of blocks; no ReLU behind the bottleneck."""

    def __init__(self, scale=4, channels=1, mid=128, blocks=8, layers=8, growth=16, wide=256):
        super().__init__()
        self.blocks = blocks
        self.conv1 = nn.Sequential(nn.Conv2d(channels, mid, 3, padding=1), nn.ReLU())
        reads = mid
        for i in range(1, blocks + 1):
            setattr(self, f'dcb{i}', nn.Sequential(_BlockA(reads, layers, growth)))
            reads += layers * growth
        self.conv2 = nn.Conv2d(reads, wide, 1)
        strides = {2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}[scale]
        self.upsampling = nn.Sequential(*(_UpsampleA(wide, stride) for stride in strides))
        self.conv3 = nn.Conv2d(wide, channels, 3, padding=1)

    def forward(self, x):
        maps = self.conv1(x)
        for i in range(1, self.blocks + 1):
            maps = torch.cat([getattr(self, f'dcb{i}')(maps), maps], 1)
        return self.conv3(self.upsampling(self.conv2(maps)))


class _ConvB(nn.Module):

    def __init__(self, reads, yields):
        super().__init__()
        self.conv = nn.Conv2d(reads, yields, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.conv(x))


class _BlockB(nn.Module):

    def __init__(self, reads, num_layers, growth):
        super().__init__()
        self.block = nn.ModuleList([_ConvB(reads, growth)])
        for k in range(1, num_layers):
            self.block.append(_ConvB(k * growth, growth))

    def forward(self, x):
        known = self.block[0](x)
        for layer in self.block[1:]:
            known = torch.cat([known, layer(known)], 1)
        return known


class NetworkB(nn.Module):
    """Oldest maps first; ReLU behind the bottleneck; overlapping deconvolutions; x4."""

    def __init__(self, scale=4, channels=1, mid=128, blocks=8, layers=8, growth=16, wide=256):
        super().__init__()
        assert scale == 4
        width = layers * growth
        self.conv = _ConvB(channels, mid)
        self.dense_blocks = nn.ModuleList(
            _BlockB(mid + i * width, layers, growth) for i in range(blocks))
        self.bottleneck = nn.Sequential(nn.Conv2d(mid + blocks * width, wide, 1), nn.ReLU())
        self.deconv = nn.Sequential(
            nn.ConvTranspose2d(wide, wide, 3, 2, 1, 1), nn.ReLU(),
            nn.ConvTranspose2d(wide, wide, 3, 2, 1, 1), nn.ReLU())
        self.reconstruction = nn.Conv2d(wide, channels, 3, padding=1)

    def forward(self, x):
        maps = self.conv(x)
        for block in self.dense_blocks:
            maps = torch.cat([maps, block(maps)], 1)
        return self.reconstruction(self.deconv(self.bottleneck(maps)))
