# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Every recipe loads, agrees with itself on the scale, builds, and takes a training step."""
import ast
import copy
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmagic.registry import DATASETS, MODELS
from mmagic.structures import DataSample
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from srdensenet_mm.checkpoints import load_network
from srdensenet_mm.datasets.prepare import gt_multiple
from srdensenet_mm.images.matlab_bicubic import matlab_bicubic

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
NAMES = sorted(path.stem for path in CONFIGS.glob('*.py'))
ADVERSARIAL = [name for name in NAMES if 'gan' in name]
ANY_SCALE = 'srdensenet_liif'
ONE_SCALE = [name for name in NAMES if name != ANY_SCALE]
SMALL = dict(mid_channels=6, num_blocks=2, num_layers=2, growth_rate=4, bottleneck_channels=8)


@pytest.fixture(scope='module', autouse=True)
def scope():
    init_default_scope('mmagic')


def load(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def walk(value):
    """All dicts in a config, at any depth."""
    if isinstance(value, dict):
        yield value
    for inner in (value.values() if isinstance(value, dict) else value if isinstance(
            value, (list, tuple)) else ()):
        yield from walk(inner)


def test_the_promised_recipes_are_there():
    assert {f'srdensenet_x{scale}_div2k' for scale in (2, 3, 4, 8)} < set(NAMES)
    variants = [load(f'srdensenet{name}_x4_div2k').model.generator
                for name in ('', '_h', '_hl', '_k3', '_rgb')]
    assert [net.feature_level for net in variants] == ['all', 'h', 'hl', 'all', 'all']
    assert [net.deconv_kernel for net in variants] == [2, 2, 2, 3, 2]
    assert [(net.in_channels, net.out_channels) for net in variants] == [(1, 1)] * 4 + [(3, 3)]


@pytest.mark.parametrize('name', ONE_SCALE)
def test_the_scale_is_one(name):
    cfg = load(name)
    scale = cfg.model.generator.upscale_factor
    assert re.search(rf'_x{scale}(_|$)', name)
    gt_folder = f'GTmod{gt_multiple(scale)}'
    train = cfg.train_dataloader.dataset
    if 'data_prefix' in train:
        assert train.data_prefix.img == f'DIV2K_train_LR_bicubic/X{scale}_sub'
        assert train.ann_file == 'meta_info_DIV2K800sub_GT.txt'
    steps = {step.type: step for step in train.pipeline}
    if 'PairedRandomCrop' in steps:
        assert steps['PairedRandomCrop'].gt_patch_size % scale == 0
    if 'RandomPatchPair' in steps:
        assert steps['RandomPatchPair'].scale == scale
        assert train.min_size == steps['RandomPatchPair'].gt_patch_size
    else:
        assert steps['SetValues'].dictionary.scale == scale
    loaders, evaluators = [*cfg.test_dataloader], [*cfg.test_evaluator]
    for found, more in ((loaders, cfg.val_dataloader), (evaluators, cfg.val_evaluator)):
        found += more if isinstance(more, list) else [more]
    assert len(loaders) == len(evaluators)
    for loader, evaluator in zip(loaders, evaluators, strict=True):
        assert loader.dataset.data_prefix == dict(img=f'LRbicx{scale}', gt=gt_folder)
        metrics = [part for part in walk(evaluator) if part.get('type') in ('PSNR', 'SSIM')]
        assert {metric.crop_border for metric in metrics} == {scale}
        assert [metric.type for metric in metrics if metric.get('convert_to') == 'Y'] == [
            'PSNR', 'SSIM']
        # Validation may do without RGB, tests may not.
        on_rgb = [metric.type for metric in metrics if not metric.get('convert_to')]
        assert on_rgb == ['PSNR', 'SSIM'] or not on_rgb and evaluator not in cfg.test_evaluator


@pytest.mark.parametrize('name', NAMES)
def test_the_safety_nets_are_on(name):
    cfg = load(name)
    # The other one is a subclass of it.
    assert cfg.train_cfg.type in ('ResumableIterTrainLoop', 'GraphedTrainLoop')
    hooks = {hook.type for hook in cfg.default_hooks.values()}
    assert {'SafeCheckpointHook', 'StopOnInvalidLossHook', 'SaveOnSignalHook',
            'DeadMapsHook'} <= hooks
    assert cfg.default_hooks.checkpoint.get('out_dir') is None
    assert cfg.custom_imports['imports'] == ['srdensenet_mm']


def test_the_published_recipes_are_one():
    """But for the scale, where they begin and how long they take."""
    cfgs = {scale: load(f'srdensenet_x{scale}') for scale in (2, 3, 4)}
    assert cfgs[4].get('load_from') is None
    for scale, cfg in cfgs.items():
        assert cfg.train_dataloader.dataset.teachers[0].folder == f'data/teachers/x{scale}'
        assert cfg.train_dataloader.dataset.pipeline[0].gt_patch_size == 32 * scale
        assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters
        for key in ('optim_wrapper', 'custom_hooks', 'default_hooks'):
            assert cfg[key] == cfgs[4][key]
        assert cfg.train_dataloader.dataset.data_root == cfgs[4].train_dataloader.dataset.data_root
        assert cfg.optim_wrapper.optimizer.bias_lr_mult == 0.1


@pytest.mark.parametrize('name', NAMES)
def test_short_and_described(name):
    text = (CONFIGS / f'{name}.py').read_text()
    assert len(text.splitlines()) <= 60
    module = ast.parse(text)
    assert len(ast.get_docstring(module)) > 40
    assert ast.unparse(module.body[1].targets[0]) == '_base_'


def test_the_papers_recipe():
    """Section 4: 50,000 images, 100x100, batch 32, 60 epochs, Adam 1e-4, MSE."""
    cfg = load('srdensenet_x4_imagenet50k')
    assert cfg.train_dataloader.batch_size == 32
    assert cfg.train_cfg.max_iters * 32 == 50_000 * 60
    assert [step.type for step in cfg.train_dataloader.dataset.pipeline] == [
        'RandomPatchPair', 'PackInputs']
    assert cfg.train_dataloader.dataset.pipeline[0].gt_patch_size == 100
    assert cfg.train_dataloader.dataset.on_bad_image == 'skip'
    assert cfg.optim_wrapper.optimizer.type == 'Adam' and 'clip_grad' not in cfg.optim_wrapper
    assert cfg.custom_hooks == []
    assert MODELS.build(cfg.model).pixel_loss(torch.tensor([3.]), torch.tensor([1.])) == 4

    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], lr=cfg.optim_wrapper.optimizer.lr)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, cfg.param_scheduler.milestones, cfg.param_scheduler.gamma)
    rates = []
    for _ in range(cfg.train_cfg.max_iters):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
    half = 50_000 * 30 // 32
    np.testing.assert_allclose(rates[:half], 1e-4)
    np.testing.assert_allclose(rates[half:], 1e-5)


def test_the_better_recipe():
    cfg = load('srdensenet_x4_imagenet50k_cosine')
    assert cfg.optim_wrapper.type == 'AutocastOptimWrapper'
    assert cfg.optim_wrapper.clip_grad.max_norm == 1
    assert [hook.type for hook in cfg.custom_hooks] == ['EMAHook']
    assert cfg.model.pixel_loss.type == 'L1Loss'
    assert [step.type for step in cfg.train_dataloader.dataset.pipeline] == [
        'RandomPatchPair', 'Flip', 'Flip', 'RandomTransposeHW', 'PackInputs']
    assert cfg.train_dataloader.dataset.pipeline[0].gt_patch_size == 100
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters


@pytest.mark.parametrize('name', sorted(set(ONE_SCALE) - set(ADVERSARIAL)))
def test_a_training_step(name):
    """The recipe's loss, wrapper and optimizer on a small network; the loss is computed twice."""
    torch.manual_seed(0)
    cfg = load(name)
    scale = cfg.model.generator.upscale_factor
    cfg.model.generator.update(SMALL)
    model = MODELS.build(cfg.model)
    before = copy.deepcopy(model.generator)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)

    lr = torch.randint(0, 256, (2, 3, 6, 5), dtype=torch.uint8)
    gt = torch.randint(0, 256, (2, 3, 6 * scale, 5 * scale), dtype=torch.uint8)
    data = dict(inputs=list(lr), data_samples=[DataSample(gt_img=image) for image in gt])
    losses = model.train_step(data, wrapper)

    def seen(rgb):
        if cfg.model.type != 'LumaEditModel':
            return rgb / 255
        red, green, blue = rgb.double().split(1, 1)
        return ((16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255) / 255).float()

    with torch.no_grad():
        distance = F.mse_loss if cfg.model.pixel_loss.type == 'MSELoss' else F.l1_loss
        expected = distance(before(seen(lr)), seen(gt))
    is_mixed = cfg.optim_wrapper.type == 'AutocastOptimWrapper'
    assert losses['loss'].item() == pytest.approx(expected.item(), rel=2e-2 if is_mixed else 1e-4)
    for key, parameter in model.generator.named_parameters():
        assert torch.isfinite(parameter).all(), key
    assert any(not torch.equal(old, new) for old, new in zip(
        before.parameters(), model.generator.parameters(), strict=True))


@pytest.mark.parametrize('name', sorted(set(ONE_SCALE) - set(ADVERSARIAL)))
def test_builds_at_full_size(name):
    cfg = load(name)
    model = MODELS.build(cfg.model)
    assert type(model).__name__ == cfg.model.type
    assert model.generator.upscale_factor == cfg.model.generator.upscale_factor


def test_the_recipe_of_any_scale():
    """Its patches can be sampled, its sets and borders belong together, and it begins trained."""
    cfg = load(ANY_SCALE)
    dataset = cfg.train_dataloader.dataset
    steps = {step.type: step for step in dataset.pipeline}
    patch, points = steps['RandomScalePatchPair'], steps['GenerateCoordinateAndCell']
    assert points.sample_quantity <= round(patch.scale_min * patch.lr_patch_size)**2
    assert dataset.min_size == patch.scale_max * patch.lr_patch_size
    assert (patch.scale_min, patch.scale_max) == (1, 4)
    for loaders, evaluators, scales in (
            (cfg.val_dataloader, cfg.val_evaluator, [2, 3, 4]),
            (cfg.test_dataloader, cfg.test_evaluator, [2, 3, 4, 6] * 2)):
        for loader, evaluator, scale in zip(loaders, evaluators, scales, strict=True):
            assert loader.dataset.data_prefix == dict(img=f'LRbicx{scale}', gt='GTmod12')
            name = Path(loader.dataset.data_root).name
            assert [(metric.prefix, metric.crop_border) for metric in evaluator.metrics] == [
                (f'{name}x{scale}-{colour}', scale) for colour in ['Y', 'Y', 'RGB', 'RGB']]
    assert cfg.default_hooks.checkpoint.save_best == 'Set5x4-Y/PSNR'
    network = MODELS.build(cfg.model).generator
    found = load_network(CONFIGS.parent / cfg.load_from).state_dict()
    new = {key for key, value in network.state_dict().items()
           if key not in found or found[key].shape != value.shape}
    assert new and all(key.startswith('imnet.') for key in new)


@pytest.mark.parametrize('scale', [2, 3])
def test_published_small_scales_begin_with_the_x4_trunk(scale):
    """Of the weights that the recipe names, all but a deconvolution is there and fits."""
    cfg = load(f'srdensenet_x{scale}')
    found = load_network(CONFIGS.parent / cfg.load_from).state_dict()
    expected = MODELS.build(cfg.model).generator.state_dict()
    new = {key for key, value in expected.items() if found[key].shape != value.shape}
    assert found.keys() >= expected.keys()
    assert new == ({'upsampler.deconvs.0.weight'} if scale == 3 else set())


@pytest.mark.parametrize('scale', [2, 3, 4, 8])
def test_div2k_pairs(scale, tmp_path):
    """What the pipeline yields of DIV2K's layout are pairs, of the recipe's patch size."""
    dataset = load(f'srdensenet_x{scale}_div2k').train_dataloader.dataset
    image = np.random.default_rng(0).integers(0, 256, (240, 216, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 4 * scale)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    for folder, pixels in [(dataset.data_prefix.gt, image),
                          (dataset.data_prefix.img, matlab_bicubic(image, scale))]:
        (tmp_path / folder).mkdir(parents=True)
        assert cv2.imwrite(str(tmp_path / folder / '0001_s001.png'), pixels)
    (tmp_path / dataset.ann_file).write_text('0001_s001.png (240,216,3)\n')
    sample = DATASETS.build(dict(dataset, data_root=str(tmp_path)))[0]
    size = {2: 100, 3: 99, 4: 100, 8: 192}[scale]
    gt = sample['data_samples'].gt_img
    assert gt.shape == (3, size, size)
    assert sample['inputs'].shape == (3, size // scale, size // scale)
    # Away from the patch's edges, the LR is the downscaled GT.
    small = matlab_bicubic(gt.permute(1, 2, 0).numpy().astype(np.uint8), scale)[2:-2, 2:-2]
    inputs = sample['inputs'].permute(1, 2, 0).numpy()[2:-2, 2:-2]
    assert np.abs(small.astype(int) - inputs.astype(int)).max() <= 1


def test_another_upsampler_by_option():
    """The docstring of srdensenet_x4_div2k.py promises it."""
    cfg = load('srdensenet_x4_div2k')
    cfg.model.generator.update(SMALL)
    options = re.findall(r'(model\.generator\.\S+?)=(\S+)', cfg._text)
    cfg.merge_from_dict({key: int(value) if value.isdigit() else value == 'True' or value
                         for key, value in options if '.upsampler.' in key})
    model = MODELS.build(cfg.model)
    assert type(model.generator.upsampler).__name__ == 'PixelShufflePack'
    assert model.generator(torch.rand(1, 1, 4, 5)).shape == (1, 1, 16, 20)


def test_gradient_checkpointing_by_option():
    """Promised likewise: the forward pass runs again for the backward one, gradients are equal."""
    assert 'model.generator.with_cp=True' in load('srdensenet_x4_div2k')._text
    cfg = load('srdensenet_x4_div2k')
    cfg.model.generator.update(SMALL)
    plain = MODELS.build(cfg.model)
    cfg.merge_from_dict({'model.generator.with_cp': True})
    saving = MODELS.build(cfg.model)
    saving.load_state_dict(plain.state_dict())
    lr = torch.rand(2, 3, 6, 5)
    samples = DataSample.stack([DataSample(gt_img=torch.rand(3, 24, 20)) for _ in range(2)])
    calls = []
    for model in (plain, saving):
        calls.append(0)
        model.generator.upsampler.register_forward_hook(lambda *_: calls.append(calls.pop() + 1))
        model(lr, samples, mode='loss')['loss'].backward()
    assert calls == [1, 2]
    for old, new in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(new.grad, old.grad)
