# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Colours of transparent pixels: nobody sees them, and programs write anything there."""
import cv2
import numpy as np

# A pixel is hidden if its alpha is this many times smaller than the largest one near it. Its
# colour is hardly visible, but a network would spread it.
_SEEN = 8
# Near: pixels to each side.
_NEAR = 8
_KERNEL = np.ones((2 * _NEAR + 1, 2 * _NEAR + 1), np.uint8)
# Rows that are filled at a time, an even number, so that little is held in floats.
_ROWS = 256


def fill_hidden(image: np.ndarray) -> np.ndarray:
    """Give hidden pixels the colours of the visible pixels around them.

    A network reads colours without alpha. So the colours of transparent pixels
    would spread into the rims of visible parts. Here, hidden pixels get a mean
    of the nearest visible colours, weighted by alpha. For that, a pyramid of
    means is made, and each level is filled from the coarser one. Multiplying
    colours by alpha instead would show the network darkened rims.

    Args:
        image (np.ndarray): uint8 or uint16. Other shapes than BGRA (H, W, 4)
            come back as they are.

    Returns:
        np.ndarray: The image. Alpha, and colours that are seen, are unchanged;
        so is all of an image that is opaque, or transparent everywhere.
    """
    if image.ndim != 3 or image.shape[2] != 4:
        return image
    alpha = np.ascontiguousarray(image[..., 3])
    if alpha.min() == np.iinfo(image.dtype).max or not alpha.any():
        return image
    largest = cv2.dilate(alpha, _KERNEL)
    hidden = (alpha == 0) | (alpha < largest // _SEEN)
    if not hidden.any():
        return image
    means = _means(_halved(image))
    filled = image.copy()
    for top in range(0, len(image), _ROWS):
        rows = slice(top, top + _ROWS)
        part, where = filled[rows], hidden[rows]
        if where.any():
            coarse = _doubled_rows(means, rows, image.shape[:2])
            colours = _blended(part[..., :3].astype(np.float32), alpha[rows], coarse,
                               largest[rows])
            part[..., :3][where] = np.rint(colours)[where].astype(image.dtype)
    return filled


def _halved(image: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels of colours multiplied by alpha, and of alpha; float32."""
    height, width = image.shape[:2]
    out = np.empty((-(-height // 2), -(-width // 2), 4), np.float32)
    for top in range(0, height, _ROWS):
        part = image[top:top + _ROWS].astype(np.float32)
        if image.dtype != np.float32:
            part[..., :3] *= part[..., 3:]
        part = np.pad(part, ((0, part.shape[0] % 2), (0, width % 2), (0, 0)))
        rows, columns = part.shape[0] // 2, part.shape[1] // 2
        out[top // 2:top // 2 + rows] = part.reshape(rows, 2, columns, 2, 4).mean((1, 3))
    return out


def _means(level: np.ndarray) -> np.ndarray:
    """Colours for all of a level (h, w, 4): its own where they are seen, else coarser ones."""
    weights = level[..., 3]
    colours = level[..., :3] / np.maximum(weights, np.finfo(np.float32).tiny)[..., None]
    if level.shape[:2] == (1, 1):
        return colours
    coarse = _means(_halved(level))
    coarse = _doubled_rows(coarse, slice(0, len(level)), level.shape[:2])
    return _blended(colours, weights, coarse, cv2.dilate(weights, _KERNEL))


def _blended(colours: np.ndarray, alpha: np.ndarray, coarse: np.ndarray,
             largest: np.ndarray) -> np.ndarray:
    own = _SEEN * alpha.astype(np.float32) / np.maximum(largest, np.finfo(np.float32).tiny)
    own = np.minimum(own, 1)[..., None]
    return own * colours + (1 - own) * coarse


def _doubled_rows(means: np.ndarray, rows: slice, size: tuple[int, int]) -> np.ndarray:
    """Rows of twice as large an image, by bilinear interpolation; they begin at an even one."""
    top, stop = rows.start // 2, -(-min(rows.stop, size[0]) // 2)
    first, last = max(0, top - 1), min(len(means), stop + 1)
    part = means[first:last]
    large = cv2.resize(part, (2 * part.shape[1], 2 * part.shape[0]),
                       interpolation=cv2.INTER_LINEAR)
    begin = 2 * (top - first)
    return large[begin:begin + min(rows.stop, size[0]) - rows.start, :size[1]]
