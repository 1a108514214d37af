# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Training pairs drawn on the network's device, from images in its memory."""
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from srdensenet_mm.images.matlab_bicubic import MARGIN, downscale_kernel

# The possible turns of a patch. All three, each with probability 1/2, make the eight flips and
# rotations equally likely.
TURNS = ('horizontal', 'vertical', 'transpose')


class ResidentPatches:
    """Random patches of decoded images in the device's memory.

    A GPU trains this network on more patches a second than its CPUs can cut,
    downscale and send. Here, the device does all of that, by operations that a
    CUDA graph can hold: none of them waits for the CPU, and all shapes are
    known.

    The patches are those of ``RandomPatchPair`` with MMagic's ``Flip`` and
    ``RandomTransposeHW``. All images, and all offsets in one, are equally
    likely. LR equals MATLAB's bicubic downscaling in every pixel. Patches are
    flipped and transposed.

    With ``shares``, HR is mixed with teachers' images. Offsets are then
    multiples of the scale.

    Args:
        images (Iterable): uint8, shape (H, W, 3), 0..255, each side at least
            ``gt_patch_size`` long. With ``shares``, tuples of them: HR and each
            teacher's output, cropped to a multiple of the scale.
        scale (int): The upscale factor.
        gt_patch_size (int): Side of the HR patch, in pixels, a multiple of
            ``scale``.
        device (str | torch.device): Where to hold the images and to draw.
        turns (Sequence[tuple[str, float]]): The turns of a patch, from
            :data:`TURNS`, in this order, with their probabilities. Defaults to
            all of them with 1/2.
        shares (Sequence[float]): Each teacher's part of the target. Defaults to
            none.
    """

    def __init__(self, images: Iterable[np.ndarray], scale: int, gt_patch_size: int,
                 device: str | torch.device = 'cpu',
                 turns: Sequence[tuple[str, float]] = tuple((turn, 0.5) for turn in TURNS),
                 shares: Sequence[float] = ()):
        self.scale = scale
        self.gt_patch_size = gt_patch_size
        margin = MARGIN * scale
        self.shares = list(shares)
        # The teachers have seen the LR at whole LR pixels only.
        self._step = scale if self.shares else 1
        flat, starts, widths, room, start = [], [], [], [], 0
        flat_taught = [[] for _ in self.shares]
        for image in images:
            if self.shares:
                image, *taught = image
                image = image[:taught[0].shape[0], :taught[0].shape[1]]
            height, width = image.shape[:2]
            # Pixels that the kernel reads beyond the border, mirrored as in MATLAB.
            border = ((margin, margin), (margin, margin), (0, 0))
            around = np.pad(image, border, mode='symmetric')
            flat.append(torch.from_numpy(around).flatten())
            if self.shares:  # with the same border, so that one index serves all
                for pixels, one in zip(flat_taught, taught, strict=True):
                    pixels.append(torch.from_numpy(np.pad(one, border)).flatten())
            starts.append(start)
            widths.append(around.shape[1])
            room.append([(side - gt_patch_size) // self._step + 1 for side in (height, width)])
            start += around.size
        self._pixels = torch.cat(flat).to(device)
        self._taught = [torch.cat(pixels).to(device) for pixels in flat_taught]
        self._starts, self._widths, self._room = (
            torch.tensor(values, device=device) for values in (starts, widths, room))
        side = torch.arange(gt_patch_size + 2 * margin, device=device)
        self._rows, self._columns = side.view(1, -1, 1, 1), side.view(1, 1, -1, 1)
        self._channels = torch.arange(3, device=device)
        self._turns = [turn for turn, _ in turns]
        self._chances = torch.tensor(
            [chance for _, chance in turns], device=device).view(-1, 1, 1, 1, 1)
        kernel = downscale_kernel(scale)
        self._weights = torch.tensor(kernel.weights[0].astype(np.int32), device=device)
        self._denominator, self._first = kernel.denominator, kernel.first

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._starts)

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Draw a batch with torch's generator of the device.

        Args:
            count (int): Number of patches.

        Returns:
            Tuple[Tensor, Tensor]: LR, shape (count, 3, P // scale, P // scale),
            and the target, shape (count, 3, P, P). uint8, RGB, 0..255. A target
            mixed with teachers' images is float32.
        """
        # float64: with the values of float32, some offsets would be more likely.
        chances = torch.rand(3, count, dtype=torch.float64, device=self._pixels.device)
        which = (chances[0] * len(self)).long()
        top, left = (chances[1:] * self._room[which].T).long() * self._step
        index = self._index(which, top, left)
        window = self._pixels[index]
        low = self._downscale(self._downscale(window, 1), 2)
        margin = MARGIN * self.scale
        inside = slice(None), slice(margin, -margin), slice(margin, -margin)
        high = window[inside]
        if self.shares:
            high = (1 - sum(self.shares)) * high.float()
            for share, pixels in zip(self.shares, self._taught, strict=True):
                high = high + share * pixels[index[inside]]
        chosen = torch.rand(
            len(self._turns), count, 1, 1, 1, device=self._pixels.device) < self._chances
        return tuple(self._turn(patch.permute(0, 3, 1, 2), chosen) for patch in (low, high))

    def _index(self, which: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """Indices of the patches with the kernel's margin, (N, P + 4s, P + 4s, 3)."""
        which, top, left = (values.view(-1, 1, 1, 1) for values in (which, top, left))
        pixel = (top + self._rows) * self._widths[which] + left + self._columns
        return self._starts[which] + 3 * pixel + self._channels

    def _downscale(self, window: Tensor, axis: int) -> Tensor:
        """One pass of MATLAB's bicubic in integers; half rounds up."""
        start = MARGIN * self.scale + self._first
        size = (self.gt_patch_size // self.scale - 1) * self.scale + len(self._weights)
        taps = window.narrow(axis, start, size).unfold(axis, len(self._weights), self.scale)
        total = (taps.int() * self._weights).sum(-1, dtype=torch.int32)
        total = (2 * total + self._denominator).div(2 * self._denominator, rounding_mode='floor')
        return total.clamp_(0, 255).to(torch.uint8)

    def _turn(self, patches: Tensor, chosen: Tensor) -> Tensor:
        """Flip and transpose patches, (N, 3, P, P), where ``chosen`` is true, (turns, N, ...)."""
        for turn, where in zip(self._turns, chosen, strict=True):
            turned = (patches.transpose(2, 3) if turn == 'transpose' else
                      patches.flip(3 if turn == 'horizontal' else 2))
            patches = torch.where(where, turned, patches)
        return patches
