# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import itertools
import subprocess
import sys

import pytest
import torch
from lively_weights import make_lively
from mmagic.registry import MODELS
from mmengine.registry import DefaultScope
from plain_srdensenet import PlainSRDenseNet
from rounding import assert_same_sums, rounding_error, terms
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode

from srdensenet_mm.models import DeconvUpsampler, DenseBlock, SRDenseNet
from srdensenet_mm.models.fused import computing
from srdensenet_mm.models.fused.choice import FORMS

SMALL = dict(mid_channels=12, num_blocks=3, num_layers=3, growth_rate=4, bottleneck_channels=10)


def _pair(**kwargs):
    torch.manual_seed(0)
    net = make_lively(SRDenseNet(**kwargs))
    plain = PlainSRDenseNet(**kwargs)
    plain.load_state_dict(net.state_dict())
    return net, plain


def _parameters(**kwargs):
    return sum(p.numel() for p in SRDenseNet(**kwargs).parameters())


@pytest.mark.parametrize('kwargs, count', [
    (dict(), 2_004_225),
    (dict(deconv_kernel=3), 2_659_585),
    (dict(in_channels=3, out_channels=3), 2_011_139),
    (dict(upscale_factor=2), 2_004_225 - 262_400),
    (dict(upscale_factor=8), 2_004_225 + 262_400),
    (dict(upscale_factor=3), 2_004_225 - 2 * 262_400 + 256 * 256 * 9 + 256),
    # Chained blocks read 128 maps each; the bottleneck reads 256 or 128.
    (dict(feature_level='hl'), 2_004_225 - 28 * 128 * 16 * 9 - (1152 - 256) * 256),
    (dict(feature_level='h'), 2_004_225 - 28 * 128 * 16 * 9 - (1152 - 128) * 256),
])
def test_parameter_counts(kwargs, count):
    assert _parameters(**kwargs) == count


@pytest.mark.parametrize('feature_level', ['all', 'hl', 'h'])
@pytest.mark.parametrize('scale', [2, 3, 4, 8])
@pytest.mark.parametrize('deconv_kernel', [2, 3])
@pytest.mark.parametrize('channels', [1, 3])
def test_equals_the_plain_form(feature_level, scale, deconv_kernel, channels):
    net, plain = _pair(
        **SMALL, in_channels=channels, out_channels=channels, upscale_factor=scale,
        deconv_kernel=deconv_kernel, feature_level=feature_level,
        bottleneck_act=scale == 4)
    x = torch.rand(2, channels, 5, 7)
    expected = plain(x)
    assert expected.shape == (2, channels, 5 * scale, 7 * scale)
    assert_same_sums(net(x), expected, terms(net))
    with torch.no_grad():
        assert_same_sums(net(x), expected, terms(net))
    with torch.no_grad():
        assert_same_sums(net.eval()(x), expected, terms(net))


def test_default_network_equals_the_plain_form():
    net, plain = _pair()
    x = torch.rand(1, 1, 20, 17)
    with torch.no_grad():
        expected = plain(x)
        assert_same_sums(net.eval()(x), expected, terms(net))


@pytest.mark.parametrize('kwargs', [dict(), dict(deconv_kernel=3), dict(feature_level='hl')])
@pytest.mark.parametrize('with_cp', [False, True])
def test_gradients_equal_the_plain_form(kwargs, with_cp):
    net, plain = _pair(**SMALL, **kwargs)
    net.with_cp = with_cp
    x = torch.rand(2, 1, 6, 5, requires_grad=True)
    x_plain = x.detach().clone().requires_grad_()
    (net(x)**2).sum().backward()
    (plain(x_plain)**2).sum().backward()
    # Each is a sum over all outputs of sums through all layers, there and back.
    length = 2 * terms(net) + plain(x).numel()
    assert_same_sums(x.grad, x_plain.grad, length)
    for (name, p), (_, q) in zip(net.named_parameters(), plain.named_parameters(), strict=True):
        difference = (p.grad - q.grad).abs().max()
        assert difference <= rounding_error(q.grad, length), name


def test_gradient_checkpointing_keeps_less():
    """The switch is on: less is kept for the backward pass, in either form."""

    def kept(with_cp):
        net, sizes = SRDenseNet(**SMALL, with_cp=with_cp), []
        with torch.autograd.graph.saved_tensors_hooks(
                lambda x: sizes.append(x.numel()) or x, lambda x: x):
            net(torch.rand(1, 1, 8, 8))
        return sum(sizes)

    for form in FORMS:
        with computing(form):
            assert kept(True) < kept(False) / 2


def test_odd_sizes_and_single_pixels():
    net, plain = _pair(**SMALL)
    for size in [(1, 1), (1, 9), (7, 1), (3, 2)]:
        x = torch.rand(1, 1, *size)
        assert_same_sums(net(x), plain(x), terms(net))


def test_large_images_go_through_the_tail_in_pieces(monkeypatch):
    from srdensenet_mm.models.fused import shares
    net, plain = _pair(**SMALL)
    monkeypatch.setattr(shares, '_PIECE_BYTES', 7000)
    x = torch.rand(2, 1, 13, 11)
    with torch.no_grad():
        assert_same_sums(net(x), plain(x), terms(net))


@pytest.mark.parametrize('size', [(9, 12), (150, 150)])  # torch convolves small ones by itself
@pytest.mark.parametrize('feature_level', ['all', 'hl'])
@pytest.mark.parametrize('channels', [1, 3])
def test_maps_are_channels_last(channels, feature_level, size):
    seen = []

    class Watch(TorchDispatchMode):

        def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
            out = operator(*args, **(kwargs or {}))
            if operator is torch.ops.aten.convolution.default:
                seen.append((args[0], out))
            return out

    net = SRDenseNet(channels, channels, 2, feature_level=feature_level, **SMALL)
    with torch.no_grad(), Watch():
        net(torch.rand(1, channels, *size))
    # The first convolution; of three blocks, the first layer and what the two others read; the
    # bottleneck, of the first source alone for 'all'.
    assert len(seen) == 1 + 3 * (1 + 2) + 1
    for some in (seen[0][1], *itertools.chain(*seen[1:])):
        assert some.is_contiguous(memory_format=torch.channels_last) and not some.is_contiguous()


def test_weights_are_contiguous_as_other_modules_are(tmp_path):
    net = make_lively(SRDenseNet(**SMALL))
    save_file(net.state_dict(), tmp_path / 'weights.safetensors')
    for key, value in load_file(tmp_path / 'weights.safetensors').items():
        assert torch.equal(value, net.state_dict()[key]), key
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=2)
    low, high = torch.rand(1, 1, 8, 8), torch.rand(1, 1, 32, 32)

    def loss():
        optimizer.zero_grad()
        value = torch.nn.functional.mse_loss(net(low), high)
        value.backward()
        return value

    before = optimizer.step(loss).item()
    assert loss().item() < before


@pytest.mark.parametrize('channels', [1, 3])
def test_gradients_lie_as_their_weights_do(channels):
    # Or DistributedDataParallel warns of each.
    net = SRDenseNet(channels, channels, **SMALL)
    net(torch.rand(2, channels, 24, 24)).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.stride() == parameter.stride(), name


@pytest.mark.parametrize('kwargs, words', [
    (dict(upscale_factor=5), ['upscale_factor', '5', '2, 3, 4, 8']),
    (dict(upscale_factor=[4]), ['upscale_factor', '[4]']),
    (dict(upscale_factor=4.0), ['upscale_factor', '4.0']),
    (dict(bottleneck_act='false'), ['bottleneck_act', "'false'", 'True or False']),
    (dict(feature_level='low'), ['feature_level', 'low', 'all']),
    (dict(deconv_kernel=4), ['deconv_kernel', '4']),
    (dict(num_blocks=0), ['num_blocks', '0']),
    (dict(growth_rate=1.5), ['growth_rate', '1.5']),
    (dict(in_channels=-1), ['in_channels', '-1']),
])
def test_unsupported_values_are_refused_by_name(kwargs, words):
    with pytest.raises(ValueError) as error:
        SRDenseNet(**kwargs)
    for word in words:
        assert word in str(error.value)


def test_registered_and_buildable_by_name():
    # A test before this one may have left another scope.
    with DefaultScope.overwrite_default_scope('mmagic'):
        block = MODELS.build(dict(type='DenseBlock', in_channels=5, num_layers=2, growth_rate=3))
        assert isinstance(block, DenseBlock)
        assert block(torch.rand(1, 5, 4, 4)).shape == (1, 6, 4, 4)
        upsampler = MODELS.build(dict(type='DeconvUpsampler', in_channels=6, upscale_factor=3))
        assert isinstance(upsampler, DeconvUpsampler)
        assert upsampler(torch.rand(1, 6, 4, 4)).shape == (1, 6, 12, 12)
        assert isinstance(MODELS.build(dict(type='SRDenseNet', **SMALL)), SRDenseNet)


def test_upsampler_is_replaceable_by_config():
    """mmcv's pixel shuffle in place of the deconvolutions."""
    net = SRDenseNet(
        **SMALL,
        upsampler=dict(
            type='pixel_shuffle', in_channels=10, out_channels=10, scale_factor=4,
            upsample_kernel=3))
    assert net(torch.rand(1, 1, 5, 6)).shape == (1, 1, 20, 24)


def test_parts_without_a_type_are_the_usual_ones():
    net = SRDenseNet(**SMALL, dense_block=dict(growth_rate=5), upsampler=dict(deconv_kernel=3))
    assert [block.out_channels for block in net.blocks] == [15] * 3
    assert [deconv.kernel_size for deconv in net.upsampler.deconvs] == [(3, 3)] * 2
    assert net(torch.zeros(1, 1, 4, 5)).shape == (1, 1, 16, 20)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
@pytest.mark.parametrize('grad', [False, True])
def test_a_converted_network_under_autocast(dtype, grad):
    net = _pair(**SMALL)[0]
    x = torch.rand(1, 1, 9, 7)
    expected = net(x)
    with torch.autocast('cpu', torch.bfloat16), torch.set_grad_enabled(grad):
        found = net.to(dtype)(x.to(dtype)).float()
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


def test_parts_are_given_what_their_signature_names():

    class Upsampler(DeconvUpsampler):

        def __init__(self, in_channels, upscale_factor, slope=0.1, **kwargs):
            super().__init__(in_channels, upscale_factor, **kwargs)

    class Block(DenseBlock):

        def __init__(self, in_channels, *, growth_rate, num_layers, rate=1):
            super().__init__(in_channels, num_layers, growth_rate)

    net = SRDenseNet(**dict(SMALL, upscale_factor=3), dense_block=dict(type=Block),
                     upsampler=dict(type=Upsampler, slope=0.2))
    plain = SRDenseNet(**dict(SMALL, upscale_factor=3))
    assert {key: value.shape for key, value in net.state_dict().items()} == {
        key: value.shape for key, value in plain.state_dict().items()}
    assert net(torch.rand(1, 1, 5, 6)).shape == (1, 1, 15, 18)


def test_parts_that_fix_what_they_pass_on():

    class Block(DenseBlock):

        def __init__(self, in_channels, **kwargs):
            super().__init__(in_channels, num_layers=2, growth_rate=5, **kwargs)

    net = SRDenseNet(**SMALL, dense_block=dict(type=Block))
    assert [len(block.layers) for block in net.blocks] == [2, 2, 2]
    assert [block.layers[0].in_channels for block in net.blocks] == [12, 22, 32]
    with pytest.raises(TypeError, match='nope'):
        SRDenseNet(**SMALL, dense_block=dict(type=Block, nope=1))


def test_foreign_dense_block_reads_the_concatenation():

    @MODELS.register_module(name='TestSumBlock', force=True)
    class TestSumBlock(torch.nn.Module):

        def __init__(self, in_channels):
            super().__init__()
            self.out_channels = 2
            self.in_channels = in_channels

        def forward(self, x):
            assert x.size(1) == self.in_channels
            return torch.cat([x.sum(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)

    try:
        net = SRDenseNet(**SMALL, dense_block=dict(type='TestSumBlock'))
        assert [block.in_channels for block in net.blocks] == [12, 14, 16]
        assert net(torch.rand(1, 1, 4, 4)).shape == (1, 1, 16, 16)
    finally:
        MODELS.module_dict.pop('TestSumBlock')


@pytest.mark.parametrize('feature_level', ['all', 'hl'])
def test_a_subclass_of_the_dense_block_is_run(feature_level):

    @MODELS.register_module(name='TestHalfBlock', force=True)
    class TestHalfBlock(DenseBlock):

        def forward(self, x):
            return super().forward(x) / 2

    try:
        net = SRDenseNet(**SMALL, feature_level=feature_level,
                         dense_block=dict(type='TestHalfBlock'))
        _, plain = _pair(**SMALL, feature_level=feature_level)
        net.load_state_dict(plain.state_dict())
        x = torch.rand(1, 1, 4, 4)
        assert not torch.allclose(net(x), plain(x), atol=1e-3)
        with torch.no_grad():
            for module in (net, plain):  # Where blocks yield zeros, both forms agree.
                for block in module.blocks:
                    block.forward = lambda x, block=block: type(block).forward(block, x) * 0
        assert_same_sums(net(x), plain(x), terms(net))
    finally:
        MODELS.module_dict.pop('TestHalfBlock')


def test_deepcopy_compile_and_trace():
    import copy
    net, plain = _pair(**SMALL)
    x = torch.rand(1, 1, 6, 6)
    # One graph, with nothing that it cannot hold; what is made of it is the compiler's.
    compiled = torch.compile(net, backend='aot_eager', fullgraph=True)
    assert_same_sums(compiled(x), plain(x), terms(net))
    with torch.no_grad():
        assert_same_sums(compiled(x), plain(x), terms(net))
    assert_same_sums(copy.deepcopy(net)(x), plain(x), terms(net))
    traced = torch.jit.trace(net.eval(), torch.rand(1, 1, 5, 4), check_trace=False)
    assert_same_sums(traced(x), plain(x), terms(net))


def test_the_network_alone_stays_light():
    code = ('import sys\n'
            'from srdensenet_mm.models import SRDenseNet\n'
            'SRDenseNet(num_blocks=1)\n'
            "heavy = [m for m in ('mmagic.models', 'diffusers') if m in sys.modules]\n"
            'sys.exit(str(heavy) if heavy else 0)')
    subprocess.run([sys.executable, '-c', code], check=True)
