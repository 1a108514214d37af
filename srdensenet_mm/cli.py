# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The command ``srdensenet-mm``: the tools and recipes of an installed package.

.. code-block:: shell

    srdensenet-mm list
    srdensenet-mm copy RECIPE [FOLDER]
    srdensenet-mm TOOL [ARGUMENTS]      # as python tools/TOOL.py in a checkout

Where a tool takes a config, a recipe's name stands for its file: a copy in the
current folder where there is one, else the one that the package ships.
``python -m srdensenet_mm`` is the same command.
"""
import runpy
import sys
from pathlib import Path

from .config.recipes import bare_name, copy_recipe, find_recipe, list_recipes, mim_folder
from .errors import UserError, run_tool

# The tools that take recipes, and their options whose value may be named like one, and is none.
_TAKE_RECIPES = ('train', 'test', 'benchmark')
_FOLDERS = ('--work-dir', '--out', '--data')


def list_tools() -> list[str]:
    """The names of the tools that ``srdensenet-mm`` runs, sorted."""
    tools = {path.stem: path.resolve() for path in (mim_folder() / 'tools').glob('*.py')}
    # Its images and the published weights are in a checkout alone.
    return sorted(name for name, path in tools.items()
                  if name != 'demo' or (path.parents[1] / 'tests/data').is_dir())


def run_installed_tool(name: str, arguments: list[str]) -> None:
    """Run a tool as if it had been called by its path.

    Args:
        name (str): As :func:`list_tools` has it.
        arguments (list[str]): Its command line. Where it takes configs, names
            of recipes, alone or as the first half of ``RECIPE=CHECKPOINT``,
            become paths.

    Raises:
        UserError: There is no such tool.
        SystemExit: The tool has ended; it carries its exit status.
    """
    if name not in list_tools():
        raise UserError(f'{name}: no such command; there are list, copy, {", ".join(list_tools())}')
    tool = mim_folder() / 'tools' / f'{name}.py'
    sys.argv = [str(tool), *_with_recipe_paths(name, arguments)]
    runpy.run_path(str(tool), run_name='__main__')


def _with_recipe_paths(tool: str, arguments: list[str]) -> list[str]:
    recipes = set(list_recipes())
    resolved = []
    for before, argument in zip(['', *arguments], arguments, strict=False):
        name, equals, rest = argument.partition('=')
        stem = bare_name(name)
        is_config = before == '--config' or tool in _TAKE_RECIPES and before not in _FOLDERS
        if stem in recipes and is_config and not Path(name).is_file():
            copy = Path(f'{stem}.py')
            name = str(copy if copy.exists() else find_recipe(stem))
        resolved.append(name + equals + rest)
    return resolved


def main() -> int:
    command, *arguments = sys.argv[1:] or ['--help']
    if command in ('-h', '--help'):
        print('usage: srdensenet-mm list                 the recipes\n'
              '       srdensenet-mm copy RECIPE [FOLDER] a recipe, to edit it\n'
              '       srdensenet-mm TOOL [ARGUMENTS]     one of: ' + ', '.join(list_tools()))
    elif command == 'list':
        print('\n'.join(list_recipes()))
    elif command == 'copy':
        if len(arguments) not in (1, 2):
            raise UserError('copy takes the name of a recipe, and the folder to copy it to')
        written = copy_recipe(*arguments)
        print('\n'.join(map(str, written)) or 'nothing to do: the same files are there already')
    else:
        run_installed_tool(command, arguments)
    return 0


def entry() -> None:
    """What the installed command calls."""
    run_tool(main)
