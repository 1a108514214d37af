# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Layer = Callable[[Tensor], Tensor]
# oneDNN's ReLU turns NaN into 0, its leaky ReLU keeps NaN. With this slope, negative outputs
# are too small to change a sum, and not so small (denormal) that they slow a CPU.
_SLOPE = 1e-30


def linear_relu(weight: Tensor, bias: Tensor, rows: int) -> Layer:
    """Prepare ``relu(x @ weight.T + bias)`` for many calls without gradients.

    On CPUs, the weight is put into oneDNN's own order once. oneDNN then adds the
    bias and applies ReLU in the same pass. torch's compiler uses the same
    operator, which has no public name. A negative sum s becomes 1e-30 * s there.

    Args:
        weight (Tensor): Shape (C_out, C_in), with the type and device of the
            inputs.
        bias (Tensor): Shape (C_out, ), of the same type.
        rows (int): Rows that most calls will have.

    Returns:
        Callable[[Tensor], Tensor]: (M, C_in) -> (M, C_out), for any M.
    """
    if _can_pack(weight):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
        linear = torch.ops.mkldnn._linear_pointwise
        return lambda x: linear(x, packed, bias, 'leaky_relu', [_SLOPE], '')
    return lambda x: F.relu_(F.linear(x, weight, bias))


def _can_pack(weight: Tensor) -> bool:
    # A compiler cannot read packed weights, and fuses by itself.
    if weight.device.type != 'cpu' or torch.compiler.is_compiling():
        return False
    if not torch.backends.mkldnn.is_available() or not all(
            hasattr(torch.ops.mkldnn, name)
            for name in ('_linear_pointwise', '_reorder_linear_weight')):
        return False
    if weight.dtype is torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return weight.dtype is torch.float32
