# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import torch
from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keeps the weights in the channels_last layout.

    SRDenseNet computes on channels_last maps by itself; with contiguous
    weights, cuDNN converts each kernel at every call. The values stay the
    same, and checkpoints load into either layout.
    """

    def before_run(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.to(memory_format=torch.channels_last)
