# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Finding the weights in a file's content: trainers wrap them in many ways."""
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from .layouts import LAYOUTS

# Wrappers that put their name in front of the keys: data parallelism, compile.
_WRAPPERS = re.compile(r'^((module|_orig_mod)\.)+')
# Those that put it before the keys of a part: compile, checkpointing and sharding.
_PART_WRAPPERS = re.compile(
    r'(?<![^.])(_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.')
# Prefixes of the network in MMagic's models, the averaged one first.
_GENERATORS = ('generator_ema.', 'generator.')
# Trainers' words for an average of the weights.
_AVERAGES = {'ema', 'swa', 'avg', 'average', 'averaged', 'averages', 'shadow', 'polyak'}
# Names of other mappings with tensors, as large as the weights.
_OTHERS = re.compile('optim|sched|message_hub|grad|loops|scaler|rng')
# More than any trainer nests.
_MAX_DEPTH = 5


@dataclass(frozen=True)
class Weights:
    """A network's weights, as found in a file.

    Attributes:
        values (dict): The bare network's state dict, with the names of the
            file's layout.
        where (str): The names that lead to them, ``''`` for a bare state dict.
        averaged (bool): Whether they are an average over the training.
        are_beside_others (bool): Whether the file also has other weights of the
            same network.
    """
    values: dict[str, Any]
    where: str = ''
    averaged: bool = False
    are_beside_others: bool = False


def find_weights(content: Mapping[str, Any]) -> Weights:
    """Find the weights of a network in a file, under any names.

    An SRDenseNet of a known layout is found by its keys, below any names and
    behind any common prefix. Averaged weights are preferred to others. For
    another network, the state dict or the mapping with most tensors is used.

    Args:
        content (Mapping[str, Any]): The file's content.
    """
    averages_beside = content.get('ema_state_dict')
    # MMEngine's EMAHook exchanges the two when it saves: state_dict then holds the averages,
    # ema_state_dict the trained weights.
    exchanged = isinstance(averages_beside, Mapping) and 'steps' in averages_beside
    if exchanged:
        content = {key: value for key, value in content.items() if key != 'ema_state_dict'}
    mappings = list(_mappings(content))
    found = [Weights({key[len(prefix):]: value for key, value in mapping.items()
                      if str(key).startswith(prefix)},
                     ': '.join(filter(None, ('.'.join(path), prefix))),
                     _is_average(path, prefix, mapping))
             for path, mapping in mappings for prefix in _prefixes(mapping)]
    # The sort is stable: among equals, the outermost and first comes first.
    found.sort(key=lambda weights: not weights.averaged)
    best = found[0] if found else _of_another_network(content, mappings)
    return Weights(best.values, best.where, best.averaged or exchanged,
                   exchanged or len(found) > 1)


def strip_wrappers(weights: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict without the prefixes that wrappers have added to its keys."""
    return {_WRAPPERS.sub('', key): value for key, value in weights.items()}


def _mappings(content: Mapping[Any, Any], path: tuple[str, ...] = ()) -> Iterator[tuple]:
    """All mappings that hold tensors, the outer ones first, and the names that lead to them."""
    if any(map(_is_weight, content, content.values())):
        yield path, {_PART_WRAPPERS.sub('', name) if isinstance(name, str) else name: value
                     for name, value in content.items()}
    if len(path) < _MAX_DEPTH:
        for name, value in content.items():
            # A pickle may contain itself. The depth limit ends the recursion.
            if isinstance(name, str) and isinstance(value, Mapping) and (
                    not _OTHERS.search(name.lower())):
                yield from _mappings(value, (*path, name))


def _is_weight(name: Any, value: Any) -> bool:
    # Arrays are beside the weights, too: records of a training.
    return isinstance(value, Tensor) or isinstance(value, np.ndarray) and (
        str(name).endswith(('weight', 'bias')))


def holds_weights(content: Any) -> bool:
    """Whether there is any state dict in a file's content."""
    return isinstance(content, Mapping) and any(True for _ in _mappings(content))


def _prefixes(weights: Mapping[str, Any]) -> dict[str, None]:
    """The key prefix of each SRDenseNet in a state dict."""
    prefixes = {}
    for layout in LAYOUTS:
        first = f'{layout.conv_first}.weight'
        for key in weights:
            prefix = key[:-len(first)] if isinstance(key, str) and key.endswith(first) else None
            if prefix is not None and (not prefix or prefix.endswith('.')) and all(
                    f'{prefix}{name}.weight' in weights
                    for name in (layout.bottleneck, layout.conv_last)):
                prefixes[prefix] = None
    return prefixes


def _is_average(path: tuple[str, ...], prefix: str, weights: Mapping[str, Any]) -> bool:
    # "params_ema", "modelEMA" and "EMACallback" alike; torch's AveragedModel counts its steps.
    words = re.findall('[A-Z]+(?![a-z])|[A-Z]?[a-z]+', ' '.join((*path, prefix)))
    return 'n_averaged' in weights or not _AVERAGES.isdisjoint(map(str.lower, words))


def _of_another_network(content: Mapping[str, Any], mappings: list[tuple]) -> Weights:
    if 'state_dict' in content:
        return _bare(content['state_dict'], 'state_dict')
    if not mappings or not mappings[0][0]:
        return _bare(content)
    path, weights = min(mappings, key=lambda item: (
        not _is_average(item[0], '', item[1]),
        -sum(isinstance(value, Tensor) for value in item[1].values())))
    bare = _bare(weights, '.'.join(path))
    return Weights(bare.values, bare.where, bare.averaged or _is_average(path, '', weights),
                   len(mappings) > 1)


def _bare(weights: Any, where: str = '') -> Weights:
    if not isinstance(weights, Mapping) or not all(isinstance(key, str) for key in weights):
        return Weights(weights, where)
    weights, averaged = bare_weights(weights)
    return Weights(weights, where, averaged)


def bare_weights(weights: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The network's own keys in a model of MMagic, and whether they are averages."""
    weights = strip_wrappers(weights)
    for prefix in _GENERATORS:
        inner = {key[len(prefix):]: value for key, value in weights.items()
                 if key.startswith(prefix)}
        if inner:
            # The model's other weights (discriminator, losses, the preprocessor's buffers)
            # do not belong to the network.
            return strip_wrappers(inner), prefix == 'generator_ema.'
    return weights, False
