# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What ``make demo`` shows: images to train on, a table, a figure."""
import importlib.util
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from srdensenet_mm.benchmark.scoring import DataSet, Score, Scorer, mean_metrics
from srdensenet_mm.errors import UserError
from srdensenet_mm.files import atomic_write
from srdensenet_mm.inference.upscaler import Upscaler

# Photographs that lie inside scikit-image's wheel, so that nothing is downloaded.
_PHOTOGRAPHS = ('astronaut.png', 'camera.png', 'chelsea.png', 'coffee.png', 'coins.png',
                'motorcycle_left.png', 'rocket.jpg')
# The image of the figure, and its detail: top, left and side in HR pixels.
_STEM, _DETAIL = 'butterfly', (80, 122, 72)


def copy_training_images(folder: str | Path) -> list[Path]:
    """Copy scikit-image's photographs into a folder.

    Args:
        folder (str | Path): Made where it is missing.

    Returns:
        list[Path]: The copies.

    Raises:
        UserError: scikit-image is not installed.
    """
    # Found without importing it: only its files are needed.
    spec = importlib.util.find_spec('skimage')
    if spec is None:
        raise UserError('the demo trains on images of scikit-image: pip install scikit-image')
    source = Path(spec.submodule_search_locations[0]) / 'data'
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in _PHOTOGRAPHS:
        if name.endswith('.png'):
            # Without a profile that makes libpng complain at each reading.
            with Image.open(source / name) as image:
                image.save(folder / name, icc_profile=None)
        else:
            # Without its permissions, which not every file system takes.
            shutil.copyfile(source / name, folder / name)
    return [folder / name for name in _PHOTOGRAPHS]


def score_checkpoints(data: str | Path, checkpoints: dict[str, str | Path],
                      scale: int) -> dict[str, dict[str, Score]]:
    """Upscale a test set by bicubic and by each checkpoint, and score it.

    Args:
        data (str | Path): A prepared set: ``GTmod12`` and ``LRbicx<scale>``.
        checkpoints (dict): Checkpoints of SRDenseNets, by the column's title.
        scale (int): The upscaling factor.

    Returns:
        dict: By title (``'bicubic'`` first), then by the image's name.

    Raises:
        UserError: The set or a checkpoint cannot be read.
    """
    scorer, pairs = Scorer(scale), dict(DataSet(data, scale))
    scores = {'bicubic': {stem: scorer.score_bicubic(pair) for stem, pair in pairs.items()}}
    for title, checkpoint in checkpoints.items():
        upscaler = Upscaler(checkpoint)
        scores[title] = {}
        for stem, pair in pairs.items():
            low = pair['inputs'].flip(0).permute(1, 2, 0).numpy()
            high = np.ascontiguousarray(upscaler(np.ascontiguousarray(low))[..., ::-1])
            scores[title][stem] = scorer.score_image(pair, high)
    return scores


def print_table(scores: dict[str, dict[str, Score]], title: str) -> None:
    """Print PSNR and SSIM on Y of every image, and their averages."""
    table = Table()
    table.add_column('image')
    for name in scores:
        table.add_column(f'{name}\nPSNR / SSIM', justify='right')
    for stem in next(iter(scores.values())):
        table.add_row(stem, *(_cell(by[stem].metrics) for by in scores.values()))
    table.add_section()
    table.add_row('average', *(_cell(mean_metrics(list(by.values()))) for by in scores.values()))
    _print(title, table)


def print_tool_scores(scores: dict[str, float], title: str) -> None:
    """Print what tools/test.py measured, ``{'Set5-Y/PSNR': dB, ...}``, on Y and on RGB."""
    table = Table()
    for name in ('', 'PSNR', 'SSIM'):
        table.add_column(name, justify='right' if name else 'left')
    for colours in dict.fromkeys(key.partition('/')[0] for key in scores):
        table.add_row(colours.rpartition('-')[2], f'{scores[f"{colours}/PSNR"]:.2f}',
                      f'{scores[f"{colours}/SSIM"]:.4f}')
    _print(title, table)


def _print(title: str, table: Table) -> None:
    # Not the table's own title, which is wrapped to its width.
    console = Console(width=80)
    console.print(title, highlight=False)
    console.print(table)


def _cell(metrics: dict[str, float]) -> str:
    return f'{metrics["PSNR-Y"]:.2f} / {metrics["SSIM-Y"]:.4f}'


def draw_figure(path: str | Path, data: str | Path, scores: dict[str, dict[str, Score]],
                scale: int) -> None:
    """Draw one row: the butterfly of Set5, and one detail of it by each method.

    Args:
        path (str | Path): The PNG to write.
        data (str | Path): A prepared set: ``GTmod12`` and ``LRbicx<scale>``.
        scores (dict): From :func:`score_checkpoints`.
        scale (int): The upscaling factor.
    """
    # Without pyplot, which wants a backend that can show windows.
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    pair = dict(DataSet(data, scale))[_STEM]
    truth = pair['data_samples'].gt_img.permute(1, 2, 0).numpy()
    top, left, side = _DETAIL
    crop = np.s_[top:top + side, left:left + side]
    details = [(f'{name}\n{by[_STEM].metrics["PSNR-Y"]:.2f} dB',
                by[_STEM].prediction[..., ::-1][crop]) for name, by in scores.items()]
    details.append(('HR\n', truth[crop]))
    figure = Figure(figsize=(2.1 * (1 + len(details)), 2.6), layout='constrained')
    axes = figure.subplots(1, 1 + len(details))
    axes[0].imshow(truth)
    axes[0].add_patch(Rectangle((left, top), side, side, fill=False, color='red', lw=1.5))
    axes[0].set_title(f'{_STEM} of Set5\nx{scale}', fontsize=10)
    for axis, (title, image) in zip(axes[1:], details, strict=True):
        axis.imshow(image, interpolation='nearest')
        axis.set_title(title, fontsize=10)
    for axis in axes:
        axis.set_axis_off()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=144, bbox_inches='tight', pad_inches=0.05)
