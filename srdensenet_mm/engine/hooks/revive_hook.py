# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Gives a trained network back the maps that died."""
import numpy as np
from mmagic.registry import HOOKS
from mmengine.dist import broadcast, is_main_process
from mmengine.hooks import Hook

from srdensenet_mm.checkpoints.fitting import unwrapped
from srdensenet_mm.models import DenseBlock, SRDenseNet
from srdensenet_mm.models.dead_maps import revive, which_dead

from .dead_maps_hook import inputs_of, random_numbers_kept

# A map that is zero everywhere on so many patches yields nothing that would be missed.
_PATCHES = 64


@HOOKS.register_module()
class ReviveHook(Hook):
    """Makes the dead maps of the weights that a training begins with new.

    A map that is zero everywhere gets no gradient, so it stays dead however
    long the training is. Before the first iteration, this hook gives such maps
    He-normal kernels. What reads them begins at zero, so the output stays the
    same. See :func:`~srdensenet_mm.models.dead_maps.revive`. A resumed
    training is left as it is.

    All SRDenseNets of the model that are trained and have ``DenseBlock`` inside
    are revived. With several processes, all get the first one's new weights.

    Example:
        >>> load_from = 'checkpoints/srdensenet_x4-8c43b9a8.pth'
        >>> custom_hooks = [dict(type='ReviveHook')]
    """

    # Before hooks that copy the weights.
    priority = 'VERY_HIGH'

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Revive, before the first iteration."""
        if runner.iter > 0:
            return
        model = unwrapped(runner.model)
        networks = {name: module for name, module in model.named_modules()
                    if isinstance(module, SRDenseNet)
                    and all(type(block) is DenseBlock for block in module.blocks)
                    and any(weight.requires_grad for weight in module.parameters())}
        for name, network in networks.items():
            if is_main_process():
                self._revive(runner, name, network, model, data_batch)
            for weight in network.parameters():
                broadcast(weight.data)

    def _revive(self, runner, name: str, network: SRDenseNet, model, data_batch) -> None:
        with random_numbers_kept():
            inputs = inputs_of(runner, model, _patches(runner, data_batch), _PATCHES)
            dead = which_dead(network, inputs)
            revive(network, list(dead.values()))
            alive = which_dead(network, inputs)
        runner.logger.info(f'{name or "network"}: revived ' + ', '.join(
            f'{part} {int(maps.sum())} of {len(maps)} maps ({int(alive[part].sum())} stay dead)'
            for part, maps in dead.items()))


def _patches(runner, data_batch):
    """As many patches as tell which maps are dead; those of one batch are too few."""
    if data_batch is None:
        return None
    dataset = runner.train_loop.dataloader.dataset
    state = np.random.get_state()
    found = [dataset[int(index)]['inputs'] for index in np.random.RandomState(0).randint(
        len(dataset), size=_PATCHES)]
    np.random.set_state(state)
    return dict(inputs=found)
