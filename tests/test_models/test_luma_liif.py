# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The LIIF model on luma, behind MMagic's pipeline steps."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmagic.datasets.transforms import GenerateCoordinateAndCell, PackInputs
from mmagic.registry import MODELS
from mmcv.image import rgb2ycbcr, ycbcr2rgb
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from small_liif import CONFIG, ENCODER, small_liif

import srdensenet_mm  # noqa: F401  registers the model
from srdensenet_mm.engine import MuonWithAdam
from srdensenet_mm.models.at_points import AtPoints, upscale_to


def make_model(**kwargs):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmagic'):
        return MODELS.build(dict(
            type='LumaLIIF', generator=CONFIG, pixel_loss=dict(type='L1Loss'), **kwargs))


def sample(low, high, **points):
    results = dict(img=low, gt=high, img_channel_order='rgb', gt_channel_order='rgb',
                   gt_path='images/one.png')
    return PackInputs()(GenerateCoordinateAndCell(**points)(results))


def batch(size=(8, 6), high=(19, 14), **points):
    rng = np.random.default_rng(0)
    samples = [sample(*(rng.integers(0, 256, (*sides, 3), dtype=np.uint8)
                        for sides in (size, high)), **points) for _ in range(2)]
    return dict(inputs=[one['inputs'] for one in samples],
                data_samples=[one['data_samples'] for one in samples])


class Bilinear(torch.nn.Module):
    """A network whose answer is known: bilinear interpolation of luma."""

    def forward(self, x, coord, cell, test_mode=False):
        return F.grid_sample(x, coord.flip(-1).unsqueeze(1), mode='bilinear',
                             padding_mode='border', align_corners=False)[:, :, 0].mT


def luma(rgb):
    """By mmcv, on numpy: (..., 3), 0..255, to 0..1."""
    return rgb2ycbcr(np.asarray(rgb, np.float32).reshape(1, -1, 3) / 255)[0, :, 0]


def test_loss_is_on_luma_at_the_sampled_points():
    model = make_model()
    model.generator = Bilinear()
    data = batch(sample_quantity=40)
    truth = np.stack([luma(one.gt_img) for one in data['data_samples']])
    at = torch.stack([one.metainfo['coord'] for one in data['data_samples']])
    low = np.stack([luma(image.permute(1, 2, 0)).reshape(8, 6) for image in data['inputs']])
    loss = model(**model.data_preprocessor(data, training=True), mode='loss')['loss']
    expected = F.grid_sample(torch.from_numpy(low)[:, None], at.flip(-1)[:, None],
                             padding_mode='border', align_corners=False)[:, 0, 0].numpy()
    assert truth.shape == (2, 40)
    assert loss.item() == pytest.approx(np.abs(expected - truth).mean(), rel=1e-4)


def test_a_prediction_is_luma_at_the_points_and_bicubic_chroma():
    model = make_model(test_cfg=dict(scale=4)).eval()
    model.generator = small_liif()
    data = batch((9, 7), (25, 20), reshape_gt=False)
    low = torch.stack(data['inputs']).float()
    with torch.no_grad():
        found = model.val_step(dict(data))
        y = upscale_to(AtPoints(small_liif()), torch.stack([torch.from_numpy(
            luma(image.permute(1, 2, 0))).view(1, 9, 7) for image in low]), (25, 20))
    for i, one in enumerate(found):
        ycbcr = rgb2ycbcr((low[i] / 255).permute(1, 2, 0).numpy())
        chroma = F.interpolate(torch.from_numpy(ycbcr).permute(2, 0, 1)[None], (25, 20),
                               mode='bicubic')[0].permute(1, 2, 0).numpy()
        chroma[..., 0] = y[i, 0].clamp(16 / 255, 235 / 255)
        expected = ycbcr2rgb(chroma).clip(0, 1) * 255
        # MMagic hands images to its metrics as BGR.
        image = one.output.pred_img.flip(0).permute(1, 2, 0).numpy()
        assert image.shape == (25, 20, 3)
        assert np.abs(image - expected).max() < 0.05


def test_without_points_the_scale_of_test_cfg():
    model = make_model(test_cfg=dict(scale=2.5)).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 3, 6, 9)).shape == (1, 3, 15, 22)
        assert model(torch.rand(1, 1, 6, 9)).shape == (1, 1, 15, 22)
    with pytest.raises(ValueError, match='no coord.*test_cfg.scale.*GenerateCoordinateAndCell'):
        make_model()(torch.rand(1, 3, 6, 9))


def test_self_ensemble_in_tests():
    model, plain = (make_model(test_cfg=dict(scale=2, self_ensemble=on)) for on in (True, False))
    model.generator = plain.generator = small_liif()
    x = torch.rand(1, 3, 6, 9)
    with torch.no_grad():
        out = [one.eval()(images) for one in (model, plain) for images in (x, x.flip(-1))]
    torch.testing.assert_close(out[0], out[1].flip(-1), rtol=0, atol=2e-5)
    assert (out[2] - out[3].flip(-1)).abs().max() > 1e-4


def test_a_training_makes_the_loss_smaller():
    model = make_model()
    wrapper = OptimWrapper(MuonWithAdam(model.parameters(), lr=2e-3))
    low = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    one = sample(low, low.repeat(2, 0).repeat(2, 1), sample_quantity=100)
    data = dict(inputs=[one['inputs']], data_samples=[one['data_samples']])
    losses = [model.train_step(dict(data), wrapper)['loss'].item() for _ in range(40)]
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize('change', [
    dict(encoder=dict(ENCODER, in_channels=3)), dict(imnet=dict(CONFIG['imnet'], out_dim=3))])
def test_networks_on_rgb_are_refused(change):
    with pytest.raises(ValueError, match="=3: LumaLIIF is for.*type='LIIF'"):
        from srdensenet_mm.models import LumaLIIF
        LumaLIIF(dict(CONFIG, **change), dict(type='L1Loss'))
