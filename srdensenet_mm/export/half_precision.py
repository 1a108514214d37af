# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Exported models in half precision."""
from graphlib import TopologicalSorter

from srdensenet_mm.backends.quantization import onnxruntime_tool
from srdensenet_mm.compat import keep_float32
from srdensenet_mm.optional_packages import import_optional

# The exporter's name for the network inside a form.
_NETWORK_SCOPE = '/network/'


def network_nodes(model) -> tuple[list[str], list[str]]:
    """The names of a model's nodes: those of the network, and those of the colours around it."""
    names = [node.name for node in model.graph.node]
    inside = [name for name in names if name.startswith(_NETWORK_SCOPE)]
    if not inside:
        return names, []
    return inside, [name for name in names if not name.startswith(_NETWORK_SCOPE)]


def to_fp16(model: bytes) -> bytes:
    """Store and compute the network in half precision.

    Input and output stay float32. So do the colours around a network on luma:
    in half precision, 0..255 would have steps of 1/8 of a level.

    Args:
        model (bytes): A float32 model of :func:`to_onnx`.

    Returns:
        bytes: Half the size. On a CPU without half-precision arithmetic,
        onnxruntime converts values before each operation: the file is smaller,
        but nothing is faster.

    Raises:
        UserError: onnx or onnxruntime is not installed.
    """
    onnx = import_optional('onnx')
    convert_float_to_float16 = onnxruntime_tool('transformers.float16').convert_float_to_float16
    proto = onnx.load_from_string(model)
    _, around = network_nodes(proto)
    proto = convert_float_to_float16(proto, keep_io_types=True, node_block_list=around)
    keep_float32(proto.graph)
    _sort(proto.graph)
    return proto.SerializeToString()


def _sort(graph) -> None:
    """Sort nodes behind those that they read, because the conversion does not."""
    maker = {name: i for i, node in enumerate(graph.node) for name in node.output}
    sorter = TopologicalSorter({
        i: [maker[name] for name in node.input if name in maker]
        for i, node in enumerate(graph.node)})
    nodes = [graph.node[i] for i in sorter.static_order()]
    nodes = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)
