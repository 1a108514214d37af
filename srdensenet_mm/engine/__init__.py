# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What trains: mixed precision, hooks, resuming, many processes."""
from .amp_optim_wrapper import AutocastOptimWrapper
from .graphed_loop import GraphedTrainLoop
from .loading import CheckpointKeysHook
from .muon import MuonWithAdam
from .resumable_loop import ResumableIterTrainLoop
from .resumable_sampler import ResumableSampler
from .safe_checkpoint_hook import SafeCheckpointHook
from .save_on_signal_hook import SaveOnSignalHook
from .stop_on_invalid_loss_hook import InvalidLossError, StopOnInvalidLossHook

__all__ = [
    'AutocastOptimWrapper', 'CheckpointKeysHook', 'GraphedTrainLoop', 'InvalidLossError',
    'MuonWithAdam', 'ResumableIterTrainLoop', 'ResumableSampler', 'SafeCheckpointHook',
    'SaveOnSignalHook', 'StopOnInvalidLossHook'
]
