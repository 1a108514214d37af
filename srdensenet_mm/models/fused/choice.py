# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""When the fused form may take the place of the plain forward."""
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from ..stock_parts import are_stock_parts
from .network import compute

FORMS = ('plain', 'graph')
_asked_for: ContextVar[str | None] = ContextVar('form', default=None)
_HOOKS = ('_forward_pre_hooks', '_forward_hooks', '_backward_pre_hooks', '_backward_hooks')


@contextmanager
def computing(form: str) -> Iterator[None]:
    """Have every SRDenseNet computed in one form, for a comparison or a graph.

    Nobody else needs this: all forms have the same result, to rounding.

    Args:
        form (str): ``'plain'``: as the paper reads. ``'graph'``: the fused form
            as it is trained: nothing is written in place or cut into pieces,
            so tracing takes it down for all sizes. Where the fused form may
            not be taken at all, the plain one is.
    """
    if form not in FORMS:
        raise ValueError(f'form={form!r} is not supported: choose one of {", ".join(FORMS)}')
    token = _asked_for.set(form)
    try:
        yield
    finally:
        _asked_for.reset(token)


def fused_forward(network: nn.Module, x: Tensor) -> Callable[[nn.Module, Tensor], Tensor] | None:
    """What computes a network in place of its plain forward, if anything may.

    The plain forward calls the modules inside, which much relies on. So it runs
    where a module inside was replaced, parametrized or changed its shape, has a
    hook (pruning, the older spectral_norm and weight_norm, observers of
    quantization, taking out features), was compiled by itself or has a forward
    of its own; where a weight or the input is another kind of tensor; and where
    the call is traced, exported or transformed.

    Args:
        network (nn.Module): An SRDenseNet itself, no subclass.
        x (Tensor): Its input.

    Returns:
        Callable, optional: (network, x) -> output; None where the plain
        forward must run.
    """
    compiling = torch.compiler.is_compiling()
    asked_for = None if compiling else _asked_for.get()
    traced = asked_for != 'graph' and (
        _is_exporting() if compiling else torch.jit.is_tracing() or _is_transformed())
    if asked_for == 'plain' or traced or not isinstance(x, Tensor):
        return None
    if not _is_untouched(network) or not are_stock_parts(network):
        return None
    # A compiler fuses by itself, and pieces of a fixed size would tie it to one size of image.
    lean = not (compiling or asked_for == 'graph' or torch.is_grad_enabled())
    return functools.partial(compute, lean=lean)


def _is_untouched(network: nn.Module) -> bool:
    if nn.modules.module._has_any_global_hook():
        return False
    # Hooks on the network itself are called either way.
    for module in network.modules():
        if module is not network and (
                any(getattr(module, name) for name in _HOOKS) or 'forward' in module.__dict__
                or module._compiled_call_impl is not None):
            return False
    return all(type(weight) in (nn.Parameter, Tensor) for weight in network.parameters())


def _is_exporting() -> bool:
    # torch 2.6 cannot tell; its exporter traces with another kind of tensor.
    return getattr(torch.compiler, 'is_exporting', lambda: False)()


def _is_transformed() -> bool:
    """Whether torch.func vectorizes the call, or it is differentiated forwards."""
    return (torch._C._are_functorch_transforms_active()
            or torch.autograd.forward_ad._current_level >= 0)
