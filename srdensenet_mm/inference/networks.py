# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The network to upscale with, and the values that it expects."""
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.model import BaseModel
from torch import Tensor, nn

from srdensenet_mm.backends.autocast import DTYPES
from srdensenet_mm.backends.probing import find_scale
from srdensenet_mm.config.type_name import type_name
from srdensenet_mm.errors import UserError, naming
from srdensenet_mm.models.at_points import AtPoints, takes_points
from srdensenet_mm.models.channels import channels_of

# Points that a network of any scale computes at a time where it does not say how many.
_POINTS = 4096
CHANNELS = {'y': 1, 'rgb': 3, 'bgr': 3}


@dataclass(frozen=True)
class Upscaling:
    """A network, and how to make its input from an image.

    Attributes:
        network (nn.Module): (N, C, H, W) -> (N, C, s*H, s*W), in eval mode.
            An :class:`AtPoints` for a network of any scale.
        scale (int, optional): s. None: any scale.
        colour (str): Its channels: ``'y'``, ``'rgb'`` or ``'bgr'``.
        mean (Sequence[float]): Subtracted from values in 0..255. One number,
            or one for each channel.
        std (Sequence[float]): Divides the difference. Like ``mean``.
        size_multiple (int): The network works on sides that are multiples of
            this, LR pixels. Tiles begin at such places.
        inexact_overlap (int, optional): LR pixels that tiles overlap by where
            no overlap is exact. None: such an image is not cut into tiles.
        dtypes (Sequence[str]): The types that it can be computed in.
        title (str): Its name in messages.
    """
    network: nn.Module
    scale: int | None
    colour: str
    mean: Sequence[float] = (0., )
    std: Sequence[float] = (255., )
    size_multiple: int = 1
    inexact_overlap: int | None = None
    dtypes: Sequence[str] = (*DTYPES, 'int8')
    title: str = ''

    @property
    def channels(self) -> int:
        """C."""
        return CHANNELS[self.colour]


def _upscaling(network: nn.Module, colour: str, *numbers: Sequence[float]) -> Upscaling:
    """Read what a network's attributes say, and find its scale."""
    known = {name: getattr(network, name) for name in (
        'size_multiple', 'inexact_overlap', 'dtypes', 'title') if hasattr(network, name)}
    known.setdefault('title', type(network).__name__)
    if takes_points(network):
        network.eval_bsize = network.eval_bsize or _POINTS
        return Upscaling(AtPoints(network), None, colour, *numbers, **known)
    return Upscaling(network, find_scale(network, CHANNELS[colour]), colour, *numbers, **known)


def from_network(network: nn.Module) -> Upscaling:
    """Take a bare network on Y or RGB divided by 255.

    Args:
        network (nn.Module): Is copied, so it does not change.

    Raises:
        UserError: It is a model of MMagic, which prepares images itself. Or it
            has neither one nor three input channels, or does not upscale.
    """
    if isinstance(network, BaseModel):
        raise UserError(f'{type(network).__name__} is a whole model, which normalizes images '
                        'itself: give its network, model.generator')
    # Pruning and the older normalizations make weights at each call, which torch does not copy.
    made = {id(value): value.detach() for module in network.modules()
            for value in vars(module).values() if isinstance(value, Tensor) and not value.is_leaf}
    network = copy.deepcopy(network, made).cpu().float().eval()
    channels = channels_of(network)
    colour = {1: 'y', 3: 'rgb'}.get(channels)
    if colour is None:
        raise UserError(f'{type(network).__name__} has {channels} input channels: '
                        'only luma (1) and RGB (3) can be upscaled')
    return _upscaling(network, colour)


def from_checkpoint(path: str | Path) -> Upscaling:
    """Load a network from a checkpoint that holds its architecture.

    Raises:
        UserError: The file cannot be read.
    """
    from srdensenet_mm.checkpoints import load_network_with_meta
    from srdensenet_mm.checkpoints.model_config import known_normalization
    network, meta = load_network_with_meta(path)
    fed = known_normalization(meta, path)
    colour = meta['colour'] if meta['colour'] == 'y' else fed.channel_order
    return _upscaling(network, colour, fed.mean, fed.std)


def from_config(config: str | Path, path: str | Path) -> Upscaling:
    """Build the generator of an MMagic config and load its weights.

    Args:
        config (str | Path): A config file, or ``mmagic::folder/file.py`` for
            one that MMagic installs.
        path (str | Path): The checkpoint.

    Raises:
        UserError: The config cannot be read, has no generator that upscales
            images, or the checkpoint does not fit it.
    """
    from srdensenet_mm.checkpoints.fitting import load_for_test
    from srdensenet_mm.checkpoints.normalization import LUMA_MODELS, normalization_of
    from srdensenet_mm.config.reading import read_config
    cfg = read_config(str(config))
    model = cfg.get('model') or {}

    import mmagic.models  # noqa: F401 registers the networks
    from mmagic.registry import MODELS
    from mmengine.registry import DefaultScope
    with DefaultScope.overwrite_default_scope('mmagic'), naming(
            config, 'its model.generator cannot be built', Exception):  # of all kinds
        network = MODELS.build(model['generator']).float().eval()
    load_for_test(network, str(path))

    if type_name(model.get('type')) in LUMA_MODELS:
        return _upscaling(network, 'y')
    with naming(config, 'only networks on RGB or BGR can be used', ValueError):
        if model.get('data_preprocessor') is None:
            raise UserError('has no model.data_preprocessor, so it does not say how images are '
                            'normalized: add one with mean and std')
        fed = normalization_of(cfg)
        if fed is None:
            raise UserError('does not say whether its network reads RGB or BGR: add '
                            "output_channel_order='RGB' to model.data_preprocessor")
    return _upscaling(network, fed.channel_order, fed.mean, fed.std)
