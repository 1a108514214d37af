# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The command ``srdensenet-mm``: the tools and recipes of an installed package.

.. code-block:: shell

    srdensenet-mm list
    srdensenet-mm copy RECIPE [FOLDER]
    srdensenet-mm TOOL [ARGUMENTS]      # as python tools/TOOL.py in a checkout

Where a tool takes a config, a recipe's name stands for its file, see
:func:`srdensenet_mm.config.reading.resolve_config`.
``python -m srdensenet_mm`` is the same command.
"""
import ast
import runpy
import sys

from .config.recipes import copy_recipe, list_recipes, mim_folder
from .errors import UserError, run_tool

_USAGE = """\
usage: srdensenet-mm list                   show the recipes and the scores of their weights
       srdensenet-mm copy RECIPE [FOLDER]   copy a recipe, to edit it
       srdensenet-mm TOOL [ARGUMENTS]       run a tool, as python tools/TOOL.py in a checkout

SRDenseNet super-resolution with MMagic. Where a tool takes a config, a recipe's name will do.

tools:"""


def list_tools() -> list[str]:
    """The names of the tools that ``srdensenet-mm`` runs, sorted."""
    tools = {path.stem: path.resolve() for path in (mim_folder() / 'tools').glob('*.py')}
    # The demo's images are in a checkout only.
    return sorted(name for name, path in tools.items()
                  if name != 'demo' or (path.parents[1] / 'tests/data').is_dir())


def describe_tool(name: str) -> str:
    """The first sentence of a tool's docstring, without running the tool."""
    text = (mim_folder() / 'tools' / f'{name}.py').read_text(encoding='utf-8')
    paragraph = (ast.get_docstring(ast.parse(text)) or '').split('\n\n')[0]
    return ' '.join(paragraph.split()).split('. ')[0].rstrip('.')


def run_installed_tool(name: str, arguments: list[str]) -> None:
    """Run a tool as if it had been called by its path.

    Args:
        name (str): As :func:`list_tools` has it.
        arguments (list[str]): Its command line.

    Raises:
        UserError: There is no such tool.
        SystemExit: The tool has ended; it carries its exit status.
    """
    if name not in list_tools():
        raise UserError(f'{name}: no such command; there are list, copy, {", ".join(list_tools())}')
    tool = mim_folder() / 'tools' / f'{name}.py'
    sys.argv = [str(tool), *arguments]
    runpy.run_path(str(tool), run_name='__main__')


def scores_of_recipes() -> dict[str, str]:
    """The published scores of each recipe, from model-index.yml.

    Returns:
        dict[str, str]: Recipe name -> scores, such as ``'Set5 31.59 / 0.8885'``
        (PSNR in dB and SSIM, on Y). Of the first two data sets, to fit a line.
        Without recipes that have no weights.
    """
    import yaml
    root = mim_folder()
    index = root / 'model-index.yml'
    if not index.is_file():
        return {}
    scores = {}
    for part in yaml.safe_load(index.read_text(encoding='utf-8'))['Import']:
        models = yaml.safe_load((root / part).read_text(encoding='utf-8')).get('Models', [])
        for model in models:
            found = []
            for result in model.get('Results', []):
                psnr, ssim = (result['Metrics'].get(f'{name} (Y)') for name in ('PSNR', 'SSIM'))
                if psnr is not None and ssim is not None:
                    found.append(f'{result["Dataset"]} {psnr:.2f} / {ssim:.4f}')
            if found:
                scores[model['Name']] = ', '.join(found[:2])
    return scores


def main() -> int:
    command, *arguments = sys.argv[1:] or ['--help']
    if command in ('-h', '--help'):
        print(_USAGE)
        for name in list_tools():
            print(f'  {name:21} {describe_tool(name)}')
        print('\nsrdensenet-mm TOOL --help shows the arguments of a tool.')
    elif command == 'list':
        names, scores = list_recipes(), scores_of_recipes()
        width = max(map(len, names), default=0)
        if scores:
            print(f'{"recipe":{width}}  published weights: PSNR (dB) / SSIM on Y')
        for name in names:
            print(f'{name:{width}}  {scores.get(name, "")}'.rstrip())
    elif command == 'copy':
        if len(arguments) not in (1, 2):
            raise UserError('copy takes the name of a recipe, and the folder to copy it to')
        written = copy_recipe(*arguments)
        print('\n'.join(map(str, written)) or 'nothing to do: the same files are there already')
    else:
        run_installed_tool(command, arguments)
    return 0


def entry() -> None:
    """Entry point of the installed command."""
    run_tool(main)
