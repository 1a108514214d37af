# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""When the fused form may take the place of the plain forward."""
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from ..stock_parts import are_stock_parts, has_stock_trunk
from .form import Form
from .liif import is_stock_mlp, query_of
from .network import bottleneck_maps, compute

FORMS = ('plain', 'graph')
_asked_for: ContextVar[str | None] = ContextVar('form', default=None)
# What computes a module, and programs replace: the second, for one, to make seamless textures.
_METHODS = ('forward', '_conv_forward')
_HOOKS = ('_forward_pre_hooks', '_forward_hooks', '_backward_pre_hooks', '_backward_hooks')


@contextmanager
def computing(form: str) -> Iterator[None]:
    """Compute every SRDenseNet in one form, for a comparison or for a graph.

    All forms have the same result, up to rounding.

    Args:
        form (str): ``'plain'``: as in the paper. ``'graph'``: the fused form as
            it is trained. Nothing is written in place or cut into pieces, so a
            traced graph works for all sizes. Where the fused form is not
            allowed, the plain form runs.

    Raises:
        ValueError: ``form`` is neither of the two.
    """
    if form not in FORMS:
        raise ValueError(f'form={form!r} is not supported: choose one of {", ".join(FORMS)}')
    token = _asked_for.set(form)
    try:
        yield
    finally:
        _asked_for.reset(token)


def fused_forward(network: nn.Module, x: Tensor) -> Callable[[nn.Module, Tensor], Tensor] | None:
    """The function that may compute a network in place of its plain forward, if any.

    The plain forward calls the modules inside. The fused form does not, so it
    must not run in these cases:

    - A module inside was replaced, was parametrized or has another shape.
    - A module inside has a hook. Pruning, the older spectral_norm and
      weight_norm, quantization observers and feature extraction use hooks.
    - A module inside was compiled by itself, or has its own forward.
    - A weight or the input is another kind of tensor.
    - The call is traced, exported or transformed.

    Args:
        network (nn.Module): An SRDenseNet, not a subclass.
        x (Tensor): Its input.

    Returns:
        Callable, optional: (network, x) -> output; None where the plain
        forward must run.
    """
    form = _form(network, x, are_stock_parts)
    return None if form is None else functools.partial(compute, form=form)


def fused_bottleneck_maps(network: nn.Module,
                          x: Tensor) -> Callable[[nn.Module, Tensor], Tensor] | None:
    """The same for the maps of the bottleneck, which the upsampler or LIIF reads.

    Args:
        network (nn.Module): A network with the parts of an SRDenseNet up to
            the bottleneck.
        x (Tensor): Its input.

    Returns:
        Callable, optional: (network, x) -> maps.
    """
    form = _form(network, x, has_stock_trunk)
    return None if form is None else functools.partial(bottleneck_maps, form=form)


def fused_query(network: nn.Module, x: Tensor) -> Callable[[Tensor, Tensor], Tensor] | None:
    """The same for LIIF on these maps.

    Args:
        network (nn.Module): A LIIFSRDenseNet whose ``imnet`` is an MLPRefiner.
        x (Tensor): Its input.

    Returns:
        Callable, optional: (coord, cell) -> values, see :func:`.liif.query_of`.
    """
    form = _form(network, x, lambda net: has_stock_trunk(net) and is_stock_mlp(net.imnet))
    return None if form is None else query_of(network, bottleneck_maps(network, x, form), form)


def _form(network: nn.Module, x: Tensor,
          has_stock_parts: Callable[[nn.Module], bool]) -> Form | None:
    """The fused form to compute in; None where the plain form must run."""
    compiling = torch.compiler.is_compiling()
    asked_for = None if compiling else _asked_for.get()
    traced = asked_for != 'graph' and (
        _is_exporting() if compiling else torch.jit.is_tracing() or _is_transformed())
    if asked_for == 'plain' or traced or not isinstance(x, Tensor):
        return None
    if not (compiling or asked_for == 'graph') and 0 in x.shape:
        return None  # no pieces to cut
    if not _is_untouched(network) or not has_stock_parts(network):
        return None
    # A compiler fuses by itself. Pieces of a fixed size would bind it to one image size.
    if compiling or asked_for == 'graph':
        return 'traced'
    return 'trained' if torch.is_grad_enabled() else 'lean'


def _is_untouched(network: nn.Module) -> bool:
    if nn.modules.module._has_any_global_hook():
        return False
    # Hooks on the network itself are called either way.
    for module in network.modules():
        if module is not network and (
                any(getattr(module, name) for name in _HOOKS)
                or any(name in module.__dict__ for name in _METHODS)
                or module._compiled_call_impl is not None):
            return False
    # A program may as well have replaced them for all convolutions.
    if any(getattr(kind, name, kind).__module__ != kind.__module__
           for kind in (nn.Conv2d, nn.ConvTranspose2d, nn.Linear) for name in _METHODS):
        return False
    return all(type(weight) in (nn.Parameter, Tensor) for weight in network.parameters())


def _is_exporting() -> bool:
    # torch 2.6 lacks this function. Its exporter traces with another kind of tensor.
    return getattr(torch.compiler, 'is_exporting', lambda: False)()


def _is_transformed() -> bool:
    """Whether torch.func transforms the call, or forward-mode differentiation is on."""
    return (torch._C._are_functorch_transforms_active()
            or torch.autograd.forward_ad._current_level >= 0)
