# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Checks whether a training can resume from a checkpoint with a config.

Their messages are without the file's name, which the caller knows.
"""
from collections.abc import Sequence

from mmengine.optim import _ParamScheduler
from torch.optim import Optimizer

from srdensenet_mm.errors import UserError


def check_state(checkpoint: dict, with_schedulers: bool) -> None:
    """Check that a checkpoint holds the whole state of a training, not only weights.

    The Runner uses whatever a checkpoint holds. A best checkpoint has no
    optimizer and no learning rate. The Runner would start these again, and go
    on counting iterations.

    Args:
        checkpoint (dict): The file's content.
        with_schedulers (bool): Whether the training has any.

    Raises:
        UserError: Names what is missing.
    """
    needed = ['message_hub', 'optimizer', *['param_schedulers'] * with_schedulers]
    missing = [key for key in needed if key not in checkpoint]
    missing += [f'meta.{key}' for key in ('epoch', 'iter') if key not in checkpoint['meta']]
    if missing:
        raise UserError(
            f'holds weights, not the state of a training (no {", ".join(missing)}): '
            '--resume with one of its iter_*.pth')


def check_optimizer(optimizer: Optimizer, saved: dict) -> None:
    """Compare a checkpoint's optimizer with the config's, which takes over its state.

    New versions of torch add settings to an optimizer. So two optimizers differ
    where each has settings that the other lacks.

    Args:
        optimizer (Optimizer): The config's.
        saved (dict): State of the checkpoint's.

    Raises:
        UserError: They are different ones.
    """
    ours, theirs = (set(groups[0]) for groups in (optimizer.param_groups, saved['param_groups']))
    # Schedulers add 'initial_lr' to a group.
    ours, theirs = (ours - theirs) - {'initial_lr'}, (theirs - ours) - {'initial_lr'}
    if ours and theirs:
        raise UserError(
            f'was saved with another optimizer than {type(optimizer).__name__} (it has '
            f'{", ".join(sorted(theirs))}, not {", ".join(sorted(ours))}): --resume with the '
            'config that saved it')


def schedule_changes(optimizer: Optimizer, saved: dict, schedulers: Sequence[_ParamScheduler],
                     saved_schedulers: Sequence[dict]) -> list[str]:
    """The config's learning rates and schedules that a resumed training does not use.

    The Runner goes on with those of the checkpoint, without a message.

    Args:
        optimizer (Optimizer): The config's.
        saved (dict): State of the checkpoint's.
        schedulers (Sequence[_ParamScheduler]): The config's.
        saved_schedulers (Sequence[dict]): States of the checkpoint's.

    Returns:
        list[str]: The checkpoint's values that differ, and the config's.
    """
    ours, theirs = ([float(group.get('initial_lr', group['lr'])) for group in groups]
                    for groups in (optimizer.param_groups, saved['param_groups']))
    changes = [f'lr={their:g}, not {our:g}'
               for our, their in dict.fromkeys(zip(ours, theirs, strict=False)) if our != their]
    if len(schedulers) != len(saved_schedulers):
        changes.append(f'{len(saved_schedulers)} param_scheduler, not {len(schedulers)}')
    for i, (scheduler, state) in enumerate(zip(schedulers, saved_schedulers, strict=False)):
        changes += _scheduler_changes(f'param_scheduler.{i}', scheduler, state)
    return changes


def _scheduler_changes(name: str, scheduler: _ParamScheduler, theirs: dict) -> list[str]:
    """The differences between the config's scheduler and the checkpoint's state."""
    ours = scheduler.state_dict()
    if ours.keys() - theirs.keys() and theirs.keys() - ours.keys():
        return [f'{name} of another type than {type(scheduler).__name__}']
    # The state also holds its progress and the initial rates.
    settings = {name for name in ours if name[0] != '_'} - {'last_step', 'base_values'}
    # Without an end in the config, it is that of the training. It has no effect after the last
    # milestone.
    if ours.get('milestones') and ours['begin'] + max(ours['milestones']) < min(
            ours['end'], theirs['end']):
        settings.discard('end')
    return [f'{name}.{setting}={theirs[setting]}, not {value}' for setting, value in ours.items()
            if setting in settings and setting in theirs and theirs[setting] != value]


def check_averages(checkpoint: dict, has_ema: bool) -> None:
    """Check that a training with averages of the weights resumes with them.

    MMEngine's ``EMAHook`` saves the averages as the weights, and the trained
    weights beside them. It exchanges the two when it resumes. Without the hook,
    the averages would be trained with the optimizer of the trained weights.

    Args:
        checkpoint (dict): The file's content.
        has_ema (bool): Whether the resumed training has the hook.

    Raises:
        UserError: The hook is missing.
    """
    if 'ema_state_dict' in checkpoint and not has_ema:
        raise UserError(
            'was saved by a training with averages of the weights: --resume with its EMAHook in '
            'custom_hooks')
