# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Making a file for others from a training's checkpoint."""
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import UserError
from .reading import load_network_with_meta
from .writing import ready_file, write_file

# The entries that meta may hold.
_PUBLIC = frozenset({
    'network', 'colour', 'normalization', 'iter', 'epoch', 'experiment_name', 'time', 'seed',
    'averaged_weights', 'converted_from', 'mixed_with', 'mmengine_version', 'mmagic_version',
    'dataset_meta'})


@dataclass
class Publication:
    """The result of a publication.

    Attributes:
        path (Path): The file.
        num_bytes (int): Its size.
        num_parameters (int): Of the network.
        meta (dict): The file's meta.
    """
    path: Path
    num_bytes: int
    num_parameters: int
    meta: dict[str, Any]


def publish_checkpoint(source: str | Path,
                       out_folder: str | Path,
                       name: str | None = None,
                       suffix: str = '.pth',
                       base: str | Path | None = None,
                       base_share: float = 0.) -> Publication:
    """Write a checkpoint's network, and nothing else, into a file named by its hash.

    Averaged weights are preferred. Optimizer, schedulers, message hub, the
    config's text and everything else that may name the trainer's folders are
    left out. The same source gives the same bytes.

    With ``base``, the published weights lie between two networks. After a
    fine-tuning that began from ``base``, they keep more of what ``base`` could
    do: less of it is lost than of the new is left away.

    Args:
        source (str | Path): Any checkpoint that
            :func:`srdensenet_mm.checkpoints.load_network` reads.
        out_folder (str | Path): Made where it is missing.
        name (str, optional): The beginning of the file's name. Defaults to the
            recipe's name if the source has it, else to the source's name.
        suffix (str): ``'.pth'`` or ``'.safetensors'``. Defaults to ``'.pth'``.
        base (str | Path, optional): The checkpoint that the training began
            from, of the same architecture.
        base_share (float): The share of ``base`` in each weight, 0 to 1. The
            source has the rest.

    Returns:
        Publication: The file is ``NAME-HASH.pth``. HASH is the first 8 digits
        of its SHA-256, as OpenMMLab's tools check it.

    Raises:
        UserError: The source cannot be read, the name has a folder in it, or
            the folder cannot be written to. Or ``base`` cannot be read or is
            another network, or its share is out of range.
    """
    if name is not None and Path(name).name != name:
        raise UserError(f'the name {name!r} has a folder in it: name that as the output folder')
    network, meta = load_network_with_meta(source)
    if base is not None:
        _mix(network, meta, source, base, base_share)
    meta = {key: value for key, value in meta.items() if key in _PUBLIC}
    name = name or _recipe(meta) or re.sub(r'-[0-9a-f]{8}$', '', Path(source).stem)
    data = ready_file(network.state_dict(), meta, suffix)
    path = Path(out_folder) / f'{name}-{hashlib.sha256(data).hexdigest()[:8]}{suffix}'
    write_file(path, data)
    return Publication(path, len(data), sum(p.numel() for p in network.parameters()), meta)


def _mix(network: nn.Module, meta: dict[str, Any], source: str | Path, base: str | Path,
         share: float) -> None:
    if not 0 <= share <= 1:
        raise UserError(f'the share of {base} is {share}: give 0 to 1')
    other, its_meta = load_network_with_meta(base)
    for key in ('network', 'colour', 'normalization'):
        if meta.get(key) != its_meta.get(key):
            raise UserError(f'{base}: is another network than {source}: {key} is '
                            f'{its_meta.get(key)}, not {meta.get(key)}')
    theirs = other.state_dict()
    network.load_state_dict({key: torch.lerp(value, theirs[key], share)
                             for key, value in network.state_dict().items()})
    meta['mixed_with'] = {Path(base).name: share}


def _recipe(meta: dict[str, Any]) -> str | None:
    """The recipe's name. MMEngine keeps it with a time stamp."""
    name = re.sub(r'_\d{8}_\d{6}$', '', str(meta.get('experiment_name', '')))
    return name if re.fullmatch(r'\w[\w.+-]*', name) else None
