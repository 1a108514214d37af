# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import copy

import torch
from torch import Tensor, nn

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}


class Autocast(nn.Module):
    """A network computed in a given type, with float32 input and output.

    It uses autocast and does not convert the network. So SRDenseNet's first
    convolution and last sums keep float32, which they need.

    Args:
        network (nn.Module): Is copied.
        dtype (str): ``'fp32'``, ``'bf16'`` or ``'fp16'``.
        device (str | torch.device): Where it computes. Defaults to the CPU.
    """

    def __init__(self, network: nn.Module, dtype: str, device: str | torch.device = 'cpu'):
        super().__init__()
        self.network = copy.deepcopy(network).float().to(device)
        self.dtype = DTYPES[dtype]

    def forward(self, inputs: Tensor, *others) -> Tensor:
        """Shape (N, C, H, W) to (N, C', s*H, s*W), float32. Other arguments pass unchanged."""
        # Not the constructor's device: a module that holds this one may have been moved.
        device = next(self.parameters(), inputs).device
        reduced = self.dtype is not torch.float32
        with torch.autocast(device.type, dtype=self.dtype if reduced else None, enabled=reduced):
            return self.network(inputs.to(device, torch.float32), *others).float()
