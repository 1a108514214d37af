# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
from collections.abc import Iterator

import torch
from mmagic.registry import LOOPS
from mmengine.dist import broadcast, get_rank
from mmengine.hooks import CheckpointHook
from mmengine.runner import IterBasedTrainLoop
from torch.utils.data import DataLoader, Dataset

from srdensenet_mm.compat import no_news_of_workers
from srdensenet_mm.config.type_name import type_name
from srdensenet_mm.errors import UserError

from .parts import wrappers_of
from .resumable_sampler import ResumableSampler
from .sample_seeds import SeededDataset, derive_seed, seed_generators

# Endless, or made endless by MMEngine's loop.
_REPLACED_SAMPLERS = ('InfiniteSampler', 'DefaultSampler', 'ResumableSampler')


@LOOPS.register_module()
class ResumableIterTrainLoop(IterBasedTrainLoop):
    """MMEngine's loop by iterations, with an exact resume.

    A run that is killed and resumed uses the same samples, random crops, flips
    and random numbers in the network as one without interruption. In fp32 on
    one device, its losses and final weights are the same bits (on a GPU: with
    ``randomness.deterministic``). The number of data-loader workers may change
    between the two runs. So may the number of processes, at the same global
    batch. Gradients are then summed up in another order.

    MMEngine's own loop reads and discards all batches up to the checkpoint.
    This one starts at once. A validation that was due at the checkpoint and was
    interrupted is repeated.

    Args:
        runner (Runner): The runner.
        dataloader (dict | DataLoader): The training data. Its sampler becomes a
            :class:`ResumableSampler`: only ``shuffle`` of its config is used. A
            ``DataLoader`` must have a ``ResumableSampler`` and a
            :class:`SeededDataset`.
        **kwargs: ``max_iters``, ``val_begin``, ``val_interval`` and
            ``dynamic_intervals`` of MMEngine's ``IterBasedTrainLoop``.

    Raises:
        UserError: ``dataloader`` has a sampler or batch sampler of its own.
    """

    def __init__(self, runner, dataloader: DataLoader | dict, **kwargs):
        if isinstance(dataloader, dict):
            dataloader = runner.build_dataloader(
                _resumable(dataloader), seed=runner.seed,
                diff_rank_seed=runner._randomness_cfg.get('diff_rank_seed', False))
        # The base class would start the workers now. They must start at the checkpoint's
        # position, which is not known yet.
        super().__init__(runner, NotStarted(dataloader.dataset, len(dataloader)), **kwargs)
        self.dataloader = dataloader

    def run(self) -> torch.nn.Module:
        """Train up to ``max_iters``.

        Raises:
            UserError: Gradients are accumulated, and ``val_interval`` or the
                interval of checkpoints is no multiple of
                ``accumulative_counts``.
        """
        self._check_accumulation()
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self._seed = self._shared_seed()
        batches = self._start()
        if self._iter and self._iter != self.runner.message_hub.runtime_info.get('scored_iter'):
            self._validate_when_due()
        with no_news_of_workers():
            while self._iter < self._max_iters and not self.stop_training:
                self.runner.model.train()
                batch = self._next(batches)
                seed_generators(derive_seed(self._seed, 1, self._iter, get_rank()))
                self.run_iter(batch)
                self._validate_when_due()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _check_accumulation(self) -> None:
        """Refuse to save in the middle of a step: no checkpoint holds its gradients."""
        intervals = []
        if self.runner.val_loop is not None:  # it may save the best and the last checkpoint
            intervals += [('train_cfg.val_interval', value) for value in self.dynamic_intervals]
        for hook in self.runner.hooks:
            if isinstance(hook, CheckpointHook) and not hook.by_epoch:
                intervals += [('default_hooks.checkpoint.interval', hook.interval),
                              ('default_hooks.checkpoint.save_begin', hook.save_begin)]
        for wrapper in wrappers_of(self.runner.optim_wrapper).values():
            counts = getattr(wrapper, '_accumulative_counts', 1)
            for name, value in intervals:
                # The last step may have fewer iterations.
                if 0 < value < self.max_iters and value % counts:
                    raise UserError(
                        f'{name}={value} is no multiple of optim_wrapper.accumulative_counts='
                        f'{counts}: a checkpoint within a step would lose gradients; give '
                        f'{-(-value // counts) * counts}')

    def _start(self) -> Iterator:
        """The batches from this iteration on."""
        sampler = self.dataloader.sampler
        sampler.seed, sampler.first = self._seed, self._iter * self.dataloader.batch_size
        return iter(self.dataloader)

    def _shared_seed(self) -> int:
        # After a resume, the Runner's seed is the checkpoint's.
        seed = torch.tensor(self.runner.seed)
        broadcast(seed)
        return int(seed)

    def _next(self, batches):
        try:
            return next(batches)
        except Exception:
            self.runner.call_hook('after_data_failure')
            raise

    def _validate_when_due(self) -> None:
        self._decide_current_val_interval()
        # An interval of 0 means the end of training alone.
        due = self._iter == self._max_iters or (
            self.val_interval > 0 and self._iter % self.val_interval == 0)
        if self.runner.val_loop is not None and self._iter >= self.val_begin and due:
            self.runner.val_loop.run()


class NotStarted:
    """Stands for a data loader until its workers may start."""

    def __init__(self, dataset: Dataset, length: int):
        self.dataset = dataset
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __iter__(self):
        return iter(())


def _resumable(cfg: dict) -> dict:
    sampler = cfg.get('sampler') or {}
    kind = type_name(sampler.get('type', 'InfiniteSampler'))
    if 'batch_sampler' in cfg or kind not in _REPLACED_SAMPLERS:
        raise UserError(f'train_dataloader: ResumableIterTrainLoop cannot resume the sampler '
                        f"{cfg.get('batch_sampler', sampler)}: use sampler="
                        "dict(type='ResumableSampler', shuffle=True)")
    return dict(
        cfg,
        dataset=dict(type=SeededDataset, dataset=cfg['dataset']),
        sampler=dict(type=ResumableSampler, shuffle=sampler.get('shuffle', True)))
