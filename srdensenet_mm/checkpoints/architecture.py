# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Finding a network's constructor arguments from weights, a config or a network, and back."""
import inspect
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..models import SRDenseNet
from ..models.base import MODELS
from ..models.srdensenet import has_stock_parts
from .layouts import OURS, Layout, Mismatch

CHANNELS = {'y': 1, 'rgb': 3}

# Arguments for training and initialization are no part of the architecture.
_NOT_ARCHITECTURE = ('init_cfg', 'with_cp')


def read_architecture(weights: Mapping[str, Tensor], layout: Layout = OURS) -> dict[str, Any]:
    """Find the hyper-parameters of an SRDenseNet from the shapes of its weights.

    Args:
        weights (Mapping[str, Tensor]): The weights, with this project's names.
        layout (Layout): Their origin. It gives the names in messages, and what
            shapes do not show: ``bottleneck_act``, and whether one
            deconvolution 3x3 is x3 or an overlapping x2. See :class:`Layout`.

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
        # Indices behind a gap are reported later, as missing or surplus.
        return next(n for n in range(len(found) + 1) if n not in found)

    mid_channels, in_channels = shape('conv_first')[:2]
    num_blocks = count(r'blocks\.(\d+)\.')
    growth_rate = shape('blocks.0.layers.0')[0]
    num_layers = count(r'blocks\.0\.layers\.(\d+)\.')
    width = num_layers * growth_rate

    # The second block shows whether blocks read the first convolution too.
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
        ValueError: The network has another class or other parts, so its
            architecture is unknown.
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

    A file may come from anyone. Its config may name registered modules only:
    the registry would import and call any object with a dotted name. It may not
    name files or addresses either, because some modules would fetch them.

    Args:
        config (Mapping): ``type`` and arguments of the constructor.

    Returns:
        dict: The same with the defaults of missing arguments, without those
        that only concern training.

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
    if isinstance(config.get('encoder'), Mapping):
        config['encoder'] = complete_config(config['encoder'])
    return config


def build_network(config: Mapping[str, Any],
                  weights: Mapping[str, Tensor],
                  layout: Layout = OURS) -> nn.Module:
    """Build a network and fill in its weights.

    Args:
        config (Mapping): From :func:`complete_config`.
        weights (Mapping[str, Tensor]): Its weights, with this project's names.
        layout (Layout): The layout whose names messages use.

    Returns:
        nn.Module: In eval mode, float32, on the CPU, with the attribute
        ``upscale_factor``.

    Raises:
        Mismatch: The config cannot be built, or does not fit the weights.
    """
    counts = [_encoder_of(config).get(name, 0) for name in ('num_blocks', 'num_layers')]
    # A hostile file may ask for so many modules that building takes hours. A layer has two
    # weights.
    if all(isinstance(n, int) for n in counts) and counts[0] * counts[1] > 100 * len(weights):
        raise Mismatch(f'its meta says num_blocks={counts[0]} and num_layers={counts[1]}, '
                     f'but it holds {len(weights)} weights')
    arguments = dict(config)
    cls = _registered(arguments.pop('type'))
    # Initialization draws random numbers. The caller's generator must not change.
    with torch.random.fork_rng(devices=[]):
        try:
            # Shapes first, without memory for weights that do not fit the file.
            with torch.device('meta'), _NoInitialization():
                compare_weights(cls(**arguments).state_dict(), weights, layout)
            network = cls(**arguments)
        except Mismatch:
            raise
        except Exception as error:  # constructors raise exceptions of all kinds
            raise Mismatch(
                f'the network that its meta describes cannot be built: {error}') from error
    network.load_state_dict(weights)
    if not hasattr(network, 'upscale_factor') and 'upscale_factor' in config:
        network.upscale_factor = config['upscale_factor']
    # The process's default type may be another.
    return network.float().eval()


class _NoInitialization(TorchFunctionMode):
    """Leaves out initial values, which mean nothing on the device ``'meta'``.

    torch computes shapes for these functions in Python, for which it imports
    its compiler and sympy. That takes a second.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, '__module__', None) == 'torch.nn.init':
            return args[0] if args else kwargs['tensor']
        return func(*args, **(kwargs or {}))


def colour_of(config: Mapping[str, Any], given: str | None) -> str:
    """The colour of a network's channels: ``'y'`` or ``'rgb'``.

    Args:
        config (Mapping): The network's config.
        given (str, optional): The colour in the file. Without it, one channel
            is luma and three are RGB.

    Raises:
        Mismatch: The colour is neither, or does not fit the channels.
    """
    channels = _encoder_of(config).get('in_channels', 3)
    for colour, wanted in CHANNELS.items():
        if wanted == channels and given in (None, colour):
            return colour
    if given not in (None, *CHANNELS):
        raise Mismatch(f"its meta says colour={given!r}: expected 'y' or 'rgb'")
    raise Mismatch(f'a network with {channels} input channels is not one for '
                 f'{given or "luma (1) or RGB (3)"}')


def _encoder_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of the part that reads the image: LIIF's encoder, or the network itself."""
    encoder = config.get('encoder')
    return encoder if isinstance(encoder, Mapping) else config


def compare_weights(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor],
                    layout: Layout = OURS) -> None:
    """Compare the keys and shapes of a file with a network's.

    Raises:
        Mismatch: Names the first that does not fit, by the layout's name.
    """
    for key, value in weights.items():
        name = _name(key, layout)
        if key not in expected:
            raise Mismatch(f'the key {name!r} is surplus: the network has no such weight')
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

    That look-up imports all of MMagic's models even for a known name. For an
    unknown one, it imports any Python module of this name.
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
