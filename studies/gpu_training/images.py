# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Images for the device: packed as JPEGs, stored as planes, and patches drawn from them."""
import os
import random
import tarfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from srdensenet_mm.images.matlab_bicubic import matlab_bicubic
from srdensenet_mm.models.colour import rgb_to_y

from .teachers import BATCH, TILE, Teacher

# The border of a tile that is not kept: a teacher lacks the pixels around it.
MARGIN = 8
CORE = TILE - 2 * MARGIN
HELD_BACK = 'held-back'


def pack(folders: Sequence[Path], out: Path, part_mib: float, total_mib: float, quality: int,
         held_back: int, min_side: int) -> list[Path]:
    """Write images as JPEGs into parts, each a sample of all.

    Colour is stored at half the resolution. Training needs luma, but a teacher
    sees colour, and DAT-light is half a dB worse on gray images.

    Args:
        folders (Sequence[Path]): Searched with all folders below.
        out (Path): Folder for ``images-0.tar``, ``images-1.tar``, ...
        part_mib (float): The size that no part exceeds.
        total_mib (float): The size of all parts together.
        quality (int): Of the JPEGs.
        held_back (int): How many images go into every part for validation.
        min_side (int): Images with a shorter side are left out.

    Returns:
        list[Path]: The parts.

    Raises:
        UserError: A folder is missing or holds no image, or one cannot be read.
    """
    # Imported here: it needs MMEngine for its log, which the machine with the GPU lacks.
    from srdensenet_mm.images.reading import find_images, read_rgb
    paths = find_images(folders)
    random.Random(0).shuffle(paths)

    def encode(path: Path) -> bytes | None:
        image = cv2.cvtColor(read_rgb(str(path)), cv2.COLOR_RGB2BGR)
        if min(image.shape[:2]) < min_side:
            return None
        return cv2.imencode('.jpg', image, [
            cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420])[1].tobytes()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        files = [data for data in pool.map(encode, paths) if data is not None]
    held, files = files[:held_back], files[held_back:]
    # A tar's entry takes a header and whole blocks.
    room = {number: int(part_mib * 2**20) - 20480 - sum(len(data) + 1024 for data in held)
            for number in range(max(1, int(total_mib / part_mib)))}
    parts = {number: [(f'{HELD_BACK}/{i}.jpg', data) for i, data in enumerate(held)]
             for number in room}
    for i, data in enumerate(files):
        number = max(room, key=room.get)
        if room[number] < len(data) + 1024:
            break
        room[number] -= len(data) + 1024
        parts[number].append((f'{i}.jpg', data))
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for number, entries in parts.items():
        path = out / f'images-{number}.tar'
        with tarfile.open(path, 'w') as tar:
            for name, data in entries:
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, BytesIO(data))
        assert path.stat().st_size <= part_mib * 2**20, f'{path} is too large'
        written.append(path)
    return written


def unpack(parts: Sequence[Path]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The images of some parts, uint8 RGB: those to train on, and those held back."""
    files = {}
    for part in parts:
        with tarfile.open(part) as tar:
            files.update((entry.name, tar.extractfile(entry).read()) for entry in tar)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = dict(zip(files, pool.map(_decode, files.values()), strict=True))
    return ([image for name, image in images.items() if not name.startswith(HELD_BACK)],
            [image for name, image in images.items() if name.startswith(HELD_BACK)])


def _decode(data: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def luma(image: np.ndarray) -> Tensor:
    """Y of studio range, divided by 255, float32 (H, W), of RGB, uint8 (H, W, 3)."""
    return rgb_to_y(torch.from_numpy(image).permute(2, 0, 1).float())[0] / 255


class Planes:
    """LR and target luma of many images, flat in the device's memory.

    LR is made once, so a step cuts its patches with one look-up each. Patches
    begin on the LR grid, which lies at another offset at each ``seed``.

    Args:
        images (Sequence[np.ndarray]): uint8 RGB.
        scale (int): The upscaling factor.
        patch (int): Side of an LR patch. Images too small for one are left out.
        sizes (Sequence[float]): The sizes in which each image serves.
        device (torch.device): Where the planes lie.
        seed (int): Of the offsets.
    """

    def __init__(self, images: Sequence[np.ndarray], scale: int, patch: int,
                 sizes: Sequence[float], device: torch.device, seed: int = 0):
        self.scale, self.patch = scale, patch
        offsets = np.random.default_rng(seed).integers(0, scale, (len(images), len(sizes), 2))

        def lay(job: tuple[int, int]) -> tuple | None:
            image, size = images[job[0]], sizes[job[1]]
            if size < 1:
                image = cv2.resize(image, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
            top, left = offsets[job]
            height, width = (image.shape[0] - top) // scale, (image.shape[1] - left) // scale
            if min(height, width) < patch:
                return None
            high = image[top:top + scale * height, left:left + scale * width]
            # A multiple of the tile, as teachers need it.
            below, right = -height % CORE, -width % CORE
            low = np.pad(matlab_bicubic(high, scale),
                         ((MARGIN, MARGIN + below), (MARGIN, MARGIN + right), (0, 0)),
                         mode='symmetric')
            high = np.pad(high, ((0, scale * below), (0, scale * right), (0, 0)))
            return luma(low).half(), luma(high).half(), height, width, torch.from_numpy(low)

        jobs = [(i, j) for i in range(len(images)) for j in range(len(sizes))]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            laid = [plane for plane in pool.map(lay, jobs) if plane is not None]
        if not laid:
            raise ValueError(f'no image is as large as a patch of {scale * patch} pixels')
        self.low, self.target = (
            torch.cat([plane[i].flatten() for plane in laid]).to(device) for i in (0, 1))
        self._colours = torch.cat([plane[4].view(-1, 3) for plane in laid]).to(device)

        def column(values) -> Tensor:
            return torch.tensor(list(values), device=device)

        def starts(i: int) -> list[int]:
            return np.cumsum([0, *(plane[i].numel() for plane in laid)])[:-1].tolist()

        self.low_start, self.high_start = column(starts(0)), column(starts(1))
        self.low_width = column(plane[0].size(1) for plane in laid)
        self.high_width = column(plane[1].size(1) for plane in laid)
        self.room = column((plane[2] - patch + 1, plane[3] - patch + 1) for plane in laid)
        # Every patch is as likely as any other.
        self.chances = self.room.double().prod(1).cumsum(0)
        self.chances /= self.chances[-1].clone()
        self.low_pixels = sum(plane[2] * plane[3] for plane in laid)
        tiles = [(low, width, high, wide, CORE * i, CORE * j) for low, width, high, wide, plane in
                 zip(starts(0), self.low_width.tolist(), starts(1), self.high_width.tolist(), laid,
                     strict=True)
                 for i in range(plane[1].size(0) // (scale * CORE))
                 for j in range(plane[1].size(1) // (scale * CORE))]
        random.Random(seed).shuffle(tiles)
        self._tiles = torch.tensor(tiles, device=device)

    def teach(self, teacher: Teacher, share: float, seconds: float) -> str:
        """Mix a teacher's output into the target.

        Args:
            teacher (Teacher): Of the same scale.
            share (float): Of the teacher in the mix; the rest is HR's.
            seconds (float): When to stop; what is not taught keeps HR. As many
                of the eight flips are averaged as there is time for.

        Returns:
            str: What was done.
        """
        scale, turns, done = self.scale, 1, 0
        began = last = time.time()
        rows, columns = (torch.arange(TILE, device=self.low.device).view(shape)
                         for shape in ((-1, 1), (1, -1)))
        high_rows, high_columns = (
            torch.arange(scale * CORE, device=self.low.device).view(shape)
            for shape in ((-1, 1), (1, -1)))
        edge = scale * MARGIN
        batches = self._tiles.split(BATCH)
        for number, batch in enumerate(batches):
            low, width, high, wide, top, left = (value.view(-1, 1, 1) for value in batch.T)
            tiles = self._colours[low + (top + rows) * width + left + columns]
            taught = teacher(tiles, turns)[:, edge:-edge, edge:-edge].half()
            where = high + (scale * top + high_rows) * wide + scale * left + high_columns
            self.target[where] = torch.lerp(self.target[where], taught, share)
            done += len(batch)
            taught[0, 0, 0].item()  # waits for the device
            now = time.time()
            # The first batches are slow.
            if number == 3:
                whole = (now - last) * len(batches)
                turns = next((n for n in (8, 4, 2) if n * whole < seconds + began - now), 1)
            if now - began > seconds:
                break
            last = now
        return (f'{done} of {len(self._tiles)} tiles taught, {turns} turns, '
                f'{time.time() - began:.0f} s')

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Draw a batch by torch's generator of the device; nothing waits for the CPU.

        Args:
            count (int): Patches.

        Returns:
            tuple[Tensor, Tensor]: LR and target, float32, shape (count, 1, P, P)
            and (count, 1, s * P, s * P), flipped and rotated alike.
        """
        chances = torch.rand(3, count, dtype=torch.float64, device=self.low.device)
        which = torch.searchsorted(self.chances, chances[0]).clamp(max=len(self.chances) - 1)
        corner = (chances[1:] * self.room[which].T).long()
        turns = torch.rand(3, count, 1, 1, device=self.low.device) < 0.5
        return (_cut(self.low, self.low_start[which], self.low_width[which], corner + MARGIN,
                     turns, self.patch),
                _cut(self.target, self.high_start[which], self.high_width[which],
                     self.scale * corner, turns, self.scale * self.patch))


def _cut(plane: Tensor, start: Tensor, width: Tensor, corner: Tensor, turns: Tensor,
         side: int) -> Tensor:
    steps = torch.arange(side, device=plane.device)
    rows, columns = steps.view(1, -1, 1), steps.view(1, 1, -1)
    rows, columns = (torch.where(turns[0], columns, rows), torch.where(turns[0], rows, columns))
    rows = torch.where(turns[1], side - 1 - rows, rows)
    columns = torch.where(turns[2], side - 1 - columns, columns)
    start, width, top, left = (
        value.view(-1, 1, 1) for value in (start, width, corner[0], corner[1]))
    return plane[start + (top + rows) * width + left + columns].float().unsqueeze(1)
