# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Free main memory: what is there, and the limits of containers."""
import psutil
import pytest

from srdensenet_mm import free_memory
from srdensenet_mm.free_memory import free_main_memory


@pytest.mark.parametrize('limit_name, used_name', [
    ('memory.max', 'memory.current'),
    ('memory/memory.limit_in_bytes', 'memory/memory.usage_in_bytes')], ids=['v2', 'v1'])
def test_a_containers_limit(tmp_path, limit_name, used_name):
    limit, used = tmp_path / limit_name, tmp_path / used_name
    limit.parent.mkdir(exist_ok=True)
    limit.write_text('1000\n')
    used.write_text('900\n')
    used.with_name('memory.stat').write_text(
        'anon 600\nfile 300\nactive_file 200\ninactive_file 50\n')
    assert free_memory._container_free(tmp_path) == 350
    used.write_text('2000\n')
    assert free_memory._container_free(tmp_path) == 0
    limit.write_text('max\n')
    assert free_memory._container_free(tmp_path) is None


def test_free_memory(tmp_path, monkeypatch):
    assert free_memory._container_free(tmp_path) is None
    assert 0 < free_main_memory() <= psutil.virtual_memory().total
    monkeypatch.setattr(free_memory, '_container_free', lambda: 12345)
    assert free_main_memory() == 12345
