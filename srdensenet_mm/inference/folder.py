# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Upscaling image files: one, a folder of them, or what a pattern matches."""
import errno
import glob
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from srdensenet_mm.errors import UserError, naming
from srdensenet_mm.files import make_folder, same_file
from srdensenet_mm.images.decoding import read_size
from srdensenet_mm.images.files import read_image, write_png
from srdensenet_mm.images.folders import take_images, walk_files, why_no_image
from srdensenet_mm.progress import progress_bar

# Failures to write that the next image would meet as well.
_FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass
class Job:
    """An image to upscale.

    Attributes:
        source (Path): The image file.
        target (Path): The PNG to write.
        fault (str): Why it must not be written; empty without a fault.
        passed_over (str): Why the image is left out; empty if it is not.
    """
    source: Path
    target: Path
    fault: str = ''
    passed_over: str = ''


@dataclass
class Summary:
    """What became of the images.

    Attributes:
        written (List[Path]): New files.
        skipped (List[Path]): Files that were there already.
        passed_over (List[str]): One line for each image of a format that is
            not read: its name and the reason.
        notes (List[str]): Notes for the user on upscaled images, a line each.
        failed (List[str]): One line for each image that could not be
            upscaled: its name and the reason.
    """
    written: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def find_jobs(inputs: Sequence[str], out: str | Path) -> list[Job]:
    """Find the images, and name the files to write.

    Args:
        inputs (Sequence[str]): Files, folders (searched to any depth, hidden
            files left out, links followed), and patterns with ``*``, ``?`` or
            ``**``.
        out (str | Path): The folder to write to. Below it, images keep their
            place below a folder of ``inputs`` or the fixed part of a pattern.

    Returns:
        List[Job]: In the order of ``inputs``, sorted within each. Images that
        would become the same file, or would overwrite an image, have a
        ``fault``. Images of formats that are not read are ``passed_over``.

    Raises:
        UserError: There is no image, an input is empty, all images have
            faults, or ``out`` is a folder of ``inputs``.
    """
    out = Path(out)
    jobs: list[Job] = []
    left_out: list[Job] = []
    of_target: dict[Path, list[Job]] = {}
    for given in inputs:
        for job in _expand(given, out):
            if job.fault or job.passed_over:
                left_out.append(job)
                continue
            same_target = of_target.setdefault(job.target, [])
            if not any(same_file(other.source, job.source) for other in same_target):
                same_target.append(job)
                jobs.append(job)
    sources = {os.path.realpath(job.source): job.source for job in jobs}
    for job in jobs:
        others = [other.source for other in of_target[job.target] if other is not job]
        overwritten = sources.get(os.path.realpath(job.target))
        if others:
            job.fault = (f'{job.source}: {others[0]} would become {job.target} too: rename one, or '
                         'upscale them into two folders')
        elif same_file(job.target, job.source):
            job.fault = (f'{job.source}: would be overwritten by its own result, choose another '
                         '--out')
        elif overwritten is not None:
            job.fault = (f'{job.source}: {overwritten} would be overwritten by its result, choose '
                         'another --out')
    jobs += left_out
    if jobs and all(job.fault for job in jobs):
        raise UserError(jobs[0].fault)
    return jobs


def _expand(given: str, out: Path) -> list[Job]:
    """The images of one input."""
    if not given:
        # The shell variable was not set. Path('') would be the current folder.
        raise UserError("'': an input is empty, give a file, a folder or a pattern "
                        '(. is the current folder)')
    path = Path(given)
    # os.path, because methods of Path raise for names too long and forbidden folders.
    if os.path.isdir(path):
        if os.path.realpath(path) == os.path.realpath(out):
            raise UserError(f'{given}: is the --out folder as well; the next run would upscale '
                            'the results again, choose another')
        # Results of an earlier run are not images to upscale.
        root, found = path, walk_files(path, left_out=out)
    elif os.path.exists(path) or not glob.has_magic(given):
        # A missing or unreadable file is reported later, with the others that fail. One that
        # only looks like an image (a camera's raw file begins like a TIFF) fails here.
        why = why_no_image(path)
        return [Job(path, out / f'{path.stem}.png', fault=f'{path}: {why}' if why else '')]
    else:
        fixed = []
        for part in path.parts[:-1]:
            if glob.has_magic(part):
                break
            fixed.append(part)
        root = Path(*fixed)
        found = (Path(name) for name in glob.glob(given, recursive=True)
                 if os.path.isfile(name) and not _is_result(name, out, root))
    images, passed_over = take_images(found)
    if not images:
        reasons = [f'{file}: {why}' for file, why in passed_over.items()]
        raise UserError(f'{given}: no image there that can be read (PNG, JPEG, TIFF, WebP, ...)'
                        + (f' ({reasons[0]})' if reasons else ''))
    return [Job(file, out / file.relative_to(root).with_name(f'{file.stem}.png'),
                passed_over=passed_over.get(file, '')) for file in [*images, *passed_over]]


def _is_result(name: str, out: Path, root: Path) -> bool:
    """Whether a pattern matched a result of an earlier run below ``root``."""
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
        summary (Summary, optional): Filled by the call. So it says what was
            done where the call is interrupted.

    Returns:
        Summary: Which images were written, were there already, or failed.

    Raises:
        UserError: Nothing more can be written: the disk is full or read-only.
    """
    summary = Summary() if summary is None else summary
    open_jobs = []
    for job in jobs:
        if job.passed_over:
            summary.passed_over.append(f'{job.source}: {job.passed_over}')
        elif job.fault:
            summary.failed.append(job.fault)
        elif os.path.isfile(job.target) and not overwrite:
            summary.skipped.append(job.target)
        else:
            width, height = read_size(job.source) or (0, 0)
            open_jobs.append((job, width * height))
    with progress_bar(total=sum(pixels for _, pixels in open_jobs), unit='px',
                      unit_scale=True) as bar:
        for job, pixels in open_jobs:
            bar.set_description(job.source.name[-24:])
            expected = bar.n + pixels
            try:
                summary.notes.extend(_upscale_file(job, upscaler, bar.update))
                summary.written.append(job.target)
            except Exception as error:  # the other images are upscaled all the same
                cause = error.__cause__
                if isinstance(cause, OSError) and cause.errno in _FATAL:
                    raise
                summary.failed.append(_reason(job.source, error))
            bar.update(expected - bar.n)
    return summary


def _upscale_file(job: Job, upscaler: Callable[..., np.ndarray],
                  progress: Callable[[int], None]) -> tuple[str, ...]:
    image = read_image(job.source)
    large = upscaler(image.pixels, progress=progress)
    write_png(job.target, replace(image, pixels=large))
    return image.notes


def _reason(source: Path, error: Exception) -> str:
    text = ' '.join(str(error).split())
    if not isinstance(error, UserError):
        text = f'{type(error).__name__}: {text}'
    # Errors about a file name it already.
    return text if text.startswith(str(source)) else f'{source}: {text}'


def prepare_output(out: str | Path) -> None:
    """Make the output folder before anything is computed.

    Raises:
        UserError: It cannot be made or written to.
    """
    with naming('--out'):
        make_folder(out)
