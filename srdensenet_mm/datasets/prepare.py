# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Making GTmod12 and LRbicx folders, as MMagic and the field use them, from HR images."""
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from srdensenet_mm.errors import UserError, printable
from srdensenet_mm.files import atomic_write
from srdensenet_mm.images.files import encode_png
from srdensenet_mm.images.matlab_bicubic import matlab_bicubic
from srdensenet_mm.images.reading import find_images, read_rgb
from srdensenet_mm.progress import progress_bar


@dataclass
class PrepareReport:
    """The results of :func:`prepare_dataset`. All paths are those of the sources."""

    written: list[Path] = field(default_factory=list)
    up_to_date: list[Path] = field(default_factory=list)
    #: Source -> why it could not be used, one line that names it.
    failed: dict[Path, str] = field(default_factory=dict)
    #: GT images in the set without a source. They will be scored with the others.
    left_over: list[Path] = field(default_factory=list)


def prepare_help(folder: str | Path = 'OUT_FOLDER', scale: int | None = None) -> str:
    """The command that makes a set, for messages about one that is missing or wrong.

    Args:
        folder (str | Path): The set.
        scale (int, optional): The scale that is missing; all usual ones where
            left out.
    """
    scales = f' --scales {scale}' if scale else ''
    return f'prepare it with: python tools/prepare_dataset.py HR_FOLDER {folder}{scales}'


def gt_multiple(scale: int) -> int:
    """The number whose multiples HR images are cropped to.

    Args:
        scale (int): The upscale factor.

    Returns:
        int: 12, as usual in the field, for scales that divide 12 (2, 3, 4, 6
        and 12). The scale itself for others (8, 5, ...).
    """
    return 12 if 12 % scale == 0 else scale


def prepare_dataset(hr_folder: str | Path,
                    out_folder: str | Path,
                    scales: Sequence[int] = (2, 3, 4),
                    overwrite: bool = False,
                    num_workers: int | None = None,
                    progress: bool = False) -> PrepareReport:
    """Make a set that MMagic's ``BasicImageDataset`` reads.

    Each image in ``hr_folder`` and the folders below it becomes 8-bit RGB PNG
    files with its stem. ``OUT/GTmod12`` holds the image, cropped at the bottom
    and the right to a multiple of 12. ``OUT/LRbicx{scale}`` holds MATLAB's
    bicubic of the cropped image, for each scale. A scale that does not divide
    12 has its own GT: ``OUT/GTmod8`` goes with ``OUT/LRbicx8``.
    :func:`~srdensenet_mm.datasets.read_rgb` says how other formats are read.

    Each file appears whole or not at all, and gets its source's time of
    modification. Files with that time are up to date and are kept. Where a GT
    is made again, so are all its existing LR images. An image that cannot be
    used does not stop the others.

    Args:
        hr_folder (str | Path): Folder of HR images. If ``out_folder`` lies in
            it, the prepared images there are skipped.
        out_folder (str | Path): The set, made where missing.
        scales (Sequence[int]): The scale factors, at least 2. Defaults to (2, 3,
            4).
        overwrite (bool): Write all files again.
        num_workers (int, optional): Images prepared at once. Defaults to the
            number of CPU cores.
        progress (bool): Show a progress bar and failures as they come, on
            stderr.

    Returns:
        PrepareReport: The images written, left alone, failed and left over.

    Raises:
        UserError: The folder is missing or holds no image, all images have
            the stem of another one, a scale is no whole number of at least 2, or a file
            cannot be written.
    """
    for scale in scales:
        if scale < 2 or scale % 1:
            raise UserError(f'scale {scale} is not supported: give whole numbers of at least 2')
    scales = sorted(set(map(int, scales)))
    out_folder = Path(out_folder)
    report = PrepareReport()
    sources = _find_sources(hr_folder, out_folder, report.failed)
    pool = ThreadPoolExecutor(os.cpu_count() if num_workers is None else max(1, num_workers))
    try:
        jobs = {
            pool.submit(_prepare_image, source, out_folder, scales, overwrite): source
            for source in sources
        }
        done = as_completed(jobs)
        for job in progress_bar(done, total=len(jobs), unit='image') if progress else done:
            source = jobs[job]
            try:
                (report.written if job.result() else report.up_to_date).append(source)
            except _BadImage as error:
                report.failed[source] = str(error)
                if progress:
                    tqdm.write(printable(f'failed: {error}'))
    finally:
        # After a failed write or Ctrl-C: finish the images at hand, begin no others.
        pool.shutdown(cancel_futures=True)
    for paths in (report.written, report.up_to_date):
        paths.sort()
    report.failed = dict(sorted(report.failed.items()))
    stems = {source.stem for source in [*sources, *report.failed]}
    report.left_over = sorted(
        path for multiple in set(map(gt_multiple, scales))
        for path in (out_folder / f'GTmod{multiple}').glob('*.png') if path.stem not in stems)
    return report


class _BadImage(Exception):
    """A source cannot be used. (A target that cannot be written is another error.)"""


def _find_sources(hr_folder: str | Path, out_folder: Path, failed: dict[Path, str]) -> list[Path]:
    """The images to prepare; those with the same stem are added to ``failed``."""
    prepared = {
        path.resolve()
        for pattern in ('GTmod*', 'LRbicx*') for path in out_folder.glob(pattern)
    }
    by_stem: dict[str, list[Path]] = {}
    for path in find_images(hr_folder):
        if any(folder in prepared for folder in path.resolve().parents):
            continue
        by_stem.setdefault(path.stem, []).append(path)
    if not by_stem:
        raise UserError(f'{hr_folder}: holds no image besides those prepared in {out_folder}')
    for stem, paths in by_stem.items():
        if len(paths) > 1:
            for path in paths:
                other = next(one for one in paths if one != path)
                failed[path] = f'{path}: {other} would become {stem}.png too: rename one'
    sources = [paths[0] for paths in by_stem.values() if len(paths) == 1]
    if not sources:
        raise UserError(next(iter(failed.values())))
    return sources


def _prepare_image(source: Path, out_folder: Path, scales: list[int], overwrite: bool) -> bool:
    """True where something was written."""
    name = f'{source.stem}.png'
    time = _time(source)

    def is_stale(folder: str) -> bool:
        return overwrite or time is None or _time(out_folder / folder / name) != time

    stale = {multiple: is_stale(f'GTmod{multiple}') for multiple in map(gt_multiple, scales)}
    # LR images of an older GT would be scored without a message.
    others = [scale for scale in _scales_made(out_folder, name) if stale.get(gt_multiple(scale))]
    missing = [scale for scale in scales if stale[gt_multiple(scale)]
               or is_stale(f'LRbicx{scale}')]
    missing = sorted({*missing, *others})
    if not missing:
        return False
    try:
        image = read_rgb(source)
    except UserError as error:
        raise _BadImage(str(error)) from error
    crops = {multiple: _crop(image, multiple, source) for multiple in map(gt_multiple, missing)}
    # GT last of all: until it is up to date, its LR images are made again.
    for scale in missing:
        _write_png(out_folder / f'LRbicx{scale}' / name,
                   matlab_bicubic(crops[gt_multiple(scale)], scale), time)
    for multiple, gt in crops.items():
        if stale[multiple]:
            _write_png(out_folder / f'GTmod{multiple}' / name, gt, time)
    return True


def _time(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _scales_made(out_folder: Path, name: str) -> list[int]:
    """The scales at which an image is in the set."""
    folders = (folder for folder in out_folder.glob('LRbicx*') if (folder / name).exists())
    scales = (folder.name.removeprefix('LRbicx') for folder in folders)
    return [int(scale) for scale in scales if scale.isdecimal()]


def _crop(image: np.ndarray, multiple: int, source: Path) -> np.ndarray:
    height, width = (side // multiple * multiple for side in image.shape[:2])
    if not height or not width:
        raise _BadImage(f'{source}: {image.shape[1]}x{image.shape[0]} pixels is too small: '
                          f'it must be cropped to a multiple of {multiple}')
    return image[:height, :width]


def _write_png(path: Path, rgb: np.ndarray, time: int) -> None:
    content = encode_png(np.ascontiguousarray(rgb[..., ::-1]))
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
        # Where a share refuses times, the image is made again by the next run.
        with suppress(OSError):
            os.utime(temporary, ns=(time, time))


def failure_lines(report: PrepareReport) -> Iterator[str]:
    """The failures, a printable line each."""
    return map(printable, report.failed.values())
