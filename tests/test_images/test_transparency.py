# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Colours that nobody sees, in every sort of file and with every sort of network."""
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from srdensenet_mm.images.files import read_image
from srdensenet_mm.images.transparency import fill_hidden
from srdensenet_mm.inference import Upscaler
from srdensenet_mm.models import SRDenseNet

COLOUR = (40, 90, 255)  # blue, green, red
SMALL = dict(mid_channels=6, num_blocks=2, num_layers=2, growth_rate=3, bottleneck_channels=6)


def disc_alpha(size=33, dtype=np.uint8):
    """A disc with a soft rim, opaque in the middle."""
    y, x = np.mgrid[:size, :size]
    seen = (size / 3 - np.hypot(y - size / 2 + 0.3, x - size / 2 - 0.2) + 1) / 2
    return np.rint(seen.clip(0, 1) * np.iinfo(dtype).max).astype(dtype)


def sprite(hidden, dtype=np.uint8, faint=False):
    """A disc of one colour over hidden colours, which barely seen pixels may have too."""
    full = np.iinfo(dtype).max
    alpha = disc_alpha(dtype=dtype)
    image = np.empty((*alpha.shape, 4), dtype)
    image[...] = (*(value * (full // 255) for value in COLOUR), 0)
    nobody = np.random.default_rng(0).integers(0, full + 1, image.shape, dtype) if (
        hidden == 'noise') else np.array((*hidden, 0)) * (full // 255)
    image = np.where((alpha <= faint * full // 255)[..., None], nobody, image).astype(dtype)
    image[..., 3] = np.maximum(alpha, full // 255) if faint else alpha
    return image


class Interpolation(torch.nn.Module):
    """A network that keeps one colour as it is, on luma or RGB."""

    def __init__(self, channels):
        super().__init__()
        self.in_channels = channels

    def forward(self, x):
        return torch.nn.functional.interpolate(x, scale_factor=3., mode='bicubic')


@pytest.mark.parametrize('hidden', [(0, 0, 0), (0, 255, 0), 'noise'], ids=str)
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [1, 3])
def test_the_rim_has_the_colour_of_what_is_seen(channels, dtype, hidden):
    image = sprite(hidden, dtype)
    full = np.iinfo(dtype).max
    large = Upscaler(Interpolation(channels), device='cpu', tile=0)(image).astype(float) / full
    expected = np.array(COLOUR) / 255
    for ground in (0, 1):
        alpha = large[..., 3:]
        laid = large[..., :3] * alpha + ground * (1 - alpha)
        # A level of 8 bits, for the way to luma and back.
        assert np.abs(laid - expected * alpha - ground * (1 - alpha)).max() <= 1 / 255


@pytest.mark.parametrize('kwargs', [
    dict(), dict(tile=7), dict(self_ensemble=True), dict(backend='onnxruntime'),
    dict(backend='openvino'), dict(channels=3)], ids=str)
def test_what_is_hidden_changes_nothing(kwargs):
    kwargs = dict(kwargs)
    if 'backend' in kwargs:
        pytest.importorskip('onnx')
        pytest.importorskip(kwargs['backend'])
    channels = kwargs.pop('channels', 1)
    torch.manual_seed(0)
    net = SRDenseNet(in_channels=channels, out_channels=channels, upscale_factor=2, **SMALL).eval()
    upscaler = Upscaler(net, device='cpu', **kwargs)
    expected = upscaler(sprite(COLOUR))
    for hidden in ((0, 0, 0), 'noise'):
        np.testing.assert_array_equal(upscaler(sprite(hidden)), expected)


def test_what_is_barely_seen_counts_little():
    large = Upscaler(Interpolation(3), device='cpu')(sprite('noise', faint=True))
    alpha = large[..., 3] / 255
    off = np.abs(large[..., :3].astype(float) - COLOUR).max(-1) * alpha
    assert off.max() <= 4  # 40 and more, if it counted as much as the rest


def test_tiles_of_transparent_images_are_the_whole(tmp_path):
    image = np.tile(sprite('noise'), (2, 2, 1))
    net = Interpolation(3)
    whole = Upscaler(net, device='cpu', tile=0)(image)
    tiled = Upscaler(net, device='cpu', tile=9, overlap=4)(image)
    assert np.abs(tiled.astype(int) - whole).max() <= 1  # where float sums round apart


@pytest.mark.parametrize('alpha', [255, 0, 100])
def test_even_alpha_hides_nothing_from_itself(alpha):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
    image[..., 3] = alpha
    assert fill_hidden(image) is image


def test_the_fill_is_what_is_seen_nearby():
    image = np.zeros((700, 41, 4), np.uint8)  # more rows than are filled at a time
    image[:, :3] = (10, 20, 30, 255)
    image[:, -4:] = (200, 100, 0, 128)
    before = image.copy()
    filled = fill_hidden(image)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(filled[..., 3], image[..., 3])
    seen = image[..., 3] > 0
    np.testing.assert_array_equal(filled[seen], image[seen])
    assert np.abs(filled[:, 3:6, :3].astype(int) - (10, 20, 30)).max() <= 5
    assert np.abs(filled[:, -7:-4, :3].astype(int) - (200, 100, 0)).max() <= 40
    # Between them nothing that is in neither, and no seam between rows.
    assert (filled[..., 0] >= 10).all() and (filled[..., 0] <= 200).all()
    assert (filled[..., :3] == filled[:1, :, :3]).mean() > 0.9


def files(folder):
    """Transparent images of every sort: file -> whether its hidden colours are another's."""
    bgra, bgra16 = sprite((0, 255, 0)), sprite((0, 255, 0), np.uint16)
    rgba = Image.fromarray(bgra[..., [2, 1, 0, 3]])
    cv2.imwrite(str(folder / 'rgba16.png'), bgra16)
    for name in ('rgba.png', 'rgba.webp', 'rgba.tga', 'rgba.tif', 'rgba.qoi'):
        rgba.save(folder / name, **(dict(lossless=True, exact=True) if 'webp' in name else {}))
    key = np.where(bgra[..., 3:] > 127, np.array(COLOUR[::-1], np.uint8), np.uint8(7))
    Image.fromarray(key).save(folder / 'key.png', transparency=(7, 7, 7))
    palette = Image.fromarray((bgra[..., 3] > 127).astype(np.uint8), 'P')
    palette.putpalette([0, 0, 255, *COLOUR[::-1]])
    palette.save(folder / 'palette.png', transparency=0)
    palette.save(folder / 'palette.gif', transparency=0)
    gray = np.where(bgra[..., 3] > 127, np.uint8(180), np.uint8(7))
    Image.fromarray(gray).save(folder / 'graykey.png', transparency=7)
    Image.fromarray(np.dstack([gray, bgra[..., 3] // 128 * 255]), 'LA').save(folder / 'la.png')
    Image.fromarray(np.dstack([gray, bgra[..., 3] // 128 * 255]), 'LA').save(folder / 'la.tif')
    return sorted(folder.iterdir())


def test_every_sort_of_file(tmp_path):
    paths = files(tmp_path)
    assert len(paths) == 12
    for path in paths:
        image = read_image(path).pixels
        assert image.shape[2] == 4, path
        full = np.iinfo(image.dtype).max
        large = Upscaler(Interpolation(1), device='cpu')(image) / full
        expected = np.array((180, ) * 3 if path.name[0] in 'gl' else COLOUR) / 255
        seen = large[..., 3] > 0
        assert 0.2 < seen.mean() < 0.6
        assert np.abs(large[..., :3] - expected)[seen].max() <= 1.6 / 255, path
