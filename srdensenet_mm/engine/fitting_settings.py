# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Adapts settings of a recipe that depend on another setting that was changed."""
from collections.abc import Iterator

from mmagic.registry import LOOPS  # MMEngine's own does not know our loops
from mmengine.config import Config
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from srdensenet_mm.config.type_name import type_name
from srdensenet_mm.errors import UserError

# Settings that only worker processes have.
_OF_WORKERS = ('persistent_workers', 'prefetch_factor', 'multiprocessing_context', 'timeout')
_ENDLESS = ('InfiniteSampler', 'ResumableSampler')
# More validations than any training needs.
_MOST_VALIDATIONS = 1000
# As in MMEngine's schedulers.
_NO_END = 10**9


def drop_worker_settings(cfg: Config) -> None:
    """Remove settings that data loaders refuse with ``num_workers=0``, e.g. for debugging."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loaders = cfg.get(name) or []
        for loader in [loaders] if isinstance(loaders, dict) else loaders:
            if isinstance(loader, dict) and not loader.get('num_workers'):
                for setting in _OF_WORKERS:
                    loader.pop(setting, None)


def follow_train_cfg(cfg: Config) -> list[str]:
    """Adapt settings that count epochs or iterations to the training loop.

    In a loop by epochs, the sampler ends each epoch, and the log counts epochs.
    In a loop by iterations, the log and the checkpoints count iterations, and
    schedules by epochs are converted. All other settings work in both loops and
    stay. So do checkpoints and schedules by iterations in a loop by epochs.

    Args:
        cfg (Config): The recipe, changed in place.

    Returns:
        list[str]: The changes, a line each.

    Raises:
        UserError: The loop counts what the recipe sets no end for.
    """
    for end in ('max_epochs', 'max_iters'):
        if cfg.train_cfg.get(end, 0) is None:  # unset by hand
            cfg.train_cfg.pop(end)
    by_epoch = _is_by_epoch(cfg.train_cfg)
    if by_epoch is None:
        return []
    return [f'train_cfg counts {"epochs" if by_epoch else "iterations"}: {change}'
            for change in (*_fit_loop(cfg.train_cfg, by_epoch),
                           *(_fit_to_epochs(cfg) if by_epoch else _fit_to_iterations(cfg)))]


def _is_by_epoch(train_cfg: dict) -> bool | None:
    """Whether the loop counts epochs; None where that is unknown."""
    by_epoch = _loop_is_by_epoch(train_cfg)
    if _later(train_cfg, 'by_epoch', 'type'):
        by_epoch = bool(train_cfg['by_epoch'])
    if by_epoch is None and 'type' in train_cfg:
        return None
    if by_epoch is None:
        by_epoch = 'max_epochs' in train_cfg
    # An end of the other kind, said after all else that tells the kind.
    end, before = ('max_iters', 'max_epochs') if by_epoch else ('max_epochs', 'max_iters')
    return by_epoch != all(_later(train_cfg, end, name) for name in ('type', 'by_epoch', before))


def _loop_is_by_epoch(train_cfg: dict) -> bool | None:
    loop = train_cfg.get('type')
    loop = LOOPS.get(loop) if isinstance(loop, str) else loop
    if isinstance(loop, type):
        for base, by_epoch in ((EpochBasedTrainLoop, True), (IterBasedTrainLoop, False)):
            if issubclass(loop, base):
                return by_epoch
    return None


def _later(settings: dict, name: str, other: str) -> bool:
    """Whether a setting stands alone, or after the other one, which is then inherited."""
    names = list(settings)
    return name in names and (other not in names or names.index(name) > names.index(other))


def _fit_loop(train_cfg: dict, by_epoch: bool) -> Iterator[str]:
    """Remove inherited settings of a loop of the other kind."""
    if 'type' in train_cfg and _loop_is_by_epoch(train_cfg) != by_epoch:
        yield f'without train_cfg.type={train_cfg.pop("type")!r}'
    if 'type' in train_cfg:
        if 'by_epoch' in train_cfg:
            yield f'without train_cfg.by_epoch={train_cfg.pop("by_epoch")!r}'
    elif train_cfg.get('by_epoch') is not by_epoch:
        train_cfg.by_epoch = by_epoch
        yield f'train_cfg.by_epoch={by_epoch}'
    ours, other = ('max_epochs', 'max_iters') if by_epoch else ('max_iters', 'max_epochs')
    if ours not in train_cfg and ('type' not in train_cfg or other in train_cfg):
        raise UserError(f'train_cfg counts {ours[4:]}, but says not how many: set '
                        f'train_cfg.{ours}')
    if other not in train_cfg or not _later(train_cfg, ours, other):
        return
    before = train_cfg.pop(other)
    yield f'without train_cfg.{other}={before}'
    end, interval = train_cfg[ours], train_cfg.get('val_interval')
    if interval and (interval > end if by_epoch else end > _MOST_VALIDATIONS * interval):
        train_cfg.val_interval = max(1, round(end * interval / before))
        yield f'train_cfg.val_interval={train_cfg.val_interval}, not {interval}'


def _fit_to_epochs(cfg: Config) -> Iterator[str]:
    loader = cfg.train_dataloader
    sampler = loader.get('sampler') or {}
    if 'batch_sampler' not in loader and type_name(
            sampler.get('type', 'InfiniteSampler')) in _ENDLESS:
        loader.sampler = dict(type='DefaultSampler', shuffle=sampler.get('shuffle', True))
        # It did nothing before; now it would leave out images, or all of them.
        loader.drop_last = False
        yield 'train_dataloader.sampler is a DefaultSampler, drop_last=False: an epoch must end'
    if (cfg.get('log_processor') or {}).get('by_epoch') is False:
        cfg.log_processor.by_epoch = True
        yield 'log_processor.by_epoch=True'


def _fit_to_iterations(cfg: Config) -> Iterator[str]:
    log = cfg.get('log_processor') or {}
    if log.get('by_epoch', True):
        cfg.log_processor = dict(log, by_epoch=False)
        if log:
            yield 'log_processor.by_epoch=False'
    hooks = cfg.get('default_hooks') or {}
    checkpoint = hooks.get('checkpoint', dict(type='CheckpointHook'))  # MMEngine's default
    if isinstance(checkpoint, dict) and checkpoint.get('by_epoch', True):
        interval = cfg.train_cfg.get('val_interval', 1000)
        cfg.default_hooks = dict(
            hooks, checkpoint=dict(checkpoint, by_epoch=False, interval=interval))
        yield f'default_hooks.checkpoint.by_epoch=False, interval={interval}'
    for scheduler in _schedulers(cfg.get('param_scheduler')):
        if scheduler.get('by_epoch', True) and not scheduler.get('convert_to_iter_based'):
            if any(name in scheduler for name in ('end', 'T_max', 'milestones', 'step_size')):
                scheduler.convert_to_iter_based = True
                # MMEngine's would be that of the first epoch.
                scheduler.setdefault('end', _NO_END)
                yield f'{type_name(scheduler.type)}.convert_to_iter_based=True'
            else:  # over the whole training
                scheduler.by_epoch = False
                yield f'{type_name(scheduler.type)}.by_epoch=False'


def _schedulers(schedulers) -> Iterator[dict]:
    """The schedulers of one optimizer, or of several by their names."""
    if isinstance(schedulers, (list, tuple)):
        for one in schedulers:
            yield from _schedulers(one)
    elif isinstance(schedulers, dict) and 'type' in schedulers:
        yield schedulers
    elif isinstance(schedulers, dict):
        yield from _schedulers(list(schedulers.values()))
