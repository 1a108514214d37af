# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
from functools import partial

from mmagic.models.base_models import BaseEditModel
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from torch import Tensor

from .colour import luma_of, upscale_through_luma
from .self_ensemble import self_ensemble


@MODELS.register_module()
class LumaEditModel(BaseEditModel):
    """An editing model with RGB input and output whose network works on luma.

    MMagic's pipelines, metrics, visualizers and inferencers use RGB. The
    paper's networks upscale luma, the Y of YCbCr (section 4.1). This model
    connects the two. The loss is taken on Y. A prediction is RGB: the network's
    Y, with Cb and Cr upscaled by bicubic interpolation. A grayscale batch (one
    channel) counts as images with R = G = B.

    Args:
        generator (dict): Config of a network 1 -> 1 channel. Its input and
            output are Y / 255 (Y in studio range, 16..235).
        pixel_loss (dict): Config of the loss, on Y / 255.
        train_cfg (dict, optional): Config for training.
        test_cfg (dict, optional): Config for testing. ``self_ensemble=True``
            averages the network's Y over the eight flips and rotations.
        init_cfg (dict, optional): MMEngine's initialization config.
        data_preprocessor (dict, optional): Config of a preprocessor that gives
            batches in 0..1. Defaults to MMagic's ``DataPreprocessor`` with
            ``mean=[0]`` and ``std=[255]``. With one value instead of three, it
            takes grayscale batches too.

    Raises:
        ValueError: The ``in_channels`` or ``out_channels`` of ``generator`` is
            not 1.
    """

    def __init__(self,
                 generator: dict,
                 pixel_loss: dict,
                 train_cfg: dict | None = None,
                 test_cfg: dict | None = None,
                 init_cfg: dict | None = None,
                 data_preprocessor: dict | None = None):
        for name in ('in_channels', 'out_channels'):
            if isinstance(generator, dict) and generator.get(name, 1) != 1:
                raise ValueError(f'generator.{name}={generator[name]!r}: LumaEditModel is for '
                                 'networks on luma, 1 channel; train those on RGB with '
                                 "type='BaseEditModel'")
        if data_preprocessor is None:
            data_preprocessor = dict(type='mmagic.DataPreprocessor', mean=[0.], std=[255.])
        if isinstance(data_preprocessor, dict):
            # The base class would look in MMEngine's registry, which knows a
            # 'DataPreprocessor' only where 'mmagic' is the default scope.
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(
            generator=generator,
            pixel_loss=pixel_loss,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            init_cfg=init_cfg,
            data_preprocessor=data_preprocessor)

    def forward_tensor(self,
                       inputs: Tensor,
                       data_samples: list[DataSample] | None = None,
                       **kwargs) -> Tensor:
        """Upscale a batch.

        Args:
            inputs (Tensor): RGB, shape (N, 3, H, W), or grayscale, shape
                (N, 1, H, W); float, 0..1.
            data_samples (List[DataSample], optional): Not used.

        Returns:
            Tensor: RGB or grayscale like the input, shape (N, C, s*H, s*W),
            float, 0..1 (clipped).
        """
        network = partial(self.generator, **kwargs)
        if not self.training and (self.test_cfg or {}).get('self_ensemble'):
            network = self_ensemble(network)
        return upscale_through_luma(network, inputs)

    def forward_train(self,
                      inputs: Tensor,
                      data_samples: list[DataSample] | None = None,
                      **kwargs) -> dict[str, Tensor]:
        """The loss on luma.

        Args:
            inputs (Tensor): RGB (N, 3, H, W) or grayscale (N, 1, H, W), float,
                0..1.
            data_samples (DataSample): The stacked batch; ``gt_img`` holds the
                ground truth, shape (N, C, s*H, s*W), float, 0..1.

        Returns:
            Dict[str, Tensor]: ``loss``, a scalar.
        """
        prediction = self.generator(luma_of(inputs), **kwargs)
        return dict(loss=self.pixel_loss(prediction.float(), luma_of(data_samples.gt_img)))
