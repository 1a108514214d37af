# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""A Runner's networks and optimizers, whatever has been put around them."""
from mmengine.optim import OptimWrapper, OptimWrapperDict


def wrappers_of(optim_wrapper) -> dict[str | None, OptimWrapper]:
    """The Runner's optimizers by the names of what they train; a single one has none."""
    if isinstance(optim_wrapper, OptimWrapperDict):
        return dict(optim_wrapper.items())
    return {None: optim_wrapper}
