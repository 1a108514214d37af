# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Checks for images that are missing or do not form pairs, before a run starts."""
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmagic.registry import DATASETS

from srdensenet_mm.config.type_name import type_name
from srdensenet_mm.datasets.checked_pictures import size_fault
from srdensenet_mm.errors import UserError
from srdensenet_mm.images.decoding import read_size
from srdensenet_mm.images.reading import find_images

# MMagic's SSIM has a window of 11 x 11 pixels.
_WINDOW = 11
# Steps of a pipeline that leave an image's size as it is.
_KEEP_SIZES = ('LoadImageFromFile', 'GenerateCoordinateAndCell', 'PackInputs')


def check_test_set(
        name: str, dataset: dict, scale: int | None, evaluators, hint: str) -> list[dict]:
    """Check that all images of a test set are there, form pairs, and are scored.

    MMagic's dataset skips formats that it does not know, and folders within a
    folder. That is checked where the whole folders are the test set.

    Args:
        name (str): The set, for the message.
        dataset (dict): Config of a ``BasicImageDataset``.
        scale (int, optional): How many times larger GT must be. None: not
            checked.
        evaluators (dict | list): Configs of MMagic's metrics.
        hint (str): The way out, added to the message.

    Returns:
        list[dict]: The samples, see :func:`check_pairs`.

    Raises:
        UserError: Names the first image that is missing, would be left out, is
            too small, or has another size than its pair.
    """
    infos = check_pairs(name, dataset, hint)
    if not any(map(dataset.get, ('ann_file', 'recursive', 'img_suffix'))):
        root = Path(dataset.get('data_root') or '')
        _check_none_left_out(
            [root / folder for folder in dataset['data_prefix'].values()], infos, hint)
    if all(isinstance(step, dict) and type_name(step.get('type')) in _KEEP_SIZES
           for step in dataset['pipeline']):
        _check_sizes(infos, scale, smallest_side(evaluators), hint)
    return infos


def check_pairs(name: str, dataset: dict, hint: str) -> list[dict]:
    """Check that all images of a dataset are there, without reading them.

    Args:
        name (str): The dataset's or its data loader's, for the message.
        dataset (dict): Config of a ``BasicImageDataset``.
        hint (str): The way out, added to the message.

    Returns:
        list[dict]: The dataset's samples: ``img_path``, ``gt_path``, ...

    Raises:
        UserError: A folder is missing, there is no image, or one is not in both
            folders.
    """
    bare = {key: value for key, value in dataset.items() if key != 'on_bad_image'}
    built = DATASETS.build(dict(bare, pipeline=[], lazy_init=True, _scope_='mmagic'))
    for folder in built.data_prefix.values():
        if not os.path.isdir(folder):
            raise UserError(f'{name}: there is no folder {folder}; {hint}')
    infos, listed = built.load_data_list(), built.data_prefix[built.search_key]
    if not infos:
        raise UserError(f'{name}: {listed} holds no image; {hint}')
    paths = [[info[f'{key}_path'] for key in built.data_prefix] for info in infos]
    for pair in paths:
        for path in pair:
            if not os.path.exists(path):
                other = next(one for one in (*pair, 'the list') if one != path)
                raise UserError(f'{path}: there is no such file, the pair of {other}; {hint}')
    # MMagic lists only one of the two folders. An image that is only in the other would be
    # left out without a message.
    if not built.use_ann_file and not built.recursive:
        known = {path for pair in paths for path in pair}
        for folder in built.data_prefix.values():
            for file in sorted(os.listdir(folder)) if folder != listed else ():
                path = os.path.join(folder, file)
                if file.endswith(built.img_suffix) and file[0] != '.' and path not in known:
                    raise UserError(f'{path}: has no pair in {listed}; {hint}')
    return infos


def _check_none_left_out(folders: Sequence[Path], infos: list[dict], hint: str) -> None:
    """Check that all images in the folders of LR and GT are scored.

    A folder that holds another of them is not checked.
    """
    folders = [Path(os.path.normpath(folder)) for folder in folders]
    listed = {os.path.normpath(value) for info in infos
              for key, value in info.items() if key.endswith('_path')}
    for folder in folders:
        if any(folder in other.parents for other in folders):
            continue
        for path in find_images(folder):
            if os.path.normpath(path) not in listed:
                reason = ('has a format' if path.parent == folder else 'lies in a folder') + (
                    ' that MMagic passes over')
                raise UserError(f'{path}: would not be scored, because it {reason}: {hint}, or '
                                'take it out')


def _check_sizes(infos: list[dict], scale: int | None, min_side: int, hint: str) -> None:
    """Check the sizes of pairs by their files' headers, and GT's smallest side, in pixels."""
    infos = [info for info in infos if 'img_path' in info and 'gt_path' in info]
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda info: (read_size(info['img_path']),
                                            read_size(info['gt_path'])), infos))
    for info, (img_size, gt_size) in zip(infos, sizes, strict=True):
        if img_size and gt_size and scale:
            fault = size_fault(info['img_path'], img_size, info['gt_path'], gt_size, scale)
            if fault:
                raise UserError(f'{fault}; {hint}')
        if gt_size and min(gt_size) < min_side:
            raise UserError(f'{info["gt_path"]}: {gt_size[0]}x{gt_size[1]} pixels is too small to '
                            f'be scored: {min_side} to a side are needed, the border that the '
                            'metrics crop off included; take it out')


def smallest_side(evaluators) -> int:
    """The smallest GT side, in pixels, that MMagic's metrics can score."""
    smallest = 1
    for metric in _metrics(evaluators):
        kind = type_name(metric.get('type'))
        if kind in ('PSNR', 'SSIM'):
            window = _WINDOW if kind == 'SSIM' else 1
            smallest = max(smallest, 2 * metric.get('crop_border', 0) + window)
    return smallest


def _metrics(evaluators) -> Iterator[dict]:
    if isinstance(evaluators, (list, tuple)):
        for one in evaluators:
            yield from _metrics(one)
    elif isinstance(evaluators, dict):
        yield evaluators
        yield from _metrics(evaluators.get('metrics'))
