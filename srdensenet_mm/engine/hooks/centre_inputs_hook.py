# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Lets kernels learn as if what they read were centred."""
from mmagic.registry import HOOKS
from mmengine.dist import broadcast, is_main_process
from mmengine.hooks import Hook

from srdensenet_mm.checkpoints.fitting import unwrapped
from srdensenet_mm.engine.optimizers.muon import MuonWithAdam
from srdensenet_mm.engine.runner.parts import wrappers_of
from srdensenet_mm.models.dead_maps import behind_conv_first, input_means

from .dead_maps_hook import inputs_of, random_numbers_kept, trained_networks

# As many patches as a small batch has.
_PATCHES = 8


@HOOKS.register_module()
class CentreInputsHook(Hook):
    """Measures the means that ``MuonWithAdam`` centres the inputs of kernels by.

    It keeps the maps of dense blocks alive, see
    :meth:`~srdensenet_mm.engine.optimizers.muon.MuonWithAdam.centre`. The
    means are those of training batches. They are part of the optimizer's state.

    Networks other than SRDenseNet and LIIFSRDenseNet are left alone, and so are
    other optimizers.

    Args:
        interval (int): Iterations from one measurement to the next. One takes
            less than half of a step. Defaults to 10.
    """

    priority = 'HIGH'

    def __init__(self, interval: int = 10):
        self.interval = interval

    def before_train(self, runner) -> None:
        """Measure for loops that draw their own patches: a CUDA graph holds what a step does."""
        self._centre(runner, None, measure=runner.iter == 0 and hasattr(
            runner.train_loop, 'patches'))

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Measure, where it is time."""
        if runner.iter % self.interval == 0:
            self._centre(runner, data_batch, measure=True)

    def _centre(self, runner, data_batch, measure: bool) -> None:
        muons = {weight: wrapper.optimizer
                 for wrapper in wrappers_of(runner.optim_wrapper).values()
                 if isinstance(wrapper.optimizer, MuonWithAdam)
                 for group in wrapper.optimizer.param_groups for weight in group['params']}
        model = unwrapped(runner.model)
        for network in trained_networks(model).values():
            if network.bottleneck.weight in muons:
                means = {}
                if measure and is_main_process():
                    with random_numbers_kept():
                        means = input_means(
                            network, inputs_of(runner, model, data_batch, _PATCHES))
                for conv in behind_conv_first(network):
                    mean = None
                    if measure:
                        mean = means.get(conv, conv.weight.new_empty(conv.in_channels))
                        broadcast(mean)
                    muons[conv.weight].centre(conv.weight, conv.bias, mean)
