# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Finding and reading configs of this package and of others."""
import importlib.util
import os
from pathlib import Path

from mmengine.config import Config

from srdensenet_mm.errors import UserError

from .recipes import bare_name, find_recipe, list_recipes, similar_recipes


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
        stem = bare_name(name)
        # A recipe's copy is preferred to the recipe.
        if Path(f'{stem}.py').is_file():
            return f'{stem}.py'
        if stem in _recipes():
            return str(find_recipe(stem))
        similar = [os.path.relpath(find_recipe(one)) for one in similar_recipes(name)]
        hint = f'; did you mean {" or ".join(similar)}?' if similar else ''
        raise UserError(f'{name}: no such config file{hint}')
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


def _recipes() -> list[str]:
    try:
        return list_recipes()
    except UserError:  # the package has no recipes
        return []


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
    except Exception as error:  # a config is a program, which may raise anything
        raise UserError(f'{name}: not a valid config: {type(error).__name__}: {error}') from error
    return cfg


def without_perceptual_loss(model: dict) -> dict:
    """A model's config without the perceptual loss, whose VGG19 would be downloaded."""
    model = model.copy()
    model.pop('perceptual_loss', None)
    return model
