# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What trains: mixed precision, hooks, resuming, many processes."""
from .amp_optim_wrapper import AutocastOptimWrapper
from .channels_last_hook import ChannelsLastHook

__all__ = ['AutocastOptimWrapper', 'ChannelsLastHook']
