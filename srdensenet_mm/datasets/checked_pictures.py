# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import numpy as np
from mmagic.registry import DATASETS
from mmcv.transforms import BaseTransform

from srdensenet_mm.errors import UserError, reason_of
from srdensenet_mm.images.reading import read_rgb

from .bad_images import BadImages
from .wrapped_dataset import WrappedDataset


@DATASETS.register_module()
class CheckedPictures(WrappedDataset):
    """A dataset that names the file where a sample cannot be made.

    MMagic's datasets fail far from the cause. For example, a damaged image
    leads to an error about ``None``. After a sample has failed, this wrapper
    checks its files. The tools put it around every ``BasicImageDataset`` of a
    recipe.

    Args:
        dataset (dict | torch.utils.data.Dataset): The dataset, or its config.
            Its ``get_data_info`` gives the paths of a sample: ``img_path``,
            ``gt_path`` or both.
        scale (int, optional): How many times larger ``gt`` must be than
            ``img``. Without it, sizes are not checked.
        on_bad_image (str): ``'raise'``, or ``'skip'``: name a bad sample once
            in the log, count it, and draw another one at random instead.
            Defaults to ``'raise'``.
        hint (str): The way out, added to the message.
        local (bool): Whether the paths are files on this machine. Only these
            are checked. Defaults to True.

    Raises:
        UserError: When a sample is drawn: one of its files is bad. Other
            failures pass unchanged.
    """

    def __init__(self,
                 dataset,
                 scale: int | None = None,
                 on_bad_image: str = 'raise',
                 hint: str = '',
                 local: bool = True):
        self._bad = BadImages(on_bad_image, hint)
        super().__init__(dataset)
        self.scale = scale
        self.local = local

    def __getitem__(self, index: int):
        index = int(index)
        while True:
            if index not in self._bad:
                try:
                    return self.dataset[index]
                except Exception as error:
                    self._refuse(index, error)
            index = int(np.random.randint(len(self)))

    def _refuse(self, index: int, error: Exception) -> None:
        info = self.dataset.get_data_info(index)
        reason = find_fault(info, self.scale) if self.local else None
        reason = reason or _fault_of_step(info, error)
        if reason is None:
            raise error
        self._bad.add(index, reason, error)
        if len(self._bad) == len(self):
            raise UserError(f'none of the {len(self)} images can be used: {reason}') from error


def _fault_of_step(info: dict, error: Exception) -> str | None:
    """What a step of the pipeline says of a sample; None where it has a fault of its own.

    A step that loads may fail in any way, others refuse a sample by ``ValueError``.
    """
    found, trace = None, error.__traceback__
    while trace is not None:
        step = trace.tb_frame.f_locals.get('self')
        kind = type(step).__name__
        if kind == 'LoadImageFromFile':
            found = f'{info.get(f"{step.key}_path")}: cannot be loaded ({reason_of(error)})'
        elif isinstance(step, BaseTransform) and isinstance(error, ValueError):
            path = info.get('gt_path', info.get('img_path'))
            found = f'{path}: {kind} failed ({reason_of(error)})'
        trace = trace.tb_next
    return found


def find_fault(info: dict, scale: int | None = None) -> str | None:
    """The fault of a sample's files.

    Args:
        info (dict): Has ``img_path``, ``gt_path`` or both.
        scale (int, optional): How many times larger ``gt`` must be.

    Returns:
        str | None: One line that names the file; None where they are good.
    """
    sizes = {}
    for key in ('img', 'gt'):
        path = info.get(f'{key}_path')
        if isinstance(path, str):
            try:
                sizes[key] = read_rgb(path).shape[1::-1]
            except UserError as error:
                return str(error)
    if len(sizes) == 2 and scale:
        return size_fault(info['img_path'], sizes['img'], info['gt_path'], sizes['gt'], scale)
    return None


def size_fault(img_path: str, img_size: tuple[int, int], gt_path: str, gt_size: tuple[int, int],
               scale: int) -> str | None:
    """One line that says that two images are no pair; None where they are a pair.

    Args:
        img_path (str): The low-resolution image.
        img_size (tuple[int, int]): Its width and height.
        gt_path (str): The high-resolution image.
        gt_size (tuple[int, int]): Its width and height.
        scale (int): How many times larger it must be.
    """
    if tuple(side * scale for side in img_size) == tuple(gt_size):
        return None
    return (f'{img_path}: {img_size[0]}x{img_size[1]} pixels is not 1/{scale} of its GT, '
            f'{gt_path}: {gt_size[0]}x{gt_size[1]}')
