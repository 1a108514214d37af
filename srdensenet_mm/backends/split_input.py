# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Images for an engine that rounds its input to bf16.

In bf16, an image's values divided by 255 are off by up to half a level. That
costs the default network 0.014 dB on Set5, most of the loss in bf16. So each
channel becomes two: the rounded values and the rounding errors. Together they
keep 16 bits. A convolution with the same kernel for both adds them up.
"""
import numpy as np
import torch
from torch import Tensor

from srdensenet_mm.optional_packages import import_optional

from .onnx_graph import INPUT


def split_input(model: bytes) -> bytes | None:
    """Change a model to read its input in two parts, as :func:`in_parts` makes them.

    Args:
        model (bytes): A model of :func:`~srdensenet_mm.backends.onnx_graph.to_onnx`,
            with C input channels.

    Returns:
        bytes | None: The same function of 2 C channels. None where the input is
        read by something else than a convolution, or the kernel is shared.
    """
    onnx = import_optional('onnx')
    proto = onnx.load_from_string(model)
    graph = proto.graph
    kernels = {tensor.name: tensor for tensor in graph.initializer}
    readers = [node for node in graph.node if INPUT in node.input]
    if not readers or not all(_is_convolution(node, kernels) for node in readers):
        return None
    names = {node.input[1] for node in readers}
    if any(names & set(node.input) for node in graph.node if node not in readers):
        return None
    for name in names:
        kernel = onnx.numpy_helper.to_array(kernels[name])
        kernels[name].CopyFrom(
            onnx.numpy_helper.from_array(np.concatenate([kernel, kernel], axis=1), name))
    channels = next(value for value in graph.input if value.name == INPUT
                    ).type.tensor_type.shape.dim[1]
    channels.dim_value *= 2
    return proto.SerializeToString()


def in_parts(inputs: Tensor) -> Tensor:
    """Split values into their bf16 value and the rest.

    Args:
        inputs (Tensor): Shape (N, C, H, W), float32.

    Returns:
        Tensor: Shape (N, 2 C, H, W), float32. The sum of the two halves is the
        input. Rounding them to bf16 changes it by at most 2^-17 of its size.
    """
    rounded = inputs.bfloat16().float()
    return torch.cat([rounded, inputs - rounded], dim=1)


def _is_convolution(node, kernels: dict) -> bool:
    """Whether doubling a node's kernel doubles its input channels."""
    groups = next((a.i for a in node.attribute if a.name == 'group'), 1)
    return (node.op_type == 'Conv' and groups == 1 and node.input[0] == INPUT
            and node.input[1] in kernels)
