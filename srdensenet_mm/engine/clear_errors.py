# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Turns library exceptions that a user can act on into one clear line."""
import errno
import re
import reprlib
import resource
import shutil
import signal
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from types import FrameType
from urllib.error import URLError

import torch
from mmengine.config import Config
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import build_from_cfg
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

from srdensenet_mm.compat import bare_message, no_news_of_workers
from srdensenet_mm.errors import UserError, text_of

# Errors of a disk or a network share, and the way out.
_STORAGE_ERRORS = {
    errno.ENOSPC: 'the disk is full, free some space', errno.EDQUOT: 'the disk quota is used up',
    errno.EROFS: 'the file system is read-only', errno.ESTALE: 'the network share has changed',
    errno.EIO: 'the disk or share reports an error'}
_SHARED_MEMORY = re.compile('shared memory|/torch_|[Bb]us error|SIGBUS|shm')
_WORKER = re.compile(r'DataLoader worker \(pid|DataLoader timed out|thread exited unexpectedly')
_OTHER_PROCESS = re.compile(r'gloo.*(Connection|socket) (closed|reset)|gloo.*reset by peer|'
                            'remote process exited')  # the latter by NCCL
_OPEN_FILES = re.compile('Too many open files|ancdata')
# Settings in messages.
_PLAIN = (str, int, float, list, tuple, dict, type(None))
_shortened = reprlib.Repr()
_shortened.maxlevel, _shortened.maxstring, _shortened.maxother = 2, 100, 60


@contextmanager
def clear_errors(cfg: Config, runner: Runner | None = None) -> Iterator[None]:
    """Turn errors of the config, the images or the machine into one line.

    Args:
        cfg (Config): The config that is built or run.
        runner (Runner, optional): The runner. The message then says how to
            resume.

    Raises:
        UserError: A part of the config cannot be built, training pairs have
            another scale than the network, a data loader's worker is lost or
            has met a bad image, memory or the disk is full, or a file cannot be
            read. Every other exception passes unchanged: it is a fault of the
            program and needs its traceback.
    """
    try:
        yield
    except UserError as error:
        message = bare_message(error)
        if message == str(error):
            raise
        raise type(error)(message) from error
    except Exception as error:
        with no_news_of_workers():
            frames = _frames(error)
            line = (_lost_worker(error, frames, runner) or _lost_process(error, runner)
                    or _full_memory(error, runner) or _failed_storage(error, cfg, runner)
                    or _failed_download(error, cfg) or _failed_import(error, frames)
                    or _failed_part(error, frames, cfg) or _unequal_sizes(error, frames, cfg)
                    or _unreadable_file(error))
        if line is None:
            raise
        raise UserError(line) from error


def _frames(error: Exception) -> list[FrameType]:
    """The calls that led to an error, the innermost last."""
    frames, step = [], error.__traceback__
    while step is not None:
        frames.append(step.tb_frame)
        step = step.tb_next
    return frames


def _go_on(runner: Runner | None) -> str:
    """The last good checkpoint, and how to go on from there."""
    if runner is None or not isinstance(runner._train_loop, BaseLoop):
        return 'then give the same command again'
    last = runner.message_hub.runtime_info.get('last_ckpt')
    return (f'then go on with --resume (the last good checkpoint: {last})' if last else
            'then begin again: there is no checkpoint yet')


def _lost_worker(
        error: Exception, frames: list[FrameType], runner: Runner | None) -> str | None:
    """A line for a data loader that cannot start its workers, or has lost one."""
    loaders = [one for one in (frame.f_locals.get('self') for frame in frames)
               if type(one).__name__ == '_MultiProcessingDataLoaderIter']
    text, number = _text(error), getattr(error, 'errno', None)
    if str(error).startswith('Caught '):  # a worker lives, and reports why it failed
        if not (_SHARED_MEMORY.search(text) or _OPEN_FILES.search(text)):
            return None
    elif not (_WORKER.search(text) or loaders and (
            isinstance(error, (OSError, EOFError)) or _OPEN_FILES.search(text))):
        return None
    elif 'killed by signal' not in text:
        text = '; '.join(filter(None, [text or type(error).__name__, *map(_end_of, loaders[:1])]))
    for loader in loaders:  # else the other workers would run until the process ends
        with suppress(Exception):  # it may not have started all of them
            loader._shutdown_workers()
    name = _loader_name(frames, runner)
    if _SHARED_MEMORY.search(text) or number == errno.ENOSPC:
        way_out = (f'shared memory is too small (/dev/shm {_size_of("/dev/shm")}): in Docker give '
                   f'--shm-size=8g or --ipc=host, else set {name}.num_workers=0')
    elif _OPEN_FILES.search(text) or number == errno.EMFILE:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        way_out = (f'too many files are open (the limit is {limit}): raise it with ulimit -n '
                   f'{max(65536, 2 * limit)}, or set a smaller {name}.num_workers')
    elif 'timed out' in text:
        way_out = f'set a larger {name}.timeout, or 0 to wait as long as it takes'
    else:
        way_out = (f'most often main memory was full: set a smaller {name}.num_workers (0 loads '
                   'in the process itself), or a smaller cache_gib of its dataset')
    return f'{name}: a data-loading worker is lost ({text}): {way_out}; {_go_on(runner)}'


def _lost_process(error: Exception, runner: Runner | None) -> str | None:
    """A line for a process whose others have gone; their own end is the reason."""
    if not (isinstance(error, RuntimeError) and _OTHER_PROCESS.search(str(error))):
        return None
    return f'another process of this job has ended: mend what it reports; {_go_on(runner)}'


def _end_of(loader) -> str:
    """How a data loader's workers have ended, where some have."""
    workers = getattr(loader, '_workers', [])
    wait([worker.sentinel for worker in workers], timeout=2)
    return ', '.join(
        f'worker {worker.pid} ' + (f'was killed by {signal.Signals(-worker.exitcode).name}'
                                   if worker.exitcode < 0 else f'left with {worker.exitcode}')
        for worker in workers if worker.exitcode)


def _text(error: Exception) -> str:
    """An error's message in one line; of a worker's traceback, the last line."""
    text = str(error).strip()
    if text.startswith('Caught '):
        text = text.splitlines()[-1]
    # torch's further advice is for programmers.
    return ' '.join(text.split()).split('. Details are lost')[0].rstrip('. ')


def _loader_name(frames: list[FrameType], runner: Runner | None) -> str:
    """The recipe's data loader that failed."""
    loops = [frame.f_locals.get('self') for frame in frames]
    for loop in reversed(loops):
        for name in ('val', 'test', 'train'):
            if isinstance(loop, BaseLoop) and name in type(loop).__name__.lower():
                return f'{name}_dataloader'
    return 'test_dataloader' if runner is None else 'train_dataloader'


def _size_of(folder: str) -> str:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return 'is missing'
    return f'has {usage.total / 2**20:.1f} MiB, {usage.free / 2**20:.1f} MiB free'


def _full_memory(error: Exception, runner: Runner | None) -> str | None:
    text = _text(error)
    if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and (
            "can't allocate memory" not in text):
        return None
    return (f'memory is full ({text.split(". ")[0] or "MemoryError"}): set a smaller batch_size or '
            'patch, fewer num_workers, or model.generator.with_cp=True, which trades time for '
            f'memory; {_go_on(runner)}')


def _failed_storage(error: Exception, cfg: Config, runner: Runner | None) -> str | None:
    reason = _STORAGE_ERRORS.get(getattr(error, 'errno', None))
    return reason and f'{error.filename or cfg.work_dir}: {reason}; {_go_on(runner)}'


def _failed_download(error: Exception, cfg: Config) -> str | None:
    if not isinstance(error, URLError):
        return None
    return (f'{_name_of(cfg)}: weights that it needs could not be fetched '
            f'({error.reason}): put their file into {torch.hub.get_dir()}/checkpoints, for a '
            "perceptual loss torchvision's vgg19-dcbb9e9d.pth")


def _failed_import(error: Exception, frames: list[FrameType]) -> str | None:
    """A line for an MMagic whose own requirements are too new for it, or missing."""
    if not isinstance(error, ImportError) or not any(
            frame.f_globals.get('__name__', '').split('.')[0] == 'mmagic' for frame in frames):
        return None
    return (f'MMagic cannot be imported here: {_text(error)}. The extra lite of srdensenet_mm '
            'brings its packages in versions that work, see "Install" in README')


def _name_of(cfg: Config) -> str:
    return cfg.filename or 'the config'


def _failed_part(error: Exception, frames: list[FrameType], cfg: Config) -> str | None:
    """A line that names the part of the config that MMEngine could not build."""
    text = text_of(error) or type(error).__name__
    part = None
    for frame in frames:
        if frame.f_code is build_from_cfg.__code__:
            part = frame.f_locals.get('cfg')
        elif frame.f_code is DefaultOptimWrapperConstructor.__call__.__code__:
            part = frame.f_locals['self'].optimizer_cfg
    if part is not None:
        return f'{_name_of(cfg)}: {_as_call(part)} cannot be built: {text}'
    # The Runner's own checks of its settings.
    if frames[-1].f_code.co_filename == Runner.__init__.__code__.co_filename or any(
            frame.f_code is Runner.__init__.__code__ for frame in frames):
        return f'{_name_of(cfg)}: {text}'
    return None


def _as_call(part: dict) -> str:
    """A part's type with its settings, shortened: one of these is at fault."""
    if not isinstance(part, dict) or 'type' not in part:
        return f'a part without a type, {_shortened.repr(part)},'
    kind = part['type'] if isinstance(part['type'], str) else part['type'].__name__
    settings = ', '.join(f'{name}={_shortened.repr(value)}' for name, value in part.items()
                         if name not in ('type', '_scope_') and isinstance(value, _PLAIN))
    return f'{kind}({textwrap.shorten(settings, 300, placeholder=" ...")})'


def _unequal_sizes(error: Exception, frames: list[FrameType], cfg: Config) -> str | None:
    """A line for training pairs of another scale than the network's."""
    scale = ((cfg.get('model') or {}).get('generator') or {}).get('upscale_factor')
    for frame in reversed(frames):
        low, sample = (frame.f_locals.get(name) for name in ('inputs', 'data_samples'))
        high = getattr(sample, 'gt_img', None)
        if scale and isinstance(low, torch.Tensor) and isinstance(high, torch.Tensor):
            if high.shape[-1] == scale * low.shape[-1]:
                return None
            return (f'{_name_of(cfg)}: model.generator.upscale_factor={scale}, but the training '
                    f'pairs are {low.shape[-1]} and {high.shape[-1]} pixels wide: set the scale '
                    f'of the pipeline alike ({_text(error)})')
    return None


def _unreadable_file(error: Exception) -> str | None:
    if isinstance(error, OSError) and error.filename is not None:
        return f'{error.filename}: {error.strerror}'
    return None
