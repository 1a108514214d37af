# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""PSNR and SSIM by MMagic's own datasets, models and metrics, image by image."""
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope

from srdensenet_mm.datasets.checked_pictures import CheckedPictures, find_fault
from srdensenet_mm.datasets.prepare import gt_multiple, prepare_help
from srdensenet_mm.engine.checks.images import check_test_set
from srdensenet_mm.errors import UserError
from srdensenet_mm.images.matlab_bicubic import matlab_bicubic_upscale

from .entries import Entry

# The metrics of a data set, in the order of the table's columns.
METRICS = ('PSNR-Y', 'SSIM-Y', 'PSNR-RGB', 'SSIM-RGB')


@dataclass
class Score:
    """One image upscaled by one entry.

    Attributes:
        metrics (dict[str, float]): By the names of :data:`METRICS`; dB for PSNR.
        prediction (np.ndarray): uint8 (H, W, 3), BGR.
    """
    metrics: dict[str, float]
    prediction: np.ndarray


class DataSet:
    """A test set in the layout of tools/prepare_dataset.py.

    Args:
        folder (str | Path): Holds ``GTmod12`` (``GTmod8`` for x8) and
            ``LRbicx{scale}``.
        scale (int): The upscale factor.

    Raises:
        UserError: Images are missing, do not go together, or are too small to
            be scored.
    """

    def __init__(self, folder: str | Path, scale: int):
        self.name = data_set_name(folder)
        load = dict(type='LoadImageFromFile', color_type='color', channel_order='rgb',
                    imdecode_backend='cv2')
        pairs = dict(
            type='BasicImageDataset', data_root=str(folder),
            data_prefix=dict(img=f'LRbicx{scale}', gt=f'GTmod{gt_multiple(scale)}'),
            pipeline=[dict(load, key='img'), dict(load, key='gt'), dict(type='PackInputs')])
        hint = prepare_help(folder, scale)
        infos = check_test_set(
            f'--data {folder}', pairs, scale, dict(type='SSIM', crop_border=scale), hint)
        with DefaultScope.overwrite_default_scope('mmagic'):
            self._dataset = CheckedPictures(pairs, scale, hint=f'({hint})')
        # Find damaged images now, before minutes of measuring.
        for fault in (find_fault(info, scale) for info in infos):
            if fault:
                raise UserError(f'{fault} ({hint})')

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Names (without ending) and packed pairs.

        Raises:
            UserError: An image cannot be decoded.
        """
        paths = [Path(self._dataset.get_data_info(i)['gt_path']) for i in range(len(self))]
        for i in sorted(range(len(self)), key=paths.__getitem__):
            yield paths[i].stem, self._dataset[i]


def data_set_name(folder: str | Path) -> str:
    """The name in tables: the folder's."""
    return Path(folder).resolve().name


def check_folder(folder: str | Path) -> None:
    """Check that a test set is there, before anything slow starts.

    Raises:
        UserError: It is not.
    """
    if not list(Path(folder).glob('GTmod*')):
        raise UserError(f'{folder}: has no folder GTmod12; {prepare_help(folder)}')


class Scorer:
    """MMagic's PSNR and SSIM as the recipes' test evaluators set them.

    Args:
        scale (int): The upscale factor; as many pixels of border do not count.
    """

    def __init__(self, scale: int):
        from mmagic.evaluation import PSNR, SSIM
        self._scale = scale
        on_y = dict(crop_border=scale, convert_to='Y', prefix='Y')
        on_rgb = dict(crop_border=scale, prefix='RGB')
        self._metrics = dict(zip(
            METRICS, (PSNR(**on_y), SSIM(**on_y), PSNR(**on_rgb), SSIM(**on_rgb)), strict=True))

    def score_model(self, entry: Entry, pair: dict[str, Any]) -> Score:
        """Upscale a pair's LR image the way a Runner's test loop does."""
        with torch.no_grad():
            sample, = entry.model.test_step(pseudo_collate([pair]))
        return self._score(sample.to_dict())

    def score_bicubic(self, pair: dict[str, Any]) -> Score:
        """Upscale it as MATLAB's imresize does, in RGB."""
        low = pair['inputs'].permute(1, 2, 0).numpy()
        return self.score_image(pair, matlab_bicubic_upscale(low, self._scale))

    def score_image(self, pair: dict[str, Any], rgb: np.ndarray) -> Score:
        """Score an upscaled image, uint8 (H, W, 3) RGB, whatever it was made by."""
        high = torch.from_numpy(rgb).permute(2, 0, 1)
        # The metrics take BGR.
        return self._score(dict(
            gt_img=pair['data_samples'].gt_img.flip(0), output=dict(pred_img=high.flip(0))))

    def _score(self, sample: dict[str, Any]) -> Score:
        found = {}
        for name, metric in self._metrics.items():
            metric.process(None, [sample])
            found[name] = float(metric.results.pop()[metric.metric])
        return Score(found, to_image(sample['output']['pred_img']))


def to_image(image: torch.Tensor) -> np.ndarray:
    """(3, H, W), 0..255 -> uint8 (H, W, 3), rounded; channels keep their order."""
    return image.round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()


def mean_metrics(scores: Sequence[Score]) -> dict[str, float]:
    """The data set's metrics: each image counts the same."""
    return {name: sum(score.metrics[name] for score in scores) / len(scores) for name in METRICS}
