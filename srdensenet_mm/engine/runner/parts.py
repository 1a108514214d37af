# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""A Runner's optimizers, without the wrapper around several of them."""
from mmengine.optim import OptimWrapper, OptimWrapperDict


def wrappers_of(optim_wrapper) -> dict[str | None, OptimWrapper]:
    """The Runner's optimizer wrappers by name; the name of a single one is None."""
    if isinstance(optim_wrapper, OptimWrapperDict):
        return dict(optim_wrapper.items())
    return {None: optim_wrapper}
