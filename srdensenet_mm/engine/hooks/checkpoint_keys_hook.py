# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Loading weights with a check: the Runner would load a part without an error."""
import re

from mmagic.registry import HOOKS
from mmengine.hooks import EMAHook, Hook
from torch import Tensor

from srdensenet_mm.checkpoints.fitting import check_fit, foreign_hint, unwrapped
from srdensenet_mm.checkpoints.reading import checkpoint_of
from srdensenet_mm.checkpoints.unwrapping import strip_wrappers
from srdensenet_mm.engine.checks.resume import (
    check_averages,
    check_optimizer,
    check_state,
    schedule_changes,
)
from srdensenet_mm.engine.runner.parts import wrappers_of
from srdensenet_mm.errors import UserError, naming


@HOOKS.register_module()
class CheckpointKeysHook(Hook):
    """Renames a checkpoint's keys to the model's before the Runner loads it.

    Published and converted checkpoints hold a bare network. The Runner would
    match none of its keys, and report that only in the log. Runner checkpoints
    do not change.

    Args:
        strict (bool): Refuse a checkpoint that does not fit, as for resuming.
            Defaults to False: weights that fit are loaded, such as to train a
            x4 network from a x2 one.
    """

    priority = 'HIGHEST'  # before averages are taken from it

    def __init__(self, strict: bool = False):
        self.strict = strict

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Rename keys in place.

        Raises:
            UserError: No weight fits. With ``strict``: a weight or the
                optimizer does not fit, or the file holds weights only.
        """
        # The Runner would execute this text, and a checkpoint may come from anyone.
        checkpoint.setdefault('meta', {}).pop('config', None)
        path = runner._load_from
        expected = unwrapped(runner.model).state_dict()
        weights = checkpoint.get('state_dict')
        weights = weights if isinstance(weights, dict) else {}
        weights = _strip_part_wrappers(strip_wrappers(weights), expected)
        if not expected.keys() & weights.keys():
            # Not from a Runner: a bare network, or one that another trainer has wrapped.
            with naming(path):
                weights = checkpoint_of(
                    {key: value for key, value in checkpoint.items() if key != 'meta'}).weights
            weights = _strip_part_wrappers(
                {f'generator.{key}': value for key, value in weights.items()
                 if isinstance(value, Tensor)}, expected)
        if self.strict:
            check_fit(expected, weights, path)
            try:
                check_state(checkpoint, bool(runner.param_schedulers))
                check_averages(checkpoint, any(isinstance(hook, EMAHook) for hook in runner.hooks))
                _check_optimizers(runner, checkpoint, path)
            except UserError as error:
                raise UserError(f'{path}: {error}, or start again from its weights with '
                                f'--cfg-options load_from={path}') from error
        elif not any(key in expected and expected[key].shape == value.shape
                     for key, value in weights.items()):
            raise UserError(f'{path}: not one key and shape fits the model{foreign_hint(weights)}')
        checkpoint['state_dict'] = weights
        if 'ema_state_dict' in checkpoint:
            checkpoint['ema_state_dict'] = _strip_part_wrappers(
                checkpoint['ema_state_dict'], expected, 'module.')


def _strip_part_wrappers(
        weights: dict[str, Tensor], expected: dict[str, Tensor], prefix: str = '') -> dict:
    """Remove the ``.module`` that MMSeparateDistributedDataParallel adds to the parts' names.

    Where a network has its own part ``module``, that one stays.
    """
    wrapper, renamed = re.compile(rf'^({prefix}[^.]+)\.module\.'), {}
    for key, value in weights.items():
        plain = wrapper.sub(r'\1.', key)
        known = [name for name in (key, plain) if name.removeprefix(prefix) in expected]
        renamed[known[0] if known else key] = value
    return renamed


def _check_optimizers(runner, checkpoint: dict, path: str) -> None:
    changes = []
    for name, wrapper in wrappers_of(runner.optim_wrapper).items():
        optimizer = getattr(wrapper, 'optimizer', None)
        saved = _part(checkpoint['optimizer'], name)
        if optimizer is not None and 'param_groups' in (saved or ()):
            check_optimizer(optimizer, saved)
            changes += schedule_changes(
                optimizer, saved, _part(runner.param_schedulers, name) or (),
                _part(checkpoint.get('param_schedulers'), name) or ())
    if changes:
        runner.logger.warning(
            f"{path}: a resumed training goes on with the checkpoint's learning rates and "
            f'schedules: {"; ".join(dict.fromkeys(changes))}. For those of the config, start again '
            f'from its weights, without --resume: --cfg-options load_from={path}')


def _part(whole, name: str | None):
    """The states or schedulers of one optimizer; all of them where there is only one."""
    if name is None:
        return whole
    return whole[name] if name in (whole or ()) else None
