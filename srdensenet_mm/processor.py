# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import torch


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX).

    Where it does not, torch computes in bf16 by loops of its own: right, and
    58 times slower than in fp32 (the default network on an AVX2 processor).
    """
    checks = ('_is_avx512_bf16_supported', '_is_amx_tile_supported')
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)
