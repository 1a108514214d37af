# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Seeds that depend on the position in a training alone.

A run that is killed and resumed must draw the same random numbers as an
uninterrupted one. Saving the states of all random generators is not enough:
prefetching workers are ahead of the checkpoint by an unknown number of samples.
So nothing is saved. Every sample, and every iteration, gets a seed made of the
run's seed and its own number.
"""
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from mmagic.registry import DATASETS

from srdensenet_mm.datasets.wrapped_dataset import WrappedDataset


class SamplePosition(int):
    """An index into a dataset that knows its seed.

    Attributes:
        seed (int): Of all randomness in making this sample.
    """

    seed: int

    def __new__(cls, index: int, seed: int):
        position = super().__new__(cls, index)
        position.seed = seed
        return position

    def __getnewargs__(self):
        return int(self), self.seed


def derive_seed(*numbers: int) -> int:
    """Make a seed of 63 bits from several numbers, each of any size >= 0."""
    high, low = np.random.SeedSequence(numbers).generate_state(2)
    return (int(high) << 31 ^ int(low)) & (2**63 - 1)


def seed_generators(seed: int, with_cuda: bool = True) -> None:
    """Seed Python's, NumPy's and PyTorch's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if with_cuda:
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators for a while, and put them back."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed_generators(seed, with_cuda=False)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@DATASETS.register_module()
class SeededDataset(WrappedDataset):
    """A dataset whose samples are seeded by the indices of ``ResumableSampler``.

    MMagic's transforms draw from the global generators. These are seeded before
    each sample is made, and restored after it. An index without a seed is used
    as it is.

    Args:
        dataset (dict | Sequence): The dataset, or its config.
    """

    def __getitem__(self, index: int):
        if not isinstance(index, SamplePosition):
            return self.dataset[index]
        with seeded(index.seed):
            return self.dataset[int(index)]
