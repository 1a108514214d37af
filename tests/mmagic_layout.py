# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Small made-up images where MMagic's super-resolution recipes look for theirs.

Below a folder ``data``: DIV2K's sub-images with their list for training and
validation, Set5 and Set14 for tests.
"""
import cv2
import numpy as np

from srdensenet_mm.images.matlab_bicubic import matlab_bicubic


def smooth_image(height, width, seed):
    """(height, width, 3), uint8: smooth colours over the whole range."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX)


def _write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def write_layout(data, scales=(4,)):
    """Write the layout into the folder ``data``."""
    div2k = data / 'DIV2K'
    lines = []
    for number in range(4):
        name = f'{number:04d}_s001.png'
        image = smooth_image(216, 240, seed=number)
        _write(div2k / 'DIV2K_train_HR_sub' / name, image)
        for scale in scales:
            _write(div2k / f'DIV2K_train_LR_bicubic/X{scale}_sub' / name,
                   matlab_bicubic(image, scale))
        lines.append(f'{name} (216,240,3)\n')
    (div2k / 'meta_info_DIV2K800sub_GT.txt').write_text(''.join(lines[:3]))
    (div2k / 'meta_info_DIV2K100sub_GT.txt').write_text(lines[3])
    for seed, name in enumerate(('Set5', 'Set14')):
        image = smooth_image(48, 72, seed=10 + seed)
        for scale in scales:
            _write(data / name / f'LRbicx{scale}' / 'a.png', matlab_bicubic(image, scale))
            _write(data / name / ('GTmod8' if scale == 8 else 'GTmod12') / 'a.png', image)


def write_hr_folder(folder, count=3):
    """Write HR images, for the recipes that make their pairs of them."""
    for number in range(count):
        _write(folder / f'{number}.png', smooth_image(120, 110, seed=20 + number))
