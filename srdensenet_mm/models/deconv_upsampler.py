# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import torch.nn.functional as F
from torch import Tensor, nn

from .base import MODELS, BaseModule
from .initialization import he_normal

# The stride of each deconvolution, in order, for each scale. The paper has x4 only.
STRIDES = {2: (2, ), 3: (3, ), 4: (2, 2), 8: (2, 2, 2)}


@MODELS.register_module()
class DeconvUpsampler(BaseModule):
    """Upsampling by learned deconvolutions (section 3.2 of the paper).

    One deconvolution of stride 2 for x2, two for x4 and three for x8. One of
    stride 3 for x3. Each keeps the number of maps and is followed by ReLU.

    Args:
        in_channels (int): Maps of the input and of the output. Defaults to 256.
        upscale_factor (int): 2, 3, 4 or 8. Defaults to 4.
        deconv_kernel (int): 2 makes the kernel as large as the stride, so that
            each output pixel depends on one input pixel. The parameter count
            known from the literature is that of this variant. 3 makes the
            kernel 3x3 where the stride is 2, with padding 1 and output_padding
            1. With stride 3, both values mean the same. Defaults to 2.
        init_cfg (dict, optional): MMEngine's initialization config. Without
            it, weights are He-normal and biases zero.

    Attributes:
        out_channels (int): Maps of the output, as many as ``in_channels``.

    Raises:
        ValueError: ``upscale_factor`` or ``deconv_kernel`` is unsupported.
    """

    def __init__(self,
                 in_channels: int = 256,
                 upscale_factor: int = 4,
                 deconv_kernel: int = 2,
                 init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        if not isinstance(upscale_factor, int) or upscale_factor not in STRIDES:
            raise ValueError(f'upscale_factor={upscale_factor!r} is not supported: '
                             f'choose one of {", ".join(map(str, STRIDES))}')
        if deconv_kernel not in (2, 3):
            raise ValueError(f'deconv_kernel={deconv_kernel!r} is not supported: choose 2 '
                             '(kernel = stride) or 3 (kernel 3, stride 2, padding 1)')
        self.out_channels = in_channels
        self.deconvs = nn.ModuleList(
            self._make_deconv(in_channels, stride, deconv_kernel)
            for stride in STRIDES[upscale_factor])
        he_normal(*self.deconvs)

    @staticmethod
    def _make_deconv(channels: int, stride: int, kernel: int) -> nn.ConvTranspose2d:
        overlapping = kernel == 3 and stride == 2
        if overlapping:
            return nn.ConvTranspose2d(
                channels, channels, 3, stride=2, padding=1, output_padding=1)
        return nn.ConvTranspose2d(channels, channels, stride, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Upsample.

        Args:
            x (Tensor): Shape (N, in_channels, H, W), float.

        Returns:
            Tensor: Shape (N, in_channels, s * H, s * W), where s is
            ``upscale_factor``.
        """
        for deconv in self.deconvs:
            x = F.relu(deconv(x))
        return x
