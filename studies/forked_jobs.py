# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Trainings and tests in processes of their own, for the price of one import.

Importing MMagic takes many seconds; children forked after it inherit it. As a
program, this file runs a list of jobs from a JSON file, one after the other,
each in a number of processes as a launcher would start them, and prints the
scores and exit statuses as JSON on the last line::

    python studies/forked_jobs.py jobs.json

A job is ``dict(tool='train' | 'test', config=..., work_dir=..., processes=N)``
with optional ``cfg_options``, ``checkpoint`` (test), ``resume``, ``amp`` and
``auto_scale_lr`` (train), ``launcher`` (``'slurm'`` in place of ``'pytorch'``),
and ``signal`` (to each process once it trains).
"""
import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[1]


def fork(call, log, **environment):
    """Start ``call`` in a child, a session of its own, and return its number."""
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        os.setsid()
        os.environ.update({name: str(value) for name, value in environment.items()})
        handle = os.open(str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        import torch
        torch.set_num_threads(1)  # of no use to tiny networks
        call()
        status = 0
    except SystemExit as error:
        status = error.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def free_port():
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return one.getsockname()[1]


def environment(launcher, rank, processes):
    """What a launcher tells its processes."""
    if launcher == 'slurm':
        return dict(SLURM_PROCID=rank, SLURM_LOCALID=rank, SLURM_NTASKS=processes,
                    SLURM_NODELIST='here', SLURM_NNODES=1)
    return dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=processes, MASTER_ADDR='127.0.0.1')


def run_job(job):
    from mmengine.dist import is_main_process

    from srdensenet_mm.engine.running import load_config, save_scores, test, train
    processes, launcher = job.get('processes', 1), job.get('launcher', 'pytorch')
    work_dir = Path(job['work_dir'])
    work_dir.mkdir(parents=True, exist_ok=True)

    def call():
        cfg = load_config(job['config'], str(work_dir), job.get('cfg_options'),
                          launcher if processes > 1 else 'none')
        if job['tool'] == 'train':
            train(cfg, job.get('resume', False), job.get('amp', False),
                  job.get('auto_scale_lr', False))
        else:
            scores = test(cfg, job['checkpoint'])
            if is_main_process():
                save_scores(scores, str(work_dir / 'scores.json'))

    port = free_port()
    children = [
        fork(call, work_dir / 'log.txt', MASTER_PORT=port,
             **environment(launcher, rank, processes)) for rank in range(processes)]
    if 'signal' in job:
        limit = time.monotonic() + 60
        while not list(work_dir.parent.glob('losses.txt.*')) and time.monotonic() < limit:
            time.sleep(0.01)
        for child in children:
            os.kill(child, getattr(signal, job['signal']))
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    result = dict(statuses=statuses, log=(work_dir / 'log.txt').read_text()[-4000:])
    if (work_dir / 'scores.json').exists():
        result['scores'] = json.loads((work_dir / 'scores.json').read_text())
    return result


if __name__ == '__main__':
    sys.path.insert(0, str(ROOT))
    import tiny_training  # noqa: F401

    import srdensenet_mm.engine.running  # noqa: F401
    jobs = json.loads(Path(sys.argv[1]).read_text())
    if any("default_scope = 'mmagic'" in Path(job['config']).read_text() for job in jobs):
        from mmagic.utils import register_all_modules
        register_all_modules(init_default_scope=False)
    print(json.dumps([run_job(job) for job in jobs]))
