# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import os
from pathlib import Path

import torch
from mmagic.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook

from srdensenet_mm.checkpoints.fitting import unwrapped
from srdensenet_mm.errors import UserError
from srdensenet_mm.files import atomic_write, remove_half_written

from .stop_on_invalid_loss_hook import InvalidLossError, or_lower_rate


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, safe against a kill at any moment.

    Differences:

    - A checkpoint appears whole or not at all, and ``last_checkpoint`` names it
      only then. Older ones (also the previous best) are removed last.
    - Where the disk is full, training goes on, keeps the last good checkpoint
      and reports it. Only the first and the last save of a run must succeed.
    - Weights that are NaN or infinite are not saved.
    - The checkpoint records the last validation (``scored_iter``). So a resumed
      run can repeat one that was interrupted, and the best checkpoint stays the
      best.

    Args:
        **kwargs: As for ``CheckpointHook``.
    """

    def before_train(self, runner) -> None:
        super().before_train(runner)
        self._has_saved = False
        last = runner.message_hub.runtime_info.get('last_ckpt')
        if last and self.file_backend.isfile(last):
            self.last_ckpt = last
        # A plain list: superseded checkpoints are dropped by hand.
        self.keep_ckpt_ids: list[int] = list(getattr(self, 'keep_ckpt_ids', []))
        if is_main_process() and self._is_local():
            remove_half_written(self.out_dir, '.pth')
            self._forget_previous_best(runner)

    def after_train_epoch(self, runner) -> None:
        super().after_train_epoch(runner)
        # A training by epochs that was resumed within one does more iterations than planned.
        if not self.by_epoch and self.save_last and self.is_last_train_epoch(runner):
            self.save_now(runner, runner.iter, dict(epoch=runner.epoch + 1, iter=runner.iter))

    def after_val_epoch(self, runner, metrics) -> None:
        runner.message_hub.update_info('scored_iter', runner.iter)
        super().after_val_epoch(runner, metrics)

    def save_now(self, runner, step: int, meta: dict) -> str:
        """Save a checkpoint now, besides the planned ones.

        Args:
            runner (Runner): The runner.
            step (int): Iterations done, for the file's name.
            meta (dict): ``iter`` and ``epoch`` to resume at.

        Returns:
            str: The checkpoint's path.

        Raises:
            UserError: It cannot be written.
        """
        if self.last_ckpt is None or self._path(step) != self.last_ckpt:
            self._save(runner, step, meta)
        return self.last_ckpt

    def _path(self, step: int) -> str:
        return self._in_out_dir(self.filename_tmpl.format(step))

    def _in_out_dir(self, name: str) -> str:
        return self.file_backend.join_path(self.out_dir, name)

    def _is_local(self) -> bool:
        return isinstance(self.file_backend, LocalBackend)

    def _save_checkpoint_with_step(self, runner, step, meta) -> None:
        try:
            self._save(runner, step, meta)
        except UserError as error:
            is_last = self.is_last_train_epoch if self.by_epoch else self.is_last_train_iter
            if isinstance(error, InvalidLossError) or is_last(runner):
                raise
            if not self._has_saved:
                raise UserError(
                    f'{error}. It is the first checkpoint of this run, which stops here because '
                    'its results cannot be saved: give a folder that can be written to '
                    '(--work-dir, default_hooks.checkpoint.out_dir)') from error
            runner.logger.error(f'{error}; training goes on, and tries again at the next '
                                f'checkpoint')

    def _save(self, runner, step: int, meta: dict) -> None:
        check_weights(runner)
        hub, previous = runner.message_hub, self.last_ckpt
        # The new checkpoint still lists the one that it replaces. So a run that is killed
        # before the removal removes it after resuming.
        steps = [kept for kept in self.keep_ckpt_ids if kept != step] + [step]
        path = self._path(step)
        if self.max_keep_ckpts > 0:
            hub.update_info('keep_ckpt_ids', list(steps))
        hub.update_info('last_ckpt', path)
        try:
            _AtomicSaver(runner).save_checkpoint(
                self.out_dir,
                self.filename_tmpl.format(step),
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args)
            if is_main_process():
                with atomic_write(Path(runner.work_dir) / 'last_checkpoint') as temporary:
                    temporary.write_bytes(os.fsencode(path))
        except UserError as error:
            if self.max_keep_ckpts > 0:
                hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
            if previous is None:
                hub.pop_info('last_ckpt')
                raise
            hub.update_info('last_ckpt', previous)
            raise UserError(f'{error}; the last good checkpoint is {previous}') from error
        self.last_ckpt = path
        self._has_saved = True
        if self.max_keep_ckpts > 0:
            superseded = steps[:-self.max_keep_ckpts]
            self.keep_ckpt_ids = steps[-self.max_keep_ckpts:]
            hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
            for old in superseded:
                self._remove(self._path(old))

    def _save_best_checkpoint(self, runner, metrics) -> None:
        if not self.save_best:
            return
        if 'auto' in self.key_indicators:
            # As the base class does, but before the paths are read by their key.
            self._init_rule(self.rules, [next(iter(metrics))])
        for key in self.key_indicators:
            if key not in metrics:
                raise UserError(f'default_hooks.checkpoint.save_best={key!r} is none of the '
                                f'metrics: {", ".join(metrics)}')
        # The base class removes the previous best before it writes the new one. So its record
        # of the previous best is cleared.
        before = self._best_paths()
        runner.message_hub.update_info('previous_best_ckpts', list(before.values()))
        self._set_best_paths(dict.fromkeys(before))
        try:
            super()._save_best_checkpoint(_AtomicSaver(runner), metrics)
        except UserError as error:
            # The score stays on record, so that no lower one counts as the best.
            runner.logger.error(f'{error}; the best checkpoint was not saved, training goes on')
        after = self._best_paths()
        self._set_best_paths({key: after.get(key) or before.get(key) for key in after})
        self._forget_previous_best(runner)

    def _best_paths(self) -> dict:
        if len(self.key_indicators) == 1:
            return {self.key_indicators[0]: self.best_ckpt_path or None}
        return dict(self.best_ckpt_path_dict)

    def _set_best_paths(self, paths: dict) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = paths[self.key_indicators[0]]
        else:
            self.best_ckpt_path_dict = dict(paths)

    def _forget_previous_best(self, runner) -> None:
        """Remove best checkpoints after better ones were saved.

        Only this run's: with ``--resume CHECKPOINT`` from another run, that
        run's best checkpoint stays.
        """
        hub = runner.message_hub
        if not self.save_best or 'previous_best_ckpts' not in hub.runtime_info:
            return
        current = set(self._best_paths().values())
        for path in hub.pop_info('previous_best_ckpts'):
            if path and path not in current and path == self._in_out_dir(Path(path).name):
                self._remove(path)

    def _remove(self, path: str) -> None:
        if is_main_process() and self.file_backend.isfile(path):
            self.file_backend.remove(path)


class _AtomicSaver:
    """A Runner whose ``save_checkpoint`` writes to a temporary name first."""

    def __init__(self, runner):
        # After a best checkpoint, MMEngine saves the last one with this in the Runner's place.
        self._runner = runner._runner if isinstance(runner, _AtomicSaver) else runner

    def __getattr__(self, name: str):
        return getattr(self._runner, name)

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        if not is_main_process():
            return
        if '://' in str(out_dir):  # a store, where an object appears whole
            self._runner.save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        with atomic_write(Path(out_dir) / filename) as temporary:
            self._runner.save_checkpoint(
                str(temporary.parent), temporary.name, *args, **kwargs)


def check_weights(runner) -> None:
    """Refuse weights that are NaN or infinite.

    A step can be infinite even where its loss was finite. The weights would
    then replace the last good ones.

    Raises:
        InvalidLossError: Names the first such weight.
    """
    name = _first_invalid(unwrapped(runner.model))
    if name is not None:
        last = runner.message_hub.runtime_info.get('last_ckpt')
        raise InvalidLossError(
            f'the weights of {name} are NaN or infinite at iteration {runner.iter + 1} and are not '
            f'saved; the last good checkpoint: {last or "none yet"}. Clip gradients, then go on '
            f'with --resume{or_lower_rate(last)}')


@torch.no_grad()
def _first_invalid(model: torch.nn.Module) -> str | None:
    for name, weight in model.state_dict().items():
        if isinstance(weight, torch.Tensor) and weight.is_floating_point() and not bool(
                torch.isfinite(weight).all()):
            return name
    return None
