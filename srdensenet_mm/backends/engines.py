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
from srdensenet_mm.models.channels import channels_of

from .autocast import Autocast
from .quantization import dead_leaves, to_int8

Backend = Callable[[Tensor], Tensor]

# Backend -> the types that it can compute in on a CPU.
DTYPES = {
    'torch': ('fp32', 'bf16', 'fp16'),
    # It has no CPU kernels for 16 bits: it would convert values before each operation.
    'onnxruntime': ('fp32', ),
    'openvino': ('fp32', 'bf16', 'fp16', 'int8'),
}

# The largest allowed difference to torch, relative to the largest value. Where tracing made a
# constant of a value, the difference is larger.
_TOLERANCES = {'fp32': 1e-3, 'bf16': 0.1, 'fp16': 2e-2, 'int8': 0.1}

# How the engines report a lack of memory.
_LACK_OF_MEMORY = ('bad_alloc', 'ailed to allocate memory')


def make_backend(network: nn.Module,
                 name: str,
                 dtype: str = 'fp32',
                 keep_memory: bool = True) -> Backend:
    """Prepare a network to run on the CPU.

    The network is copied (torch) or exported and compiled (engines) once, for
    images of all sizes. Changing its weights later has no effect.

    Args:
        network (nn.Module): (N, C, H, W) -> (N, C', s*H, s*W), float32.
        name (str): ``'torch'``, ``'onnxruntime'`` or ``'openvino'``.
        dtype (str): The type that it computes in. onnxruntime supports
            ``'fp32'`` only. The others support ``'bf16'`` and ``'fp16'`` too,
            where the CPU has instructions for them. OpenVINO computes the
            convolutions in ``'int8'`` on any CPU, see
            :func:`~.quantization.to_int8`. Defaults to ``'fp32'``.
        keep_memory (bool): Whether onnxruntime keeps memory for the next call.
            It is then a little faster and takes up to twice the memory. Has no
            effect on the others. Defaults to True.

    Returns:
        Callable[[Tensor], Tensor]: Takes and returns float32 tensors on the
        CPU. Several threads may call it at once. An engine uses as many threads
        as torch does now, and raises ``MemoryError`` where it lacks memory.

    Raises:
        UserError: The name or dtype is not supported, or the package is not
            installed. Or the network cannot be exported, or the exported graph
            computes something else.
    """
    check_dtype(name, dtype)
    if name == 'torch':
        if dtype == 'bf16' and not cpu_has_bf16():
            raise UserError(f'dtype={dtype!r}: this CPU does not compute in it, choose fp32')
        return _make_torch(network, dtype)
    network = copy.deepcopy(network).cpu().float().eval()
    run = _with_memory_errors(
        _make_onnxruntime(network, keep_memory) if name == 'onnxruntime'
        else _make_openvino(network, dtype))
    _compare(run, network, name, dtype)
    return run


def check_dtype(name: str, dtype: str, device: torch.device | None = None) -> None:
    """Refuse a backend, or a type that it does not compute in (on this device).

    Raises:
        UserError: The message has the choices.
    """
    if name not in DTYPES:
        raise UserError(f'backend={name!r}: choose one of {", ".join(DTYPES)}')
    if dtype not in DTYPES[name]:
        raise UserError(f'backend={name}, dtype={dtype!r}: choose one of {", ".join(DTYPES[name])}')
    if device is not None and (device.type, name, dtype) == ('cpu', 'torch', 'fp16'):
        raise UserError('dtype=fp16: is for GPUs; on a CPU, bf16 is the fast type')


def _compare(run: Backend, network: nn.Module, name: str, dtype: str) -> None:
    """Refuse a graph that computes other values than the network in torch."""
    from .agreement import largest_difference_of, noise
    channels = channels_of(network)
    # In 8 bits, maps have the ranges that images give them. Noise would exceed these.
    inputs = _crops(dead_leaves(2, channels, seed=1)) if dtype == 'int8' else noise(channels)
    difference = largest_difference_of(run, network, inputs)
    if not difference <= _TOLERANCES[dtype]:
        raise UserError(
            f'backend={name}: computes something else than {type(network).__name__} in torch (up '
            f'to {difference:.2g} off, of values up to 1), so it cannot be used for this network')


def _crops(images: list[np.ndarray]) -> list[Tensor]:
    """Two batches of different sizes."""
    both = torch.from_numpy(np.concatenate(images))
    return [both[:1, :, :20, :31], both[:, :, 30:63, :18]]


def _make_torch(network: nn.Module, dtype: str) -> Backend:
    network = Autocast(network, dtype).eval()

    @torch.no_grad()
    def run(inputs: Tensor) -> Tensor:
        return network(inputs)

    return run


def _with_memory_errors(run: Backend) -> Backend:
    def checked(inputs: Tensor) -> Tensor:
        try:
            return run(inputs)
        except Exception as error:  # onnxruntime's exceptions have no closer common class
            if not any(words in str(error) for words in _LACK_OF_MEMORY):
                raise
            raise MemoryError(str(error)) from error

    return checked


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
    # In bf16, OpenVINO rounds the image too.
    split = split_input(model) if dtype == 'bf16' else None
    # Without the hint, OpenVINO uses bf16 instead of fp32 wherever it is faster.
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
        # Without enough memory, it returns the result of the call before, and no error.
        if out.shape != (n, shape[1], scale * height, scale * width):
            raise MemoryError('OpenVINO lacks memory')
        return torch.from_numpy(out)

    return run


def _array(inputs: Tensor) -> np.ndarray:
    return inputs.detach().float().contiguous().numpy()

