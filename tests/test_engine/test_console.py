# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What a training and a test show on the console, and what the log file has."""
import sys

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from srdensenet_mm.engine.console import ConsoleHook, QuietRunner


class Net(BaseModel):
    """One weight, whose loss is its value."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, *inputs, mode='tensor'):
        return dict(loss=self.weight) if mode == 'loss' else [0]


class Quality(Evaluator):
    """An evaluator whose score is 1.5."""

    def __init__(self):
        super().__init__([])

    def process(self, *args, **kwargs):
        pass

    def evaluate(self, size):
        return {'PSNR': 1.5}


def run(kind, tmp_path, **options):
    loader = DataLoader([(0,), (1,), (2,), (3,)], batch_size=1)
    runner = kind(
        Net(), str(tmp_path), train_dataloader=loader, val_dataloader=loader,
        train_cfg=dict(by_epoch=False, max_iters=4, val_interval=2), val_cfg=dict(),
        val_evaluator=Quality(), optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        experiment_name=tmp_path.name, default_scope='mmagic', **options)
    hook = ConsoleHook('recipe', interval=2)
    runner.register_hook(hook, 'LOWEST')
    runner.logger.warning('a warning')
    runner.logger.warning('The prefix is not set in metric class PSNR.')
    runner.train()
    hook.close()
    return runner


def test_plain_lines_where_there_is_no_terminal(tmp_path, capsys):
    runner = run(QuietRunner, tmp_path)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert 'prefix is not set' not in out
    assert lines[0] == 'warning: a warning'
    # The toys make MMEngine warn of other things as well.
    lines = [lines[0], *(line for line in lines if 'warning' not in line)]
    assert lines[1].startswith('Training recipe on cpu, 4 iterations; log: ')
    assert lines[1].endswith('.log')
    assert lines[2:] == [
        'iteration 2 of 4, loss 2', 'iteration 2: PSNR 1.5000',
        'iteration 4 of 4, loss 2', 'iteration 4: PSNR 1.5000']
    assert err == ''
    with open(runner.logger._log_file) as file:
        log = file.read()
    assert 'System environment' in log and 'a warning' in log


def last_line_of_terminal(text):
    """What is to be seen where the cursor is, after a text with carriage returns."""
    line, column = '', 0
    for character in text.rpartition('\n')[2]:
        if character == '\r':
            column = 0
        else:
            line = line[:column] + character + line[column + 1:]
            column += 1
    return line


def test_a_bar_on_a_terminal_that_leaves_it_clean(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)
    monkeypatch.setenv('TERM', 'xterm')
    run(QuietRunner, tmp_path)
    out, err = capsys.readouterr()
    assert 'iteration 2 of 4' not in out and 'iteration 2: PSNR 1.5000' in out
    assert '4/4' in err or '0/4' in err
    assert last_line_of_terminal(err).strip() == ''
    # The terminal's "^C" overwrites the bar, and goes away with it.
    shown, end, _ = err.partition('/4 [')
    assert '^C' not in last_line_of_terminal(f'{shown}{end}\r^C{err[len(shown + end):]}')


def test_plain_lines_on_a_terminal_that_cannot_rewrite_a_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)
    monkeypatch.setenv('TERM', 'dumb')
    run(QuietRunner, tmp_path)
    out, err = capsys.readouterr()
    assert 'iteration 2 of 4, loss 2' in out and err == ''


@pytest.mark.parametrize('kind, shown', [(QuietRunner, False), (Runner, True)])
def test_listings_are_an_option(tmp_path, capsys, kind, shown):
    run(kind, tmp_path)
    assert ('System environment' in capsys.readouterr().out) == shown


def test_other_processes_are_silent(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('srdensenet_mm.engine.console.is_main_process', lambda: False)
    run(QuietRunner, tmp_path)
    assert 'iteration' not in capsys.readouterr().out
