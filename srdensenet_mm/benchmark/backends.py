# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The backends of a benchmark, with their types: ``torch``, ``openvino:bf16``, ..."""
import torch
from torch import Tensor, nn

from srdensenet_mm.backends.autocast import Autocast
from srdensenet_mm.backends.engines import DTYPES, check_dtype, make_backend
from srdensenet_mm.device import cpu_has_bf16, find_device
from srdensenet_mm.errors import UserError, naming
from srdensenet_mm.optional_packages import import_optional

TORCH = 'torch'


def choices() -> list[str]:
    """All backends with their types. Without a type, it is fp32."""
    return [name if dtype == 'fp32' else f'{name}:{dtype}'
            for name, dtypes in DTYPES.items() for dtype in dtypes]


def check(backend: str, device: str | torch.device = 'cpu') -> None:
    """Refuse a backend that is unknown, or does not work on this device or CPU.

    Args:
        backend (str): One of :func:`choices`.
        device (str | torch.device): Where the benchmark runs.

    Raises:
        UserError: The message has the choices, or the command that installs the package.
    """
    if backend not in choices():
        raise UserError(f'--backends {backend}: is not known, choose from {", ".join(choices())}')
    name, dtype = _parse(backend)
    with naming(f'--backends {backend}'):
        device = find_device(device, name)
        check_dtype(name, dtype, device)
        for package in ('onnx', name) if name != TORCH else ():
            import_optional(package)
        if device.type == 'cpu' and backend == 'torch:bf16' and not cpu_has_bf16():
            raise UserError('this CPU does not compute in bf16, and would be many times slower '
                            'than in fp32')


def wrap(network: nn.Module, backend: str) -> nn.Module:
    """A network that another backend runs.

    Args:
        network (nn.Module): (N, C, H, W) -> (N, C', s*H, s*W), float32, in
            eval mode. It is copied. torch computes on its device.
        backend (str): One of :func:`choices`.

    Returns:
        nn.Module: Takes and returns float32 tensors. It has no gradients.

    Raises:
        UserError: The backend's package is missing, the CPU lacks the
            type, or the network cannot be exported.
    """
    name, dtype = _parse(backend)
    if name == TORCH:
        device = next((p.device for p in network.parameters()), 'cpu')
        return Autocast(network, dtype, device)
    return _Engine(make_backend(network, name, dtype))


def _parse(backend: str) -> tuple[str, str]:
    name, _, dtype = backend.partition(':')
    return name, dtype or 'fp32'


class _Engine(nn.Module):

    def __init__(self, run):
        super().__init__()
        self._run = run

    def forward(self, inputs: Tensor) -> Tensor:
        return self._run(inputs)
