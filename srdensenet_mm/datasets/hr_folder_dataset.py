# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
from typing import Callable, List, Optional, Sequence, Union

import numpy as np
import psutil
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.utils import track_iter_progress

from mmagic.registry import DATASETS
from srdensenet_mm.errors import UserError

from .picture_files import find_pictures, read_rgb


@DATASETS.register_module()
class HRFolderDataset(BaseDataset):
    """High-resolution pictures from folders, for pairs made on the fly.

    Needs no LR pictures and no list: the pipeline's ``RandomPatchPair`` makes
    the pair. Pictures are decoded once, before worker processes start, so that
    these share one copy; what does not fit into ``cache_gib`` is decoded
    again each time.

    Args:
        data_root (str | Sequence[str]): A folder, or several, searched with
            all folders below them.
        pipeline (Sequence[dict | Callable]): Transforms; they read ``gt``,
            uint8 RGB of shape (H, W, 3), and ``gt_path``.
        min_size (int): Pictures with a side below this, in pixels, are bad;
            give the patch size. Defaults to 100.
        on_bad_image (str): ``'raise'``: the first bad picture ends the run.
            ``'skip'``: bad pictures are named, counted and left out. Defaults
            to ``'raise'``.
        cache_gib (float, optional): Memory for decoded pictures, in GiB.
            Defaults to half of what is free.
        metainfo (dict, optional): MMEngine's.
        **kwargs: Further arguments of MMEngine's ``BaseDataset``.

    Raises:
        UserError: A folder is missing or holds no (good) picture, or, with
            ``on_bad_image='raise'``, a picture is bad; the message names it.
    """

    METAINFO = dict(dataset_type='hr_folder', task_name='sisr')

    def __init__(self,
                 data_root: Union[str, Sequence[str]],
                 pipeline: Sequence[Union[dict, Callable]] = (),
                 min_size: int = 100,
                 on_bad_image: str = 'raise',
                 cache_gib: Optional[float] = None,
                 metainfo: Optional[dict] = None,
                 **kwargs):
        if on_bad_image not in ('raise', 'skip'):
            raise UserError(f"on_bad_image={on_bad_image!r} is not supported: choose 'raise' or "
                            "'skip'")
        self.folders = [data_root] if isinstance(data_root, str) else list(data_root)
        self.min_size = min_size
        self.on_bad_image = on_bad_image
        free = psutil.virtual_memory().available
        self.cache_bytes = free // 2 if cache_gib is None else int(cache_gib * 2**30)
        self._pictures: List[Optional[np.ndarray]] = []
        super().__init__(metainfo=metainfo, pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> List[dict]:
        """Find and decode the pictures."""
        paths = find_pictures(self.folders)
        self._pictures, data_list, bad, held = [], [], [], 0
        for path in track_iter_progress(paths) if len(paths) > 100 else paths:
            try:
                picture = self._read(path)
            except UserError as error:
                if self.on_bad_image == 'raise':
                    raise UserError(
                        f"{error} (set the dataset's on_bad_image='skip' to go on without such "
                        'pictures)') from error
                print_log(f'skipped: {error}', 'current', 30)
                bad.append(path)
                continue
            held += picture.nbytes
            self._pictures.append(picture if held <= self.cache_bytes else None)
            data_list.append(dict(gt_path=str(path)))
        if not data_list:
            raise UserError(f'{", ".join(map(str, self.folders))}: none of the {len(paths)} '
                            'pictures can be used')
        print_log(f'{len(data_list)} pictures from {", ".join(map(str, self.folders))}, '
                  f'{len(bad)} skipped, {sum(p is not None for p in self._pictures)} held in '
                  f'memory ({min(held, self.cache_bytes) / 2**30:.2f} GiB)', 'current')
        return data_list

    def _read(self, path) -> np.ndarray:
        picture = read_rgb(path)
        height, width = picture.shape[:2]
        if min(height, width) < self.min_size:
            raise UserError(f'{path}: {width}x{height} pixels, but both sides must have at least '
                            f'{self.min_size}')
        return picture

    def prepare_data(self, idx: int):
        """The pipeline's result for picture ``idx``."""
        info = self.get_data_info(idx)
        picture = self._pictures[idx]
        info['gt'] = read_rgb(info['gt_path']) if picture is None else picture
        info['gt_channel_order'] = info['img_channel_order'] = 'rgb'
        info['gt_color_type'] = info['img_color_type'] = 'color'
        return self.pipeline(info)
