# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Training: mixed precision, hooks, resuming, several processes."""
from .hooks.centre_inputs_hook import CentreInputsHook
from .hooks.checkpoint_keys_hook import CheckpointKeysHook
from .hooks.dead_maps_hook import DeadMapsHook
from .hooks.revive_hook import ReviveHook
from .hooks.safe_checkpoint_hook import SafeCheckpointHook
from .hooks.save_on_signal_hook import SaveOnSignalHook
from .hooks.stop_on_invalid_loss_hook import InvalidLossError, StopOnInvalidLossHook
from .hooks.teacher_hook import TeacherHook
from .optimizers.amp_optim_wrapper import AutocastOptimWrapper
from .optimizers.muon import MuonWithAdam
from .runner.graphed_loop import GraphedTrainLoop
from .runner.resumable_loop import ResumableIterTrainLoop
from .runner.resumable_sampler import ResumableSampler

__all__ = [
    'AutocastOptimWrapper', 'CentreInputsHook', 'CheckpointKeysHook', 'DeadMapsHook',
    'GraphedTrainLoop', 'InvalidLossError', 'MuonWithAdam', 'ResumableIterTrainLoop',
    'ResumableSampler', 'ReviveHook', 'SafeCheckpointHook', 'SaveOnSignalHook',
    'StopOnInvalidLossHook', 'TeacherHook'
]
