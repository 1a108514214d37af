# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Reading configs, and finding a user's mistakes in them before a Runner does."""
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmengine.config import Config

from srdensenet_mm.errors import UserError

_PREPARE_HELP = 'prepare it with: python tools/prepare_dataset.py HR_FOLDER'


def resolve_config(name: str) -> str:
    """The path of a config given as a path or as ``package::relative/path.py``.

    Raises:
        UserError: There is no such file or package.
    """
    if '::' not in name:
        if not Path(name).is_file():
            raise UserError(f'{name}: no such config file')
        return name
    package, _, relative = name.partition('::')
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f'{name}: the package {package!r} is not installed')
    path = Path(spec.submodule_search_locations[0]) / '.mim' / 'configs' / relative
    if not path.is_file():
        raise UserError(f'{name}: {package} ships no such config, looked for {path}')
    return str(path)


def read_config(name: str, cfg_options: dict | None = None) -> Config:
    """Read a config and merge options into it.

    Raises:
        UserError: The file is missing or is no valid config; the message names
            it and the reason.
    """
    path = resolve_config(name)
    try:
        cfg = Config.fromfile(path)
        if cfg_options:
            cfg.merge_from_dict(cfg_options)
    except Exception as error:  # a config is a program: anything can come out of it
        raise UserError(f'{name}: not a valid config: {type(error).__name__}: {error}') from error
    return cfg


def check_data(cfg: Config, loaders: Sequence[str]) -> None:
    """Look whether the folders and files of MMagic's image datasets are there.

    Raises:
        UserError: One is missing; the message names it and how to prepare it.
    """
    for name in loaders:
        for dataset in _datasets(cfg.get(name)):
            prefix = dataset.get('data_prefix')
            if dataset.get('type') != 'BasicImageDataset' or not prefix:
                continue
            root = Path(dataset.get('data_root') or '')
            for folder in prefix.values():
                if not (root / folder).is_dir():
                    raise UserError(f'{name}: no folder {root / folder}; {_PREPARE_HELP} {root} '
                                    f'(or set {name}.dataset.data_root)')
            ann_file = dataset.get('ann_file')
            if ann_file and not (root / ann_file).is_file():
                raise UserError(
                    f'{name}: no file {root / ann_file}, the list of the pictures to use: one '
                    'file name a line, then a space and its shape such as (480,480,3)')


def _datasets(loader) -> Iterator[dict]:
    if isinstance(loader, (list, tuple)):
        for one in loader:
            yield from _datasets(one)
    elif loader:
        dataset = loader['dataset']
        while 'dataset' in dataset:  # wrappers such as RepeatDataset
            dataset = dataset['dataset']
        yield dataset
