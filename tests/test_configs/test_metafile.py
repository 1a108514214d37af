# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""model-index.yml and configs/metafile.yml, against the recipes and the published files."""
import hashlib
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config

from srdensenet_mm.checkpoints import load_network_with_meta, save_network
from srdensenet_mm.images.matlab_bicubic import matlab_bicubic
from srdensenet_mm.models import SRDenseNet
from srdensenet_mm.models.at_points import AtPoints, UpscaledBy
from srdensenet_mm.models.colour import upscale_through_luma

ROOT = Path(__file__).resolve().parents[2]
INDEX = yaml.safe_load((ROOT / 'model-index.yml').read_text())
META = yaml.safe_load((ROOT / 'configs/metafile.yml').read_text())
MODELS = META['Models']
PUBLISHED = [model for model in MODELS if 'Weights' in model]
# Not meant to publish weights: minutes of training, and one's own images.
NO_MODELS = {'srdensenet_x4_demo', 'srdensenet_x4_folders'}
ANY_SCALE = 'srdensenet_liif'
METRICS = {'PSNR (Y)', 'SSIM (Y)', 'PSNR (RGB)', 'SSIM (RGB)'}


def generator_of(model):
    config = dict(Config.fromfile(ROOT / model['Config']).model.generator)
    config.pop('type')
    return config


def test_the_index_leads_to_the_metafile():
    assert list(INDEX) == ['Import'] and INDEX['Import'] == ['configs/metafile.yml']


def test_the_collection():
    collection, = META['Collections']
    assert collection['Name'] == 'SRDenseNet' and collection['Year'] == 2017
    assert collection['Paper']['Title'] in (ROOT / 'CITATION.cff').read_text()
    assert (ROOT / collection['README']).is_file()


def test_every_recipe_is_a_model():
    recipes = {path.stem for path in (ROOT / 'configs').glob('*.py')}
    names = [model['Name'] for model in MODELS]
    assert len(names) == len(set(names))
    assert set(names) == recipes - NO_MODELS
    for model in MODELS:
        assert model['Config'] == f'configs/{model["Name"]}.py'
        assert model['In Collection'] == 'SRDenseNet'
        # Nothing is claimed of weights that are not there.
        assert ('Results' in model) == ('Weights' in model)


@pytest.mark.parametrize('model', MODELS, ids=lambda model: model['Name'])
def test_size_and_cost(model):
    """Counted by hand from section 3's description of the network."""
    net = generator_of(model)
    liif, net = (net, net['encoder']) if model['Name'] == ANY_SCALE else (None, net)
    scale = 4 if liif else net['upscale_factor']
    channels, wide = net['in_channels'], net['bottleneck_channels']
    mid, growth, layers = net['mid_channels'], net['growth_rate'], net['num_layers']
    block = growth * layers
    strides = [3] if scale == 3 else [2] * int(np.log2(scale))
    # (kernel area * channels in * channels out, biases, applied at how many pixels)
    height, width = round(720 / scale), round(1280 / scale)
    low = height * width
    convs = [(9 * channels * mid, mid, low)]
    for i in range(net['num_blocks']):
        reads = mid + i * block if net['feature_level'] == 'all' else block if i else mid
        convs.append((9 * reads * growth, growth, low))
        convs += [(9 * k * growth * growth, growth, low) for k in range(1, layers)]
    reads = {'all': mid + net['num_blocks'] * block, 'hl': mid + block, 'h': block}
    convs.append((reads[net['feature_level']] * wide, wide, low))
    pixels = low
    if liif:
        # Four times at each point: the maps of nine pixels, two coordinates, two sizes.
        reads = 9 * wide + 4
        for writes in (*liif['imnet']['hidden_list'], 1):
            convs.append((reads * writes, writes, 4 * 720 * 1280))
            reads = writes
    for stride in [] if liif else strides:
        kernel = 3 if net['deconv_kernel'] == 3 else stride
        convs.append((kernel**2 * wide * wide, wide, pixels))
        pixels *= stride**2
    if not liif:
        convs.append((9 * wide * net['out_channels'], net['out_channels'], pixels))
    assert model['Metadata']['Parameters'] == sum(conv + bias for conv, bias, _ in convs)
    assert model['Metadata']['FLOPs'] == sum(conv * pixels for conv, _, pixels in convs)


def fits(value, found):
    """Whether a setting is the file's. The parts of a network have settings of their own."""
    if not isinstance(value, dict):
        return found == value
    return all(fits(inner, found.get(key)) for key, inner in value.items())


def unlisted_and_wrong(models, root):
    """What is wrong between models that name weights and the files in ``checkpoints``."""
    wrong = []
    listed = [model['Weights'] for model in models]
    for path in sorted((root / 'checkpoints').glob('*.pth')):
        if listed.count(f'checkpoints/{path.name}') != 1:
            wrong.append(f'{path.name} is not listed once')
    for model in models:
        path = root / model['Weights']
        found = re.search(r'-([0-9a-f]{8})\.pth$', path.name)
        if not path.is_file():
            wrong.append(f'{path.name} does not exist')
        elif not found or not hashlib.sha256(path.read_bytes()).hexdigest().startswith(found[1]):
            wrong.append(f'{path.name} is not named by its hash')
        else:
            network = load_network_with_meta(path)[1]['network']
            differing = {key for key, value in generator_of(model).items()
                         if not fits(value, network.get(key))}
            if differing:
                wrong.append(f'{path.name} is not of {model["Name"]}: {sorted(differing)}')
    return wrong


def test_every_published_file_is_listed_and_fits_its_recipe():
    assert unlisted_and_wrong(PUBLISHED, ROOT) == []


def test_what_is_wrong_would_be_seen(tmp_path):
    folder = tmp_path / 'checkpoints'
    save_network(SRDenseNet(upscale_factor=2), folder / 'x.pth')
    digest = hashlib.sha256((folder / 'x.pth').read_bytes()).hexdigest()[:8]
    (folder / 'x.pth').rename(folder / f'x-{digest}.pth')

    def model(scale, file):
        return dict(Name='m', Config=f'configs/srdensenet_x{scale}_div2k.py',
                    Weights=f'checkpoints/{file}.pth')

    assert unlisted_and_wrong([], tmp_path) == [f'x-{digest}.pth is not listed once']
    assert unlisted_and_wrong([model(2, f'x-{digest}')], tmp_path) == []
    assert unlisted_and_wrong([model(4, f'x-{digest}')], tmp_path) == [
        f"x-{digest}.pth is not of m: ['upscale_factor']"]
    (folder / f'x-{digest}.pth').rename(folder / 'x-00000000.pth')
    assert unlisted_and_wrong([model(2, 'x-00000000')], tmp_path) == [
        'x-00000000.pth is not named by its hash']
    assert unlisted_and_wrong([model(2, 'x-00000000'), model(2, 'y-1')], tmp_path)[-1] == (
        'y-1.pth does not exist')


@pytest.mark.parametrize('model', PUBLISHED or [
    pytest.param(None, marks=pytest.mark.skip(reason='no weights are published yet'))])
def test_published_results(model):
    """All four metrics of each set; Set5's PSNR on Y is measured again."""
    results = {result['Dataset']: result['Metrics'] for result in model['Results']}
    assert all(result['Task'] == 'Image Super-Resolution' for result in model['Results'])
    for metrics in results.values():
        assert set(metrics) == METRICS
    network, meta = load_network_with_meta(ROOT / model['Weights'])
    scale, data = getattr(network, 'upscale_factor', None), 'Set5'
    if scale is None:  # one scale of all
        scale, data = 6, 'Set5 x6'
        assert set(results) == {f'{name} x{s}' for name in ('Set5', 'Set14') for s in (2, 3, 4, 6)}
        network = UpscaledBy(AtPoints(network), scale)
    scores = []
    for path in sorted((ROOT / 'tests/data/Set5/HR').glob('*.png')):
        gt = cv2.imread(str(path))[..., ::-1]
        gt = gt[:gt.shape[0] // 12 * 12, :gt.shape[1] // 12 * 12]
        lr = torch.from_numpy(matlab_bicubic(np.ascontiguousarray(gt), scale).copy())
        lr = lr.permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            out = upscale_through_luma(network, lr) if meta['colour'] == 'y' else network(lr)
        out = (out[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255).round()
        weights = np.array([65.481, 128.553, 24.966]) / 255
        error = ((out - gt) @ weights)[scale:-scale, scale:-scale]
        scores.append(20 * np.log10(255) - 10 * np.log10(np.mean(error**2)))
    assert results[data]['PSNR (Y)'] == pytest.approx(np.mean(scores), abs=0.02)
