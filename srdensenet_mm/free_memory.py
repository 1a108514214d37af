# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Free memory: of the machine, of a device, and one training process's share."""
import os
from pathlib import Path

import psutil

# Environment variables set by torchrun, Slurm and Open MPI.
_PROCESSES_HERE = ('LOCAL_WORLD_SIZE', 'SLURM_NTASKS_PER_NODE', 'OMPI_COMM_WORLD_LOCAL_SIZE')


def free_main_memory() -> int:
    """Main memory that is free now, as far as a container's limit allows.

    Returns:
        int: Bytes.
    """
    free = psutil.virtual_memory().available
    limit = _container_free()
    return free if limit is None else min(free, limit)


def free_share() -> int:
    """Free main memory for one of the training processes that a launcher started here.

    Returns:
        int: Bytes.
    """
    counts = [os.environ.get(name, '') for name in _PROCESSES_HERE]
    return free_main_memory() // next((int(count) for count in counts if count.isdigit()), 1)


def free_bytes(device) -> int:
    """Memory that is free on a device now, as far as a container's limit allows.

    Args:
        device (torch.device): Anything but CUDA means main memory.

    Returns:
        int: Bytes.
    """
    if device.type == 'cuda':
        import torch
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free_main_memory()


def _container_free(root: Path = Path('/sys/fs/cgroup')) -> int | None:
    """Bytes that this container's control group leaves; None without a limit."""
    layouts = (('memory.max', 'memory.current'),
               ('memory/memory.limit_in_bytes', 'memory/memory.usage_in_bytes'))
    for limit_name, used_name in layouts:
        try:
            limit = (root / limit_name).read_text().strip()
            used = int((root / used_name).read_text())
            statistics = (root / used_name).with_name('memory.stat').read_text()
        except (OSError, ValueError):
            continue
        if not limit.isdigit():
            return None
        # Cached pages of files count as used, but the kernel frees them on demand.
        cache = sum(int(line.split()[1]) for line in statistics.splitlines()
                    if line.startswith(('inactive_file ', 'active_file ')))
        return max(0, int(limit) - used + cache)
    return None
