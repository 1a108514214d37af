# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""From a recipe to a Runner that trains or tests: what the tools call."""
import errno
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from srdensenet_mm.checkpoints.reading import read_checkpoint
from srdensenet_mm.compat import init_distributed, keep_freed_memory
from srdensenet_mm.errors import UserError
from srdensenet_mm.files import atomic_write, make_folder

from .config_checks import check_data, check_sections, clear_errors, read_config
from .loading import CheckpointKeysHook, find_whole_checkpoint, load_for_test

_AVERAGING_HOOKS = ('EMAHook', 'ExponentialMovingAverageHook')


def load_config(config: str,
                work_dir: str | None = None,
                cfg_options: dict | None = None,
                launcher: str = 'none') -> Config:
    """Read a recipe and apply what the command line says.

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
        # MMagic's recipes send their checkpoints to ./work_dirs, whatever the work folder.
        checkpoint_hook = (cfg.get('default_hooks') or {}).get('checkpoint')
        if checkpoint_hook and 'default_hooks.checkpoint.out_dir' not in (cfg_options or {}):
            checkpoint_hook.out_dir = None
    elif not cfg.get('work_dir'):
        cfg.work_dir = str(Path('work_dirs') / Path(config).stem)
    return cfg


def train(cfg: Config,
          resume: bool | str = False,
          amp: bool = False,
          auto_scale_lr: bool = False) -> Runner:
    """Train as a config says.

    Args:
        cfg (Config): From :func:`load_config`.
        resume (bool | str): Go on from the newest whole checkpoint in the work
            folder (True; from the start where there is none yet), or from the
            given one.
        amp (bool): Mixed precision, as the device can do it.
        auto_scale_lr (bool): Scale the learning rate by the global batch size
            over ``auto_scale_lr.base_batch_size``.

    Returns:
        Runner: After training.

    Raises:
        UserError: The data, the checkpoint or a setting is not usable; the
            disk is full; a loss is NaN or infinite (:class:`InvalidLossError`).
    """
    check_sections(cfg, ['model', 'train_dataloader', 'train_cfg', 'optim_wrapper'])
    check_data(cfg, ['train_dataloader', 'val_dataloader'])
    if resume:
        found = resume if isinstance(resume, str) else find_whole_checkpoint(cfg.work_dir)
        cfg.resume = found is not None
        if found is not None:
            cfg.load_from = found
        else:
            print_log(f'--resume: no checkpoint in {cfg.work_dir} yet, training from the start')
    if cfg.get('load_from') and '://' not in cfg.load_from:
        read_checkpoint(cfg.load_from)  # refuses what is damaged, or more than data
    if amp:
        from .amp_optim_wrapper import enable_amp
        enable_amp(cfg)
    if auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise UserError('--auto-scale-lr needs auto_scale_lr.base_batch_size in the config: '
                            'add auto_scale_lr = dict(base_batch_size=16)')
        cfg.auto_scale_lr.enable = True
    if not torch.cuda.is_available():
        keep_freed_memory()
    runner = build_runner(cfg)
    runner.register_hook(CheckpointKeysHook(strict=bool(cfg.get('resume'))))
    try:
        with clear_errors(cfg):
            runner.train()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        last = runner.message_hub.runtime_info.get('last_ckpt')
        raise UserError(f'{error.filename or cfg.work_dir}: the disk is full; the last good '
                        f'checkpoint: {last or "none yet"}. Free some space, then go on with '
                        '--resume') from error
    return runner


def test(cfg: Config, checkpoint: str) -> dict[str, float]:
    """Score a checkpoint on the config's test sets.

    Args:
        cfg (Config): From :func:`load_config`.
        checkpoint (str): A Runner's, published or converted checkpoint.

    Returns:
        Dict[str, float]: The metrics, such as ``'Set5-Y/PSNR'`` in dB.

    Raises:
        UserError: The data is missing, or the checkpoint cannot be read or
            does not fit the config's network.
    """
    check_sections(cfg, ['model', 'test_dataloader', 'test_cfg', 'test_evaluator'])
    check_data(cfg, ['test_dataloader'])
    read_checkpoint(checkpoint)  # what cannot be read is refused before anything is built
    cfg.load_from, cfg.resume = None, False
    # The weights to test are the averages already, where there are any.
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or []
                        if hook['type'] not in _AVERAGING_HOOKS]
    runner = build_runner(cfg)
    load_for_test(runner.model, checkpoint)
    recorder = _RecordMetrics()
    runner.register_hook(recorder, 'LOWEST')
    with clear_errors(cfg):
        runner.test()
    return recorder.metrics


def build_runner(cfg: Config) -> Runner:
    """Build the config's Runner, on this machine's device and launcher.

    Raises:
        UserError: The config cannot be built; the message says which part. Or
            its work folder cannot be written.
    """
    init_distributed(cfg)
    try:
        make_folder(cfg.work_dir)
    except UserError as error:
        raise UserError(f'{error}: name another folder for logs and checkpoints with '
                        '--work-dir') from error
    with clear_errors(cfg):
        return Runner.from_cfg(cfg)


class _RecordMetrics(Hook):
    """Keeps the metrics of the last test, which MMagic's loop does not return."""

    def __init__(self):
        self.metrics = {}

    def after_test_epoch(self, runner, metrics=None):
        self.metrics = {key: float(value) for key, value in (metrics or {}).items()}


def save_scores(scores: dict[str, float], path: str) -> None:
    """Write the metrics to a file whose ending names its format.

    Of several processes, the first one writes.

    Raises:
        UserError: The format is not one that MMEngine writes.
    """
    from mmengine.fileio import dump
    if not is_main_process():
        return
    try:
        with atomic_write(path) as temporary, open(temporary, 'w') as file:
            dump(scores, file, file_format=Path(path).suffix.lstrip('.') or 'json')
    except TypeError:
        raise UserError(f'{path}: unknown ending, choose .json or .yaml') from None
