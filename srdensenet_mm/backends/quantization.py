# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Graphs whose convolutions compute in 8 bits."""
import importlib
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np

from srdensenet_mm.errors import UserError
from srdensenet_mm.optional_packages import import_optional

from .onnx_graph import INPUT

# Operations in 8 bits: convolutions, and deconvolutions, which are matrix products here.
_QUANTIZED = ('Conv', 'Gemm')
_SIDE = 64
# Weights in seven bits: with eight, CPUs without VNNI overflow where they add two products in 16
# bits. onnxruntime's largest level is then this.
_LEVELS = 64


def to_int8(model: bytes, batches: Sequence[np.ndarray]) -> bytes:
    """Compute the network's convolutions in 8 bits.

    Weights get a scale for each output channel. The input of each convolution
    gets one scale, for its range on ``batches``. Sums are made in float. Maps
    behind a ReLU have large means, so that rounded weights shift what a
    convolution yields. Its bias takes back the mean of this shift (Nagel et
    al., "Data-Free Quantization", ICCV 2019, section 4.2).

    Some convolutions stay in float. Errors of the first and the last one would
    be visible in the image. Those that read the first one's maps stay in float
    too: OpenVINO (seen with 2026.4) computes wrong values in 8 bits there.

    Args:
        model (bytes): A float32 model of :func:`~.onnx_graph.to_onnx`,
            :func:`~.onnx_graph.folded`.
        batches (Sequence[np.ndarray]): Typical inputs, each (N, C, H, W),
            float32, 0..1.

    Returns:
        bytes: A model in the QDQ form (QuantizeLinear and DequantizeLinear
        around each quantized operation), with float32 input and output.

    Raises:
        UserError: onnx or onnxruntime is not installed, or nothing can be
            quantized.
    """
    onnx = import_optional('onnx')
    quantization = onnxruntime_tool('quantization')
    proto = onnx.load_from_string(model)
    names = _quantized_nodes(proto.graph)
    if not names:  # the quantizer would take all nodes
        raise UserError('dtype=int8: the network has no convolution between its first and its '
                        'last, so nothing would be computed in 8 bits: choose fp32')
    with tempfile.TemporaryDirectory() as folder, _quiet():
        target = Path(folder) / 'int8.onnx'
        _round_weights(proto, names, batches)
        quantization.quantize_static(
            proto, target, _Reader(batches),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTIZED),
            nodes_to_quantize=names,
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options=dict(OpTypesToExcludeOutputQuantization=list(_QUANTIZED)))
        return target.read_bytes()


def _quantized_nodes(graph) -> list[str]:
    """The names of the nodes that compute in 8 bits."""
    convolutions = [node for node in graph.node
                    if node.op_type in (*_QUANTIZED, 'ConvTranspose', 'MatMul')]
    if not convolutions:
        return []
    first, last = convolutions[0], convolutions[-1]
    read_by = {}
    for node in graph.node:
        for name in node.input:
            read_by.setdefault(name, []).append(node)
    # The readers of the first convolution, behind its ReLU or other operations between.
    in_float, reached = {first.name, last.name}, list(first.output)
    for name in reached:
        for node in read_by.get(name, ()):
            if node in convolutions:
                in_float.add(node.name)
            else:
                reached += node.output
    return [node.name for node in convolutions
            if node.op_type in _QUANTIZED and node.name not in in_float]


def _round_weights(proto, names: Sequence[str], batches: Sequence[np.ndarray]) -> None:
    """Round weights as the quantizer will, with biases that take back the mean shift.

    Args:
        proto (onnx.ModelProto): Changed in place.
        names (Sequence[str]): The nodes whose weights are rounded.
        batches (Sequence[np.ndarray]): See :func:`to_int8`.
    """
    from onnx import numpy_helper
    graph = proto.graph
    constants = {constant.name: constant for constant in graph.initializer}
    nodes = [node for node in graph.node
             if node.name in names and constants.keys() >= {*node.input[1:]}]
    means = _channel_means(proto, list({node.input[0] for node in nodes}), batches)
    for node in nodes:
        weight = numpy_helper.to_array(constants[node.input[1]]).astype(np.float64)
        transposed = node.op_type == 'Gemm' and not any(
            attribute.name == 'transB' and attribute.i for attribute in node.attribute)
        weight = weight.T if transposed else weight
        kernels = weight.reshape(*weight.shape[:2], -1)  # (out, in, places)
        step = np.abs(kernels).max((1, 2), keepdims=True) / _LEVELS
        rounded = np.round(kernels / np.where(step, step, 1)) * step
        mean = means[node.input[0]]
        if len(mean) != kernels.shape[1]:  # a convolution in groups
            continue
        bias = (kernels - rounded).sum(2) @ mean
        if len(node.input) > 2:
            bias = bias + numpy_helper.to_array(constants[node.input[2]])
        rounded = rounded.reshape(weight.shape)
        # Under new names: another node may read the same constants.
        for name, values in (('weight', rounded.T if transposed else rounded), ('bias', bias)):
            graph.initializer.append(numpy_helper.from_array(
                values.astype(np.float32), f'{node.name}_{name}'))
        node.input[1:] = [f'{node.name}_weight', f'{node.name}_bias']
    # onnxruntime warns of each constant that nothing reads.
    read = {name for node in graph.node for name in node.input}
    kept = [constant for constant in graph.initializer if constant.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _channel_means(proto, names: Sequence[str],
                   batches: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The mean of each channel of a graph's values."""
    import onnx
    ort = import_optional('onnxruntime')
    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    there = {value.name for value in probe.graph.output}
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name)
                              for name in names if name not in there)
    session = ort.InferenceSession(probe.SerializeToString(), providers=['CPUExecutionProvider'])
    means = dict.fromkeys(names, 0.)
    for batch in batches:
        for name, value in zip(names, session.run(names, {INPUT: batch}), strict=True):
            rows = np.moveaxis(value, 1, -1) if value.ndim == 4 else value
            means[name] += rows.reshape(-1, rows.shape[-1]).mean(0) / len(batches)
    return means


class _Reader:
    """Gives each batch to the calibration once."""

    def __init__(self, batches: Sequence[np.ndarray]):
        self._batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantizer's advice to prepare the model, which exported ones do not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def onnxruntime_tool(name: str) -> ModuleType:
    """Import one of onnxruntime's own tools.

    The tools put their folder on ``sys.path`` for good. Its modules have common
    names and could hide others. Here, the folder is on the path during the
    import only.
    """
    ort = import_optional('onnxruntime')
    before = list(sys.path)
    sys.path.append(str(Path(ort.__file__).parent / 'transformers'))
    try:
        return importlib.import_module(f'onnxruntime.{name}')
    finally:
        sys.path[:] = before


def dead_leaves(count: int, channels: int, seed: int = 0) -> list[np.ndarray]:
    """Make random images with edges and textures like those of photographs.

    Discs of all sizes cover one another: the "dead leaves" model (Lee, Mumford,
    Huang, 2001). Some have stripes. Maps have about the same ranges on them as
    on photographs: the published x4 weights lose as much PSNR with either.

    Args:
        count (int): Number of images.
        channels (int): 1 (luma) or 3 (RGB).
        seed (int): Seed of the random numbers. Defaults to 0.

    Returns:
        list[np.ndarray]: float32, shape (1, channels, 64, 64), in 0..1.
    """
    rng = np.random.default_rng(seed)
    return [_leaves(rng, channels) for _ in range(count)]


def _leaves(rng: np.random.Generator, channels: int) -> np.ndarray:
    y, x = np.mgrid[:_SIDE, :_SIDE]
    image = np.full((channels, _SIDE, _SIDE), rng.uniform(0.2, 0.8, (channels, 1, 1)))
    for _ in range(120):
        radius = min(3 / np.sqrt(1 - rng.uniform(0, 0.997)), _SIDE / 2)
        centre_y, centre_x = rng.uniform(0, _SIDE, 2)
        angle, stretch = rng.uniform(0, np.pi), rng.uniform(0.3, 1)
        along = (x - centre_x) * np.cos(angle) + (y - centre_y) * np.sin(angle)
        across = (y - centre_y) * np.cos(angle) - (x - centre_x) * np.sin(angle)
        # From 1 inside to 0 outside, over half a pixel to three.
        inside = np.hypot(along, across / stretch) - radius
        cover = 1 / (1 + np.exp(np.clip(inside * 4 / rng.choice([0.4, 0.8, 2]), -30, 30)))
        stripes = rng.uniform(-0.4, 0.4) * np.sin(rng.uniform(0.1, 2.5) * along)
        shade = rng.uniform(-0.02, 0.02) * across + stripes * (rng.random() < 0.5)
        image += cover * (rng.uniform(0, 1, (channels, 1, 1)) + shade - image)
    return (16 + 219 * image.clip(0, 1))[None].astype(np.float32) / 255
