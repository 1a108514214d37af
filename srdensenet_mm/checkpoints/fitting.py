# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Checks whether a checkpoint fits a network."""
from collections.abc import Mapping

from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from srdensenet_mm.config.type_name import type_name
from srdensenet_mm.errors import UserError, naming

from .architecture import compare_weights, complete_config, network_config
from .layouts import Mismatch
from .reading import read_checkpoint
from .spandrel_network import SpandrelNetwork


def load_for_test(model: nn.Module, path: str) -> None:
    """Load any checkpoint of this project into a model's network.

    Args:
        model (nn.Module): A model with a network ``generator``, as MMagic's
            editing models are, or the network itself.
        path (str): A Runner's checkpoint, a published or converted one,
            ``.pth`` or ``.safetensors``. Averages of the weights are preferred.

    Raises:
        UserError: The file cannot be read, holds more than data, or does not
            fit the network. The message names the first key, shape or setting.
    """
    checkpoint = read_checkpoint(path)
    for network in networks_of(model):
        weights = checkpoint.weights
        if isinstance(network, SpandrelNetwork):
            with naming(path):
                weights = network.by_its_names(weights)
        check_fit(network.state_dict(), weights, path)
        check_settings(network, checkpoint.meta.get('network'), path)
        network.load_state_dict(weights)


def check_fit(expected: dict[str, Tensor], found: dict[str, Tensor], path: str) -> None:
    """Compare a checkpoint's keys and shapes with a network's.

    Raises:
        UserError: Names the first that does not fit.
    """
    try:
        compare_weights(expected, found)
    except Mismatch as mismatch:
        raise UserError(f'{path}: does not fit the config: {mismatch}{foreign_hint(found)}'
                        ) from mismatch


def check_settings(network: nn.Module, saved: dict | None, path: str) -> None:
    """Compare a checkpoint's settings with those of a network that its weights fit.

    Shapes do not show all settings: not the bottleneck's activation, and not
    whether one deconvolution is x3 or an overlapping x2.

    Args:
        network (nn.Module): The config's network. Only checked where it is an
            SRDenseNet with the stock parts.
        saved (dict, optional): The network's config from the file.
        path (str): The file, for the message.

    Raises:
        UserError: Names the first setting that differs. Or the file holds no
            valid config of a network.
    """
    if not isinstance(saved, Mapping) or type_name(saved.get('type')) != 'SRDenseNet':
        return
    try:
        ours = network_config(network)
    except ValueError:
        return
    with naming(path):
        theirs = complete_config(saved)
    for name, value in ours.items():
        if name in theirs and theirs[name] != value:
            raise UserError(
                f'{path}: does not fit the config: its network was made with {name}='
                f'{theirs[name]!r}, the config has {value!r}; add --cfg-options '
                f'model.generator.{name}={theirs[name]}')


def foreign_hint(found: dict[str, Tensor]) -> str:
    """The end of a message about keys that do not fit: perhaps they have another layout."""
    # Only the names of blocks show it: other networks have a conv1 too.
    if any(key.removeprefix('generator.').startswith(('dcb', 'dense_blocks.')) for key in found):
        return "; convert another implementation's first: tools/convert_checkpoint.py"
    return ' (another upscale_factor or depth?)'


def unwrapped(model: nn.Module) -> nn.Module:
    """A model without its wrapper for several processes."""
    return model.module if is_model_wrapper(model) else model


def networks_of(model: nn.Module) -> list[nn.Module]:
    """A model's network, and its average if it has one; without either, the model itself."""
    model = unwrapped(model)
    networks = [getattr(model, name) for name in ('generator', 'generator_ema')
                if isinstance(getattr(model, name, None), nn.Module)]
    return [network.module if hasattr(network, 'module') else network
            for network in networks or [model]]
