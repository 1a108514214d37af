# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Targets to learn from: teachers' outputs for the training images, made once."""
from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from srdensenet_mm.config.reading import split_entry
from srdensenet_mm.datasets.teacher_images import TeacherImages, in_size
from srdensenet_mm.errors import UserError, printable
from srdensenet_mm.images.files import DecodedImage, write_png
from srdensenet_mm.images.matlab_bicubic import matlab_bicubic
from srdensenet_mm.images.reading import find_images, read_rgb
from srdensenet_mm.progress import progress_bar

from .upscaler import Upscaler


@dataclass
class TargetsReport:
    """The results of :func:`make_teacher_targets`."""

    written: int = 0
    already_there: int = 0
    #: Images too small in a size to make one LR pixel.
    too_small: int = 0
    #: Source -> why it could not be used, one line that names it.
    failed: dict[Path, str] = field(default_factory=dict)


def make_teacher_targets(teachers: Sequence[str],
                         data: Sequence[str | Path],
                         out: str | Path,
                         scale: int | None = None,
                         shrink: Sequence[float] = (1, ),
                         self_ensemble: bool = False,
                         progress: bool = False,
                         **settings) -> TargetsReport:
    """Upscale the LR of each training image, in each of its sizes.

    The image is cropped to a multiple of the scale, and LR is its MATLAB
    bicubic. The outputs of several teachers are averaged. They are written as
    :class:`~srdensenet_mm.datasets.teacher_images.TeacherImages` reads them.
    Existing files are kept, so a killed run continues where it stopped.

    Args:
        teachers (Sequence[str]): Checkpoints that :class:`Upscaler` reads, or
            ``CONFIG=CHECKPOINT`` for a network that MMagic's registry builds.
        data (Sequence[str | Path]): Folders of HR images.
        out (str | Path): The folder to write to, made where missing.
        scale (int, optional): The factor, which the teachers must have.
        shrink (Sequence[float]): As in ``HRFolderDataset``. Defaults to (1, ).
        self_ensemble (bool): Average over the eight flips and rotations.
        progress (bool): Show a progress bar, and failures as they come.
        **settings: Of :class:`Upscaler`: ``device``, ``dtype``, ``tile``,
            ``max_memory``.

    Returns:
        TargetsReport: How many were written, there, too small, and which failed.

    Raises:
        UserError: A teacher cannot be read or has another scale, a folder is
            missing, or ``out`` holds outputs of other teachers.
    """
    paths = find_images([str(folder) for folder in data])
    # One alone is a checkpoint, whatever its ending.
    entries = [(config, checkpoint) if checkpoint else ('', config)
               for config, checkpoint in map(split_entry, teachers)]
    upscalers = [Upscaler(checkpoint, config=config or None, self_ensemble=self_ensemble,
                          **settings) for config, checkpoint in entries]
    wanted = scale or upscalers[0].scale
    for (_, checkpoint), upscaler in zip(entries, upscalers, strict=True):
        if upscaler.scale != wanted:
            raise UserError(f'{checkpoint}: upscales by {upscaler.scale}, not by {wanted}')
    images = TeacherImages.create(
        out, scale=wanted, self_ensemble=self_ensemble,
        teachers=sorted(_describe(checkpoint) for _, checkpoint in entries))
    report = TargetsReport()
    for path in progress_bar(paths, unit='image') if progress else paths:
        try:
            whole = read_rgb(path)
        except UserError as error:
            report.failed[path] = str(error)
            if progress:
                tqdm.write(printable(f'failed: {error}'))
            continue
        for size in shrink:
            image = in_size(whole, size)
            target = images.path(image, path)
            height, width = (side // wanted * wanted for side in image.shape[:2])
            if not height or not width:
                report.too_small += 1
            elif target.exists():
                report.already_there += 1
            else:
                low = matlab_bicubic(np.ascontiguousarray(image[:height, :width]), wanted)
                write_png(target, DecodedImage(_mean(upscalers, low[..., ::-1])))
                report.written += 1
    return report


def _mean(upscalers: Sequence[Upscaler], low: np.ndarray) -> np.ndarray:
    """The teachers' mean, 8 bits, BGR."""
    low = np.ascontiguousarray(low)
    outputs = [upscaler(low) for upscaler in upscalers]
    if len(outputs) == 1:
        return outputs[0]
    return np.rint(np.mean(outputs, axis=0, dtype=np.float32)).astype(np.uint8)


def _describe(checkpoint: str) -> str:
    """A checkpoint's name and checksum, by which it is known again."""
    with open(checkpoint, 'rb') as file:
        return f'{Path(checkpoint).name} {hashlib.sha256(file.read()).hexdigest()[:16]}'
