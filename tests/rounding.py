# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""How far apart one sum may come out where its terms are added in two orders."""
import math

import torch
from torch import Tensor, nn


def rounding_error(values, length: int) -> float:
    """The largest difference that rounding alone explains.

    Each addition rounds by up to half an epsilon of what is summed so far, up
    or down. Of ``length`` of them, errors of random signs grow with the square
    root. Two epsilons are over five standard deviations of the difference of two such sums.

    Args:
        values (Tensor | np.ndarray): One of the results, float; the largest
            gives the size.
        length (int): Terms in a sum; of sums of sums, the terms of all.
    """
    values = torch.as_tensor(values).detach()
    largest = values.abs().max().item()
    return 2 * torch.finfo(values.dtype).eps * math.sqrt(length) * largest


def terms(network: nn.Module) -> int:
    """The terms of a network's sums, one of each layer, for :func:`rounding_error`."""
    return sum(layer.weight[:, 0].numel() if isinstance(layer, nn.ConvTranspose2d)
               else layer.weight[0].numel() for layer in network.modules()
               if isinstance(getattr(layer, 'weight', None), Tensor))


def assert_same_sums(found, expected, length: int) -> None:
    """Two results are one but for rounding; see :func:`rounding_error`."""
    found, expected = torch.as_tensor(found), torch.as_tensor(expected)
    torch.testing.assert_close(found, expected, rtol=0, atol=rounding_error(expected, length))
