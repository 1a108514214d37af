# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The order of interleaved calls, and what is told about memory."""
import mmap
import os
import time

import pytest

from srdensenet_mm.benchmark.peak_memory import _sample_peak, measure_peak, run_fresh
from srdensenet_mm.benchmark.timing import time_interleaved


def test_each_takes_its_turn_after_one_round_that_does_not_count():
    order, told = [], []
    calls = {name: lambda name=name: order.append(name) for name in 'abc'}
    seconds = time_interleaved(calls, runs=3, on_call=told.append)
    assert ''.join(order) == 'abc' + 'bca' + 'cab' + 'abc'
    assert told == order
    assert {name: len(taken) for name, taken in seconds.items()} == dict(a=3, b=3, c=3)


def test_the_time_is_the_calls_own(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, 'perf_counter', lambda: clock[0])

    def take(duration):
        clock[0] += duration

    durations = iter([9., 1., 2.])
    calls = dict(long=lambda: take(next(durations)), short=lambda: take(0.25))
    assert time_interleaved(calls, runs=2) == dict(long=[1., 2.], short=[0.25, 0.25])


@pytest.mark.parametrize('measure', [measure_peak, _sample_peak])
def test_a_call_that_fails_is_not_made_again(measure):
    calls = []

    def fail():
        calls.append(fail)
        raise FileNotFoundError('its own')

    with pytest.raises(FileNotFoundError, match='its own'):
        measure(fail)
    assert len(calls) == 1


@pytest.mark.parametrize('measure', [measure_peak, _sample_peak])
def test_peak_memory_is_what_was_touched_at_once(measure):
    mib = 2**20

    def allocate():
        for _ in range(3):
            # Of the system: what malloc gives may have been touched before.
            with mmap.mmap(-1, 64 * mib) as block:
                for page in range(0, len(block), mmap.PAGESIZE):
                    block[page] = 1
                time.sleep(0.02)

    def small():
        time.sleep(0.02)

    small(), allocate()
    assert 60 * mib < measure(allocate) < 120 * mib
    assert measure(small) < 16 * mib


def test_a_fresh_process_answers_and_reports_its_failure(tmp_path):
    script = tmp_path / 'parts.py'
    script.write_text('import os\n'
                      'def answer(number, name):\n'
                      '    print("something else")\n'
                      '    return dict(number=number + 1, name=name,\n'
                      '                threads=os.environ["OMP_NUM_THREADS"], pid=os.getpid())\n'
                      'def fail():\n'
                      '    raise ValueError("of this")\n')
    found = run_fresh(f'{script}:answer', dict(number=1, name='ü'), threads=3)
    assert found.pop('pid') != os.getpid()
    assert found == dict(number=2, name='ü', threads='3')
    with pytest.raises(RuntimeError, match='of this'):
        run_fresh(f'{script}:fail', {}, threads=1)
