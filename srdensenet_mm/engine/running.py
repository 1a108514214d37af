# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""From a recipe to a Runner that trains or tests. The tools call these functions."""
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.fileio import dump
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn

from srdensenet_mm.checkpoints.fitting import check_settings, load_for_test, networks_of, unwrapped
from srdensenet_mm.checkpoints.model_config import model_config
from srdensenet_mm.checkpoints.published import in_package
from srdensenet_mm.checkpoints.reading import (
    holds_community_network,
    read_checkpoint,
    read_content,
)
from srdensenet_mm.checkpoints.spandrel_network import SpandrelNetwork
from srdensenet_mm.compat import (
    hide_part_wrappers,
    init_distributed,
    keep_freed_memory,
    leave_out_records,
    leave_out_training,
    local_checkpoints_read_by,
    quiet_event_thread,
    return_what_cannot_be_sent,
    write_any_name,
)
from srdensenet_mm.config.reading import read_config, without_perceptual_loss
from srdensenet_mm.config.type_name import type_name
from srdensenet_mm.errors import UserError, naming
from srdensenet_mm.files import atomic_write, make_folder

from .checks.config import check_data, check_sections, name_bad_images
from .checks.work_folder import find_whole_checkpoint, mark_earlier_checkpoints
from .clear_errors import clear_errors
from .console import ConsoleHook, QuietRunner, quiet_early_warnings
from .fitting_settings import drop_worker_settings, follow_train_cfg
from .hooks.checkpoint_keys_hook import CheckpointKeysHook
from .hooks.save_on_signal_hook import SaveOnSignalHook
from .optimizers.amp_optim_wrapper import enable_amp


def load_config(config: str,
                work_dir: str | None = None,
                cfg_options: dict | None = None,
                launcher: str = 'none') -> Config:
    """Read a recipe and apply the options of the command line.

    Args:
        config (str): A config file; ``package::relative/path.py`` for one that
            an installed OpenMMLab package ships (``mmagic::edsr/...``).
        work_dir (str, optional): Folder for logs and checkpoints. Defaults to
            the config's own, else ``work_dirs/<name of the config>``.
        cfg_options (dict, optional): Settings to override, with dotted keys.
        launcher (str): ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Returns:
        Config: The config, ready for :func:`train` or :func:`test`.

    Raises:
        UserError: The config cannot be read, or an option cannot be merged.
    """
    cfg = read_config(config, cfg_options)
    cfg.launcher = launcher
    if work_dir:
        cfg.work_dir = work_dir
        # MMagic's recipes write checkpoints to ./work_dirs, even with another work folder.
        checkpoint_hook = (cfg.get('default_hooks') or {}).get('checkpoint')
        if checkpoint_hook and 'default_hooks.checkpoint.out_dir' not in (cfg_options or {}):
            checkpoint_hook.out_dir = None
    elif not cfg.get('work_dir'):
        cfg.work_dir = str(Path('work_dirs') / Path(cfg.filename).stem)
    return cfg


def train(cfg: Config,
          resume: bool | str = False,
          amp: bool = False,
          auto_scale_lr: bool = False,
          verbose: bool = False) -> Runner:
    """Train by a config.

    Args:
        cfg (Config): From :func:`load_config`.
        resume (bool | str): True: go on from the newest whole checkpoint in the
            work folder, or start where there is none yet. A name: go on from
            this checkpoint.
        amp (bool): Mixed precision, in the type that suits the device.
        auto_scale_lr (bool): Scale the learning rate by the global batch size
            over ``auto_scale_lr.base_batch_size``.
        verbose (bool): Show MMEngine's whole log on the console, too.

    Returns:
        Runner: After training.

    Raises:
        UserError: The data, the checkpoint or a setting is not usable; the
            disk or memory is full, or a data-loading worker is lost; a loss is
            NaN or infinite (:class:`InvalidLossError`).
    """
    if not verbose:
        quiet_early_warnings()
    check_sections(cfg, ['model', 'train_dataloader', 'train_cfg', 'optim_wrapper'])
    notes = follow_train_cfg(cfg)
    _check_images(cfg, ['train_dataloader', 'val_dataloader'])
    saved = _choose_checkpoint(cfg, resume)
    if amp:
        enable_amp(cfg)
    if auto_scale_lr:
        cfg.auto_scale_lr = dict(cfg.get('auto_scale_lr') or {}, enable=True)
    if not torch.cuda.is_available():
        keep_freed_memory()
    runner = build_runner(cfg, verbose)
    leave_out_records(runner)
    for note in notes:
        runner.logger.warning(note)
    runner.register_hook(CheckpointKeysHook(strict=bool(cfg.get('resume'))))
    if cfg.get('resume'):
        check_settings(networks_of(runner.model)[0], saved.get('network'), cfg.load_from)
    else:
        mark_earlier_checkpoints(cfg.work_dir)
    with _hooks_closed(runner), clear_errors(cfg, runner), local_checkpoints_read_by(read_content):
        runner.train()
    return runner


@contextmanager
def _hooks_closed(runner: Runner) -> Iterator[None]:
    """Undo at the end what hooks have changed in this process.

    They are not called after an error, and a notebook continues.
    """
    try:
        yield
    finally:
        for hook in runner.hooks:
            if isinstance(hook, SaveOnSignalHook):
                hook.restore()
            elif isinstance(hook, ConsoleHook):
                hook.close()


def _check_images(cfg: Config, loaders: Sequence[str]) -> None:
    with clear_errors(cfg):
        check_data(cfg, loaders)
        name_bad_images(cfg, loaders)


def _choose_checkpoint(cfg: Config, resume: bool | str) -> dict:
    """Set ``cfg.load_from`` and ``cfg.resume``; returns the meta of the file, if there is one."""
    if '' in (resume, cfg.get('load_from')):  # an unset shell variable; training would restart
        raise UserError("the name of the checkpoint to go on from is '': give a file, or --resume "
                        'alone for the newest in the work folder')
    if not resume and cfg.get('resume'):
        resume = cfg.get('load_from') or True  # as MMEngine understands these settings
    if resume:
        found = resume if isinstance(resume, str) else find_whole_checkpoint(cfg.work_dir)
        cfg.resume = found is not None
        if found is not None:
            cfg.load_from = found
        else:
            print_log(f'--resume: no checkpoint in {cfg.work_dir} yet, training from the start')
    if cfg.get('load_from') and '://' not in cfg.load_from:
        cfg.load_from = in_package(cfg.load_from)
        # Refuses a damaged file, or one that holds more than data.
        return read_checkpoint(cfg.load_from).meta
    return {}


def test(cfg: Config, checkpoint: str, verbose: bool = False) -> dict[str, float]:
    """Score a checkpoint on the config's test sets.

    Args:
        cfg (Config): From :func:`load_config`.
        checkpoint (str): A Runner's, published or converted checkpoint.
        verbose (bool): Show MMEngine's whole log on the console, too.

    Returns:
        Dict[str, float]: The metrics, such as ``'Set5-Y/PSNR'`` in dB.

    Raises:
        UserError: The data is missing, or the checkpoint cannot be read or
            does not fit the config's network.
    """
    if not verbose:
        quiet_early_warnings()
    check_sections(cfg, ['model', 'test_dataloader', 'test_cfg', 'test_evaluator'])
    _check_images(cfg, ['test_dataloader'])
    read_checkpoint(checkpoint)  # refuse an unreadable file before anything is built
    _take_community_network(cfg, checkpoint)
    cfg.load_from, cfg.resume = None, False
    cfg.model = without_perceptual_loss(cfg.model)
    runner = build_runner(cfg, verbose)
    leave_out_training(runner)
    _check_self_ensemble(cfg, runner.model)
    load_for_test(runner.model, checkpoint)
    recorder = _RecordMetrics()
    runner.register_hook(recorder, 'LOWEST')
    with _hooks_closed(runner), clear_errors(cfg):
        runner.test()
    return recorder.metrics


def _take_community_network(cfg: Config, checkpoint: str) -> None:
    """Replace a recipe's SRDenseNet by another project's network.

    The recipe's data and metrics then score any network that spandrel reads.

    Raises:
        UserError: It upscales by another factor than the recipe's network.
    """
    generator = cfg.model.get('generator') or {}
    if type_name(generator.get('type')) not in ('SRDenseNet', 'SpandrelNetwork') or (
            not holds_community_network(checkpoint)):
        return
    network = SpandrelNetwork(checkpoint)
    wanted = generator.get('upscale_factor', network.upscale_factor)
    if wanted != network.upscale_factor:
        raise UserError(f'{checkpoint}: {network.title} upscales x{network.upscale_factor}, the '
                        f'config is for x{wanted}: give a config for x{network.upscale_factor}')
    print_log(f'{checkpoint}: {network.title} replaces the config\'s network',
              logger='current')
    cfg.model = model_config(checkpoint)


def _check_self_ensemble(cfg: Config, model: nn.Module) -> None:
    """Refuse a setting that MMagic's own models would ignore."""
    model = unwrapped(model)
    if (cfg.model.get('test_cfg') or {}).get('self_ensemble') and (
            type(model).__module__.startswith('mmagic.')):
        raise UserError(f'model.test_cfg.self_ensemble: {type(model).__name__} does not know it, '
                        'LumaEditModel does (tools/infer.py --self-ensemble upscales with any)')


def build_runner(cfg: Config, verbose: bool = True) -> Runner:
    """Build the config's Runner, on this machine's device and launcher.

    Args:
        cfg (Config): From :func:`load_config`.
        verbose (bool): MMEngine's own console. Else that of :mod:`.console`.

    Raises:
        UserError: The config cannot be built (the message names the part), or
            its work folder cannot be written.
    """
    init_distributed(cfg)
    write_any_name()
    quiet_event_thread()
    with naming('--work-dir'):
        make_folder(cfg.work_dir)
    drop_worker_settings(cfg)
    return_what_cannot_be_sent()
    with clear_errors(cfg):
        runner = (Runner if verbose else QuietRunner).from_cfg(cfg)
    hide_part_wrappers(runner.model)
    if not verbose:
        logger_hook = (cfg.get('default_hooks') or {}).get('logger') or {}
        runner.register_hook(ConsoleHook(
            Path(cfg.filename or cfg.work_dir).stem, logger_hook.get('interval', 10)), 'LOWEST')
    return runner


class _RecordMetrics(Hook):
    """Keeps the metrics of the last test, which MMagic's loop does not return."""

    def __init__(self):
        self.metrics = {}

    def after_test_epoch(self, runner, metrics=None):
        self.metrics = {key: float(value) for key, value in (metrics or {}).items()}


def check_scores_file(path: str) -> None:
    """Check that :func:`save_scores` can write, before a test of hours.

    Raises:
        UserError: The file's ending is unknown, or its folder cannot be made or
            written to.
    """
    if Path(path).suffix not in ('', '.json', '.yaml', '.yml'):
        raise UserError(f'{path}: unknown ending, choose .json or .yaml')
    if Path(path).is_dir():
        raise UserError(f'{path}: is a folder, give a file name')
    make_folder(Path(path).parent)


def save_scores(scores: dict[str, float], path: str) -> None:
    """Write the metrics to a file whose ending, ``.json`` or ``.yaml``, names its format.

    With several processes, only the first one writes.
    """
    if not is_main_process():
        return
    with atomic_write(path) as temporary, open(temporary, 'w') as file:
        dump(scores, file, file_format=Path(path).suffix.lstrip('.') or 'json')
