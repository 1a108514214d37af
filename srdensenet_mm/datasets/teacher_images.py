# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Teachers' outputs for the training images, found by the images' pixels.

A teacher is a better network. It upscales the LR of each training image once.
A student learns from its output together with HR, or instead of HR. The name of
an output has a checksum of the HR image. So it is found wherever the image
lies. Each size of ``shrink`` has its own, and a changed image has none.
"""
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np

from srdensenet_mm.errors import UserError, naming
from srdensenet_mm.files import atomic_write
from srdensenet_mm.images.reading import read_rgb

# The file beside the images that says how they were made.
_FACTS = 'teacher.json'
# File systems take names of 255 bytes.
_LONGEST_STEM = 120
_HOW_TO_MAKE = 'python tools/make_teacher_targets.py TEACHER --data FOLDERS --out {}'


def in_size(image: np.ndarray, size: float) -> np.ndarray:
    """An image in a size of ``shrink``, by averaging areas.

    Args:
        image (np.ndarray): uint8, shape (H, W, 3).
        size (float): More than 0 and at most 1, of its sides.

    Raises:
        UserError: The size is another.
    """
    if not 0 < size <= 1:
        raise UserError(f'shrink: {size} must be more than 0 and at most 1')
    if size == 1:
        return image
    height, width = (max(1, round(side * size)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


class TeacherImages:
    """A folder of a teacher's outputs, an 8-bit RGB PNG for each training image.

    Args:
        folder (str | Path): Made by ``tools/make_teacher_targets.py``.

    Attributes:
        scale (int): The upscale factor.

    Raises:
        UserError: It is not a folder of teacher images.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        with naming(self.folder, 'is no folder of teacher images, make it with '
                    + _HOW_TO_MAKE.format(self.folder), Exception):
            self.facts = json.loads((self.folder / _FACTS).read_text(encoding='utf-8'))
            self.scale = int(self.facts['scale'])

    @classmethod
    def create(cls, folder: str | Path, **facts) -> 'TeacherImages':
        """Start a folder, or continue one with the same facts.

        Args:
            folder (str | Path): Made where missing.
            **facts: Settings that the outputs depend on, with ``scale``. Their
                types are those of JSON.

        Raises:
            UserError: It holds outputs made with other settings, or cannot be
                written to.
        """
        path = Path(folder) / _FACTS
        if not path.exists():
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(facts, indent=2) + '\n', encoding='utf-8')
        found = cls(folder)
        for name, value in facts.items():
            if found.facts.get(name) != value:
                raise UserError(f'{path}: the images here were made with {name}='
                                f'{found.facts.get(name)!r}, not {value!r}: name another folder')
        return found

    def path(self, image: np.ndarray, source: str | Path) -> Path:
        """The file of the output for an image, which may be missing.

        Args:
            image (np.ndarray): The HR image in its size, uint8 RGB, (H, W, 3).
            source (str | Path): Its file, for the name.
        """
        stem = Path(source).stem[:_LONGEST_STEM]
        return self.folder / f'{stem}_x{self.scale}_{_checksum(image)}.png'

    def read(self, image: np.ndarray, source: str | Path) -> np.ndarray:
        """The teacher's output for an image.

        Args:
            image (np.ndarray): The HR image in its size, uint8 RGB, (H, W, 3).
            source (str | Path): Its file.

        Returns:
            np.ndarray: uint8 RGB, read-only, shape (H, W, 3), with H and W
            rounded down to a multiple of the scale.

        Raises:
            UserError: It is missing, damaged, or stale (made of another image).
        """
        path = self.path(image, source)
        height, width = (side // self.scale * self.scale for side in image.shape[:2])
        if not path.exists():
            raise UserError(f'{source} ({image.shape[1]}x{image.shape[0]}): {self.folder} '
                            'has no image of it in this size, or a stale one of other pixels; '
                            'make what is missing, with the same --shrink, by '
                            f'{_HOW_TO_MAKE.format(self.folder)}')
        found = read_rgb(path)
        if found.shape[:2] != (height, width):
            raise UserError(f'{path}: {found.shape[1]}x{found.shape[0]} pixels is not the size of '
                            f'{source}, {width}x{height}: remove it and make it again')
        found.flags.writeable = False
        return found


def _checksum(image: np.ndarray) -> str:
    found = hashlib.blake2b(str(image.shape).encode(), digest_size=8)
    found.update(np.ascontiguousarray(image))
    return found.hexdigest()
