# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import torch
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from torch import Tensor

from .at_points import AtPoints, output_size, self_ensemble_at_points, upscale_to
from .colour import luma_of, upscale_through_luma
from .luma_edit_model import LumaEditModel


@MODELS.register_module()
class LumaLIIF(LumaEditModel):
    """MMagic's ``LIIF`` with RGB input and output whose network works on luma.

    The network computes Y at any points of an image. So it upscales by any
    factor. Data samples hold the points as ``GenerateCoordinateAndCell`` makes
    them. The loss is taken on Y at sampled points. A prediction is RGB as that
    of :class:`LumaEditModel`, and its points are those of a whole image.

    Args:
        generator (dict): Config of a network with MMagic's LIIF interface,
            1 -> 1 channel, such as ``LIIFSRDenseNet``.
        pixel_loss (dict): Config of the loss, on Y / 255.
        train_cfg (dict, optional): Config for training.
        test_cfg (dict, optional): Config for testing. ``scale`` upscales where
            data samples hold no points. ``self_ensemble=True`` averages Y over
            the eight flips and rotations.
        init_cfg (dict, optional): MMEngine's initialization config.
        data_preprocessor (dict, optional): See :class:`LumaEditModel`.

    Raises:
        ValueError: The network's input or output is not one channel.
    """

    def __init__(self, generator: dict, *args, **kwargs):
        parts = dict(generator) if isinstance(generator, dict) else {}
        for part, name in (('encoder', 'in_channels'), ('imnet', 'out_dim')):
            found = (parts.get(part) or {}).get(name, 1)
            if found != 1:
                raise ValueError(f'generator.{part}.{name}={found!r}: LumaLIIF is for networks on '
                                 "luma, 1 channel; train those on RGB with type='LIIF'")
        super().__init__(generator, *args, **kwargs)

    def forward_tensor(self,
                       inputs: Tensor,
                       data_samples: DataSample | None = None,
                       **kwargs) -> Tensor:
        """Upscale a batch.

        Args:
            inputs (Tensor): RGB, shape (N, 3, H, W), or grayscale, shape
                (N, 1, H, W); float, 0..1.
            data_samples (DataSample, optional): The stacked batch. The points
                in it show the size of the output.

        Returns:
            Tensor: RGB or grayscale like the input, shape (N, C, H', W'),
            float, 0..1 (clipped).

        Raises:
            ValueError: Neither the data samples nor ``test_cfg.scale`` show the
                size.
        """
        size = self._size(inputs, data_samples)
        function = AtPoints(self.generator)
        if not self.training and (self.test_cfg or {}).get('self_ensemble'):
            function = self_ensemble_at_points(function)
        return upscale_through_luma(lambda y: upscale_to(function, y, size), inputs)

    def _size(self, inputs: Tensor, data_samples: DataSample | None) -> tuple[int, int]:
        coord = data_samples.metainfo.get('coord') if data_samples is not None else None
        if coord is not None:
            # A grid, row by row.
            width = int((coord[0][:, 0] == coord[0][0, 0]).sum())
            return len(coord[0]) // width, width
        scale = (self.test_cfg or {}).get('scale')
        if scale is None:
            raise ValueError('the data samples hold no coord, and there is no test_cfg.scale: add '
                             'GenerateCoordinateAndCell to the pipeline, or set the scale')
        return output_size(*inputs.shape[-2:], scale)

    def forward_train(self,
                      inputs: Tensor,
                      data_samples: DataSample | None = None,
                      **kwargs) -> dict[str, Tensor]:
        """The loss on luma at the sampled points.

        Args:
            inputs (Tensor): RGB (N, 3, H, W) or grayscale (N, 1, H, W), float,
                0..1.
            data_samples (DataSample): The stacked batch. ``coord`` and ``cell``
                of each have the shape (Q, 2); ``gt_img`` holds the colours
                there, shape (N, Q, 3), float, 0..1.

        Returns:
            Dict[str, Tensor]: ``loss``, a scalar.
        """
        coord, cell = (torch.stack(data_samples.metainfo[name]).to(inputs)
                       for name in ('coord', 'cell'))
        prediction = self.generator(luma_of(inputs), coord, cell, **kwargs)
        target = luma_of(data_samples.gt_img.mT.unsqueeze(-1))  # (N, 1, Q, 1)
        return dict(loss=self.pixel_loss(prediction.float(), target.flatten(2).mT))
