# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What the page has asked for: images that are upscaled one after another."""
import queue
import secrets
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from srdensenet_mm.checkpoints.published import published_files
from srdensenet_mm.errors import UserError
from srdensenet_mm.images.decoding import decode
from srdensenet_mm.images.files import write_png
from srdensenet_mm.images.matlab_bicubic import resample
from srdensenet_mm.inference.networks import from_checkpoint
from srdensenet_mm.inference.upscaler import Upscaler
from srdensenet_mm.models.at_points import output_points

# Jobs whose images are kept; older ones make room.
_KEPT = 6
# At first, of weights for any upscale factor.
ANY_SCALE = 2.5


class _Cancelled(Exception):
    """The page does not want the result any more."""


@dataclass
class Job:
    """An image to upscale, and what has become of it.

    Attributes:
        name (str): The file's name, for messages and for the download.
        data (bytes): Its content, until it is read.
        weights (int): Which of the checkpoints upscales it.
        scale (float, optional): The upscale factor. None, before it is done:
            that of the weights.
        self_ensemble (bool): Whether it averages over flips and rotations.
        folder (Path): Where its results are: bicubic.png, upscaled.png.
        state (str): ``'waiting'``, ``'running'``, ``'done'``, ``'failed'`` or
            ``'cancelled'``.
        progress (float): How much of it is done, 0..1.
        size (tuple[int, int], optional): Width and height of the result.
        notes (tuple[str, ...]): What a user should know of the reading.
        error (str): Why it failed, one line.
    """
    name: str
    data: bytes
    weights: int
    scale: float | None
    self_ensemble: bool
    folder: Path
    state: str = 'waiting'
    progress: float = 0
    size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    error: str = ''
    cancelled: threading.Event = field(default_factory=threading.Event)

    def as_json(self) -> dict[str, Any]:
        """What the page shows of it."""
        return dict(state=self.state, progress=self.progress, size=self.size,
                    notes=self.notes, error=self.error)


class Jobs:
    """Upscales images in a thread of its own, in the order in which they come.

    Args:
        checkpoints (Sequence[str | Path]): What the page offers.
        **settings: Of every :class:`~srdensenet_mm.inference.upscaler.Upscaler`,
            such as ``device`` and ``dtype``.

    Attributes:
        titles (list[str]): Of the checkpoints, with their scales.
        any_scale (list[bool]): Whether they upscale by any factor.

    Raises:
        UserError: There is no checkpoint, or one cannot be read.
    """

    def __init__(self, checkpoints: Sequence[str | Path], **settings):
        if not checkpoints:
            raise UserError('no weights to upscale with: give some, --checkpoint FILE')
        self._checkpoints = [Path(checkpoint) for checkpoint in checkpoints]
        self._settings = settings
        self._upscaler = lru_cache(maxsize=4)(self._make_upscaler)
        # All of them now: what is wrong with one shows before the page does.
        scales = [from_checkpoint(path).scale for path in self._checkpoints]
        self.any_scale = [scale is None for scale in scales]
        for weights, scale in enumerate(scales):
            self._upscaler(weights, scale or ANY_SCALE, False)
        self.titles = [f'{f"x{scale}" if scale else "any scale"}: {_title(path)}'
                       for scale, path in zip(scales, self._checkpoints, strict=True)]
        self._folder = Path(tempfile.mkdtemp(prefix='srdensenet_mm_app_'))
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._queue: queue.Queue[Job] = queue.Queue()
        threading.Thread(target=self._work, daemon=True).start()

    def _make_upscaler(self, weights: int, scale: float | None, self_ensemble: bool) -> Upscaler:
        return Upscaler(self._checkpoints[weights], scale=scale, self_ensemble=self_ensemble,
                        **self._settings)

    def add(self, name: str, data: bytes, weights: int, scale: float | None,
            self_ensemble: bool) -> str:
        """Put an image at the end of the queue.

        Args:
            name (str): Its file's name.
            data (bytes): The file's content.
            weights (int): Index of a checkpoint.
            scale (float, optional): See :class:`Upscaler`.
            self_ensemble (bool): See :class:`Upscaler`.

        Returns:
            str: The name to ask for it by.

        Raises:
            UserError: There is no such checkpoint, or the file is empty.
        """
        if not 0 <= weights < len(self._checkpoints):
            raise UserError(f'weights={weights}: choose one of 0 to {len(self._checkpoints) - 1}')
        if not data:
            raise UserError(f'{name}: is empty (0 bytes)')
        with self._lock:
            # Nobody else can guess it, where others are let in.
            key = secrets.token_hex(8)
            self._jobs[key] = job = Job(
                name, data, weights, scale, self_ensemble, self._folder / key)
            for old in list(self._jobs)[:-_KEPT]:
                if self._jobs[old].state not in ('waiting', 'running'):
                    shutil.rmtree(self._jobs.pop(old).folder, ignore_errors=True)
        self._queue.put(job)
        return key

    def get(self, key: str) -> Job | None:
        """A job by its name; None where it was never there, or has made room."""
        return self._jobs.get(key)

    def download_name(self, job: Job) -> str:
        """What the result is called on the user's disk."""
        return f'{Path(job.name).stem}_x{job.scale:g}.png'

    def close(self) -> None:
        """Stop at the next tile, and remove all results."""
        for job in list(self._jobs.values()):
            job.cancelled.set()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _work(self) -> None:
        while True:
            job = self._queue.get()
            try:
                self._upscale(job)
                job.state = 'done'
            except _Cancelled:
                job.state = 'cancelled'
            except Exception as error:  # whatever is wrong with it, the next one goes on
                job.error = ' '.join(str(error).split())
                if not isinstance(error, UserError):
                    job.error = f'{job.name}: {type(error).__name__}: {job.error}'
                    traceback.print_exc()
                elif not job.error.startswith(job.name):
                    job.error = f'{job.name}: {job.error}'
                job.state = 'failed'
                print(f'error: {job.error}', file=sys.stderr)
            job.data = b''

    def _upscale(self, job: Job) -> None:
        done = 0

        def count(pixels: int) -> None:
            nonlocal done
            if job.cancelled.is_set():
                raise _Cancelled
            done += pixels
            job.progress = done / total

        total = 1
        count(0)
        job.state = 'running'
        upscaler = self._upscaler(job.weights, job.scale, job.self_ensemble)
        image = decode(job.name, job.data)
        job.notes = image.notes
        total = image.pixels.shape[0] * image.pixels.shape[1]
        large = upscaler(image.pixels, progress=count)
        count(0)
        write_png(job.folder / 'upscaled.png', replace(image, pixels=large))
        write_png(job.folder / 'bicubic.png', replace(
            image, pixels=_bicubic(_to_8_bits(image.pixels), *large.shape[:2])))
        job.size, job.scale = (large.shape[1], large.shape[0]), upscaler.scale


def _title(checkpoint: Path) -> str:
    """What published weights are for; of other weights, the file's name."""
    for (kind, _), path in published_files().items():
        if path == checkpoint:
            return 'photographs' if kind == 'photo' else 'clean images'
    return checkpoint.stem


def _bicubic(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """MATLAB's bicubic interpolation to any size."""
    points = (output_points(*sides).numpy() for sides in
              zip(pixels.shape, (height, width), strict=False))
    return resample(pixels, tuple(points), (1, 1))


def _to_8_bits(pixels: np.ndarray) -> np.ndarray:
    """For the eye: MATLAB's bicubic is one of 8 bits."""
    return pixels if pixels.dtype == np.uint8 else np.rint(pixels / 257).astype(np.uint8)
