# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Listing, finding and copying the package's recipes.

A wheel has them in ``srdensenet_mm/.mim/configs``, like OpenMMLab's packages.
MMEngine's form ``package::config`` supports a fixed list of packages, without
srdensenet_mm. So ``_base_ = 'srdensenet_mm::srdensenet_x4_div2k.py'`` fails in
a user's config. These commands work everywhere, with the wheel alone:

.. code-block:: shell

    srdensenet-mm list                           # the recipes' names
    srdensenet-mm train srdensenet_x4_div2k      # one by its name, as it is
    srdensenet-mm copy srdensenet_x4_div2k       # into this folder, to edit
    srdensenet-mm train srdensenet_x4_div2k.py

The files that a recipe inherits from are copied too, to the same places
relative to it. So the copy is as short and readable as the original.
"""
import ast
import difflib
from pathlib import Path

from srdensenet_mm.errors import UserError
from srdensenet_mm.files import atomic_write

_PACKAGE = Path(__file__).resolve().parents[1]


def mim_folder() -> Path:
    """The folder with ``configs`` and ``tools``.

    Returns:
        Path: ``.mim`` of the installed package, or the root of a checkout that
        is used without installation.

    Raises:
        UserError: Neither exists.
    """
    for folder in (_PACKAGE / '.mim', _PACKAGE.parent):
        if (folder / 'configs').is_dir() and (folder / 'tools').is_dir():
            return folder
    raise UserError(f'{_PACKAGE} came without its recipes (no {_PACKAGE / ".mim" / "configs"}): '
                    'install srdensenet_mm again, from its wheel or with pip install -e .')


def configs_folder() -> Path:
    """The folder of the recipes, its links followed."""
    return (mim_folder() / 'configs').resolve()


def list_recipes() -> list[str]:
    """The names of all recipes, sorted: paths below ``configs`` without ``.py``.

    Parts that recipes share, in ``_base_``, are not among them.
    """
    configs = configs_folder()
    files = (path.relative_to(configs) for path in configs.rglob('*.py'))
    return sorted(path.with_suffix('').as_posix() for path in files
                  if not any(part.startswith(('_', '.')) for part in path.parts))


def bare_name(name: str) -> str:
    """A recipe's name in the form of :func:`list_recipes`.

    Args:
        name (str): The name, which may begin with ``srdensenet_mm::`` and end
            with ``.py``.
    """
    return name.removeprefix('srdensenet_mm::').removesuffix('.py')


def find_recipe(name: str) -> Path:
    """The file of a recipe.

    Args:
        name (str): See :func:`bare_name`.

    Raises:
        UserError: There is no such recipe; the message names similar ones.
    """
    stem = bare_name(name)
    if stem in list_recipes():
        return configs_folder() / f'{stem}.py'
    similar = difflib.get_close_matches(Path(stem).name, list_recipes(), n=3)
    hint = f'did you mean {" or ".join(similar)}?' if similar else 'srdensenet-mm list shows them'
    raise UserError(f'{name}: no such file or recipe; {hint}')


def copy_recipe(name: str, folder: str | Path = '.') -> list[Path]:
    """Copy a recipe, and the files that it inherits from, into a folder.

    Args:
        name (str): See :func:`bare_name`.
        folder (str | Path): The target, created where missing. The recipe goes
            directly into it. Inherited files go to the same places relative to
            the recipe.

    Returns:
        list[Path]: The written files, the recipe first. Existing files with the
        same content are not written.

    Raises:
        UserError: There is no such recipe, or writing fails. Or a target exists
            with another content: then nothing is written.
    """
    recipe = find_recipe(name)
    sources = _with_bases(recipe)
    outside = [source for source in sources if recipe.parent not in source.parents]
    # A recipe in a subfolder may inherit from ../_base_: keep its subfolder then.
    start = configs_folder() if outside else recipe.parent
    targets = {Path(folder) / source.relative_to(start): source for source in sources}
    changed = {target: source for target, source in targets.items()
               if not target.exists() or target.read_bytes() != source.read_bytes()}
    for target in changed:
        if target.exists():
            raise UserError(f'{target}: is there already, with another content; '
                            'move it away or name another folder')
    for target, source in changed.items():
        with atomic_write(target) as temporary:
            temporary.write_bytes(source.read_bytes())
    return list(changed)


def _with_bases(config: Path) -> list[Path]:
    """A config and all local configs that it inherits from, each once."""
    found = [config]
    for one in found:  # grows while it is walked
        for base in _base_names(one):
            path = Path(one.parent, base).resolve()
            # Not those of another package (mmagic::...), which MMEngine finds.
            if '::' not in base and path not in found:
                found.append(path)
    return found


def _base_names(config: Path) -> list[str]:
    for statement in ast.parse(config.read_text(encoding='utf-8')).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == '_base_':
            bases = ast.literal_eval(statement.value)
            return [bases] if isinstance(bases, str) else list(bases)
    return []
