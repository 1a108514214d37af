# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Reading networks from files. No code from a file ever runs."""
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

import numpy as np
import torch
from torch import Tensor, nn

from ..config.type_name import type_name
from ..errors import UserError, naming
from ..optional_packages import import_optional
from .architecture import build_network, colour_of, complete_config, read_architecture
from .config_text import read_config_text
from .layouts import LAYOUTS, OURS, Mismatch, recognise
from .normalization import normalization_for_meta
from .other_files import is_safetensors, what_it_is
from .spandrel_network import SpandrelNetwork, UnknownNetwork
from .unwrapping import find_weights, holds_weights

_WEIGHT_TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# Of Python, NumPy and torch, what nothing but data and settings are made of.
_DATA_MODULES = ('__main__', 'decimal', 'fractions', 'uuid')
_DATA_PARTS = ('numpy.random.', 'numpy.ma.core.', 'torch.nn.modules.', 'torch.optim.')
# Left out of meta: the config's text names the trainer's own folders.
_PRIVATE_META = ('cfg', 'config', 'env_info')
_WAY_OUT = ('get the file once more, or save the weights alone by '
            'torch.save(network.state_dict(), FILE)')


@dataclass
class Checkpoint:
    """What a checkpoint file says about a network.

    Attributes:
        weights (Dict[str, Tensor]): The bare network's state dict (the averaged
            weights where there are any), with the names of the file's layout.
        meta (dict): Plain Python types. Has ``network`` (config) and ``colour``
            only where the file has them.
    """
    weights: dict[str, Tensor]
    meta: dict[str, Any] = field(default_factory=dict)


class _Unread(dict):
    """Stands in for an object of an unknown class. Nothing of it is read or run."""

    def __init__(self, *args, **kwargs):
        super().__init__()

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __setstate__(self, state):
        pass

    __hash__ = object.__hash__


def load_network(path: str | Path,
                 map_location: str | torch.device = 'cpu') -> nn.Module:
    """Load a network from a checkpoint file.

    Args:
        path (str | Path): A Runner's checkpoint, a published or converted one,
            or a state dict, bare or wrapped as by other trainers (``params``,
            Lightning's prefixes, ...). ``.pth`` or ``.safetensors``. Averaged
            weights are preferred to others in the file, with a log line.
        map_location (str | torch.device): The network's device. Defaults to
            ``'cpu'``.

    Returns:
        nn.Module: The bare network, in eval mode, float32. It maps Y or RGB of
        shape (N, C, H, W), divided by 255, to (N, C, s*H, s*W). Its attribute
        ``upscale_factor`` is s. A network that was trained on other values
        expects those: see ``normalization`` in :func:`load_network_with_meta`.

    Raises:
        UserError: The file cannot be read, is not a checkpoint, holds anything
            but data, or its weights are not finite or do not make up the
            network that it describes.

    A file without meta counts as an SRDenseNet with the stock parts. Its
    hyper-parameters are found from the shapes. Shapes do not show two things:
    it is assumed that no activation follows the bottleneck, and that a single
    deconvolution 3x3 is x3, not x2 with ``deconv_kernel=3`` (with a warning).
    Where the keys are those of another network, the result is a
    :class:`SpandrelNetwork`.
    """
    return load_network_with_meta(path, map_location)[0]


def load_network_with_meta(
        path: str | Path,
        map_location: str | torch.device = 'cpu') -> tuple[nn.Module, dict[str, Any]]:
    """Load a network and the meta of its file.

    Args:
        path (str | Path): As for :func:`load_network`.
        map_location (str | torch.device): As for :func:`load_network`.

    Returns:
        tuple: The network and its meta, a dict of plain Python types. Always
        there: ``network`` (config: ``type`` and all constructor arguments) and
        ``colour`` (``'y'`` or ``'rgb'``). Where the file has them: ``iter``,
        ``epoch`` and others. ``averaged_weights=True`` for averages.
        ``normalization`` for a network that was not trained on values divided
        by 255: the fields of :class:`Normalization`, or ``unusable`` with the
        reason where they are unknown.

    Raises:
        UserError: As for :func:`load_network`.
    """
    checkpoint = read_checkpoint(path)
    with naming(path):
        network, meta = build_checkpoint(checkpoint)
    return network.to(map_location), meta


def build_checkpoint(checkpoint: Checkpoint) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a checkpoint, and its meta, as :func:`load_network_with_meta` returns them.

    Raises:
        Mismatch: The weights do not make up the network that the file describes.
    """
    meta = dict(checkpoint.meta)
    config = meta.get('network')
    if isinstance(config, Mapping) and type_name(config.get('type')) == 'SpandrelNetwork':
        # Its path is that of the trainer's file. The weights alone are enough.
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
                      'but x2 with deconv_kernel=3 has the same shapes', stacklevel=5)
    return config


def holds_community_network(path: str | Path) -> bool:
    """Whether a checkpoint file holds another project's network that spandrel reads."""
    try:
        return load_network_with_meta(path)[1]['network']['type'] == 'SpandrelNetwork'
    except UserError:
        return False


def _community_network(weights: Mapping[str, Tensor], mismatch: Mismatch) -> SpandrelNetwork:
    """Build another project's network from weights that fit no SRDenseNet.

    Raises:
        Mismatch: ``mismatch``, where spandrel does not know the network either.
    """
    if any(all(layout.to_ours(key) for key in weights) for layout in LAYOUTS):
        raise mismatch
    try:
        import_optional('spandrel')
    except UserError as error:
        raise Mismatch(f"{mismatch}; spandrel reads other projects' networks, but {error}"
                       ) from error
    try:
        return SpandrelNetwork.from_weights(weights)
    except UnknownNetwork:
        raise mismatch from None


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint file of any layout.

    Args:
        path (str | Path): ``.pth`` or ``.safetensors``; the content decides
            which it is.

    Raises:
        UserError: The file cannot be read, is not a checkpoint, or holds
            anything but data.
    """
    with naming(path):
        data = _read_bytes(path)
        return _checked(checkpoint_of(_parse(data), str(path)), len(data))


def read_content(path: str | Path) -> Any:
    """The whole content of a checkpoint file, as ``torch.load`` returns it, on the CPU.

    Raises:
        UserError: As for :func:`read_checkpoint`.
    """
    with naming(path):
        return _parse(_read_bytes(path))


def _read_bytes(path: str | Path) -> bytes:
    try:
        data = _fetch(str(path))
    except KeyError as error:
        raise UserError('is on no kind of store that MMEngine knows: give a file, or an '
                        'address that begins with http://, https:// or s3://') from error
    except ImportError as error:
        raise UserError(f'needs a package for its store ({error})') from error
    if not data:
        raise UserError('is empty, not a checkpoint')
    return data


def _parse(data: bytes) -> Any:
    return _parse_safetensors(data) if is_safetensors(data) else _parse_pickle(data)


def _fetch(path: str) -> bytes:
    try:
        from mmengine import fileio
    except ModuleNotFoundError:  # without MMEngine, files on disk are supported
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
                content = torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
            whole = next((name for name in unread if name.startswith('torch.')), None)
            if whole is not None and not holds_weights(content):
                raise _refusal(whole)
            return content
        except Mismatch:
            raise
        except pickle.UnpicklingError as error:
            found = re.search(r'GLOBAL ([^\s]+)', str(error))
            if not found:
                reason = re.search('Unpickler error: (.+)', str(error))
                reason = f' ({reason[1]})' if reason else ''
                raise Mismatch(what_it_is(data) or 'is not a checkpoint, or a damaged one, or '
                               f'holds more than weights{reason}: {_WAY_OUT}') from error
            name = found[1]
            if name in unread or not _may_stay_unread(name):
                raise _refusal(name) from error
            unread[name] = (_Unread, name)
        except Exception as error:  # torch raises many kinds for damaged files
            raise Mismatch(what_it_is(data) or 'is not a checkpoint, or a damaged or truncated '
                           f'one ({type(error).__name__}): {_WAY_OUT}') from error


def _refusal(name: str) -> Mismatch:
    return Mismatch(f'holds {name}, not only weights; it is not read, because loading it could '
                    'run code. Where you trust it, save its weights alone: '
                    'torch.save(network.state_dict(), FILE)')


def _may_stay_unread(name: str) -> bool:
    """Whether a pickle's global is a trainer's own, not a part of Python, NumPy or torch.

    The stand-in is harmless in any case. But a pickle that calls Python's own
    functions may be an attack. Losses and layers are settings; a whole network
    instead of weights is refused later.
    """
    module, dot, _ = name.partition('.')
    if module in _DATA_MODULES or name.startswith(_DATA_PARTS):
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
        raise Mismatch(f'is a damaged or truncated safetensors file ({error}): get it once '
                       'more') from error
    # The file orders them by type, not as the network does.
    return dict(state_dict={key: weights[key] for key in sorted(weights)}, meta=meta)


def checkpoint_of(content: Any, name: str | None = None) -> Checkpoint:
    """Find the weights and the meta of a network in a file's content.

    Args:
        content (Any): As ``torch.load`` returns it.
        name (str, optional): The file, for the log line about averaged weights.
            Without it, nothing is logged.

    Raises:
        Mismatch: It holds no state dict.
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
        _log_once(f'{name}: takes the averaged weights ({found.where}), not those beside them')
    meta = content.get('meta') if found.where else None
    if not isinstance(meta, Mapping):
        meta = {}
    plain = _plain({key: value for key, value in meta.items() if key not in _PRIVATE_META})
    if 'network' not in plain:
        plain.update(_plain(_of_training(read_config_text(meta.get('cfg')))))
    if found.averaged:
        plain['averaged_weights'] = True
    # Programs that convert weights leave NumPy's arrays.
    return Checkpoint({key: torch.from_numpy(value.astype(value.dtype.newbyteorder('=')))
                       if isinstance(value, np.ndarray) and value.dtype.kind == 'f' else value
                       for key, value in weights.items()}, plain)


@lru_cache
def _log_once(line: str) -> None:
    # Once per process, for all readers of the file.
    try:
        from mmengine.logging import print_log
    except ModuleNotFoundError:  # the network alone is used
        print(line)
    else:
        print_log(line, 'current')


def _of_training(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The network's config and its unusual normalization, from a Runner's config."""
    model = cfg.get('model')
    generator = model.get('generator') if isinstance(model, Mapping) else None
    if not isinstance(generator, Mapping):
        return {}
    found = dict(network=generator)
    normalization = normalization_for_meta(cfg)
    if normalization is not None:
        found['normalization'] = normalization
    return found


def _plain(meta: Mapping[Any, Any]) -> dict[str, Any]:
    """The entries that consist of plain Python types only."""
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
