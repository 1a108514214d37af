# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Gives a network back the maps that died."""
import numpy as np
from mmagic.registry import HOOKS
from mmengine.dist import broadcast, is_main_process
from mmengine.hooks import EMAHook, Hook

from srdensenet_mm.checkpoints.fitting import unwrapped
from srdensenet_mm.engine.runner.parts import wrappers_of
from srdensenet_mm.engine.runner.sample_seeds import seeded
from srdensenet_mm.models import DenseBlock, LIIFSRDenseNet, SRDenseNet
from srdensenet_mm.models.dead_maps import followed, revive, which_dead

from .dead_maps_hook import inputs_of, random_numbers_kept, trained_networks

# A map that is zero everywhere on so many patches yields nothing that would be missed.
_PATCHES = 64


@HOOKS.register_module()
class ReviveHook(Hook):
    """Makes dead maps new, at the start of a training and during it.

    A map that is zero everywhere gets no gradient, so it stays dead however
    long the training is. This hook gives such maps He-normal kernels. What
    reads them begins at zero, so the output stays the same. See
    :func:`~srdensenet_mm.models.dead_maps.revive`. Sokar et al. (2023) keep the
    networks of reinforcement learning alive in this way.

    All SRDenseNets of the model that are trained and have ``DenseBlock`` inside
    are revived. ``EMAHook``'s averages get the new weights too, and the
    optimizer forgets its momentum for them. With several processes, all get the
    first one's new weights.

    Args:
        interval (int, optional): Iterations from one revival to the next. None
            revives before the first iteration alone: the weights that a
            training begins with. Defaults to None.

    Example:
        >>> load_from = 'checkpoints/srdensenet_x4-2708f7eb.pth'
        >>> custom_hooks = [dict(type='ReviveHook', interval=100)]
    """

    # Before hooks that copy the weights.
    priority = 'VERY_HIGH'

    def __init__(self, interval: int | None = None):
        self.interval = interval

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Revive, where it is time."""
        if runner.iter % self.interval if self.interval else runner.iter:
            return
        model = unwrapped(runner.model)
        optimizers = [wrapper.optimizer for wrapper in wrappers_of(runner.optim_wrapper).values()]
        for name, network in trained_networks(model).items():
            if all(type(block) is DenseBlock for block in network.blocks):
                averages = [dict(hook.ema_model.module.named_modules())[name]
                            for hook in runner.hooks if isinstance(hook, EMAHook)]
                with followed(network, averages, optimizers):
                    if is_main_process():
                        self._revive(runner, name, network, model, data_batch)
                    for weight in network.parameters():
                        broadcast(weight.data)

    def _revive(self, runner, name: str, network: SRDenseNet | LIIFSRDenseNet, model,
                data_batch) -> None:
        with random_numbers_kept():
            inputs = inputs_of(runner, model, _patches(runner, data_batch), _PATCHES)
            dead = which_dead(network, inputs)
            revive(network, list(dead.values()))
        runner.logger.info(f'Revived maps of {name or "the network"}: ' + ', '.join(
            f'{part} {int(maps.sum())} of {len(maps)}' for part, maps in dead.items()))


def _patches(runner, data_batch):
    """As many patches as tell which maps are dead; those of one batch are too few."""
    if data_batch is None:
        return None
    dataset = runner.train_loop.dataloader.dataset
    with seeded(runner.iter):
        return dict(inputs=[dataset[int(index)]['inputs'] for index in np.random.randint(
            len(dataset), size=_PATCHES)])
