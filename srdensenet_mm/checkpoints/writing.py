# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Writing ready files: weights with the config of their network."""
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..files import atomic_write
from ..version import __version__
from .architecture import build_network, colour_of, complete_config, network_config

SUFFIXES = ('.pth', '.safetensors')


def save_network(network: nn.Module,
                 path: str | Path,
                 colour: str | None = None,
                 config: Mapping[str, Any] | None = None,
                 **meta) -> None:
    """Write a network into a ready file.

    Args:
        network (nn.Module): The bare network.
        path (str | Path): ``.pth``, which MMEngine's Runner and MMagic's tools
            read as well, or ``.safetensors``.
        colour (str, optional): ``'y'`` or ``'rgb'``. By default, it follows
            from the number of channels.
        config (Mapping, optional): The network's config. Needed where it has
            other parts than the stock ones.
        **meta: Further entries of meta, plain Python types.

    Raises:
        UserError: The file cannot be written or has another suffix.
        ValueError: The config is needed, or does not describe the network.
    """
    described = complete_config(config or network_config(network))
    if config:  # a config from the network itself needs no check
        build_network(described, network.state_dict())
    meta = dict(meta, network=described, colour=colour_of(described, colour))
    write_file(path, ready_file(network.state_dict(), meta, Path(path).suffix))


def ready_file(weights: Mapping[str, Tensor], meta: Mapping[str, Any], suffix: str) -> bytes:
    """The bytes of a ready file, the same for the same weights and meta.

    Args:
        weights (Mapping[str, Tensor]): The bare network's state dict.
        meta (Mapping): Plain Python types, with ``network`` and ``colour``.
        suffix (str): ``'.pth'``: a dict of ``meta`` and ``state_dict``. Its
            keys begin with ``generator.``, as in MMagic's models.
            ``'.safetensors'``: bare keys. The meta is JSON, under
            ``srdensenet_mm`` in the metadata.

    Raises:
        UserError: Another suffix.
    """
    if suffix not in SUFFIXES:
        raise UserError(f'{suffix or "no suffix"!r}: name the checkpoint '
                        f'with {" or ".join(SUFFIXES)}')
    # Through JSON: only plain types remain. And equal strings become the same objects each
    # time, which pickle's bytes depend on.
    text = json.dumps(dict(meta, srdensenet_mm_version=__version__), sort_keys=True)
    weights = {key: _plain_tensor(value) for key, value in weights.items()}
    if suffix == '.safetensors':
        import safetensors.torch
        return safetensors.torch.save(weights, metadata=dict(srdensenet_mm=text))
    with io.BytesIO() as buffer:
        torch.save(_runner_form(weights, json.loads(text)), buffer)
        return buffer.getvalue()


def write_file(path: str | Path, data: bytes) -> None:
    """Write bytes, whole or not at all.

    Raises:
        UserError: The file cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def _runner_form(weights: Mapping[str, Tensor], meta: dict[str, Any]) -> dict[str, Any]:
    return dict(
        meta=meta, state_dict={f'generator.{key}': value for key, value in weights.items()})


def _plain_tensor(value: Tensor) -> Tensor:
    """A copy on the CPU in row-major order, float32 if it is floating-point."""
    value = value.detach().cpu()
    dtype = torch.float32 if value.is_floating_point() else value.dtype
    return torch.empty(value.shape, dtype=dtype).copy_(value)
