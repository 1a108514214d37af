# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import importlib.util
import shutil
from pathlib import Path

from srdensenet_mm.errors import UserError

# Photographs that lie inside scikit-image's wheel, so that nothing is downloaded.
_PHOTOGRAPHS = ('astronaut.png', 'camera.png', 'chelsea.png', 'coffee.png', 'coins.png',
                'motorcycle_left.png', 'rocket.jpg')


def copy_training_images(folder: str | Path) -> list[Path]:
    """Copy scikit-image's photographs into a folder.

    Args:
        folder (str | Path): Made where it is missing.

    Returns:
        list[Path]: The copies.

    Raises:
        UserError: scikit-image is not installed.
    """
    # Found without importing it: only its files are needed.
    spec = importlib.util.find_spec('skimage')
    if spec is None:
        raise UserError('the demo trains on images of scikit-image: pip install scikit-image')
    source = Path(spec.submodule_search_locations[0]) / 'data'
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Without their permissions, which not every file system takes.
    return [Path(shutil.copyfile(source / name, folder / name)) for name in _PHOTOGRAPHS]
