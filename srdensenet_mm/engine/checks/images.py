# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Checks for images that are missing or do not form pairs, before a run starts."""
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmagic.registry import DATASETS

from srdensenet_mm.config.type_name import type_name
from srdensenet_mm.datasets.checked_pictures import size_fault
from srdensenet_mm.datasets.prepare import prepare_help
from srdensenet_mm.errors import UserError
from srdensenet_mm.images.decoding import read_size
from srdensenet_mm.images.reading import find_images

# MMagic's SSIM has a window of 11 x 11 pixels.
_WINDOW = 11


def check_pairs(name: str, dataset: dict) -> list[dict]:
    """Check that all images of a dataset are there, without reading them.

    Args:
        name (str): The data loader's, for the message.
        dataset (dict): Config of a ``BasicImageDataset``.

    Returns:
        list[dict]: The dataset's samples: ``img_path``, ``gt_path``, ...

    Raises:
        UserError: There is no image, or one is not in both folders.
    """
    bare = {key: value for key, value in dataset.items() if key != 'on_bad_image'}
    built = DATASETS.build(dict(bare, pipeline=[], lazy_init=True, _scope_='mmagic'))
    infos, prefix = built.load_data_list(), built.data_prefix
    if not infos:
        raise UserError(f'{name}: {prefix[built.search_key]} holds no image; '
                        f'{prepare_help(dataset.get("data_root") or "OUT_FOLDER")}')
    keys = [key for key in prefix if f'{key}_path' in infos[0]]
    folders: dict[str, set[str]] = {}
    missing = [(info, key) for info in infos for key in keys
               if not _exists(info[f'{key}_path'], folders)]
    if missing:
        info, key = missing[0]
        raise UserError(_missing(info[f'{key}_path'], [
            info[f'{one}_path'] for one in keys if one != key], missing))
    # MMagic lists only one of the two folders. An image that is only in the other would be
    # left out of the scores without a message.
    if not built.use_ann_file and not built.recursive:
        for key in keys:
            known = {info[f'{key}_path'] for info in infos}
            alone = [str(path) for path in _images_in(prefix[key], built.img_suffix)
                     if str(path) not in known]
            if alone and key != built.search_key:
                absent = Path(prefix[built.search_key]) / Path(alone[0]).name
                raise UserError(_missing(absent, alone[:1], alone))
    return infos


def check_none_left_out(folders: Sequence[Path], infos: list[dict]) -> None:
    """Check that all images in the folders of a test set are scored.

    MMagic's dataset skips formats that it does not know, and folders within a
    folder.

    Args:
        folders (Sequence[Path]): The folders of LR and GT. A folder that holds
            another of them is not checked.
        infos (list[dict]): From :func:`check_pairs`.

    Raises:
        UserError: Names the first that would be left out.
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
                raise UserError(f'{path}: would not be scored, because it {reason}: '
                                f'{prepare_help()}, or take it out')


def _exists(path: str, folders: dict[str, set[str]]) -> bool:
    """Whether a file is there; each folder is listed once."""
    folder, file = os.path.split(path)
    if folder not in folders:
        folders[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
    return file in folders[folder] and os.path.exists(path)


def _images_in(folder: str, suffixes) -> Iterator[Path]:
    for path in sorted(Path(folder).iterdir()):
        if path.name.endswith(tuple(suffixes)) and not path.name.startswith('.'):
            yield path


def _missing(path: str | Path, others: list[str], found: list) -> str:
    pair = f', the pair of {others[0]}' if others else ''
    more = f' (and {len(found) - 1} more)' if len(found) > 1 else ''
    return f'{path}: there is no such file{pair}{more}; {prepare_help()}'


def check_sizes(infos: list[dict], scale: int | None, min_side: int) -> None:
    """Check the sizes of pairs by their files' headers.

    Args:
        infos (list[dict]): From :func:`check_pairs`.
        scale (int, optional): How many times larger GT must be. None: not
            checked.
        min_side (int): The smallest side of a GT, in pixels, that the metrics
            can score.

    Raises:
        UserError: Two images are no pair, or one is too small.
    """
    infos = [info for info in infos if 'img_path' in info and 'gt_path' in info]
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda info: (read_size(info['img_path']),
                                            read_size(info['gt_path'])), infos))
    for info, (img_size, gt_size) in zip(infos, sizes, strict=True):
        if img_size and gt_size and scale:
            fault = size_fault(info['img_path'], img_size, info['gt_path'], gt_size, scale)
            if fault:
                raise UserError(f'{fault}; {prepare_help()}')
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
