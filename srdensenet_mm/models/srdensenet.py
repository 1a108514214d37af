# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import inspect

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .autocast import in_float32
from .base import MODELS, BaseModule
from .checkpointing import checkpointed
from .deconv_upsampler import DeconvUpsampler
from .dense_block import DenseBlock
from .fused import fused_forward
from .initialization import carry_image, he_normal
from .stock_parts import are_stock_parts

FEATURE_LEVELS = ('all', 'hl', 'h')


@MODELS.register_module()
class SRDenseNet(BaseModule):
    """SRDenseNet, super-resolution by dense skip connections.

    Paper: Tong, Li, Liu, Gao, "Image Super-Resolution Using Dense Skip
    Connections", ICCV 2017. Section 3 describes the network, figure 2 its
    three variants.

    conv 3x3 + ReLU -> dense blocks -> bottleneck 1x1 -> deconvolutions, each
    with ReLU -> conv 3x3.

    ``forward`` follows figure 2. Where no module inside has been changed or
    hooked, the same sums are computed in a faster order instead. See
    :mod:`srdensenet_mm.models.fused`.

    Args:
        in_channels (int): Channels of the input: 1 for luma, 3 for RGB.
            Defaults to 1.
        out_channels (int): Channels of the output. Defaults to 1.
        upscale_factor (int): 2, 3, 4 or 8. Defaults to 4.
        mid_channels (int): Maps of the first convolution, the paper's
            low-level features. Defaults to 128.
        num_blocks (int): Dense blocks. Defaults to 8.
        num_layers (int): Convolutions in each of them. Defaults to 8.
        growth_rate (int): Maps that each convolution adds. Defaults to 16.
        bottleneck_channels (int): Maps that the deconvolutions work on.
            Defaults to 256.
        bottleneck_act (bool): Whether a ReLU follows the bottleneck. Defaults
            to False.
        deconv_kernel (int): 2 (kernel = stride) or 3, see
            :class:`DeconvUpsampler`. Defaults to 2.
        feature_level (str): Which skip connections there are.
            ``'all'`` (SRDenseNet_All): a block reads the maps of the first
            convolution and of all earlier blocks, oldest first. The bottleneck
            reads all maps. ``'hl'`` (SRDenseNet_HL): blocks are chained. The
            bottleneck reads the first convolution's and the last block's maps.
            ``'h'`` (SRDenseNet_H): blocks are chained. The bottleneck reads the
            last block's maps. Defaults to ``'all'``.
        dense_block (dict): Config of the blocks. Missing ``in_channels``,
            ``num_layers`` and ``growth_rate`` are filled in where the module's
            constructor has parameters of these names. (``**kwargs`` does not
            count.) Another registered module may have an attribute
            ``out_channels``, the number of maps that it returns. Without it,
            ``num_layers * growth_rate`` maps are expected. Defaults to
            ``dict(type='DenseBlock')``.
        upsampler (dict): Config of the upsampler. Missing ``in_channels`` and
            ``out_channels`` (both ``bottleneck_channels``), ``upscale_factor``,
            ``scale_factor`` (the same value) and ``deconv_kernel`` are filled
            in the same way. Without an attribute ``out_channels``,
            ``bottleneck_channels`` maps are expected. Defaults to
            ``dict(type='DeconvUpsampler')``.
        with_cp (bool): Gradient checkpointing, for large training patches.
            Blocks and upsampling are computed again in the backward pass
            instead of being kept. Same gradients. Defaults to False.
        init_cfg (dict, optional): MMEngine's initialization config. Without
            it, a new network upscales from the first step, a little blurred.
            See :mod:`srdensenet_mm.models.initialization`. Another registered
            block or upsampler keeps its own initialization.

    Raises:
        ValueError: An argument has an unsupported value; the message names it.
    """

    def __init__(self,
                 in_channels: int = 1,
                 out_channels: int = 1,
                 upscale_factor: int = 4,
                 mid_channels: int = 128,
                 num_blocks: int = 8,
                 num_layers: int = 8,
                 growth_rate: int = 16,
                 bottleneck_channels: int = 256,
                 bottleneck_act: bool = False,
                 deconv_kernel: int = 2,
                 feature_level: str = 'all',
                 dense_block: dict | None = None,
                 upsampler: dict | None = None,
                 with_cp: bool = False,
                 init_cfg: dict | None = None):
        super().__init__(init_cfg=init_cfg)
        _check_positive(
            in_channels=in_channels, out_channels=out_channels, mid_channels=mid_channels,
            num_blocks=num_blocks, num_layers=num_layers, growth_rate=growth_rate,
            bottleneck_channels=bottleneck_channels)
        for name, value in (('bottleneck_act', bottleneck_act), ('with_cp', with_cp)):
            if not isinstance(value, bool):  # 'false', for example, would count as true
                raise ValueError(f'{name}={value!r} is not supported: give True or False')
        if feature_level not in FEATURE_LEVELS:
            raise ValueError(f'feature_level={feature_level!r} is not supported: '
                             f'choose one of {", ".join(map(repr, FEATURE_LEVELS))}')
        self.upscale_factor = upscale_factor
        self.feature_level = feature_level
        self.bottleneck_act = bottleneck_act
        self.with_cp = with_cp

        self.conv_first = nn.Conv2d(in_channels, mid_channels, 3, padding=1)
        self.blocks = nn.ModuleList()
        # widths[i] is the number of maps of source i: the first convolution
        # (source 0) and every block (sources 1, 2, ...).
        widths = [mid_channels]
        for _ in range(num_blocks):
            block = build_part(
                {'type': 'DenseBlock', **(dense_block or {})},
                in_channels=sum(widths) if feature_level == 'all' else widths[-1],
                num_layers=num_layers,
                growth_rate=growth_rate)
            self.blocks.append(block)
            widths.append(getattr(block, 'out_channels', num_layers * growth_rate))
        bottleneck_reads = {'all': sum(widths), 'hl': widths[0] + widths[-1], 'h': widths[-1]}
        self.bottleneck = nn.Conv2d(bottleneck_reads[feature_level], bottleneck_channels, 1)
        self.upsampler = build_part(
            {'type': 'DeconvUpsampler', **(upsampler or {})},
            in_channels=bottleneck_channels,
            out_channels=bottleneck_channels,
            upscale_factor=upscale_factor,
            scale_factor=upscale_factor,
            deconv_kernel=deconv_kernel)
        width = getattr(self.upsampler, 'out_channels', bottleneck_channels)
        self.conv_last = nn.Conv2d(width, out_channels, 3, padding=1)
        self._initialize()

    def _initialize(self) -> None:
        """Make weights that carry the image through the network, see :mod:`.initialization`.

        Blocks and upsamplers of other classes keep their weights.
        """
        he_normal(self.conv_first, self.bottleneck, self.conv_last)
        convs = [self.conv_first]
        if self.feature_level == 'h':
            # The only way to the bottleneck leads through all blocks. The first maps that a
            # block returns are those of its first layer.
            if not all(type(block) is DenseBlock for block in self.blocks):
                return
            convs += [block.layers[0] for block in self.blocks]
        if type(self.upsampler) is DeconvUpsampler:
            carry_image([*convs, self.bottleneck], list(self.upsampler.deconvs), self.conv_last)

    def forward(self, x: Tensor) -> Tensor:
        """Upscale.

        Args:
            x (Tensor): Shape (N, in_channels, H, W), float. Luma (studio
                range, 16..235) or RGB (0..255), divided by 255.

        Returns:
            Tensor: Shape (N, out_channels, s * H, s * W), where s is
            ``upscale_factor``. The same range of values, not clipped.
        """
        fused = fused_forward(self, x) if type(self) is SRDenseNet else None
        if fused is not None:
            return fused(self, x)
        x = bottleneck_maps(self, x)
        return checkpointed(self.with_cp, self._reconstruct, x)

    def _reconstruct(self, x: Tensor) -> Tensor:
        return in_float32(self.conv_last, self.upsampler(x))


def bottleneck_maps(network: nn.Module, x: Tensor) -> Tensor:
    """Figure 2 of the paper, up to the bottleneck.

    Args:
        network (nn.Module): An SRDenseNet, or another network with the same
            parts up to there.
        x (Tensor): Shape (N, in_channels, H, W), float.

    Returns:
        Tensor: Shape (N, bottleneck_channels, H, W).
    """
    # Sources are the first convolution and the blocks.
    sources = [F.relu(in_float32(network.conv_first, x))]
    for block in network.blocks:
        reads = torch.cat(sources, dim=1) if network.feature_level == 'all' else sources[-1]
        sources.append(checkpointed(network.with_cp, block, reads))
    if network.feature_level == 'hl':
        sources = [sources[0], sources[-1]]
    elif network.feature_level == 'h':
        sources = [sources[-1]]
    x = network.bottleneck(torch.cat(sources, dim=1))
    return F.relu(x) if network.bottleneck_act else x


def has_stock_parts(network: nn.Module) -> bool:
    """Whether a network is an SRDenseNet with the paper's parts, as its constructor makes them.

    Its class, blocks and upsampler are those of this package. Every convolution
    is PyTorch's own and has the shape that its place demands. So the modules
    alone say what the network computes. Subclasses and replaced parts may
    compute something else.
    """
    return type(network) is SRDenseNet and are_stock_parts(network)


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f'{name}={value!r} is not supported: give a positive integer')


def build_part(cfg: dict, **offered) -> nn.Module:
    """Build a part from its config, see ``dense_block`` and ``upsampler`` of :class:`SRDenseNet`.

    A class that is registered already is used directly: the registry's own
    look-up would import all of MMagic's models first.

    Args:
        cfg (dict): ``type`` (a registered name, a class or a function) and its
            arguments.
        **offered: Arguments to fill in where ``cfg`` leaves them out and the
            class or function has parameters of these names.

    Raises:
        ValueError: No module of that name is registered.
    """
    cfg = dict(cfg)
    kind = cfg.pop('type')
    if isinstance(kind, str):
        name, kind = kind, MODELS.module_dict.get(kind) or MODELS.get(kind)
        if kind is None:
            raise ValueError(f'{name!r} is not a registered module')
    named = inspect.signature(kind).parameters
    return kind(**{**{key: value for key, value in offered.items() if key in named}, **cfg})
