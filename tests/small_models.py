# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Configs of small networks with checkpoints, and a test set, for the benchmark's tests."""
from pathlib import Path

import cv2
import torch

from srdensenet_mm.datasets.prepare import prepare_dataset
from srdensenet_mm.models import SRDenseNet

ROOT = Path(__file__).resolve().parents[1]
SMALL = dict(upscale_factor=4, mid_channels=8, num_blocks=2, num_layers=2, growth_rate=4,
             bottleneck_channels=8)
EDSR = 'mmagic::edsr/edsr_x4c64b16_1xb16-300k_div2k.py'


def write_config(path, **changes):
    """A config of a small SRDenseNet, in MMagic's style."""
    generator = dict(type='SRDenseNet', **{**SMALL, **changes})
    path.write_text(
        "default_scope = 'mmagic'\n"
        "custom_imports = dict(imports=['srdensenet_mm'], allow_failed_imports=False)\n"
        f"model = dict(type='LumaEditModel', generator={generator!r}, "
        "pixel_loss=dict(type='L1Loss'))\n")
    return path


def write_checkpoint(path, seed=0, **changes):
    """Random weights, as a Runner saves them."""
    torch.manual_seed(seed)
    network = SRDenseNet(**{**SMALL, **changes})
    torch.save(dict(meta={}, state_dict={
        f'generator.{key}': value for key, value in network.state_dict().items()}), path)
    return path


def write_data_set(folder, scale=4, names=('baby', 'bird'), size=72):
    """Corners of Set5's images, prepared as tools/prepare_dataset.py does."""
    source = folder.parent / f'{folder.name}_HR'
    source.mkdir(parents=True)
    for name in names:
        image = cv2.imread(str(ROOT / f'tests/data/Set5/HR/{name}.png'))
        top = image.shape[0] // 3
        cv2.imwrite(str(source / f'{name}.png'), image[top:top + size, top:top + size + 12])
    prepare_dataset(source, folder, scales=[scale])
    return folder
