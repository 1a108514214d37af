# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Networks of MMagic's configs, against MMagic's models themselves."""
import cv2
import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope
from run_tools_here import call_tool

from srdensenet_mm.checkpoints import publish_checkpoint, save_network
from srdensenet_mm.config.reading import resolve_config
from srdensenet_mm.errors import UserError
from srdensenet_mm.export import export_checkpoint
from srdensenet_mm.inference import Upscaler
from srdensenet_mm.models import LumaEditModel, SRDenseNet

# MMagic's recipes with small networks.
EDSR = """
_base_ = 'mmagic::edsr/edsr_x2c64b16_1xb16-300k_div2k.py'
model = dict(generator=dict(mid_channels=6, num_blocks=2))
"""
BGR = EDSR + """
model['data_preprocessor'] = dict(
    mean=[110., 120., 130.], std=[50., 60., 70.], output_channel_order='BGR')
"""
RAW = EDSR + "model['data_preprocessor'] = dict(mean=None, std=None)\n"
SRCNN = 'mmagic::srcnn/srcnn_x4k915_1xb16-1000k_div2k.py'


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def write_model(config, path):
    """MMagic's model of a config, its weights written as MMagic's Runner does."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmagic'):
        model = MODELS.build(Config.fromfile(resolve_config(config)).model).eval()
    # Biases and means that come out of the wrong channel show.
    for parameter in model.generator.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    torch.save(dict(meta=dict(iter=1), state_dict=model.state_dict()), path)
    return model


def predicted(model, image):
    """What MMagic makes, in BGR, of an image (H, W, 3) BGR that its pipelines load as RGB."""
    sample = DataSample(metainfo=dict(img_channel_order='RGB', gt_channel_order='RGB'))
    # As floats: of integers that nothing normalizes, its EDSR would subtract a mean cut to 0.
    inputs = torch.from_numpy(image[..., ::-1].astype(np.float32)).permute(2, 0, 1)
    with torch.no_grad():
        out = model.test_step(dict(inputs=[inputs], data_samples=[sample]))[0]
    return out.output.pred_img.permute(1, 2, 0).numpy()


@pytest.fixture
def own_config(tmp_path):

    def write(text):
        (tmp_path / 'own.py').write_text(text)
        return str(tmp_path / 'own.py')

    return write


@pytest.mark.parametrize('text', [EDSR, BGR, RAW], ids=['edsr', 'bgr', 'raw'])
def test_a_recipes_network_predicts_as_in_mmagic(tmp_path, own_config, text):
    config = own_config(text)
    model = write_model(config, tmp_path / 'net.pth')
    image = noise(14, 17, 3)
    expected = predicted(model, image)
    assert expected.std() > 1
    for tile in (0, 5):
        upscaler = Upscaler(tmp_path / 'net.pth', config=config, device='cpu', tile=tile)
        found = upscaler(image)
        assert upscaler.scale == 2 and found.shape == (28, 34, 3)
        assert np.abs(found - expected).max() <= 0.51


def test_an_installed_config(tmp_path):
    model = write_model(SRCNN, tmp_path / 'net.pth')
    image = noise(9, 12, 3)
    upscaler = Upscaler(tmp_path / 'net.pth', config=SRCNN, device='cpu')
    assert upscaler.scale == 4
    assert np.abs(upscaler(image) - predicted(model, image)).max() <= 0.51


# Two ways to say how images are loaded, of which neither is at the top of the config.
INLINE = """
model = dict(
    type='BaseEditModel', pixel_loss=dict(type='L1Loss'),
    generator=dict(type='SRDenseNet', in_channels=3, out_channels=3, upscale_factor=2,
                   mid_channels=4, num_blocks=1, num_layers=2, growth_rate=4,
                   bottleneck_channels=4),
    data_preprocessor=dict(
        type='DataPreprocessor', mean=[114., 111., 103.], std=[250., 240., 230.]))
test_dataloader = [dict(dataset=dict(type='BasicImageDataset', pipeline=[
    dict(type='LoadImageFromFile', key='gt', channel_order='rgb'),
    dict(type='LoadImageFromFile', key='img'ORDER)]))]
"""


@pytest.mark.parametrize('order', ['', ", channel_order='rgb'"], ids=['bgr', 'rgb'])
def test_a_network_is_fed_as_it_was_trained(tmp_path, own_config, order):
    config = own_config(INLINE.replace('ORDER', order))
    model = write_model(config, tmp_path / 'net.pth')
    saved = torch.load(tmp_path / 'net.pth')
    saved['meta']['cfg'] = Config.fromfile(config).pretty_text
    torch.save(saved, tmp_path / 'net.pth')
    image = noise(14, 17, 3)
    # `predicted` turns to RGB, and says of the result that it was RGB.
    expected = predicted(model, image) if order else predicted(model, image[..., ::-1])[..., ::-1]
    published = publish_checkpoint(tmp_path / 'net.pth', tmp_path / 'out').path
    for path, settings in ((tmp_path / 'net.pth', dict(config=config)), (tmp_path / 'net.pth', {}),
                           (published, {})):
        found = Upscaler(path, device='cpu', **settings)(image)
        assert np.abs(found - expected).max() <= 0.51
    with pytest.raises(UserError, match='other numbers than values divided by 255'):
        export_checkpoint(published, tmp_path / 'a.onnx')


def test_a_channel_order_is_not_guessed(tmp_path, own_config):
    config = own_config(INLINE.split('test_dataloader')[0])
    write_model(config, tmp_path / 'net.pth')
    with pytest.raises(UserError, match="RGB or BGR: add output_channel_order='RGB'"):
        Upscaler(tmp_path / 'net.pth', config=config, device='cpu')
    saved = torch.load(tmp_path / 'net.pth')
    saved['meta']['cfg'] = Config.fromfile(config).pretty_text
    torch.save(saved, tmp_path / 'net.pth')
    with pytest.raises(UserError, match=r'is not known; .* \(RGB or BGR is not said\)'):
        Upscaler(tmp_path / 'net.pth', device='cpu')
    # Of the usual numbers, it is RGB.
    saved['meta']['cfg'] = saved['meta']['cfg'].replace('114.0', '0').replace('111.0', '0').replace(
        '103.0', '0').replace('250.0', '255').replace('240.0', '255').replace('230.0', '255')
    torch.save(saved, tmp_path / 'net.pth')
    assert Upscaler(tmp_path / 'net.pth', device='cpu').scale == 2


@pytest.mark.parametrize('preprocessor, usable', [
    ({}, False), (dict(mean=[0.], std=[255.], output_channel_order='bgr'), True), (None, True)])
def test_one_channel_of_other_numbers(tmp_path, preprocessor, usable):
    network = dict(upscale_factor=2, mid_channels=4, num_blocks=1, num_layers=2, growth_rate=4,
                   bottleneck_channels=4)
    model = dict(type='BaseEditModel', generator=dict(type='SRDenseNet', **network))
    if preprocessor is not None:
        model['data_preprocessor'] = dict(dict(output_channel_order='rgb'), **preprocessor)
    torch.save(dict(meta=dict(cfg=Config(dict(model=model)).pretty_text),
                    state_dict=SRDenseNet(**network).state_dict()), tmp_path / 'net.pth')
    if usable:
        Upscaler(tmp_path / 'net.pth', device='cpu')
        export_checkpoint(tmp_path / 'net.pth', tmp_path / 'a.onnx')
        return
    for used in (lambda: Upscaler(tmp_path / 'net.pth', device='cpu'),
                 lambda: export_checkpoint(tmp_path / 'net.pth', tmp_path / 'a.onnx')):
        with pytest.raises(UserError, match=r'one channel, mean .127\.5'):
            used()


def test_on_the_command_line(tmp_path, own_config):
    config = own_config(EDSR)
    model = write_model(config, tmp_path / 'net.pth')
    image = noise(8, 9, 3)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    status, out, _ = call_tool(
        'infer', tmp_path / 'a.png', '--checkpoint', tmp_path / 'net.pth', '--config', config,
        '--out', tmp_path / 'out', '--device', 'cpu')
    assert status == 0 and '1 written' in out
    found = cv2.imread(str(tmp_path / 'out' / 'a.png'))
    assert np.abs(found - predicted(model, image)).max() <= 0.51


def test_what_does_not_fit(tmp_path, own_config):
    weights = tmp_path / 'net.pth'
    write_model(own_config(EDSR), weights)
    for text, message in (
            (EDSR.replace('num_blocks=2', 'num_blocks=3'), 'does not fit the config'),
            (EDSR + "model['data_preprocessor'] = None", 'has no model.data_preprocessor'),
            ('model = dict(type="BaseEditModel")', 'model.generator cannot be built .KeyError'),
            ('model = dict(generator=dict(type="EDSRNet"))', 'cannot be built'),
            ('model = dict(generator=dict(type="NoSuchNet"))', 'cannot be built')):
        with pytest.raises(UserError, match=message):
            Upscaler(weights, config=own_config(text), device='cpu')
    with pytest.raises(UserError, match='no such file or recipe'):
        Upscaler(weights, config=str(tmp_path / 'none.py'), device='cpu')
    with pytest.raises(UserError, match=r'Identity\(\): cannot be read'):
        Upscaler(torch.nn.Identity(), config=own_config(EDSR), device='cpu')


@pytest.mark.parametrize('kind', ["'mmagic.LumaEditModel'", "'srdensenet_mm.LumaEditModel'"])
def test_luma_models_by_any_name(tmp_path, own_config, kind):
    torch.manual_seed(0)
    net = SRDenseNet(upscale_factor=2, mid_channels=6, num_blocks=1, num_layers=2, growth_rate=3,
                     bottleneck_channels=6)
    publish = tmp_path / 'net.pth'
    torch.save(dict(state_dict=net.state_dict()), publish)
    config = own_config(f"""
model = dict(type={kind}, generator=dict(
    type='SRDenseNet', upscale_factor=2, mid_channels=6, num_blocks=1, num_layers=2,
    growth_rate=3, bottleneck_channels=6))
""")
    found = Upscaler(publish, config=config, device='cpu')(noise(9, 8, 3))
    np.testing.assert_array_equal(found, Upscaler(net, device='cpu')(noise(9, 8, 3)))


def test_a_whole_model_is_no_network():
    # Its own way from RGB to luma would come on top of the Upscaler's.
    model = LumaEditModel(generator=dict(type='mmagic.SRDenseNet', num_blocks=1),
                          pixel_loss=dict(type='mmagic.L1Loss'))
    with pytest.raises(UserError, match='LumaEditModel is a whole model.*give .* model.generator'):
        Upscaler(model, device='cpu')


def test_another_default_dtype(tmp_path):
    save_network(SRDenseNet(upscale_factor=2, mid_channels=6, num_blocks=1, num_layers=2,
                            growth_rate=3, bottleneck_channels=6), tmp_path / 'net.pth')
    expected = Upscaler(tmp_path / 'net.pth', device='cpu')(noise(9, 8))
    torch.set_default_dtype(torch.float64)
    try:
        upscaler = Upscaler(tmp_path / 'net.pth', device='cpu', max_memory=0.3)
        found = upscaler(noise(9, 8))
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(found, expected)
