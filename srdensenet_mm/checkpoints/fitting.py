# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Whether a checkpoint fits a network, said in one line where it does not."""
from collections.abc import Mapping

from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from srdensenet_mm.config.type_name import type_name
from srdensenet_mm.errors import UserError

from .architecture import complete_config, network_config
from .layouts import Mismatch
from .reading import read_checkpoint
from .spandrel_network import SpandrelNetwork


def load_for_test(model: nn.Module, path: str) -> None:
    """Fill a model's network from any checkpoint of ours.

    Args:
        model (nn.Module): A model with a network ``generator``, as MMagic's
            editing models are, or the network itself.
        path (str): A Runner's checkpoint, a published or converted one,
            ``.pth`` or ``.safetensors``. Of one written with EMA, the averages
            are taken.

    Raises:
        UserError: The file cannot be read, holds more than data, or does not
            fit the network; the message names the first key, shape or setting.
    """
    checkpoint = read_checkpoint(path)
    for network in networks_of(model):
        weights = checkpoint.weights
        if isinstance(network, SpandrelNetwork):
            try:
                weights = network.by_its_names(weights)
            except Mismatch as mismatch:
                raise UserError(f'{path}: {mismatch}') from mismatch
        check_fit(network.state_dict(), weights, path)
        check_settings(network, checkpoint.meta.get('network'), path)
        network.load_state_dict(weights)


def check_fit(expected: dict[str, Tensor], found: dict[str, Tensor], path: str) -> None:
    """Compare a checkpoint's keys and shapes with a network's.

    Raises:
        UserError: Names the first that does not fit.
    """
    for key, value in expected.items():
        if key not in found:
            raise UserError(f'{path}: does not fit the config: the network has {key}, the '
                            f'checkpoint has not{foreign_hint(found)}')
        if value.shape != found[key].shape:
            raise UserError(f'{path}: does not fit the config: {key} is {tuple(found[key].shape)} '
                            f'in the checkpoint and {tuple(value.shape)} in the network')
    for key in found:
        if key not in expected:
            raise UserError(f'{path}: does not fit the config: the checkpoint has {key}, the '
                            'network has not (another upscale_factor or depth?)')


def check_settings(network: nn.Module, said: dict | None, path: str) -> None:
    """Compare what a checkpoint says of its network with one whose weights fit.

    Shapes do not tell all: not the bottleneck's activation, nor x3 from an
    overlapping x2.

    Args:
        network (nn.Module): The config's network. Looked at where it is an
            SRDenseNet with the stock parts.
        said (dict, optional): The network's config from the file.
        path (str): The file, for the message.

    Raises:
        UserError: Names the first setting that differs, or the file's is no
            network's config.
    """
    if not isinstance(said, Mapping) or type_name(said.get('type')) != 'SRDenseNet':
        return
    try:
        ours = network_config(network)
    except ValueError:
        return
    try:
        theirs = complete_config(said)
    except Mismatch as mismatch:
        raise UserError(f'{path}: {mismatch}') from mismatch
    for name, value in ours.items():
        if name in theirs and theirs[name] != value:
            raise UserError(
                f'{path}: does not fit the config: its network was made with {name}='
                f'{theirs[name]!r}, the config has {value!r}; add --cfg-options '
                f'model.generator.{name}={theirs[name]}')


def foreign_hint(found: dict[str, Tensor]) -> str:
    """What to add to a message where keys, a network's or a model's, may be of another layout."""
    # Blocks alone are told by their names: other networks have a conv1 too.
    if any(key.removeprefix('generator.').startswith(('dcb', 'dense_blocks.')) for key in found):
        return "; convert another implementation's first: tools/convert_checkpoint.py"
    return ' (another upscale_factor or depth?)'


def unwrapped(model: nn.Module) -> nn.Module:
    """A model without what trains it on several processes."""
    return model.module if is_model_wrapper(model) else model


def networks_of(model: nn.Module) -> list[nn.Module]:
    """A model's network, and its average where it keeps one; the model itself without either."""
    model = unwrapped(model)
    networks = [getattr(model, name) for name in ('generator', 'generator_ema')
                if isinstance(getattr(model, name, None), nn.Module)]
    return [network.module if hasattr(network, 'module') else network
            for network in networks or [model]]
