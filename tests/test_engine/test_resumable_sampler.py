# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import itertools
import pickle
import random

import numpy as np
import pytest
import torch

from srdensenet_mm.engine.runner import resumable_sampler
from srdensenet_mm.engine.runner.resumable_sampler import ResumableSampler
from srdensenet_mm.engine.runner.sample_seeds import SamplePosition, SeededDataset, derive_seed


def _take(sampler, number):
    return list(itertools.islice(sampler, number))


def _of_rank(monkeypatch, rank, world_size, **kwargs):
    monkeypatch.setattr(resumable_sampler, 'get_dist_info', lambda: (rank, world_size))
    return ResumableSampler(range(11), seed=5, **kwargs)


def test_every_pass_is_another_permutation():
    stream = _take(ResumableSampler(range(11), seed=5), 110)
    passes = [tuple(stream[i:i + 11]) for i in range(0, 110, 11)]
    assert all(sorted(one) == list(range(11)) for one in passes)
    assert len(set(passes)) == 10
    assert _take(ResumableSampler(range(11), seed=6), 110) != stream
    assert _take(ResumableSampler(range(3), shuffle=False, seed=5), 7) == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize('first', [0, 1, 10, 11, 12, 1000])
def test_starts_anywhere(first):
    whole = _take(ResumableSampler(range(11), seed=5), first + 25)
    sampler = ResumableSampler(range(11), seed=5)
    sampler.first = first
    late = _take(sampler, 25)
    assert late == whole[first:]
    assert [one.seed for one in late] == [one.seed for one in whole[first:]]
    assert _take(sampler, 25) == late  # a new iteration starts at `first` again


@pytest.mark.parametrize('world_size', [2, 3, 4])
def test_ranks_share_one_stream(monkeypatch, world_size):
    alone = _take(_of_rank(monkeypatch, 0, 1), 60)
    ranks = [_take(_of_rank(monkeypatch, rank, world_size), 60 // world_size)
             for rank in range(world_size)]
    together = [one for group in zip(*ranks, strict=True) for one in group]
    assert together == alone
    assert [one.seed for one in together] == [one.seed for one in alone]


def test_seeds_do_not_repeat():
    seeds = [one.seed for one in _take(ResumableSampler(range(11), seed=5), 5000)]
    assert len(set(seeds)) == 5000 and min(seeds) >= 0
    assert derive_seed(1, 2) != derive_seed(2, 1)


def test_position_survives_the_way_to_a_worker():
    position = pickle.loads(pickle.dumps(SamplePosition(3, 2**60)))
    assert position == 3 and position.seed == 2**60


class _Random(torch.utils.data.Dataset):
    metainfo = dict(name='random')

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return index, random.random(), np.random.rand(), float(torch.rand(1))


def test_samples_depend_on_their_seed_alone():
    dataset = SeededDataset(_Random())
    first = dataset[SamplePosition(1, 42)]
    random.random(), np.random.rand(), torch.rand(1)
    assert dataset[SamplePosition(1, 42)] == first
    assert dataset[SamplePosition(1, 43)] != first
    assert dataset.metainfo == dict(name='random') and len(dataset) == 4
    assert pickle.loads(pickle.dumps(dataset))[SamplePosition(1, 42)] == first


def test_the_global_generators_go_on_as_before():
    def draws():
        return random.random(), np.random.rand(), float(torch.rand(1))

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = draws(), draws()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    one = draws()
    SeededDataset(_Random())[SamplePosition(0, 42)]
    assert (one, draws()) == expected
