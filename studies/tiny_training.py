# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""A training of seconds that a test can run, kill and resume.

All that matters for resuming is in it: random crops from each of the three
global generators, dropout, warm-up and decay, an average of the weights,
validation and a best checkpoint. Configs name these parts with
``custom_imports = dict(imports=['srdensenet_mm', 'tiny_training'])``.
"""
import os
import random
import signal
import time

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import DATASETS, HOOKS, LOOPS, METRICS, MODELS, OPTIM_WRAPPERS
from torch import nn

from srdensenet_mm import engine
from srdensenet_mm.errors import UserError
from srdensenet_mm.models import SRDenseNet
from srdensenet_mm.models.initialization import he_normal

# MMEngine's own scope finds them too, and spares a test the import of all of MMagic.
for name in ('CheckpointKeysHook', 'SafeCheckpointHook', 'SaveOnSignalHook',
             'StopOnInvalidLossHook'):
    HOOKS.register_module(module=getattr(engine, name), force=True)
LOOPS.register_module(module=engine.ResumableIterTrainLoop, force=True)
OPTIM_WRAPPERS.register_module(module=engine.AutocastOptimWrapper, force=True)

TINY_NETWORK = dict(
    type='SRDenseNet', upscale_factor=2, mid_channels=4, num_blocks=1, num_layers=2, growth_rate=4,
    bottleneck_channels=4)


@DATASETS.register_module(force=True)
class TinyPairs(torch.utils.data.Dataset):
    """Random crops of smooth random images, named by their number.

    Args:
        size (int): Number of images.
        bad (int, optional): The image whose values are NaN.
        fixed (bool): The same crop each time instead.
    """

    metainfo = dict(dataset_type='tiny')

    def __init__(self, size=11, bad=None, fixed=False):
        self.fixed = fixed
        generator = torch.Generator().manual_seed(7)
        images = torch.rand(size, 1, 6, 6, generator=generator)
        self.images = nn.functional.interpolate(images, scale_factor=4, mode='bicubic')
        if bad is not None:
            self.images[bad] = float('nan')

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        top, left = np.random.randint(0, 8), random.randint(0, 8)
        noise = 0.01 * torch.rand(1)
        if self.fixed:
            top, left, noise = 0, 0, 0
        gt = self.images[index][:, top:top + 16, left:left + 16] + noise
        lr = nn.functional.avg_pool2d(gt, 2)
        return dict(inputs=lr, data_samples=Sample(gt, f'image{int(index)}.png'))


class Sample:
    """What MMagic's data sample offers, as far as it is used here."""

    def __init__(self, gt, gt_path):
        self.gt, self.gt_path = gt, gt_path


@MODELS.register_module(force=True)
class TinyModel(BaseModel):

    def __init__(self, dropout=0.1):
        super().__init__()
        cfg = dict(TINY_NETWORK)
        cfg.pop('type')
        self.generator = SRDenseNet(**cfg)
        # A new network upscales at once, and would have little to learn.
        he_normal(*(module for module in self.generator.modules()
                    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))))
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs, data_samples, mode='tensor'):
        out = self.generator(self.dropout(torch.stack(inputs)))
        gt = torch.stack([sample.gt for sample in data_samples]).to(out)
        if mode == 'loss':
            return dict(loss=(out.float() - gt).abs().mean())
        return list((out - gt).square().mean((1, 2, 3)))


@METRICS.register_module(force=True)
class TinyPSNR(BaseMetric):

    def process(self, data_batch, data_samples):
        self.results.extend(float(error) for error in data_samples)

    def compute_metrics(self, results):
        return dict(PSNR=float(-10 * np.log10(np.mean(results))), count=len(results))


@OPTIM_WRAPPERS.register_module(force=True)
class RecordGradients(OptimWrapper):
    """Writes the gradients of each step to a file, before they are clipped.

    Args:
        path (str): ``{path}.{step}.{rank}`` becomes a list of tensors.
    """

    def __init__(self, path, **kwargs):
        super().__init__(**kwargs)
        self.path, self.steps = path, 0

    def step(self, **kwargs):
        gradients = [parameter.grad.clone() for group in self.param_groups
                     for parameter in group['params']]
        torch.save(gradients, f'{self.path}.{self.steps}.{os.environ.get("RANK", 0)}')
        self.steps += 1
        super().step(**kwargs)


@HOOKS.register_module(force=True)
class EndRank(Hook):
    """Ends processes, as a user's mistake or the machine would.

    Args:
        ranks (Sequence[int]): Which of several.
        iteration (int): After how many iterations.
        how (str): ``'raise'`` or ``'kill'``.
    """

    def __init__(self, ranks, iteration, how):
        self.ranks, self.iteration, self.how = ranks, iteration, how

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if int(os.environ.get('RANK', 0)) not in self.ranks or runner.iter + 1 != self.iteration:
            return
        if self.how == 'kill':
            os.kill(os.getpid(), signal.SIGKILL)
        raise UserError('this is the mistake')


@HOOKS.register_module(force=True)
class TerminateInValidation(Hook):
    """Sends SIGTERM to a process after its first image of a validation.

    Args:
        rank (int): Which of several.
    """

    def __init__(self, rank):
        self.rank = rank

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if int(os.environ.get('RANK', 0)) == self.rank and batch_idx == 0:
            os.kill(os.getpid(), signal.SIGTERM)


@HOOKS.register_module(force=True)
class RecordLosses(Hook):
    """Appends a line to a file after each iteration: number, loss, files.

    Losses are hexadecimal, so that equal text means equal bits.
    """

    def __init__(self, path, pause=0.0):
        self.path, self.pause = path, pause

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        files = ','.join(sample.gt_path for sample in data_batch['data_samples'])
        with open(f'{self.path}.{os.environ.get("RANK", 0)}', 'a') as file:
            file.write(f'{runner.iter} {outputs["loss"].item().hex()} {files}\n')
        time.sleep(self.pause)


def tiny_config(folder, max_iters=60, interval=10, pause=0.0, num_workers=1, batch_size=4,
                lr=1e-2, dropout=0.1, bad=None, ema=True, scope='mmengine', more_hooks=()):
    """Write the config of a tiny training into a folder and return its path."""
    hooks = [dict(type='RecordLosses', path=str(folder / 'losses.txt'), pause=pause),
             dict(type='StopOnInvalidLossHook'), dict(type='SaveOnSignalHook'), *more_hooks]
    if ema:
        hooks.append(dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.05))
    val_dataset = dict(type='TinyPairs', size=5, fixed=True)
    cfg = Config(dict(
        default_scope=scope,
        custom_imports=dict(imports=['srdensenet_mm', 'tiny_training'], allow_failed_imports=False),
        model=dict(type='TinyModel', dropout=dropout),
        train_dataloader=dict(
            batch_size=batch_size, num_workers=num_workers, persistent_workers=num_workers > 0,
            sampler=dict(type='InfiniteSampler', shuffle=True),
            dataset=dict(type='TinyPairs', bad=bad)),
        train_cfg=dict(type='ResumableIterTrainLoop', max_iters=max_iters, val_interval=interval),
        val_dataloader=dict(
            batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=val_dataset),
        val_cfg=dict(type='ValLoop'),
        val_evaluator=dict(type='TinyPSNR'),
        test_dataloader=dict(
            batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=val_dataset),
        test_cfg=dict(type='TestLoop'),
        test_evaluator=dict(type='TinyPSNR'),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=lr),
                           clip_grad=dict(max_norm=1.)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=max_iters // 4),
            dict(type='CosineAnnealingLR', by_epoch=False, begin=max_iters // 4,
                 T_max=max_iters - max_iters // 4, end=max_iters)],
        auto_scale_lr=dict(enable=False, base_batch_size=batch_size),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=10),
            checkpoint=dict(type='SafeCheckpointHook', by_epoch=False, interval=interval,
                            max_keep_ckpts=2, save_best='PSNR', rule='greater')),
        custom_hooks=hooks,
        randomness=dict(seed=3),
        env_cfg=dict(mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0)),
        log_level='INFO'))
    path = folder / 'tiny.py'
    cfg.dump(str(path))
    return path


@HOOKS.register_module(force=True)
class Ballast(Hook):
    """Makes saving and validating slow enough to be killed within.

    Args:
        mib (int): What a checkpoint carries more.
        folder (str): Where a file ``validating`` exists during validations.
    """

    def __init__(self, mib, folder):
        self.mib, self.flag = mib, os.path.join(folder, 'validating')

    def before_save_checkpoint(self, runner, checkpoint):
        checkpoint['ballast'] = torch.zeros(self.mib * 2**18)

    def before_val_epoch(self, runner):
        open(self.flag, 'w').close()
        time.sleep(0.03)

    def after_val_epoch(self, runner, metrics=None):
        os.unlink(self.flag)
