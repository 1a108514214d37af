# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Recipes of which only the training loop was changed, between iterations and epochs."""
import re

import pytest
from mmengine.config import Config
from mmengine.registry import LOOPS as MMENGINES_LOOPS
from run_tools_here import unique_name
from tiny_training import tiny_config

from srdensenet_mm.engine import running
from srdensenet_mm.engine.fitting_settings import drop_worker_settings, follow_train_cfg
from srdensenet_mm.errors import UserError

IMAGES, BATCH = 11, 4
LEFT_BY_ITERATIONS = dict(log_processor=dict(by_epoch=False))
LEFT_BY_EPOCHS = dict(
    log_processor=dict(by_epoch=True), param_scheduler=[
        dict(type='LinearLR', start_factor=0.1, begin=0, end=1),
        dict(type='MultiStepLR', milestones=[2, 3], gamma=0.1)],
    default_hooks=dict(logger=dict(interval=1), checkpoint=dict(by_epoch=True, interval=1)))


@pytest.fixture(autouse=True)
def quick(monkeypatch, config_as_it_is):
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)


def derived(folder, text, **changes):
    """A config with these changes over the tiny training, and one above that has a text."""
    folder.mkdir(exist_ok=True)
    cfg = Config.fromfile(tiny_config(folder, max_iters=60, interval=20, num_workers=0))
    if changes.pop('was_by_epoch', False):
        cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=5, val_interval=1)
        cfg.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=True)
    cfg.merge_from_dict(changes)
    cfg.dump(str(folder / 'base.py'))
    (folder / 'derived.py').write_text(f"_base_ = './base.py'\n{text}\n")
    name, value = unique_name().split('=')
    return running.load_config(str(folder / 'derived.py'), str(folder / 'work'), {name: value})


@pytest.mark.parametrize('text', [
    "train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=4)",
    "train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=4)",
    'train_cfg = dict(_delete_=True, by_epoch=True, max_epochs=4)',
    'train_cfg = dict(by_epoch=True, max_epochs=4)'])
def test_a_recipe_by_iterations_follows_to_epochs(tmp_path, text):
    cfg = derived(tmp_path, text, **LEFT_BY_ITERATIONS)
    runner = running.train(cfg)
    batches = -(-IMAGES // BATCH)
    assert (runner.epoch, runner.iter) == (4, 4 * batches)
    losses = (tmp_path / 'losses.txt.0').read_text().splitlines()
    assert len(losses) == 4 * batches
    for epoch in range(4):  # each image once
        lines = losses[epoch * batches:(epoch + 1) * batches]
        assert len({name for line in lines for name in line.split()[-1].split(',')}) == IMAGES
    (log,) = (tmp_path / 'work').rglob('*.log')
    text = log.read_text()
    assert 'train_cfg counts epochs: train_dataloader.sampler is a DefaultSampler' in text
    # 4 x 20 / 60 epochs, or MMEngine's default: validated after each.
    assert len(re.findall(r'Epoch\(val\) .*PSNR', text)) == 4
    assert 'eta: -' not in text and re.search(r'Epoch\(train\) +\[4\]', text)
    assert (tmp_path / 'work/iter_12.pth').exists() and list(
        (tmp_path / 'work').glob('best_PSNR*'))


@pytest.mark.parametrize('text', [
    "train_cfg = dict(type='IterBasedTrainLoop', max_iters=12)",
    "train_cfg = dict(_delete_=True, type='ResumableIterTrainLoop', max_iters=12, val_interval=3)",
    'train_cfg = dict(by_epoch=False, max_iters=12, val_interval=3)'])
def test_a_recipe_by_epochs_follows_to_iterations(tmp_path, monkeypatch, text):
    monkeypatch.setattr('mmengine.runner.loops.time.sleep', lambda seconds: None)
    cfg = derived(tmp_path, text, was_by_epoch=True, **LEFT_BY_EPOCHS)
    runner = running.train(cfg)
    assert runner.iter == 12
    (log,) = (tmp_path / 'work').rglob('*.log')
    text = log.read_text()
    rates = [float(rate) for rate in re.findall(r'Iter\(train\) .* lr: (\S+)', text)]
    # The base rate of 1e-2, tenths of it after 2 and 3 epochs: of 2 batches in MMEngine's loop
    # and ours, whose length rounds down or up.
    length = len(runner.train_dataloader)
    assert length in (2, 3) and rates[-1] == pytest.approx(1e-4) == 1e-2 / 100
    assert rates[length] == pytest.approx(1e-2) and rates[2 * length] == pytest.approx(1e-3)
    assert len(list((tmp_path / 'work').glob('iter_*.pth'))) == 2  # max_keep_ckpts
    assert 'default_hooks.checkpoint.by_epoch=False, interval=' in text


def test_what_works_in_either_loop_stays(tmp_path):
    """Checkpoints and schedules by iterations beside a sampler that ends: set so on purpose."""
    cfg = derived(tmp_path, "train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', "
                            'max_epochs=4, val_interval=2)')
    cfg.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=True)
    before = cfg.to_dict()
    assert follow_train_cfg(cfg) == [] and cfg.to_dict() == before
    for recipe in ({}, dict(by_epoch=False)):
        cfg = derived(tmp_path / str(len(recipe)), f'train_cfg = dict(max_iters=7, **{recipe})')
        assert len(follow_train_cfg(cfg)) == len(recipe)
        assert cfg.train_cfg == dict(
            type='ResumableIterTrainLoop', max_iters=7, val_interval=20)


@pytest.mark.parametrize('text, expected', [
    ('train_cfg = dict(_delete_=True, max_epochs=4)', dict(by_epoch=True, max_epochs=4)),
    ('train_cfg = dict(max_epochs=4, max_iters=None)',
     dict(by_epoch=True, max_epochs=4, val_interval=20)),
    ('train_cfg = dict(by_epoch=True)', 'counts epochs, but .* set train_cfg.max_epochs')])
def test_an_end_alone_and_none(tmp_path, text, expected):
    cfg = derived(tmp_path, text)
    if isinstance(expected, str):
        with pytest.raises(UserError, match=expected):
            follow_train_cfg(cfg)
    else:
        follow_train_cfg(cfg)
        assert cfg.train_cfg == expected


@pytest.mark.parametrize('as_option', [False, True])
def test_a_count_of_the_other_kind_alone_is_followed(tmp_path, as_option):
    text = 'train_cfg = dict(max_epochs=4)'
    cfg = derived(tmp_path, '' if as_option else text, **LEFT_BY_ITERATIONS)
    if as_option:
        cfg.merge_from_dict({'train_cfg.max_epochs': 4})
    runner = running.train(cfg)
    assert (runner.epoch, runner.iter) == (4, 4 * -(-IMAGES // BATCH))
    cfg = derived(tmp_path / 'back', 'train_cfg = dict(max_iters=7)', was_by_epoch=True)
    follow_train_cfg(cfg)
    assert cfg.train_cfg == dict(by_epoch=False, max_iters=7, val_interval=1)


def test_loops_that_mmengine_does_not_know_are_followed(monkeypatch):
    """As the recipes have them; the tests' own trainings tell MMEngine of them."""
    monkeypatch.delitem(MMENGINES_LOOPS._module_dict, 'ResumableIterTrainLoop')
    cfg = Config(dict(
        train_cfg=dict(type='ResumableIterTrainLoop', max_iters=60, val_interval=20),
        log_processor=dict(by_epoch=True), param_scheduler=dict(type='StepLR', step_size=1),
        default_hooks=dict(checkpoint=dict(type='SafeCheckpointHook', interval=1))))
    follow_train_cfg(cfg)
    assert cfg.log_processor.by_epoch is False
    assert cfg.param_scheduler.convert_to_iter_based is True
    assert (cfg.default_hooks.checkpoint.by_epoch, cfg.default_hooks.checkpoint.interval) == (
        False, 20)


def test_a_training_by_epochs_resumed_within_one_saves_its_end(tmp_path):
    text = "train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=4)"
    running.train(derived(tmp_path, text, **LEFT_BY_ITERATIONS, **{
        'default_hooks.checkpoint.interval': 4, 'default_hooks.checkpoint.max_keep_ckpts': 9}))
    runner = running.train(derived(tmp_path, text), resume=str(tmp_path / 'work/iter_4.pth'))
    # One batch of the second epoch had been seen.
    assert runner.iter == 13 and runner.message_hub.get_info('last_ckpt').endswith('iter_13.pth')


@pytest.mark.parametrize('settings', [
    dict(persistent_workers=True), dict(prefetch_factor=2), dict(timeout=30),
    dict(multiprocessing_context='fork'),
    dict(persistent_workers=True, prefetch_factor=4, multiprocessing_context='spawn')])
def test_no_workers_need_no_settings_of_workers(tmp_path, settings):
    cfg = derived(tmp_path, 'train_cfg = dict(max_iters=4, val_interval=2)')
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[name].pop('persistent_workers', None)
        cfg[name].update(settings, num_workers=0)
    runner = running.train(cfg)
    assert runner.iter == 4
    cfg = derived(tmp_path, '', **{f'test_dataloader.{key}': value
                                   for key, value in settings.items()})
    assert running.test(cfg, str(tmp_path / 'work/iter_4.pth'))['PSNR'] == pytest.approx(
        runner.message_hub.get_scalar('val/PSNR').current(), abs=1e-3)


def test_settings_of_workers_stay_where_there_are_any():
    loaders = [dict(num_workers=1, persistent_workers=True), dict(persistent_workers=True)]
    cfg = Config(dict(test_dataloader=loaders, val_dataloader=None))
    drop_worker_settings(cfg)
    assert cfg.test_dataloader == [loaders[0], {}]
