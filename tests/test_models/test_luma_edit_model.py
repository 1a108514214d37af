# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The luma model among MMagic's own data samples, metrics, visualizer and inferencer."""
import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmagic.evaluation.metrics import PSNR
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmcv.image import bgr2ycbcr, rgb2ycbcr, ycbcr2rgb
from mmengine.registry import DefaultScope
from rounding import assert_same_sums, rounding_error, terms

import srdensenet_mm  # noqa: F401  registers the model

SMALL = dict(
    type='SRDenseNet', mid_channels=8, num_blocks=2, num_layers=2, growth_rate=4,
    bottleneck_channels=8, upscale_factor=4)


def _model(**kwargs):
    torch.manual_seed(0)
    # A test before this one may have left another scope.
    with DefaultScope.overwrite_default_scope('mmagic'):
        return MODELS.build(dict(
            type='LumaEditModel', generator=SMALL, pixel_loss=dict(type='L1Loss'), **kwargs))


def _pair(channels=3, size=(6, 7)):
    rng = np.random.default_rng(0)
    low = rng.integers(0, 256, (channels, *size), dtype=np.uint8)
    high = rng.integers(0, 256, (channels, size[0] * 4, size[1] * 4), dtype=np.uint8)
    return torch.from_numpy(low), torch.from_numpy(high)


def _batch(*pairs):
    order = 'RGB' if pairs[0][0].shape[0] == 3 else 'single'
    samples = []
    for _, high in pairs:
        sample = DataSample(gt_img=high)
        sample.set_metainfo(dict(img_channel_order=order, gt_channel_order=order,
                                 gt_path='images/one.png'))
        samples.append(sample)
    return dict(inputs=[low for low, _ in pairs], data_samples=samples)


class _NearestLuma(torch.nn.Module):
    """A network whose answer is known."""

    def forward(self, x):
        assert x.shape[1] == 1
        return F.interpolate(x, scale_factor=4, mode='nearest')


def test_loss_is_on_luma():
    model = _model()
    low, high = _pair()
    model.generator = _NearestLuma()
    data = model.data_preprocessor(_batch((low, high)), training=True)
    loss = model(**data, mode='loss')['loss']

    def luma(image):  # by mmcv, on numpy
        return rgb2ycbcr(image.permute(1, 2, 0).numpy().astype(np.float32) / 255)[..., 0]

    distance = np.abs(luma(low).repeat(4, 0).repeat(4, 1) - luma(high))
    assert loss.item() == pytest.approx(
        distance.mean(), abs=rounding_error(distance, distance.size))


def test_self_ensemble_averages_in_tests_alone():
    model = _model(test_cfg=dict(self_ensemble=True))
    plain = _model().eval()
    for one in (model, plain):  # Away from black and white, where values are clipped.
        torch.nn.init.normal_(
            one.generator.conv_last.weight, std=0.01,
            generator=torch.Generator().manual_seed(1))
        torch.nn.init.constant_(one.generator.conv_last.bias, 0.5)
    low = torch.rand(1, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    low[:, 1:] = low[:, :1]  # Gray: chroma stays out of it.
    turned = [plain(low.rot90(k, (2, 3))).rot90(-k, (2, 3)) for k in range(4)]
    turned += [plain(low.flip(3).rot90(k, (2, 3))).rot90(-k, (2, 3)).flip(3) for k in range(4)]
    assert torch.equal(model.train()(low), plain(low))
    assert (plain(low) - sum(turned) / 8).abs().max() > 1e-3
    assert_same_sums(model.eval()(low), sum(turned) / 8, terms(model.generator))


def test_prediction_is_rgb_of_the_networks_luma_and_bicubic_chroma():
    model = _model().eval()
    model.generator = _NearestLuma()
    low = torch.full((1, 3, 5, 5), 0.5)
    low[:, 0] += torch.linspace(-0.1, 0.1, 5)
    out = model(low)
    ycbcr = rgb2ycbcr(low[0].permute(1, 2, 0).numpy())
    chroma = F.interpolate(
        torch.from_numpy(ycbcr[..., 1:]).permute(2, 0, 1)[None], scale_factor=4, mode='bicubic')
    expected = ycbcr2rgb(np.concatenate(
        [ycbcr[..., :1].repeat(4, 0).repeat(4, 1), chroma[0].permute(1, 2, 0).numpy()], axis=2))
    torch.testing.assert_close(
        out[0].permute(1, 2, 0), torch.from_numpy(expected), atol=2e-4, rtol=0)


def test_training_step_moves_every_weight():
    from mmengine.optim import OptimWrapper
    model = _model()
    before = {k: v.clone() for k, v in model.generator.named_parameters()}
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), lr=1e-3))
    logged = model.train_step(_batch(_pair(), _pair()), wrapper)
    assert torch.isfinite(logged['loss'])
    for name, parameter in model.generator.named_parameters():
        assert not torch.equal(before[name], parameter), name


def test_mmagics_psnr_on_y_sees_the_networks_luma():
    """PSNR(convert_to='Y') of the RGB prediction equals that of the luma alone."""
    model = _model().eval()
    model.generator = _NearestLuma()
    low, high = _pair()
    low = low // 4 + 96  # away from the limits of RGB, where the colour would be clipped
    sample = model.val_step(_batch((low, high)))[0]
    pred = sample.output.pred_img
    assert pred.shape == high.shape and pred.min() >= 0 and pred.max() <= 255
    metric = PSNR(crop_border=4, convert_to='Y')
    metric.process(None, [sample.to_dict()])

    def luma(image):
        bgr = image.permute(1, 2, 0).numpy()[..., ::-1].astype(np.float32) / 255
        return bgr2ycbcr(bgr, y_only=True) * 255

    error = luma(low).repeat(4, 0).repeat(4, 1) - luma(high)
    expected = 10 * np.log10(255**2 / np.mean(error[4:-4, 4:-4]**2))
    assert metric.results[0]['PSNR'] == pytest.approx(expected, abs=0.02)


def test_grayscale_in_grayscale_out():
    model = _model().eval()
    low, high = _pair(channels=1)
    sample = model.val_step(_batch((low, high)))[0]
    assert sample.output.pred_img.shape == high.shape
    grey = model(low[None] / 255)
    rgb = model(low[None].expand(-1, 3, -1, -1) / 255)
    torch.testing.assert_close(rgb, grey.expand_as(rgb), atol=1e-4, rtol=0)
    data = model.data_preprocessor(_batch(_pair(channels=1)), training=True)
    assert torch.isfinite(model(**data, mode='loss')['loss'])


def test_mmagics_visualizer_takes_the_predictions(tmp_path):
    from mmagic.visualization import ConcatImageVisualizer
    sample = _model().eval().val_step(_batch(_pair()))[0]
    visualizer = ConcatImageVisualizer(
        fn_key='gt_path', img_keys=['gt_img', 'input', 'pred_img'], bgr2rgb=True,
        vis_backends=[dict(type='LocalVisBackend')], save_dir=str(tmp_path), name='luma')
    visualizer.add_datasample(sample, step=1)
    written = list(tmp_path.rglob('*.png'))
    assert len(written) == 1
    image = cv2.imread(str(written[0]))
    assert image.shape[:2] == (24, 28 + 7 + 28)  # HR, LR, prediction


def test_mmagics_inferencer_upscales_a_file(tmp_path):
    from mmagic.apis.inferencers.image_super_resolution_inferencer import (
        ImageSuperResolutionInferencer,
    )
    rng = np.random.default_rng(0)
    path = tmp_path / 'low.png'
    low = rng.integers(60, 190, (8, 9, 3), dtype=np.uint8)  # BGR
    cv2.imwrite(str(path), low)
    config = tmp_path / 'config.py'
    config.write_text(
        "default_scope = 'mmagic'\n"
        "custom_imports = dict(imports=['srdensenet_mm'])\n"
        f'model = dict(type="LumaEditModel", generator={SMALL!r}, '
        'pixel_loss=dict(type="L1Loss"))\n'
        'val_pipeline = [dict(type="LoadImageFromFile", key="img", color_type="color", '
        'channel_order="rgb"), dict(type="PackInputs")]\n')
    inferencer = ImageSuperResolutionInferencer(str(config), None, device='cpu')
    inferencer.model.generator = _NearestLuma()
    out = tmp_path / 'out' / 'high.png'
    inferencer(img=str(path), result_out_dir=str(out))
    high = cv2.imread(str(out))
    assert high.shape == (32, 36, 3)
    luma_in = bgr2ycbcr(low.astype(np.float32) / 255, y_only=True).repeat(4, 0).repeat(4, 1)
    luma_out = bgr2ycbcr(high.astype(np.float32) / 255, y_only=True)
    inside = (high.min(2) > 0) & (high.max(2) < 255)
    assert inside.mean() > 0.3
    assert np.abs(luma_in - luma_out)[inside].max() < 2 / 255
