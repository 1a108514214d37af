# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The weights that come with the package, by name.

They are files ``checkpoints/srdensenet_x4-<hash>.pth`` (the weights ``plain``)
and ``checkpoints/srdensenet_x4_photo-<hash>.pth`` (``photo``). A wheel has them
in ``.mim``, beside the recipes.
"""
import re
from pathlib import Path

from srdensenet_mm.config.recipes import configs_folder
from srdensenet_mm.errors import UserError

_FILE = re.compile(r'srdensenet_x(\d)(?:_(\w+))?-[0-9a-f]{8}\.pth')


def published_files() -> dict[tuple[str, int], Path]:
    """All published weights: name and upscale factor -> file, the plain ones first."""
    folder = configs_folder().parent / 'checkpoints'
    found = {}
    for path in sorted(folder.glob('srdensenet_x*.pth')):
        match = _FILE.fullmatch(path.name)
        if match:
            found[match[2] or 'plain', int(match[1])] = path
    return dict(sorted(found.items(), key=lambda item: (item[0][0] != 'plain', item[0][0],
                                                        -item[0][1])))


def find_weights(name: str = 'plain', scale: int | None = None) -> Path:
    """The file of published weights.

    Args:
        name (str): ``'plain'`` for clean images, the field's benchmark;
            ``'photo'`` for photographs that are stored as JPEG, or noisy.
        scale (int, optional): The upscale factor. Defaults to the largest that
            these weights are published for.

    Raises:
        UserError: There are no such weights. The message names those there are.
    """
    files = published_files()
    for (kind, factor), path in files.items():
        if kind == name and scale in (None, factor):
            return path
    there = ', '.join(f'{kind} x{factor}' for kind, factor in files) or 'none'
    asked = name if scale is None else f'{name} x{scale:g}'
    raise UserError(f'no weights {asked} come with the package, which has {there}; '
                    'a file of yours: --checkpoint FILE')


def in_package(path: str) -> str:
    """A recipe's ``checkpoints/name.pth``, where no such file is in the working folder.

    Args:
        path (str): The path.

    Returns:
        str: The package's file of this name, or the path itself.
    """
    if Path(path).exists():
        return path
    return next((str(file) for file in published_files().values()
                 if Path('checkpoints', file.name) == Path(path)), path)
