# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import math

from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from torch import Tensor

from srdensenet_mm.errors import UserError


class InvalidLossError(UserError):
    """A loss, or a weight, that is NaN or infinite."""


@HOOKS.register_module()
class StopOnInvalidLossHook(Hook):
    """Stops a run whose loss is NaN or infinite, before anything is saved.

    The message names the iteration, the learning rate and the batch's files.
    Checkpoints stay as they are: this hook acts before those that average
    weights or save.

    Args:
        interval (int): Iterations between two checks. Reading a loss waits for
            the GPU. MMEngine's own log does so at each iteration anyway, so the
            check costs microseconds. Defaults to 1.
    """

    priority = 'VERY_HIGH'

    def __init__(self, interval: int = 1):
        self.interval = interval

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Check the iteration's losses.

        Raises:
            InvalidLossError: One of them is NaN or infinite.
        """
        if not self.every_n_train_iters(runner, self.interval):
            return
        for name, value in (outputs or {}).items():
            if 'loss' not in name:
                continue
            value = float(value.detach()) if isinstance(value, Tensor) else float(value)
            if not math.isfinite(value):
                raise InvalidLossError(_report(runner, name, value, data_batch))


def _report(runner, name: str, value: float, data_batch) -> str:
    rates = ', '.join(f'{rate:.3g}' for group in runner.optim_wrapper.get_lr().values()
                      for rate in dict.fromkeys(group))
    files = batch_files(data_batch)
    last = runner.message_hub.runtime_info.get('last_ckpt')
    return (f'{name} is {value} at iteration {runner.iter + 1}, learning rate {rates}; '
            f'the batch: {", ".join(files) if files else "no file names known"}; '
            f'the last good checkpoint: {last or "none yet"}. Look at these images, then go on '
            f'with --resume{or_lower_rate(last)}')


def or_lower_rate(last: str | None) -> str:
    """How to train at a lower rate, which --resume takes from the checkpoint."""
    load_from = f' from its weights: --cfg-options load_from={last}' if last else ': --cfg-options'
    return (f'; or start again at a lower learning rate{load_from} optim_wrapper.optimizer.lr=..., '
            'without --resume')


def batch_files(data_batch) -> list[str]:
    """The file names in a batch, ground truth first choice, without repeats.

    Args:
        data_batch (dict): As a data loader of MMagic yields it: ``data_samples``
            carry ``gt_path`` or ``img_path``.
    """
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    if not isinstance(samples, (list, tuple)):
        samples = [samples]
    return list(dict.fromkeys(str(name) for sample in samples for name in _files_of(sample)))


def _files_of(sample) -> list:
    """The file of a sample, or those of a stacked batch."""
    for key in ('gt_path', 'img_path'):
        found = getattr(sample, key, None)
        if found:
            return list(found) if isinstance(found, (list, tuple)) else [found]
    return []
