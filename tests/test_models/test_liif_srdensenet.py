# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""SRDenseNet as LIIF's encoder, against MMagic's own LIIF and SRDenseNet's own maps."""
import pytest
import torch
from mmagic.models.editors.liif.liif_net import LIIFNet
from mmagic.utils import make_coord
from rounding import assert_same_sums, terms
from small_liif import ENCODER, IMNET, small_liif

from srdensenet_mm.models import LIIFSRDenseNet, SRDenseNet
from srdensenet_mm.models.fused import computing

VARIANTS = [{}, dict(local_ensemble=False), dict(feat_unfold=False), dict(cell_decode=False)]


def points(count=700, size=(18, 20)):
    generator = torch.Generator().manual_seed(1)
    coord = torch.rand(2, count, 2, generator=generator) * 2 - 1
    return coord, torch.tensor([2 / size[0], 2 / size[1]]).expand_as(coord)


@pytest.mark.parametrize('variant', VARIANTS, ids=str)
def test_values_are_those_of_mmagics_liif(variant):
    net, x = small_liif(**variant), torch.rand(2, 1, 9, 7)
    coord, cell = points()
    expected = LIIFNet.query_rgb(net, net.gen_feature(x), coord, cell)
    assert expected.std() > 0.01
    found = [net(x, coord, cell), net.query_rgb(net.gen_feature(x), coord, cell)]
    with computing('plain'):
        found.append(net(x, coord, cell))
    with torch.no_grad():  # the lean form, also in pieces
        found += [net(x, coord, cell), net(x, coord, cell, test_mode=True)]
    for values in found:
        assert_same_sums(values, expected, terms(net))


@pytest.mark.parametrize('change', [dict(feature_level='h'), dict(bottleneck_act=True), {}],
                         ids=str)
def test_maps_are_srdensenets(change):
    """What the deconvolutions of the network with these weights would read."""
    encoder = dict(ENCODER, **change)
    net = LIIFSRDenseNet(encoder, IMNET)
    whole = SRDenseNet(**{key: value for key, value in encoder.items() if key != 'type'})
    loaded = whole.load_state_dict(net.state_dict(), strict=False)
    assert all(key.startswith('imnet.') for key in loaded.unexpected_keys)
    assert {key.split('.')[0] for key in loaded.missing_keys} == {'upsampler', 'conv_last'}
    read = []
    whole.upsampler.register_forward_pre_hook(lambda module, args: read.append(args[0]))
    x = torch.rand(1, 1, 8, 9)
    whole(x)
    torch.testing.assert_close(net.gen_feature(x), read[0])


def test_all_parameters_are_trained():
    """DDP stops at one without a gradient."""
    net = small_liif().train()
    coord, cell = points(50)
    net(torch.rand(2, 1, 8, 9), coord, cell).sum().backward()
    assert [name for name, weight in net.named_parameters() if weight.grad is None] == []


def test_gradients_are_those_of_the_plain_form():
    coord, cell = points(50)
    x, gradients = torch.rand(2, 1, 8, 9), []
    for form in ('graph', 'plain'):
        net = small_liif()
        with computing(form):
            net(x, coord, cell).square().sum().backward()
        gradients.append({name: weight.grad for name, weight in net.named_parameters()})
    for name, expected in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], expected, rtol=1e-3, atol=1e-5, msg=name)


def test_a_hook_inside_is_called():
    net, seen = small_liif(), []
    net.imnet.layers[0].register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        net(torch.rand(2, 1, 8, 9), *points(10))
    assert seen


@pytest.mark.parametrize('form', ['plain', 'graph'])
def test_points_at_the_last_pixels_centres(form):
    """There, MMagic's weights are quotients of rounding errors: at x3, x5, ..."""
    net, x = small_liif(), torch.rand(1, 1, 7, 9)
    coord = make_coord((21, 27))[None]
    cell = torch.full_like(coord, 0.08)
    with torch.no_grad(), computing(form):
        values = [net(x, coord + shift, cell) for shift in (0, 3e-7, -3e-7)]
    for moved in values[1:]:
        torch.testing.assert_close(moved, values[0], rtol=0, atol=1e-4)


def test_places_are_not_rounded_in_16_bits():
    """A coordinate in bf16 would be off by up to 1/256 of the image."""
    net, x = small_liif(), torch.rand(1, 1, 4, 400)
    coord = make_coord((6, 600))[None]
    cell = torch.full_like(coord, 0.01)
    with torch.no_grad():
        expected = net(x, coord, cell)
        for form in ('plain', 'graph'):
            with torch.autocast('cpu', torch.bfloat16), computing(form):
                found = net(x, coord, cell)
            assert found.dtype == torch.float32
            assert (found - expected).abs().mean() < 0.05 * expected.std()


def test_the_configs_are_not_changed():
    encoder, imnet = dict(ENCODER), dict(IMNET, in_dim=64)
    net = LIIFSRDenseNet(encoder, imnet)
    assert (encoder, imnet) == (ENCODER, dict(IMNET, in_dim=64))
    assert net.imnet.layers[0].in_features == 8 * 9 + 4


def test_another_encoder():
    with pytest.raises(ValueError, match='encoder is a MLPRefiner: .*LIIFEDSRNet'):
        LIIFSRDenseNet(dict(IMNET, in_dim=4), IMNET)
