# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Kills, signals, full disks and numbers gone wrong, on a tiny training."""
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import ConstantLR, OptimWrapper, OptimWrapperDict
from mmengine.registry import HOOKS
from tiny_training import tiny_config

from srdensenet_mm.engine import CheckpointKeysHook, InvalidLossError, StopOnInvalidLossHook
from srdensenet_mm.engine.checks.work_folder import find_whole_checkpoint, mark_earlier_checkpoints
from srdensenet_mm.engine.running import load_config, train
from srdensenet_mm.errors import UserError

ROOT = Path(__file__).parents[2]


@HOOKS.register_module(force=True)
class DoAt(Hook):
    """Calls one of the functions below at a moment, before the other hooks act."""

    priority = 'HIGHEST'

    def __init__(self, what, iteration, moment='after_train_iter'):
        self.what, self.iteration, self.moment = what, iteration, moment

    def _act(self, runner, moment, done):
        if moment == self.moment and done == self.iteration:
            ACTIONS[self.what](runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._act(runner, 'after_train_iter', runner.iter + 1)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if batch_idx == 1:
            self._act(runner, 'after_val_iter', runner.iter)

    def after_val_epoch(self, runner, metrics=None):
        self._act(runner, 'after_val_epoch', runner.iter)


def _fail(runner):
    raise RuntimeError('the machine went away')


def _spoil_weights(runner):
    with torch.no_grad():
        runner.model.generator.conv_last.weight[0, 0, 0, 0] = float('inf')


def _limit_files(runner):
    # As with a full disk, writing fails in the middle of a file, and in the log and the records.
    # A best checkpoint is small enough.
    runner.logger.info('.' * 30_000)
    runner.visualizer.add_scalar('.' * 30_000, 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))


def _lift_limit(runner=None):
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _lose_worker(runner):
    # A signal to all processes of the job, which ends the data loader's worker first.
    os.kill(os.getpid(), signal.SIGTERM)
    loop = runner.train_loop
    following = loop._next
    loop._next = lambda batches: following(map(_fail, [runner]))


ACTIONS = dict(
    fail=_fail,
    lose_worker=_lose_worker,
    spoil_weights=_spoil_weights,
    limit_files=_limit_files,
    lift_limit=_lift_limit,
    sigterm=lambda runner: os.kill(os.getpid(), signal.SIGTERM),
    sigint=lambda runner: os.kill(os.getpid(), signal.SIGINT),
    sighup=lambda runner: os.kill(os.getpid(), signal.SIGHUP))


def _train(folder, resume=False, cfg_options=None, **settings):
    folder.mkdir(exist_ok=True)
    settings = {**dict(max_iters=30, num_workers=0), **settings}
    cfg = load_config(str(tiny_config(folder, **settings)), str(folder / 'work'), cfg_options)
    cfg.experiment_name = uuid.uuid4().hex  # else runs of the same second share their records
    return train(cfg, resume=resume)


def _checkpoint(folder, name='iter_30.pth'):
    return torch.load(folder / 'work' / name, weights_only=True)


def _names(folder):
    return sorted(path.name for path in (folder / 'work').iterdir()
                  if path.suffix == '.pth' or path.name == 'last_checkpoint')


def _assert_same(first, second):
    for part in ('state_dict', 'ema_state_dict'):
        assert first[part].keys() == second[part].keys()
        for key, value in first[part].items():
            assert torch.equal(value, second[part][key]), key
    assert first['param_schedulers'] == second['param_schedulers']
    for i, state in first['optimizer']['state'].items():
        for key, value in state.items():
            assert torch.equal(value, second['optimizer']['state'][i][key])


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    """A training that nothing happens to."""
    folder = tmp_path_factory.mktemp('alone')
    _train(folder)
    return folder


def _losses(folder):
    return (folder / 'losses.txt.0').read_text().splitlines()


def test_training_learns_and_keeps_what_it_should(alone):
    values = [float.fromhex(line.split()[1]) for line in _losses(alone)]
    assert sum(values[-5:]) < sum(values[:5]) / 2
    names = _names(alone)
    assert names[1:] == ['iter_20.pth', 'iter_30.pth', 'last_checkpoint']
    assert names[0].startswith('best_PSNR_iter_')
    assert (alone / 'work/last_checkpoint').read_text() == str(alone / 'work/iter_30.pth')


@pytest.mark.parametrize('number, status, iteration', [
    ('sigterm', 143, 13), ('sigterm', 143, 20), ('sigint', 130, 13), ('sigint', 130, 20),
    ('sighup', 129, 13)])
def test_signal_saves_and_resume_is_exact(tmp_path, alone, number, status, iteration, capfd):
    handled = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(one) for one in handled]
    with pytest.raises(SystemExit) as leaving:
        _train(tmp_path, more_hooks=[dict(type='DoAt', what=number, iteration=iteration)])
    assert leaving.value.code == status
    assert [signal.getsignal(one) for one in handled] == before
    saved = tmp_path / f'work/iter_{iteration}.pth'
    assert saved.exists()
    output = ''.join(capfd.readouterr())
    assert re.search(f'after iteration {iteration}: saved {saved}.*--resume', output)
    # With a worker this time: what is drawn does not depend on who draws it.
    _train(tmp_path, resume=True, num_workers=1)
    # A resume takes the averages and the weights beside them.
    assert 'averaged weights' not in ''.join(capfd.readouterr())
    assert _losses(tmp_path) == _losses(alone)
    _assert_same(_checkpoint(tmp_path), _checkpoint(alone))
    assert [name for name in _names(tmp_path) if 'best' in name] == [
        name for name in _names(alone) if 'best' in name]


def test_a_training_under_nohup_outlives_its_terminal(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        _train(tmp_path, max_iters=5, more_hooks=[dict(type='DoAt', what='sighup', iteration=3)])
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (tmp_path / 'work/iter_5.pth').exists()


def test_a_signal_waits_for_the_end_of_an_accumulation(tmp_path):
    with pytest.raises(SystemExit):
        _train(tmp_path, interval=12, cfg_options={'optim_wrapper.accumulative_counts': 4},
               more_hooks=[dict(type='DoAt', what='sigterm', iteration=13)])
    assert (tmp_path / 'work/last_checkpoint').read_text().endswith('iter_16.pth')


def test_nothing_is_saved_within_an_accumulation(tmp_path, capfd):
    with pytest.raises(SystemExit) as leaving:
        _train(tmp_path, interval=12, cfg_options={'optim_wrapper.accumulative_counts': 4},
               more_hooks=[dict(type='DoAt', what='lose_worker', iteration=14)])
    assert leaving.value.code == 143
    assert (tmp_path / 'work/last_checkpoint').read_text().endswith('iter_12.pth')
    assert 'iter_14.pth' not in _names(tmp_path)
    assert ('SIGTERM after iteration 14: gradients are being accumulated, nothing saved within a '
            'step. To go on' in ''.join(capfd.readouterr()))


def test_a_signal_while_validating_waits_for_the_end_of_an_accumulation(tmp_path):
    with pytest.raises(SystemExit):
        _train(tmp_path, cfg_options={
            'optim_wrapper.accumulative_counts': 4, 'train_cfg.type': 'IterBasedTrainLoop',
            'default_hooks.checkpoint.save_best': None},
            more_hooks=[dict(type='DoAt', what='sigterm', iteration=10, moment='after_val_iter')])
    assert (tmp_path / 'work/last_checkpoint').read_text().endswith('iter_12.pth')


@pytest.mark.parametrize('name, value, least', [
    ('default_hooks.checkpoint.interval', 10, 12), ('default_hooks.checkpoint.save_begin', 5, 8),
    ('train_cfg.val_interval', 2, 4), ('train_cfg.dynamic_intervals', [(20, 6)], 8)])
def test_checkpoints_within_an_accumulation_are_refused(tmp_path, name, value, least):
    options = {'optim_wrapper.accumulative_counts': 4, 'train_cfg.val_interval': 100}
    said = value
    if name.endswith('dynamic_intervals'):
        said, options[name], name = 6, value, 'train_cfg.val_interval'
    else:
        options[name] = value
    with pytest.raises(UserError, match=f'{name}={said} is no multiple of .*accumulative_counts=4'
                                        f'.*; give {least}$'):
        _train(tmp_path, interval=12, cfg_options=options)


def test_a_resume_with_accumulation_is_exact(tmp_path):
    # 30 is no multiple of 4: the last step is made of two batches.
    settings = dict(interval=12, cfg_options={'optim_wrapper.accumulative_counts': 4})
    _train(tmp_path / 'alone', **settings)
    other = tmp_path / 'other'
    with pytest.raises(RuntimeError, match='went away'):
        _train(other, more_hooks=[dict(type='DoAt', what='fail', iteration=14)], **settings)
    _train(other, resume=True, **settings)
    _assert_same(_checkpoint(other), _checkpoint(tmp_path / 'alone'))


@pytest.mark.parametrize('pause', [0.0, 0.05], ids=['waiting for data', 'computing'])
def test_signal_to_workers_as_well_saves(tmp_path, pause):
    # As Slurm sends it: to every process of the job.
    config = tiny_config(tmp_path, max_iters=5000, interval=5000, num_workers=2, pause=pause)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / 'tools/train.py'), str(config), '--work-dir',
         str(tmp_path / 'work')], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=dict(os.environ, PYTHONPATH=f'{ROOT}:{ROOT / "studies"}'))
    limit = time.monotonic() + 120
    while not (tmp_path / 'losses.txt.0').exists() and time.monotonic() < limit:
        time.sleep(0.05)
    main = psutil.Process(process.pid)
    everyone = [main, *main.children(recursive=True)]
    assert len(everyone) > 2
    for one in everyone:
        one.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 143, output
    (saved,) = (tmp_path / 'work').glob('iter_*.pth')
    assert f'saved {saved}' in output and 'Traceback' not in output


def test_signal_while_validating_saves_the_weights_as_trained(tmp_path, alone):
    # The averages are in the model's place then.
    with pytest.raises(SystemExit):
        _train(tmp_path, cfg_options={'default_hooks.checkpoint.interval': 15}, more_hooks=[
            dict(type='DoAt', what='sigterm', iteration=20, moment='after_val_iter')])
    _assert_same(_checkpoint(tmp_path, 'iter_20.pth'), _checkpoint(alone, 'iter_20.pth'))
    _train(tmp_path, resume=True)
    _assert_same(_checkpoint(tmp_path), _checkpoint(alone))


def test_best_stays_the_best_where_its_validation_was_cut_short(tmp_path, alone):
    # 20 is better than 10. The run dies after saving iteration 20 and before
    # the validation's result counts.
    with pytest.raises(RuntimeError, match='went away'):
        _train(tmp_path, more_hooks=[
            dict(type='DoAt', what='fail', iteration=20, moment='after_val_epoch')])
    assert 'best_PSNR_iter_10.pth' in _names(tmp_path)
    _train(tmp_path, resume=True)
    assert _names(tmp_path) == _names(alone)
    hubs = [_checkpoint(folder)['message_hub']['runtime_info'] for folder in (tmp_path, alone)]
    assert hubs[0]['best_score'] == hubs[1]['best_score']


@pytest.mark.parametrize('save_best, best', [
    ('auto', ['best_PSNR_iter_5.pth']),
    (['PSNR', 'count'], ['best_PSNR_iter_5.pth', 'best_count_iter_5.pth'])])
def test_a_best_that_none_surpasses_after_a_resume_stays(tmp_path, save_best, best):
    options = {'default_hooks.checkpoint.save_best': save_best}
    _train(tmp_path, max_iters=5, interval=5, cfg_options=options)
    saved = _checkpoint(tmp_path, 'iter_5.pth')
    for key in saved['message_hub']['runtime_info']:
        if key.startswith('best_score'):
            saved['message_hub']['runtime_info'][key] = 99.
    torch.save(saved, tmp_path / 'work/iter_5.pth')
    _train(tmp_path, resume=True, max_iters=10, interval=5, cfg_options=options)
    assert [name for name in _names(tmp_path) if 'best' in name] == best


def test_resume_before_the_first_checkpoint_starts_anew(tmp_path, alone):
    with pytest.raises(RuntimeError, match='went away'):
        _train(tmp_path, more_hooks=[dict(type='DoAt', what='fail', iteration=5)])
    _train(tmp_path, resume=True)
    assert _losses(tmp_path)[4:] == _losses(alone)  # four lines, then all of them


def test_no_earlier_training_is_gone_on_from_unasked(tmp_path):
    _train(tmp_path, max_iters=10)
    keep = tmp_path / 'work' / '.my own.pth'
    keep.write_bytes(b'x')
    half = tmp_path / 'work' / '.iter_5-abc.half-written.pth'
    half.write_bytes(b'x')
    fail = dict(type='DoAt', what='fail', iteration=3)
    with pytest.raises(RuntimeError, match='went away'):
        _train(tmp_path, max_iters=10, interval=5, more_hooks=[fail])
    assert keep.exists() and not half.exists()
    with pytest.raises(UserError, match=r'no checkpoint yet; .*--resume .*work/iter_10.pth'):
        _train(tmp_path, resume=True, max_iters=10, interval=5)
    # Its own are gone on from, and the earlier one where it is named.
    fail['iteration'] = 7
    with pytest.raises(RuntimeError, match='went away'):
        _train(tmp_path, max_iters=10, interval=5, more_hooks=[fail])
    (tmp_path / 'losses.txt.0').unlink()
    _train(tmp_path, resume=True, max_iters=10, interval=5)
    assert len(_losses(tmp_path)) == 5
    _train(tmp_path, resume=str(tmp_path / 'work/iter_10.pth'), max_iters=11, interval=5)
    assert len(_losses(tmp_path)) == 6


def test_what_lies_in_a_store_is_resumed_from(tmp_path):
    (tmp_path / 'iter_5.pth').write_bytes(b'x')
    (tmp_path / 'last_checkpoint').write_text('s3://a/iter_7.pth\n')
    assert find_whole_checkpoint(str(tmp_path)) == 's3://a/iter_7.pth'
    mark_earlier_checkpoints(str(tmp_path))
    assert not (tmp_path / 'last_checkpoint').exists()


def test_resume_from_checkpoints_in_a_folder_of_their_own(tmp_path, alone):
    out_dir = {'default_hooks.checkpoint.out_dir': str(tmp_path / 'elsewhere')}
    with pytest.raises(RuntimeError, match='went away'):
        _train(tmp_path, cfg_options=out_dir,
               more_hooks=[dict(type='DoAt', what='fail', iteration=13)])
    assert _names(tmp_path) == ['last_checkpoint']
    (tmp_path / 'losses.txt.0').unlink()
    _train(tmp_path, resume=True, cfg_options=out_dir)
    assert _losses(tmp_path) == _losses(alone)[10:]
    assert (tmp_path / 'elsewhere/work/iter_30.pth').exists()


def test_resume_as_mmengine_says_it(tmp_path, alone):
    _train(tmp_path)
    (tmp_path / 'work/iter_30.pth').write_bytes(
        (tmp_path / 'work/iter_30.pth').read_bytes()[:1000])
    (tmp_path / 'losses.txt.0').unlink()
    _train(tmp_path, cfg_options=dict(resume=True))
    assert len(_losses(tmp_path)) == 10  # from the whole one
    _assert_same(_checkpoint(tmp_path), _checkpoint(alone))
    for options in (dict(resume=''), dict(cfg_options=dict(load_from=''))):
        with pytest.raises(UserError, match="checkpoint to go on from is ''"):
            _train(tmp_path, **options)


def test_averages_go_on_as_averages_or_not_at_all(tmp_path, alone):
    with pytest.raises(UserError, match='iter_30.pth: .* averages .*EMAHook'):
        _train(tmp_path, resume=str(alone / 'work/iter_30.pth'), ema=False)


def test_an_error_leaves_the_signals_as_they_were(tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(RuntimeError, match='went away'):
        _train(tmp_path, more_hooks=[dict(type='DoAt', what='fail', iteration=3)])
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_another_optimizer_cannot_go_on(tmp_path, alone):
    with pytest.raises(UserError, match='another optimizer than SGD .*amsgrad.*, not dampening'):
        _train(tmp_path, resume=str(alone / 'work/iter_30.pth'),
               cfg_options={'optim_wrapper.optimizer': dict(_delete_=True, type='SGD', lr=0.1)})


# One with warm-up and a line to zero, one with a cosine, one that ends with the training.
RECIPES = {
    'line': [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=5),
             dict(type='LinearLR', start_factor=1., end_factor=0., by_epoch=False, begin=5,
                  end=20)],
    'cosine': [dict(type='CosineAnnealingLR', by_epoch=False, T_max=20, eta_min=1e-5, end=20)],
    'steps': [dict(type='MultiStepLR', by_epoch=False, milestones=[4, 8])],
}


def _resumed_with(folder, capfd, first=None, **options):
    """What is said of learning rates where a training goes on with other settings."""
    _train(folder, cfg_options={**(first or {}), 'train_cfg.max_iters': 10})
    capfd.readouterr()
    runner = _train(folder, resume=True, cfg_options={**(first or {}), **options})
    said = [line for line in ''.join(capfd.readouterr()).splitlines()
            if 'learning rates and schedules' in line]
    return runner, said


@pytest.mark.parametrize('recipe', RECIPES)
@pytest.mark.parametrize('scaled', [False, True])
def test_a_resume_with_the_same_schedules_is_told_nothing(tmp_path, capfd, recipe, scaled):
    runner, said = _resumed_with(
        tmp_path, capfd, {'param_scheduler': RECIPES[recipe], 'auto_scale_lr.enable': scaled,
                          'auto_scale_lr.base_batch_size': 2}, **{'train_cfg.max_iters': 12})
    assert runner.iter == 12 and said == []
    group, = runner.optim_wrapper.param_groups
    assert group['initial_lr'] == (2e-2 if scaled else 1e-2)


@pytest.mark.parametrize('options, changes', [
    ({'optim_wrapper.optimizer.lr': 1e-5}, 'lr=0.01, not 1e-05'),
    ({'param_scheduler.1.T_max': 43, 'param_scheduler.1.end': 50},
     'param_scheduler.1.T_max=23, not 43; param_scheduler.1.end=30, not 50'),
    ({'param_scheduler': RECIPES['cosine']},
     '2 param_scheduler, not 1; param_scheduler.0 of another type than CosineAnnealingLR'),
    ({'param_scheduler': None}, '2 param_scheduler, not 0')])
def test_a_resume_says_which_rates_and_schedules_it_does_not_take(
        tmp_path, capfd, options, changes):
    runner, (said, ) = _resumed_with(tmp_path, capfd, **options)
    assert re.search(
        f"iter_10.pth: .*the checkpoint's learning rates and schedules: {re.escape(changes)}"
        r'\. For .* load_from=\S*/work/iter_10.pth$', said)
    assert 'lr' not in changes or runner.optim_wrapper.param_groups[0]['initial_lr'] == 1e-2


def test_a_milestone_that_a_longer_training_does_not_reach_is_named(tmp_path, capfd):
    # The end of the schedule is that of the first training.
    steps = [dict(type='MultiStepLR', by_epoch=False, milestones=[4, 12])]
    runner, (said, ) = _resumed_with(tmp_path, capfd, {'param_scheduler': steps})
    assert 'schedules: param_scheduler.0.end=10, not 30. For' in said
    assert runner.optim_wrapper.get_lr()['lr'] == [pytest.approx(1e-3)]


def test_each_of_several_optimizers_is_looked_at(capfd):
    def make(rate):
        model = torch.nn.ModuleDict(dict(a=torch.nn.Linear(1, 1), b=torch.nn.Linear(1, 1)))
        rates = dict(a=0.1, b=rate)
        wrappers = {name: OptimWrapper(torch.optim.SGD(part.parameters(), lr=rates[name]))
                    for name, part in model.items()}
        schedulers = {name: [ConstantLR(wrapper, end=5)] for name, wrapper in wrappers.items()}
        return SimpleNamespace(
            model=model, optim_wrapper=OptimWrapperDict(**wrappers), param_schedulers=schedulers,
            hooks=[], _load_from='x.pth', logger=SimpleNamespace(warning=print))

    def load(runner, saved):
        CheckpointKeysHook(strict=True).after_load_checkpoint(runner, dict(
            meta=dict(epoch=0, iter=1), message_hub={}, state_dict=saved.model.state_dict(),
            optimizer=saved.optim_wrapper.state_dict(), param_schedulers={
                name: [one.state_dict() for one in several]
                for name, several in saved.param_schedulers.items()}))
        return capfd.readouterr().out

    assert load(make(0.2), make(0.2)) == ''
    assert 'schedules: lr=0.2, not 0.3. For' in load(make(0.3), make(0.2))


def test_a_branch_leaves_the_best_of_the_run_that_it_came_from(tmp_path):
    _train(tmp_path, max_iters=10)
    first = tmp_path / 'work/best_PSNR_iter_10.pth'
    assert first.exists()
    other = tmp_path / 'other'
    other.mkdir()
    _train(other, resume=str(tmp_path / 'work/iter_10.pth'))
    assert _checkpoint(other)['message_hub']['runtime_info']['best_ckpt'].startswith(str(other))
    assert first.exists()


def test_what_holds_weights_alone_cannot_go_on(tmp_path, alone):
    best, = (alone / 'work').glob('best_PSNR_iter_*.pth')
    with pytest.raises(UserError, match=f'{best.name}: holds weights, not .*no optimizer, '
                                        'param_schedulers.*iter_.*load_from='):
        _train(tmp_path, resume=str(best))
    whole = _checkpoint(alone)
    published = tmp_path / 'published.pth'
    torch.save(dict(meta={}, state_dict=whole['state_dict']), published)
    with pytest.raises(UserError, match=r'published.pth: .*message_hub.*meta\.epoch, meta\.iter'):
        _train(tmp_path, resume=str(published))


def test_invalid_loss_names_the_batch_and_saves_nothing(tmp_path):
    # Met after some checkpoints, in an order that follows from the seed alone.
    with pytest.raises(InvalidLossError) as stop:
        _train(tmp_path, bad=6, max_iters=30, batch_size=1, interval=2, dropout=0.)
    message = str(stop.value)
    done = len(_losses(tmp_path))  # the bad iteration is not among them
    assert f'loss is nan at iteration {done + 1}, learning rate 0.0' in message
    assert ('or start again at a lower learning rate from its weights: --cfg-options '
            f'load_from={tmp_path}/work/iter_{done // 2 * 2}.pth optim_wrapper.optimizer.lr=..., '
            'without --resume') in message
    assert 'the batch: image6.png;' in message and '\n' not in message
    last = done // 2 * 2
    assert last >= 2, 'choose another bad image: this one comes before any checkpoint'
    assert f'the last good checkpoint: {tmp_path}/work/iter_{last}.pth' in message
    assert (tmp_path / 'work/last_checkpoint').read_text().endswith(f'iter_{last}.pth')
    saved = _checkpoint(tmp_path, f'iter_{last}.pth')
    assert all(torch.isfinite(value).all() for value in saved['state_dict'].values())
    assert max(int(re.search(r'\d+', name)[0]) for name in _names(tmp_path)
               if name.startswith('iter')) == last


def test_losses_are_looked_at_every_so_often():
    hook = StopOnInvalidLossHook(interval=5)
    runner = SimpleNamespace(
        iter=0, optim_wrapper=SimpleNamespace(get_lr=lambda: dict(lr=[0.1])),
        message_hub=SimpleNamespace(runtime_info={}))
    looked = []
    for runner.iter in range(11):
        try:
            hook.after_train_iter(runner, 0, outputs=dict(loss=float('nan')))
        except InvalidLossError as error:
            assert f'at iteration {runner.iter + 1},' in str(error)
            assert 'checkpoint: none yet' in str(error)
            looked.append(runner.iter + 1)
    assert looked == [5, 10]


def test_weights_that_are_no_numbers_are_not_saved(tmp_path, alone):
    with pytest.raises(InvalidLossError, match=r'conv_last.weight.*iteration 20.*iter_10.pth'):
        _train(tmp_path, more_hooks=[dict(type='DoAt', what='spoil_weights', iteration=20)])
    assert 'iter_20.pth' not in _names(tmp_path) and 'iter_10.pth' in _names(tmp_path)
    _train(tmp_path, resume=True)
    _assert_same(_checkpoint(tmp_path), _checkpoint(alone))


def test_full_disk_leaves_the_last_good_checkpoint(tmp_path, alone, capfd):
    try:
        _train(tmp_path, interval=5, more_hooks=[
            dict(type='DoAt', what='limit_files', iteration=13),
            dict(type='DoAt', what='lift_limit', iteration=22)])
    finally:
        _lift_limit()
    output = ''.join(capfd.readouterr())
    assert re.search(r'iter_15.pth: cannot be written \(.*\); the last good checkpoint is '
                     r'\S*/iter_10.pth; training goes on', output)
    assert output.count('log cannot be written') == output.count('cannot be recorded') == 1
    assert 'Traceback' not in output and 'half-written' not in output
    _assert_same(_checkpoint(tmp_path), _checkpoint(alone))
    # 15 and 20 failed, 25 and 30 did not: nothing half-written, nothing forgotten.
    assert [name for name in _names(tmp_path) if not name.startswith('best')] == [
        'iter_25.pth', 'iter_30.pth', 'last_checkpoint']


def test_full_disk_after_a_resume_leaves_what_it_began_with(tmp_path):
    _train(tmp_path, cfg_options={'train_cfg.max_iters': 10})
    try:
        with pytest.raises(UserError, match=r'iter_20.pth: cannot be written.*good.*iter_10.pth'):
            _train(tmp_path, resume=True, cfg_options={'train_cfg.max_iters': 20},
                   more_hooks=[dict(type='DoAt', what='limit_files', iteration=15)])
    finally:
        _lift_limit()


@pytest.mark.parametrize('resumed', [False, True])
def test_a_run_that_cannot_save_stops_at_its_first_checkpoint(tmp_path, resumed):
    if resumed:
        _train(tmp_path, cfg_options={'train_cfg.max_iters': 10})
    first = 20 if resumed else 10
    try:
        with pytest.raises(UserError, match=rf'iter_{first}.pth: cannot be written.*first '
                                            'checkpoint of this run, which stops here'):
            _train(tmp_path, resume=resumed, more_hooks=[
                dict(type='DoAt', what='limit_files', iteration=first - 5)])
    finally:
        _lift_limit()
    assert len(_losses(tmp_path)) == first


@pytest.mark.parametrize('grudging_share', ['EPERM'], indirect=True)
def test_a_share_that_refuses_all_but_files_is_trained_on(tmp_path, grudging_share):
    _train(tmp_path)
    _train(tmp_path, resume=True, cfg_options={'train_cfg.max_iters': 40})
    assert 'iter_40.pth' in _names(tmp_path)
    assert (tmp_path / 'work/last_checkpoint').read_text().endswith('iter_40.pth')


def test_full_disk_at_the_last_save_is_an_error(tmp_path):
    try:
        with pytest.raises(UserError, match=r'iter_30.pth: cannot be written.*good.*iter_20.pth'):
            _train(tmp_path, more_hooks=[dict(type='DoAt', what='limit_files', iteration=28)])
    finally:
        _lift_limit()
    assert (tmp_path / 'work/last_checkpoint').read_text().endswith('iter_20.pth')
    assert torch.load(tmp_path / 'work/iter_20.pth', weights_only=True)
    assert not list((tmp_path / 'work').glob('.*'))


def test_survives_sigkill(tmp_path):
    """Four kills here; the benchmark does as many as one likes."""
    out = tmp_path / 'counts.json'
    run = subprocess.run(
        [sys.executable, ROOT / 'studies/kill_and_resume.py', '--kills', '4', '--iters', '80',
         '--out', str(out)], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    counts = json.loads(out.read_text())
    assert counts['kills'] == 4 and len(counts['kills_by_moment']) == 4
    assert counts['iterations_that_differ'] == counts['final_state_differs_in'] == []
