# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Trainings whose steps a GPU takes by itself, without one; test_gpu.py has the graph itself."""
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_training  # noqa: F401  its EndRank
import torch
from mmagic.structures import DataSample
from mmagic_layout import write_hr_folder
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapperDict
from mmengine.registry import DefaultScope

from srdensenet_mm.datasets import HRFolderDataset, find_images, read_rgb
from srdensenet_mm.engine import AutocastOptimWrapper, MuonWithAdam
from srdensenet_mm.engine.runner.graphed_loop import (
    GraphedStep,
    GraphedTrainLoop,
    check_capturable,
)
from srdensenet_mm.engine.running import load_config, train
from srdensenet_mm.errors import UserError
from srdensenet_mm.models import LumaEditModel

RECIPE = Path(__file__).resolve().parents[2] / 'configs/srdensenet_x4.py'
SMALL = dict(mid_channels=16, num_blocks=1, num_layers=2, growth_rate=16, bottleneck_channels=16)


def luma_model(**preprocessor):
    torch.manual_seed(0)
    # A training in this process may have left another scope.
    with DefaultScope.overwrite_default_scope('mmagic'):
        return LumaEditModel(
            dict(type='SRDenseNet', **SMALL), dict(type='L1Loss'),
            data_preprocessor=dict(dict(type='DataPreprocessor', mean=[0.], std=[255.]),
                                   **preprocessor))


def wrapper_for(model, **settings):
    optimizer = MuonWithAdam(model.parameters(), lr=1e-2, weight_decay=0.1)
    return AutocastOptimWrapper(**dict(dict(dtype='fp32', optimizer=optimizer), **settings))


def batches(count):
    generator = torch.Generator().manual_seed(1)
    return [tuple(torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8, generator=generator)
                  for side in (6, 24)) for _ in range(count)]


@pytest.mark.parametrize('preprocessor', [
    {}, dict(mean=[10., 20., 30.], std=[100., 200., 300.], output_channel_order='BGR')],
    ids=['luma', 'BGR'])
def test_a_step_is_that_of_mmengine(preprocessor):
    ours, theirs = luma_model(**preprocessor), luma_model(**preprocessor)
    drawn = batches(3)
    wrapper = wrapper_for(ours, clip_grad=dict(max_norm=0.1))
    step = GraphedStep(ours, wrapper, iter(drawn).__next__)
    logged = step(3)
    wrapper = wrapper_for(theirs, clip_grad=dict(max_norm=0.1))
    losses = []
    for low, high in drawn:
        rgb = dict(img_channel_order='RGB', gt_channel_order='RGB', gt_img_channel_order='RGB')
        data = dict(inputs=list(low),
                    data_samples=[DataSample(gt_img=gt, metainfo=rgb) for gt in high])
        losses.append(theirs.train_step(data, wrapper)['loss'].item())
    assert logged['loss'].item() == pytest.approx(sum(losses) / 3, rel=1e-5)
    assert logged['grad_norm'] > 0.1
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-3, atol=1e-5)


def test_the_rate_is_read_anew_each_time():
    model = luma_model()
    wrapper = wrapper_for(model)
    step = GraphedStep(model, wrapper, lambda: batches(1)[0])
    before = [p.detach().clone() for p in model.parameters()]
    wrapper.optimizer.param_groups[0]['lr'] = 0.
    step(2)
    assert all(map(torch.equal, before, model.parameters()))
    wrapper.optimizer.param_groups[0]['lr'] = 1e-3
    step(1)
    assert not any(map(torch.equal, before, model.parameters()))
    assert wrapper.optimizer.param_groups[0]['lr'] == 1e-3


def test_each_group_has_its_own_rate():
    model = luma_model()
    first, *others = model.parameters()
    optimizer = torch.optim.SGD([dict(params=[first], lr=0.), dict(params=others, lr=1e-2)])
    before = [p.detach().clone() for p in (first, *others)]
    GraphedStep(model, wrapper_for(model, optimizer=optimizer), lambda: batches(1)[0])(1)
    assert torch.equal(first, before[0])
    assert not any(map(torch.equal, others, before[1:]))


@pytest.mark.parametrize('kind', ['several optimizers', 'accumulation', 'fp16'])
def test_what_a_graph_cannot_hold(kind):
    model = luma_model()
    wrapper = wrapper_for(model, accumulative_counts=1 + (kind == 'accumulation'))
    if kind == 'fp16':
        wrapper.loss_scaler = SimpleNamespace(is_enabled=lambda: True)
    elif kind == 'several optimizers':
        wrapper = OptimWrapperDict(generator=wrapper, other=wrapper_for(model))
    with pytest.raises(UserError, match='steps one optimizer, .*accumulative_counts.* not fp16'):
        GraphedStep(model, wrapper, lambda: batches(1)[0])


@pytest.mark.parametrize('optimizer, captured', [
    (torch.optim.SGD, True), (MuonWithAdam, True), (torch.optim.Adam, False)])
def test_optimizers_that_are_not_captured_as_they_are(optimizer, captured):
    built = optimizer([torch.nn.Parameter(torch.zeros(2, 2))], lr=0.1)
    if captured:
        check_capturable(built)
    else:
        with pytest.raises(UserError, match='Adam .*--cfg-options .*capturable=True'):
            check_capturable(built)


def test_a_wrapped_model_is_refused(small_recipe):
    cfg = small_recipe('refused')
    wrapped = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
    with pytest.raises(UserError, match='trains on one GPU, without a launcher'):
        GraphedTrainLoop(SimpleNamespace(model=wrapped), cfg.train_dataloader, max_iters=1)


@pytest.fixture
def small_recipe(tmp_path, config_as_it_is):
    """Makes the recipe's config for four iterations of a small network."""
    write_hr_folder(tmp_path / 'HR')

    def make(work_dir):
        cfg = load_config(str(RECIPE), str(tmp_path / work_dir))
        # A new network hardly reads its deep maps: rounding would decide on their first steps.
        cfg.model.generator.update(SMALL, init_cfg=dict(
            type='Kaiming', layer=['Conv2d', 'ConvTranspose2d'], nonlinearity='relu'))
        cfg.train_dataloader.dataset.data_root = [str(tmp_path / 'HR')]
        cfg.train_dataloader.dataset.update(min_size=24, teachers=[])
        cfg.train_dataloader.dataset.pipeline[0].gt_patch_size = 24
        cfg.train_dataloader.batch_size = 2
        cfg.train_cfg.update(max_iters=4, steps_per_iter=2)
        cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
        cfg.default_hooks.checkpoint.update(interval=2, save_best=None)
        cfg.default_hooks.logger.interval = 1
        cfg.vis_backends = cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
        cfg.randomness = dict(seed=5)
        return cfg

    return make


# MMEngine warns where schedulers step before the optimizer.
@pytest.mark.filterwarnings('error:Detected call of `scheduler.step')
def test_a_resumed_training_ends_as_one_in_a_piece(small_recipe):
    whole = train(small_recipe('whole'))
    cfg = small_recipe('pieces')
    cfg.custom_hooks.append(dict(type='EndRank', ranks=[0], iteration=3, how='raise'))
    with pytest.raises(UserError, match='this is the mistake'):
        train(cfg)
    resumed = train(small_recipe('pieces'), resume=True)
    assert resumed.iter == 4
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


def test_compiled_steps_are_the_same_steps(small_recipe):
    found = []
    for settings in (dict(backend='aot_eager', fullgraph=True), False):
        cfg = small_recipe(f'compiled_{bool(settings)}')
        cfg.compile = settings
        cfg.optim_wrapper.dtype = 'fp32'  # bf16 shows how a compiler orders sums
        runner = train(cfg)
        assert hasattr(runner.model.forward_train, '_torchdynamo_orig_callable') == bool(settings)
        found.append(torch.cat([p.detach().flatten() for p in runner.model.parameters()]))
    # All together: Adam makes whole steps of what is rounding in a single gradient.
    assert (found[0] - found[1]).norm() < 1e-3 * found[1].norm()


@pytest.mark.parametrize('change', [
    dict(pipeline=[dict(type='MATLABBicubicDown', scale=4), dict(type='PackInputs')]),
    dict(pipeline=[dict(type='RandomPatchPair', scale=4), dict(type='SetValues', dictionary={}),
                   dict(type='PackInputs')]),
    dict(type='BasicImageDataset')])
def test_other_data_is_refused(small_recipe, change):
    cfg = small_recipe('refused')
    cfg.train_dataloader.dataset.update(change)
    with pytest.raises(UserError, match='draws patches itself'):
        train(cfg)


def test_the_pipeline_says_how_patches_are_turned(small_recipe):
    cfg, size = small_recipe('turned'), 108
    cfg.train_dataloader.dataset.update(type=HRFolderDataset, pipeline=[
        dict(type='mmagic.RandomPatchPair', scale=4, gt_patch_size=size),
        dict(type='mmagic.Flip', keys=['img', 'gt'], flip_ratio=1., direction='vertical'),
        dict(type='mmagic.PackInputs')])
    runner = SimpleNamespace(model=luma_model(), visualizer=SimpleNamespace())
    patches = GraphedTrainLoop(runner, cfg.train_dataloader, max_iters=1).patches
    images = [read_rgb(path) for path in find_images(cfg.train_dataloader.dataset.data_root)]
    expected = {image[top:top + size, left:left + size][::-1].tobytes() for image in images
                for top in range(121 - size) for left in range(111 - size)}
    assert {patch.transpose(1, 2, 0).tobytes() for patch in patches.draw(20)[1].numpy()} <= expected


def test_data_is_known_however_its_types_are_named(small_recipe):
    cfg = small_recipe('scoped')
    cfg.train_dataloader.dataset.type = HRFolderDataset
    for step in cfg.train_dataloader.dataset.pipeline:
        step.type = f'mmagic.{step.type}'
    runner = SimpleNamespace(model=luma_model(), visualizer=SimpleNamespace())
    loop = GraphedTrainLoop(runner, cfg.train_dataloader, max_iters=1)
    assert loop.patches.gt_patch_size == 24
