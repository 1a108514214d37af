# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from srdensenet_mm.datasets import matlab_bicubic_upscale, read_rgb


class Score(NamedTuple):
    """What one method made of one image."""

    psnr: float  # dB, on Y
    ssim: float  # on Y
    image: np.ndarray  # uint8, (H, W, 3), RGB


def score_images(data: str | Path, results: dict[str, str | Path],
                   scale: int) -> dict[str, dict[str, Score]]:
    """Score folders of upscaled images, and bicubic, by MMagic's metrics on Y.

    Args:
        data (str | Path): A prepared set: ``GTmod12`` and ``LRbicx<scale>``.
        results (dict): Folders of upscaled images, by the method's name.
        scale (int): The upscaling factor; as many pixels of border do not
            count.

    Returns:
        dict: By method (``'bicubic'`` first), then by the image's name.
    """
    from mmagic.evaluation.metrics import psnr, ssim
    data = Path(data)
    scores: dict[str, dict[str, Score]] = {'bicubic': {}, **{name: {} for name in results}}
    for path in sorted((data / 'GTmod12').iterdir()):
        truth = read_rgb(path)
        made = {name: read_rgb(Path(folder) / path.name) for name, folder in results.items()}
        made['bicubic'] = matlab_bicubic_upscale(
            read_rgb(data / f'LRbicx{scale}' / path.name), scale)
        for name, image in made.items():
            # MMagic's functions take BGR.
            pair = image[..., ::-1].astype(np.float64), truth[..., ::-1].astype(np.float64)
            options = dict(
                crop_border=scale, input_order='HWC', convert_to='Y', channel_order='bgr')
            scores[name][path.stem] = Score(psnr(*pair, **options), ssim(*pair, **options), image)
    return scores


def print_table(scores: dict[str, dict[str, Score]], title: str) -> None:
    """Print PSNR and SSIM of every image, and their averages."""
    table = Table(title=title)
    table.add_column('image')
    for name in scores:
        table.add_column(f'{name}\nPSNR / SSIM', justify='right')
    for stem in next(iter(scores.values())):
        table.add_row(stem, *(f'{by[stem].psnr:.2f} / {by[stem].ssim:.4f}'
                              for by in scores.values()))
    table.add_section()
    table.add_row('average', *(
        f'{np.mean([s.psnr for s in by.values()]):.2f} / '
        f'{np.mean([s.ssim for s in by.values()]):.4f}' for by in scores.values()))
    Console(width=100).print(table)
