# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import math
from collections import defaultdict

import torch
import torch.nn.functional as F
from mmagic.registry import OPTIMIZERS
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adam import adam

from .amp_optim_wrapper import choose_dtype

# A kernel with a side shorter than this, such as that of a first or last
# convolution, has too few directions to make equal.
_MIN_SIDE = 16
# Of the quintic whose iteration takes every singular value near to 1.
_QUINTIC = (3.4445, -4.7750, 2.0315)


@OPTIMIZERS.register_module()
class MuonWithAdam(Optimizer):
    """Muon for the kernels, Adam for the rest.

    Muon (Jordan et al., 2024) steps along the momentum of the gradient made
    orthogonal: all directions of a kernel, taken as a matrix (out, in * kh *
    kw), advance alike, where Adam's steps are nearly of low rank.
    ``benchmarks/optimizers.py`` compares the two on SRDenseNet.
    ``torch.optim.Muon`` takes matrices alone, which no kernel of a convolution
    is.

    A step is scaled to the size of one of Adam's, so both share a learning
    rate, and the schedules that suit Adam.

    Args:
        params (iterable): Parameters, or groups of them. Kernels (two or more
            dimensions, both sides of the matrix at least 16 long) are Muon's.
        lr (float): Learning rate. Defaults to 1e-3. A group's may be replaced by a
            tensor, so that a CUDA graph can read it anew at each replay.
        momentum (float): Of Muon, Nesterov's. Defaults to 0.95.
        betas (Tuple[float, float]): Of Adam. Defaults to (0.9, 0.999).
        eps (float): Of Adam. Defaults to 1e-8.
        weight_decay (float): Decoupled, as AdamW's. Defaults to 0.
        ns_steps (int): Newton-Schulz iterations. Defaults to 5.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self,
                 params,
                 lr: float = 1e-3,
                 momentum: float = 0.95,
                 betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8,
                 weight_decay: float = 0.,
                 ns_steps: int = 5):
        for name, value in dict(lr=lr, eps=eps, weight_decay=weight_decay).items():
            if not value >= 0:
                raise ValueError(f'{name}={value} must not be negative')
        for name, value in dict(momentum=momentum, beta1=betas[0], beta2=betas[1]).items():
            if not 0 <= value < 1:
                raise ValueError(f'{name}={value} must be at least 0 and less than 1')
        super().__init__(params, dict(
            lr=lr, momentum=momentum, betas=tuple(betas), eps=eps, weight_decay=weight_decay,
            ns_steps=ns_steps))

    @torch.no_grad()
    def step(self, closure=None):
        """One step of all parameters that have a gradient.

        Args:
            closure (Callable, optional): Computes the loss again.

        Returns:
            The closure's result, None without one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            with_gradient = [p for p in group['params'] if p.grad is not None]
            if with_gradient and group['weight_decay']:
                torch._foreach_mul_(with_gradient, 1 - group['lr'] * group['weight_decay'])
            self._step_muon([p for p in with_gradient if is_kernel(p)], group)
            self._step_adam([p for p in with_gradient if not is_kernel(p)], group)
        return loss

    def _step_muon(self, kernels: list[Tensor], group: dict) -> None:
        if not kernels:
            return
        directions = self._directions(kernels, group['momentum'])
        # Blocks are alike: their kernels go through the iteration together.
        alike = defaultdict(list)
        for p, direction in zip(kernels, directions, strict=True):
            alike[_company(direction)].append((p, direction.flatten(1)))
        for members in alike.values():
            width = max(matrix.size(1) for _, matrix in members)
            steps = orthogonalize(
                torch.stack([F.pad(matrix, (0, width - matrix.size(1))) for _, matrix in members]),
                group['ns_steps'])
            # The root mean square of Adam's steps is about 0.2 of its rate.
            sizes = [0.2 * math.sqrt(max(matrix.shape)) for _, matrix in members]
            moves = [step[:, :matrix.size(1)].reshape(p.shape) * size
                     for step, (p, matrix), size in zip(steps, members, sizes, strict=True)]
            torch._foreach_mul_(moves, group['lr'])
            torch._foreach_sub_([p for p, _ in members], moves)

    def _directions(self, kernels: list[Tensor], momentum: float) -> list[Tensor]:
        for kernel in kernels:
            state = self.state[kernel]
            if not state:
                state['momentum'] = torch.zeros_like(kernel)
        momenta = [self.state[kernel]['momentum'] for kernel in kernels]
        gradients = [kernel.grad for kernel in kernels]
        torch._foreach_lerp_(momenta, gradients, 1 - momentum)
        return torch._foreach_lerp(gradients, momenta, momentum)

    def _step_adam(self, params: list[Tensor], group: dict) -> None:
        if not params:
            return
        # Such a rate is a CUDA graph's, which is to count the steps itself.
        in_graph = isinstance(group['lr'], Tensor) and group['lr'].is_cuda
        for p in params:
            state = self.state[p]
            if not state:
                state.update(
                    step=torch.zeros(()), exp_avg=torch.zeros_like(p),
                    exp_avg_sq=torch.zeros_like(p))
            if in_graph:
                state['step'] = state['step'].to(p.device)
        states = [self.state[p] for p in params]
        adam(
            params,
            [p.grad for p in params],
            [state['exp_avg'] for state in states],
            [state['exp_avg_sq'] for state in states],
            [],
            [state['step'] for state in states],
            capturable=in_graph,
            amsgrad=False, beta1=group['betas'][0], beta2=group['betas'][1], lr=group['lr'],
            weight_decay=0, eps=group['eps'], maximize=False)


def _company(kernel: Tensor) -> tuple[int, ...]:
    """Kernels of the same company go through the iteration together."""
    height, width = kernel.flatten(1).shape
    # A GPU takes longer over many small products than over columns of zeros, which stay zeros.
    return (height, ) if kernel.is_cuda and height <= width else (height, width)


def is_kernel(parameter: Tensor) -> bool:
    """Whether Muon takes a parameter."""
    return parameter.dim() > 1 and min(
        parameter.size(0), parameter.numel() // parameter.size(0)) >= _MIN_SIDE


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrices with orthonormal rows or columns, roughly.

    Args:
        matrices (Tensor): Shape (..., M, N), float.
        steps (int): Newton-Schulz iterations. 5 bring the singular values that
            were not negligible to between about 0.7 and 1.2.

    Returns:
        Tensor: Shape (..., M, N), float32.
    """
    height, width = matrices.shape[-2:]
    # 16 bits are precise enough, and faster where they pay at all.
    dtype = choose_dtype('auto', matrices.device.type) if min(height, width) >= 128 else None
    x = matrices.to(dtype or torch.float32)
    x = x if height <= width else x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = _QUINTIC
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if height <= width else x.mT).float()
