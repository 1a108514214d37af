# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Names and order of an SRDenseNet's weights, here and in other implementations."""
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ..errors import UserError


class Mismatch(UserError):
    """Weights that do not fit a network; the message names the first key or shape.

    Callers that know the file add its name by :func:`srdensenet_mm.errors.naming`.
    """


# (deconvolutions, their kernel) -> (upscale_factor, deconv_kernel), for
# kernels as large as the stride and for overlapping ones.
_KERNEL_IS_STRIDE = {(1, 2): (2, 2), (1, 3): (3, 2), (2, 2): (4, 2), (3, 2): (8, 2)}
_OVERLAPPING = {(2, 3): (4, 3), (3, 3): (8, 3)}


@dataclass(frozen=True)
class Layout:
    """The names that an implementation gives to the weights.

    Attributes:
        title (str): The layout's name in messages.
        conv_first (str): Name of the first convolution.
        block_layer (str): Template for layer k of block i, given (i, k).
        first_index (int): The first value of i and k.
        bottleneck (str): Name of the bottleneck.
        deconv (str): Template for deconvolution j.
        deconv_step (int): Distance of the indices of two deconvolutions.
        conv_last (str): Name of the last convolution.
        newest_first (bool): Whether the inputs of blocks and bottleneck are
            concatenated with the newest block's output first.
        bottleneck_act (bool): Whether a ReLU follows the bottleneck. Shapes do
            not show it.
        upscaling (dict): (number of deconvolutions, kernel) -> (upscale_factor,
            deconv_kernel), where only shapes are known. One deconvolution 3x3
            may be x3 with kernel = stride, or x2 with overlapping kernels. It
            counts as x3.
    """
    title: str
    conv_first: str
    block_layer: str
    first_index: int
    bottleneck: str
    deconv: str
    deconv_step: int
    conv_last: str
    newest_first: bool
    bottleneck_act: bool
    upscaling: Mapping[tuple[int, int], tuple[int, int]]

    def from_ours(self, key: str) -> str:
        """This layout's name for one of this project's keys."""
        module, _, kind = key.rpartition('.')
        numbers = [int(number) for number in re.findall(r'\d+', module)]
        if module.startswith('blocks.'):
            module = self.block_layer.format(*(n + self.first_index for n in numbers))
        elif module.startswith('upsampler.'):
            module = self.deconv.format(numbers[0] * self.deconv_step)
        else:
            module = getattr(self, module)
        return f'{module}.{kind}'

    def to_ours(self, key: str) -> str | None:
        """This project's name for one of this layout's keys; None without one."""
        module, _, kind = key.rpartition('.')
        if kind not in ('weight', 'bias'):
            return None
        ours = None
        block_layer = _match(self.block_layer, module)
        deconv = _match(self.deconv, module)
        if block_layer:
            i, k = (number - self.first_index for number in block_layer)
            ours = f'blocks.{i}.layers.{k}' if i >= 0 and k >= 0 else None
        elif deconv and deconv[0] % self.deconv_step == 0:
            ours = f'upsampler.deconvs.{deconv[0] // self.deconv_step}'
        else:
            for name in ('conv_first', 'bottleneck', 'conv_last'):
                if module == getattr(self, name):
                    ours = name
        return ours and f'{ours}.{kind}'


def _match(template: str, module: str) -> tuple[int, ...] | None:
    pattern = re.escape(template).replace(r'\{\}', '(0|[1-9][0-9]{0,5})')
    found = re.fullmatch(pattern, module)
    return tuple(map(int, found.groups())) if found else None


OURS = Layout(
    title='srdensenet_mm',
    conv_first='conv_first',
    block_layer='blocks.{}.layers.{}',
    first_index=0,
    bottleneck='bottleneck',
    deconv='upsampler.deconvs.{}',
    deconv_step=1,
    conv_last='conv_last',
    newest_first=False,
    bottleneck_act=False,
    upscaling={**_KERNEL_IS_STRIDE, **_OVERLAPPING})
LAYOUT_A = Layout(
    title='layout A (conv1.0, dcb1.0.conv1, ...)',
    conv_first='conv1.0',
    block_layer='dcb{}.0.conv{}',
    first_index=1,
    bottleneck='conv2',
    deconv='upsampling.{}.upsample_block.0',
    deconv_step=1,
    conv_last='conv3',
    newest_first=True,
    bottleneck_act=False,
    upscaling=_KERNEL_IS_STRIDE)
LAYOUT_B = Layout(
    title='layout B (conv.conv, dense_blocks.0.block.0.conv, ...)',
    conv_first='conv.conv',
    block_layer='dense_blocks.{}.block.{}.conv',
    first_index=0,
    bottleneck='bottleneck.0',
    deconv='deconv.{}',
    deconv_step=2,
    conv_last='reconstruction',
    newest_first=False,
    bottleneck_act=True,
    # Its weights were published at x4 only.
    upscaling={(2, 3): (4, 3)})
LAYOUTS = (OURS, LAYOUT_A, LAYOUT_B)


def recognise(weights: Mapping[str, Tensor]) -> Layout:
    """The layout that most of the keys fit.

    Args:
        weights (Mapping[str, Tensor]): The weights, by name.

    Raises:
        Mismatch: No key fits any layout. The message names the first key.
    """
    fitting = [sum(layout.to_ours(key) is not None for key in weights) for layout in LAYOUTS]
    if not any(fitting):
        first = next(iter(weights), None)
        raise Mismatch('holds no weights' if first is None else
                     f'is no SRDenseNet of a known layout: its first key is {first!r}')
    return LAYOUTS[fitting.index(max(fitting))]


def rename(weights: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """The weights with this project's names. The order of channels does not change.

    Args:
        weights (Mapping[str, Tensor]): The weights by the layout's names.
        layout (Layout): Their layout.

    Raises:
        Mismatch: A key does not belong to the layout. The message names the
            first.
    """
    renamed = {}
    for key, value in weights.items():
        ours = layout.to_ours(key)
        if ours is None:
            raise Mismatch(f'the key {key!r} does not fit {layout.title}')
        renamed[ours] = value
    return renamed
