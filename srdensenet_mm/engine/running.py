# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""From a recipe to a Runner that trains or tests: what the tools call."""
from pathlib import Path
from typing import Dict, Optional, Union

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from srdensenet_mm.errors import UserError
from srdensenet_mm.files import atomic_write

from .config_checks import check_checkpoint_fits, check_data, read_config


def load_config(config: str,
                work_dir: Optional[str] = None,
                cfg_options: Optional[dict] = None,
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
    elif not cfg.get('work_dir'):
        cfg.work_dir = str(Path('work_dirs') / Path(config).stem)
    return cfg


def train(cfg: Config,
          resume: Union[bool, str] = False,
          amp: bool = False,
          auto_scale_lr: bool = False) -> Runner:
    """Train as a config says.

    Args:
        cfg (Config): From :func:`load_config`.
        resume (bool | str): Go on from the newest checkpoint in the work
            folder (True), or from the given one.
        amp (bool): Mixed precision, as the device can do it.
        auto_scale_lr (bool): Scale the learning rate by the global batch size
            over ``auto_scale_lr.base_batch_size``.

    Returns:
        Runner: After training.

    Raises:
        UserError: The data, the checkpoint or a setting is not usable.
    """
    check_data(cfg, ['train_dataloader', 'val_dataloader'])
    if resume:
        cfg.resume = True
        cfg.load_from = resume if isinstance(resume, str) else None
    if amp:
        from .amp_optim_wrapper import enable_amp
        enable_amp(cfg)
    if auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise UserError('--auto-scale-lr needs auto_scale_lr.base_batch_size in the config: '
                            'add auto_scale_lr = dict(base_batch_size=16)')
        cfg.auto_scale_lr.enable = True
    runner = build_runner(cfg)
    runner.train()
    return runner


def test(cfg: Config, checkpoint: str) -> Dict[str, float]:
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
    check_data(cfg, ['test_dataloader'])
    check_checkpoint_fits(cfg, checkpoint)
    cfg.load_from = checkpoint
    runner = build_runner(cfg)
    recorder = _RecordMetrics()
    runner.register_hook(recorder, 'LOWEST')
    runner.test()
    return recorder.metrics


def build_runner(cfg: Config) -> Runner:
    """Build the config's Runner, on this machine's device and launcher."""
    return Runner.from_cfg(cfg)


class _RecordMetrics(Hook):
    """Keeps the metrics of the last test, which MMagic's loop does not return."""

    def __init__(self):
        self.metrics = {}

    def after_test_epoch(self, runner, metrics=None):
        self.metrics = {key: float(value) for key, value in (metrics or {}).items()}


def save_scores(scores: Dict[str, float], path: str) -> None:
    """Write the metrics to a file whose ending names its format.

    Raises:
        UserError: The format is not one that MMEngine writes.
    """
    from mmengine.fileio import dump
    try:
        with atomic_write(path) as temporary, open(temporary, 'w') as file:
            dump(scores, file, file_format=Path(path).suffix.lstrip('.') or 'json')
    except TypeError:
        raise UserError(f'{path}: unknown ending, choose .json or .yaml') from None
