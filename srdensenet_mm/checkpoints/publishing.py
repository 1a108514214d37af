# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Making a file for others from a training's checkpoint."""
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from .reading import load_network_with_meta
from .writing import ready_file, write_file

# The entries that meta may hold.
_PUBLIC = frozenset({
    'network', 'colour', 'normalization', 'iter', 'epoch', 'experiment_name', 'time', 'seed',
    'averaged_weights', 'converted_from', 'mmengine_version', 'mmagic_version', 'dataset_meta'})


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
                       suffix: str = '.pth') -> Publication:
    """Write a checkpoint's network, and nothing else, into a file named by its hash.

    Averaged weights are preferred. Optimizer, schedulers, message hub, the
    config's text and everything else that may name the trainer's folders are
    left out. The same source gives the same bytes.

    Args:
        source (str | Path): Any checkpoint that
            :func:`srdensenet_mm.checkpoints.load_network` reads.
        out_folder (str | Path): Made where it is missing.
        name (str, optional): The beginning of the file's name. Defaults to the
            recipe's name if the source has it, else to the source's name.
        suffix (str): ``'.pth'`` or ``'.safetensors'``. Defaults to ``'.pth'``.

    Returns:
        Publication: The file is ``NAME-HASH.pth``. HASH is the first 8 digits
        of its SHA-256, as OpenMMLab's tools check it.

    Raises:
        UserError: The source cannot be read, the name is no file name, or the
            folder cannot be written to.
    """
    network, meta = load_network_with_meta(source)
    meta = {key: value for key, value in meta.items() if key in _PUBLIC}
    name = name or _recipe(meta) or re.sub(r'-[0-9a-f]{8}$', '', Path(source).stem)
    if not re.fullmatch(r'\w[\w.+-]*', name):
        raise UserError(f'{name!r}: is not a file name, give letters, digits, "_", "-", "." only')
    data = ready_file(network.state_dict(), meta, suffix)
    path = Path(out_folder) / f'{name}-{hashlib.sha256(data).hexdigest()[:8]}{suffix}'
    write_file(path, data)
    return Publication(path, len(data), sum(p.numel() for p in network.parameters()), meta)


def _recipe(meta: dict[str, Any]) -> str | None:
    """The recipe's name. MMEngine keeps it with a time stamp."""
    name = re.sub(r'_\d{8}_\d{6}$', '', str(meta.get('experiment_name', '')))
    return name if re.fullmatch(r'\w[\w.+-]*', name) else None
