# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import inspect

import torch
import torch.nn.functional as F
from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .autocast import is_autocast
from .deconv_upsampler import DeconvUpsampler
from .dense_block import DenseBlock
from .fused.tail import can_be_pixelwise, pixelwise_tail

FEATURE_LEVELS = ('all', 'hl', 'h')


@MODELS.register_module()
class SRDenseNet(BaseModule):
    """SRDenseNet, super-resolution by dense skip connections.

    Paper: Tong, Li, Liu, Gao, "Image Super-Resolution Using Dense Skip
    Connections", ICCV 2017. Section 3 describes the network, figure 2 its
    three variants.

    conv 3x3 + ReLU -> dense blocks -> bottleneck 1x1 -> deconvolutions, each
    with ReLU -> conv 3x3.

    The modules inside hold the weights, which may be computed with in another
    order or grouping: hooks on them may not be called, so what counts
    operations by hooks counts too few.

    Args:
        in_channels (int): Channels of the input: 1 for luma, 3 for RGB.
            Defaults to 1.
        out_channels (int): Channels of the output. Defaults to 1.
        upscale_factor (int): 2, 3, 4 or 8. Defaults to 4.
        mid_channels (int): Maps of the first convolution, the paper's
            low-level features. Defaults to 128.
        num_blocks (int): Dense blocks. Defaults to 8.
        num_layers (int): Convolutions in each of them. Defaults to 8.
        growth_rate (int): Maps that each of these adds. Defaults to 16.
        bottleneck_channels (int): Maps that the deconvolutions work on.
            Defaults to 256.
        bottleneck_act (bool): Whether a ReLU follows the bottleneck. Defaults
            to False.
        deconv_kernel (int): 2 (kernel = stride) or 3, see
            :class:`DeconvUpsampler`. Defaults to 2.
        feature_level (str): What skip connections there are.
            ``'all'`` (SRDenseNet_All): a block reads the first convolution's
            and all earlier blocks' maps, oldest first, and the bottleneck all
            of them. ``'hl'`` (SRDenseNet_HL): blocks are chained, the
            bottleneck reads the first convolution's and the last block's maps.
            ``'h'`` (SRDenseNet_H): chained, the bottleneck reads the last
            block's maps. Defaults to ``'all'``.
        dense_block (dict): Config of the blocks. What it leaves out of
            ``type``, ``in_channels``, ``num_layers`` and ``growth_rate`` is filled in.
            Another registered module must yield as many maps as its attribute
            ``out_channels`` says, or ``num_layers * growth_rate`` where it has
            none. Defaults to ``dict(type='DenseBlock')``.
        upsampler (dict): Config of the upsampler. What it leaves out of
            ``type``, ``in_channels``, ``out_channels``, ``upscale_factor`` (or
            ``scale_factor``) and ``deconv_kernel`` is filled in where the
            module's constructor asks for it. Defaults to
            ``dict(type='DeconvUpsampler')``.
        with_cp (bool): Gradient checkpointing: blocks and upsampling are
            computed again in the backward pass instead of being kept, for
            large training patches. Same gradients. Defaults to False.
        init_cfg (dict, optional): MMEngine's initialization config. Without
            it, weights are He-normal and biases zero.

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
            block = _build(
                {'type': 'DenseBlock', **(dense_block or {})},
                in_channels=sum(widths) if feature_level == 'all' else widths[-1],
                num_layers=num_layers,
                growth_rate=growth_rate)
            self.blocks.append(block)
            widths.append(getattr(block, 'out_channels', num_layers * growth_rate))
        self._widths = widths
        bottleneck_reads = {'all': sum(widths), 'hl': widths[0] + widths[-1], 'h': widths[-1]}
        self.bottleneck = nn.Conv2d(bottleneck_reads[feature_level], bottleneck_channels, 1)
        self.upsampler = _build(
            {'type': 'DeconvUpsampler', **(upsampler or {})},
            in_channels=bottleneck_channels,
            out_channels=bottleneck_channels,
            upscale_factor=upscale_factor,
            scale_factor=upscale_factor,
            deconv_kernel=deconv_kernel)
        width = getattr(self.upsampler, 'out_channels', bottleneck_channels)
        self.conv_last = nn.Conv2d(width, out_channels, 3, padding=1)
        self._init_he_normal()

    def _init_he_normal(self) -> None:
        """He-normal weights, zero biases: a deep stack of ReLUs starts dead without."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
            elif isinstance(module, nn.ConvTranspose2d):
                # An output of a deconvolution sees kernel / stride inputs on
                # each axis, which PyTorch's own fan-in does not know.
                taps = module.weight[0, 0].numel() / (module.stride[0] * module.stride[1])
                nn.init.normal_(module.weight, std=(2 / (module.in_channels * taps))**0.5)
            else:
                continue
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Upscale.

        Args:
            x (Tensor): Shape (N, in_channels, H, W), float, luma (of studio
                range) or RGB divided by 255.

        Returns:
            Tensor: Shape (N, out_channels, s * H, s * W), s being
            ``upscale_factor``; the same scale of values, not clipped.
        """
        x = self._bottleneck_maps(self._low_level_maps(x))
        if self.bottleneck_act:
            x = F.relu(x)
        return self._checkpointed(self._reconstruct, x)

    def _low_level_maps(self, x: Tensor) -> Tensor:
        # oneDNN and cuDNN run the network faster on channels_last, which they take from its input.
        # Of an image with one channel, contiguous() cannot tell the layout and leaves it.
        # An exported graph's engine chooses by itself, and in training the first kernel's
        # gradient would lie in another order than the kernel, of which DDP warns.
        if not (torch.is_grad_enabled() or torch.jit.is_tracing()):
            x = x.to(memory_format=torch.channels_last)
        if not is_autocast(x) or self.conv_first.weight.dtype is not torch.float32:
            maps = F.relu(self.conv_first(x))
            dtype = maps.dtype
        else:
            kind = x.device.type
            # In bf16 the input itself would be off by up to half a level.
            with torch.autocast(kind, enabled=False):
                maps = F.relu(self.conv_first(x.float()))
            dtype = torch.get_autocast_dtype(kind)
        return maps.to(dtype, memory_format=torch.channels_last)

    def _bottleneck_maps(self, low_level: Tensor) -> Tensor:
        if self.feature_level != 'all':
            x = low_level
            for block in self.blocks:
                x = self._checkpointed(block, x)
            if self.feature_level == 'hl':
                x = torch.cat([low_level, x], dim=1)
            return self.bottleneck(x)
        # A subclass may compute something else from its maps.
        if all(type(block) is DenseBlock for block in self.blocks):
            return self._bottleneck_maps_by_contributions(low_level)
        sources = [low_level]
        for block in self.blocks:
            sources.append(self._checkpointed(block, torch.cat(sources, dim=1)))
        return self.bottleneck(torch.cat(sources, dim=1))

    def _bottleneck_maps_by_contributions(self, low_level: Tensor) -> Tensor:
        """Feature level 'all' without its concatenations.

        Convolution is linear in its input channels, so the first convolution
        of a block, and the bottleneck, are sums of one contribution from each
        source. Each source is convolved once, when it appears, with the slices
        of all later kernels that read it. The sums are the same; every map is
        read once instead of up to nine times, and no wide input is copied.
        """
        readers = [block.layers[0] for block in self.blocks]
        growth = [reader.out_channels for reader in readers]
        bounds = [0]
        for width in self._widths:
            bounds.append(bounds[-1] + width)

        source, pending, total = low_level, None, None
        for i in range(len(self._widths)):
            columns = slice(bounds[i], bounds[i + 1])
            total = self._add_to_bottleneck(total, source, columns)
            if i == len(self.blocks):
                return total
            part = F.conv2d(
                source, torch.cat([reader.weight[:, columns] for reader in readers[i:]]),
                torch.cat([reader.bias for reader in readers]) if i == 0 else None, padding=1)
            pending = part if i == 0 else part.add_(pending[:, growth[i - 1]:])
            source = self._checkpointed(self.blocks[i].grow, pending[:, :growth[i]])

    def _add_to_bottleneck(self, total: Tensor | None, source: Tensor,
                           columns: slice) -> Tensor:
        """Add a source's contribution to the bottleneck's maps; ``total`` is None at first."""
        weight, bias = self.bottleneck.weight[:, columns], self.bottleneck.bias
        if torch.is_grad_enabled() or torch.jit.is_tracing():
            part = F.conv2d(source, weight, bias if total is None else None)
            return part if total is None else total + part
        # The same as a matrix product that adds to its output in place: no
        # pass over the maps for the sum.
        n, width, h, w = source.shape
        pixels = source.permute(0, 2, 3, 1).reshape(-1, width)
        weight = weight.flatten(1).t().to(pixels.dtype)
        if total is None:
            added = torch.addmm(bias.to(pixels.dtype), pixels, weight)
        else:
            added = total.permute(0, 2, 3, 1).reshape(-1, weight.size(1)).addmm_(pixels, weight)
        return added.view(n, h, w, -1).permute(0, 3, 1, 2)

    def _reconstruct(self, x: Tensor) -> Tensor:
        if can_be_pixelwise(self.upsampler):
            return pixelwise_tail(x, self.upsampler.deconvs, self.conv_last)
        x = self.upsampler(x)
        if torch.is_grad_enabled() or torch.jit.is_tracing():
            return self.conv_last(x)
        # For the digits of its sums, which a convolution in 16 bits would round.
        return pixelwise_tail(x, (), self.conv_last)

    def _checkpointed(self, function, x: Tensor) -> Tensor:
        if self.with_cp and x.requires_grad:
            return checkpoint(function, x, use_reentrant=False)
        return function(x)


def has_stock_parts(network: nn.Module) -> bool:
    """Whether a network is an SRDenseNet of our own blocks and upsampler.

    Its modules then tell all about it. Subclasses may compute something else.
    """
    return (type(network) is SRDenseNet and type(network.upsampler) is DeconvUpsampler
            and all(type(block) is DenseBlock for block in network.blocks))


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f'{name}={value!r} is not supported: give a positive integer')


def _build(cfg: dict, **offered) -> nn.Module:
    """Build a part from its config, filling in what its constructor asks for.

    What is registered already is taken as it is: the registry's own look-up
    would import all of MMagic's models first.
    """
    cfg = dict(cfg)
    kind = cfg.pop('type')
    cls = kind
    if isinstance(kind, str):
        cls = MODELS.module_dict.get(kind) or MODELS.get(kind)
    if cls is None:
        raise ValueError(f'{kind!r} is not a registered module')
    own, passed_on = _arguments(cls)
    try:
        accepted = own | passed_on
        return cls(**{**{k: v for k, v in offered.items() if k in accepted}, **cfg})
    except TypeError as error:
        # It gives some of what it passes on itself.
        if 'multiple values for' not in str(error) or not passed_on:
            raise
        return cls(**{**{k: v for k, v in offered.items() if k in own}, **cfg})


def _arguments(cls: type) -> tuple[set[str], set[str]]:
    """The names that a constructor takes, and those that it passes on with ``**kwargs``."""
    if not inspect.isclass(cls):  # a function can be registered too
        return set(inspect.signature(cls).parameters), set()
    taken = []
    for one in inspect.getmro(cls):
        if '__init__' not in vars(one):
            continue
        parameters = inspect.signature(one.__init__).parameters
        taken.append(set(parameters))
        if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
            break
    return taken[0], set().union(*taken[1:])
