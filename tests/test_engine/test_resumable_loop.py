# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
from types import SimpleNamespace

import pytest
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader

from srdensenet_mm.engine import ResumableIterTrainLoop, ResumableSampler
from srdensenet_mm.engine.sample_seeds import SeededDataset
from srdensenet_mm.errors import UserError


def _loader(dataset=None, sampler=ResumableSampler):
    dataset = SeededDataset(range(8)) if dataset is None else dataset
    return DataLoader(dataset, batch_size=2, sampler=sampler(dataset))


@pytest.mark.parametrize('loader, named', [
    (_loader(range(8)), 'SeededDataset'), (_loader(sampler=DefaultSampler), 'ResumableSampler')])
def test_a_data_loader_that_cannot_be_resumed_is_refused(loader, named):
    with pytest.raises(UserError, match=f'train_dataloader: .*{named}'):
        ResumableIterTrainLoop(SimpleNamespace(), loader, max_iters=12)
