# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Other projects' super-resolution networks, read by the package ``spandrel``."""
from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import naming
from ..models.base import MODELS
from ..optional_packages import import_optional
from .layouts import Mismatch

# LR pixels that tiles overlap by where no overlap is exact. For DAT-light x4 on Set14, nearly all
# values are then at most one level of 8 bits off.
INEXACT_OVERLAP = 32


class UnknownNetwork(Mismatch):
    """Weights that spandrel does not know."""


@MODELS.register_module()
class SpandrelNetwork(nn.Module):
    """A super-resolution network from a file of any architecture that spandrel knows.

    ESRGAN, SwinIR, HAT, DAT, SPAN and some forty others. The weights' names
    show the architecture, their shapes the hyper-parameters. As ``generator``
    of a model, it is trained and saved like any other network. Its state dict
    is that of the network inside. So spandrel can read a Runner's checkpoint of
    it after publishing.

    Args:
        path (str | Path): The file, ``.pth`` or ``.safetensors``. No code from
            it ever runs.

    Attributes:
        in_channels (int): Channels of the input and of the output.
        upscale_factor (int): The upscale factor.
        size_multiple (int): The network works on sides that are multiples of
            this, or in windows of this size, LR pixels. Other images are padded
            by reflection, and the output is cut.
        inexact_overlap (int, optional): LR pixels that tiles overlap by where
            no overlap is exact. None where spandrel advises against tiles.
        dtypes (tuple[str, ...]): The types that it can be computed in:
            ``'fp32'``, ``'bf16'``, ``'fp16'``.
        title (str): The architecture and its size, for messages.

    Raises:
        UserError: spandrel is not installed, or the file cannot be read or
            holds no network that upscales images.
    """

    def __init__(self, path: str | Path):
        from .reading import read_checkpoint
        weights = read_checkpoint(path).weights
        with naming(path):
            self._take(describe(weights))

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> SpandrelNetwork:
        """The network of a state dict.

        Raises:
            UserError: spandrel is not installed.
            Mismatch: spandrel knows no such network that upscales images.
        """
        network = cls.__new__(cls)
        network._take(describe(weights))
        return network

    def _take(self, descriptor) -> None:
        super().__init__()
        self.model = descriptor.model.float().eval()
        self.in_channels = descriptor.input_channels
        self.upscale_factor = descriptor.scale
        # For a network that works in windows, tiles begin where a window begins.
        window = getattr(self.model, 'window_size', 1)
        self.size_multiple = math.lcm(descriptor.size_requirements.multiple_of,
                                      window if isinstance(window, int) and window > 0 else 1)
        may_tile = descriptor.tiling is type(descriptor.tiling).SUPPORTED
        self.inexact_overlap = INEXACT_OVERLAP if may_tile else None
        self.dtypes = ('fp32', *(name for name, works in (
            ('bf16', descriptor.supports_bfloat16), ('fp16', descriptor.supports_half)) if works))
        self.title = ' '.join([descriptor.architecture.name, *descriptor.tags])
        self._sizes = descriptor.size_requirements
        # Some networks' output needs one more step. spandrel has no public name for it.
        self._call = descriptor._call_fn
        self.register_load_state_dict_pre_hook(_enter_model)

    def forward(self, x: Tensor) -> Tensor:
        """Upscale.

        Args:
            x (Tensor): Shape (N, C, H, W), float, RGB (or luma, C = 1) divided by 255.

        Returns:
            Tensor: Shape (N, C, s * H, s * W), the same range of values, not clipped.
        """
        height, width = x.shape[-2:]
        out = self._call(self.model, _padded(x, *self._sizes.get_padding(width, height)))
        return out[..., :self.upscale_factor * height, :self.upscale_factor * width]

    def state_dict(self, *args, **kwargs) -> dict[str, Tensor]:
        """The state dict of the network inside, without a prefix."""
        return self.model.state_dict(*args, **kwargs)

    def by_its_names(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """A file's weights with this network's names: some architectures have several sets.

        Raises:
            Mismatch: spandrel does not know the network of these weights.
        """
        if weights.keys() == self.state_dict().keys():
            return weights
        return describe(weights).model.state_dict()


def describe(weights: Mapping[str, Tensor]):
    """Have spandrel recognise and build the network of a state dict.

    Args:
        weights (Mapping[str, Tensor]): The weights of a file.

    Returns:
        spandrel.ImageModelDescriptor: With the network, on the CPU.

    Raises:
        UserError: spandrel is not installed.
        UnknownNetwork: spandrel does not know the network.
        Mismatch: The network has another purpose, or is damaged.
    """
    spandrel = import_optional('spandrel')
    weights = dict(weights)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of the architectures' own code
            found = spandrel.MAIN_REGISTRY.load(weights)
    except spandrel.UnsupportedModelError:
        first = next(iter(weights), None)
        raise UnknownNetwork('is none of the networks that spandrel knows: its first key is '
                             f'{first!r}') from None
    except Exception as error:  # architectures raise exceptions of all kinds
        reason = str(error).strip().splitlines()
        raise Mismatch('looks like a network that spandrel knows, but cannot be loaded '
                       f'({type(error).__name__}: {" ".join(reason[:2])})') from error
    if not isinstance(found, spandrel.ImageModelDescriptor) or found.purpose == 'FaceSR':
        raise Mismatch(f'holds {found.architecture.name}, a network for '
                       f'{dict(FaceSR="faces").get(found.purpose, found.purpose.lower())}, '
                       'not one that upscales images')
    if found.input_channels != found.output_channels:
        raise Mismatch(f'holds {found.architecture.name}, which makes {found.output_channels} '
                       f'channels of {found.input_channels}: only as many as it reads can be used')
    return found


def _padded(x: Tensor, right: int, below: int) -> Tensor:
    """Reflected at the right and lower edge, and repeated where the image is too small for that."""
    if not right and not below:
        return x.clone()  # RCAN, for one, scales its input in place
    height, width = x.shape[-2:]
    mirrored = min(right, width - 1), min(below, height - 1)
    x = F.pad(x, (0, mirrored[0], 0, mirrored[1]), mode='reflect')
    return F.pad(x, (0, right - mirrored[0], 0, below - mirrored[1]), mode='replicate')


def _enter_model(network: SpandrelNetwork, state_dict: dict, prefix: str, *_) -> None:
    """Rename the keys of a state dict in place, as torch's loader expects them."""
    for key in [key for key in state_dict if key.startswith(prefix)]:
        state_dict[f'{prefix}model.{key[len(prefix):]}'] = state_dict.pop(key)
