# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Checks of a config before a Runner uses it."""
from collections.abc import Callable, Iterator, Sequence

from mmengine.config import Config

from srdensenet_mm.config.type_name import type_name
from srdensenet_mm.datasets.bad_images import SKIP_HELP
from srdensenet_mm.datasets.prepare import prepare_help
from srdensenet_mm.errors import UserError

from .images import check_pairs, check_test_set


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

    In test and validation sets, their sizes are checked too. Images from
    elsewhere than this machine's files (LMDB, an object store, the user's own
    loading step) are not checked. Faults that only decoding shows are left to
    :func:`name_bad_images`.

    Args:
        cfg (Config): The recipe. It is not changed.
        loaders (Sequence[str]): The names of its data loaders.

    Raises:
        UserError: A folder or file is missing, a file has no counterpart, or
            another size than it. The message names it and the way out.
    """
    for name in loaders:
        for dataset in _datasets(cfg.get(name)):
            if _is_image_dataset(dataset) and _reads_local_files(dataset):
                hint = _hint(dataset)
                if name == 'train_dataloader':
                    check_pairs(name, dataset, hint)
                else:
                    check_test_set(name, dataset, _scale_of(cfg),
                                   cfg.get(f'{name.split("_")[0]}_evaluator'), hint)


def name_bad_images(cfg: Config, loaders: Sequence[str]) -> None:
    """Make MMagic's image datasets name the file where a sample cannot be made.

    Args:
        cfg (Config): The recipe. Each such dataset in it is wrapped in a
            :class:`~srdensenet_mm.datasets.CheckedPictures`. For training, it
            takes over the setting ``on_bad_image``. A score counts all images.
        loaders (Sequence[str]): The names of its data loaders.
    """
    def wrapped(dataset: dict) -> dict:
        if not _is_image_dataset(dataset):
            return dataset
        dataset, is_training = dataset.copy(), name == 'train_dataloader'
        local = _reads_local_files(dataset)
        on_bad_image = dataset.pop('on_bad_image', 'raise')
        return dict(
            type='mmagic.CheckedPictures', scale=_scale_of(cfg), dataset=dataset,
            on_bad_image=on_bad_image if is_training else 'raise',
            local=local,
            hint=SKIP_HELP if is_training else f'({_hint(dataset)})' if local else '')

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


def _hint(dataset: dict) -> str:
    """The way out where images of a dataset are missing."""
    return f'{prepare_help(dataset.get("data_root") or "OUT_FOLDER")}, or set its data_root'


def _scale_of(cfg: Config) -> int | None:
    """The upscaling factor of a config's network; None where it does not say."""
    generator = (cfg.get('model') or {}).get('generator') or {}
    scale = generator.get('upscale_factor')
    return scale if isinstance(scale, int) else None
