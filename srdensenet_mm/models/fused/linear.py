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


def exact_linear(weight: Tensor, dtype: torch.dtype,
                 rows: int) -> Callable[[Tensor, Tensor], None]:
    """Prepare ``x @ weight.T`` in 32 bits or more, for many calls without gradients.

    CPUs multiply bf16 several times as fast as float32. They add up in 32 bits,
    but round the sums to 16. A second product with the rounded sums subtracted
    gives the rounding error, itself in 16 bits. ``weight`` is split in the same
    way, into its bf16 value and the rest, which a third product adds.

    Args:
        weight (Tensor): Shape (C_out, C_in), float32 or wider.
        dtype (torch.dtype): Of the inputs.
        rows (int): Rows that most calls will have.

    Returns:
        Callable[[Tensor, Tensor], None]: Takes (M, C_in), and the tensor of the
        type of ``weight`` to write to, (M, C_out), for any M.
    """
    if dtype is not torch.bfloat16 or weight.device.type != 'cpu':
        return lambda x, out: torch.mm(x.to(weight.dtype), weight.t(), out=out)
    rounded = weight.to(dtype)
    rest = (weight - rounded).to(dtype)
    if _can_pack(rounded):
        rounded, rest = (
            torch.ops.mkldnn._reorder_linear_weight(part, rows) for part in (rounded, rest))
        linear = torch.ops.mkldnn._linear_pointwise

        def multiply(x: Tensor, out: Tensor) -> None:
            sums = linear(x, rounded, None, 'none', [], '')
            lost = linear.binary(x, sums, rounded, None, 'sub')
            out.copy_(sums).add_(linear.binary(x, lost, rest, None, 'add'))
    else:
        rounded, rest = rounded.t(), rest.t()

        def multiply(x: Tensor, out: Tensor) -> None:
            sums = torch.mm(x, rounded)
            lost = torch.addmm(sums, x, rounded, beta=-1).addmm_(x, rest)
            out.copy_(sums).add_(lost)

    return multiply


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
