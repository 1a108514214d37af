# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The entries of a benchmark: models from configs or checkpoints."""
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from srdensenet_mm.backends.probing import find_scale
from srdensenet_mm.checkpoints.fitting import load_for_test
from srdensenet_mm.checkpoints.model_config import model_config
from srdensenet_mm.checkpoints.reading import holds_community_network
from srdensenet_mm.config.reading import (
    read_config,
    resolve_config,
    split_entry,
    without_perceptual_loss,
)
from srdensenet_mm.config.type_name import type_name
from srdensenet_mm.errors import UserError, naming
from srdensenet_mm.models.at_points import AtPoints, UpscaledBy, takes_points
from srdensenet_mm.models.channels import channels_of

from . import backends
from .results import HIGH_RESOLUTION

BICUBIC = 'bicubic'


@dataclass(frozen=True)
class Spec:
    """One line of the table, before anything is built.

    Attributes:
        name (str): Its name in the table.
        config (str, optional): A config file or ``package::path``. None: the
            checkpoint holds its network's architecture.
        checkpoint (str, optional): Without one, the weights are random.
        backend (str): The backend that runs the network, see :mod:`.backends`.
    """
    name: str
    config: str | None
    checkpoint: str | None = None
    backend: str = backends.TORCH

    @property
    def source(self) -> str:
        """The file to name in a message."""
        return self.config or self.checkpoint


@dataclass
class Entry:
    """A model, ready to run.

    Attributes:
        spec (Spec): What it was built from.
        model (nn.Module): An MMagic editing model in eval mode.
        upscale_factor (int): Found by trying.
        in_channels (int): Channels that its network reads.
        generator (nn.Module): The network in torch, even with another backend.
            Its parameters and multiply-adds are counted.
    """
    spec: Spec
    model: nn.Module
    upscale_factor: int
    in_channels: int
    generator: nn.Module = field(repr=False)

    def upscale(self, rgb: Tensor) -> Tensor:
        """Upscale a batch, colour conversion included.

        Args:
            rgb (Tensor): (N, 3, H, W) on the model's device, float, 0..1.

        Returns:
            Tensor: (N, 3, s*H, s*W).
        """
        with torch.no_grad():
            return self.model(rgb, mode='tensor')


def parse_specs(texts: Sequence[str],
                run_by: Sequence[str] = (backends.TORCH,),
                device: str | torch.device = 'cpu') -> list[Spec]:
    """Read the command line's ``CONFIG[=CHECKPOINT]`` or ``NAME=CHECKPOINT``.

    Args:
        texts (Sequence[str]): One for each model.
        run_by (Sequence[str]): Backends, see :func:`.backends.choices`. Models
            other than SRDenseNets are run by torch in fp32 alone.
        device (str | torch.device): Where they run.

    Returns:
        list[Spec]: A line for each model and backend, with unique names.

    Raises:
        UserError: A config or a checkpoint is missing, or a backend is not
            known or not installed.
    """
    for backend in run_by:
        backends.check(backend, device)
    specs: list[Spec] = []
    for text in texts:
        config, checkpoint = split_entry(text)
        if checkpoint == '':
            raise UserError(f'{text}: no checkpoint after "=", write CONFIG=CHECKPOINT or CONFIG')
        if checkpoint and '://' not in checkpoint and not Path(checkpoint).is_file():
            raise UserError(f'{checkpoint}: there is no such checkpoint')
        if _names_weights(config, checkpoint):
            ours = not holds_community_network(checkpoint)
            name, config = config or Path(checkpoint).stem, None
        else:
            resolve_config(config)
            name = Path(config.rpartition('::')[2]).stem
        if config is not None:
            ours = is_ours(read_config(config))
        for backend in run_by if ours else (backends.TORCH,):
            shown = name if backend == backends.TORCH else f'{name} ({backend})'
            specs.append(Spec(_unique(shown, specs), config, checkpoint or None, backend))
    return specs


def _names_weights(name: str, checkpoint: str | None) -> bool:
    """Whether ``NAME=CHECKPOINT`` gives weights a name of the user's, and no config."""
    return bool(checkpoint) and Path(checkpoint).is_file() and not (
        '::' in name or name.endswith('.py') or Path(name).is_file())


def is_ours(cfg) -> bool:
    """Whether a config's network is an SRDenseNet."""
    return type_name(((cfg.get('model') or {}).get('generator') or {}).get('type')) == 'SRDenseNet'


def _unique(name: str, specs: Sequence[Spec]) -> str:
    taken = {spec.name for spec in specs} | {BICUBIC, HIGH_RESOLUTION}
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f'{name} #{number}', number + 1
    return candidate


def build(spec: Spec, device: str | torch.device = 'cpu') -> Entry:
    """Build a model, load its weights and try it.

    Raises:
        UserError: The config has no model that upscales an RGB image, or the
            checkpoint cannot be read or does not fit.
    """
    from mmagic.registry import MODELS
    if spec.config is None:
        init_default_scope('mmagic')
        config = model_config(spec.checkpoint)
    else:
        cfg = read_config(spec.config)
        init_default_scope(cfg.get('default_scope') or 'mmagic')
        config = without_perceptual_loss(cfg.get('model') or {})
    # Whatever the config's modules raise.
    with naming(spec.source, 'its model with a network "generator" cannot be built', Exception):
        model = MODELS.build(config)
        generator = model.generator
    if spec.checkpoint:
        load_for_test(model, spec.checkpoint)
    model = model.to(device).eval()
    with naming(spec.source):
        factor = find_scale(model, 3, device, mode='tensor')
        if takes_points(generator):
            generator = UpscaledBy(AtPoints(generator), factor)
        if spec.backend != backends.TORCH:
            model.generator = backends.wrap(generator, spec.backend)
    return Entry(spec, model, factor, channels_of(generator), generator)


def common_scale(entries: Sequence[Entry]) -> int:
    """The upscale factor that all share.

    Raises:
        UserError: They do not.
    """
    first = entries[0]
    for other in entries[1:]:
        if other.upscale_factor != first.upscale_factor:
            raise UserError(
                f'{other.spec.source}: upscales x{other.upscale_factor}, {first.spec.source} '
                f'x{first.upscale_factor}; benchmark one scale at a time')
    return first.upscale_factor
