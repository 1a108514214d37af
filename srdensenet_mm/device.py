# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The CPUs and devices of this machine."""
import platform
import re
from pathlib import Path

import torch

from .errors import UserError, naming


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX).

    Without that, torch's bf16 is right, but 58 times slower than fp32 (the
    default network on an AVX2 CPU).
    """
    checks = ('_is_avx512_bf16_supported', '_is_amx_tile_supported')
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


def device_name() -> str:
    """The CPU's model as Linux knows it, else what Python knows."""
    try:
        found = re.search(r'^model name\s*:\s*(.+)$', Path('/proc/cpuinfo').read_text(), re.M)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def find_device(device: str | torch.device | None, backend: str = 'torch') -> torch.device:
    """Choose a device and check that it computes.

    Args:
        device (str | torch.device, optional): None takes a GPU where there is
            one and ``backend`` is torch, else the CPU.
        backend (str): The backend that will compute. All but torch run on CPUs.

    Raises:
        UserError: There is no such device here.
    """
    if device is None:
        use_gpu = backend == 'torch' and torch.cuda.is_available()
        return torch.device('cuda' if use_gpu else 'cpu')
    if backend != 'torch' and str(device).partition(':')[0] != 'cpu':
        raise UserError(f'device={device}: {backend} runs on cpu')
    # Each kind of device raises its own.
    with naming(f'device={device}', 'cannot be used here, cpu can', Exception):
        found = torch.device(device)
        torch.zeros(1, device=found).item()
    return found
