# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
from collections.abc import Sequence

from mmagic.registry import DATASETS
from torch.utils.data import Dataset


class WrappedDataset(Dataset):
    """Wraps a dataset; subclasses change how its samples are made.

    Args:
        dataset (dict | Sequence): The wrapped dataset, or its config.
    """

    def __init__(self, dataset: dict | Sequence):
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str):
        # Special methods are this object's own. While unpickling, `dataset` is missing.
        if name == 'dataset' or name.startswith('__'):
            raise AttributeError(name)
        return getattr(self.dataset, name)
