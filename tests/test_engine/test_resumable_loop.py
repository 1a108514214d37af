# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
from itertools import islice
from types import SimpleNamespace

import pytest
from mmengine.dataset import InfiniteSampler
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from srdensenet_mm.engine import ResumableIterTrainLoop, ResumableSampler
from srdensenet_mm.engine.runner.sample_seeds import SeededDataset
from srdensenet_mm.errors import UserError


def _loader():
    dataset = SeededDataset(range(8))
    return DataLoader(dataset, batch_size=2, sampler=ResumableSampler(dataset))


def _validated_after(**train_cfg):
    """The iterations after which a training of 12 validates."""
    found = []
    runner = SimpleNamespace(
        model=SimpleNamespace(train=lambda: None, train_step=lambda *args, **kwargs: {}),
        optim_wrapper=SimpleNamespace(), hooks=[], seed=3, call_hook=lambda *args, **kwargs: None,
        message_hub=SimpleNamespace(runtime_info={}),
        val_loop=SimpleNamespace(run=lambda: found.append(loop.iter)))
    loop = ResumableIterTrainLoop(runner, _loader(), max_iters=12, **train_cfg)
    loop.run()
    return found


def test_it_validates_when_it_should():
    assert _validated_after(val_interval=5) == [5, 10, 12]
    assert _validated_after(val_interval=2, val_begin=7) == [8, 10, 12]
    assert _validated_after(val_interval=4, dynamic_intervals=[(9, 1)]) == [4, 8, 9, 10, 11, 12]


@pytest.mark.parametrize('kind', ['InfiniteSampler', 'mmengine.InfiniteSampler', InfiniteSampler])
def test_a_sampler_is_replaced_however_its_type_is_named(kind):
    runner = SimpleNamespace(
        build_dataloader=Runner.build_dataloader, seed=3, _randomness_cfg={})
    cfg = dict(batch_size=2, num_workers=0, dataset=range(8),
               sampler=dict(type=kind, shuffle=False))
    loop = ResumableIterTrainLoop(runner, cfg, max_iters=12)
    assert isinstance(loop.dataloader.sampler, ResumableSampler)
    assert list(islice(loop.dataloader, 2)) == [[0, 1], [2, 3]]


def test_a_sampler_that_cannot_be_resumed_is_refused():
    runner = SimpleNamespace(build_dataloader=None)
    with pytest.raises(UserError, match='cannot resume the sampler .*RandomSampler'):
        ResumableIterTrainLoop(runner, dict(sampler=dict(type='RandomSampler')), max_iters=12)
