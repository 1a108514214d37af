# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Checks of a config before a Runner uses it."""
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mmengine.config import Config

from srdensenet_mm.config.type_name import type_name
from srdensenet_mm.datasets.bad_images import SKIP_HELP
from srdensenet_mm.datasets.prepare import prepare_help
from srdensenet_mm.errors import UserError

from .images import check_none_left_out, check_pairs, check_sizes, smallest_side

# Steps of a pipeline that leave an image's size as it is.
_KEEP_SIZES = ('LoadImageFromFile', 'GenerateCoordinateAndCell', 'PackInputs')


def check_sections(cfg: Config, sections: Sequence[str]) -> None:
    """Check that a config has the sections that a run needs.

    Raises:
        UserError: A section is missing.
    """
    for section in sections:
        if not cfg.get(section):
            raise UserError(f'{cfg.filename}: has no {section}; a recipe needs '
                            f'{", ".join(sections)}')


def check_data(cfg: Config, loaders: Sequence[str]) -> None:
    """Check that the images of MMagic's image datasets are there.

    In training sets, the files and the scale of a pipeline's pairs are checked.
    In other sets, also the images' sizes. Images from elsewhere than this
    machine's files (LMDB, an object store, the user's own loading step) are not
    checked. Faults that only decoding shows are left to
    :func:`name_bad_images`.

    Args:
        cfg (Config): The recipe. It is not changed.
        loaders (Sequence[str]): The names of its data loaders.

    Raises:
        UserError: A folder or file is missing, a file has no counterpart or
            another size than it, or a pipeline and the network have different
            scales. The message names it and the way out.
    """
    scale = _scale_of(cfg)
    for name in loaders:
        is_training = name == 'train_dataloader'
        for dataset in _datasets(cfg.get(name)):
            if is_training:
                _check_scale_of_pairs(dataset, scale)
            if not _is_image_dataset(dataset):
                continue
            if not is_training and dataset.get('on_bad_image', 'raise') != 'raise':
                raise UserError(f'on_bad_image={dataset["on_bad_image"]!r} is for training: a '
                                'score counts all images')
            if _reads_local_files(dataset):
                _check_folders(name, dataset)
                infos = check_pairs(name, dataset)
                if not is_training:
                    evaluator = cfg.get(f'{name.split("_")[0]}_evaluator')
                    _check_test_set(dataset, infos, scale, evaluator)


def name_bad_images(cfg: Config, loaders: Sequence[str]) -> None:
    """Make MMagic's image datasets name the file where a sample cannot be made.

    Args:
        cfg (Config): The recipe. Each such dataset in it is wrapped in a
            :class:`~srdensenet_mm.datasets.CheckedPictures`, which takes over
            its setting ``on_bad_image``.
        loaders (Sequence[str]): The names of its data loaders.
    """
    def wrapped(dataset: dict) -> dict:
        if not _is_image_dataset(dataset):
            return dataset
        dataset = dataset.copy()
        return dict(
            type='mmagic.CheckedPictures', scale=_scale_of(cfg),
            on_bad_image=dataset.pop('on_bad_image', 'raise'), dataset=dataset,
            local=_reads_local_files(dataset),
            hint=SKIP_HELP if name == 'train_dataloader' else f'({prepare_help()})')

    for name in loaders:
        if cfg.get(name):
            cfg[name] = _map_datasets(cfg[name], wrapped)


def _datasets(loaders) -> Iterator[dict]:
    """The configs of the datasets that data loaders read, inside any wrappers."""
    found = []
    if loaders:
        _map_datasets(loaders, lambda dataset: found.append(dataset) or dataset)
    return iter(found)


def _map_datasets(loaders, function: Callable[[dict], dict]):
    """Replace the datasets that data loaders read.

    Args:
        loaders (dict | Sequence[dict]): Config of one data loader or several.
        function (Callable): Called with each dataset's config, inside any
            wrappers such as ``RepeatDataset``. Returns the new config.

    Returns:
        dict | list[dict]: Copies with the new configs.
    """
    if isinstance(loaders, (list, tuple)):
        return [_map_datasets(one, function) for one in loaders]
    for name, kinds in (('datasets', (list, tuple)), ('dataset', dict)):
        if isinstance(loaders.get(name), kinds):
            copied = loaders.copy()  # dict() would unpack the classes of a config in pure Python
            copied[name] = _map_datasets(loaders[name], function)
            return copied
    return function(loaders)


def _is_image_dataset(dataset: dict) -> bool:
    """Whether a config is one of MMagic's ``BasicImageDataset``."""
    return type_name(dataset.get('type')) == 'BasicImageDataset' and bool(
        dataset.get('data_prefix'))


def _reads_local_files(dataset: dict) -> bool:
    """Whether a dataset's paths are certainly files on this machine."""
    prefix = dataset['data_prefix']
    paths = prefix.values() if isinstance(prefix, dict) else [prefix]
    if any('://' in str(path) for path in (
            dataset.get('data_root'), dataset.get('ann_file'), *paths)):
        return False
    loaders = {step.get('key'): step for step in dataset.get('pipeline') or []
               if isinstance(step, dict) and type_name(step.get('type')) == 'LoadImageFromFile'}
    return (not isinstance(prefix, dict) or prefix.keys() <= loaders.keys()) and not any(
        _names_a_storage(step) for step in (dataset, *loaders.values()))


def _names_a_storage(settings: dict) -> bool:
    for name in ('backend_args', 'file_client_args'):
        storage = settings.get(name) or {}
        if storage.get('backend', 'local') not in ('local', 'disk') or storage.get('prefix'):
            return True
    return False


def _check_folders(name: str, dataset: dict) -> None:
    """Refuse a dataset whose folders, or list of images, are missing."""
    prefix = dataset['data_prefix']
    if not isinstance(prefix, dict):
        raise UserError(f'{name}: data_prefix={prefix!r} must name a folder for each of the two, '
                        "such as dict(img='LRbicx4', gt='GTmod12')")
    root = Path(dataset.get('data_root') or '')
    for folder in prefix.values():
        if not (root / folder).is_dir():
            made = Path(folder).name.startswith(('GTmod', 'LRbicx'))
            raise UserError(f'{name}: no folder {root / folder}; '
                            f'{prepare_help(root) + ", or " if made else ""}set '
                            f'{name}.dataset.data_root')
    ann_file = dataset.get('ann_file')
    if ann_file and not (root / ann_file).is_file():
        raise UserError(
            f'{name}: no file {root / ann_file}, the list of the images to use: one '
            'file name a line, then a space and its shape such as (480,480,3)')


def _check_test_set(dataset: dict, infos: list[dict], scale: int | None, evaluator) -> None:
    """Refuse images that would be left out of the scores, or that are no pair."""
    root, prefix = Path(dataset.get('data_root') or ''), dataset['data_prefix']
    if not any(map(dataset.get, ('ann_file', 'recursive', 'img_suffix'))):
        check_none_left_out([root / folder for folder in prefix.values()], infos)
    if all(isinstance(step, dict) and type_name(step.get('type')) in _KEEP_SIZES
           for step in dataset['pipeline']):
        check_sizes(infos, scale, smallest_side(evaluator))


def _check_scale_of_pairs(dataset: dict, scale: int | None) -> None:
    """Refuse a training set whose pipeline makes pairs of another scale than the network's."""
    # Steps that are not dicts, and scales that are not numbers, are refused at building.
    steps = {i: step for i, step in enumerate(dataset.get('pipeline') or [])
             if isinstance(step, dict)}
    kinds = {i: type_name(step.get('type')) for i, step in steps.items()}
    for i, step in steps.items():
        kind, key, made = kinds[i], 'scale', None
        if kind == 'RandomPatchPair':
            made = step.get('scale', 4)
        elif kind == 'MATLABBicubicDown':
            made = step.get('scale')
        elif kind == 'SetValues' and 'PairedRandomCrop' in kinds.values():
            key, made = 'dictionary.scale', dict(step.get('dictionary') or {}).get('scale')
        if isinstance(made, int) and scale is not None and made != scale:
            raise UserError(
                f'train_dataloader: {kind} makes pairs for x{made}, but '
                f'model.generator.upscale_factor={scale}: set pipeline.{i}.{key}={scale} of its '
                'dataset, or the other')


def _scale_of(cfg: Config) -> int | None:
    """The upscaling factor of a config's network; None where it does not say."""
    generator = (cfg.get('model') or {}).get('generator') or {}
    scale = generator.get('upscale_factor')
    return scale if isinstance(scale, int) else None
