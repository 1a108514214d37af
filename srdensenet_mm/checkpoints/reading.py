# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The one way from a file to a network. No code from the file ever runs."""
import io
import json
import pickle
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config.type_name import type_name
from ..errors import UserError
from .architecture import build_network, colour_of, complete_config, read_architecture
from .config_text import read_config_text
from .layouts import LAYOUTS, OURS, Mismatch, recognise
from .normalization import normalization_for_meta
from .other_files import is_safetensors, what_it_is
from .spandrel_network import SpandrelNetwork, UnknownNetwork
from .unwrapping import find_weights

_WEIGHT_TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# Under which key files keep the state dict beside other things, the averaged one first. The first
# is MMEngine's.
_HOLDERS = ('state_dict', 'params_ema', 'params-ema', 'params', 'model_state_dict', 'model', 'net')
# Left out of meta: the config's text names the trainer's own folders.
_PRIVATE_META = ('cfg', 'config', 'env_info')


@dataclass
class Checkpoint:
    """What a checkpoint file says about a network.

    Attributes:
        weights (Dict[str, Tensor]): The bare network's state dict (the averaged
            weights where there are any), by whatever layout's names.
        meta (dict): Plain Python types. ``network`` (config) and ``colour``
            only where the file says so.
    """
    weights: dict[str, Tensor]
    meta: dict[str, Any] = field(default_factory=dict)


class _Unread(dict):
    """What stands for an object of a class that is not known: nothing of it is read or run."""

    def __init__(self, *args, **kwargs):
        super().__init__()

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __setstate__(self, state):
        pass

    __hash__ = object.__hash__


def load_network(path: str | Path,
                 map_location: str | torch.device = 'cpu') -> nn.Module:
    """A ready network from a checkpoint file.

    Args:
        path (str | Path): A Runner's checkpoint, a published or converted one,
            or a state dict, bare or wrapped as trainers do (``params``,
            Lightning's prefixes, ...); ``.pth`` or ``.safetensors``. Where
            averaged weights lie beside others, they are taken, and it is said.
        map_location (str | torch.device): The device that the network is to be
            on. Defaults to ``'cpu'``.

    Returns:
        nn.Module: The bare network, in eval mode, float32. It maps Y or RGB of
        shape (N, C, H, W), divided by 255, to (N, C, s*H, s*W); s is its
        attribute ``upscale_factor``. One that was trained on other numbers
        maps those: see ``normalization`` in :func:`load_network_with_meta`.

    Raises:
        UserError: The file cannot be read, is not a checkpoint, holds anything
            but data, or its weights are not finite or do not make up the
            network that it describes.

    A file without meta is taken as an SRDenseNet with the stock parts, whose
    hyper-parameters are read off the shapes. Two things do not show there: no
    activation follows the bottleneck, and a single deconvolution 3x3 is x3
    rather than x2 with ``deconv_kernel=3`` (with a warning). Where its keys are
    another network's, it is a :class:`SpandrelNetwork`, see there.
    """
    return load_network_with_meta(path, map_location)[0]


def load_network_with_meta(
        path: str | Path,
        map_location: str | torch.device = 'cpu') -> tuple[nn.Module, dict[str, Any]]:
    """A ready network, and what its file says about it.

    Args:
        path (str | Path): As for :func:`load_network`.
        map_location (str | torch.device): As for :func:`load_network`.

    Returns:
        tuple: The network and its meta, a dict of plain Python types with at
        least ``network`` (config: ``type`` and all constructor arguments) and
        ``colour`` (``'y'`` or ``'rgb'``); ``iter``, ``epoch`` and others where
        the file has them; ``averaged_weights=True`` where they are;
        ``normalization``, the fields of :class:`Normalization`, of a network
        that was trained on other numbers than values divided by 255 (or
        ``unusable`` with the reason, where these are not known).

    Raises:
        UserError: As for :func:`load_network`.
    """
    checkpoint = read_checkpoint(path)
    try:
        network, meta = _build(checkpoint)
    except Mismatch as mismatch:
        raise UserError(f'{path}: {mismatch}') from mismatch
    return network.to(map_location), meta


def _build(checkpoint: Checkpoint) -> tuple[nn.Module, dict[str, Any]]:
    meta = dict(checkpoint.meta)
    config = meta.get('network')
    if isinstance(config, Mapping) and type_name(config.get('type')) == 'SpandrelNetwork':
        # Where its trainer's file was says nothing here; the weights tell all.
        config = None
    network = None
    if config is None:
        try:
            config = _read_off(checkpoint.weights)
        except Mismatch as mismatch:
            network = _community_network(checkpoint.weights, mismatch)
            config = dict(type='SpandrelNetwork', in_channels=network.in_channels)
    if network is None:
        config = complete_config(config)
        network = build_network(config, checkpoint.weights)
    meta.update(network=config, colour=colour_of(config, meta.get('colour')))
    return network, meta


def _read_off(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The config of an SRDenseNet with the stock parts from its weights alone."""
    layout = recognise(weights)
    if layout is not OURS:
        raise Mismatch(f'is in {layout.title}, convert it first: '
                       'python tools/convert_checkpoint.py SOURCE TARGET')
    for key in weights:
        if OURS.to_ours(key) is None:
            raise Mismatch(f'the key {key!r} is none of an SRDenseNet with the stock parts, '
                           "and the file has no meta['network'] that says what the parts are")
    config = read_architecture(weights)
    if config['upscale_factor'] == 3:
        warnings.warn('the file does not say how much its network upscales: taken for x3, '
                      'which x2 with deconv_kernel=3 looks the same as', stacklevel=5)
    return config


def holds_community_network(path: str | Path) -> bool:
    """Whether a checkpoint file is another project's, and one that spandrel reads."""
    try:
        return load_network_with_meta(path)[1]['network']['type'] == 'SpandrelNetwork'
    except UserError:
        return False


def _community_network(weights: Mapping[str, Tensor], mismatch: Mismatch) -> SpandrelNetwork:
    """The network of weights that are none of our SRDenseNets, for the reason given.

    Raises:
        Mismatch: The reason, where it is none that spandrel knows either.
    """
    if any(all(layout.to_ours(key) for key in weights) for layout in LAYOUTS):
        raise mismatch
    try:
        return SpandrelNetwork.from_weights(weights)
    except UnknownNetwork:
        raise mismatch from None
    except UserError as error:
        raise Mismatch(f"{mismatch}; spandrel reads other projects' networks, but {error}"
                       ) from error


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint file, whatever its layout.

    Args:
        path (str | Path): ``.pth`` or ``.safetensors``; the content decides
            which it is.

    Raises:
        UserError: The file cannot be read, is not a checkpoint, or holds
            anything but data.
    """
    data = _read_bytes(path)
    try:
        return _checked(checkpoint_of(_parse(data), str(path)), len(data))
    except Mismatch as mismatch:
        raise UserError(f'{path}: {mismatch}') from mismatch


def read_content(path: str | Path) -> Any:
    """All that a checkpoint file holds, as ``torch.load`` gives it, on the CPU.

    Raises:
        UserError: As for :func:`read_checkpoint`.
    """
    try:
        return _parse(_read_bytes(path))
    except Mismatch as mismatch:
        raise UserError(f'{path}: {mismatch}') from mismatch


def _read_bytes(path: str | Path) -> bytes:
    try:
        data = _fetch(str(path))
    except FileNotFoundError:
        raise UserError(f'{path}: there is no such checkpoint') from None
    except KeyError as error:
        raise UserError(f'{path}: is on no kind of store that MMEngine knows: give a file, or an '
                        'address that begins with http://, https:// or s3://') from error
    except (OSError, ImportError) as error:  # a store's client may be missing
        reason = getattr(error, 'strerror', None) or error
        raise UserError(f'{path}: cannot be read ({reason})') from error
    if not data:
        raise UserError(f'{path}: is empty, not a checkpoint')
    return data


def _parse(data: bytes) -> Any:
    return _parse_safetensors(data) if is_safetensors(data) else _parse_pickle(data)


def _fetch(path: str) -> bytes:
    try:
        from mmengine import fileio
    except ModuleNotFoundError:  # the network alone is used: then files on disk will do
        return Path(path).read_bytes()
    return fileio.get(path)


def _parse_pickle(data: bytes) -> Any:
    # Trainers keep settings and records of their own classes beside the weights.
    unread: dict[str, tuple[type, str]] = {}
    while True:
        try:
            with warnings.catch_warnings(), torch.serialization.safe_globals(
                    list(unread.values())):
                warnings.simplefilter('ignore')  # guesses at why a foreign pickle may fail
                return torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
        except pickle.UnpicklingError as error:
            found = re.search(r'GLOBAL ([^\s]+)', str(error))
            if not found:
                reason = re.search('Unpickler error: (.*)', str(error))
                raise Mismatch(what_it_is(data) or 'is not a checkpoint, or a damaged one, or '
                               f'holds more than weights ({reason and reason[1]})') from error
            name = found[1]
            if name in unread or not _may_stay_unread(name):
                raise Mismatch(f'holds {name}, not only weights; it is not read, because loading '
                               'it could run code. Where you trust it, save its weights alone: '
                               'torch.save(network.state_dict(), FILE)') from error
            unread[name] = (_Unread, name)
        except Exception as error:  # torch raises many kinds for damaged files
            raise Mismatch(what_it_is(data) or 'is not a checkpoint, or a damaged or truncated '
                           f'one ({type(error).__name__})') from error


def _may_stay_unread(name: str) -> bool:
    """Whether a pickle's global is a trainer's own, not a part of Python, NumPy or torch.

    What stands in for it is harmless in any case. But what calls Python's own
    functions means harm, and a network as a whole is no weights.
    """
    module, dot, _ = name.partition('.')
    if module == '__main__' or name.startswith('numpy.random.'):
        return True
    # torch writes Python's own functions without their module.
    return bool(dot) and module not in {*sys.stdlib_module_names, 'numpy', 'torch', 'torchvision'}


def _parse_safetensors(data: bytes) -> dict[str, Any]:
    import safetensors.torch
    try:
        weights = safetensors.torch.load(data)
        header = json.loads(data[8:8 + int.from_bytes(data[:8], 'little')])
        meta = json.loads(header.get('__metadata__', {}).get('srdensenet_mm', '{}'))
    except Exception as error:
        raise Mismatch(f'is a damaged or truncated safetensors file ({error})') from error
    # Their order in the file is by size of the numbers, not the network's.
    return dict(state_dict={key: weights[key] for key in sorted(weights)}, meta=meta)


def checkpoint_of(content: Any, name: str | None = None) -> Checkpoint:
    """What a file's content says about a network.

    Args:
        content (Any): As ``torch.load`` gives it.
        name (str, optional): The file, for the line that says where averaged
            weights are taken. Without it, nothing is said.

    Raises:
        Mismatch: It holds no weights by their names.
    """
    if not isinstance(content, Mapping):
        raise Mismatch(f'holds a {type(content).__name__}, not a state dict')
    found = find_weights(content)
    weights = found.values
    if not isinstance(weights, Mapping):
        raise Mismatch(f'its {found.where} is a {type(weights).__name__}, not a dict')
    if not all(isinstance(key, str) for key in weights):
        raise Mismatch('its state dict has keys that are not names')
    if found.averaged and found.are_beside_others and name is not None:
        _say(f'{name}: takes the averaged weights ({found.where}), not those beside them')
    meta = content.get('meta') if found.where else None
    if not isinstance(meta, Mapping):
        meta = {}
    plain = _plain({key: value for key, value in meta.items() if key not in _PRIVATE_META})
    if 'network' not in plain:
        plain.update(_plain(_of_training(read_config_text(meta.get('cfg')))))
    if found.averaged:
        plain['averaged_weights'] = True
    return Checkpoint(dict(weights), plain)


@lru_cache
def _say(line: str) -> None:
    # Once for all readers of the file in a process.
    try:
        from mmengine.logging import print_log
    except ModuleNotFoundError:  # the network alone is used
        print(line)
    else:
        print_log(line, 'current')


def _of_training(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What the config of a Runner's checkpoint tells: the network, and odd numbers fed to it."""
    model = cfg.get('model')
    generator = model.get('generator') if isinstance(model, Mapping) else None
    if not isinstance(generator, Mapping):
        return {}
    said = dict(network=generator)
    normalization = normalization_for_meta(cfg)
    if normalization is not None:
        said['normalization'] = normalization
    return said


def _plain(meta: Mapping[Any, Any]) -> dict[str, Any]:
    """The entries that are plain Python types through and through."""
    plain = {}
    for key, value in meta.items():
        try:
            plain[str(key)] = json.loads(json.dumps(value))
        except (TypeError, ValueError, RecursionError):
            continue
    return plain


def _checked(checkpoint: Checkpoint, file_size: int) -> Checkpoint:
    size = 0
    for key, value in checkpoint.weights.items():
        if not isinstance(value, Tensor):
            raise Mismatch(f'{key!r} is a {type(value).__name__}, not a tensor: '
                         'this is no state dict')
        if value.layout is not torch.strided or value.device.type != 'cpu':
            raise Mismatch(f'{key} is not an ordinary tensor')
        if value.dtype not in _WEIGHT_TYPES and key.rpartition('.')[2] in ('weight', 'bias'):
            raise Mismatch(f'{key} is {str(value.dtype).removeprefix("torch.")}: only weights of '
                         'float64, float32, float16 or bfloat16 can be read, not quantized ones')
        size += value.numel() * value.element_size()
    # A small file can describe a huge tensor by repeating one number.
    if size > file_size:
        raise Mismatch('is damaged: its tensors are larger than the file')
    for key, value in checkpoint.weights.items():
        if value.dtype in _WEIGHT_TYPES and not torch.isfinite(value).all():
            raise Mismatch(f'{key} holds NaN or infinite numbers: its training diverged')
    return checkpoint
