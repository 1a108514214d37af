# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Watches whether all maps of a network are in use."""
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmagic.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import Tensor, nn

from srdensenet_mm.checkpoints.fitting import unwrapped
from srdensenet_mm.models import LIIFSRDenseNet, SRDenseNet
from srdensenet_mm.models.dead_maps import which_dead

# Patches are enough: a map that lives is not zero everywhere on several of them.
_PATCHES = 8


@HOOKS.register_module()
class DeadMapsHook(Hook):
    """Shows each block's share of dead maps, and warns when a block dies.

    A map is dead where it is zero everywhere on a training batch. A deep stack
    of ReLUs can make its maps zero in the first hundreds of steps, because the
    loss falls fastest that way. Dead maps get no gradient, so they stay dead.
    The network is then shallower, and nothing else in the log shows it.

    The shares of ``conv_first`` and of each block go to the log, to
    ``scalars.json`` and to TensorBoard (``dead_maps/...``, 0..1). All
    SRDenseNets of the model that are trained are watched. With several
    processes, the first one watches its own batch. Training itself stays the
    same to the bit: random numbers, modes and the batch do not change.

    Args:
        interval (int): Iterations between two measurements. The first follows
            the first iteration. One takes less than half of a step.
            Defaults to 100.
        warn_at (float): Warn when the share of dead maps in a block, or in
            ``conv_first``, reaches this. Defaults to 0.8.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 100, warn_at: float = 0.8):
        self.interval = interval
        self.warn_at = warn_at
        self._looked = False
        self._dead: set[str] = set()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Measure the shares of dead maps, where it is time."""
        due = self.every_n_train_iters(runner, self.interval) or not self._looked
        if not due or not is_main_process():
            return
        self._looked = True
        model = unwrapped(runner.model)
        networks = trained_networks(model)
        if not networks:
            return
        with random_numbers_kept():
            inputs = inputs_of(runner, model, data_batch, _PATCHES)
            for name, network in networks.items():
                self._show(runner, name if len(networks) > 1 else '', dead_maps(network, inputs))

    def _show(self, runner, network: str, shares: dict[str, float]) -> None:
        prefix = f'{network}.' if network else ''
        shares = {f'{prefix}{part}': share for part, share in shares.items()}
        runner.logger.info('Dead maps: ' + ', '.join(
            f'{part} {share:.0%}' for part, share in shares.items()))
        runner.visualizer.add_scalars(
            {f'dead_maps/{part}': share for part, share in shares.items()}, step=runner.iter + 1)
        dead = {part for part, share in shares.items() if share >= self.warn_at}
        died = [part for part in shares if part in dead - self._dead]
        if died:
            runner.logger.warning(
                f'{", ".join(died)} {"is" if len(died) == 1 else "are"} dead: at least '
                f'{min(shares[part] for part in died):.0%} of the maps are zero everywhere on a '
                f'batch at iteration {runner.iter + 1}, and stay so. '
                + ('So were the weights that the training began with; the other parts learn'
                   if runner.iter == 0 else
                   'Begin again with a longer warm-up or a lower learning rate, and biases at a '
                   'tenth of it (optim_wrapper.paramwise_cfg.bias_lr_mult=0.1)'))
        self._dead = self._dead - shares.keys() | dead


def trained_networks(model: nn.Module) -> dict[str, SRDenseNet | LIIFSRDenseNet]:
    """The SRDenseNets of a model that are trained, also those inside LIIF, by their names."""
    return {name: module for name, module in model.named_modules()
            if isinstance(module, (SRDenseNet, LIIFSRDenseNet)) and any(
                weight.requires_grad for weight in module.parameters())}


def dead_maps(network: SRDenseNet | LIIFSRDenseNet, inputs: Tensor) -> dict[str, float]:
    """The share of maps that are zero everywhere on a batch.

    Args:
        network (SRDenseNet | LIIFSRDenseNet): Does not change.
        inputs (Tensor): Shape (N, 3, H, W), or (N, C, H, W) as the network reads
            it. Float, 0..1. A network with one channel gets luma.

    Returns:
        Dict[str, float]: ``conv_first`` (behind its ReLU), ``blocks.0``,
        ``blocks.1``, ...: 0..1.
    """
    return {part: float(dead.float().mean()) for part, dead in which_dead(network, inputs).items()}


@contextmanager
def random_numbers_kept() -> Iterator[None]:
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        yield


def inputs_of(runner, model: nn.Module, data_batch, patches: int) -> Tensor:
    """The networks' input from a batch, or from new patches where the loop draws its own."""
    if data_batch is None:
        images = list(runner.train_loop.patches.draw(patches)[0])
    else:
        images = list(data_batch['inputs'][:patches])
    images = [image for image in images if image.shape == images[0].shape]
    found = model.data_preprocessor(dict(inputs=images), training=False)['inputs']
    return torch.stack(list(found)).float()
