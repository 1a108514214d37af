# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Finding a user's mistakes in a config before a Runner does."""
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mmengine.config import Config
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import build_from_cfg

from srdensenet_mm.compat import bare_message
from srdensenet_mm.config.type_name import type_name
from srdensenet_mm.datasets.checked_pictures import SKIP_HELP
from srdensenet_mm.errors import UserError

from .images import PREPARE_AGAIN, check_none_left_out, check_pairs, check_sizes, smallest_side

# What constructors raise that do not like their arguments.
_BUILD_ERRORS = (AssertionError, AttributeError, KeyError, TypeError, ValueError)
_PREPARE = 'python tools/prepare_dataset.py'
# What the tool makes. A GT serves several scales.
_PREPARED = re.compile(r'(?:GTmod|LRbicx)(\d+)')


def check_sections(cfg: Config, sections: Sequence[str]) -> None:
    """Look whether a config has what a run needs.

    Raises:
        UserError: A section is missing.
    """
    for section in sections:
        if not cfg.get(section):
            raise UserError(f'{cfg.filename}: has no {section}; a recipe needs '
                            f'{", ".join(sections)}')


def check_data(cfg: Config, loaders: Sequence[str]) -> None:
    """Look whether the images of MMagic's image datasets are there.

    Of training sets, the files, and the scale of the pairs that a pipeline
    makes; of the others, also the sizes. What cannot be seen without decoding
    the images is named when they are drawn: every such dataset in ``cfg`` is
    put into a :class:`~srdensenet_mm.datasets.CheckedPictures`.

    Raises:
        UserError: A folder or file is missing, has no counterpart or not its size, or
            a pipeline is for another scale than the network; the message names
            it and the way out.
    """
    for name in loaders:
        if cfg.get(name):
            cfg[name] = _map_datasets(cfg[name], partial(_checked, cfg, name))


def _map_datasets(loaders, function: Callable[[dict], dict]):
    """Put other datasets in the place of those that data loaders read.

    Args:
        loaders (dict | Sequence[dict]): Config of one data loader or several.
        function (Callable): Of a dataset's config, within whatever wrappers
            such as ``RepeatDataset``.

    Returns:
        dict | list[dict]: Copies, with what the function returns.
    """
    if isinstance(loaders, (list, tuple)):
        return [_map_datasets(one, function) for one in loaders]
    for name, kinds in (('datasets', (list, tuple)), ('dataset', dict)):
        if isinstance(loaders.get(name), kinds):
            copied = loaders.copy()  # dict() would unpack the classes of a config in pure Python
            copied[name] = _map_datasets(loaders[name], function)
            return copied
    return function(loaders)


def _checked(cfg: Config, name: str, dataset: dict) -> dict:
    """What takes a dataset's place in the loader ``name``: the same, where it is not MMagic's."""
    is_training, scale = name == 'train_dataloader', _scale_of(cfg)
    if is_training:
        _check_scale_of_pairs(dataset, scale)
    if not _is_image_dataset(dataset):
        return dataset
    prefix = dataset['data_prefix']
    if not isinstance(prefix, dict):
        raise UserError(f'{name}: data_prefix={prefix!r} is to be '
                        "dict(img='LRbicx4', gt='GTmod12'), a folder for each")
    root = Path(dataset.get('data_root') or '')
    for folder in prefix.values():
        if not (root / folder).is_dir():
            raise UserError(f'{name}: no folder {root / folder}; {_how_to_make(folder, root)} '
                            f'(or set {name}.dataset.data_root)')
    ann_file = dataset.get('ann_file')
    if ann_file and not (root / ann_file).is_file():
        raise UserError(
            f'{name}: no file {root / ann_file}, the list of the images to use: one '
            'file name a line, then a space and its shape such as (480,480,3)')
    infos = check_pairs(name, dataset)
    if not is_training:
        if not any(map(dataset.get, ('ann_file', 'recursive', 'img_suffix'))):
            check_none_left_out([root / folder for folder in prefix.values()], infos)
        check_sizes(infos, scale, smallest_side(cfg.get(f'{name.split("_")[0]}_evaluator')))
    return _name_bad_images(dataset, scale, is_training)


def _check_scale_of_pairs(dataset: dict, scale: int | None) -> None:
    """Refuse a training set whose pipeline makes pairs of another scale than the network's."""
    # What is no dict, or no number, is refused when it is built.
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


def _is_image_dataset(dataset: dict) -> bool:
    """Whether a dataset's config is of MMagic's ``BasicImageDataset``, on a local disk."""
    return (type_name(dataset.get('type')) == 'BasicImageDataset'
            and bool(dataset.get('data_prefix')) and not dataset.get('backend_args')
            and '://' not in str(dataset.get('data_root')))


def _name_bad_images(dataset: dict, scale: int | None, is_training: bool) -> dict:
    """A dataset's config that names the file where it fails.

    Args:
        dataset (dict): Config of a ``BasicImageDataset``.
        scale (int, optional): How many times larger GT must be.
        is_training (bool): Whether bad images may be skipped: by the setting
            ``on_bad_image='skip'`` of the dataset.

    Returns:
        dict: A :class:`~srdensenet_mm.datasets.CheckedPictures` around it.
    """
    dataset = dataset.copy()
    choice = dataset.pop('on_bad_image', 'raise')
    if not is_training and choice != 'raise':
        raise UserError(f'on_bad_image={choice!r} is for training: a score counts all images')
    return dict(
        type='mmagic.CheckedPictures', dataset=dataset, scale=scale, on_bad_image=choice,
        hint=SKIP_HELP if is_training else f'({PREPARE_AGAIN})')


def _how_to_make(folder: str, root: Path) -> str:
    prepared = _PREPARED.fullmatch(Path(folder).name)
    if prepared is None:
        return f'{_PREPARE} --help tells how to prepare it'
    scales = '' if prepared[1] in ('2', '3', '4', '12') else f' --scales {prepared[1]}'
    return f'prepare it with: {_PREPARE} HR_FOLDER {root}{scales}'


def _scale_of(cfg: Config) -> int | None:
    """The upscaling factor of a config's network; None where it does not say."""
    generator = (cfg.get('model') or {}).get('generator') or {}
    scale = generator.get('upscale_factor')
    return scale if isinstance(scale, int) else None


@contextmanager
def clear_errors(cfg: Config) -> Iterator[None]:
    """Make one line of what goes wrong by the config's or the images' fault.

    Raises:
        UserError: A part of the config cannot be built, or a data loader's
            worker has met a bad image. Everything else passes as it is.
    """
    try:
        yield
    except UserError as error:
        message = bare_message(error)
        if message == str(error):
            raise
        raise type(error)(message) from error
    except _BUILD_ERRORS as error:
        part = _part_being_built(error)
        if part is None:
            raise
        text = str(error.args[0] if error.args else error).split('. Please check')[0]
        raise UserError(f'{cfg.filename}: {part} cannot be built: {text}') from error


def _part_being_built(error: Exception) -> str | None:
    """The name of the class that MMEngine's registry was to build; None where none was."""
    part, step = None, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code is build_from_cfg.__code__:
            part = step.tb_frame.f_locals.get('obj_type', 'a part without a type')
        elif step.tb_frame.f_code is DefaultOptimWrapperConstructor.__call__.__code__:
            part = step.tb_frame.f_locals['self'].optimizer_cfg.get('type')
        step = step.tb_next
    return getattr(part, '__name__', part)
