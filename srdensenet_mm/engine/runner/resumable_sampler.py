# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
from collections.abc import Iterator, Sized

import torch
from mmagic.registry import DATA_SAMPLERS
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from .sample_seeds import SamplePosition, derive_seed


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler):
    """An endless sampler that can start anywhere.

    The stream of samples is one permutation of the dataset after the other.
    Each depends on the seed and its number only. With N processes, process r
    takes positions r, r + N, ... So no two processes share a sample of a pass.
    Together they take the samples of one process with the same global batch.

    Args:
        dataset (Sized): The dataset.
        shuffle (bool): Whether to permute. Defaults to True.
        seed (int, optional): Must be the same on all processes. Defaults to a
            random one, which they share.

    Attributes:
        first (int): Samples of this process to skip. Set it before iterating.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None):
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.first = 0

    def __iter__(self) -> Iterator[SamplePosition]:
        number, order = None, []
        position = self.first * self.world_size + self.rank
        while True:
            if position // self.size != number:
                number = position // self.size
                order = self._order(number)
            # The other generators start from (seed, 1, ...), see the loop.
            yield SamplePosition(order[position % self.size], derive_seed(self.seed, 0, position))
            position += self.world_size

    def _order(self, number: int) -> list:
        if not self.shuffle:
            return list(range(self.size))
        generator = torch.Generator()
        generator.manual_seed(derive_seed(self.seed, 2, number))
        return torch.randperm(self.size, generator=generator).tolist()

    def __len__(self) -> int:
        """The dataset's length; the stream itself has no end."""
        return self.size
