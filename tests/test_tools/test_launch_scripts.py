# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""dist_*.sh with torchrun for real, slurm_*.sh with a stand-in for srun."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from tiny_training import tiny_config

from srdensenet_mm.engine.running import load_config
from srdensenet_mm.engine.running import test as run_tests

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools'
pytestmark = pytest.mark.skipif(not shutil.which('bash'), reason='the scripts need bash')


def start(script, *arguments, **environment):
    inherited = {name: value for name, value in os.environ.items()
                 if name not in ('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'PORT', 'RANK')}
    path = os.pathsep.join([str(ROOT), str(ROOT / 'studies')])
    return subprocess.Popen(
        ['bash', str(TOOLS / script), *map(str, arguments)], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(inherited, **{'PYTHON': sys.executable, 'PYTHONPATH': path, **environment}))


def finish(process):
    output = process.communicate(timeout=180)[0]
    return process.returncode, output


def processes_naming(text):
    """Processes, this one aside, in whose command line a text is."""
    found = []
    for process in psutil.process_iter(['cmdline', 'status']):
        if process.pid != os.getpid() and process.info['status'] != psutil.STATUS_ZOMBIE and any(
                str(text) in part for part in process.info['cmdline'] or ()):
            found.append(process)
    return found


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """What two machines of one process each have trained, here on one."""
    folder = tmp_path_factory.mktemp('two nodes')
    config = tiny_config(folder, max_iters=4, interval=4, num_workers=0, batch_size=2)
    nodes = [start('dist_train.sh', config, 1, '--work-dir', folder / 'work', NNODES='2',
                   NODE_RANK=str(rank), MASTER_ADDR='127.0.0.1', PORT='29517')
             for rank in (0, 1)]
    for status, output in map(finish, nodes):
        assert status == 0, output
    return folder, config


def test_two_nodes_train_together(trained):
    folder, _ = trained
    files = [[line.split()[2].split(',') for line in
              (folder / f'losses.txt.{rank}').read_text().splitlines()] for rank in (0, 1)]
    assert len(files[0]) == len(files[1]) == 4
    for one, other in zip(*files, strict=True):
        assert not set(one) & set(other)
    assert torch.load(folder / 'work/iter_4.pth', weights_only=True)['state_dict']


def test_dist_test_scores_images_that_do_not_divide(trained):
    folder, config = trained
    checkpoint, out = folder / 'work/iter_4.pth', folder / 'scores.json'
    status, output = finish(start('dist_test.sh', config, checkpoint, 2, '--out', out,
                                  '--work-dir', folder / 'test'))
    assert status == 0, output
    scores = json.loads(out.read_text())
    alone = run_tests(load_config(str(config), str(folder / 'test alone')), str(checkpoint))
    assert scores['count'] == alone['count'] == 5
    assert scores['PSNR'] == pytest.approx(alone['PSNR'], abs=1e-4)


@pytest.mark.parametrize('how, ranks, shown', [
    ('kill', [1], 'error: process 1 was ended by SIGKILL'),
    ('raise', [0, 1], 'error: this is the mistake')])
def test_a_rank_that_dies_ends_the_job(tmp_path, how, ranks, shown):
    config = tiny_config(tmp_path, max_iters=500, num_workers=1, batch_size=2, pause=0.05,
                         more_hooks=[dict(type='EndRank', ranks=ranks, iteration=3, how=how)])
    status, output = finish(start('dist_train.sh', config, 2, '--work-dir', tmp_path / 'work'))
    assert status == (137 if how == 'kill' else 2)
    assert shown in output and 'Traceback' not in output, output
    # By one process alone, where they all say the same.
    assert output.count('error: this is the mistake') == (how == 'raise'), output
    assert 2 <= len((tmp_path / 'losses.txt.0').read_text().splitlines()) < 500
    limit = time.monotonic() + 20
    while processes_naming(tmp_path) and time.monotonic() < limit:
        time.sleep(0.1)
    assert not processes_naming(tmp_path)


def test_sigterm_saves_and_leaves(tmp_path):
    config = tiny_config(tmp_path, max_iters=2000, interval=2000, num_workers=1, batch_size=2,
                         pause=0.05)
    process = start('dist_train.sh', config, 2, '--work-dir', tmp_path / 'work')
    limit = time.monotonic() + 120
    while not (tmp_path / 'losses.txt.1').exists() and time.monotonic() < limit:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    status, output = finish(process)
    assert status == 143, output
    (saved,) = (tmp_path / 'work').glob('iter_*.pth')
    # Once, as the last line, without torchrun's own.
    assert output.count(f'saved {saved}') == 1 and '--resume' in output.splitlines()[-1], output
    assert len(output.splitlines()) <= 3, output
    assert torch.load(saved, weights_only=True)['optimizer']
    assert not processes_naming(tmp_path)


def make_program(path, *lines):
    path.write_text('\n'.join(['#!/bin/bash', *lines, '']))
    path.chmod(0o755)
    return path


@pytest.fixture
def echo(tmp_path):
    """A stand-in for Python that says what it was called with."""
    return str(make_program(tmp_path / 'echo', 'printf "%s\\n" "$@"',
                            'echo "threads $OMP_NUM_THREADS"'))


def options(output):
    return dict(line[2:].split('=', 1) for line in output.splitlines()
                if line.startswith('--') and '=' in line)


def test_environment_variables_of_the_launchers(echo):
    status, output = finish(start('dist_train.sh', 'a config.py', 4, '--amp', PYTHON=echo))
    lines = output.splitlines()
    assert status == 0 and lines[0] == '-c'
    assert options(output)['nproc-per-node'] == '4'
    # No port is named, so that two jobs do not meet.
    assert options(output)['rdzv-endpoint'] == 'localhost:0' and 'master-port' not in output
    assert lines[-6:-1] == [f'{TOOLS}/train.py', 'a config.py', '--amp', '--launcher', 'pytorch']

    status, output = finish(start('dist_test.sh', 'c.py', 'x.pth', 2, PYTHON=echo, NNODES='3',
                                  NODE_RANK='1', MASTER_ADDR='10.0.0.7', PORT='1234'))
    assert options(output) == {'nproc-per-node': '2', 'nnodes': '3', 'node-rank': '1',
                               'master-addr': '10.0.0.7', 'master-port': '1234'}
    assert output.splitlines()[-6:-1] == [f'{TOOLS}/test.py', 'c.py', 'x.pth', '--launcher',
                                          'pytorch']

    status, output = finish(start('dist_train.sh', 'c.py', 2, PYTHON=echo, PORT='1234'))
    assert options(output)['master-port'] == '1234' and options(output)['node-rank'] == '0'


@pytest.mark.parametrize('script, arguments, said', [
    ('dist_train.sh', ['c.py'], 'usage: .*dist_train.sh CONFIG NUM_PROC'),
    ('dist_test.sh', ['c.py', '2'], 'usage: .*dist_test.sh CONFIG CHECKPOINT NUM_PROC'),
    ('dist_train.sh', ['c.py', 'two'], "NUM_PROC is 'two'"),
    ('slurm_train.sh', ['p', 'j', 'c.py'], 'usage: .*PARTITION JOB_NAME CONFIG WORK_DIR'),
    ('slurm_test.sh', ['p', 'j', 'c.py'], 'usage: .*PARTITION JOB_NAME CONFIG CHECKPOINT')])
def test_usage(script, arguments, said):
    status, output = finish(start(script, *arguments))
    assert status == 2 and re.search(said, output)


@pytest.mark.parametrize('name, value', [
    ('GPUS', 'abc'), ('GPUS_PER_NODE', '-1'), ('NTASKS', '0'), ('GPUS', '0')])
def test_slurm_is_asked_for_nothing_odd(tmp_path, name, value):
    make_program(tmp_path / 'srun', 'echo submitted')
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    status, output = finish(start(
        'slurm_train.sh', 'gpu', 'job', 'c.py', 'work', PATH=path, **{name: value}))
    named = 'NTASKS' if value == '0' else name
    assert status == 2 and f"{named} is '{value}'" in output and 'submitted' not in output


def test_slurm(echo, tmp_path):
    make_program(tmp_path / 'srun', 'printf "%s\\n" "$@"', 'echo "port $MASTER_PORT"')
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    status, output = finish(start(
        'slurm_train.sh', 'gpu', 'job', 'c.py', 'work', '--amp', PATH=path, PYTHON='py', GPUS='16',
        SRUN_ARGS='--exclude n7 --time 60', PORT='1234'))
    lines = output.splitlines()
    assert status == 0 and 'port 1234' in lines
    assert options(output) == {
        'partition': 'gpu', 'job-name': 'job', 'ntasks': '16', 'ntasks-per-node': '8',
        'cpus-per-task': '5', 'gres': 'gpu:8', 'kill-on-bad-exit': '1'}
    assert lines[-14:-1] == [
        '--exclude', 'n7', '--time', '60', 'py', '-u', f'{TOOLS}/train.py', 'c.py', '--work-dir',
        'work', '--amp', '--launcher', 'slurm']

    _, output = finish(start('slurm_test.sh', 'cpu', 'job', 'c.py', 'x.pth', PATH=path,
                             PYTHON='py', GPUS='0', NTASKS='4', NTASKS_PER_NODE='2'))
    assert 'gres' not in output
    assert options(output)['ntasks'] == '4' and options(output)['ntasks-per-node'] == '2'
    assert output.splitlines()[-8:-1] == ['py', '-u', f'{TOOLS}/test.py', 'c.py', 'x.pth',
                                          '--launcher', 'slurm']
