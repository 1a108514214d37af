# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""A teacher whose output is made on the fly."""
from types import SimpleNamespace

import pytest
import torch
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from small_models import SMALL, write_checkpoint
from torch import nn

from srdensenet_mm.engine import TeacherHook
from srdensenet_mm.errors import UserError
from srdensenet_mm.models import SRDenseNet
from srdensenet_mm.models.colour import luma_of, rgb_to_y


class Repeats(nn.Module):
    """An RGB teacher that repeats each pixel, and is none of the network's."""
    in_channels = 3

    def forward(self, x):
        return x.repeat_interleave(4, 2).repeat_interleave(4, 3)


def started(hook, patches=None):
    loop = SimpleNamespace() if patches is None else SimpleNamespace(patches=patches)
    model = nn.Conv2d(1, 1, 1)
    hook.before_train(SimpleNamespace(model=model, train_loop=loop))
    assert len(list(model.parameters())) == 2
    return loop


def images(*sides):
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8, generator=generator)
            for side in sides]


@pytest.fixture
def repeats():
    MODELS.register_module(name='Repeats', module=Repeats, force=True)
    yield dict(type='mmagic.Repeats')  # whatever scope a training before has left
    MODELS.module_dict.pop('Repeats')


def test_batches_and_drawn_patches_get_the_mix(repeats):
    low, high = images(6, 24)
    expected = 0.25 * high + 0.75 * low.repeat_interleave(4, 2).repeat_interleave(4, 3)
    hook = TeacherHook(repeats, share=0.75)
    loop = started(hook, SimpleNamespace(draw=lambda count: (low[:count], high[:count])))
    drawn = loop.patches.draw(2)
    assert torch.equal(drawn[0], low)
    torch.testing.assert_close(drawn[1], expected)
    samples = [DataSample(gt_img=one) for one in high]
    hook.before_train_iter(None, 0, dict(inputs=list(low), data_samples=samples))
    torch.testing.assert_close(torch.stack([sample.gt_img for sample in samples]), expected)


def test_a_teacher_on_luma_brings_its_luma(tmp_path):
    path = str(write_checkpoint(tmp_path / 'teacher.pth', seed=3))
    hook = TeacherHook(dict(type='mmagic.SRDenseNet', **SMALL), share=1, checkpoint=path)
    started(hook)
    network = SRDenseNet(**SMALL)
    network.load_state_dict({
        key.removeprefix('generator.'): value
        for key, value in torch.load(path)['state_dict'].items()})
    # Gray, as its chroma is the same everywhere: no colour is cut at the range's ends.
    low, high = (one[:, :1].expand(-1, 3, -1, -1) for one in images(6, 24))
    with torch.no_grad():
        luma = network(luma_of(low / 255)).clamp(16 / 255, 235 / 255)
    torch.testing.assert_close(
        rgb_to_y(hook.mix(low, high)) / 255, luma, rtol=0, atol=2e-3)


def test_what_cannot_teach(repeats):
    hook = TeacherHook(repeats, share=1)
    started(hook)
    with pytest.raises(UserError, match='Repeats makes 24 pixels of 6, .* 12'):
        hook.mix(*images(6, 12))
    with pytest.raises(ValueError, match='0.* must be above 0'):
        TeacherHook(repeats, share=0)
