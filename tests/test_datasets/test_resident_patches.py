# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import numpy as np
import pytest
import torch

from srdensenet_mm.datasets.resident_patches import ResidentPatches
from srdensenet_mm.images.matlab_bicubic import matlab_bicubic


def image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def all_turns(patch):
    """The eight flips and rotations of an (3, H, W) array."""
    turned = [np.rot90(patch, k, (1, 2)) for k in range(4)]
    return turned + [np.flip(one, 2) for one in turned]


@pytest.mark.parametrize('scale', [2, 3, 4, 8])
def test_the_whole_image_is_matlabs_bicubic(scale):
    size = 48
    gt = image(size, size)
    # No other offset than 0 fits, so the LR is the image's own.
    torch.manual_seed(0)
    low, high = ResidentPatches([gt], scale, size).draw(100)
    expected = [(lr, hr) for lr, hr in zip(
        all_turns(matlab_bicubic(gt, scale).transpose(2, 0, 1)),
        all_turns(gt.transpose(2, 0, 1)), strict=True)]
    seen = set()
    for one_low, one_high in zip(low.numpy(), high.numpy(), strict=True):
        found = [i for i, (lr, hr) in enumerate(expected)
                 if np.array_equal(lr, one_low) and np.array_equal(hr, one_high)]
        assert len(found) == 1
        seen.add(found[0])
    assert seen == set(range(8))


def test_patches_from_anywhere_in_any_image():
    scale, size = 4, 16
    images = [image(40, 24, 1), image(19, 33, 2), image(16, 16, 3)]
    torch.manual_seed(1)
    low, high = ResidentPatches(images, scale, size).draw(300)
    places = {}
    for index, gt in enumerate(images):
        for top in range(gt.shape[0] - size + 1):
            for left in range(gt.shape[1] - size + 1):
                patch = gt[top:top + size, left:left + size].transpose(2, 0, 1)
                for turn, turned in enumerate(all_turns(patch)):
                    places[turned.tobytes()] = index, top, left, turn
    found = [places[patch.tobytes()] for patch in high.numpy()]
    assert [sum(place[0] == i for place in found) for i in range(3)] == pytest.approx(
        [100] * 3, abs=35)
    assert {place[1] for place in found if place[0] == 0} == set(range(25))
    assert {place[2] for place in found if place[0] == 1} == set(range(18))
    for patch, (index, top, left, turn) in zip(low.numpy(), found, strict=True):
        # The image cut so that the patch lies on the LR grid.
        gt = np.pad(images[index], ((16, 16), (16, 16), (0, 0)), mode='symmetric')
        shifted = gt[top:top + size + 32, left:left + size + 32]
        whole = matlab_bicubic(np.ascontiguousarray(shifted), scale)[4:-4, 4:-4]
        assert np.array_equal(all_turns(whole.transpose(2, 0, 1))[turn], patch)


def test_the_seed_decides():
    patches = ResidentPatches([image(40, 30)], 4, 16)
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        drawn.append(patches.draw(4))
    assert all(torch.equal(*pair) for pair in zip(*drawn[:2], strict=True))
    assert not torch.equal(drawn[0][1], drawn[2][1])
