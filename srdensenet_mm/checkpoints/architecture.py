# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""From weights, a config or a live network to the constructor's arguments, and back."""
import inspect
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..models import SRDenseNet
from ..models.base import MODELS
from ..models.srdensenet import has_stock_parts
from .layouts import OURS, Layout, Mismatch

CHANNELS = {'y': 1, 'rgb': 3}

# How a network is trained or initialised is not what it is.
_NOT_ARCHITECTURE = ('init_cfg', 'with_cp')


def read_architecture(weights: Mapping[str, Tensor], layout: Layout = OURS) -> dict[str, Any]:
    """Read the hyper-parameters of an SRDenseNet off the shapes of its weights.

    Args:
        weights (Mapping[str, Tensor]): The weights, under our names.
        layout (Layout): Where they come from: how to name them in a message,
            and what their shapes do not tell (``bottleneck_act``, and for one
            deconvolution 3x3 whether it is x3 or an overlapping x2; see
            :class:`Layout`).

    Returns:
        dict: ``type='SRDenseNet'`` and the constructor's arguments.

    Raises:
        Mismatch: A weight is missing or has an impossible shape.
    """

    def shape(module: str) -> tuple[int, ...]:
        key = f'{module}.weight'
        if key not in weights:
            raise Mismatch(f'lacks {layout.from_ours(key)}')
        found = tuple(weights[key].shape)
        if len(found) != 4 or 0 in found:
            raise Mismatch(f'{layout.from_ours(key)} has shape {found}, not that of a convolution')
        return found

    def count(pattern: str) -> int:
        found = {int(m[1]) for m in map(re.compile(pattern).match, weights) if m}
        # What lies beyond a gap is found missing or surplus later.
        return next(n for n in range(len(found) + 1) if n not in found)

    mid_channels, in_channels = shape('conv_first')[:2]
    num_blocks = count(r'blocks\.(\d+)\.')
    growth_rate = shape('blocks.0.layers.0')[0]
    num_layers = count(r'blocks\.0\.layers\.(\d+)\.')
    width = num_layers * growth_rate

    # The second block tells whether it reads the first convolution too.
    chained = num_blocks > 1 and shape('blocks.1.layers.0')[1] == width
    bottleneck_channels, read = shape('bottleneck')[:2]
    if num_blocks == 1:
        feature_level = 'h' if read == width else 'all'
    elif chained:
        feature_level = 'h' if read == width else 'hl'
    else:
        feature_level = 'all'

    num_deconvs = count(r'upsampler\.deconvs\.(\d+)\.')
    kernel = shape('upsampler.deconvs.0')[2]
    if (num_deconvs, kernel) not in layout.upscaling:
        first = layout.from_ours('upsampler.deconvs.0.weight')
        raise Mismatch(f'has {num_deconvs} deconvolution(s) with kernel {kernel} ({first}), '
                     f'which is none of the upscalings of {layout.title}')
    upscale_factor, deconv_kernel = layout.upscaling[num_deconvs, kernel]
    return dict(
        type='SRDenseNet',
        in_channels=in_channels,
        out_channels=shape('conv_last')[0],
        upscale_factor=upscale_factor,
        mid_channels=mid_channels,
        num_blocks=num_blocks,
        num_layers=num_layers,
        growth_rate=growth_rate,
        bottleneck_channels=bottleneck_channels,
        bottleneck_act=layout.bottleneck_act,
        deconv_kernel=deconv_kernel,
        feature_level=feature_level)


def network_config(network: SRDenseNet) -> dict[str, Any]:
    """The config that builds a network like this one.

    Args:
        network (SRDenseNet): A network with the stock dense blocks and
            upsampler.

    Returns:
        dict: ``type='SRDenseNet'`` and the constructor's arguments.

    Raises:
        ValueError: The network is of another class or has foreign parts, which
            cannot be read off it.
    """
    if not has_stock_parts(network):
        raise ValueError('the architecture of a network with foreign parts cannot be read off it: '
                         'give its config')
    deconv = network.upsampler.deconvs[0]
    return dict(
        read_architecture(network.state_dict()),
        upscale_factor=network.upscale_factor,
        bottleneck_act=network.bottleneck_act,
        deconv_kernel=3 if deconv.kernel_size != deconv.stride else 2,
        feature_level=network.feature_level)


def complete_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A network's config from a file, checked and with all defaults written out.

    A file is a stranger's. Its config may name registered modules alone: the
    registry would import, and call, any object that a dotted name leads to.
    It may not name files or addresses either, which some modules would fetch.

    Args:
        config (Mapping): ``type`` and arguments of the constructor.

    Returns:
        dict: The same, with the defaults of the arguments that it leaves out,
        without those that only concern training.

    Raises:
        Mismatch: The config names something else, or lacks ``type``.
    """
    config = _checked(config, 'network')
    if not isinstance(config, Mapping) or 'type' not in config:
        raise Mismatch("its meta's network has no type")
    parameters = inspect.signature(_registered(config['type'])).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    for name in _NOT_ARCHITECTURE:
        defaults.pop(name, None)
    config = {**defaults, **config}
    stock = dict(dense_block='DenseBlock', upsampler='DeconvUpsampler')
    for name, kind in stock.items():
        if name in config and config[name] in (None, dict(type=kind)):
            del config[name]
    return config


def build_network(config: Mapping[str, Any],
                  weights: Mapping[str, Tensor],
                  layout: Layout = OURS) -> nn.Module:
    """Build a network and fill in its weights.

    Args:
        config (Mapping): As :func:`complete_config` returns it.
        weights (Mapping[str, Tensor]): Its weights, by our names.
        layout (Layout): How to name weights in a message.

    Returns:
        nn.Module: In eval mode, float32, on the CPU. Its attribute
        ``upscale_factor`` says how much it upscales.

    Raises:
        Mismatch: The config cannot be built, or does not fit the weights.
    """
    counts = [config.get(name, 0) for name in ('num_blocks', 'num_layers')]
    # A hostile file may ask for as many modules as would keep the machine busy
    # for hours; two weights a layer is what there are.
    if all(isinstance(n, int) for n in counts) and counts[0] * counts[1] > 100 * len(weights):
        raise Mismatch(f'its meta says num_blocks={counts[0]} and num_layers={counts[1]}, '
                     f'but it holds {len(weights)} weights')
    arguments = dict(config)
    cls = _registered(arguments.pop('type'))
    # Initialisation draws random numbers; a caller's are left as they are.
    with torch.random.fork_rng(devices=[]):
        try:
            # Shapes first: no memory is spent on what does not fit the file.
            with torch.device('meta'):
                _compare(cls(**arguments).state_dict(), weights, layout)
            network = cls(**arguments)
        except Mismatch:
            raise
        except Exception as error:  # whatever a constructor thinks of its arguments
            raise Mismatch(
                f'the network that its meta describes cannot be built: {error}') from error
    network.load_state_dict(weights)
    if not hasattr(network, 'upscale_factor') and 'upscale_factor' in config:
        network.upscale_factor = config['upscale_factor']
    # float32 whatever the process's default is.
    return network.float().eval()


def colour_of(config: Mapping[str, Any], said: str | None) -> str:
    """``'y'`` or ``'rgb'``: what a network's channels are.

    Args:
        config (Mapping): The network's config.
        said (str, optional): What the file says. Without it, one channel is
            luma and three are RGB.

    Raises:
        Mismatch: It is neither, or contradicts the channels.
    """
    channels = config.get('in_channels', 3)
    for colour, wanted in CHANNELS.items():
        if wanted == channels and said in (None, colour):
            return colour
    if said not in (None, *CHANNELS):
        raise Mismatch(f"its meta says colour={said!r}: expected 'y' or 'rgb'")
    raise Mismatch(f'a network with {channels} input channels is not one for '
                 f'{said or "luma (1) or RGB (3)"}')


def _compare(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], layout: Layout) -> None:
    for key, value in weights.items():
        name = _name(key, layout)
        if key not in expected:
            raise Mismatch(f'the key {name!r} is surplus: the network that the file describes '
                         'has no such weight')
        if expected[key].shape != value.shape:
            raise Mismatch(f'{name} has shape {tuple(value.shape)}, '
                         f'expected {tuple(expected[key].shape)}')
    for key in expected:
        if key not in weights:
            raise Mismatch(f'lacks {_name(key, layout)}')


def _name(key: str, layout: Layout) -> str:
    return layout.from_ours(key) if OURS.to_ours(key) else key


def _checked(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) and key.isidentifier() for key in value):
            raise Mismatch(f"its meta's {where} is not a config")
        checked = {key: _checked(item, f'{where}.{key}') for key, item in value.items()
                   if key not in _NOT_ARCHITECTURE}
        if 'type' in checked:
            if not isinstance(checked['type'], str):
                raise Mismatch(f"its meta's {where}.type is {checked['type']!r:.60}, not a name")
            # Lazily imported configs name a class by its module.
            checked['type'] = checked['type'].rpartition('.')[2]
            _registered(checked['type'])
        return checked
    if isinstance(value, (list, tuple)):
        return [_checked(item, where) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    # The type of a class may be dotted, see above.
    pattern = r'[\w.]*' if where.endswith('.type') else r'[\w-]*'
    if isinstance(value, str) and re.fullmatch(pattern, value):
        return value
    raise Mismatch(f"its meta's {where} is {value!r:.60}, which no network's config holds")


def _registered(name: str) -> type[nn.Module]:
    """A module of MMagic's registry, without the registry's own look-up.

    That imports all of MMagic's models even for a name that is known already,
    and for one that is not, whatever Python module goes by this name.
    """
    cls = _look_up(name)
    if cls is None:
        MODELS.import_from_location()
        cls = _look_up(name)
    if cls is None:
        raise Mismatch(f'its meta names {name!r}, which is not a registered module')
    return cls


def _look_up(name: str) -> type[nn.Module] | None:
    registry = MODELS
    while registry is not None:
        if name in registry.module_dict:
            return registry.module_dict[name]
        registry = registry.parent
    return None
