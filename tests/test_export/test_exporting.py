# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Exported files, run by onnxruntime alone, against the network in torch."""
import hashlib
import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv.image import rgb2ycbcr, ycbcr2rgb
from rounding import assert_same_sums, terms

from srdensenet_mm.backends.onnx_graph import folded, to_onnx
from srdensenet_mm.backends.quantization import dead_leaves, to_int8
from srdensenet_mm.checkpoints import load_network
from srdensenet_mm.errors import UserError
from srdensenet_mm.export import exporting
from srdensenet_mm.export.exporting import export_checkpoint
from srdensenet_mm.images.matlab_bicubic import matlab_bicubic

onnx = pytest.importorskip('onnx')
ort = pytest.importorskip('onnxruntime')
ROOT = Path(__file__).parents[2]
VARIANTS = [
    dict(upscale_factor=2), dict(upscale_factor=3), dict(upscale_factor=4),
    dict(upscale_factor=8, bottleneck_act=True), dict(feature_level='hl', upscale_factor=2),
    dict(feature_level='h', upscale_factor=2), dict(deconv_kernel=3, upscale_factor=4)]


def run(path, inputs):
    session = ort.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


def noise(*shape):
    return np.random.default_rng(0).random(shape, dtype=np.float32)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for k in range(3):
        small = np.random.default_rng(k).integers(0, 256, (8, 9, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'{k}.png'), cv2.resize(small, (50, 40)))
    return folder


@pytest.mark.parametrize('kwargs', VARIANTS, ids=str)
@torch.no_grad()
def test_luma_of_any_size(make_checkpoint, tmp_path, kwargs):
    checkpoint, target = make_checkpoint(**kwargs), tmp_path / 'net.onnx'
    report = export_checkpoint(checkpoint, target)
    net = load_network(checkpoint)
    for shape in ((1, 1, 1, 1), (3, 1, 5, 40), (1, 1, 37, 11)):
        inputs = noise(*shape)
        expected = net(torch.from_numpy(inputs)).numpy()
        assert_same_sums(run(target, inputs), expected, terms(net))
    assert 0 <= report.difference <= report.tolerance == 1e-5
    assert report.num_bytes == target.stat().st_size


@torch.no_grad()
def test_colour_around_luma(make_checkpoint, tmp_path):
    checkpoint, target = make_checkpoint(), tmp_path / 'net.onnx'
    export_checkpoint(checkpoint, target, colour='rgb')
    rgb = noise(1, 3, 14, 19)
    ycbcr = rgb2ycbcr(rgb[0].transpose(1, 2, 0)).transpose(2, 0, 1)[None]
    y = load_network(checkpoint)(torch.from_numpy(ycbcr[:, :1])).clamp(16 / 255, 235 / 255)
    chroma = F.interpolate(torch.from_numpy(ycbcr[:, 1:]), scale_factor=4, mode='bicubic')
    expected = ycbcr2rgb(torch.cat([y, chroma], 1)[0].permute(1, 2, 0).numpy().copy())
    # mmcv's matrix back to RGB is rounded.
    np.testing.assert_allclose(
        run(target, rgb)[0].transpose(1, 2, 0), expected.clip(0, 1), rtol=0, atol=2e-3)


@torch.no_grad()
def test_rgb_network_is_clipped(make_checkpoint, tmp_path):
    checkpoint = make_checkpoint(in_channels=3, out_channels=3, upscale_factor=2)
    export_checkpoint(checkpoint, tmp_path / 'net.onnx')
    rgb = 3 * noise(2, 3, 9, 12) - 1
    net = load_network(checkpoint)
    expected = net(torch.from_numpy(rgb)).clamp(0, 1).numpy()
    assert (expected == 0).any() or (expected == 1).any()
    assert_same_sums(run(tmp_path / 'net.onnx', rgb), expected, terms(net))
    with pytest.raises(UserError, match='colour=y'):
        export_checkpoint(checkpoint, tmp_path / 'other.onnx', colour='y')


def test_the_file_tells_what_it_is(make_checkpoint, tmp_path):
    # A name in Latin-1, from an old disk; ONNX keeps UTF-8 alone.
    checkpoint, target = make_checkpoint('n\udce4t.pth', upscale_factor=3), tmp_path / 'net.onnx'
    for opset in (13, 20):
        export_checkpoint(checkpoint, target, colour='rgb', opset=opset)
        model = onnx.load(str(target))
        onnx.checker.check_model(model, full_check=True)
        assert [(item.domain, item.version) for item in model.opset_import] == [('', opset)]
        props = {item.key: item.value for item in model.metadata_props}
        assert props['scale'] == '3' and props['channels'] == '3' and props['colour'] == 'rgb'
        assert props['dtype'] == 'fp32' and props['opset'] == str(opset)
        assert json.loads(props['network'])['mid_channels'] == 16
        assert props['source'] == r'n\udce4t.pth'
        assert props['source_sha256'] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        for value in (*model.graph.input, *model.graph.output):
            batch, channels, height, width = value.type.tensor_type.shape.dim
            assert batch.dim_param and height.dim_param and width.dim_param
            assert channels.dim_value == 3


@pytest.mark.parametrize('dtype', ['fp32', 'fp16'])
def test_only_batch_and_sides_are_dynamic(make_checkpoint, tmp_path, dtype):
    export_checkpoint(make_checkpoint(), tmp_path / 'y.onnx', dtype=dtype)
    session = ort.InferenceSession(str(tmp_path / 'y.onnx'))
    for value in (*session.get_inputs(), *session.get_outputs()):
        assert [isinstance(size, str) for size in value.shape] == [True, False, True, True]
        assert value.shape[1] == 1


@pytest.mark.parametrize('colour', ['y', 'rgb'])
def test_fp16(make_checkpoint, tmp_path, colour):
    checkpoint = make_checkpoint()
    full, half = tmp_path / 'full.onnx', tmp_path / 'half.onnx'
    export_checkpoint(checkpoint, full, colour=colour)
    report = export_checkpoint(checkpoint, half, colour=colour, dtype='fp16')
    inputs = noise(1, 1 if colour == 'y' else 3, 21, 30)
    expected, found = run(full, inputs), run(half, inputs)
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).max() < 1e-2
    assert 1e-6 < report.difference <= report.tolerance
    if colour == 'rgb':
        # Y alone is in half precision, and it is the same part of all three channels.
        unclipped = ((expected > 0.01) & (expected < 0.99)).all(axis=1)
        assert unclipped.mean() > 0.1
        spread = np.ptp(found - expected, axis=1)[unclipped].max()
        assert spread < 1e-5, spread

    def weight_bytes(path):
        return sum(len(item.raw_data) for item in onnx.load(str(path)).graph.initializer)

    assert weight_bytes(half) < 0.65 * weight_bytes(full)


@pytest.mark.parametrize('kwargs', [dict(), dict(deconv_kernel=3, upscale_factor=2)], ids=str)
def test_int8(make_checkpoint, tmp_path, pictures, kwargs):
    checkpoint = make_checkpoint(**kwargs)
    full, quantized = tmp_path / 'full.onnx', tmp_path / 'int8.onnx'
    export_checkpoint(checkpoint, full)
    report = export_checkpoint(checkpoint, quantized, dtype='int8', pictures=[pictures])
    image = cv2.imread(str(pictures / '1.png'))[None, None, :, :, 1].astype(np.float32) / 255
    error = np.square(run(quantized, image) - run(full, image)).mean()
    assert 0 < error < 1e-4
    assert report.loss <= exporting.MAX_LOSS
    model = onnx.load(str(quantized))
    kinds = {item.name: item.data_type for item in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    inputs = [node.input[1] for node in model.graph.node
              if node.op_type in ('Conv', 'Gemm', 'MatMul')]
    stored = [kinds[makers[name].input[0] if name in makers else name] for name in inputs]
    # The first and the last stay in float.
    assert stored[0] == stored[-1] == onnx.TensorProto.FLOAT
    # The layers of the blocks, and the contributions of every source but the first.
    assert stored.count(onnx.TensorProto.INT8) >= 4


def test_images_for_int8(make_checkpoint, tmp_path, pictures):
    checkpoint, target = make_checkpoint(), tmp_path / 'net.onnx'
    empty = tmp_path / 'empty'
    empty.mkdir()
    broken = tmp_path / 'broken.png'
    broken.write_bytes((pictures / '0.png').read_bytes()[:60])
    for given, message in (
            ([], 'needs HR images'), ([empty], 'holds no image'),
            ([broken, pictures / '0.png'], 'broken.png: is [dn]'),
            ([tmp_path / 'none'], 'no such image')):
        with pytest.raises(UserError, match=message):
            export_checkpoint(checkpoint, target, dtype='int8', pictures=given)
        assert not target.exists()


@torch.no_grad()
def test_the_loss_in_int8_is_that_of_psnr(make_checkpoint, tmp_path, pictures):
    """Measured again from the files alone: the field's LR, PSNR on Y, 4 pixels cropped."""
    checkpoint, target = make_checkpoint(), tmp_path / 'net.onnx'
    report = export_checkpoint(checkpoint, target, dtype='int8', pictures=[pictures])
    net, lost = load_network(checkpoint), []
    for path in sorted(pictures.glob('*.png')):
        rgb = cv2.imread(str(path))[:, 1:49, ::-1]  # the middle, of sides that are multiples of 4
        low, high = (rgb2ycbcr(np.float32(part) / 255, y_only=True)[None, None]
                     for part in (matlab_bicubic(np.ascontiguousarray(rgb), 4), rgb))
        errors = [np.square(np.clip(out, 0, 1) - high)[..., 4:-4, 4:-4].mean(dtype=np.float64)
                  for out in (net(torch.from_numpy(low)).numpy(), run(target, low))]
        lost.append(10 * np.log10(errors[1] / errors[0]))
    assert report.loss == pytest.approx(np.mean(lost), abs=1e-3)


@pytest.mark.parametrize('dtype', ['fp32', 'fp16', 'int8'])
def test_a_model_that_differs_is_not_written(
        make_checkpoint, tmp_path, pictures, monkeypatch, dtype):
    folded = exporting.folded

    def spoilt(model):
        proto = onnx.load_from_string(folded(model))
        bias = next(item for item in proto.graph.initializer if item.name == 'conv_first.bias')
        values = onnx.numpy_helper.to_array(bias) + 0.2
        bias.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), bias.name))
        return proto.SerializeToString()

    monkeypatch.setattr(exporting, 'folded', spoilt)
    with pytest.raises(UserError, match='differs from|loses'):
        export_checkpoint(
            make_checkpoint(), tmp_path / 'net.onnx', dtype=dtype,
            pictures=[pictures] * (dtype == 'int8'))
    assert not (tmp_path / 'net.onnx').exists()


def test_tool(make_checkpoint, tmp_path, monkeypatch, capsys):
    make_checkpoint()
    monkeypatch.chdir(tmp_path)
    assert not run_tool(monkeypatch, ['net.pth', 'out/net.onnx', '--colour', 'rgb'])
    said = capsys.readouterr().out
    assert 'out/net.onnx' in said and 'x4' in said and 'rgb' in said
    assert '1x20x31 and 2x33x18' in said
    assert run('out/net.onnx', noise(1, 3, 6, 5)).shape == (1, 3, 24, 20)


def run_tool(monkeypatch, arguments):
    monkeypatch.setattr(sys, 'argv', ['export_onnx.py', *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / 'tools' / 'export_onnx.py'), run_name='__main__')
    return ended.value.code


def test_a_network_without_anything_to_quantize():
    first_and_last = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1),
                                         torch.nn.Conv2d(4, 1, 3, padding=1))
    for network in (torch.nn.Upsample(scale_factor=2), first_and_last):
        network.in_channels = 1
        with pytest.raises(UserError, match='choose fp32'):
            to_int8(folded(to_onnx(network)), dead_leaves(1, 1))
