# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The same sums as the plain network, in a faster order.

:func:`fused_forward` alone decides whether they take the place of the plain
``SRDenseNet.forward``; :func:`computing` asks for one of the forms.
"""
from .choice import computing, fused_forward

__all__ = ['computing', 'fused_forward']
