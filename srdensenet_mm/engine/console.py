# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What a training or a test shows on the console; MMEngine's listings go to the log file."""
import logging
import sys

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from tqdm import tqdm

from srdensenet_mm.checkpoints.fitting import unwrapped
from srdensenet_mm.compat import says_nothing
from srdensenet_mm.files import path_from_here
from srdensenet_mm.progress import progress_bar


class QuietRunner(Runner):
    """MMEngine's Runner, whose console shows warnings and errors alone.

    The log file keeps everything. MMEngine 0.10 has one level for both, so the
    console's part of the logger is set apart as soon as it is made.
    """

    def build_logger(self, *args, **kwargs):
        """Build MMEngine's logger and set its console's level."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.setLevel(max(handler.level, logging.WARNING))
                _show_plainly(handler)
                handler.setStream(_AroundBars())
        return logger


def quiet_early_warnings() -> None:
    """Take what says nothing off the console also before the Runner has made its logger."""
    for handler in MMLogger.get_current_instance().handlers:
        if type(handler) is logging.StreamHandler:
            _show_plainly(handler)


def _show_plainly(handler: logging.Handler) -> None:
    handler.addFilter(_is_worth_showing)
    handler.setFormatter(_PlainLine())


def _is_worth_showing(record: logging.LogRecord) -> bool:
    # One function for all: logging adds the same filter to a handler once.
    return not says_nothing(record.getMessage())


class _PlainLine(logging.Formatter):
    """The message, and its level where it is a warning or worse; time and place are in the log."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f'{record.levelname.lower()}: {text}'


class _AroundBars:
    """Standard output; a line is written above a progress bar, not into it."""

    def write(self, text: str) -> None:
        tqdm.write(text, file=sys.stdout, end='')

    def flush(self) -> None:
        sys.stdout.flush()


class ConsoleHook(Hook):
    """Says what runs and where its log is, how far it is, and what it reached.

    On a terminal, a bar shows the progress. Elsewhere (a file, a job's log) it
    is a plain line at the interval of the config's ``LoggerHook``. Only the
    main process writes.

    Args:
        name (str): The recipe's name, for the first line.
        interval (int): Iterations between two plain lines.
    """

    priority = 'LOWEST'  # after the hooks that gather the loss and the scores

    def __init__(self, name: str, interval: int = 100):
        self.name = name
        self.interval = interval
        self._bar = None
        self._shown = is_main_process()

    def before_train(self, runner) -> None:
        """Name the model, the device, the length and the log, and start the bar."""
        begin = f' from iteration {runner.iter}' if runner.iter else ''
        self._start(runner, f'Training {self.name}', runner.max_iters,
                    f', {runner.max_iters} iterations{begin}', done=runner.iter)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Move the bar on."""
        losses = runner.message_hub.log_scalars.get('train/loss')
        loss = f'loss {losses.current():.4g}' if losses is not None else ''
        self._advance(f'iteration {runner.iter + 1} of {runner.max_iters}', loss)

    def after_val_epoch(self, runner, metrics=None) -> None:
        """Show the scores of a validation."""
        self._say(f'iteration {runner.iter}: ' + ', '.join(_scores(metrics)))

    def after_train(self, runner) -> None:
        """Name the best checkpoint."""
        self.close()
        info = runner.message_hub.runtime_info
        if info.get('best_score') is not None:
            best = path_from_here(info.get('best_ckpt', ''))
            self._say(f'Best: {info["best_score"]:.4f}, {best}')

    def before_test(self, runner) -> None:
        """Name the model, the device, the number of images and the log, and start the bar."""
        loop = runner.test_loop
        loaders = getattr(loop, 'dataloaders', None) or [loop.dataloader]
        images = sum(len(loader.dataset) for loader in loaders)
        self._start(runner, f'Testing {self.name}', sum(map(len, loaders)), f', {images} images')

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Move the bar on."""
        self._advance('batch {}', '')

    def after_test_epoch(self, runner, metrics=None) -> None:
        """Show the scores."""
        self.close()
        for line in _scores(metrics):
            self._say(line)

    def close(self) -> None:
        """Take the bar away; whatever ended the run, the terminal is left clean."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _start(self, runner, what: str, total: int, length: str, done: int = 0) -> None:
        if not self._shown:
            return
        device = next(unwrapped(runner.model).parameters()).device
        if device.type == 'cuda':
            device = f'{device} ({torch.cuda.get_device_name(device)})'
        processes = f' in {runner.world_size} processes' if runner.world_size > 1 else ''
        log = path_from_here(runner.logger._log_file)
        self._say(f'{what} on {device}{processes}{length}; log: {log}')
        self._bar = progress_bar(total=total, initial=done, leave=False, unit='it')
        self._done = done

    def _advance(self, where: str, note: str) -> None:
        if self._bar is None:
            return
        self._done += 1
        if not self._bar.disable:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update()
        elif self._done % self.interval == 0:
            self._say(', '.join(filter(None, [where.format(self._done), note])))

    def _say(self, text: str) -> None:
        if self._shown:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()


def _scores(metrics: dict | None) -> list[str]:
    return [f'{name} {float(value):.4f}' for name, value in (metrics or {}).items()]
