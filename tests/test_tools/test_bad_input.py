# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""tools/train.py, test.py and prepare_dataset.py on whatever users have.

Each input gives the right result, or one line that names the file and the
reason, a non-zero exit status, and nothing half-written.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from image_corpus import as_nobody, make_rgb, write, write_bad, write_good
from mmengine.config import Config
from run_tools_here import call_tool, refused, unique_name

from srdensenet_mm.datasets import matlab_bicubic, read_rgb
from srdensenet_mm.models import SRDenseNet

NETWORK = dict(upscale_factor=4, mid_channels=4, num_blocks=1, num_layers=2, growth_rate=4,
               bottleneck_channels=4)
BORDER = 4
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Without what takes seconds for each Runner: compilers looked for, configs made pretty."""
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: ''.join(
        f'{key} = {value!r}\n' for key, value in cfg._cfg_dict.to_dict().items())))


def write_config(path, **changes):
    """A recipe of the smallest sizes: LR folders LR, GT folders GT, HR images in HR."""
    folder = path.parent
    load = [dict(type='LoadImageFromFile', key=key, color_type='color', channel_order='rgb')
            for key in ('img', 'gt')]
    pairs = dict(type='BasicImageDataset', data_root=str(folder),
                 data_prefix=dict(img='LR', gt='GT'), pipeline=[*load, dict(type='PackInputs')])
    evaluator = dict(type='Evaluator', metrics=[
        dict(type=metric, crop_border=BORDER, convert_to='Y') for metric in ('PSNR', 'SSIM')])
    loader = dict(num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
                  dataset=pairs)
    cfg = dict(
        default_scope='mmagic',
        custom_imports=dict(imports=['srdensenet_mm'], allow_failed_imports=False),
        model=dict(type='LumaEditModel', generator=dict(type='SRDenseNet', **NETWORK),
                   pixel_loss=dict(type='L1Loss'),
                   data_preprocessor=dict(type='DataPreprocessor', mean=[0.], std=[255.])),
        train_dataloader=dict(
            batch_size=2, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),
            dataset=dict(type='HRFolderDataset', data_root=str(folder / 'HR'), cache_gib=0,
                         pipeline=[dict(type='RandomPatchPair', scale=4, gt_patch_size=24),
                                   dict(type='PackInputs')])),
        train_cfg=dict(type='ResumableIterTrainLoop', max_iters=12, val_interval=100),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3)),
        test_dataloader=[loader], test_evaluator=[evaluator], test_cfg=dict(type='MultiTestLoop'),
        default_hooks=dict(
            logger=dict(type='LoggerHook'),
            checkpoint=dict(type='SafeCheckpointHook', by_epoch=False, interval=100)))
    cfg.update(changes)
    folder.mkdir(parents=True, exist_ok=True)
    Config(cfg).dump(str(path))
    return path


def pairs_for_training(folder, **changes):
    """The training set that MMagic's conventional layout would be."""
    load = [dict(type='LoadImageFromFile', key=key, color_type='color', channel_order='rgb')
            for key in ('img', 'gt')]
    return dict(
        batch_size=2, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),
        dataset=dict(type='BasicImageDataset', data_root=str(folder),
                     data_prefix=dict(img='LR', gt='GT'),
                     pipeline=[*load, dict(type='SetValues', dictionary=dict(scale=4)),
                               dict(type='PairedRandomCrop', gt_patch_size=24),
                               dict(type='PackInputs')], **changes))


def write_pair(folder, name, seed=0, height=48, width=60):
    gt = make_rgb(seed, height, width)
    write(folder / 'GT' / name, gt)
    return write(folder / 'LR' / name, matlab_bicubic(gt, 4))


@pytest.fixture
def place(tmp_path):
    """A folder whose name is hard to handle, with a config, a checkpoint and two pairs."""
    folder = tmp_path / 'mit Leerzeichen, schön 晴れ'
    write_config(folder / 'config.py')
    torch.manual_seed(0)
    torch.save(SRDenseNet(**NETWORK).state_dict(), folder / 'network.pth')
    for i in range(2):
        write_pair(folder, f'bild {i}.png', i)
    return folder


def arguments(place, *options):
    return [place / 'config.py', *options, '--work-dir', place / 'work', '--cfg-options',
            unique_name()]


def score(place, checkpoint='network.pth', out='scores.json'):
    return arguments(place, place / checkpoint, '--out', place / out)


def assert_nothing_written(place):
    assert not (place / 'scores.json').exists()
    assert not list(place.rglob('*.pth.tmp')) and not list((place / 'work').rglob('iter_*'))
    assert not [path for path in place.rglob('.*') if path.is_file()]


def test_a_good_set_is_scored(place):
    network = SRDenseNet(**NETWORK)
    network.conv_last.weight.data.zero_()
    network.conv_last.bias.data.fill_(0.5)
    torch.save(network.state_dict(), place / 'network.pth')
    errors = []
    for path in (place / 'GT').iterdir():
        gray = make_rgb(len(errors), 48, 60)[..., :1].repeat(3, axis=2)
        write(path, gray)
        write(place / 'LR' / path.name, matlab_bicubic(gray, 4))
        # Y of 127.5 is a gray of 129.8, which becomes 130.
        error = (130. - gray[..., 0]) * 219 / 255
        errors.append(np.square(error[BORDER:-BORDER, BORDER:-BORDER]).mean())
    status, _, err = call_tool('test', *score(place))
    assert status == 0, err
    scores = json.loads((place / 'scores.json').read_text())
    expected = np.mean(10 * np.log10(255**2 / np.array(errors)))
    assert scores['PSNR'] == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize('text, reason', [
    (None, 'no such file or recipe'),
    ('model = dict(', 'not a valid config (SyntaxError'),
    ("_base_ = './gone.py'", 'gone.py'),
    ('1 / 0', 'ZeroDivisionError'),
    ('x = 1', 'has no model'),
    ("model = dict(type='NoSuchModel')", 'NoSuchModel'),
])
def test_broken_configs(place, text, reason):
    config = place / 'config.py'
    whole = config.read_text()
    config.unlink()
    if text is not None:
        config.write_text(whole + text if text.startswith(('model', '1')) else text)
    for tool, rest in (('train', []), ('test', [place / 'network.pth'])):
        line = refused(tool, *arguments(place, *rest))
        assert 'config.py' in line and reason in line, line
    assert_nothing_written(place)


@pytest.mark.parametrize('option, named', [
    ('model.generator.upscale_factor=5', 'upscale_factor'),
    ('model.generator.nonsense=5', 'nonsense'),
    ('train_dataloader.dataset.pipeline.0.gt_patch_size=2', 'gt_patch_size'),
    ('optim_wrapper.optimizer.type=NoSuchOptimizer', 'NoSuchOptimizer'),
    ('train_cfg.type=NoSuchLoop', 'NoSuchLoop'),
    ('custom_hooks=EMAHook', 'config.py: hook should be an instance of Hook or dict'),
    # The part's settings are shown, because a library's message may not name the one at fault.
    ('model.generator.growth_rate=1.5', 'SRDenseNet(upscale_factor=4,'),
    ('train_dataloader.dataset.teachers=[a]', 'teachers: is no list such as'),
    ('train_dataloader.dataset.shrink=[2]', 'shrink: 2 must be more than 0 and at most 1'),
    ('train_dataloader.dataset.data_prefix.gt=GT', "data_prefix={'gt': 'GT'}"),
    ('optim_wrapper.optimizer.lr=-1', 'Adam(lr=-1) cannot be built')])
def test_settings_that_cannot_be_built(place, option, named):
    write(place / 'HR/x.png', make_rgb())
    line = refused('train', *arguments(place), option)
    assert named in line and 'https' not in line, line
    assert_nothing_written(place)


@pytest.mark.parametrize('step, option, said', [
    (dict(type='RandomPatchPair', gt_patch_size=24), 'model.generator.upscale_factor=2',
     'upscale_factor=2, but the training pairs are 6 and 24 pixels wide'),
    (dict(type='MATLABBicubicDown', scale=3), 'model.generator.upscale_factor=4',
     'upscale_factor=4, but the training pairs are 20 and 60 pixels wide'),
    (dict(type='SetValues', dictionary=dict(scale=3)), 'model.generator.upscale_factor=4',
     'png: PairedRandomCrop failed (Scale mismatches')])
def test_training_pairs_of_another_scale_than_the_networks(place, step, option, said):
    loader = pairs_for_training(place)
    load, pack = loader['dataset']['pipeline'][:2], dict(type='PackInputs')
    crop = [dict(type='PairedRandomCrop', gt_patch_size=24)] if 'dictionary' in step else []
    loader['dataset']['pipeline'] = [*load, step, *crop, pack]
    loader['dataset'] = dict(type='RepeatDataset', times=2, dataset=loader['dataset'])
    write_config(place / 'config.py', train_dataloader=loader)
    line = refused('train', *arguments(place), option)
    assert said in line, line
    assert_nothing_written(place)


def test_a_step_of_a_pipeline_that_is_no_dict(place):
    loader = pairs_for_training(place)
    loader['dataset']['pipeline'][-1] = 'PackInputs'
    line = refused('train', *arguments(write_config(
        place / 'config.py', train_dataloader=loader).parent))
    assert 'cannot be built' in line, line


def test_work_folders_that_cannot_be_made(place):
    write(place / 'HR/x.png', make_rgb())
    (place / 'work').write_text('a file')
    for tool, rest in (('train', []), ('test', [place / 'network.pth'])):
        for folder in ('work', 'work/below'):
            line = refused(tool, place / 'config.py', *rest, '--work-dir', place / folder)
            assert f'--work-dir: {place / folder}: cannot be made' in line, line


class Bomb:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def write_checkpoint(kind, path):
    """A checkpoint that is no use; returns the reason that must be given."""
    whole = path.read_bytes()
    content = torch.load(path)
    if kind == 'missing':
        path.unlink()
        return 'cannot be read (No such file'
    if kind == 'cut':
        path.write_bytes(whole[:len(whole) // 2])
        return 'damaged'
    if kind == 'bomb':
        torch.save(dict(content, more=Bomb(f'touch "{path.parent}/exploded"')), path)
        return 'could run code'
    if kind == 'scale':
        torch.save(SRDenseNet(**dict(NETWORK, upscale_factor=2)).state_dict(), path)
        return 'does not fit the config'
    assert kind == 'nan'
    torch.save({key: value * float('nan') for key, value in content.items()}, path)
    return 'NaN'


@pytest.mark.parametrize('meta', [
    dict(cfg='model = "resnet50"\n'), dict(network='SRDenseNet'),
    dict(cfg='model = dict(generator="x")\n')])
def test_a_meta_of_another_kind_is_passed_over(place, meta):
    torch.save(dict(state_dict=SRDenseNet(**NETWORK).state_dict(), meta=meta),
               place / 'network.pth')
    status, _, err = call_tool('test', *score(place))
    assert status == 0, err


def test_a_meta_that_no_network_has_is_refused(place):
    network = dict(type='SRDenseNet', dense_block=dict(type='Nope'), **NETWORK)
    torch.save(dict(state_dict=SRDenseNet(**NETWORK).state_dict(), meta=dict(network=network)),
               place / 'network.pth')
    assert "names 'Nope'" in refused('test', *score(place))


def test_a_validation_without_an_interval_comes_at_the_end(place):
    write(place / 'HR/good.png', make_rgb())
    config = Config.fromfile(place / 'config.py')
    for changes in ({}, dict(val_dataloader=config.test_dataloader[0],
                             val_evaluator=config.test_evaluator[0],
                             val_cfg=dict(type='MultiValLoop'))):
        write_config(place / 'config.py', **changes)
        status, _, err = call_tool('train', *arguments(place), 'train_cfg.val_interval=0')
        assert status == 0, err
        (scalars,) = (place / 'work').rglob('scalars.json')
        assert scalars.read_text().count('PSNR') == len(changes) // 3
        shutil.rmtree(place / 'work')


def test_a_mistyped_recipe(place):
    line = refused('train', place / 'srdensenet_x4_shrt.py')
    assert 'srdensenet_x4_shrt.py: no such file or recipe; did you mean srdensenet_x4_short' in line


@pytest.mark.parametrize('kind', ['missing', 'cut', 'bomb', 'scale', 'nan'])
def test_bad_checkpoints(place, kind):
    write(place / 'HR/x.png', make_rgb())
    reason = write_checkpoint(kind, place / 'network.pth')
    line = refused('test', *score(place))
    assert 'network.pth' in line and reason in line, line
    # To go on from it is refused as well.
    line = refused('train', *arguments(place, '--resume', place / 'network.pth'))
    assert 'network.pth' in line and (reason in line or kind == 'scale'), line
    assert not (place / 'exploded').exists()
    assert_nothing_written(place)


@pytest.mark.parametrize('config', [dict(), dict(bottleneck_act=True)])
def test_settings_that_shapes_do_not_tell(place, config):
    said = dict(type='SRDenseNet', **NETWORK, bottleneck_act=not config)
    torch.save(dict(state_dict=SRDenseNet(**NETWORK).state_dict(), meta=dict(network=said)),
               place / 'network.pth')
    write_config(place / 'config.py', model=dict(
        type='LumaEditModel', generator=dict(type='SRDenseNet', **NETWORK, **config),
        pixel_loss=dict(type='L1Loss')))
    line = refused('test', *score(place))
    assert (f'network.pth: does not fit the config: its network was made with bottleneck_act='
            f'{not config}' in line and f'model.generator.bottleneck_act={not config}' in line)
    options = [*score(place), f'model.generator.bottleneck_act={not config}']
    options.remove('--out'), options.remove(place / 'scores.json')
    status, _, err = call_tool('test', *options)
    assert status == 0, err


@pytest.mark.parametrize('option, reason', [
    ('model.generator.out_channels=3', r"generator.out_channels=3: .*type='BaseEditModel'"),
    ('test_dataloader.0.dataset.data_prefix=GT',
     "BasicImageDataset.*data_prefix='GT'.* cannot be built"),
    ('randomness.seed=-1', 'Seed must be between 0'),
    ('val_cfg={}', 'config.py: val_dataloader, val_cfg, and val_evaluator'),
])
def test_settings_that_do_not_go_together(place, option, reason):
    assert re.search(reason, refused('test', *score(place), option))


def test_self_ensemble_is_not_passed_over(place):
    write_config(place / 'config.py', model=dict(
        type='BaseEditModel', pixel_loss=dict(type='L1Loss'),
        generator=dict(type='SRDenseNet', **NETWORK),
        data_preprocessor=dict(type='DataPreprocessor', mean=[0.], std=[255.])))
    line = refused('test', *score(place), 'model.test_cfg.self_ensemble=True')
    assert 'self_ensemble: BaseEditModel does not know it' in line


def test_files_for_scores_are_looked_at_first(place):
    (place / 'closed').write_text('a file')
    for out, reason in (('scores.txt', 'unknown ending'), ('closed/scores.json', 'cannot be made'),
                        ('.', 'is a folder')):
        line = refused('test', *score(place, checkpoint='missing.pth', out=out))
        assert reason in line, line


def spoil_pair(kind, place):
    """Spoil a test set; returns what must be said of it."""
    lr, gt = place / 'LR/bild 1.png', place / 'GT/bild 1.png'
    if kind == 'no folder':
        shutil.rmtree(place / 'LR')
        return f'there is no folder {place}/LR'
    if kind == 'empty folder':
        for path in (place / 'LR').iterdir():
            path.unlink()
        return f'{place}/LR holds no image'
    if kind == 'no LR':
        lr.unlink()
        return f'{lr}: there is no such file, the pair of {gt}|{gt}: has no pair in {place}/LR'
    if kind == 'no GT':
        gt.unlink()
        return f'{gt}: there is no such file, the pair of {lr}|{lr}: has no pair in {place}/GT'
    if kind == 'LR size':
        write(lr, make_rgb(height=12, width=16))
        return f'{lr}: 16x12 pixels is not 1/4 of its GT, {gt}: 60x48'
    if kind == 'LR turned':
        write(lr, np.rot90(read_rgb(lr)))
        return f'{lr}: 12x15 pixels is not 1/4'
    if kind == 'one pixel':
        write(lr, make_rgb(height=1, width=1))
        write(gt, make_rgb(height=4, width=4))
        return f'{gt}: 4x4 pixels is too small'
    if kind == 'cut':
        noise = np.random.default_rng(0).integers(0, 256, (48, 60, 3), np.uint8)
        content = write(gt, noise).read_bytes()
        gt.write_bytes(content[:len(content) // 2])
        return f'{gt}: is no image that OpenCV reads, or is damaged'
    if kind == 'text':
        gt.write_text('no image')
        return f'{gt}: is no image'
    if kind == 'zero bytes':
        lr.write_bytes(b'')
        return f'{lr}: is empty'
    assert kind == 'dangling link'
    lr.unlink()
    lr.symlink_to(place / 'gone.png')
    return f'{lr}: there is no such file|{gt}: has no pair in {place}/LR'


KINDS = ['no folder', 'empty folder', 'no LR', 'no GT', 'LR size', 'LR turned', 'one pixel', 'cut',
         'text', 'zero bytes', 'dangling link']


@pytest.mark.parametrize('kind', KINDS)
def test_bad_test_sets(place, kind):
    said = spoil_pair(kind, place).split('|')
    line = refused('test', *score(place))
    assert any(one in line for one in said), line
    assert_nothing_written(place)


def test_a_set_that_holds_its_lr_folders_is_scored(place):
    for path in (place / 'GT').iterdir():
        path.rename(place / path.name)
    loader = dict(Config.fromfile(place / 'config.py').test_dataloader[0])
    loader['dataset'] = dict(loader['dataset'], data_prefix=dict(img='LR', gt=''))
    (place / 'LRbicx2').mkdir()
    shutil.copy(place / 'bild 0.png', place / 'LRbicx2')
    write_config(place / 'config.py', test_dataloader=[loader])
    status, _, err = call_tool('test', *score(place))
    assert status == 0, err


@pytest.mark.parametrize('name', ['{}/more.webp', '{}/below/more.png'])
def test_no_image_of_a_test_set_is_left_out(place, name):
    for folder in ('LR', 'GT'):
        (place / folder / 'below').mkdir()
        path = place / name.format(folder)
        write(path, read_rgb(place / folder / 'bild 1.png'))
    line = refused('test', *score(place))
    assert f'{place / name.format("LR")}: would not be scored' in line, line


@pytest.mark.parametrize('kind', KINDS)
def test_bad_pairs_to_train_on(place, kind):
    write_config(place / 'config.py', train_dataloader=pairs_for_training(place))
    said = spoil_pair(kind, place).split('|')
    line = refused('train', *arguments(place))
    if kind == 'one pixel':  # too small for the patch
        said = ['LQ (1, 1) is smaller than patch size']
    assert any(one in line for one in said), line
    assert_nothing_written(place)


@pytest.mark.parametrize('wrapped', ['repeated', 'side by side'])
def test_bad_pairs_are_named_within_wrappers(place, wrapped):
    loader = pairs_for_training(place)
    pairs = loader['dataset']
    loader['dataset'] = (dict(type='RepeatDataset', times=2, dataset=pairs)
                         if wrapped == 'repeated' else
                         dict(type='ConcatDataset', datasets=[pairs, pairs]))
    write_config(place / 'config.py', train_dataloader=loader)
    said = spoil_pair('cut', place)
    assert said in refused('train', *arguments(place))
    pairs['on_bad_image'] = 'skip'
    write_config(place / 'config.py', train_dataloader=loader)
    status, _, err = call_tool('train', *arguments(place))
    assert status == 0, err
    assert f'skipped, number 1: {said}' in err or (place / 'work/iter_12.pth').exists()


@pytest.mark.parametrize('workers', [0, 1])
def test_a_bad_pair_can_be_skipped(place, workers):
    loader = dict(pairs_for_training(place, on_bad_image='skip'), num_workers=workers)
    write_config(place / 'config.py', train_dataloader=loader)
    spoil_pair('LR size', place)
    status, _, err = call_tool('train', *arguments(place))
    assert status == 0, err
    assert (place / 'work/iter_12.pth').exists()


def test_another_scope_trains(place):
    """Of what the tools and the model add to a config, nothing needs MMagic's scope."""
    loader = pairs_for_training(place)
    loader['dataset']['type'] = 'mmagic.BasicImageDataset'
    for step in loader['dataset']['pipeline']:
        step['type'] = f'mmagic.{step["type"]}'
    write_config(
        place / 'config.py', default_scope='mmengine', train_dataloader=loader,
        model=dict(type='mmagic.LumaEditModel', generator=dict(type='mmagic.SRDenseNet', **NETWORK),
                   pixel_loss=dict(type='mmagic.L1Loss')),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=2),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2)))
    for mixed in ([], ['--amp']):
        status, _, err = call_tool('train', *mixed, *arguments(place))
        assert status == 0, err
        (place / 'work/iter_2.pth').unlink()
    write(place / 'LR/bild 0.png', make_rgb(0, 5, 6))
    write(place / 'LR/bild 1.png', make_rgb(0, 5, 6))
    assert 'bild' in refused('train', *arguments(place))


def test_every_sort_of_image_is_scored(place):
    """What a pair holds is read as MMagic reads it; GT of equal content scores the same."""
    good = write_good(place / 'corpus')
    for folder in ('LR', 'GT'):
        shutil.rmtree(place / folder)
    for i, path in enumerate(good):
        if path.suffix.lower() == '.png':
            rgb = read_rgb(path)[:48, :60]
            (place / 'GT').mkdir(exist_ok=True)
            write(place / f'LR/{i}.png', matlab_bicubic(np.ascontiguousarray(rgb), 4))
            write(place / f'GT/{i}.png', rgb)
            if rgb.shape == read_rgb(path).shape:
                shutil.copy(path, place / f'GT/{i}.png')
    status, _, err = call_tool('test', *score(place))
    assert status == 0, err
    assert np.isfinite(list(json.loads((place / 'scores.json').read_text()).values())).all()


def test_a_wide_panorama_is_scored_and_trained_on(place):
    write_pair(place, 'wide.png', height=24, width=40_000)
    status, _, err = call_tool('test', *score(place))
    assert status == 0, err
    write(place / 'HR/wide.png', make_rgb(height=24, width=40_000))
    status, _, err = call_tool('train', *arguments(place))
    assert status == 0, err


@pytest.mark.parametrize('workers', [0, 1])
def test_bad_images_in_a_training_folder(place, workers):
    write(place / 'HR/good.png', make_rgb())
    bad = write_bad(place / 'all bad')
    for path, reason in bad.items():
        shutil.rmtree(place / 'HR/one', ignore_errors=True)
        (place / 'HR/one').mkdir()
        path.rename(place / 'HR/one' / path.name)
        if workers and path.name not in ('cut.png', 'narrow.png'):
            continue  # one of each sort is enough
        line = refused('train', *arguments(place), f'train_dataloader.num_workers={workers}')
        assert f'HR/one/{path.name}' in line and reason in line and "'skip'" in line, line
        assert_nothing_written(place)


def test_bad_images_are_skipped(place):
    write(place / 'HR/good.png', make_rgb())
    write_bad(place / 'HR/bad')
    status, _, err = call_tool('train', *arguments(place),
                               'train_dataloader.dataset.on_bad_image=skip')
    assert status == 0, err
    assert (place / 'work/iter_12.pth').exists()
    (log,) = (place / 'work').rglob('*.log')
    assert log.read_text().count('skipped, number') >= 1


def test_folders_to_train_on(place):
    line = refused('train', *arguments(place))
    assert f'{place}/HR: no such folder' in line
    (place / 'HR').mkdir()
    assert f'{place}/HR: holds no image' in refused('train', *arguments(place))
    # A loop of links is entered once.
    write(place / 'HR/x.png', make_rgb())
    (place / 'HR/again').symlink_to(place / 'HR')
    assert call_tool('train', *arguments(place))[0] == 0


def test_what_may_not_be_read():
    place = Path(tempfile.mkdtemp(prefix='may not be read '))
    try:
        place.chmod(0o777)
        write_config(place / 'config.py')
        torch.save(SRDenseNet(**NETWORK).state_dict(), place / 'network.pth')
        write_pair(place, 'x.png')
        write(place / 'HR/x.png', make_rgb())
        write(place / 'shut/closed/x.png', make_rgb())
        for path in (place / 'GT/x.png', place / 'HR/x.png', place / 'shut/closed'):
            path.chmod(0)
        with as_nobody():
            if os.access(place / 'GT/x.png', os.R_OK, effective_ids=True):
                pytest.skip('permissions mean nothing here')
            assert f'{place}/GT/x.png: cannot be read' in refused('test', *score(place))
            assert f'{place}/HR/x.png: cannot be read' in refused('train', *arguments(place))
            line = refused('prepare_dataset', place / 'HR', place / 'out')
            assert f'{place}/HR/x.png: cannot be read (Permission denied' in line
            line = refused('prepare_dataset', place / 'shut', place / 'out')
            assert f'{place}/shut/closed: cannot be listed (Permission denied)' in line
    finally:
        (place / 'shut/closed').chmod(0o755)
        shutil.rmtree(place)


def test_prepare_names_every_bad_image(tmp_path):
    good, bad = write_good(tmp_path / 'hr'), write_bad(tmp_path / 'hr/bad')
    (tmp_path / 'hr/loop').symlink_to(tmp_path / 'hr')
    status, out, err = call_tool('prepare_dataset', tmp_path / 'hr', tmp_path / 'out', '--scales',
                                 '4')
    assert status == 1
    assert f'{len(good)} images written, 0 were up to date, {len(bad)} failed' in out
    lines = [line for line in err.splitlines() if line.startswith('failed: ')]
    for path, reason in bad.items():
        assert len([line for line in lines if str(path) in line and reason in line]) >= 1
    made = {path.stem for path in (tmp_path / 'out/LRbicx4').iterdir()}
    assert made == {path.stem for path in good}


@pytest.mark.parametrize('tool, arguments, said', [
    ('infer', 'no.png --checkpoint network.pth --out out', 'no.png: cannot be read (No such file'),
    ('infer', 'LR --checkpoint no.pth --out out', 'no.pth: cannot be read (No such file'),
    ('infer', 'LR --checkpoint network.pth --out config.py', '--out: config.py: cannot be made'),
    ('infer', 'LR --checkpoint network.pth --out out --tile -1', 'tile=-1: give a number'),
    ('infer', 'LR --checkpoint network.pth --out out --device nope', 'device=nope: cannot be used'),
    ('infer', 'LR --checkpoint network.pth --out out --device meta', 'device=meta: cannot be used'),
    ('infer', 'LR --checkpoint network.pth --out out --backend onnxruntime --dtype bf16',
     "backend=onnxruntime, dtype='bf16': choose one of fp32"),
    ('infer', 'LR --checkpoint network.pth --out out --config no.py', 'no.py: no such file or'),
    ('infer', 'LR --checkpoint network.pth --out out --config empty.py',
     'empty.py: its model.generator cannot be built (KeyError'),
    ('export_onnx', 'no.pth net.onnx', 'no.pth: cannot be read'),
    ('export_onnx', 'network.pth net.bin', 'net.bin: name the file with .onnx'),
    ('export_onnx', 'network.pth net.onnx --dtype int8', 'needs HR images'),
    ('export_onnx', 'network.pth network.pth/net.onnx', 'net.onnx: cannot be written'),
    ('convert_checkpoint', 'config.py c.pth', 'config.py: is not a checkpoint but text'),
    ('convert_checkpoint', 'network.pth network.pth', 'network.pth: is the source'),
    ('convert_checkpoint', 'network.pth net.onnx', "'.onnx': name the checkpoint with"),
    ('publish_checkpoint', 'network.pth config.py', 'cannot be written'),
    ('prepare_dataset', 'no set', 'no: no such folder'),
    ('prepare_dataset', 'GT config.py', 'png: cannot be written (Not a directory)'),
    ('prepare_dataset', 'GT set --scales 0', 'scale 0 is not supported'),
    ('make_teacher_targets', 'network.pth --data GT --out out --scale 2', 'by 4, not by 2'),
    ('benchmark', 'no.py --out out', 'no.py: no such file or recipe'),
    ('benchmark', 'no::x.py --out out', "no::x.py: the package 'no' is not installed"),
    ('benchmark', 'mmagic::x.py --out out', 'mmagic ships no such config'),
    ('benchmark', 'config.py= --out out', 'no checkpoint after "="'),
    ('benchmark', 'name=no.pth --out out', 'no.pth: there is no such checkpoint'),
    ('benchmark', 'empty.py --out out', 'empty.py: its model with a network "generator" cannot'),
    ('benchmark', 'config.py --out out --runs 0', '--runs 0'),
    ('benchmark', 'config.py --out out --size 0', '--size 0'),
    ('benchmark', 'config.py --out out --threads -1', '--threads -1'),
    ('benchmark', 'config.py --out out --device gpu', 'device=gpu: cannot be used'),
    ('benchmark', 'config.py --out out --data no', 'no: has no folder GTmod12; prepare it with'),
    ('benchmark', 'config.py --out out --backends tpu', 'choose from torch, torch:bf16'),
    ('benchmark', 'config.py --out out --backends onnxruntime --device meta', 'meta'),
    ('benchmark', 'config.py --out network.pth', '--out: network.pth: cannot be made'),
    ('benchmark', 'config.py --out network.pth/x', '--out: network.pth/x: cannot be made')])
def test_every_tool_says_it_in_one_line(place, monkeypatch, tool, arguments, said):
    monkeypatch.chdir(place)
    Path('empty.py').write_text('')
    before = {path: path.is_file() and path.read_bytes() for path in place.rglob('*')}
    line = refused(tool, *arguments.split())
    assert said in line, line
    after = {path: path.is_file() and path.read_bytes() for path in place.rglob('*')}
    after.pop(place / 'out', None)  # an empty folder at most
    assert after == before


# Runs tools in one process, to import all they need once.
CHILD = """
import json, runpy, sys
for name, *arguments in json.loads(sys.argv[1]):
    sys.argv = [f'{sys.argv[0]}', *arguments]
    try:
        runpy.run_path(f'tools/{name}.py', run_name='__main__')
    except SystemExit as error:
        assert not error.code, f'{name} left with {error.code}'
"""


def test_names_that_cannot_be_printed_and_a_notebooks_backend(tmp_path):
    """A console of ASCII, bytes that are no UTF-8, and a backend that is not installed."""
    place = tmp_path / (os.fsdecode('été '.encode('latin-1')) + '晴れ')
    try:
        place.mkdir()
    except OSError:
        pytest.skip('this file system takes names in UTF-8 only')
    config = write_config(
        place / 'config.py', train_cfg=dict(type='ResumableIterTrainLoop', max_iters=2),
        visualizer=dict(type='Visualizer', vis_backends=[
            dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]))
    write(place / 'HR/日.png', make_rgb(0, 48, 60))
    torch.save(SRDenseNet(**NETWORK).state_dict(), place / 'network.pth')
    network, images = str(place / 'network.pth'), str(place / 'Set')
    more = ['--cfg-options', 'train_dataloader.dataset.min_size=24']
    calls = [
        ['prepare_dataset', str(place / 'HR'), images, '--scales', '4'],
        ['convert_checkpoint', network, str(place / 'converted.pth')],
        ['publish_checkpoint', network, str(place / 'published')],
        ['infer', str(place / 'Set/LRbicx4'), '--checkpoint', network, '--out',
         str(place / 'out'), '--device', 'cpu'],
        ['train', str(config), '--work-dir', str(place / 'work'), *more],
        ['train', str(config), '--work-dir', str(place / 'work'), '--resume', *more,
         'train_cfg.max_iters=4'],
        ['test', str(config), network, '--work-dir', str(place / 'test'), '--out',
         str(place / 'scores.json'), '--cfg-options',
         'test_dataloader.0.dataset.data_prefix.img=LRbicx4',
         'test_dataloader.0.dataset.data_prefix.gt=GTmod12',
         f'test_dataloader.0.dataset.data_root={images!r}'],
        ['benchmark', f'{config}={network}', '--data', images, '--out', str(place / 'table'),
         '--runs', '1', '--size', '20']]
    environment = dict(os.environ, PYTHONIOENCODING='ascii', MPLBACKEND='module://no.such.backend',
                       PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, '-c', CHILD, json.dumps(calls)], cwd=ROOT,
                          env=environment, capture_output=True)
    output = done.stdout + done.stderr
    assert done.returncode == 0 and b'Error' not in output, output.decode()[-3000:]
    assert rb'\udce9t\udce9 \u6674\u308c' in output
    assert (place / 'out/日.png').is_file() and (place / 'work/iter_4.pth').is_file()
    assert (place / 'table/psnr_over_time.png').stat().st_size > 1000
