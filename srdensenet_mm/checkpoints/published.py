# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The weights that come with the package, by name.

They are files ``checkpoints/srdensenet_x4-<hash>.pth`` (the weights ``plain``),
``checkpoints/srdensenet_x4_photo-<hash>.pth`` (``photo``) and
``checkpoints/srdensenet_liif-<hash>.pth`` (``liif``, any scale). A wheel has
them in ``.mim``, beside the recipes.
"""
import re
from pathlib import Path

from srdensenet_mm.config.recipes import configs_folder
from srdensenet_mm.errors import UserError

_FILE = re.compile(r'srdensenet_(?:x(\d)_?)?(\w*)-[0-9a-f]{8}\.pth')


def published_files() -> dict[tuple[str, int | None], Path]:
    """All published weights: name and upscale factor -> file, the plain ones first.

    The factor is None for weights of any scale.
    """
    folder = configs_folder().parent / 'checkpoints'
    found = {}
    for path in sorted(folder.glob('srdensenet_*.pth')):
        match = _FILE.fullmatch(path.name)
        if match:
            found[match[2] or 'plain', int(match[1]) if match[1] else None] = path
    return dict(sorted(found.items(), key=lambda item: (item[0][0] != 'plain', item[0][0],
                                                        -(item[0][1] or 0))))


def find_weights(name: str = 'plain', scale: float | None = None) -> Path:
    """The file of published weights.

    Args:
        name (str): ``'plain'`` for clean images, the field's benchmark;
            ``'photo'`` for photographs that are stored as JPEG, or noisy;
            ``'liif'`` for all scales.
        scale (float, optional): The upscale factor. Where ``'plain'`` has no
            weights for it, ``'liif'`` is taken. Defaults to the largest that
            these weights are published for.

    Raises:
        UserError: There are no such weights. The message names those there are.
    """
    files = published_files()
    for (kind, factor), path in files.items():
        if kind == name and (factor is None or scale in (None, factor)):
            return path
    if name == 'plain' and scale is not None and ('liif', None) in files:
        return files['liif', None]
    there = ', '.join(f'{kind} x{factor}' if factor else f'{kind} of any scale'
                      for kind, factor in files) or 'none'
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
