# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Exported models in fewer bits."""
import importlib
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import numpy as np

from srdensenet_mm.backends.onnx_graph import INPUT
from srdensenet_mm.compat import keep_float32
from srdensenet_mm.optional_packages import import_optional

# What forms put around the network is named so by the exporter.
_NETWORK_SCOPE = '/network/'
# What is computed in 8 bits. The products of the tail are not: with them, the
# output agrees with the network's to 2 dB less.
_QUANTISED = ('Conv', )


def network_nodes(model) -> tuple[list[str], list[str]]:
    """The names of a model's nodes: those of the network, and those of the colours around it."""
    names = [node.name for node in model.graph.node]
    inside = [name for name in names if name.startswith(_NETWORK_SCOPE)]
    if not inside:
        return names, []
    return inside, [name for name in names if not name.startswith(_NETWORK_SCOPE)]


def to_fp16(model: bytes) -> bytes:
    """Store and compute the network in half precision.

    Input and output stay float32, and so do the colours around a network on
    luma: 0..255 in half precision would be steps of 1/8 of a level.

    Args:
        model (bytes): A float32 model of :func:`to_onnx`.

    Returns:
        bytes: Half the size. On a CPU without half-precision arithmetic,
        onnxruntime converts the values back before each operation, so that the
        file is smaller and nothing is faster.

    Raises:
        UserError: onnx or onnxruntime is not installed.
    """
    onnx = import_optional('onnx')
    convert_float_to_float16 = _from_onnxruntime('transformers.float16').convert_float_to_float16
    proto = onnx.load_from_string(model)
    _, around = network_nodes(proto)
    proto = convert_float_to_float16(proto, keep_io_types=True, node_block_list=around)
    keep_float32(proto.graph)
    _sort(proto.graph)
    return proto.SerializeToString()


def _from_onnxruntime(name: str) -> ModuleType:
    """One of onnxruntime's own tools.

    They find each other by putting their folder, of modules named like
    anyone's, on the path for good; here it is there for the import alone.
    """
    ort = import_optional('onnxruntime')
    before = list(sys.path)
    sys.path.append(str(Path(ort.__file__).parent / 'transformers'))
    try:
        return importlib.import_module(f'onnxruntime.{name}')
    finally:
        sys.path[:] = before


def _sort(graph) -> None:
    """Put nodes behind those that they read, which the conversion leaves out."""
    maker = {name: i for i, node in enumerate(graph.node) for name in node.output}
    sorter = TopologicalSorter({
        i: [maker[name] for name in node.input if name in maker]
        for i, node in enumerate(graph.node)})
    nodes = [graph.node[i] for i in sorter.static_order()]
    nodes = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)


def to_int8(model: bytes, batches: Sequence[np.ndarray]) -> bytes:
    """Compute the network's convolutions in 8 bits.

    Weights get a scale for each output channel, maps one each, for the range
    that they have on ``batches``. The first convolution, which reads the
    image, and the last, which makes it, stay in float: their errors would
    show in the image as they are, and they are little of the work. So do the
    colours around a network on luma, and the deconvolutions.

    Args:
        model (bytes): A float32 model of :func:`to_onnx`.
        batches (Sequence[np.ndarray]): Inputs like those to come, each (N, C,
            H, W), float32, 0..1.

    Returns:
        bytes: A model in the QDQ form (QuantizeLinear and DequantizeLinear
        around what is quantised), float32 in and out.

    Raises:
        UserError: onnx or onnxruntime is not installed.
    """
    onnx = import_optional('onnx')
    quantization = _from_onnxruntime('quantization')
    proto = onnx.load_from_string(model)
    inside, _ = network_nodes(proto)
    inside = set(inside)
    names = [node.name for node in proto.graph.node
             if node.op_type in _QUANTISED and node.name in inside]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        target = Path(folder) / 'int8.onnx'
        quantization.quantize_static(
            proto, target, _Reader(batches),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTISED),
            nodes_to_quantize=names[1:-1],
            per_channel=True,
            # Seven bits of the weights: with eight, CPUs without VNNI
            # overflow where two products are added up in 16 bits.
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8)
        return target.read_bytes()


class _Reader:
    """Hands batches to the calibration, one at a time and once."""

    def __init__(self, batches: Sequence[np.ndarray]):
        self._batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's advice to prepare the model, which an export needs not."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
