# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Networks of any upscale factor through the Upscaler and the tools."""
import pickle

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmagic.models.editors.edsr.edsr_net import EDSRNet
from run_tools_here import call_tool, refused
from small_liif import CONFIG, small_liif

from srdensenet_mm.checkpoints import load_network_with_meta, publish_checkpoint, save_network
from srdensenet_mm.errors import UserError
from srdensenet_mm.inference import Upscaler
from srdensenet_mm.inference.colours import _bicubic_along
from srdensenet_mm.inference.tiling import Axis, Span
from srdensenet_mm.models import SRDenseNet
from srdensenet_mm.models.at_points import AtPoints, output_points, upscale_to
from srdensenet_mm.models.colour import upscale_through_luma


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def through_luma(net, bgr, size):
    peak = np.iinfo(bgr.dtype).max
    rgb = torch.from_numpy(bgr[..., ::-1].astype(np.float32) / peak).permute(2, 0, 1)[None]
    with torch.no_grad():
        out = upscale_through_luma(lambda y: upscale_to(AtPoints(net), y, size), rgb)
    return out[0].permute(1, 2, 0).numpy()[..., ::-1] * peak


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('scale', [1, 1.3, 2, 2.7, 3, 6.4])
def test_a_colour_image(scale, dtype):
    net, image = small_liif(), noise(11, 13, 3, dtype=dtype)
    found = Upscaler(net, device='cpu', scale=scale)(image)
    size = round(11 * scale), round(13 * scale)
    assert found.dtype == dtype and found.shape == (*size, 3)
    # Half a level of rounding, and a little of float.
    allowed = 0.51 if dtype == np.uint8 else 4
    assert np.abs(found - through_luma(net, image, size)).max() <= allowed


@pytest.mark.parametrize('shape', [(33, 41, 3), (33, 41), (33, 41, 1), (33, 41, 4), (1, 60, 3)])
@pytest.mark.parametrize(('colour', 'scale'), [('y', 2.7), ('rgb', 1.21), ('y', 3)])
def test_tiles_make_the_same_image(shape, colour, scale):
    net = small_liif(1 if colour == 'y' else 3)
    image = noise(*shape, dtype=np.uint16)
    whole = Upscaler(net, device='cpu', tile=0, scale=scale)(image)
    upscaler = Upscaler(net, device='cpu', tile=7, scale=scale)
    # 5 of SRDenseNet's convolutions, the neighbouring pixels, and the neighbours of these.
    assert upscaler.overlap == 7
    tiled = upscaler(image)
    assert whole.shape == (*(max(1, round(side * scale)) for side in shape[:2]), *shape[2:])
    assert whole.std() > 500
    assert np.abs(whole.astype(int) - tiled).max() <= 4


@pytest.mark.parametrize('length', [1, 2, 7, 40])
@pytest.mark.parametrize('out_length', [1, 2, 7, 19, 40, 41, 113])
def test_every_output_pixel_belongs_to_one_lr_pixel(length, out_length):
    axis = Axis(length, out_length)
    found = [axis.out(pixel, pixel + 1) for pixel in range(length)]
    assert [i for part in found for i in range(out_length)[part]] == list(range(out_length))
    points = output_points(length, out_length)
    for pixel, part in enumerate(found):
        assert all(pixel - 0.5 <= point < pixel + 0.5 for point in points[part].tolist())
    span = Span(0, length, 0, length)
    assert torch.equal(axis.points(span), points)


@pytest.mark.parametrize('size', [(25, 19), (10, 7), (31, 40)])
def test_bicubic_at_points_is_torchs(size):
    values = torch.rand(1, 2, 10, 7)
    found = values
    for dim, length, out_length in zip((-2, -1), (10, 7), size, strict=True):
        found = _bicubic_along(found, dim, output_points(length, out_length))
    expected = F.interpolate(values, size=size, mode='bicubic', align_corners=False)
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-5)


def test_alpha_is_upscaled_alongside():
    image = noise(9, 10, 4)
    image[..., 3] |= 32  # All of it is seen.
    found = Upscaler(small_liif(), device='cpu', scale=2.3)(image)
    alpha = torch.from_numpy(image[..., 3].astype(np.float32))[None, None]
    expected = F.interpolate(alpha, size=(21, 23), mode='bicubic')[0, 0].clamp(0, 255)
    assert np.abs(found[..., 3] - expected.numpy()).max() <= 0.51


def test_self_ensemble_turns_with_the_image():
    upscaler = Upscaler(small_liif(), device='cpu', scale=2.7, self_ensemble=True)
    image = noise(14, 10)
    for turn in (lambda x: x[::-1], lambda x: x[:, ::-1], np.transpose):
        turned = np.ascontiguousarray(turn(image))
        assert np.abs(upscaler(turned).astype(int) - turn(upscaler(image))).max() <= 1


def test_little_memory_gives_the_same_image():
    image = noise(200, 150)
    calls = []
    few = Upscaler(small_liif(), device='cpu', scale=1.5, max_memory=0.175)
    found = few(image, progress=calls.append)
    assert len(calls) > 1 and sum(calls) == 200 * 150
    whole = Upscaler(small_liif(), device='cpu', scale=1.5, tile=0)(image)
    assert np.abs(found.astype(int) - whole).max() <= 1


def test_it_travels_and_computes_in_bf16():
    image = noise(20, 24)
    upscaler = Upscaler(small_liif(), device='cpu', scale=2.7, dtype='bf16')
    exact = Upscaler(small_liif(), device='cpu', scale=2.7)(image)
    found = pickle.loads(pickle.dumps(upscaler))(image)
    assert np.array_equal(found, upscaler(image))
    assert np.abs(found.astype(int) - exact).mean() < 1


def test_a_checkpoint_tells_all(tmp_path):
    net = small_liif()
    save_network(net, tmp_path / 'trained.pth', config=CONFIG)
    published = publish_checkpoint(tmp_path / 'trained.pth', tmp_path, 'any')
    loaded, meta = load_network_with_meta(published.path)
    assert meta['colour'] == 'y' and meta['network']['encoder']['feature_level'] == 'all'
    for key, value in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
    image = noise(12, 9, 3)
    cv2.imwrite(str(tmp_path / 'small.png'), image)
    status, out, err = call_tool('infer', tmp_path / 'small.png', '--checkpoint', published.path,
                                 '--scale', 2.7, '--out', tmp_path / 'out', '--device', 'cpu')
    assert (status, err) == (0, '')
    expected = Upscaler(net, device='cpu', scale=2.7)(image)
    assert np.array_equal(cv2.imread(str(tmp_path / 'out/small.png')), expected)
    for arguments, reason in (
            ([], 'LIIFSRDenseNet upscales by any factor: give the scale.*--scale'),
            (['--scale', '0.5'], 'scale=0.5: give a number of at least 1'),
            (['--scale', 'nan'], 'scale=nan: give a number of at least 1'),
            (['--scale', '2', '--backend', 'onnxruntime'], 'backend=onnxruntime: .*torch alone')):
        with pytest.raises(UserError, match=reason):
            raise UserError(refused('infer', tmp_path / 'small.png', '--checkpoint',
                                    published.path, '--out', tmp_path / 'out', *arguments))
    assert 'upscales by any factor' in refused(
        'export_onnx', published.path, tmp_path / 'net.onnx')


def test_a_fixed_scale_is_its_own():
    net = SRDenseNet(upscale_factor=3, **{key: CONFIG['encoder'][key] for key in (
        'mid_channels', 'num_blocks', 'num_layers', 'growth_rate', 'bottleneck_channels')})
    image = noise(6, 7)
    given = Upscaler(net, device='cpu', scale=3.0)
    assert given.scale == 3 and given(image).shape == (18, 21)
    with pytest.raises(UserError, match='scale=2.5: SRDenseNet upscales by 3 alone'):
        Upscaler(net, device='cpu', scale=2.5)


def test_mmagics_own_liif_networks(tmp_path):
    """With their config, as its other networks."""
    config = tmp_path / 'liif_edsr.py'
    config.write_text('''
default_scope = 'mmagic'
model = dict(
    type='LIIF', pixel_loss=dict(type='L1Loss'),
    data_preprocessor=dict(type='DataPreprocessor', mean=[114.4, 111.5, 103.], std=[255.] * 3,
                           output_channel_order='RGB'),
    generator=dict(
        type='LIIFEDSRNet',
        encoder=dict(type='EDSRNet', in_channels=3, out_channels=3, mid_channels=4, num_blocks=1),
        imnet=dict(type='MLPRefiner', in_dim=4, out_dim=3, hidden_list=[8])))
''')
    assert issubclass(EDSRNet, torch.nn.Module)
    from mmagic.models.editors.liif import LIIFEDSRNet
    torch.manual_seed(0)
    net = LIIFEDSRNet(dict(type='EDSRNet', in_channels=3, out_channels=3, mid_channels=4,
                           num_blocks=1), dict(type='MLPRefiner', in_dim=4, out_dim=3,
                                               hidden_list=[8])).eval()
    torch.save(dict(state_dict={f'generator.{key}': value
                                for key, value in net.state_dict().items()}), tmp_path / 'w.pth')
    image = noise(30, 24, 3)
    found = [Upscaler(tmp_path / 'w.pth', config=config, device='cpu', scale=2.4, tile=tile)(image)
             for tile in (0, 8)]
    mean = torch.tensor([114.4, 111.5, 103.]).view(3, 1, 1)
    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1).float()
    with torch.no_grad():
        out = upscale_to(AtPoints(net), ((rgb - mean) / 255)[None], (72, 58))[0] * 255 + mean
    expected = out.flip(0).permute(1, 2, 0).numpy().clip(0, 255)
    for one in found:
        assert np.abs(one - expected).max() <= 0.51
