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

from srdensenet_mm.optional_packages import import_optional

from .onnx_graph import INPUT

# What is computed in 8 bits: convolutions, and deconvolutions, which are matrix products here.
_QUANTIZED = ('Conv', 'Gemm')
_SIDE = 64


def to_int8(model: bytes, batches: Sequence[np.ndarray]) -> bytes:
    """Compute the network's convolutions in 8 bits.

    Weights get a scale for each output channel. The maps that a convolution
    reads get one scale each, for the range that they have on ``batches``. What
    a convolution yields is added up in float.

    Some stay in float. The errors of the first and of the last convolution
    would show in the image as they are. What reads the first one's maps stays
    too: OpenVINO (seen with 2026.4) computes wrong values where it rounds them.

    Args:
        model (bytes): A float32 model of :func:`~.onnx_graph.to_onnx`,
            :func:`~.onnx_graph.folded`.
        batches (Sequence[np.ndarray]): Inputs like those to come, each (N, C,
            H, W), float32, 0..1.

    Returns:
        bytes: A model in the QDQ form (QuantizeLinear and DequantizeLinear
        around what is quantized), float32 in and out.

    Raises:
        UserError: onnx or onnxruntime is not installed.
    """
    onnx = import_optional('onnx')
    quantization = onnxruntime_tool('quantization')
    proto = onnx.load_from_string(model)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        target = Path(folder) / 'int8.onnx'
        quantization.quantize_static(
            proto, target, _Reader(batches),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTIZED),
            nodes_to_quantize=_quantized_nodes(proto.graph),
            per_channel=True,
            # Seven bits of the weights: with eight, CPUs without VNNI
            # overflow where two products are added up in 16 bits.
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options=dict(OpTypesToExcludeOutputQuantization=list(_QUANTIZED)))
        return target.read_bytes()


def _quantized_nodes(graph) -> list[str]:
    """The names of the nodes that compute in 8 bits."""
    convolutions = [node for node in graph.node
                    if node.op_type in (*_QUANTIZED, 'ConvTranspose', 'MatMul')]
    first, last = convolutions[0], convolutions[-1]
    read_by = {}
    for node in graph.node:
        for name in node.input:
            read_by.setdefault(name, []).append(node)
    # The first convolution's readers, behind its ReLU or whatever else lies between.
    in_float, reached = {first.name, last.name}, list(first.output)
    for name in reached:
        for node in read_by.get(name, ()):
            if node in convolutions:
                in_float.add(node.name)
            else:
                reached += node.output
    return [node.name for node in convolutions
            if node.op_type in _QUANTIZED and node.name not in in_float]


class _Reader:
    """Hands batches to the calibration, one at a time and once."""

    def __init__(self, batches: Sequence[np.ndarray]):
        self._batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantizer's advice to prepare the model, which an export needs not."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def onnxruntime_tool(name: str) -> ModuleType:
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


def dead_leaves(count: int, channels: int, seed: int = 0) -> list[np.ndarray]:
    """Make images with the edges and textures of natural ones, from no data.

    Discs of all sizes cover one another, the model of "dead leaves" (Lee,
    Mumford, Huang, 2001); some have stripes. The ranges that maps have on them
    are those of photographs: the published x4 weights lose as much with them.

    Args:
        count (int): How many.
        channels (int): 1 (luma) or 3 (RGB).
        seed (int): Of the random numbers. Defaults to 0.

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
