# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""From a network to an ONNX graph that takes images of any size."""
import io
import tempfile
import warnings
from pathlib import Path

import torch
from torch import nn

from srdensenet_mm.errors import naming
from srdensenet_mm.models.channels import channels_of
from srdensenet_mm.models.fused import computing
from srdensenet_mm.optional_packages import import_optional

INPUT, OUTPUT = 'input', 'output'
DEFAULT_OPSET = 17
# Height and width of the traced input: different, so that swapping them would show, and odd, so
# that nothing can rely on even ones.
_TRACED = (13, 17)


def to_onnx(network: nn.Module, opset: int = DEFAULT_OPSET) -> bytes:
    """Write a network as an ONNX model with dynamic batch, height and width.

    Args:
        network (nn.Module): Maps float32 (N, C, H, W) to (N, C', s*H, s*W); on
            the CPU and in eval mode.
        opset (int): Version of ONNX's operators, 13 to 20. Defaults to 17.

    Returns:
        bytes: The serialised model; its input is named ``input``, its output
        ``output``.

    Raises:
        UserError: The package onnx is missing, or the network cannot be
            exported, with this opset.
    """
    onnx = import_optional('onnx')
    example = torch.zeros(1, channels_of(network), *_TRACED, dtype=torch.float32)
    buffer = io.BytesIO()
    # Exporters raise exceptions of many kinds.
    fails = naming(type(network).__name__, f'cannot be exported with opset {opset}', Exception)
    # Tracing warns of values that it takes for constants. Those would show at other sizes, where
    # callers compare the graph with torch. This exporter is deprecated, but the newer one needs
    # onnxscript and writes the same operations.
    with fails, warnings.catch_warnings(), torch.no_grad(), computing('graph'):
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        warnings.simplefilter('ignore', DeprecationWarning)
        warnings.simplefilter('ignore', UserWarning)
        torch.onnx.export(
            network, (example, ), buffer,
            dynamo=False,
            opset_version=opset,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={
                INPUT: {0: 'batch', 2: 'height', 3: 'width'},
                OUTPUT: {0: 'batch', 2: 'scaled_height', 3: 'scaled_width'},
            })
    proto = onnx.load_from_string(buffer.getvalue())
    # The exporter marks the output's channels as dynamic where they come from a sum.
    with torch.no_grad():
        channels = network(example).size(1)
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = channels
    return proto.SerializeToString()


def folded(model: bytes) -> bytes:
    """Compute constant parts of a graph once, and remove nodes without effect.

    The exporter leaves operations between a network's weights and the matrices
    of its products. Quantization must find these matrices as constants.

    Args:
        model (bytes): A model of :func:`to_onnx`.

    Returns:
        bytes: The same function in fewer nodes, all of them ONNX's own.

    Raises:
        UserError: onnxruntime is not installed.
    """
    ort = import_optional('onnxruntime')
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'folded.onnx'
        options.optimized_model_filepath = str(path)
        ort.InferenceSession(model, options, providers=['CPUExecutionProvider'])
        onnx = import_optional('onnx')
        proto = onnx.load(str(path))
    # onnxruntime declares its own operators even where the graph has none.
    used = {node.domain for node in proto.graph.node}
    for i in reversed(range(len(proto.opset_import))):
        if proto.opset_import[i].domain not in used:
            del proto.opset_import[i]
    return proto.SerializeToString()
