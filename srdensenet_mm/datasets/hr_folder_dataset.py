# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import collections
import itertools
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import numpy as np
from mmagic.registry import DATASETS
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from srdensenet_mm.errors import UserError, naming
from srdensenet_mm.free_memory import free_share
from srdensenet_mm.images.reading import find_images, read_rgb

from .bad_images import BadImages
from .teacher_images import TeacherImages, in_size
from .transforms import RandomPatchPair, check_shares

# Images decoded at once when the cache is filled.
_BATCH = 64


@DATASETS.register_module()
class HRFolderDataset(BaseDataset):
    """High-resolution images from folders, for training pairs made on the fly.

    It needs no LR images and no list of files: ``RandomPatchPair`` in the
    pipeline makes the pairs. When the dataset is built, images are decoded in
    parallel until ``cache_gib`` is full. This happens before worker processes
    are forked, so all workers share one copy. The other images are decoded each
    time they are drawn.

    With ``shrink``, images are used in smaller sizes too, or only. These have
    fewer but sharper pixels, with less noise and fewer JPEG blocks. A size in
    which an image is too small is left out.

    With ``teachers``, the target is a mix of HR and of better networks' outputs
    for the LR (``tools/make_teacher_targets.py``). ``RandomPatchPair`` mixes it.

    A bad image is one that cannot be decoded (see
    :func:`~srdensenet_mm.datasets.read_rgb`) or is smaller than ``min_size``,
    ends the run, or is skipped: named once in the log, counted, and replaced by
    another one drawn at random whenever its turn comes. It keeps its index, so
    what is drawn does not depend on how much fits into the cache.

    Args:
        data_root (str | Sequence[str]): A folder, or several, searched with all
            folders below them.
        pipeline (Sequence[dict | Callable]): Transforms. They find ``gt``, uint8
            RGB of shape (H, W, 3), read-only, and ``gt_path``,
            ``gt_channel_order``, ``gt_color_type``, ``ori_gt_shape``.
        min_size (int, optional): The smallest allowed side of an image, in
            pixels. At least the largest ``gt_patch_size`` in the pipeline,
            which is also the default.
        shrink (Sequence[float]): The sizes in which each image is used, as
            factors on its own size, more than 0 and at most 1. Smaller sizes
            are averages of areas. Defaults to ``(1, )``, the full size.
        on_bad_image (str): ``'raise'`` or ``'skip'``. Defaults to ``'raise'``.
        teachers (Sequence[dict]): Each with ``folder``, of a teacher's images,
            and ``share``, its part of the target. HR has the rest up to 1.
            Defaults to none.
        cache_gib (float, optional): Memory for decoded images, in GiB, for
            each training process. Defaults to half of the memory that is free,
            shared among the processes that torchrun, Slurm or MPI starts on a
            machine.
        metainfo (dict, optional): MMEngine's.
        **kwargs: Further arguments of MMEngine's ``BaseDataset``, but those that
            name or choose files.

    Raises:
        UserError: A folder is missing or holds no usable image, a teacher's
            image is missing or stale, an image is bad and ``on_bad_image`` is
            ``'raise'``, or an argument has an unsupported value. The message
            names it.
    """

    METAINFO = dict(dataset_type='hr_folder', task_name='sisr')

    def __init__(self,
                 data_root: str | Sequence[str],
                 pipeline: Sequence[dict | Callable] = (),
                 min_size: int | None = None,
                 shrink: Sequence[float] = (1, ),
                 on_bad_image: str = 'raise',
                 teachers: Sequence[dict] = (),
                 cache_gib: float | None = None,
                 metainfo: dict | None = None,
                 **kwargs):
        self._bad = BadImages(on_bad_image)
        for name in ('ann_file', 'data_prefix', 'filter_cfg'):
            value = kwargs.get(name)
            given = any(value.values()) if isinstance(value, dict) else value
            if given:
                raise UserError(f'{name}={value!r}: HRFolderDataset takes all images of '
                                'its folders; make a folder of those that are to serve (of links, '
                                'for example)')
        self.folders = [str(data_root)] if isinstance(data_root, (str, os.PathLike)) else list(
            map(str, data_root))
        self.min_size = min_size
        self.shrink = tuple(shrink)
        self.shares, self._teachers = _read_teachers(teachers)
        self.cache_gib = cache_gib
        # Number -> HR and the teachers' outputs.
        self._cache: dict[int, tuple[np.ndarray, ...]] = {}
        self._too_small: set[int] = set()
        super().__init__(metainfo=metainfo, pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Find the images.

        Returns:
            list[dict]: ``gt_path``, ``size`` and ``number`` of each, all
            images of a size after one another.
        """
        paths = [str(path) for path in find_images(self.folders)]
        # Indices change when MMEngine takes a subset, numbers do not.
        return [dict(gt_path=path, size=size, number=number)
                for number, (size, path) in enumerate(itertools.product(self.shrink, paths))]

    def full_init(self) -> None:
        """Find the images, and decode those that the cache holds."""
        if self._fully_initialized:
            return
        self.min_size = max([self.min_size or 1, *(
            getattr(step, 'gt_patch_size', 1) for step in self.pipeline.transforms)])
        self._check_teachers()
        super().full_init()
        self._fill_cache()

    def _check_teachers(self) -> None:
        """Refuse teachers with another scale, or with a pipeline that would not mix them."""
        first = next(iter(self.pipeline.transforms), None)
        for teacher in self._teachers:
            if not isinstance(first, RandomPatchPair):
                raise UserError(f'teachers: {teacher.folder} is mixed into the target by '
                                "RandomPatchPair, which must be the pipeline's first step")
            if teacher.scale != first.scale:
                raise UserError(f'{teacher.folder}: holds teacher images of x{teacher.scale}, '
                                f'the pipeline makes pairs of x{first.scale}')

    def _fill_cache(self) -> None:
        room = free_share() // 2 if self.cache_gib is None else int(self.cache_gib * 2**30)
        started, held = time.time(), 0
        infos = collections.defaultdict(list)
        for index in range(len(self)):
            info = self.get_data_info(index)
            infos[info['gt_path']].append(info)
        paths = list(infos)
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
            while paths and held < room:
                batch, paths = paths[:_BATCH], paths[_BATCH:]
                for sizes in pool.map(self._decode_sizes, [infos[path] for path in batch]):
                    for number, images in sizes.items():
                        taken = sum(image.nbytes for image in images)
                        if held + taken <= room:
                            self._cache[number] = images
                            held += taken
                        else:
                            room = held  # Full.
        # An image may be both: too small in one size, and found bad in another.
        unusable = len(self._too_small.union(
            info['number'] for path in infos if path in self._bad for info in infos[path]))
        if unusable == len(self):
            self._refuse_all()
        in_sizes, too_small = '', ''
        if self.shrink != (1, ):
            in_sizes = f' in {len(self.shrink)} sizes, {len(self)} in all'
            too_small = f', {len(self._too_small)} too small in a size'
        rest = len(self) - len(self._cache) - unusable
        print_log(
            f'{len(infos)} images in {", ".join(self.folders)}{in_sizes}: '
            f'{len(self._cache)} decoded ({held / 2**30:.2f} GiB, {time.time() - started:.0f} s), '
            f'{rest} to be decoded each time, {len(self._bad)} bad and skipped{too_small}',
            'current')

    def _refuse_all(self) -> NoReturn:
        images = len({self.get_data_info(index)['gt_path'] for index in range(len(self))})
        raise UserError(f'{", ".join(self.folders)}: none of the {images} images can be used: '
                        f'{self._bad.reason or "all are too small in the sizes of shrink"}')

    def _decode_sizes(self, infos: Sequence[dict]) -> dict[int, tuple[np.ndarray, ...]]:
        """One image in its usable sizes, read-only, by their numbers.

        HR comes first, then the teachers' outputs.
        """
        path = infos[0]['gt_path']
        if path in self._bad:
            return {}
        try:
            image = read_rgb(path)
            images = {info['number']: self._in_size(image, info) for info in infos}
        except UserError as error:
            self._bad.add(path, str(error), error)
            return {}
        return {
            number: (image, *(teacher.read(image, path) for teacher in self._teachers))
            for number, image in images.items() if image is not None}

    def _in_size(self, image: np.ndarray, info: dict) -> np.ndarray | None:
        """An image in one size of ``shrink``; None where it is too small."""
        size = info['size']
        height, width = (round(side * size) for side in image.shape[:2])
        if min(height, width) < self.min_size:
            if size < 1:
                self._too_small.add(info['number'])
                return None
            raise UserError(f'{info["gt_path"]}: {width}x{height} pixels is smaller than the '
                            f'smallest size allowed, {self.min_size}x{self.min_size}')
        image = in_size(image, size)
        # A transform that works in place would change it for the next time.
        image.flags.writeable = False
        return image

    def image(self, index: int) -> np.ndarray | None:
        """One image, from the cache where it is there.

        Args:
            index (int): As in :meth:`get_data_info`.

        Returns:
            np.ndarray | None: uint8 RGB, shape (H, W, 3), read-only; None for a
            bad image, or one that is too small in its size.

        Raises:
            UserError: The image is bad and ``on_bad_image`` is ``'raise'``.
        """
        images = self.images(index)
        return None if images is None else images[0]

    def images(self, index: int) -> tuple[np.ndarray, ...] | None:
        """One image, and the teachers' outputs, cropped to a multiple of the scale.

        As :meth:`image`. Teachers have the order of ``shares``.
        """
        return self._images(self.get_data_info(index))

    def _images(self, info: dict) -> tuple[np.ndarray, ...] | None:
        number = info['number']
        images = self._cache.get(number)
        if images is None and number not in self._too_small:
            images = self._decode_sizes([info]).get(number)
        return images

    def prepare_data(self, idx: int) -> dict | None:
        """One training sample.

        Args:
            idx (int): The image's index.

        Returns:
            dict | None: The pipeline's result. None for a bad image: MMEngine
            then draws another.

        Raises:
            UserError: The image is bad and ``on_bad_image`` is ``'raise'``, or
                none can be used.
        """
        info = self.get_data_info(idx)
        images = self._images(info)
        if images is None:
            # Some bad images may have been counted as too small too.
            if len(self._too_small) + len(self._bad) * len(self.shrink) >= len(self) and all(
                    self.image(index) is None for index in range(len(self))):
                self._refuse_all()
            return None
        image, *taught = images
        if taught:
            info['teachers'] = list(zip(self.shares, taught, strict=True))
        info.update(
            gt=image, ori_gt_shape=image.shape, gt_channel_order='rgb', gt_color_type='color')
        return self.pipeline(info)


def _read_teachers(teachers: Sequence[dict]) -> tuple[list[float], list[TeacherImages]]:
    """Shares and images of an HRFolderDataset's ``teachers``."""
    with naming('teachers', "is no list such as [dict(folder='data/teachers/x4', share=0.75)]",
                (TypeError, KeyError, ValueError)):
        shares = [one['share'] for one in teachers]
        if shares:
            check_shares(shares)
        return shares, [TeacherImages(one['folder']) for one in teachers]
