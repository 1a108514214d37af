# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
from pathlib import Path

import numpy as np

from srdensenet_mm.datasets import read_rgb
from srdensenet_mm.files import atomic_write

from .scores import Score

# The enlarged detail: centre (as fractions of height and width) and side in HR pixels.
_DETAILS = {'butterfly': (0.45, 0.62, 72), 'bird': (0.26, 0.52, 72), 'woman': (0.2, 0.55, 72)}


def draw_figure(path: str | Path, data: str | Path, scores: dict[str, dict[str, Score]],
                scale: int) -> None:
    """Draw LR, all methods and HR side by side, each with a detail enlarged.

    Args:
        path (str | Path): The PNG to write.
        data (str | Path): A prepared set: ``GTmod12`` and ``LRbicx<scale>``.
        scores (dict): From :func:`score_images`.
        scale (int): The upscale factor.
    """
    # Not with pyplot, which needs a backend for windows.
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    data = Path(data)
    stems = [stem for stem in _DETAILS if stem in next(iter(scores.values()))]
    titles = [f'LR (x{scale} smaller)', *scores, 'HR']
    figure = Figure(figsize=(2.6 * len(titles), 5.2 * len(stems)), layout='constrained')
    axes = figure.subplots(2 * len(stems), len(titles), squeeze=False)
    for i, stem in enumerate(stems):
        low = read_rgb(data / f'LRbicx{scale}' / f'{stem}.png')
        high = read_rgb(data / 'GTmod12' / f'{stem}.png')
        low = low.repeat(scale, axis=0).repeat(scale, axis=1)
        images = [low, *(by[stem].image for by in scores.values()), high]
        notes = ['', *(f'{by[stem].psnr:.2f} dB' for by in scores.values()), '']
        top, left, side = _detail(high, *_DETAILS[stem])
        for j, image in enumerate(images):
            whole, detail = axes[2 * i, j], axes[2 * i + 1, j]
            whole.imshow(image)
            whole.add_patch(Rectangle((left, top), side, side, fill=False, color='red', lw=1.2))
            whole.set_title(titles[j] if i == 0 else '', fontsize=12)
            detail.imshow(image[top:top + side, left:left + side], interpolation='nearest')
            detail.set_xlabel(notes[j], fontsize=11)
            for axis in (whole, detail):
                axis.set_xticks([])
                axis.set_yticks([])
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _detail(image: np.ndarray, down: float, right: float, side: int) -> tuple[int, int, int]:
    height, width = image.shape[:2]
    top = min(max(round(height * down) - side // 2, 0), height - side)
    left = min(max(round(width * right) - side // 2, 0), width - side)
    return top, left, side
