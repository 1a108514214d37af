# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Images of every sort that users have, good and bad, made when a test asks."""
import contextlib
import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

HEIGHT, WIDTH = 50, 61


def make_rgb(seed=0, height=HEIGHT, width=WIDTH):
    """Smooth, so that lossy formats keep it nearly; every channel its own."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 5, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def write(path: Path, rgb):
    """By OpenCV; alpha, if there is one, stays the fourth channel."""
    if rgb.ndim == 3:
        rgb = rgb[..., [2, 1, 0, *range(3, rgb.shape[2])]]
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not imwrite, which does not take every name.
    path.write_bytes(cv2.imencode(path.suffix, np.ascontiguousarray(rgb))[1])
    return path


def write_good(folder: Path) -> dict:
    """Odd but good images: file -> (the RGB it stands for, levels a pixel may be off)."""
    rgb, expected = make_rgb(), {}

    def add(name, image, meaning=rgb, tolerance=0):
        expected[write(folder / name, image)] = (meaning, tolerance)

    gray = rgb[..., 1]
    deep = np.random.default_rng(1).integers(0, 2**16, (HEIGHT, WIDTH, 3), np.uint16)
    shallow = np.floor(deep / 257 + 0.5).astype(np.uint8)
    alpha = np.arange(WIDTH, dtype=np.uint8)[None].repeat(HEIGHT, 0)[..., None]
    add('plain.png', rgb)
    add('upper case.PNG', rgb)
    add('bitmap.bmp', rgb)
    add('tagged.tiff', rgb)
    add('portable.ppm', rgb)
    add('lossy.jpg', rgb, tolerance=24)
    add('web.webp', rgb, tolerance=24)
    add('grayscale.png', gray, np.stack([gray] * 3, axis=-1))
    add('grayscale16.png', deep[..., 1], np.stack([shallow[..., 1]] * 3, axis=-1))
    add('rgb16.png', deep, shallow)
    add('alpha.png', np.concatenate([rgb, alpha], axis=-1))
    add('alpha16.png', np.concatenate([deep, deep[..., :1]], axis=-1), shallow)
    add('with spaces/an einem schönen Tag, 晴れ.png', rgb)
    add('names.with.dots.v2.png', rgb)

    palette = Image.fromarray(rgb).quantize(16)
    palette.save(folder / 'palette.png')
    expected[folder / 'palette.png'] = (np.asarray(palette.convert('RGB')), 0)
    palette.save(folder / 'palette_transparent.png', transparency=3)
    expected[folder / 'palette_transparent.png'] = (np.asarray(palette.convert('RGB')), 0)

    ink = 255 - rgb.astype(float)
    key = ink.min(axis=-1, keepdims=True)
    cmyk = np.concatenate([ink - key, key], axis=-1)
    light = (255 - cmyk[..., :3]) * (255 - cmyk[..., 3:]) / 255
    Image.fromarray(cmyk.round().astype(np.uint8), 'CMYK').save(folder / 'cmyk.jpg', quality=98)
    expected[folder / 'cmyk.jpg'] = (light.round().astype(np.uint8), 12)

    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned clockwise by a quarter.
    Image.fromarray(np.rot90(rgb)).save(folder / 'turned.jpg', quality=98, exif=exif)
    expected[folder / 'turned.jpg'] = (rgb, 24)
    return expected


def write_bad(folder: Path) -> dict:
    """Bad images: file -> a word of the reason that must be given."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    whole = write(folder / 'whole.png', noise).read_bytes()
    (folder / 'cut.png').write_bytes(whole[:len(whole) // 2])
    (folder / 'damaged.png').write_bytes(
        whole[:len(whole) // 2] + bytes(8) + whole[len(whole) // 2 + 8:])
    lossy = cv2.imencode('.jpg', noise)[1].tobytes()
    (folder / 'half.jpeg').write_bytes(lossy[:len(lossy) // 2])
    (folder / 'whole.png').unlink()
    (folder / 'nothing.png').write_bytes(b'')
    (folder / 'text.png').write_text('this is no image\n' * 20)
    (folder / 'dangling.png').symlink_to(folder / 'gone.png')
    write(folder / 'float.tiff', make_rgb().astype(np.float32))
    write(folder / 'one pixel.png', make_rgb(height=1, width=1))
    write(folder / 'narrow.png', make_rgb(height=HEIGHT, width=11))
    reasons = dict.fromkeys(['cut.png', 'damaged.png', 'half.jpeg', 'text.png'], 'no image')
    reasons.update({
        'nothing.png': '0 bytes', 'dangling.png': 'cannot be read', 'float.tiff': 'of a rare kind',
        'one pixel.png': '1x1', 'narrow.png': '11x50'})
    return {folder / name: reason for name, reason in reasons.items()}


@contextlib.contextmanager
def as_nobody():
    """Without root's right to read everything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
