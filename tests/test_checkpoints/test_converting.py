# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import copy
import runpy
import sys
from pathlib import Path

import pytest
import torch
from foreign_srdensenets import NetworkA, NetworkB
from mmagic.models import SRCNNNet
from rounding import assert_same_sums, terms

from srdensenet_mm.checkpoints import convert_checkpoint, load_network_with_meta
from srdensenet_mm.errors import UserError

ROOT = Path(__file__).parents[2]
# Block width (3 * 4) and mid differ, so that a wrong order of sources shows.
SMALL = dict(mid=10, blocks=3, layers=3, growth=4, wide=12)
CASES = [(NetworkA, scale, channels) for scale in (2, 3, 4, 8) for channels in (1, 3)]
CASES += [(NetworkB, 4, channels) for channels in (1, 3)]


def convert(network, folder, content=None):
    source, target = folder / 'source.pth', folder / 'target.pth'
    torch.save(network.state_dict() if content is None else content, source)
    result = convert_checkpoint(source, target)
    return result, *load_network_with_meta(target)


@torch.no_grad()
def assert_computes_the_same(converted, network, channels=1):
    # In double precision, where rounding hides nothing, and as it is used.
    for dtype in (torch.float64, torch.float32):
        x = torch.rand(2, channels, 24, 19, dtype=dtype)
        expected = copy.deepcopy(network).to(dtype)(x)
        assert expected.std() > 1e-3
        assert_same_sums(copy.deepcopy(converted).to(dtype)(x), expected, terms(network))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize('cls, scale, channels', CASES)
def test_small_networks_compute_the_same(tmp_path, cls, scale, channels):
    network = cls(scale, channels, **SMALL)
    result, converted, meta = convert(network, tmp_path)
    assert f'layout {cls.__name__[-1]}' in result.layout
    assert result.num_parameters == sum(p.numel() for p in network.parameters())
    is_b = cls is NetworkB
    assert meta['network'] == dict(
        type='SRDenseNet', in_channels=channels, out_channels=channels, upscale_factor=scale,
        mid_channels=10, num_blocks=3, num_layers=3, growth_rate=4, bottleneck_channels=12,
        bottleneck_act=is_b, deconv_kernel=3 if is_b else 2, feature_level='all')
    assert meta['colour'] == ('y' if channels == 1 else 'rgb')
    assert_computes_the_same(converted, network, channels)


@pytest.mark.parametrize('cls', [NetworkA, NetworkB])
def test_full_size_networks_compute_the_same(tmp_path, cls):
    network = cls()
    result, converted, _ = convert(network, tmp_path)
    assert result.num_parameters == {NetworkA: 2_004_225, NetworkB: 2_659_585}[cls]
    assert_computes_the_same(converted, network)


@pytest.mark.parametrize('prefix', ['module.', '_orig_mod.', 'module._orig_mod.',
                                    '_orig_mod.module.'])
@pytest.mark.parametrize('wrapped', [False, True])
@pytest.mark.parametrize('cls', [NetworkA, NetworkB])
def test_wrappers_around_the_state_dict(tmp_path, cls, prefix, wrapped):
    network = cls(**SMALL)
    content = {prefix + key: value for key, value in network.state_dict().items()}
    if wrapped:
        content = dict(epoch=7, state_dict=content, optimizer=dict(state={}, param_groups=[]))
    _, converted, _ = convert(network, tmp_path, content)
    assert_computes_the_same(converted, network)


@pytest.mark.parametrize('shape', [dict(blocks=1), dict(layers=1), dict(mid=12), dict(blocks=11)])
def test_other_sizes(tmp_path, shape):
    for cls in (NetworkA, NetworkB):
        network = cls(**{**SMALL, **shape})
        _, converted, _ = convert(network, tmp_path)
        assert_computes_the_same(converted, network)


def test_safetensors_both_ways(tmp_path):
    import safetensors.torch
    network = NetworkA(**SMALL)
    safetensors.torch.save_file(network.state_dict(), tmp_path / 'a.safetensors')
    convert_checkpoint(tmp_path / 'a.safetensors', tmp_path / 'ours.safetensors')
    converted, meta = load_network_with_meta(tmp_path / 'ours.safetensors')
    assert meta['converted_from'] == 'layout A'
    assert_computes_the_same(converted, network)


def test_one_of_ours_is_written_anew(tmp_path):
    network = NetworkB(**SMALL)
    convert(network, tmp_path)
    result = convert_checkpoint(tmp_path / 'target.pth', tmp_path / 'again.pth')
    assert result.layout == 'srdensenet_mm'
    assert (tmp_path / 'again.pth').read_bytes() == (tmp_path / 'target.pth').read_bytes()


def _without(key):
    return lambda weights: {k: v for k, v in weights.items() if k != key}


def _with(key, *shape):
    return lambda weights: {**weights, key: torch.zeros(shape)}


@pytest.mark.parametrize('cls, change, named', [
    (NetworkA, _without('conv1.0.weight'), 'lacks conv1.0.weight'),
    (NetworkA, _without('dcb2.0.conv3.bias'), 'lacks dcb2.0.conv3.bias'),
    (NetworkA, _without('conv2.weight'), 'lacks conv2.weight'),
    (NetworkA, _with('dcb2.0.conv1.weight', 4, 21, 3, 3), 'dcb2.0.conv1.weight has shape '
     '(4, 21, 3, 3), expected (4, 22, 3, 3)'),
    (NetworkA, _with('dcb4.0.conv1.weight', 4, 46, 3, 3), 'conv2.weight has shape (12, 46, 1, 1)'),
    (NetworkA, _with('dcb1.0.bn.weight', 4), "'dcb1.0.bn.weight' does not fit layout A"),
    (NetworkA, _with('upsampling.2.upsample_block.0.weight', 12, 12, 3, 3),
     'upsampling.2.upsample_block.0'),
    (NetworkA, _with('conv3.weight', 12), 'conv3.weight has shape (12,)'),
    (NetworkB, _without('reconstruction.bias'), 'lacks reconstruction.bias'),
    (NetworkB, _without('deconv.2.weight'), 'deconv.2.weight'),
    (NetworkB, _with('deconv.1.weight', 12, 12, 3, 3), "'deconv.1.weight' does not fit layout B"),
    (NetworkB, _with('deconv.0.weight', 12, 12, 2, 2), 'kernel 2 (deconv.0.weight)'),
    (NetworkB, _with('dense_blocks.2.block.1.conv.weight', 4, 8, 3, 3),
     'dense_blocks.2.block.1.conv.weight has shape (4, 8, 3, 3)'),
    (NetworkB, _with('bottleneck.0.weight', 12, 40, 1, 1), 'bottleneck.0.weight has shape'),
])
def test_names_the_first_key_or_shape_that_does_not_fit(tmp_path, cls, change, named):
    weights = change(cls(**SMALL).state_dict())
    with pytest.raises(UserError) as error:
        convert(None, tmp_path, weights)
    assert str(tmp_path / 'source.pth') in str(error.value) and named in str(error.value)
    assert '\n' not in str(error.value)
    assert not (tmp_path / 'target.pth').exists()


def test_a_foreign_network(tmp_path):
    from torchvision.models import resnet18
    with pytest.raises(UserError, match="is no SRDenseNet.*first key is 'conv1.weight'"):
        convert(resnet18(), tmp_path)


def test_another_network_with_its_config(tmp_path):
    network = SRCNNNet(upscale_factor=2)
    torch.save(dict(meta=dict(network=dict(type='SRCNNNet', upscale_factor=2)),
                    state_dict=network.state_dict()), tmp_path / 'source.pth')
    with pytest.raises(UserError, match='source.pth: holds weights of SRCNNNet, not of an SRD'):
        convert_checkpoint(tmp_path / 'source.pth', tmp_path / 'target.pth')
    assert not (tmp_path / 'target.pth').exists()


def test_the_source_is_not_written_over(tmp_path):
    torch.save(NetworkA(**SMALL).state_dict(), tmp_path / 'a.pth')
    before = (tmp_path / 'a.pth').read_bytes()
    (tmp_path / 'link.pth').symlink_to('a.pth')
    with pytest.raises(UserError, match='link.pth: is the source'):
        convert_checkpoint(tmp_path / 'a.pth', tmp_path / 'link.pth')
    assert (tmp_path / 'a.pth').read_bytes() == before


def run_tool_here(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['convert_checkpoint.py', *map(str, args)])
    with pytest.raises(SystemExit) as status:
        runpy.run_path(str(ROOT / 'tools/convert_checkpoint.py'), run_name='__main__')
    return status.value.code


def test_the_tool(tmp_path, capsys, monkeypatch):
    torch.save(NetworkA(8, 3, **SMALL).state_dict(), tmp_path / 'a.pth')
    assert run_tool_here(monkeypatch, tmp_path / 'a.pth', tmp_path / 'new' / 'b.pth') in (0, None)
    said = capsys.readouterr().out
    assert 'layout A' in said and 'x8, rgb' in said
    assert load_network_with_meta(tmp_path / 'new' / 'b.pth')[0].upscale_factor == 8
