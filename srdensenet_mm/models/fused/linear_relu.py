# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Layer = Callable[[Tensor], Tensor]
# oneDNN's ReLU makes 0 of NaN. Its leaky ReLU lets NaN show; with this slope it yields
# nothing below 0 that a sum would notice, and no number so small that it slows a CPU.
_SLOPE = 1e-30


def linear_relu(weight: Tensor, bias: Tensor, rows: int) -> Layer:
    """Prepare ``relu(x @ weight.T + bias)`` for many calls without gradients.

    On CPUs, oneDNN is given the weight in its own order, once, and adds the bias
    and applies ReLU while it has each value at hand. torch's compiler uses the
    same operator; it has no public name. A negative x becomes 1e-30 * x there.

    Args:
        weight (Tensor): Shape (C_out, C_in), of the type and on the device of
            what is to come.
        bias (Tensor): Shape (C_out, ), of the same type.
        rows (int): Rows that a call will mostly have.

    Returns:
        Callable[[Tensor], Tensor]: (M, C_in) -> (M, C_out), for any M.
    """
    if _can_pack(weight):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
        linear = torch.ops.mkldnn._linear_pointwise
        return lambda x: linear(x, packed, bias, 'leaky_relu', [_SLOPE], '')
    return lambda x: F.relu_(F.linear(x, weight, bias))


def _can_pack(weight: Tensor) -> bool:
    # A compiler cannot look into packed weights; it fuses by itself.
    if weight.device.type != 'cpu' or torch.compiler.is_compiling():
        return False
    if not torch.backends.mkldnn.is_available() or not all(
            hasattr(torch.ops.mkldnn, name)
            for name in ('_linear_pointwise', '_reorder_linear_weight')):
        return False
    if weight.dtype is torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return weight.dtype is torch.float32
