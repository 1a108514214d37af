# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""A Runner's networks and optimizers, whatever has been put around them."""
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """A model without what trains it on several processes."""
    return model.module if is_model_wrapper(model) else model


def networks_of(model: nn.Module) -> list[nn.Module]:
    """A model's network, and its average where it keeps one; the model itself without either."""
    model = unwrapped(model)
    networks = [getattr(model, name) for name in ('generator', 'generator_ema')
                if isinstance(getattr(model, name, None), nn.Module)]
    return [network.module if hasattr(network, 'module') else network
            for network in networks or [model]]


def wrappers_of(optim_wrapper) -> dict[str | None, OptimWrapper]:
    """The Runner's optimizers by the names of what they train; a single one has none."""
    if isinstance(optim_wrapper, OptimWrapperDict):
        return dict(optim_wrapper.items())
    return {None: optim_wrapper}
