# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import os
import signal
import threading
from collections.abc import Iterator

import torch
from mmagic.registry import HOOKS
from mmengine.dataset import DefaultSampler
from mmengine.dist import all_reduce, barrier, get_world_size
from mmengine.hooks import EMAHook, Hook
from torch.utils.data import DataLoader

from srdensenet_mm.engine.runner.parts import wrappers_of
from srdensenet_mm.errors import UserError

from .safe_checkpoint_hook import SafeCheckpointHook

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@HOOKS.register_module()
class SaveOnSignalHook(Hook):
    """Saves a checkpoint at SIGTERM, Ctrl-C and SIGHUP, before the run ends.

    The current iteration is finished first (during a validation: the current
    image). Then :class:`SafeCheckpointHook` saves, and the process ends with
    status 143 (SIGTERM), 130 (Ctrl-C) or 129 (SIGHUP, a closed terminal). With a
    single process, a second Ctrl-C ends it at once, without saving. Under
    ``nohup`` SIGHUP stays ignored.

    With several processes, all end after the same iteration, whichever of them
    received the signal. They finish a validation first, unless its samplers are
    MMEngine's ``DefaultSampler``: with that, all processes have the same number
    of images.

    Args:
        interval (int): With several processes, iterations between two
            agreements (each a reduction of one number). Defaults to 1.
    """

    priority = 'LOWEST'  # after schedulers, averages and the ordinary save

    def __init__(self, interval: int = 1):
        self.interval = interval
        self._received: int | None = None
        self._previous = {}

    def before_train(self, runner) -> None:
        if threading.current_thread() is not threading.main_thread():
            runner.logger.warning('SaveOnSignalHook: signals reach the main thread alone, and '
                                  'this is not it; SIGTERM will not save')
            return
        # The loaders whose workers may run while a model trains.
        for loader in _loaders(runner.train_loop, runner.val_loop):
            if loader.num_workers and not isinstance(loader.worker_init_fn, _ApartWorker):
                loader.worker_init_fn = _ApartWorker(loader.worker_init_fn)
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._receive)

    def after_train(self, runner) -> None:
        self.restore()

    def restore(self) -> None:
        """Put the handlers back that were there before training."""
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _receive(self, number, frame) -> None:
        if self._received is not None and number == signal.SIGINT and get_world_size() == 1:
            self.restore()
            raise KeyboardInterrupt
        self._received = number
        # Slurm signals every process of a job. That ends the data loader's workers too, and
        # torch's handler of SIGCHLD would raise an error at any place. Not SIG_DFL: Python
        # would print a traceback for a signal that arrives during the change.
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        number = self._agreed(runner.iter)
        # In the middle of an accumulation, gradients would be lost.
        if number and _whole_step(runner):
            self._leave(runner, number, runner.iter + 1)

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self._previous or get_world_size() > 1 and not _alike_on_all(runner.val_loop):
            return
        number = self._agreed(batch_idx)
        if not number or not _whole_step(runner):
            return
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                hook.after_val_epoch(runner)  # the weights as trained, not their averages
        self._leave(runner, number, runner.iter)

    def after_data_failure(self, runner) -> None:
        """Called by this project's training loop where no further batch arrives.

        All iterations so far are complete. A signal to all processes of a job
        ends the data loader's workers too. Other reasons are reported later.
        """
        if get_world_size() > 1:
            return
        if self._received is not None:
            self._leave(runner, self._received, runner.iter)
        elif runner.iter:
            runner.logger.error(
                f'No batch comes after iteration {runner.iter}: {self._save(runner, runner.iter)}')

    def _agreed(self, index: int) -> int:
        number = self._received or 0
        if get_world_size() > 1:
            if (index + 1) % self.interval:
                return 0
            agreed = torch.tensor(number)
            all_reduce(agreed, 'max')
            number = int(agreed)
        return number

    def _leave(self, runner, number: int, step: int) -> None:
        name = 'Ctrl-C' if number == signal.SIGINT else signal.Signals(number).name
        saved = self._save(runner, step)
        runner.logger.warning(f'{name} after iteration {step}: {saved}. To go on, give the same '
                              f'command with --resume (work folder {runner.work_dir})')
        barrier()
        self.restore()
        raise SystemExit(128 + number)


    def _save(self, runner, step: int) -> str:
        """Save a checkpoint where that is possible, and say so."""
        hooks = [hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook)]
        if not hooks:
            return 'no SafeCheckpointHook in the config, nothing saved'
        if hooks[0].by_epoch:
            return 'checkpoints are by epoch, nothing saved within one'
        if not _whole_step(runner):
            return 'gradients are being accumulated, nothing saved within a step'
        try:
            return f'saved {hooks[0].save_now(runner, step, dict(epoch=runner.epoch, iter=step))}'
        except UserError as error:
            return f'NOT saved: {error}'


class _ApartWorker:
    """Initializes a data loader's worker in its own process group.

    torchrun and terminals signal a whole process group. If a worker ended on
    the signal, torch would raise an error during the saving. If it ignored
    SIGTERM, torch could not end it, and its parent would wait for ever. In its
    own group, it does not get the signal.
    """

    def __init__(self, init=None):
        self.init = init

    def __call__(self, worker: int) -> None:
        os.setpgrp()
        if self.init is not None:
            self.init(worker)


def _loaders(*loops) -> Iterator[DataLoader]:
    for loop in loops:
        loaders = getattr(loop, 'dataloaders', None) or [getattr(loop, 'dataloader', None)]
        yield from (loader for loader in loaders if isinstance(loader, DataLoader))


def _alike_on_all(val_loop) -> bool:
    """Whether all processes certainly have the same number of batches."""
    samplers = [loader.sampler for loader in _loaders(val_loop)]
    return bool(samplers) and all(
        isinstance(sampler, DefaultSampler) and sampler.round_up for sampler in samplers)


def _whole_step(runner) -> bool:
    return all(wrapper.should_update() for wrapper in wrappers_of(runner.optim_wrapper).values())
