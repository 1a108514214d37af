# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import contextlib
import os
import pickle
import subprocess
import sys
from collections import OrderedDict

import pytest
import torch
from mmengine import Config
from small_liif import CONFIG, small_liif

from srdensenet_mm.checkpoints import load_network, load_network_with_meta, save_network
from srdensenet_mm.errors import UserError
from srdensenet_mm.inference import Upscaler
from srdensenet_mm.models import SRDenseNet

SMALL = dict(mid_channels=6, num_blocks=2, num_layers=3, growth_rate=4, bottleneck_channels=8)


def same(network, other, channels=1):
    x = torch.rand(1, channels, 7, 9)
    with torch.no_grad():
        return torch.equal(network.eval()(x), other(x))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def file(tmp_path):
    return tmp_path / 'a network é.pth'


VARIANTS = [dict(upscale_factor=s, deconv_kernel=k, in_channels=c, out_channels=c)
            for s in (2, 3, 4, 8) for k in (2, 3) for c in (1, 3)]
VARIANTS += [dict(feature_level=level, bottleneck_act=act, num_blocks=n)
             for level in ('all', 'hl', 'h') for act in (False, True) for n in (1, 4)]


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('variant', VARIANTS, ids=str)
def test_a_saved_network_comes_back(tmp_path, variant, suffix):
    network = SRDenseNet(**{**SMALL, **variant})
    save_network(network, tmp_path / f'n{suffix}', scores={'Set5': 31.5})
    loaded, meta = load_network_with_meta(tmp_path / f'n{suffix}')
    channels = variant.get('in_channels', 1)
    assert same(network, loaded, channels) and not loaded.training
    assert loaded.upscale_factor == variant.get('upscale_factor', 4)
    assert meta['scores'] == {'Set5': 31.5}
    assert meta['colour'] == {1: 'y', 3: 'rgb'}[channels]
    expected = {**SMALL, **variant}
    if variant.get('upscale_factor') == 3:
        del expected['deconv_kernel']  # both values mean the same
    assert expected.items() <= meta['network'].items()


@pytest.mark.parametrize('variant', VARIANTS, ids=str)
def test_a_bare_state_dict_is_read_off_its_shapes(file, variant):
    network = SRDenseNet(**{**SMALL, **variant})
    torch.save(network.state_dict(), file)
    ambiguous = variant.get('upscale_factor') == 3 or (
        variant.get('upscale_factor') == 2 and variant['deconv_kernel'] == 3)
    with pytest.warns(match='taken for x3') if ambiguous else contextlib.nullcontext():
        loaded, meta = load_network_with_meta(file)
    hidden = dict(bottleneck_act=False)
    if variant.get('upscale_factor') in (2, 3) and variant['deconv_kernel'] == 3:
        hidden.update(upscale_factor=3, deconv_kernel=2)  # one 3x3: taken for x3
    if variant.get('upscale_factor') == 3:
        hidden.update(deconv_kernel=2)
    if variant.get('num_blocks') == 1 and variant['feature_level'] == 'hl':
        hidden.update(feature_level='all')  # the same network
    assert {**SMALL, **variant, **hidden}.items() <= meta['network'].items()
    reference = SRDenseNet(**{**SMALL, **variant, **hidden})
    reference.load_state_dict(network.state_dict())
    assert same(reference, loaded, variant.get('in_channels', 1))


def test_the_callers_random_numbers_stay(file):
    save_network(SRDenseNet(**SMALL), file)
    state = torch.get_rng_state()
    load_network(file)
    assert torch.equal(torch.get_rng_state(), state)


def test_half_precision_weights_become_float32(file):
    network = SRDenseNet(**SMALL)
    torch.save(network.half().state_dict(), file)
    assert same(network.float(), load_network(file))


def runner_file(file, network, cfg, prefix='generator.', **more):
    state = OrderedDict((prefix + key, value) for key, value in network.state_dict().items())
    state['data_preprocessor.mean'] = torch.zeros(3, 1, 1)
    state['discriminator.conv.weight'] = torch.zeros(4, 3, 3, 3)
    meta = dict(cfg=cfg, iter=40, epoch=0, seed=5, experiment_name='recipe_20240102_030405')
    torch.save(dict(meta=meta, state_dict=state, **more), file)


GENERATOR = dict(type='SRDenseNet', upscale_factor=2, deconv_kernel=3, bottleneck_act=True, **SMALL,
                 init_cfg=dict(type='Pretrained', checkpoint='http://example.invalid/a.pth'))
MODEL = dict(type='LumaEditModel', generator=GENERATOR, pixel_loss=dict(type='L1Loss'),
             train_cfg={'0': dict(lr=1e-3)}, test_cfg=dict(a=float('inf')))


@pytest.mark.parametrize('prefix', ['generator.', 'module.generator.', 'generator.module.',
                                    'generator._orig_mod.', 'generator_ema.'])
def test_a_runner_checkpoint_by_its_config_text(file, prefix):
    network = SRDenseNet(**{k: v for k, v in GENERATOR.items() if k not in ('type', 'init_cfg')})
    cfg = Config(dict(model=MODEL, work_dir='/home/someone/x', custom_imports=dict(imports=['x'])))
    runner_file(file, network, cfg.pretty_text, prefix)
    loaded, meta = load_network_with_meta(file)
    assert same(network, loaded)
    assert meta['network']['upscale_factor'] == 2 and meta['network']['bottleneck_act'] is True
    assert (meta['iter'], meta['seed'], meta['colour']) == (40, 5, 'y')
    assert 'someone' not in str(meta)
    assert meta.get('averaged_weights', False) is (prefix == 'generator_ema.')


@pytest.mark.parametrize('numbers', [
    dict(mean='x'), dict(mean=[1., 2.]), dict(std=0.), dict(output_channel_order='yuv')])
def test_numbers_that_no_network_is_fed(file, numbers):
    model = dict(type='BaseEditModel', generator=GENERATOR,
                 data_preprocessor=dict(dict(output_channel_order='rgb'), **numbers))
    network = SRDenseNet(**{k: v for k, v in GENERATOR.items() if k not in ('type', 'init_cfg')})
    runner_file(file, network, Config(dict(model=model)).pretty_text)
    # Its weights can be read, but no image can be given to it.
    assert 'unusable' in load_network_with_meta(file)[1]['normalization']
    with pytest.raises(UserError, match='how the images of its network are normalized is not'):
        Upscaler(file)


@pytest.mark.parametrize('text', [
    'model = dict(generator=dict(type="SRDenseNet", num_blocks=__import__("os").abort()))',
    'import os; os.abort()',
    'model = [', '(' * 5000, '-' * 100_000 + '1', None, 7])
def test_a_config_text_is_never_executed(file, text):
    network = SRDenseNet(**SMALL)
    runner_file(file, network, text)
    assert same(network, load_network(file))


def test_a_lazy_configs_class_name(file):
    network = SRDenseNet(**SMALL)
    generator = dict(type='srdensenet_mm.models.srdensenet.SRDenseNet', **SMALL)
    runner_file(file, network, f'model = dict(generator={generator!r})')
    assert same(network, load_network(file))


def test_a_foreign_part_by_config(file):
    upsampler = dict(type='pixel_shuffle', scale_factor=4, upsample_kernel=3)
    network = SRDenseNet(**SMALL, upsampler=upsampler)
    config = dict(type='SRDenseNet', **SMALL, upsampler=upsampler)
    with pytest.raises(ValueError, match='give its config'):
        save_network(network, file)
    with pytest.raises(ValueError, match='expected'):
        save_network(network, file, config=dict(config, mid_channels=SMALL['mid_channels'] + 1))
    assert not file.exists()
    save_network(network, file, config=config)
    assert same(network, load_network(file))
    torch.save(network.state_dict(), file)
    with pytest.raises(UserError, match=r"upsampler.upsample_conv.weight.*meta\['network'\]"):
        load_network(file)


def fails(file, *parts):
    with pytest.raises(UserError) as error:
        load_network(file)
    message = str(error.value)
    assert message.startswith(f'{file}: ') and '\n' not in message, message
    for part in parts:
        assert part in message, message


@pytest.mark.parametrize('kind', ['os.system', 'posix.system', 'builtins.exec', 'antigravity',
                                  'torch.nn.Identity'])
@pytest.mark.parametrize('place', ['type', 'dense_block', 'upsampler'])
def test_meta_names_registered_modules_only(file, kind, place, tmp_path):
    network = SRDenseNet(**SMALL)
    proof = tmp_path / 'proof'
    bomb = dict(type=kind, command=f'touch {proof}')
    config = dict(type='SRDenseNet', **SMALL)
    config.update(bomb if place == 'type' else {place: bomb})
    torch.save(dict(meta=dict(network=config), state_dict=network.state_dict()), file)
    fails(file)
    assert not proof.exists() and 'antigravity' not in sys.modules


@pytest.mark.parametrize('change, named', [
    (dict(num_blocks=3), 'bottleneck.weight has shape (8, 30, 1, 1), expected (8, 42, 1, 1)'),
    (dict(feature_level='h'), 'has shape'),
    (dict(upscale_factor=2), 'upsampler.deconvs.1.weight'),
    (dict(upscale_factor=5), 'upscale_factor=5'),
    (dict(num_blocks=10**9), 'num_blocks=1000000000'),
    (dict(mid_channels=10**9), 'conv_first.weight has shape (6, 1, 3, 3)'),
    (dict(num_blocks='many'), 'num_blocks'),
    (dict(unknown=1), 'unknown'),
    (dict(upsampler=dict(type='DeconvUpsampler', weights='http://example.invalid')), 'weights'),
    (dict(type=None), 'type'),
    (dict(type=['SRDenseNet']), 'type'),
])
def test_meta_that_does_not_fit_the_weights(file, change, named):
    config = {**dict(type='SRDenseNet', **SMALL), **change}
    torch.save(dict(meta=dict(network=config), state_dict=SRDenseNet(**SMALL).state_dict()), file)
    fails(file, named)


@pytest.mark.parametrize('network', [5, 'prototype', ['type']])
def test_meta_that_is_no_config(file, network):
    torch.save(dict(meta=dict(network=network), state_dict=SRDenseNet(**SMALL).state_dict()), file)
    fails(file, 'network')


def test_colours_that_do_not_fit(file):
    for colour, part in (('rgb', '1 input channels'), ('cmyk', "colour='cmyk'")):
        meta = dict(network=dict(type='SRDenseNet', **SMALL), colour=colour)
        torch.save(dict(meta=meta, state_dict=SRDenseNet(**SMALL).state_dict()), file)
        fails(file, part)
    torch.save(SRDenseNet(in_channels=2, **SMALL).state_dict(), file)
    fails(file, '2 input channels')


class _Bomb:

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command, )


@pytest.mark.parametrize('write', [
    lambda bomb, file: torch.save(dict(state_dict=bomb), file),
    lambda bomb, file: torch.save(dict(meta=dict(cfg=bomb), state_dict={}), file),
    lambda bomb, file: torch.save(bomb, file, _use_new_zipfile_serialization=False),
    lambda bomb, file: file.write_bytes(pickle.dumps(bomb)),
    lambda bomb, file: file.write_bytes(pickle.dumps(bomb, protocol=0)),
])
def test_a_pickle_bomb_does_not_go_off(file, tmp_path, write):
    write(_Bomb(f'touch {tmp_path}/proof'), file)
    fails(file)
    assert not (tmp_path / 'proof').exists()


def test_a_bomb_is_named(file):
    torch.save(dict(state_dict=_Bomb('true')), file)
    fails(file, 'system', 'could run code')


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_damaged_files(tmp_path, suffix):
    whole = tmp_path / f'whole{suffix}'
    save_network(SRDenseNet(**SMALL), whole)
    data = whole.read_bytes()
    damaged = tmp_path / f'damaged{suffix}'
    for length in (1, 7, 8, 9, 30, len(data) // 2, len(data) - 100, len(data) - 1):
        damaged.write_bytes(data[:length])
        fails(damaged)
    damaged.write_bytes(b'')
    fails(damaged, 'is empty')
    damaged.write_text('just a text\n' * 20)
    fails(damaged, 'is not a checkpoint')
    damaged.write_bytes(os.urandom(5000))
    fails(damaged)


def test_no_file(tmp_path):
    fails(tmp_path / 'none.pth', 'cannot be read (No such file')
    fails(tmp_path, 'cannot be read')
    (tmp_path / 'loop.pth').symlink_to('loop.pth')
    fails(tmp_path / 'loop.pth', 'cannot be read')


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read anything')
def test_an_unreadable_file(file):
    save_network(SRDenseNet(**SMALL), file)
    file.chmod(0)
    fails(file, 'Permission denied')


def _changed(**change):
    return {**SRDenseNet(**SMALL).state_dict(), **change}


@pytest.mark.parametrize('content, named', [
    ([1, 2], 'holds a list'),
    (torch.zeros(3), 'holds a Tensor'),
    ({}, 'holds no weights'),
    (dict(state_dict=[1]), 'state_dict is a list'),
    (dict(state_dict={}), 'holds no weights'),
    ({1: torch.zeros(1)}, 'not names'),
    (dict(epoch=3, optimizer=dict(a=torch.zeros(1))), "'epoch' is a int, not a tensor"),
    (dict(epoch=3, model=dict(a=torch.zeros(1))), "its first key is 'a'"),
    (dict(epoch=3, model=dict(a=1)), "'epoch' is a int, not a tensor"),
])
def test_content_that_is_no_state_dict(file, content, named):
    torch.save(content, file)
    fails(file, named)


@pytest.mark.parametrize('dtype', ['qint8', 'float8_e4m3fn', 'bool', 'uint8', 'int32', 'complex64'])
@pytest.mark.parametrize('key', ['bottleneck.weight', 'conv_last.bias'])
def test_weights_of_another_type_than_a_networks(file, key, dtype):
    value = _changed()[key]
    value = torch.quantize_per_tensor(value, 0.1, 0, torch.qint8) if dtype == 'qint8' else (
        value.to(getattr(torch, dtype)))
    torch.save(_changed(**{key: value}), file)
    fails(file, f'{key} is {dtype}: only weights of')


@pytest.mark.parametrize('dtype', [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_other_floating_types(file, dtype):
    weight = torch.rand(8, 30, 1, 1).to(dtype)
    torch.save(_changed(**{'bottleneck.weight': weight}), file)
    assert torch.equal(load_network(file).bottleneck.weight, weight.float())


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_no_numbers(file, value):
    weight = torch.zeros(8, 30, 1, 1)
    weight[3, 4] = value
    torch.save(_changed(**{'bottleneck.weight': weight}), file)
    fails(file, 'bottleneck.weight holds NaN or infinite')


def test_a_small_file_with_a_huge_tensor(file):
    huge = torch.zeros(1).expand(10**5, 10**5, 3, 3)
    torch.save(_changed(**{'blocks.1.layers.0.weight': huge}), file)
    fails(file, 'larger than the file')


def test_foreign_and_incomplete_weights(file):
    from torchvision.models import resnet18
    torch.save(resnet18().state_dict(), file)
    fails(file, "first key is 'conv1.weight'")
    weights = _changed()
    del weights['blocks.1.layers.2.bias']
    torch.save(weights, file)
    fails(file, 'lacks blocks.1.layers.2.bias')
    torch.save(_changed(**{'blocks.0.attention.weight': torch.zeros(1)}), file)
    fails(file, "'blocks.0.attention.weight'")
    torch.save(_changed(**{'blocks.7.layers.0.weight': torch.zeros(4, 4, 3, 3)}), file)
    fails(file, "'blocks.7.layers.0.weight' is surplus")
    torch.save(_changed(**{'conv_last.weight': torch.zeros(0, 8, 3, 3)}), file)
    fails(file, 'conv_last.weight has shape (0, 8, 3, 3)')


def test_another_implementations_file_says_how_to_go_on(file):
    from foreign_srdensenets import NetworkA
    torch.save(NetworkA(mid=4, blocks=1, layers=1, growth=2, wide=4).state_dict(), file)
    fails(file, 'layout A', 'tools/convert_checkpoint.py')


def test_reading_is_light(file):
    save_network(SRDenseNet(**SMALL), file)
    code = ('import sys; from srdensenet_mm.checkpoints import load_network; '
            'load_network(sys.argv[1]); assert "mmagic.models" not in sys.modules')
    subprocess.run([sys.executable, '-c', code, str(file)], check=True)


def test_reading_a_network_of_any_scale_is_light(file):
    save_network(small_liif(), file, config=CONFIG)
    code = ('import sys; from srdensenet_mm.checkpoints import load_network; '
            'network = load_network(sys.argv[1]); assert "mmagic.models" not in sys.modules; '
            # All of MMagic's models come later: they and the network hold one class.
            'from mmagic.models.editors import MLPRefiner; '
            'assert type(network.imnet) is MLPRefiner and "diffusers" in sys.modules')
    subprocess.run([sys.executable, '-c', code, str(file)], check=True)


@pytest.mark.parametrize('address', ['gs://a/b.pth', 'file:///a/b.pth'])
def test_a_store_that_nobody_knows(address):
    with pytest.raises(UserError, match=f'{address}: is on no kind of store'):
        load_network(address)


def test_a_store_whose_client_is_missing():
    with pytest.raises(UserError, match='s3://a/b.pth: needs a package for its store'):
        load_network('s3://a/b.pth')
