# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Mixed precision on GPU and CPU."""
from contextlib import contextmanager

import torch
from mmagic.registry import OPTIM_WRAPPERS
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import nn

from srdensenet_mm.config.type_name import type_name
from srdensenet_mm.device import cpu_has_bf16
from srdensenet_mm.errors import UserError

_DTYPES = {
    'bf16': torch.bfloat16,
    'bfloat16': torch.bfloat16,
    'fp16': torch.float16,
    'float16': torch.float16,
    'fp32': None,
    'float32': None,
}


def choose_dtype(dtype: str, device_type: str) -> torch.dtype | None:
    """The type to compute in.

    Args:
        dtype (str): ``'bf16'``, ``'fp16'``, ``'fp32'`` (or their long names),
            or ``'auto'``: bf16 where the device computes in it natively, else
            fp16 on a GPU and fp32 on a CPU.
        device_type (str): ``'cuda'`` or ``'cpu'``.

    Returns:
        torch.dtype or None: The type of autocast, None for none (fp32).

    Raises:
        UserError: ``dtype`` is none of these, or fp16 is asked of a CPU.
    """
    if dtype == 'auto':
        if device_type == 'cuda':
            return torch.bfloat16 if torch.cuda.is_bf16_supported(
                including_emulation=False) else torch.float16
        return torch.bfloat16 if cpu_has_bf16() else None
    if dtype not in _DTYPES:
        raise UserError(f"optim_wrapper.dtype={dtype!r} is not supported: choose 'auto', 'bf16', "
                         "'fp16' or 'fp32'")
    chosen = _DTYPES[dtype]
    if chosen is torch.float16 and device_type != 'cuda':
        raise UserError(f"optim_wrapper.dtype={dtype!r} needs a GPU: choose 'bf16' or 'auto' on "
                         'a CPU')
    return chosen


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(AmpOptimWrapper):
    """An optimizer wrapper that trains in mixed precision on GPU and CPU.

    MMEngine's ``AmpOptimWrapper`` needs a GPU. bfloat16 has the range of
    float32, so bf16 needs autocast only, on CPU and GPU. Only fp16 needs the
    gradient scaler. Scaler, backward pass, clipping and state dict are
    MMEngine's.

    Args:
        dtype (str): ``'auto'``, ``'bf16'``, ``'fp16'`` (GPU only) or
            ``'fp32'``, see :func:`choose_dtype`. Defaults to ``'auto'``.
        loss_scale (str | float | dict): For fp16: ``'dynamic'``, a fixed
            factor, or arguments of ``torch.amp.GradScaler``. Defaults to
            ``'dynamic'``.
        device_type (str, optional): ``'cuda'`` or ``'cpu'``. Defaults to what
            the optimizer's parameters are on.
        **kwargs: ``optimizer``, ``accumulative_counts`` and ``clip_grad`` of
            MMEngine's ``OptimWrapper``.

    Raises:
        UserError: ``dtype`` is unknown or not possible on this device.
    """

    def __init__(self,
                 dtype: str = 'auto',
                 loss_scale='dynamic',
                 device_type: str | None = None,
                 **kwargs):
        # Not AmpOptimWrapper's constructor, which refuses to work without a GPU.
        OptimWrapper.__init__(self, **kwargs)
        if device_type is None:
            device_type = self.optimizer.param_groups[0]['params'][0].device.type
        self.device_type = device_type
        self.cast_dtype = choose_dtype(dtype, device_type)
        self._scale_update_param = loss_scale if isinstance(loss_scale, float) else None
        self.loss_scaler = torch.amp.GradScaler(
            device_type,
            enabled=self.cast_dtype is torch.float16,
            **({} if loss_scale == 'dynamic' else dict(init_scale=loss_scale)
               if isinstance(loss_scale, float) else loss_scale))
        self._announce(dtype)

    def _announce(self, asked: str) -> None:
        name = str(self.cast_dtype or torch.float32).replace('torch.', '')
        notice = ''
        if self.device_type == 'cpu' and not cpu_has_bf16():
            if self.cast_dtype is torch.bfloat16:
                notice = ('; this CPU has no bf16 arithmetic, so expect it to be many times slower '
                          'than fp32')
            elif asked == 'auto':
                notice = ', since this CPU has no bf16 arithmetic'
        print_log(f'Mixed precision: computing in {name} on {self.device_type}{notice}.', 'current')

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Autocast, and no gradient synchronization while accumulating."""
        with OptimWrapper.optim_context(self, model), torch.autocast(
                self.device_type, dtype=self.cast_dtype, enabled=self.cast_dtype is not None):
            yield

    def state_dict(self) -> dict:
        """The optimizer's state, with the scaler's where one is in use."""
        state = super().state_dict()
        if not self.loss_scaler.is_enabled():
            state.pop('loss_scaler')
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Load what any optimizer wrapper saved: fp32, bf16 or fp16."""
        state_dict = dict(state_dict)
        if not state_dict.get('loss_scaler') or not self.loss_scaler.is_enabled():
            state_dict.pop('loss_scaler', None)
        super().load_state_dict(state_dict)


def enable_amp(cfg, dtype: str = 'auto') -> None:
    """Set a config to mixed precision, in place (``tools/train.py --amp``).

    Args:
        cfg (Config | dict): A whole config; its ``optim_wrapper`` is one
            wrapper, or several by name for a
            ``MultiOptimWrapperConstructor``. One that is set to mixed
            precision already stays as it is.
        dtype (str): See :class:`AutocastOptimWrapper`. Defaults to 'auto'.

    Raises:
        UserError: Mixed precision is not known for the type of a wrapper.
    """
    wrappers = cfg['optim_wrapper']
    single = 'optimizer' in wrappers or 'modules' in wrappers
    for name, wrapper in [('', wrappers)] if single else list(wrappers.items()):
        if not isinstance(wrapper, dict):
            continue  # the constructor's name beside the wrappers
        kind = wrapper.get('type', 'OptimWrapper')
        kind = kind if isinstance(kind, str) else kind.__name__
        if type_name(kind) == 'OptimWrapper':
            wrapper['type'] = 'mmagic.AutocastOptimWrapper'  # whatever the default scope
            wrapper['dtype'] = dtype
        elif type_name(kind) not in ('AmpOptimWrapper', 'AutocastOptimWrapper'):
            where = f'optim_wrapper.{name}' if name else 'optim_wrapper'
            raise UserError(f'--amp: {where}.type={kind!r} is not known to work in mixed '
                             "precision: set it to 'OptimWrapper' or 'AutocastOptimWrapper'")
