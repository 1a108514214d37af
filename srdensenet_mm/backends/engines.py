# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What runs a network: torch, or an inference engine given its ONNX form."""
import copy
import queue
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from srdensenet_mm.compat import same_signal_stack
from srdensenet_mm.device import cpu_has_bf16
from srdensenet_mm.errors import UserError

from .autocast import Autocast
from .probing import channels_of
from .quantization import dead_leaves, to_int8

Backend = Callable[[Tensor], Tensor]

# Backend -> what it can compute in on a CPU.
DTYPES = {
    'torch': ('fp32', 'bf16', 'fp16'),
    # Its CPU kernels know neither of the short types: it would convert the
    # values back before each operation.
    'onnxruntime': ('fp32', ),
    'openvino': ('fp32', 'bf16', 'fp16', 'int8'),
}

# The largest difference to torch, in parts of the largest value. A constant that should be
# computed shows by more.
_TOLERANCES = {'fp32': 1e-3, 'bf16': 0.1, 'fp16': 2e-2, 'int8': 0.1}

# How the engines say that there is not enough.
_LACK_OF_MEMORY = ('bad_alloc', 'ailed to allocate memory')


def make_backend(network: nn.Module,
                 name: str,
                 dtype: str = 'fp32',
                 keep_memory: bool = True) -> Backend:
    """Prepare a network to be run on the CPU.

    The network is copied (torch) or exported and compiled (the engines) here,
    once, for images of all sizes; changing its weights later has no effect.

    Args:
        network (nn.Module): (N, C, H, W) -> (N, C', s*H, s*W), float32.
        name (str): ``'torch'``, ``'onnxruntime'`` or ``'openvino'``.
        dtype (str): What it computes in. onnxruntime only does ``'fp32'``, the
            others ``'bf16'`` and ``'fp16'`` too where the CPU has instructions
            for them. OpenVINO does ``'int8'`` on any CPU: its convolutions, see
            :func:`~.quantization.to_int8`. Defaults to ``'fp32'``.
        keep_memory (bool): Whether onnxruntime keeps memory for the next call.
            It then takes up to twice what it needs, for a little less time.
            Nothing to the others. Defaults to True.

    Returns:
        Callable[[Tensor], Tensor]: Takes and gives float32 tensors on the CPU.
        Several threads may call it at once. An engine takes as many threads as
        torch does now, and raises ``MemoryError`` where it lacks memory.

    Raises:
        UserError: The name or dtype is not supported, the package is not
            installed, or the network cannot be exported, or not as what it
            computes.
    """
    if name not in DTYPES:
        raise UserError(f'backend={name!r} is not supported: choose one of {", ".join(DTYPES)}')
    if dtype not in DTYPES[name]:
        raise UserError(f'dtype={dtype!r} is not supported by backend={name}: '
                        f'choose one of {", ".join(DTYPES[name])}')
    if name == 'torch':
        if dtype == 'bf16' and not cpu_has_bf16():
            raise UserError(f'dtype={dtype!r}: this CPU does not compute in it, choose fp32')
        return _make_torch(network, dtype)
    network = copy.deepcopy(network).cpu().float().eval()
    run = _telling_lack_of_memory(
        _make_onnxruntime(network, keep_memory) if name == 'onnxruntime'
        else _make_openvino(network, dtype))
    _compare(run, network, name, dtype)
    return run


def _compare(run: Backend, network: nn.Module, name: str, dtype: str) -> None:
    """Refuse a graph into which tracing has written what it should compute."""
    from .agreement import largest_difference_of, noise
    channels = channels_of(network)
    # In 8 bits, the ranges of maps are those of images, which noise exceeds.
    inputs = _crops(dead_leaves(2, channels, seed=1)) if dtype == 'int8' else noise(channels)
    difference = largest_difference_of(run, network, inputs)
    if not difference <= _TOLERANCES[dtype]:
        raise UserError(
            f'backend={name}: computes something else than {type(network).__name__} in torch (up '
            f'to {difference:.2g} off, of values up to 1), so it cannot be used for this network')


def _crops(images: list[np.ndarray]) -> list[Tensor]:
    """Two batches, of another number and other sides."""
    both = torch.from_numpy(np.concatenate(images))
    return [both[:1, :, :20, :31], both[:, :, 30:63, :18]]


def _make_torch(network: nn.Module, dtype: str) -> Backend:
    network = Autocast(network, dtype).eval()

    @torch.no_grad()
    def run(inputs: Tensor) -> Tensor:
        return network(inputs)

    return run


def _telling_lack_of_memory(run: Backend) -> Backend:
    def told(inputs: Tensor) -> Tensor:
        try:
            return run(inputs)
        except Exception as error:  # onnxruntime's have no common class but this
            if not any(words in str(error) for words in _LACK_OF_MEMORY):
                raise
            raise MemoryError(str(error)) from error

    return told


def _make_onnxruntime(network: nn.Module, keep_memory: bool) -> Backend:
    from .agreement import make_session
    from .onnx_graph import INPUT, to_onnx
    session = make_session(to_onnx(network), keep_memory)

    def run(inputs: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {INPUT: _array(inputs)})[0])

    return run


@same_signal_stack()
def _make_openvino(network: nn.Module, dtype: str) -> Backend:
    from srdensenet_mm.optional_packages import import_optional

    from .onnx_graph import folded, to_onnx
    from .split_input import in_parts, split_input
    openvino = import_optional('openvino')
    core = openvino.Core()
    capability = dict(fp32='FP32', bf16='BF16', fp16='FP16', int8='INT8')[dtype]
    if capability not in core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        raise UserError(f'dtype={dtype!r} is not supported by backend=openvino on this '
                        'CPU: choose fp32')
    model = to_onnx(network)
    if dtype == 'int8':
        model = to_int8(folded(model), dead_leaves(8, channels_of(network)))
    # OpenVINO rounds everything, the image too.
    split = split_input(model) if dtype == 'bf16' else None
    # Without the hint, OpenVINO takes bf16 for fp32 wherever it is faster.
    compiled = core.compile_model(
        core.read_model(split or model), 'CPU', {
            'INFERENCE_PRECISION_HINT': dict(bf16='bf16', fp16='f16').get(dtype, 'f32'),
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_NUM_THREADS': torch.get_num_threads(),
        })
    with torch.no_grad():
        shape = network(torch.zeros(1, channels_of(network), 16, 24, dtype=torch.float32)).shape
    scale = shape[3] // 24
    # A request has the memory of one call.
    idle = queue.SimpleQueue()

    def run(inputs: Tensor) -> Tensor:
        n, _, height, width = inputs.shape
        try:
            request = idle.get_nowait()
        except queue.Empty:
            request = compiled.create_infer_request()
        try:
            # Its results are views of the request's own memory; infer copies them.
            out = request.infer([_array(in_parts(inputs.float()) if split else inputs)])[0]
        finally:
            idle.put(request)
        # Where memory lacks, it hands out what the call before has left there, and says nothing.
        if out.shape != (n, shape[1], scale * height, scale * width):
            raise MemoryError('OpenVINO lacks memory')
        return torch.from_numpy(out)

    return run


def _array(inputs: Tensor) -> np.ndarray:
    return inputs.detach().float().contiguous().numpy()

