# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Several processes, joined by gloo on the CPU, against one process."""
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from rounding import rounding_error, terms
from tiny_training import TINY_NETWORK, tiny_config

from srdensenet_mm import compat
from srdensenet_mm.datasets.prepare import prepare_dataset
from srdensenet_mm.errors import UserError
from srdensenet_mm.models import SRDenseNet

ROOT = Path(__file__).parents[2]
SET5 = ROOT / 'tests' / 'data' / 'Set5'
ITERATIONS = 6
GLOBAL_BATCH = 8


def make_job(folder, processes, **job):
    """A training with a global batch of 8 that writes its losses and gradients."""
    folder.mkdir()
    path = tiny_config(folder, max_iters=ITERATIONS, interval=ITERATIONS, num_workers=0,
                       batch_size=GLOBAL_BATCH // processes, dropout=0.)
    cfg = Config.fromfile(path)
    cfg.optim_wrapper.update(type='RecordGradients', path=str(folder / 'gradients'))
    cfg.auto_scale_lr.base_batch_size = GLOBAL_BATCH // 2
    cfg.dump(str(path))
    return dict(dict(tool='train', config=str(path), work_dir=str(folder / 'work'),
                     processes=processes, auto_scale_lr=True), **job)


def make_interrupted_jobs(folder):
    """SIGTERM to both of two processes in the middle, and the same command with --resume."""
    folder.mkdir()
    path = tiny_config(folder, max_iters=40, pause=0.03, num_workers=0, batch_size=2)
    job = dict(tool='train', config=str(path), work_dir=str(folder / 'work'), processes=2)
    return [dict(job, signal='SIGTERM'), dict(job, resume=True)]


def make_validating_job(folder, round_up):
    """SIGTERM to the second of two processes in a validation of five images."""
    folder.mkdir()
    path = tiny_config(folder, max_iters=8, interval=4, num_workers=0, batch_size=2,
                       more_hooks=[dict(type='TerminateInValidation', rank=1)])
    return dict(tool='train', config=str(path), work_dir=str(folder / 'work'), processes=2,
                cfg_options={'default_hooks.checkpoint.interval': 100,
                             'val_dataloader.sampler.round_up': round_up})


def make_adversarial_jobs(folder):
    """Two players, a wrapper each: four iterations, and their second half again, also alone."""
    cfg = Config(dict(
        default_scope='mmagic',
        custom_imports=dict(imports=['srdensenet_mm'], allow_failed_imports=False),
        model_wrapper_cfg=dict(type='MMSeparateDistributedDataParallel'),
        model=dict(
            type='SRGAN', generator=dict(TINY_X4, in_channels=3, out_channels=3),
            discriminator=dict(type='ModifiedVGG', in_channels=3, mid_channels=2),
            pixel_loss=dict(type='L1Loss'), gan_loss=dict(type='GANLoss', gan_type='vanilla'),
            data_preprocessor=dict(type='DataPreprocessor', mean=[0.], std=[255.])),
        train_dataloader=dict(
            batch_size=1, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),
            dataset=dict(type='HRFolderDataset', data_root=str(SET5 / 'HR'), cache_gib=0,
                         pipeline=[dict(type='RandomPatchPair', scale=4, gt_patch_size=128),
                                   dict(type='PackInputs')])),
        train_cfg=dict(type='ResumableIterTrainLoop', max_iters=4, val_interval=9),
        optim_wrapper=dict(
            constructor='MultiOptimWrapperConstructor',
            **{player: dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4))
               for player in ('generator', 'discriminator')}),
        default_hooks=dict(
            logger=dict(type='LoggerHook'),
            checkpoint=dict(type='SafeCheckpointHook', by_epoch=False, interval=2)),
        custom_hooks=[dict(type='EMAHook', ema_type='ExponentialMovingAverage')],
        randomness=dict(seed=3)))
    folder.mkdir()
    path = folder / 'adversarial.py'
    cfg.dump(str(path))
    job = dict(tool='train', config=str(path), work_dir=str(folder / 'whole'), processes=2)
    half = dict(job, resume=str(folder / 'whole/iter_2.pth'))
    return dict(gan=job, gan_half=dict(half, work_dir=str(folder / 'half')),
                gan_alone=dict(half, work_dir=str(folder / 'alone'), processes=1))


def make_test_jobs(folder, checkpoint):
    """Set5, and four of its images, by MMagic's loops and metrics: 5 and 4 images."""
    prepare_dataset(SET5 / 'HR', folder / 'data/Set5', [4])
    for part in ('GTmod12', 'LRbicx4'):
        (folder / f'data/Four/{part}').mkdir(parents=True)
        for path in sorted((folder / f'data/Set5/{part}').iterdir())[1:]:
            (folder / f'data/Four/{part}/{path.name}').symlink_to(path)
    load = [dict(type='LoadImageFromFile', key=key, color_type='color', channel_order='rgb')
            for key in ('img', 'gt')]
    names = ('Set5', 'Four')
    cfg = Config(dict(
        default_scope='mmagic',
        custom_imports=dict(imports=['srdensenet_mm'], allow_failed_imports=False),
        model=dict(type='LumaEditModel', generator=dict(TINY_X4),
                   pixel_loss=dict(type='L1Loss'),
                   data_preprocessor=dict(type='DataPreprocessor', mean=[0.], std=[255.])),
        test_dataloader=[
            dict(num_workers=0, batch_size=1, sampler=dict(type='DefaultSampler', shuffle=False),
                 dataset=dict(type='BasicImageDataset', metainfo=dict(dataset_type=name.lower()),
                              data_root=str(folder / 'data' / name),
                              data_prefix=dict(img='LRbicx4', gt='GTmod12'),
                              pipeline=[*load, dict(type='PackInputs')])) for name in names],
        test_evaluator=[
            dict(type='Evaluator', metrics=[
                dict(type=metric, crop_border=4, convert_to='Y', prefix=name)
                for metric in ('PSNR', 'SSIM')]) for name in names],
        test_cfg=dict(type='MultiTestLoop'),
        default_hooks=dict(logger=dict(type='LoggerHook'))))
    path = folder / 'score.py'
    cfg.dump(str(path))
    torch.manual_seed(1)
    network = SRDenseNet(**{key: value for key, value in TINY_X4.items() if key != 'type'})
    torch.save(network.state_dict(), checkpoint)
    return [dict(tool='test', config=str(path), checkpoint=str(checkpoint),
                 work_dir=str(folder / f'work{processes}'), processes=processes)
            for processes in (1, 2, 4)]


TINY_X4 = dict(type='SRDenseNet', upscale_factor=4, mid_channels=4, num_blocks=1, num_layers=2,
               growth_rate=4, bottleneck_channels=4)


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    """The folder in which all jobs of this file have run, and their results by name."""
    folder = tmp_path_factory.mktemp('distributed')
    jobs = {f'train{n}': make_job(folder / f'train{n}', n) for n in (1, 2, 4)}
    jobs['slurm'] = make_job(folder / 'slurm', 2, launcher='slurm')
    jobs['stopped'], jobs['resumed'] = make_interrupted_jobs(folder / 'interrupted')
    jobs['validating'] = make_validating_job(folder / 'validating', True)
    jobs['uneven'] = make_validating_job(folder / 'uneven', False)
    jobs.update(make_adversarial_jobs(folder / 'adversarial'))
    (folder / 'scores').mkdir()
    scores = make_test_jobs(folder / 'scores', folder / 'scores/network.pth')
    jobs.update((f'test{job["processes"]}', job) for job in scores)
    list_file = folder / 'jobs.json'
    list_file.write_text(json.dumps(list(jobs.values())))
    run = subprocess.run([sys.executable, ROOT / 'studies/forked_jobs.py', list_file],
                         capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    results = dict(zip(jobs, json.loads(run.stdout.splitlines()[-1]), strict=True))
    for name, result in results.items():
        expected = 143 if name in ('stopped', 'validating', 'uneven') else 0
        assert result['statuses'] == [expected] * jobs[name]['processes'], result['log']
    return folder, results


def read_losses(folder, processes):
    """[iteration] -> [(loss, files) of each process]."""
    files = [(folder / f'losses.txt.{rank}').read_text().splitlines() for rank in range(processes)]
    lines = [[line.split() for line in group] for group in zip(*files, strict=True)]
    return [[(float.fromhex(loss), names.split(',')) for _, loss, names in group]
            for group in lines]


@pytest.mark.parametrize('name, processes', [('train2', 2), ('train4', 4), ('slurm', 2)])
def test_gradients_are_those_of_one_process(done, name, processes):
    folder, _ = done
    network = SRDenseNet(**{key: value for key, value in TINY_NETWORK.items() if key != 'type'})
    # There and back, and over the HR pixels of a batch.
    length = 2 * terms(network) + GLOBAL_BATCH * 16**2
    for step in range(ITERATIONS):
        alone = torch.load(folder / f'train1/gradients.{step}.0')
        of_ranks = [torch.load(folder / f'{name}/gradients.{step}.{rank}')
                    for rank in range(processes)]
        assert any(one.abs().max() > 1e-4 for one in alone)
        for i, one in enumerate(alone):
            for rank in range(1, processes):
                assert torch.equal(of_ranks[0][i], of_ranks[rank][i])
            # Later steps start from weights that differ by the roundings before.
            assert (of_ranks[0][i] - one).abs().max() <= (step + 1) * rounding_error(one, length)


@pytest.mark.parametrize('name, processes', [('train2', 2), ('train4', 4)])
def test_ranks_see_disjoint_parts_of_the_same_batch(done, name, processes):
    folder, _ = done
    alone, together = read_losses(folder / 'train1', 1), read_losses(folder / name, processes)
    assert len(alone) == len(together) == ITERATIONS
    for ((loss, files),), group in zip(alone, together, strict=True):
        assert sorted(sum((names for _, names in group), [])) == sorted(files)
        assert sum(one for one, _ in group) / processes == pytest.approx(loss, rel=1e-5)
    # A pass over the 11 images: none twice.
    drawn = [name for group in together for i in range(GLOBAL_BATCH // processes)
             for name in [names[i] for _, names in group]]
    assert len(set(drawn[:11])) == len(set(drawn[11:22])) == 11


@pytest.mark.parametrize('name', ['train1', 'train2', 'train4', 'slurm'])
def test_weights_and_rate(done, name):
    folder, results = done
    one, other = (torch.load(folder / each / f'work/iter_{ITERATIONS}.pth', weights_only=True)
                  for each in ('train1', name))
    for key, value in one['state_dict'].items():
        assert torch.allclose(value, other['state_dict'][key], atol=1e-5), key
    # The config's 1e-2 is for a batch of 4; here it is 8 in all.
    assert [group['initial_lr'] for group in other['optimizer']['param_groups']] == [2e-2]
    assert not list((folder / name / 'work').glob('.*'))


def test_a_signal_stops_all_ranks_at_one_iteration_and_the_run_goes_on(done):
    folder, results = done
    records = read_losses(folder / 'interrupted', 2)
    numbers = [[int(line.split()[0]) for line in
                (folder / f'interrupted/losses.txt.{rank}').read_text().splitlines()]
               for rank in (0, 1)]
    assert numbers[0] == numbers[1] == list(range(40)) and len(records) == 40
    assert results['stopped']['log'].count('--resume') == 1
    saved = int(results['stopped']['log'].split('SIGTERM after iteration ')[1].split(':')[0])
    assert 0 < saved < 40
    assert (folder / 'interrupted/work/iter_40.pth').exists()


@pytest.mark.parametrize('name, left', [('validating', 4), ('uneven', 5)])
def test_a_signal_in_a_validation_stops_all_ranks(done, name, left):
    # Where one has an image more, they go on to the next iteration of the training.
    folder, results = done
    assert f'SIGTERM after iteration {left}: saved' in results[name]['log']
    for rank in (0, 1):
        assert len((folder / name / f'losses.txt.{rank}').read_text().splitlines()) == left
    saved = torch.load(folder / name / f'work/iter_{left}.pth', weights_only=True)
    assert saved['meta']['iter'] == left and 'ema_state_dict' in saved


def test_two_players_go_on_on_as_many_processes_or_on_others(done):
    start, whole, half, alone = (
        torch.load(done[0] / f'adversarial/{name}.pth', weights_only=True)
        for name in ('whole/iter_2', 'whole/iter_4', 'half/iter_4', 'alone/iter_4'))
    assert 'generator.conv_first.weight' in whole['state_dict']
    for part in ('state_dict', 'ema_state_dict'):
        assert list(whole[part]) == list(half[part]) == list(alone[part])
        for key, value in whole[part].items():
            assert torch.equal(half[part][key], value), key
    for key, value in start['ema_state_dict'].items():  # the weights as trained
        if key.endswith('.weight'):
            # Two of Adam's steps; other weights to begin with differ by 0.1 and more.
            difference = (alone['ema_state_dict'][key] - value).abs().max()
            assert 0 < difference < 4e-4, key


def test_scores_are_those_of_one_process(done):
    """5 images over 2 and 4 processes: what pads the last round must not count."""
    _, results = done
    alone = results['test1']['scores']
    assert set(alone) == {f'{name}/{metric}' for name in ('Set5', 'Four')
                          for metric in ('PSNR', 'SSIM')}
    assert alone['Set5/PSNR'] != alone['Four/PSNR'] and 5 < alone['Set5/PSNR'] < 40
    for processes in (2, 4):
        scores = results[f'test{processes}']['scores']
        assert scores == pytest.approx(alone, abs=1e-6)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)


@pytest.mark.parametrize('gpu', [False, True])
@pytest.mark.parametrize('launcher, named', [
    ('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID'), ('mpi', 'OMPI_COMM_WORLD_RANK')])
def test_a_launcher_that_is_not_there(monkeypatch, launcher, named, gpu):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    monkeypatch.delenv(named, raising=False)
    with pytest.raises(UserError, match=f'--launcher {launcher}: {named} is not set'):
        compat.init_distributed(Config(dict(launcher=launcher)))


def test_the_first_slurm_node(monkeypatch, tmp_path):
    monkeypatch.setenv('SLURM_NODELIST', 'n[3-4]')
    monkeypatch.setenv('SLURM_NNODES', '1')
    assert compat._first_slurm_node() == '127.0.0.1'
    monkeypatch.setenv('SLURM_NNODES', '2')
    monkeypatch.delenv('SLURM_STEP_NODELIST', raising=False)
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(UserError, match=r'n\[3-4\].*MASTER_ADDR'):
        compat._first_slurm_node()
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames n[3-4]" ] && echo "n3\nn4"\n')
    scontrol.chmod(0o755)
    assert compat._first_slurm_node() == 'n3'
