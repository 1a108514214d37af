# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What of a checkpoint and a config do not belong together, said in one line."""
from collections.abc import Sequence

from mmengine.optim import _ParamScheduler
from torch.optim import Optimizer

from srdensenet_mm.errors import UserError


def check_state(checkpoint: dict, with_schedulers: bool, path: str) -> None:
    """Look whether a checkpoint holds more than weights: all that a training goes on from.

    The Runner takes what there is. It would begin anew with the optimizer and
    the learning rate of a best checkpoint, which holds neither, and go on
    counting iterations.

    Args:
        checkpoint (dict): What the file holds.
        with_schedulers (bool): Whether the training has any.
        path (str): The file, for the message.

    Raises:
        UserError: Names what is missing.
    """
    needed = ['message_hub', 'optimizer', *['param_schedulers'] * with_schedulers]
    missing = [key for key in needed if key not in checkpoint]
    missing += [f'meta.{key}' for key in ('epoch', 'iter') if key not in checkpoint['meta']]
    if missing:
        raise UserError(
            f'{path}: holds weights, not the state of a training (no {", ".join(missing)}): '
            '--resume with one of its iter_*.pth, or begin anew from its weights with '
            f'--cfg-options load_from={path}')


def check_optimizer(optimizer: Optimizer, saved: dict, path: str) -> None:
    """Compare a checkpoint's optimizer with the one that is to go on with its state.

    Versions of torch add settings to an optimizer, never both add and take
    away: where each has some that the other lacks, it is another optimizer.

    Args:
        optimizer (Optimizer): The config's.
        saved (dict): State of the checkpoint's.
        path (str): The checkpoint, for the message.

    Raises:
        UserError: They are different ones.
    """
    ours, theirs = (set(groups[0]) for groups in (optimizer.param_groups, saved['param_groups']))
    # What schedulers leave in a group.
    ours, theirs = (ours - theirs) - {'initial_lr'}, (theirs - ours) - {'initial_lr'}
    if ours and theirs:
        raise UserError(
            f'{path}: was saved with another optimizer than {type(optimizer).__name__} (it has '
            f'{", ".join(sorted(theirs))}, not {", ".join(sorted(ours))}): --resume with the '
            'config that saved it, or begin anew from its weights with --cfg-options '
            f'load_from={path}')


def schedule_changes(optimizer: Optimizer, saved: dict, schedulers: Sequence[_ParamScheduler],
                     saved_schedulers: Sequence[dict]) -> list[str]:
    """What of the config's learning rates and schedules a training does not resume with.

    The Runner goes on with the checkpoint's, and says nothing of it.

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
    """What differs between the config's scheduler and the state of the checkpoint's."""
    ours = scheduler.state_dict()
    if ours.keys() - theirs.keys() and theirs.keys() - ours.keys():
        return [f'{name} of another type than {type(scheduler).__name__}']
    # Where it stands is in the state too, and the rates that it began with.
    settings = {name for name in ours if name[0] != '_'} - {'last_step', 'base_values'}
    # The end is the training's where the config gives none, and without effect after the
    # last milestone.
    if ours.get('milestones') and ours['begin'] + max(ours['milestones']) < min(
            ours['end'], theirs['end']):
        settings.discard('end')
    return [f'{name}.{setting}={theirs[setting]}, not {value}' for setting, value in ours.items()
            if setting in settings and setting in theirs and theirs[setting] != value]


def check_averages(checkpoint: dict, has_ema: bool, path: str) -> None:
    """Look whether a training with averages of the weights goes on with them.

    MMEngine's ``EMAHook`` saves the averages as the weights, beside the weights
    as trained, and exchanges the two when it resumes. Without it, the averages
    would go on with the optimizer of the weights as trained.

    Args:
        checkpoint (dict): What the file holds.
        has_ema (bool): Whether the training that is to go on has the hook.
        path (str): The file, for the message.

    Raises:
        UserError: The hook is missing.
    """
    if 'ema_state_dict' in checkpoint and not has_ema:
        raise UserError(
            f'{path}: was saved by a training with averages of the weights: --resume with its '
            'EMAHook in custom_hooks, or begin anew from the averages with --cfg-options '
            f'load_from={path}')
