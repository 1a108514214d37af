# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Finding and reading configs of this package and of others."""
import importlib.util
import re
from pathlib import Path

from mmengine.config import Config

from srdensenet_mm.errors import UserError, naming

from .recipes import bare_name, find_recipe

# Endings of files that are weights, no configs.
_WEIGHTS = ('.pth', '.pt', '.ckpt', '.safetensors')


def resolve_config(name: str) -> str:
    """Find a config. Every tool uses this function.

    Args:
        name (str): A path, a recipe's name, or ``package::relative/path.py``. A
            recipe's copy in the current folder is preferred to the recipe.

    Raises:
        UserError: There is no such file, recipe or package.
    """
    if Path(name).is_file():
        return name
    if '::' not in name or name.startswith('srdensenet_mm::'):
        copy = f'{bare_name(name)}.py'
        return copy if Path(copy).is_file() else str(find_recipe(name))
    package, _, relative = name.partition('::')
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # no parent package, or no name of one
        spec = None
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
    with naming(name, 'not a valid config', Exception):  # a program, which may raise anything
        cfg = Config.fromfile(path)
        if cfg_options:
            cfg.merge_from_dict(cfg_options)
    return cfg


def split_entry(text: str) -> tuple[str, str | None]:
    """``CONFIG``, ``CHECKPOINT`` or ``CONFIG=CHECKPOINT`` apart; ``''`` for no config.

    At the first "=" behind a config, because paths may have some.
    """
    if Path(text).is_file():
        return ('', text) if text.endswith(_WEIGHTS) else (text, None)
    for found in re.finditer('=', text):
        config = text[:found.start()]
        if '::' in config or Path(config).is_file():
            return config, text[found.end():]
    config, equals, checkpoint = text.partition('=')
    return config, checkpoint if equals else None


def without_perceptual_loss(model: dict) -> dict:
    """A model's config without the perceptual loss, whose VGG19 would be downloaded."""
    model = model.copy()
    model.pop('perceptual_loss', None)
    return model
