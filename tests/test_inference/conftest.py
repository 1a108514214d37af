# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small are slower on several, much so on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
