# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .autocast import in_float32
from .base import MODELS, BaseModule
from .fused import fused_bottleneck_maps, fused_query, is_stock_mlp
from .initialization import he_normal
from .local_ensemble import local_ensemble
from .srdensenet import SRDenseNet, bottleneck_maps, build_part


@MODELS.register_module()
class LIIFSRDenseNet(BaseModule):
    """SRDenseNet as the encoder of LIIF: one network for all upscale factors.

    Paper: Chen, Liu, Wang, "Learning Continuous Image Representation with Local
    Implicit Image Function", CVPR 2021. A small network (``imnet``) computes
    the value at any point of an image from the maps near it. The maps are those
    of SRDenseNet's bottleneck. Its deconvolutions and its last convolution are
    left out.

    It has the interface of MMagic's ``LIIFEDSRNet``. The parts of SRDenseNet
    keep their names, so a file with an SRDenseNet's weights can be the start of
    a training (``load_from``). Where no module inside has been changed or
    hooked, the same sums are computed in a faster order. See
    :mod:`srdensenet_mm.models.fused.liif`.

    Args:
        encoder (dict): Config of an :class:`SRDenseNet`. Its ``upscale_factor``
            has no effect.
        imnet (dict): Config of the network at a point, MMagic's ``MLPRefiner``
            or another one. Its ``in_dim`` is filled in.
        local_ensemble (bool): Whether the predictions of the four nearest
            pixels are blended. Defaults to True.
        feat_unfold (bool): Whether the maps of a pixel are joined by those of
            its eight neighbours. Defaults to True.
        cell_decode (bool): Whether ``imnet`` is told the size of an output
            pixel. Defaults to True.
        eval_bsize (int, optional): Points that are computed at a time in
            ``test_mode``. None: all. Defaults to None.

    Attributes:
        in_channels (int): Channels of the input.
        dtypes (Tuple[str, ...]): The types that it can be computed in.

    Raises:
        ValueError: ``encoder`` is no SRDenseNet.
    """

    dtypes = ('fp32', 'bf16', 'fp16')

    def __init__(self,
                 encoder: dict,
                 imnet: dict,
                 local_ensemble: bool = True,
                 feat_unfold: bool = True,
                 cell_decode: bool = True,
                 eval_bsize: int | None = None,
                 init_cfg: dict | None = None):
        super().__init__(init_cfg=init_cfg)
        self.local_ensemble = local_ensemble
        self.feat_unfold = feat_unfold
        self.cell_decode = cell_decode
        self.eval_bsize = eval_bsize

        encoder = build_part(encoder)
        if not isinstance(encoder, SRDenseNet):
            raise ValueError(f'encoder is a {type(encoder).__name__}: LIIFSRDenseNet is for '
                             "SRDenseNet, MMagic's LIIFEDSRNet and LIIFRDNNet for theirs")
        self.in_channels = encoder.conv_first.in_channels
        self.feature_level = encoder.feature_level
        self.bottleneck_act = encoder.bottleneck_act
        self.with_cp = encoder.with_cp
        # Without the parts behind the bottleneck: parameters without a gradient would stop DDP.
        self.conv_first = encoder.conv_first
        self.blocks = encoder.blocks
        self.bottleneck = encoder.bottleneck
        maps = self.bottleneck.out_channels * (9 if feat_unfold else 1)
        self.imnet = build_part(dict(imnet, in_dim=maps + (4 if cell_decode else 2)))
        if is_stock_mlp(self.imnet):
            self._initialize()

    @torch.no_grad()
    def _initialize(self) -> None:
        """Begin with a gray image: from black, hundreds of steps only make it brighter."""
        linears = [layer for layer in self.imnet.layers if isinstance(layer, nn.Linear)]
        he_normal(*linears)
        linears[-1].weight.mul_(0.1)
        linears[-1].bias.fill_(0.5)

    def forward(self, x: Tensor, coord: Tensor, cell: Tensor, test_mode: bool = False) -> Tensor:
        """Compute the values of images at points.

        Args:
            x (Tensor): Shape (N, in_channels, H, W), float, as for
                :class:`SRDenseNet`.
            coord (Tensor): Points (y, x), shape (N, Q, 2), float, -1..1 across
                the image.
            cell (Tensor): Height and width of an output pixel in the same
                units, shape (N, Q, 2).
            test_mode (bool): Whether ``eval_bsize`` applies. Defaults to False.

        Returns:
            Tensor: Shape (N, Q, out_dim of ``imnet``), float.
        """
        query = fused_query(self, x) if type(self) is LIIFSRDenseNet else None
        if query is None:
            query = partial(self.query_rgb, self.gen_feature(x))
        if not (test_mode and self.eval_bsize):
            return query(coord, cell)
        out = None
        for start in range(0, coord.size(1), self.eval_bsize):
            piece = slice(start, start + self.eval_bsize)
            values = query(coord[:, piece], cell[:, piece])
            if out is None:
                out = values.new_empty(*coord.shape[:2], values.size(-1))
            out[:, piece] = values
        return out

    def gen_feature(self, x: Tensor) -> Tensor:
        """The maps of the bottleneck.

        Args:
            x (Tensor): Shape (N, in_channels, H, W), float.

        Returns:
            Tensor: Shape (N, bottleneck_channels, H, W).
        """
        fused = fused_bottleneck_maps(self, x)
        return bottleneck_maps(self, x) if fused is None else fused(self, x)

    def query_rgb(self, feature: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        """Compute values at points from the maps, as the paper of LIIF writes it.

        Args:
            feature (Tensor): From :meth:`gen_feature`.
            coord, cell (Tensor): See :meth:`forward`.

        Returns:
            Tensor: See :meth:`forward`.
        """
        size = feature.shape[-2:]
        if self.feat_unfold:
            feature = F.unfold(feature.float(), 3, padding=1)
        feature = feature.flatten(2).mT  # (N, H * W, maps)

        def value(pixel: Tensor, place: Tensor) -> Tensor:
            maps = feature.gather(1, pixel.unsqueeze(-1).expand(-1, -1, feature.size(-1)))
            # In 16 bits, the place would be rounded.
            return in_float32(self.imnet, torch.cat([maps, place.to(maps.dtype)], dim=-1))

        return local_ensemble(
            value, coord, cell if self.cell_decode else None, size, self.local_ensemble)
