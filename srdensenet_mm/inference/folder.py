# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Upscaling image files: one, a folder of them, or what a pattern matches."""
import errno
import glob
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from srdensenet_mm.errors import UserError
from srdensenet_mm.files import make_folder, same_file
from srdensenet_mm.images.files import DecodedImage, image_pixels, read_image, write_png
from srdensenet_mm.images.folders import EXTENSIONS, is_image, walk_images

# Failures to write that the next image would meet as well.
_FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Job:
    """An image to upscale.

    Attributes:
        source (Path): The image file.
        target (Path): The PNG to write.
    """
    source: Path
    target: Path


@dataclass
class Summary:
    """What became of the images.

    Attributes:
        written (List[Path]): New files.
        skipped (List[Path]): Files that were there already.
        failed (List[str]): One line for each image that could not be
            upscaled: its name and the reason.
    """
    written: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def find_jobs(inputs: Sequence[str], out: str | Path) -> list[Job]:
    """Find the images, and name what they become.

    Args:
        inputs (Sequence[str]): Files, folders (searched to any depth, hidden
            files left out, links followed), and patterns with ``*``, ``?`` or
            ``**``.
        out (str | Path): The folder to write to. Below it, images keep their
            place below a folder of ``inputs`` or the fixed part of a pattern.

    Returns:
        List[Job]: In the order of ``inputs``, sorted within each.

    Raises:
        UserError: There is no image, an input is empty, two would become the
            same file, one would be overwritten by its own or another one's
            result, or ``out`` is a folder of ``inputs``.
    """
    out = Path(out)
    jobs: list[Job] = []
    taken: dict[Path, Path] = {}
    for given in inputs:
        for source, place in _expand(given, out):
            target = out / place.parent / f'{place.stem}.png'
            other = taken.setdefault(target, source)
            if other is not source:
                if same_file(other, source):
                    continue
                raise UserError(f'{source} and {other} would both become {target}: '
                                'rename one, or upscale them into two folders')
            if same_file(target, source):
                raise UserError(f'{source}: would be overwritten by its own result, '
                                'choose another --out')
            jobs.append(Job(source, target))
    sources = {os.path.realpath(job.source): job.source for job in jobs}
    for job in jobs:
        other = sources.get(os.path.realpath(job.target))
        if other is not None:
            raise UserError(f'{other}: would be overwritten by the result of {job.source}, '
                            'choose another --out')
    return jobs


def _expand(given: str, out: Path) -> list[tuple[Path, Path]]:
    """The images that one input means, each with its place below the output folder."""
    if not given:
        # A variable of the shell that is not set; Path would make it this folder.
        raise UserError("'': an input is empty, give a file, a folder or a pattern "
                        '(. is the current folder)')
    path = Path(given)
    # os.path, because methods of Path raise for names too long and forbidden folders.
    if os.path.isdir(path):
        if os.path.realpath(path) == os.path.realpath(out):
            raise UserError(f'{given}: is the --out folder as well; the next run would take its '
                            'results for images, choose another')
        # Results of an earlier run are not images to upscale.
        root, found = path, walk_images(path, left_out=out)
    elif os.path.exists(path) or not glob.has_magic(given):
        # A file that is not there, or out of reach, is reported with the others that fail.
        return [(path, Path(path.name))]
    else:
        fixed = []
        for part in path.parts[:-1]:
            if glob.has_magic(part):
                break
            fixed.append(part)
        root = Path(*fixed)
        found = (Path(name) for name in glob.glob(given, recursive=True)
                 if is_image(Path(name)) and os.path.isfile(name)
                 and not _is_result(name, out, root))
    try:
        images = sorted(found)
    except OSError as error:
        raise UserError(f'{error.filename}: cannot be read ({error.strerror})') from error
    if not images:
        raise UserError(f'{given}: no image there (looked for {" ".join(sorted(EXTENSIONS))})')
    return [(file, file.relative_to(root)) for file in images]


def _is_result(name: str, out: Path, root: Path) -> bool:
    """Whether a pattern met what an earlier run has written below ``root``."""
    real, inside = os.path.realpath(out), os.path.realpath(root)
    return real != inside and real.startswith(os.path.join(inside, '')) and (
        os.path.realpath(name).startswith(os.path.join(real, '')))


def upscale_files(jobs: Sequence[Job],
                  upscaler: Callable[..., np.ndarray],
                  overwrite: bool = False,
                  summary: Summary | None = None) -> Summary:
    """Upscale images into PNGs; a broken one does not stop the others.

    A progress bar with the time left runs on a terminal, in LR pixels.

    Args:
        jobs (Sequence[Job]): From :func:`find_jobs`.
        upscaler (Callable): An :class:`Upscaler`.
        overwrite (bool): Whether to write again what is there already.
            Defaults to False.
        summary (Summary, optional): One to fill, which tells what was done
            before the call was cut short.

    Returns:
        Summary: What was written, was there already, and failed.

    Raises:
        UserError: Nothing more can be written: the disk is full or read-only.
    """
    summary = Summary() if summary is None else summary
    open_jobs = []
    for job in jobs:
        if os.path.isfile(job.target) and not overwrite:
            summary.skipped.append(job.target)
        else:
            open_jobs.append((job, image_pixels(job.source)))
    with tqdm(total=sum(pixels for _, pixels in open_jobs), unit='px', unit_scale=True,
              disable=None) as bar:
        for job, pixels in open_jobs:
            bar.set_description(job.source.name[-24:])
            expected = bar.n + pixels
            try:
                _upscale_file(job, upscaler, bar.update)
                summary.written.append(job.target)
            except Exception as error:  # whatever is wrong with it, the others go on
                cause = error.__cause__
                if isinstance(cause, OSError) and cause.errno in _FATAL:
                    raise
                summary.failed.append(_reason(job.source, error))
            bar.update(expected - bar.n)
    return summary


def _upscale_file(job: Job, upscaler: Callable[..., np.ndarray],
                  progress: Callable[[int], None]) -> None:
    image = read_image(job.source)
    large = upscaler(image.pixels, progress=progress)
    write_png(job.target, DecodedImage(large, image.icc_profile))


def _reason(source: Path, error: Exception) -> str:
    text = ' '.join(str(error).split())
    if not isinstance(error, UserError):
        text = f'{type(error).__name__}: {text}'
    # What concerns a file names it already.
    return text if text.startswith(str(source)) else f'{source}: {text}'


def prepare_output(out: str | Path) -> None:
    """Make the output folder before anything is computed.

    Raises:
        UserError: It cannot be made or written to.
    """
    try:
        make_folder(out)
    except UserError as error:
        raise UserError(f'--out {error}') from error
