# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The same sums as the plain network, in a faster order.

:func:`fused_forward` alone decides whether this form runs instead of the plain
``SRDenseNet.forward``. The other two decide the same for LIIF on SRDenseNet's
maps. :func:`computing` chooses one of the forms.
"""
from .choice import computing, fused_bottleneck_maps, fused_forward, fused_query
from .liif import is_stock_mlp

__all__ = ['computing', 'fused_bottleneck_maps', 'fused_forward', 'fused_query', 'is_stock_mlp']
