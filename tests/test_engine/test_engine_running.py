# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import ast
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from mmagic_layout import write_layout
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from run_tools_here import unique_name
from tiny_training import TINY_NETWORK, tiny_config

from srdensenet_mm.checkpoints import save_network
from srdensenet_mm.engine import running
from srdensenet_mm.engine.clear_errors import clear_errors
from srdensenet_mm.errors import UserError
from srdensenet_mm.models import SRDenseNet


@pytest.fixture(autouse=True)
def quick(monkeypatch, config_as_it_is):
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)


def make_network(seed):
    torch.manual_seed(seed)
    return SRDenseNet(**{key: value for key, value in TINY_NETWORK.items() if key != 'type'})


def config(folder, **options):
    path = tiny_config(folder, max_iters=4, interval=4, num_workers=0)
    name, value = unique_name().split('=')
    return running.load_config(str(path), str(folder / 'work'), {name: value, **options})


def test_the_text_of_a_config_in_a_checkpoint_is_not_run(tmp_path):
    running.train(config(tmp_path))
    hostile, trace = tmp_path / 'hostile.pth', tmp_path / 'trace'
    content = torch.load(tmp_path / 'work/iter_4.pth', weights_only=True)
    content['meta']['config'] = f'x = open({str(trace)!r}, "w").close()\n'
    torch.save(content, hostile)
    running.train(config(tmp_path, **{'train_cfg.max_iters': 5}), resume=str(hostile))
    assert not trace.exists()


def test_the_given_checkpoint_is_scored_whatever_a_training_would_begin_with(tmp_path):
    for seed, name in enumerate(('given', 'other')):
        save_network(make_network(seed), tmp_path / f'{name}.pth')
    alone = {name: running.test(config(tmp_path), str(tmp_path / f'{name}.pth'))['PSNR']
             for name in ('given', 'other')}
    assert alone['given'] != alone['other']
    for resume in (False, True):
        cfg = config(tmp_path, load_from=str(tmp_path / 'other.pth'), resume=resume)
        assert running.test(cfg, str(tmp_path / 'given.pth'))['PSNR'] == alone['given']


def test_weights_that_cannot_be_fetched(tmp_path, monkeypatch):
    def fails(cfg):
        raise URLError('Name or service not known')

    monkeypatch.setattr(running.Runner, 'from_cfg', fails)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    with pytest.raises(UserError, match=f'fetched .Name or service not known.: .*{tmp_path}/torch'
                                        '/hub/checkpoints.*vgg19-dcbb9e9d.pth'):
        running.build_runner(config(tmp_path))


@HOOKS.register_module()
class AskForTheIteration(Hook):
    """Does what MMagic's visualization hook does at every image."""

    def after_test_iter(self, runner, *_, **__):
        assert runner.iter == 0


def test_an_mmagic_whose_packages_are_too_new_is_one_line():
    def meets(where):
        with clear_errors(Config()):
            exec('from json import no_longer_there', {'__name__': where})

    with pytest.raises(UserError, match="MMagic cannot be imported.*'no_longer_there'.*lite"):
        meets('mmagic.models')
    with pytest.raises(ImportError):  # a fault of the program
        meets('mine')


def test_a_test_does_without_the_training_set(tmp_path):
    save_network(make_network(0), tmp_path / 'network.pth')
    cfg = config(tmp_path, custom_hooks=[dict(type='AskForTheIteration')])
    cfg.train_dataloader.dataset = dict(
        type='HRFolderDataset', data_root=str(tmp_path / 'nowhere'), _scope_='mmagic')
    expected = running.test(config(tmp_path), str(tmp_path / 'network.pth'))
    assert running.test(cfg, str(tmp_path / 'network.pth')) == expected
    # The record of the settings, in the work folder that a training may have made, keeps them.
    written = Config.fromfile(tmp_path / 'work' / Path(cfg.filename).name)
    assert written.train_cfg.max_iters == 4 and written.optim_wrapper == cfg.optim_wrapper


LAZY = """
from mmagic.datasets import BasicImageDataset
from mmagic.datasets.transforms import LoadImageFromFile, PackInputs, PairedRandomCrop, SetValues
from mmagic.engine.runner import MultiTestLoop, MultiValLoop
from mmagic.evaluation import PSNR
from mmagic.evaluation.evaluator import Evaluator
from mmagic.models.losses import L1Loss
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapper
from mmengine.runner import IterBasedTrainLoop
from torch.optim import Adam

from srdensenet_mm.models import SRDenseNet
from srdensenet_mm.models.luma_edit_model import LumaEditModel

default_scope = 'mmagic'
log_processor = dict(by_epoch=False)
default_hooks = dict(checkpoint=dict(type=CheckpointHook, by_epoch=False, interval=2))
model = dict(
    type=LumaEditModel, pixel_loss=dict(type=L1Loss),
    generator=dict(type=SRDenseNet, mid_channels=4, num_blocks=1, num_layers=2, growth_rate=4,
                   bottleneck_channels=4))
load = [dict(type=LoadImageFromFile, key=key, color_type='color', channel_order='rgb')
        for key in ('img', 'gt')]
images = dict(type=BasicImageDataset, data_root='data/Set5',
                data_prefix=dict(img='LRbicx4', gt='GTmod12'))
train_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type=InfiniteSampler),
    dataset=dict(**images, pipeline=[
        *load, dict(type=SetValues, dictionary=dict(scale=4)),
        dict(type=PairedRandomCrop, gt_patch_size=24), dict(type=PackInputs)]))
val_dataloader = test_dataloader = dict(
    num_workers=0, sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(**images, pipeline=[*load, dict(type=PackInputs)]))
val_evaluator = test_evaluator = dict(
    type=Evaluator, metrics=[dict(type=PSNR, crop_border=4, convert_to='Y')])
train_cfg = dict(type=IterBasedTrainLoop, max_iters=2, val_interval=2)
val_cfg, test_cfg = dict(type=MultiValLoop), dict(type=MultiTestLoop)
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=Adam, lr=1e-3))
"""


def test_a_config_in_pure_python_trains_and_is_scored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_layout(tmp_path / 'data')
    (tmp_path / 'lazy.py').write_text(LAZY)
    runner = running.train(running.load_config('lazy.py', 'work', dict([unique_name().split('=')])))
    cfg = running.load_config('lazy.py', 'work', dict([unique_name().split('=')]))
    scores = running.test(cfg, 'work/iter_2.pth')
    for one in (runner.cfg, cfg):
        ast.parse(one.pretty_text)  # which goes into logs and checkpoints
    assert scores['PSNR'] == pytest.approx(
        runner.message_hub.get_scalar('val/PSNR').current(), abs=1e-4)


def test_averages_are_scored_as_the_checkpoint_holds_them(tmp_path):
    """Whatever averages them: the weights that are loaded are the averages already."""
    running.train(config(tmp_path))
    path = tmp_path / 'work/iter_4.pth'
    content = torch.load(path, weights_only=True)
    mmagics = dict(type='mmagic.ExponentialMovingAverageHook', module_keys='generator_ema')
    hooks = [[], [dict(type='EMAHook')], [dict(type='EMAHook', update_buffers=True)], [mmagics]]
    scores = [running.test(config(tmp_path, custom_hooks=each), str(path)) for each in hooks]
    assert scores[1:] == scores[:1] * 3
    content['state_dict'] = {key.removeprefix('module.'): value
                             for key, value in content.pop('ema_state_dict').items()
                             if key.startswith('module.')}
    torch.save(content, tmp_path / 'as_trained.pth')
    as_trained = running.test(config(tmp_path), str(tmp_path / 'as_trained.pth'))
    assert abs(as_trained['PSNR'] - scores[0]['PSNR']) > 0.01


def test_a_rate_cannot_be_scaled_without_a_base(tmp_path):
    cfg = config(tmp_path, auto_scale_lr=dict(_delete_=True))
    with pytest.raises(UserError, match='tiny.py: Lack of `base_batch_size` in `auto_scale_lr`'):
        running.train(cfg, auto_scale_lr=True)


def test_a_training_begins_with_safetensors_and_a_test_reads_them(tmp_path):
    network, path = make_network(1), tmp_path / 'network.safetensors'
    save_network(network, path)
    save_network(network, tmp_path / 'same.pth')
    with pytest.raises(UserError, match=f'{path}: '):  # weights alone
        running.train(config(tmp_path), str(path))
    loaded = running.train(config(tmp_path, **{
        'load_from': str(path), 'optim_wrapper.optimizer.lr': 0.}))
    for key, value in loaded.model.generator.state_dict().items():
        assert torch.equal(value, network.state_dict()[key])
    scores = [running.test(config(tmp_path), str(file)) for file in (path, tmp_path / 'same.pth')]
    assert scores[0] == scores[1]
