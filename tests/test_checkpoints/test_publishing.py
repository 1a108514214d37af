# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""A real training by MMEngine's Runner, published and read by everybody who may."""
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmagic.registry import DATASETS
from mmengine import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner, load_checkpoint
from rounding import rounding_error
from torch.utils.data import Dataset

from srdensenet_mm.checkpoints import (
    load_network,
    load_network_with_meta,
    publish_checkpoint,
    save_network,
)
from srdensenet_mm.errors import UserError
from srdensenet_mm.models import SRDenseNet

ROOT = Path(__file__).parents[2]
GENERATOR = dict(
    type='SRDenseNet', upscale_factor=2, mid_channels=6, num_blocks=2, num_layers=3,
    growth_rate=4, bottleneck_channels=8, deconv_kernel=3, bottleneck_act=True)
MODEL = dict(type='LumaEditModel', generator=GENERATOR, pixel_loss=dict(type='L1Loss'))
MOMENTUM = 0.3


@DATASETS.register_module()
class NoisePairs(Dataset):
    """Pairs of uint8 noise in the form in which MMagic's pipelines pack them."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        from mmagic.structures import DataSample
        images = torch.Generator().manual_seed(index)
        gt = torch.randint(256, (3, 16, 16), generator=images, dtype=torch.uint8)
        return dict(inputs=gt[:, ::2, ::2].contiguous(), data_samples=DataSample(gt_img=gt))


class _Record(Hook):
    """The averages, computed from the weights after each step."""
    averaged = None

    def after_train_iter(self, runner, *args, **kwargs):
        generator = runner.model.generator
        now = {key: value.clone() for key, value in generator.state_dict().items()}
        if self.averaged is None:
            self.averaged = now
        else:
            self.averaged = {key: (1 - MOMENTUM) * value + MOMENTUM * now[key]
                             for key, value in self.averaged.items()}
        self.last = now


def train(folder, ema):
    torch.manual_seed(0)
    runner = Runner.from_cfg(Config(dict(
        model=MODEL,
        work_dir=str(folder),
        train_dataloader=dict(
            batch_size=2, num_workers=0, dataset=dict(type='NoisePairs'),
            sampler=dict(type='InfiniteSampler', shuffle=True)),
        train_cfg=dict(by_epoch=False, max_iters=4),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=1e-2)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=4, by_epoch=False)),
        custom_hooks=[dict(type='EMAHook', momentum=MOMENTUM)] if ema else [],
        default_scope='mmagic',
        experiment_name=f'tiny_recipe_{ema}')))
    record = _Record()
    runner.register_hook(record)
    runner.train()
    return folder / 'iter_4.pth', record


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    return {ema: train(tmp_path_factory.mktemp('work'), ema) for ema in (False, True)}


def equal(network, weights, tolerance=lambda weight: 0):
    found = network.state_dict()
    assert list(found) == list(weights)
    return all((found[key] - weights[key]).abs().max() <= tolerance(weights[key])
               for key in weights)


def test_the_runners_own_checkpoint(trained):
    source, record = trained[False]
    network, meta = load_network_with_meta(source)
    assert GENERATOR.items() <= meta['network'].items() and meta['colour'] == 'y'
    assert meta['iter'] == 4 and 'averaged_weights' not in meta
    assert equal(network, record.last)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_the_averaged_weights_are_taken(trained, tmp_path, suffix):
    source, record = trained[True]
    assert 'ema_state_dict' in torch.load(source)
    for path in (source, publish_checkpoint(source, tmp_path, suffix=suffix).path):
        network, meta = load_network_with_meta(path)
        assert meta['averaged_weights'] is True
        # Four steps, of a sum of two each.
        assert equal(network, record.averaged, lambda weight: rounding_error(weight, 8))
        assert not equal(network, record.last, lambda weight: 1e-3 * weight.abs().max())


def test_no_folder_of_the_trainer_is_published(trained, tmp_path):
    content = torch.load(trained[False][0])
    content['meta'].update(hook_msgs=dict(best_ckpt='/home/a/best.pth'), exp_name='/home/a/x.py')
    torch.save(content, tmp_path / 'odd.pth')
    published = publish_checkpoint(tmp_path / 'odd.pth', tmp_path).path
    assert b'/home' in (tmp_path / 'odd.pth').read_bytes()
    assert b'/home' not in published.read_bytes()


def test_the_published_file(trained, tmp_path):
    source, _ = trained[True]
    result = publish_checkpoint(source, tmp_path / 'new folder')
    data = result.path.read_bytes()
    digits = hashlib.sha256(data).hexdigest()[:8]
    assert result.path == tmp_path / 'new folder' / f'tiny_recipe_True-{digits}.pth'
    assert result.num_bytes == len(data) < source.stat().st_size / 2
    content = torch.load(result.path, weights_only=True)
    assert set(content) == {'meta', 'state_dict'}
    assert all(key.startswith('generator.') for key in content['state_dict'])
    assert sum(v.numel() for v in content['state_dict'].values()) == result.num_parameters
    assert content['meta']['iter'] == 4 and str(source.parent) not in str(content['meta'])
    # Published once more, it stays the same file.
    again = publish_checkpoint(result.path, tmp_path / 'again')
    assert again.path.name == result.path.name
    named = publish_checkpoint(result.path, tmp_path, name='other_name')
    assert named.path.name == f'other_name-{digits}.pth'
    with pytest.raises(UserError, match="the name '../beside' has a folder in it"):
        publish_checkpoint(result.path, tmp_path / 'again', name='../beside')


def test_the_same_source_gives_the_same_bytes(trained, tmp_path):
    source, _ = trained[True]
    here = publish_checkpoint(source, tmp_path / 'here')
    done = subprocess.run(
        [sys.executable, 'tools/publish_checkpoint.py', source, tmp_path / 'there'],
        cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    there = tmp_path / 'there' / here.path.name
    assert there.read_bytes() == here.path.read_bytes()
    assert str(there) in done.stdout and f'{here.num_bytes:,} bytes' in done.stdout
    assert f'{here.num_parameters:,} parameters' in done.stdout
    first, second = (publish_checkpoint(source, tmp_path / name, suffix='.safetensors')
                     for name in ('here', 'there'))
    assert first.path.name == second.path.name


def test_mmagics_models_load_it(trained, tmp_path):
    from mmagic.registry import MODELS
    path = publish_checkpoint(trained[True][0], tmp_path).path
    bare = load_network(path)
    image = torch.rand(1, 3, 6, 7)
    grey = image[:, :1]
    for kind in ('LumaEditModel', 'BaseEditModel'):
        model = MODELS.build(dict(MODEL, type=kind)).eval()
        content = torch.load(path, weights_only=True)
        missing, surplus = model.load_state_dict(content['state_dict'], strict=False)
        assert not surplus and all(key.startswith('data_preprocessor.') for key in missing)
        model = MODELS.build(dict(MODEL, type=kind)).eval()
        load_checkpoint(model, str(path), map_location='cpu')
        with torch.no_grad():
            assert torch.equal(model.generator(grey), bare(grey))


def test_a_runner_tests_with_it(trained, tmp_path):
    path = publish_checkpoint(trained[True][0], tmp_path).path
    runner = Runner.from_cfg(Config(dict(
        model=MODEL, work_dir=str(tmp_path), load_from=str(path), default_scope='mmagic',
        experiment_name='loading')))
    runner.load_or_resume()
    assert equal(runner.model.generator, load_network(path).state_dict())


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_weights_between_a_training_and_its_start(trained, tmp_path, suffix):
    source, record = trained[True]
    torch.manual_seed(1)
    settings = {key: value for key, value in GENERATOR.items() if key != 'type'}
    start = SRDenseNet(**settings)
    save_network(start, tmp_path / 'start.pth')
    path = publish_checkpoint(source, tmp_path, suffix=suffix, base=tmp_path / 'start.pth',
                              base_share=0.25).path
    network, meta = load_network_with_meta(path)
    expected = {key: 0.75 * value + 0.25 * start.state_dict()[key]
                for key, value in record.averaged.items()}
    assert equal(network, expected, lambda weight: rounding_error(weight, 10))
    assert meta['mixed_with'] == {'start.pth': 0.25}


def test_what_cannot_be_mixed(trained, tmp_path):
    source = trained[True][0]
    save_network(SRDenseNet(upscale_factor=3), tmp_path / 'other.pth')
    with pytest.raises(UserError, match=r'other\.pth: is another network'):
        publish_checkpoint(source, tmp_path, base=tmp_path / 'other.pth', base_share=0.5)
    with pytest.raises(UserError, match='1.5: give 0 to 1'):
        publish_checkpoint(source, tmp_path, base=source, base_share=1.5)


def test_what_cannot_be_published(trained, tmp_path):
    source, _ = trained[False]
    with pytest.raises(UserError, match='none.pth: cannot be read .No such file'):
        publish_checkpoint(tmp_path / 'none.pth', tmp_path / 'out')
    cut = tmp_path / 'cut.pth'
    cut.write_bytes(source.read_bytes()[:-1000])
    with pytest.raises(UserError, match='cut.pth: is not a checkpoint'):
        publish_checkpoint(cut, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_a_hostile_recipe_name(trained, tmp_path):
    content = torch.load(trained[False][0])
    content['meta']['experiment_name'] = '../../outside_20240102_030405'
    torch.save(content, tmp_path / 'source.pth')
    path = publish_checkpoint(tmp_path / 'source.pth', tmp_path / 'out').path
    assert path.parent == tmp_path / 'out' and path.name.startswith('source-')


@pytest.fixture(autouse=True, scope='module')
def _leave_no_message_hub():
    yield
    MessageHub._instance_dict.clear()
