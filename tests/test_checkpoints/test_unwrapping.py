# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Weights as other trainers wrap them, and files that are no checkpoints."""
import argparse
import collections
import datetime
import decimal
import fractions
import io
import pathlib
import tarfile
import types
import zipfile

import cv2
import numpy as np
import pytest
import torch
from foreign_srdensenets import NetworkA, NetworkB

from srdensenet_mm.checkpoints import convert_checkpoint, load_network, load_network_with_meta
from srdensenet_mm.checkpoints.reading import read_checkpoint
from srdensenet_mm.errors import UserError
from srdensenet_mm.models import SRDenseNet

SMALL = dict(mid_channels=6, num_blocks=2, num_layers=3, growth_rate=4, bottleneck_channels=8)
SMALL_A = dict(mid=10, blocks=2, layers=2, growth=4, wide=12)


def ours(seed=0):
    torch.manual_seed(seed)
    return SRDenseNet(**SMALL).state_dict()


def behind(prefix, weights):
    return {prefix + key: value for key, value in weights.items()}


def equal(found, expected):
    return list(found) == list(expected) and all(map(torch.equal, found.values(),
                                                     expected.values()))


@pytest.mark.parametrize('prefix', ['', 'module.', 'model.', 'net.', 'network.module._orig_mod.',
                                    'generator.', 'whoever.calls.it.'])
@pytest.mark.parametrize('names', [(), ('params',), ('state_dict',), ('model_state_dict',),
                                   ('checkpoint', 'netG', 'weights')])
def test_weights_are_found_whatever_they_are_called(tmp_path, prefix, names):
    content = behind(prefix, ours())
    for name in reversed(names):
        content = {
            'epoch': 3, name: content,
            'optimizer': dict(state={0: dict(exp_avg=torch.zeros(3))}, param_groups=[])}
    if names:
        content['discriminator'] = {'conv.weight': torch.zeros(9, 9)}
    torch.save(content, tmp_path / 'any.pth')
    assert equal(load_network(tmp_path / 'any.pth').state_dict(), ours())


@pytest.mark.parametrize('change', [
    lambda weights: {key: value.numpy() for key, value in weights.items()},
    lambda weights: {key.replace('blocks.0.', 'blocks.0._checkpoint_wrapped_module.'): value
                     for key, value in weights.items()},
    lambda weights: {key.replace('conv_first.', '_fsdp_wrapped_module.conv_first._orig_mod.'): value
                     for key, value in weights.items()}])
@pytest.mark.parametrize('wrap', [lambda weights: weights, lambda weights: dict(
    params=weights, losses=np.arange(3.))])
def test_arrays_and_wrapped_parts(tmp_path, change, wrap):
    torch.save(wrap(change(ours())), tmp_path / 'any.pth')
    assert equal(load_network(tmp_path / 'any.pth').state_dict(), ours())


@pytest.mark.parametrize('network', [NetworkA, NetworkB])
@pytest.mark.parametrize('wrapped', [
    lambda weights: dict(params=weights),
    lambda weights: dict(epoch=1, state_dict=behind('model.', weights), hyper_parameters={})])
def test_other_implementations_are_converted_out_of_their_wrapping(tmp_path, network, wrapped):
    weights = network(**SMALL_A).state_dict()
    torch.save(wrapped(weights), tmp_path / 'wrapped.pth')
    torch.save(weights, tmp_path / 'bare.pth')
    for name in ('wrapped', 'bare'):
        convert_checkpoint(tmp_path / f'{name}.pth', tmp_path / f'{name}_ours.pth')
    assert (tmp_path / 'wrapped_ours.pth').read_bytes() == (
        tmp_path / 'bare_ours.pth').read_bytes()


@pytest.mark.parametrize('content, where', [
    (lambda last, mean: dict(params=last, params_ema=mean), 'params_ema'),
    (lambda last, mean: dict(params_ema=mean, params=last), 'params_ema'),
    (lambda last, mean: dict(state_dict=last, ema_state_dict=mean), 'ema_state_dict'),
    (lambda last, mean: dict(model=last, state_dict_ema=mean), 'state_dict_ema'),
    (lambda last, mean: dict(net=last, modelEMA=dict(module=mean)), 'modelEMA.module'),
    (lambda last, mean: dict(state_dict={
        **behind('model.', last), **behind('ema_model.module.', mean)}),
     'state_dict: ema_model.module.'),
    (lambda last, mean: dict(last=last, swa={
        'n_averaged': torch.tensor(3), **behind('module.', mean)}), 'swa: module.'),
    (lambda last, mean: dict(state_dict=behind('model.', last), callbacks=dict(
        EMACallback=dict(state_dict=behind('model.', mean)))),
     'callbacks.EMACallback.state_dict: model.'),
    # MMEngine's own hook exchanges the two.
    (lambda last, mean: dict(state_dict=behind('generator.', mean), ema_state_dict={
        'steps': torch.tensor(3), **behind('module.generator.', last)}), 'state_dict: generator.'),
])
def test_averages_are_taken_and_it_is_said(tmp_path, monkeypatch, content, where):
    said = []
    monkeypatch.setattr('mmengine.logging.print_log', lambda line, logger: said.append(line))
    torch.save(content(ours(0), ours(1)), tmp_path / 'both.pth')
    network, meta = load_network_with_meta(tmp_path / 'both.pth')
    load_network(tmp_path / 'both.pth')
    assert equal(network.state_dict(), ours(1)) and meta['averaged_weights']
    assert said == [
        f'{tmp_path}/both.pth: takes the averaged weights ({where}), not those beside them']


class _OfATrainer:

    def __init__(self):
        self.loss = 3


class _Settings(dict):
    pass


@pytest.mark.parametrize('value', [
    np.float64(3), np.float32(1), np.int64(2), np.bool_(True), np.str_('a'), np.arange(3),
    np.zeros(2, np.float16), np.array(['a', 'b']), np.datetime64('2020-01-01'), np.dtype('f4'),
    np.float32, np.random.get_state(), np.random.default_rng(0), np.array([None], object),
    collections.OrderedDict(a=1), collections.defaultdict(list, a=[1]), collections.deque([1], 3),
    collections.Counter('ab'), {1, 2}, frozenset([1]), argparse.Namespace(a=1),
    types.SimpleNamespace(a=1), datetime.datetime.now(datetime.timezone.utc),
    datetime.timedelta(1), pathlib.PurePosixPath('/a'), pathlib.PureWindowsPath('c:/a'),
    pathlib.Path('/a'), torch.Size([1]), torch.device('cuda:0'), torch.float16, 1j, b'a',
    bytearray(b'a'), decimal.Decimal(1), fractions.Fraction(1, 2), np.ma.array([1], mask=[1]),
    torch.nn.L1Loss(), torch.nn.PReLU(), torch.nn.ReLU, torch.optim.Adam, _OfATrainer(),
    _OfATrainer, _Settings(a=1)], ids=lambda v: type(v).__name__)
def test_what_trainings_keep_beside_the_weights_is_no_danger(tmp_path, value):
    torch.save(dict(state_dict=ours(), beside=dict(value=value)), tmp_path / 'a.pth')
    assert equal(load_network(tmp_path / 'a.pth').state_dict(), ours())


@pytest.mark.parametrize('old, new', [(b'numpy.core', b'numpy._core'),
                                      (b'numpy._core', b'numpy.core')])
def test_numbers_of_either_numpy(tmp_path, old, new):
    buffer = io.BytesIO()
    # The other form is as long as the text beside it allows: pickle counts no bytes of a global.
    torch.save(dict(state_dict=ours(), psnr=np.float64(30), all=np.arange(4.)), buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(
            tmp_path / 'other.pth', 'w') as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data.replace(old, new) if name.endswith('.pkl') else data)
    assert equal(read_checkpoint(tmp_path / 'other.pth').weights, ours())


def test_a_network_as_a_whole_is_no_weights(tmp_path):
    whole = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3))
    for content in (whole, dict(epoch=1, model=whole)):
        torch.save(content, tmp_path / 'whole.pth')
        with pytest.raises(UserError, match=r'holds torch\.nn.*its weights alone: torch.save'):
            load_network(tmp_path / 'whole.pth')


def _zip(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        archive.writestr(name, 'text')
    return buffer.getvalue()


def _tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as archive:
        archive.addfile(tarfile.TarInfo('weights/model.pth'), io.BytesIO())
    return buffer.getvalue()


@pytest.mark.parametrize('data, words', [
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 8060715\n',
     'Git LFS pointer.*git lfs pull'),
    (b'\n<!DOCTYPE html>\n<html><head><title>GitHub</title>', r'web page.*not .*/blob/'),
    (b'\xef\xbb\xbf<html lang="en">', 'web page'),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', 'answer of a server'),
    (b'{"error": "Repository not found"}', 'JSON.*Repository not found'),
    (b'{"metadata": {}, "weight_map": {}}', 'list of the parts'),
    (b'404: Not Found', 'text.*404: Not Found'),
    (_zip('images/a.png'), 'zip archive of other things .images/a.png'),
    (_zip('x/code/__torch__.py'), 'TorchScript'),
    (_tar(), 'tar archive'),
    (b'\x1f\x8b' + bytes(50), 'gzip archive'),
    (_zip('a')[:30], 'damaged or truncated'),
    (b'\x80\x04\x95' + bytes(50), 'pickle of another program'),
    (bytes(50), r'not a checkpoint.*holds more than weights: .*torch\.save'),
    (cv2.imencode('.png', np.zeros((2, 2)))[1].tobytes(), r'image \(PNG\).*give the file'),
    (cv2.imencode('.webp', np.zeros((2, 2, 3)))[1].tobytes(), r'image \(WebP\).*give the file'),
    (cv2.imencode('.tiff', np.zeros((2, 2)))[1].tobytes(), r'image \(TIFF\).*give the file'),
    (b'\x89HDF\r\n\x1a\n' + bytes(50), r'HDF5 file.*torch\.save'),
    (b'', 'empty'),
], ids=lambda value: value if isinstance(value, str) else 'data')  # a zip's bytes hold the time
def test_what_is_no_checkpoint_is_named(tmp_path, data, words):
    (tmp_path / 'net.pth').write_bytes(data)
    with pytest.raises(UserError, match=f'net.pth: is .*{words}') as error:
        load_network(tmp_path / 'net.pth')
    assert '\n' not in str(error.value)


def test_either_format_by_the_name_of_the_other(tmp_path):
    import safetensors.torch
    safetensors.torch.save_file(behind('params.', ours()), tmp_path / 'a.pth')
    torch.save(ours(), tmp_path / 'b.safetensors')
    for name in ('a.pth', 'b.safetensors'):
        assert equal(load_network(tmp_path / name).state_dict(), ours())
