# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What takes part: reading the command line, building models, and what is said of mistakes."""
import importlib
from contextlib import nullcontext

import pytest
import torch
from rounding import rounding_error, terms
from small_liif import CONFIG, small_liif
from small_models import EDSR, ROOT, write_checkpoint, write_config

from srdensenet_mm.benchmark import backends
from srdensenet_mm.benchmark.complexity import count_multiply_adds, count_parameters
from srdensenet_mm.benchmark.entries import Spec, build, common_scale, is_ours, parse_specs
from srdensenet_mm.checkpoints import save_network
from srdensenet_mm.errors import UserError
from srdensenet_mm.models import SRDenseNet


def _has(package):
    return importlib.util.find_spec(package) is not None


# The command line.


def test_names_are_unique_and_backends_are_for_srdensenets(tmp_path, monkeypatch):
    monkeypatch.setattr(backends, 'cpu_has_bf16', lambda: True)
    config = write_config(tmp_path / 'small.py')
    weights = write_checkpoint(tmp_path / 'a=b.pth')
    specs = parse_specs([str(config), f'{config}={weights}', EDSR], ['torch', 'torch:bf16'])
    assert [(spec.name, spec.checkpoint, spec.backend) for spec in specs] == [
        ('small', None, 'torch'), ('small (torch:bf16)', None, 'torch:bf16'),
        ('small #2', str(weights), 'torch'), ('small (torch:bf16) #2', str(weights), 'torch:bf16'),
        ('edsr_x4c64b16_1xb16-300k_div2k', None, 'torch')]


def test_names_of_what_is_there_anyway_are_taken(tmp_path):
    configs = [write_config(tmp_path / f'{name}.py') for name in ('HR', 'bicubic')]
    assert [spec.name for spec in parse_specs(map(str, configs))] == ['HR #2', 'bicubic #2']


def test_bf16_is_refused_where_it_would_be_emulated(monkeypatch):
    for native in (True, False):
        monkeypatch.setattr(backends, 'cpu_has_bf16', lambda native=native: native)
        with nullcontext() if native else pytest.raises(UserError, match='does not compute in'):
            backends.check('torch:bf16', 'cpu')


@pytest.mark.parametrize('backend, device, message', [
    ('onnxruntime:bf16', 'cpu', 'is not known'),
    ('torch:fp16', 'cpu', 'is for GPUs'),
    ('openvino', 'cuda', 'runs on cpu'),
])
def test_a_backend_that_cannot_be_had_is_refused(backend, device, message):
    with pytest.raises(UserError, match=message):
        backends.check(backend, device)


# Models.


def test_build_loads_weights_and_finds_scale_and_channels(tmp_path):
    config = write_config(tmp_path / 'small.py', upscale_factor=3)
    weights = write_checkpoint(tmp_path / 'small.pth', upscale_factor=3)
    entry = build(Spec('small', str(config), str(weights)))
    assert (entry.upscale_factor, entry.in_channels) == (3, 1)
    saved = torch.load(weights, weights_only=True)['state_dict']
    for key, value in entry.generator.state_dict().items():
        assert torch.equal(value, saved[f'generator.{key}'])
    rgb = torch.rand(1, 3, 7, 9)
    assert entry.upscale(rgb).shape == (1, 3, 21, 27)
    assert not entry.upscale(rgb).requires_grad


@pytest.mark.parametrize('config, channels, parameters', [
    (EDSR, 3, 1_517_571),
    ('mmagic::srcnn/srcnn_x4k915_1xb16-1000k_div2k.py', 3, 20_099),
])
def test_mmagics_own_models_take_part(config, channels, parameters):
    entry = build(Spec('theirs', config))
    assert (entry.upscale_factor, entry.in_channels) == (4, channels)
    assert count_parameters(entry.generator) == parameters


@pytest.mark.parametrize('backend, tolerance', [
    ('torch:bf16', 5e-2),
    pytest.param('onnxruntime', None, marks=pytest.mark.skipif(
        not (_has('onnx') and _has('onnxruntime')), reason='no onnxruntime here')),
    pytest.param('openvino', None, marks=pytest.mark.skipif(
        not (_has('onnx') and _has('openvino')), reason='no OpenVINO here')),
])
def test_every_backend_gives_the_same_image(tmp_path, backend, tolerance):
    config = write_config(tmp_path / 'small.py')
    weights = write_checkpoint(tmp_path / 'small.pth')
    torch_one, other = (build(Spec('small', str(config), str(weights), run_by))
                        for run_by in ('torch', backend))
    assert other.model.generator is not other.generator  # something else runs
    rgb = torch.rand(1, 3, 20, 26)
    expected = torch_one.upscale(rgb)
    difference = (expected - other.upscale(rgb)).abs().max()
    assert difference <= (tolerance or rounding_error(expected, terms(other.generator)))
    assert count_parameters(other.generator) == count_parameters(torch_one.generator)


def _config(text):
    return "default_scope = 'mmagic'\n" + text


@pytest.mark.parametrize('text, message', [
    ("model = dict(type='DataPreprocessor')", 'with a network "generator" cannot be built'),
    ("model = dict(type='NoSuchModel')", 'cannot be built .*NoSuchModel is not in'),
    ("model = dict(type='BaseEditModel', generator=dict(type='EDSRNet', in_channels=1, "
     "out_channels=1), pixel_loss=dict(type='L1Loss'))", 'does not upscale images: it failed'),
])
def test_a_config_without_a_usable_model_is_named(tmp_path, text, message):
    path = tmp_path / 'odd.py'
    path.write_text(_config(text))
    with pytest.raises(UserError, match=f'odd.py: .*{message}'):
        build(Spec('odd', str(path)))


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    config = write_config(tmp_path / 'small.py')
    weights = write_checkpoint(tmp_path / 'x3.pth', num_blocks=3)
    with pytest.raises(UserError, match='x3.pth: does not fit the config'):
        build(Spec('small', str(config), str(weights)))


def test_names_with_an_equals_sign(tmp_path):
    folder = tmp_path / 'lr=1e-4'
    folder.mkdir()
    config, checkpoint = write_config(folder / 'small.py'), folder / 'a=b.pth'
    write_checkpoint(checkpoint)
    for text, expected in ((f'{config}={checkpoint}', str(checkpoint)), (f'{config}', None)):
        spec, = parse_specs([text])
        assert (spec.config, spec.checkpoint) == (str(config), expected)
    with pytest.raises(UserError, match='no checkpoint after'):
        parse_specs([f'{config}='])


@pytest.mark.parametrize('name', ['srdensenet_x4_srgan_div2k', 'srdensenet_x4_esrgan_div2k'])
def test_a_gans_generator_needs_no_losses(monkeypatch, name):

    def fetch(*_, **__):
        raise AssertionError('VGG19 was asked for')

    monkeypatch.setattr('torch.hub.load_state_dict_from_url', fetch)
    monkeypatch.setattr('torchvision.models.vgg.load_state_dict_from_url', fetch, raising=False)
    entry = build(Spec('gan', str(ROOT / f'configs/{name}.py')))
    assert (entry.upscale_factor, entry.in_channels) == (4, 3)


@pytest.mark.parametrize('kind', ['SRDenseNet', 'mmagic.SRDenseNet', SRDenseNet])
def test_ours_by_any_name(kind):
    assert is_ours(dict(model=dict(generator=dict(type=kind))))
    assert not is_ours(dict(model=dict(generator=dict(type='EDSRNet')))) and not is_ours({})


def test_scales_are_not_mixed(tmp_path):
    two = [build(Spec(f'x{scale}', str(write_config(tmp_path / f'x{scale}.py',
                                                    upscale_factor=scale)))) for scale in (2, 4)]
    assert common_scale(two[:1]) == 2
    with pytest.raises(UserError, match='x4.py: upscales x4, .*x2.py x2'):
        common_scale(two)


def test_a_network_of_any_scale_at_the_scale_of_its_config(tmp_path):
    config = tmp_path / 'liif.py'
    config.write_text(
        "custom_imports = dict(imports=['srdensenet_mm'], allow_failed_imports=False)\n"
        f"model = dict(type='LumaLIIF', generator={CONFIG!r}, test_cfg=dict(scale=3),\n"
        "             pixel_loss=dict(type='L1Loss'))\n")
    entry = build(Spec('liif', str(config)))
    assert (entry.upscale_factor, entry.in_channels) == (3, 1)
    assert entry.upscale(torch.rand(1, 3, 5, 8)).shape == (1, 3, 15, 24)
    # 6 maps and two blocks of 4 + 4 make 8; then 76 -> 16 -> 16 -> 1 four times at each point.
    low = 9 * 6 + 9 * 6 * 4 + 9 * 4 * 4 + 9 * 14 * 4 + 9 * 4 * 4 + 22 * 8
    points = 4 * (76 * 16 + 16 * 16 + 16)
    assert count_multiply_adds(entry.generator, 1, 3, 24, 15) == 40 * low + 360 * points
    save_network(small_liif(), tmp_path / 'any.pth', config=CONFIG)
    with pytest.raises(UserError, match='any.pth: .*any factor: give its config'):
        build(Spec('any', None, str(tmp_path / 'any.pth')))
