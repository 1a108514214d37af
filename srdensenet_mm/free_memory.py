# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
from pathlib import Path

import psutil


def free_main_memory() -> int:
    """Main memory that is free now, as far as a container's limit allows.

    Returns:
        int: Bytes.
    """
    free = psutil.virtual_memory().available
    limit = _container_free()
    return free if limit is None else min(free, limit)


def _container_free(root: Path = Path('/sys/fs/cgroup')) -> int | None:
    """What the control group of this container leaves, None without a limit."""
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
        # Pages of files count as used, but are given up when they are wanted.
        cache = sum(int(line.split()[1]) for line in statistics.splitlines()
                    if line.startswith(('inactive_file ', 'active_file ')))
        return max(0, int(limit) - used + cache)
    return None
