# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Images through the Upscaler, against the network and OpenCV."""
import copy
import multiprocessing
import pickle
import re
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from torch.nn.utils import prune

from srdensenet_mm.checkpoints import save_network
from srdensenet_mm.errors import UserError
from srdensenet_mm.inference import Upscaler
from srdensenet_mm.inference.upscaler import memory
from srdensenet_mm.models import SRDenseNet
from srdensenet_mm.models.colour import upscale_through_luma

SMALL = dict(mid_channels=6, num_blocks=2, num_layers=2, growth_rate=3, bottleneck_channels=6)


def network(**kwargs):
    torch.manual_seed(0)
    net = SRDenseNet(**{**SMALL, **kwargs}).eval()
    with torch.no_grad():
        out = net(torch.rand(1, net.conv_first.in_channels, 24, 24))
        net.conv_last.weight /= 6 * out.std()
        net.conv_last.bias.fill_(0.5)
    return net


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


@torch.no_grad()
def through_luma(net, bgr):
    peak = np.iinfo(bgr.dtype).max
    rgb = torch.from_numpy(bgr[..., ::-1].astype(np.float32) / peak).permute(2, 0, 1)[None]
    return upscale_through_luma(net, rgb)[0].permute(1, 2, 0).numpy()[..., ::-1] * peak


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('scale', [2, 3, 4, 8])
def test_a_colour_image(tmp_path, scale, dtype):
    net = network(upscale_factor=scale)
    save_network(net, tmp_path / 'net.pth')
    image = noise(11, 13, 3, dtype=dtype)
    upscaler = Upscaler(tmp_path / 'net.pth', device='cpu')
    found = upscaler(image)
    assert upscaler.scale == scale and found.dtype == dtype
    assert found.shape == (11 * scale, 13 * scale, 3)
    # Half a level of rounding, and a little of float.
    allowed = 0.51 if dtype == np.uint8 else 0.75
    assert np.abs(found - through_luma(net, image)).max() <= allowed


@pytest.mark.parametrize('shape', [(33, 41, 3), (33, 41), (33, 41, 1), (33, 41, 4), (1, 60, 3)])
@pytest.mark.parametrize('colour', ['y', 'rgb'])
def test_tiles_make_the_same_image(shape, colour):
    channels = 1 if colour == 'y' else 3
    net = network(in_channels=channels, out_channels=channels, upscale_factor=3)
    image = noise(*shape, dtype=np.uint16)
    whole = Upscaler(net, device='cpu', tile=0)(image)
    tiled = Upscaler(net, device='cpu', tile=7)(image)
    assert whole.shape == tiled.shape == (shape[0] * 3, shape[1] * 3, *shape[2:])
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_alpha_is_upscaled_alongside():
    image = noise(9, 10, 4)
    image[..., 3] |= 32  # All of it is seen.
    upscaler = Upscaler(network(), device='cpu')
    found = upscaler(image)
    expected = cv2.resize(image[..., 3].astype(np.float32), None, fx=4, fy=4,
                          interpolation=cv2.INTER_CUBIC).clip(0, 255)
    assert np.abs(found[..., 3] - expected).max() <= 0.51
    np.testing.assert_array_equal(found[..., :3], upscaler(image[..., :3].copy()))


def test_gray_is_gray_colour():
    upscaler = Upscaler(network(), device='cpu')
    gray = noise(9, 10)
    colour = upscaler(np.dstack([gray] * 3)).astype(int)
    assert np.abs(colour - upscaler(gray)[..., None]).max() <= 1


def test_a_small_image_needs_no_receptive_field(monkeypatch):
    # A probe of seconds with large networks that are not ours.
    def probe(*_):
        raise AssertionError('was probed')

    monkeypatch.setattr('srdensenet_mm.inference.planning.receptive_field', probe)
    for kwargs in (dict(), dict(tile=0), dict(tile=8, overlap=2)):
        assert Upscaler(network(), device='cpu', **kwargs)(noise(20, 20)).shape == (80, 80)


def test_memory_decides_on_tiles(monkeypatch):
    net = network()
    image = noise(300, 300, 3)
    upscaler = Upscaler(net, device='cpu')
    one, _ = upscaler._planner.plan(300, 300, image.nbytes * 16, None)
    assert len(one) == 1
    tight = Upscaler(net, device='cpu', max_memory=0.21)
    many, together = tight._planner.plan(300, 300, image.nbytes * 16, None)
    assert len(many) > 1
    rows, cols = many.tile_shape
    assert (rows * cols * together * tight._planner.tile_memory.per_pixel() + memory.OVERHEAD
            < 0.21 * 2**30)
    assert np.abs(tight(image).astype(int) - upscaler(image)).max() <= 1
    with pytest.raises(UserError, match='raise max_memory'):
        Upscaler(net, device='cpu', max_memory=0.1)(image)
    monkeypatch.setattr(memory, 'free_bytes', lambda device: 300 * 2**20)
    fewer, _ = Upscaler(net, device='cpu')._planner.plan(300, 300, image.nbytes * 16, None)
    assert len(fewer) > 1


def test_the_order_of_images_decides_on_nothing():
    net = SRDenseNet().eval()
    limit, small, large = 0.3, (120, 120), (1600, 1600)

    def plan(upscaler, size):
        return len(upscaler._planner.plan(*size, 3 * 16 * size[0] * size[1], None)[0])

    expected = plan(Upscaler(net, device='cpu', max_memory=limit), small)
    upscaler = Upscaler(net, device='cpu', max_memory=limit)
    with pytest.raises(UserError, match=r'raise max_memory \((.*) GiB will do\)') as error:
        plan(upscaler, large)
    assert plan(upscaler, small) == expected == 1
    enough = float(re.search(r'\(([\d.]+) GiB', str(error.value))[1])
    assert plan(Upscaler(net, device='cpu', max_memory=enough), large) > 1


def test_the_memory_that_is_said_to_do_does():
    net = SRDenseNet().eval()
    upscaler = Upscaler(net, device='cpu')
    for height in range(400, 600, 17):
        upscaler._planner.max_memory = 0.1
        with pytest.raises(UserError, match=r'raise max_memory \((.*) GiB will do\)') as error:
            upscaler._planner.plan(height, 450, 16 * 450 * height, None)
        upscaler._planner.max_memory = float(re.search(r'\(([\d.]+) GiB', str(error.value))[1])
        upscaler._planner.plan(height, 450, 16 * 450 * height, None)


def test_engines_may_take_half_of_what_is_free(monkeypatch):
    pytest.importorskip('onnxruntime')
    net = network()
    limits = {}
    for free in (4, 20):
        monkeypatch.setattr(memory, 'free_bytes', lambda device, free=free: free * 2**30)
        for backend in ('torch', 'onnxruntime'):
            upscaler = Upscaler(net, device='cpu', backend=backend)
            limits[backend, free] = upscaler._planner.largest_tile(10**8, 0)
    assert limits['torch', 4] == limits['torch', 20]
    assert limits['onnxruntime', 20] > 4 * limits['onnxruntime', 4]


def test_a_result_larger_than_memory(monkeypatch):
    upscaler = Upscaler(network(), device='cpu')
    monkeypatch.setattr(memory, 'free_bytes', lambda device: 16 * 3 * 20 * 20 - 1)
    with pytest.raises(UserError, match='20 x 20 becomes one of 0.0 GiB.*cut it up first'):
        upscaler(noise(20, 20, 3))


def test_smaller_tiles_when_memory_runs_out():
    net = network()
    upscaler = Upscaler(net, device='cpu')
    forward, sizes, done = upscaler._forward, [], []

    def fails_when_large(inputs):
        sizes.append(inputs[0, 0].numel())
        if sizes[-1] > 1000:
            raise MemoryError("can't allocate memory")
        return forward(inputs)

    image = noise(50, 50, 3)
    expected = upscaler(image)
    upscaler._forward = fails_when_large
    assert np.abs(upscaler(image, progress=done.append).astype(int) - expected).max() <= 1
    assert sizes[0] == 2500 and min(sizes) <= 1000 and sum(done) == 2500
    fixed = Upscaler(net, device='cpu', tile=0)
    fixed._forward = fails_when_large
    with pytest.raises(UserError, match='give a smaller tile'):
        fixed(image)


@pytest.mark.parametrize('backend', ['torch', 'onnxruntime', 'openvino'])
def test_several_threads_call_one_upscaler(backend):
    if backend != 'torch':
        pytest.importorskip('onnx')
        pytest.importorskip(backend)
    upscaler = Upscaler(network(upscale_factor=2), device='cpu', backend=backend, tile=8)
    images = [noise(20 + k, 30 - k, 3) for k in range(6)]
    expected = [upscaler(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(upscaler, images * 3))
    for k, one in enumerate(found):
        np.testing.assert_array_equal(one, expected[k % 6])


def test_bf16_is_fp32_where_it_would_be_emulated(monkeypatch):
    image = noise(9, 8, 3)
    monkeypatch.setattr('srdensenet_mm.inference.upscaler.cpu_has_bf16', lambda: False)
    with pytest.warns(UserWarning, match='does not compute in bf16, so fp32'):
        emulated = Upscaler(network(), device='cpu', dtype='bf16')
    assert emulated.dtype == 'fp32'
    np.testing.assert_array_equal(emulated(image), Upscaler(network(), device='cpu')(image))
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter('error')
        patch.setattr('srdensenet_mm.inference.upscaler.cpu_has_bf16', lambda: True)
        assert Upscaler(network(), device='cpu', dtype='bf16').dtype == 'bf16'


@pytest.mark.parametrize('kwargs, message', [
    (dict(dtype='fp8'), 'dtype'), (dict(dtype='fp16', device='cpu'), 'on a CPU, bf16'),
    (dict(tile=-1), 'tile=-1'), (dict(overlap=-2), 'overlap'),
    (dict(max_memory=float('inf')), 'max_memory'),
    (dict(max_memory=float('nan')), 'max_memory'), (dict(device='banana'), 'device=banana'),
    (dict(device='meta'), 'device=meta: cannot be used'), (dict(backend='tf'), 'backend')], ids=str)
def test_bad_arguments(kwargs, message):
    with pytest.raises(UserError, match=message):
        Upscaler(network(), **kwargs)


class _Subclass(np.ndarray):
    pass


@pytest.mark.parametrize('shape', [(9, 8), (9, 8, 1), (9, 8, 3), (9, 8, 4)])
@pytest.mark.parametrize('dtype', ['>u2', '<u2', 'u1'])
def test_arrays_of_any_order_and_layout(dtype, shape):
    image = noise(*shape, dtype=np.uint8).astype(np.dtype(dtype)) * (257 if '2' in dtype else 1)
    image = image.astype(dtype)
    upscaler = Upscaler(network(), device='cpu')
    expected = upscaler(np.ascontiguousarray(image, image.dtype.newbyteorder('=')))
    frozen = image.copy()
    frozen.flags.writeable = False
    padded = np.zeros((20, 19, *shape[2:]), dtype)[1:-1:2, 3:11]
    padded[...] = image
    for other in (image, frozen, padded, np.asfortranarray(image), image.view(_Subclass),
                  image[::-1].copy()[::-1], np.ma.array(image),
                  np.broadcast_to(image[None], (1, *shape))[0]):
        found = upscaler(other)
        assert type(found) is np.ndarray and found.dtype == image.dtype.newbyteorder('=')
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(frozen, image)


@pytest.mark.parametrize('image, message', [
    (None, 'NumPy'), (np.zeros((4, 4, 3), np.float32), 'float32.*convert to uint8.*image \\* 255'),
    (np.zeros((4, 4), bool), 'of bool.*astype.* 255'), (np.zeros((4, 4), np.int64), 'of int64'),
    (np.ma.array(np.zeros((2, 2), np.uint8), mask=[[0, 1], [0, 0]]), 'masked values: fill'),
    (np.zeros((4, 4, 2), np.uint8), 'shape'), (np.zeros((0, 4, 3), np.uint8), 'empty')])
def test_no_image(image, message):
    with pytest.raises(UserError, match=message):
        Upscaler(network(), device='cpu')(image)


class _MeanOverTheImage(torch.nn.Module):
    """What tracing makes a constant of: the traced image's number of pixels."""

    in_channels = 3

    def forward(self, x):
        mean = x.sum((2, 3), keepdim=True) / float(x.size(2) * x.size(3))
        return torch.nn.functional.interpolate(x - mean, scale_factor=2.)


@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino'])
def test_a_graph_that_computes_something_else_is_refused(backend):
    pytest.importorskip('onnx')
    pytest.importorskip(backend)
    Upscaler(_MeanOverTheImage(), device='cpu')
    with pytest.raises(UserError, match=f'backend={backend}: computes something else than _Mean'):
        Upscaler(_MeanOverTheImage(), device='cpu', backend=backend)


def test_an_engine_that_lacks_memory_gets_smaller_tiles(monkeypatch):
    pytest.importorskip('onnx')
    onnxruntime = pytest.importorskip('onnxruntime')
    run = onnxruntime.InferenceSession.run

    def run_in_little_memory(session, names, inputs):
        if max(array.size for array in inputs.values()) > 500:
            # Its own exceptions are no RuntimeErrors.
            raise Exception('Non-zero status code ... Status Message: std::bad_alloc')
        return run(session, names, inputs)

    net, image = network(), noise(23, 31)
    expected = Upscaler(net, device='cpu')(image)
    upscaler = Upscaler(net, device='cpu', backend='onnxruntime')
    monkeypatch.setattr(onnxruntime.InferenceSession, 'run', run_in_little_memory)
    assert np.abs(upscaler(image).astype(int) - expected).max() <= 1


def test_openvino_without_memory_does_not_pass_off_the_last_result(monkeypatch):
    pytest.importorskip('onnx')
    openvino = pytest.importorskip('openvino')
    infer, large, last = openvino.InferRequest.infer, [23 * 31], {}

    def infer_in_little_memory(request, inputs):
        # As it does where it cannot get memory for the result.
        if inputs[0].size not in large:
            last[request] = infer(request, inputs)
        return last[request]

    net, image = network(), noise(23, 31)
    expected = Upscaler(net, device='cpu')(image)
    upscaler = Upscaler(net, device='cpu', backend='openvino')
    monkeypatch.setattr(openvino.InferRequest, 'infer', infer_in_little_memory)
    upscaler(noise(24, 32))
    assert np.abs(upscaler(image).astype(int) - expected).max() <= 1
    # With tiles of a size given, it cannot be helped.
    whole = Upscaler(net, device='cpu', backend='openvino', tile=0)
    whole(noise(24, 32))
    with pytest.raises(UserError, match='out of memory with tile=0'):
        whole(image)


@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino'])
def test_backends_make_the_same_image(backend):
    pytest.importorskip('onnx')
    pytest.importorskip(backend)
    net, image = network(), noise(23, 31, 3)
    expected = Upscaler(net, device='cpu')(image)
    for tile in (0, 9):
        found = Upscaler(net, backend=backend, tile=tile)(image)
        assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize('backend', ['torch', 'onnxruntime', 'openvino'])
def test_an_upscaler_travels(backend):
    if backend != 'torch':
        pytest.importorskip('onnx')
        pytest.importorskip(backend)
    image = noise(20, 18, 3)
    pruned = network(upscale_factor=2)
    prune.l1_unstructured(pruned.bottleneck, 'weight', 0.3)
    pruned(torch.rand(1, 1, 8, 8)).sum().backward()
    upscaler = Upscaler(pruned, device='cpu', backend=backend, tile=8, self_ensemble=True)
    expected = upscaler(image)
    for copied in (pickle.loads(pickle.dumps(upscaler)), copy.deepcopy(upscaler)):
        assert copied is not upscaler and copied.overlap == upscaler.overlap
        np.testing.assert_array_equal(copied(image), expected)
    np.testing.assert_array_equal(upscaler(image), expected)


def test_an_upscaler_travels_into_a_spawned_process():
    image, upscaler = noise(20, 18, 3), Upscaler(network(upscale_factor=2), device='cpu')
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
        found = pool.submit(upscaler, image).result()
    np.testing.assert_array_equal(found, upscaler(image))
