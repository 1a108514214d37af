# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Where images come from besides files, and data-loading workers that are lost."""
import multiprocessing
import multiprocessing.queues
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import lmdb
import pytest
import torch
from image_corpus import make_rgb, write
from mmengine.config import Config
from mmengine.registry import DATASETS
from run_tools_here import unique_name
from tiny_training import TinyPairs, tiny_config

from srdensenet_mm.checkpoints import save_network
from srdensenet_mm.compat import no_news_of_workers, return_what_cannot_be_sent
from srdensenet_mm.datasets import matlab_bicubic
from srdensenet_mm.engine import running
from srdensenet_mm.errors import UserError
from srdensenet_mm.models import SRDenseNet

NETWORK = dict(upscale_factor=4, mid_channels=4, num_blocks=1, num_layers=2, growth_rate=4,
               bottleneck_channels=4)


@pytest.fixture(autouse=True)
def quick(monkeypatch, config_as_it_is):
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)


def pairs_recipe(folder, load, data_prefix, **dataset):
    """A recipe that trains, validates and tests on two pairs, with these loading steps."""
    def loader(sampler, *crop):
        return dict(num_workers=1, sampler=sampler, dataset=dict(
            type='BasicImageDataset', data_root=str(folder), ann_file='list.txt',
            data_prefix=data_prefix, pipeline=[*load, *crop, dict(type='PackInputs')], **dataset))

    fixed = loader(dict(type='DefaultSampler', shuffle=False))
    evaluator = dict(type='Evaluator', metrics=[dict(type='PSNR', crop_border=4)])
    cfg = Config(dict(
        default_scope='mmagic', experiment_name=unique_name(), work_dir=str(folder / 'work'),
        model=dict(type='BaseEditModel', generator=dict(type='SRDenseNet', **NETWORK),
                   pixel_loss=dict(type='L1Loss'), data_preprocessor=dict(
                       type='DataPreprocessor', mean=[0.] * 3, std=[255.] * 3)),
        train_dataloader=dict(loader(
            dict(type='InfiniteSampler'), dict(type='SetValues', dictionary=dict(scale=4)),
            dict(type='PairedRandomCrop', gt_patch_size=24)), batch_size=2),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=2, val_interval=1),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3)),
        val_dataloader=fixed, val_evaluator=evaluator, val_cfg=dict(type='MultiValLoop'),
        test_dataloader=[fixed], test_evaluator=[evaluator], test_cfg=dict(type='MultiTestLoop')))
    cfg.model.generator.update(in_channels=3, out_channels=3)
    return cfg


@pytest.fixture
def database(tmp_path):
    """Two pairs as MMagic has them in LMDB: PNG files by their names without ending."""
    for name, scale in (('LR.lmdb', 4), ('GT.lmdb', 1)):
        environment = lmdb.open(str(tmp_path / name))
        with environment.begin(write=True) as transaction:
            for i in range(2):
                rgb = make_rgb(i, 48, 60)
                path = write(tmp_path / 'image.png', matlab_bicubic(rgb, scale) if scale > 1
                             else rgb)
                transaction.put(f'image{i}'.encode(), path.read_bytes())
        environment.close()
    (tmp_path / 'list.txt').write_text('image0.png (48,60,3)\nimage1.png (48,60,3)\n')
    return tmp_path


def from_database(folder):
    prefix = dict(img='LR.lmdb', gt='GT.lmdb')
    return [dict(type='LoadImageFromFile', key=key, channel_order='rgb', backend_args=dict(
        backend='lmdb', db_path=str(folder / name))) for key, name in prefix.items()], prefix


def test_a_recipe_trains_and_is_scored_from_lmdb(database):
    load, prefix = from_database(database)
    # What the paths name need not be there: the keys are in the database.
    for one in (prefix, dict(img='nowhere', gt='neither')):
        runner = running.train(pairs_recipe(database, load, one))
        assert runner.iter == 2
    last = running.test(pairs_recipe(database, load, prefix),
                        runner.message_hub.get_info('last_ckpt'))
    # The last validation saw the same images and weights.
    assert last['PSNR'] == pytest.approx(
        runner.message_hub.get_scalar('val/PSNR').current(), abs=1e-4)


def test_what_a_database_lacks_is_named(database):
    load, prefix = from_database(database)
    (database / 'list.txt').write_text('image0.png (48,60,3)\nabsent.png (48,60,3)\n')
    with pytest.raises(UserError, match=r'LR.lmdb/absent\.png: cannot be loaded \(TypeError'):
        running.train(pairs_recipe(database, load, prefix))
    recipe = pairs_recipe(database, load, prefix)
    recipe.train_dataloader.dataset.on_bad_image = 'skip'
    recipe.val_dataloader = recipe.val_evaluator = recipe.val_cfg = None
    assert running.train(recipe).iter == 2
    with pytest.raises(UserError, match=r'LR.lmdb/absent\.png: cannot be loaded \(TypeError.*\)$'):
        running.test(pairs_recipe(database, load, prefix), str(database / 'work/iter_2.pth'))
    load[0]['backend_args']['db_path'] = str(database / 'other.lmdb')
    with pytest.raises(UserError, match=r'cannot be loaded .*other\.lmdb'):
        running.train(pairs_recipe(database, load, prefix))
    load[0]['backend_args']['backend'] = 'nonsense'
    with pytest.raises(UserError, match='LoadImageFromFile.*nonsense.* cannot be built'):
        running.train(pairs_recipe(database, load, prefix))


@pytest.mark.parametrize('change', [
    dict(data_root='s3://bucket/Set5'), dict(backend_args=dict(backend='petrel')),
    dict(data_prefix=dict(img='cluster:s3://LR', gt='http://host/GT')),
    dict(ann_file='http://host/list.txt'),
    dict(load=dict(backend_args=dict(backend='petrel', path_mapping={}))),
    dict(load=dict(file_client_args=dict(backend='memcached'))),
    dict(load=dict(file_client_args=dict(prefix='s3'))),
    dict(load=dict(type='LoadFromAnArchiveOfMine'))])
def test_what_lies_elsewhere_is_not_looked_for_here(tmp_path, change):
    load = [dict(dict(type='LoadImageFromFile', key=key), **change.get('load', {}))
            for key in ('img', 'gt')]
    cfg = pairs_recipe(tmp_path, load, dict(img='LR', gt='GT'))
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg[name][0] if name == 'test_dataloader' else cfg[name]
        loader.dataset.update({key: value for key, value in change.items() if key != 'load'})
    running.check_data(cfg, ['train_dataloader', 'val_dataloader', 'test_dataloader'])


@pytest.mark.parametrize('said', [None, dict(backend='local'), dict(backend='disk')])
def test_local_files_are_looked_for(tmp_path, said):
    load = [dict(type='LoadImageFromFile', key=key, backend_args=said) for key in ('img', 'gt')]
    cfg = pairs_recipe(tmp_path, load, dict(img='LR', gt='GT'))
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        with pytest.raises(UserError, match=f'{name}: there is no folder {tmp_path}/LR'):
            running.check_data(cfg, [name])


def test_a_check_leaves_the_config_as_it_is(database):
    for name in ('LR', 'GT'):
        for i in range(2):
            write(database / name / f'image{i}.png',
                  make_rgb(i, *((12, 15) if name == 'LR' else (48, 60))))
    cfg = pairs_recipe(database, [
        dict(type='LoadImageFromFile', key=key) for key in ('img', 'gt')], dict(img='LR', gt='GT'))
    before = cfg.to_dict()
    running.check_data(cfg, ['train_dataloader', 'val_dataloader', 'test_dataloader'])
    assert cfg.to_dict() == before


def test_pairs_that_a_test_pipeline_makes_need_no_fitting_sizes(database):
    """Both keys may be of one folder where a step downscales the first."""
    for i in range(2):
        write(database / 'GT' / f'image{i}.png', make_rgb(i, 48, 60))
    cfg = pairs_recipe(database, [
        dict(type='LoadImageFromFile', key=key) for key in ('img', 'gt')], dict(img='GT', gt='GT'))
    cfg.test_dataloader[0].dataset.pipeline.insert(2, dict(type='MATLABBicubicDown', scale=4))
    save_network(SRDenseNet(**dict(NETWORK, in_channels=3, out_channels=3)),
                 database / 'network.pth')
    assert running.test(cfg, str(database / 'network.pth'))['PSNR'] > 0


class Unsendable:
    """A sample whose process can't hand it on."""

    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


@DATASETS.register_module(force=True)
class EndingPairs(TinyPairs):
    """Some sample of which ends the worker that makes it, or cannot be sent.

    Args:
        how (int | Exception): A signal's number, or what is raised when the
            sample is sent.
        when (int): Which sample.
    """

    def __init__(self, how, when=0, **kwargs):
        super().__init__(**kwargs)
        self.how, self.when = how, when

    def __getitem__(self, index):
        if index == self.when and torch.utils.data.get_worker_info() is not None:
            if isinstance(self.how, Exception):
                return Unsendable(self.how)
            time.sleep(0.5)  # what was made before is sent
            os.kill(os.getpid(), self.how)
        return super().__getitem__(index)


def tiny_recipe(folder, name, how, **changes):
    changes = {**{f'{name}.{key}': value for key, value in dict(
        num_workers=1, persistent_workers=True, timeout=0).items()}, **changes}
    option, value = unique_name().split('=')
    cfg = running.load_config(
        str(tiny_config(folder, max_iters=8, interval=4, num_workers=0)), str(folder / 'work'),
        {option: value, **changes})
    cfg[name].dataset.update(type=EndingPairs, how=how)
    return cfg


FULL = RuntimeError('unable to write to file </torch_1_2_3>: No space left on device (28)')
ENDS = [
    (signal.SIGKILL, r'killed by (signal: Killed|SIGKILL)', 'main memory was full.*num_workers'),
    (signal.SIGBUS, r'([Bb]us error|SIGBUS)', '/dev/shm has .* MiB free.*--shm-size'),
    (FULL, r'torch_1_2_3', '/dev/shm has .* MiB free.*--shm-size.*num_workers=0'),
    (RuntimeError('received 0 items of ancdata'), 'ancdata', 'ulimit -n'),
    (OSError(24, 'Too many open files'), 'Too many open files', 'ulimit -n')]


@pytest.mark.parametrize('name, how, said, way_out', [
    (name, *end) for name in ('train_dataloader', 'val_dataloader', 'test_dataloader')
    for end in (ENDS if name[:2] == 'tr' else ENDS[:3:2])], ids=str)
def test_a_lost_worker_is_said_in_a_line(tmp_path, name, how, said, way_out):
    if name == 'test_dataloader':
        save_network(SRDenseNet(**dict(NETWORK, upscale_factor=2)), tmp_path / 'network.pth')
        go_on = 'then give the same command again'
        with pytest.raises(UserError) as caught:
            running.test(tiny_recipe(tmp_path, name, how), str(tmp_path / 'network.pth'))
    else:
        # The worker is lost in the first epoch, before a checkpoint, or in the first validation.
        go_on = {'train_dataloader': '(iter_[12]|no checkpoint yet)',
                 'val_dataloader': r'--resume .*iter_4\.pth'}[name]
        with pytest.raises(UserError) as caught:
            running.train(tiny_recipe(tmp_path, name, how))
    line = str(caught.value)
    assert re.search(f'^{name}: a data-loading worker is lost .*{said}.*{way_out}.*{go_on}', line)
    assert '\n' not in line and 'Traceback' not in line and len(line) < 600


def test_a_training_goes_on_from_where_its_worker_was_lost(tmp_path):
    cfg = tiny_recipe(tmp_path, 'train_dataloader', signal.SIGKILL)
    cfg.train_dataloader.dataset.when = -1
    whole = running.train(cfg).model.state_dict()
    cfg = tiny_recipe(tmp_path, 'train_dataloader', signal.SIGKILL)
    cfg.work_dir = str(tmp_path / 'again')
    order = (tmp_path / 'losses.txt.0').read_text().splitlines()
    # An image of the third batch, not drawn before: three batches are made of all eleven.
    seen = {name for line in order[:2] for name in line.split()[-1].split(',')}
    cfg.train_dataloader.dataset.when = next(
        int(name[5:-4]) for name in order[2].split()[-1].split(',') if name not in seen)
    with pytest.raises(UserError, match='worker is lost.*--resume .*again/iter_2.pth'):
        running.train(cfg)
    cfg.train_dataloader.dataset.when = -1
    cfg.experiment_name = unique_name()
    resumed = running.train(cfg, resume=True).model.state_dict()
    for key, value in whole.items():
        assert torch.equal(resumed[key], value), key


def test_another_error_of_a_worker_keeps_its_traceback(tmp_path):
    with pytest.raises(ZeroDivisionError, match='Caught ZeroDivisionError in DataLoader worker'):
        running.train(tiny_recipe(tmp_path, 'train_dataloader', ZeroDivisionError('mine')))


def test_shared_memory_that_is_too_small(tmp_path):
    """As in Docker, where /dev/shm has 64 MiB; here 128 KiB."""
    tool = Path(__file__).parents[2] / 'tools/train.py'
    mount = 'mount -t tmpfs -o size=128k tmpfs /dev/shm'
    if subprocess.run(['unshare', '-rm', 'sh', '-c', mount], capture_output=True).returncode:
        pytest.skip('no file system can be mounted here')
    config = tiny_config(tmp_path, max_iters=40, batch_size=40, num_workers=2)
    run = subprocess.run(
        ['unshare', '-rm', 'sh', '-c', f'{mount}; exec "$@"', '-', sys.executable, str(tool),
         str(config), '--work-dir', str(tmp_path / 'work')], timeout=100, text=True,
        capture_output=True,
        env=dict(os.environ, PYTHONPATH=f'{tool.parents[1]}:{tool.parents[1] / "studies"}'))
    assert run.returncode == 2, run.stderr
    (line,) = [line for line in run.stderr.splitlines() if line.startswith('error: ')]
    assert '/dev/shm has 0.1 MiB' in line and '--shm-size' in line and 'Traceback' not in run.stderr


def test_a_worker_that_nobody_waits_for_sends_nothing(monkeypatch):
    return_what_cannot_be_sent()
    monkeypatch.setattr('torch.utils.data._utils.worker._worker_info', SimpleNamespace(id=0))
    queue = multiprocessing.Queue()
    queue.close()
    multiprocessing.queues.Queue._on_queue_feeder_error(queue, OSError('full'), (0, 'a batch'))


def test_a_stop_keeps_its_own_handler_of_ended_workers():
    def quiet(number, frame):
        pass

    before = signal.getsignal(signal.SIGCHLD)
    try:
        with no_news_of_workers():
            signal.signal(signal.SIGCHLD, quiet)
        assert signal.getsignal(signal.SIGCHLD) is quiet
        with no_news_of_workers():
            assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGCHLD) is quiet
    finally:
        signal.signal(signal.SIGCHLD, before)
