# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Other projects' networks, made by spandrel's own constructors with random weights."""
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from run_tools_here import call_tool
from small_models import write_data_set

from srdensenet_mm.checkpoints import load_network, load_network_with_meta
from srdensenet_mm.checkpoints.spandrel_network import SpandrelNetwork
from srdensenet_mm.errors import UserError
from srdensenet_mm.inference import Upscaler

spandrel = pytest.importorskip('spandrel', reason='the extra "spandrel" is not installed')


def _esrgan(scale):
    from spandrel.architectures.ESRGAN import ESRGAN
    return ESRGAN(num_filters=8, num_blocks=1, scale=scale)


def _compact():
    from spandrel.architectures.Compact import Compact
    return Compact(num_feat=8, num_conv=2, upscale=4)


def _swinir():
    from spandrel.architectures.SwinIR import SwinIR
    return SwinIR(img_size=16, window_size=8, depths=[2], embed_dim=12, num_heads=[2],
                  mlp_ratio=2, upscale=2, upsampler='pixelshuffledirect')


def _span():
    from spandrel.architectures.SPAN import SPAN
    return SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=4)


def _safmn():
    from spandrel.architectures.SAFMN import SAFMN
    return SAFMN(dim=8, n_blocks=1, upscaling_factor=4)


def _rcan():
    from spandrel.architectures.RCAN import RCAN
    return RCAN(n_resgroups=1, n_resblocks=1, n_feats=16, scale=2)


MAKERS = dict(esrgan=lambda: _esrgan(4), compact=_compact, swinir=_swinir, span=_span,
              safmn=_safmn, rcan=_rcan)
# What a network needs of an image's sides, and whether tiles of it are exact.
MULTIPLES = dict(swinir=8, safmn=8)
EXACT = dict(esrgan=True, compact=True, swinir=True, span=True, safmn=False, rcan=False)


@pytest.fixture(scope='module', params=MAKERS)
def network_file(request, tmp_path_factory):
    """An architecture's name, its file as its project saves it, and spandrel's own reading."""
    torch.manual_seed(0)
    network = MAKERS[request.param]()
    path = tmp_path_factory.mktemp('community') / f'{request.param}.pth'
    torch.save(dict(params_ema=network.state_dict()), path)
    return request.param, path, spandrel.ModelLoader().load_from_file(path)


def _image(height, width):
    noise = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def _by_spandrel(descriptor, image):
    tensor = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    return descriptor(tensor)[0].permute(1, 2, 0).numpy()[..., ::-1] * 255


def test_upscales_as_spandrel_does(network_file):
    name, path, descriptor = network_file
    upscaler = Upscaler(path, device='cpu')
    assert upscaler.scale == descriptor.scale
    # No side is a multiple of anything.
    image = _image(29, 37)
    found = upscaler(image)
    assert found.shape == (29 * upscaler.scale, 37 * upscaler.scale, 3)
    assert np.abs(found - _by_spandrel(descriptor, image)).max() <= 0.51


def test_tiles(network_file):
    name, path, _ = network_file
    image = _image(117, 101)
    whole = Upscaler(path, device='cpu', tile=0)(image)
    tiled = Upscaler(path, device='cpu', tile=24)
    assert tiled._model.size_multiple == MULTIPLES.get(name, 1)
    assert (tiled.overlap is not None) == EXACT[name]
    if EXACT[name]:
        assert np.abs(tiled(image).astype(int) - whole).max() <= 1
        return
    with pytest.warns(match='overlap by 32 LR pixels'):
        found = tiled(image)
    assert found.shape == whole.shape


def test_by_the_registry_and_the_keys(network_file, tmp_path):
    from mmagic.registry import MODELS
    name, path, descriptor = network_file
    network = MODELS.build(dict(type='mmagic.SpandrelNetwork', path=str(path))).eval()
    inputs = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(inputs)
    # Some scale their input in place.
    assert inputs.min() >= 0 and inputs.max() <= 1
    assert network.in_channels == 3 and network.upscale_factor == descriptor.scale
    assert network.state_dict().keys() == descriptor.model.state_dict().keys()
    # As a Runner saves it, EMA or not: spandrel's names below the model's.
    saved = tmp_path / 'iter_1.pth'
    torch.save(dict(meta={}, state_dict={
        f'generator.{key}': value for key, value in network.state_dict().items()}), saved)
    again, meta = load_network_with_meta(saved)
    assert isinstance(again, SpandrelNetwork) and meta['colour'] == 'rgb'
    # Gradients flow, and loading goes through any module that holds it.
    network(inputs).mean().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    holder = torch.nn.ModuleDict(dict(generator=MODELS.build(
        dict(type='mmagic.SpandrelNetwork', path=str(path))))).eval()
    for parameter in holder.parameters():
        torch.nn.init.zeros_(parameter)
    holder.load_state_dict({f'generator.{k}': v for k, v in again.state_dict().items()})
    with torch.no_grad():
        assert torch.equal(holder['generator'](inputs), expected)


@pytest.fixture
def compact(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / 'compact.pth'
    torch.save(dict(params=_compact().state_dict()), path)
    return path


def test_the_tools(compact, tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / 'a.png'), _image(24, 32))
    status, out, err = call_tool('infer',
        tmp_path / 'a.png', '--checkpoint', compact, '--out', tmp_path / 'out')
    assert status == 0, err
    expected = _by_spandrel(spandrel.ModelLoader().load_from_file(compact), _image(24, 32))
    found = cv2.imread(str(tmp_path / 'out/a.png'))
    assert np.abs(found - expected).max() <= 0.51

    data = write_data_set(tmp_path / 'data' / 'Few')
    status, out, err = call_tool('benchmark',
        f'theirs={compact}', '--data', data, '--out', tmp_path / 'page', '--runs', '1',
        '--size', '24', '--no-images')
    assert status == 0, err
    assert '| theirs |' in out


def test_what_cannot_be_used(tmp_path, monkeypatch):
    odd = tmp_path / 'odd.pth'
    torch.save({'something.weight': torch.zeros(1)}, odd)
    with pytest.raises(UserError, match="odd.pth: is none of the networks.*'something.weight'"):
        SpandrelNetwork(odd)
    with pytest.raises(UserError, match='odd.pth: is no SRDenseNet'):
        load_network(odd)
    state = _compact().state_dict()
    state.popitem()
    torch.save(state, odd)
    with pytest.raises(UserError, match='odd.pth: .* cannot be loaded'):
        load_network(odd)


def test_without_spandrel(compact):
    code = ('import sys; sys.modules["spandrel"] = None\n'
            'from srdensenet_mm.checkpoints import load_network\n'
            'from srdensenet_mm.errors import run_tool\n'
            f'run_tool(lambda: load_network({str(compact)!r}))')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 2
    line, = done.stderr.strip().splitlines()
    assert str(compact) in line and 'pip install "srdensenet_mm[spandrel]"' in line


def test_it_is_imported_only_for_such_files(tmp_path):
    from srdensenet_mm.checkpoints import save_network
    from srdensenet_mm.models import SRDenseNet
    path = tmp_path / 'ours.pth'
    save_network(SRDenseNet(mid_channels=4, num_blocks=1, num_layers=1, growth_rate=2,
                            bottleneck_channels=4), path)
    code = ('import sys; from srdensenet_mm.checkpoints import load_network; '
            'load_network(sys.argv[1]); assert "spandrel" not in sys.modules')
    subprocess.run([sys.executable, '-c', code, str(path)], check=True)
