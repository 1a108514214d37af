# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from mmagic.registry import OPTIMIZERS
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adam import adam

# Kernels with a shorter side, such as those of the first and last convolution, are left to Adam:
# they have too few directions to equalize.
_MIN_SIDE = 16
# Coefficients of the quintic polynomial whose iteration brings every singular value near to 1.
_QUINTIC = (3.4445, -4.7750, 2.0315)


@OPTIMIZERS.register_module()
class MuonWithAdam(Optimizer):
    """Muon for the kernels, Adam for the rest.

    Muon (Jordan et al., 2024) makes the momentum of the gradient orthogonal and
    steps along it. A kernel counts as a matrix (out, in * kh * kw). All its
    directions then advance equally, while Adam's steps are nearly of low rank.
    ``studies/optimizers.py`` compares the two on SRDenseNet.
    ``torch.optim.Muon`` only takes matrices, not kernels of convolutions.

    A step is scaled to the size of Adam's. So both use the same learning rate,
    and schedules that suit Adam suit Muon.

    Kernels whose inputs' means are known (:meth:`centre`) are stepped as if
    these inputs were centred (Schraudolph, 1998). Maps behind a ReLU are never
    negative, so a kernel's step along their mean moves all its outputs at once.
    A few of these steps make a map zero for good.

    Args:
        params (iterable): Parameters, or groups of them. Kernels (two or more
            dimensions, both sides of the matrix at least 16 long) are Muon's.
        lr (float): Learning rate. Defaults to 1e-3. A group's may be replaced by
            a tensor, so that a CUDA graph reads its value at each replay.
        momentum (float): Muon's (Nesterov) momentum. Defaults to 0.95.
        betas (Tuple[float, float]): For Adam. Defaults to (0.9, 0.999).
        eps (float): For Adam. Defaults to 1e-8.
        weight_decay (float): Decoupled, as in AdamW. Defaults to 0.
        ns_steps (int): Newton-Schulz iterations, 1 to 6. Defaults to 5.
        bias_lr_mult (float): Factor on the learning rate of biases. Less than 1
            keeps the maps of a deep stack of ReLUs alive: a bias moved too far
            makes its map zero for good. MMEngine's ``paramwise_cfg`` does the
            same, but makes a group for each parameter, which is slow. Defaults
            to 1.

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
                 ns_steps: int = 5,
                 bias_lr_mult: float = 1.):
        for averages in (betas, (momentum, 0.)):  # Adam refuses values out of range
            torch.optim.Adam([torch.zeros(1)], lr * bias_lr_mult, averages, eps, weight_decay)
        if not 1 <= ns_steps <= 6:
            raise ValueError(f'ns_steps={ns_steps} must be 1 to 6: with more, rounding errors '
                             'grow in directions without a gradient')
        super().__init__(params, dict(
            lr=lr, momentum=momentum, betas=tuple(betas), eps=eps, weight_decay=weight_decay,
            ns_steps=ns_steps, bias_lr_mult=bias_lr_mult))
        self._biases: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def centre(self, kernel: Tensor, bias: Tensor, mean: Tensor | None = None,
               share: float = 0.3) -> None:
        """Step a kernel from now on as if its inputs were centred.

        With inputs x of mean m, W x + b is W (x - m) + b'. The kernel's gradient
        is that of W in the second form. The bias follows each step of W, so that
        b' stays as it is.

        Args:
            kernel (Tensor): Of a convolution, (out, in, kh, kw). One that is
                left to Adam stays as it is.
            bias (Tensor): The convolution's, (out, ).
            mean (Tensor, optional): Mean of the input's maps over images and
                pixels, (in, ). None keeps what a checkpoint has brought.
            share (float): Of ``mean`` in a mean that is known already. Defaults
                to 0.3.
        """
        if not is_kernel(kernel):
            return
        self._biases[kernel] = bias
        state = self.state[kernel]
        if mean is None:
            return
        if 'input_mean' in state:
            state['input_mean'].lerp_(mean, share)
        else:
            state['input_mean'] = mean.clone()

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
            # Groups of older checkpoints lack it.
            part = group.get('bias_lr_mult', 1.)
            others = [p for p in with_gradient if not is_kernel(p)]
            self._step_adam([p for p in others if p.dim() != 1], group, group['lr'])
            self._step_adam([p for p in others if p.dim() == 1], group, group['lr'] * part)
        return loss

    def _step_muon(self, kernels: list[Tensor], group: dict) -> None:
        if not kernels:
            return
        directions = self._directions(kernels, group['momentum'])
        matrices = [direction.flatten(1) for direction in directions]
        steps = orthogonalize(matrices, group['ns_steps'])
        moves = [step.view_as(kernel) for kernel, step in zip(kernels, steps, strict=True)]
        # The root mean square of Adam's steps is about 0.2 of its rate.
        torch._foreach_mul_(moves, [0.2 * math.sqrt(max(matrix.shape)) for matrix in matrices])
        torch._foreach_mul_(moves, group['lr'])
        torch._foreach_sub_(kernels, moves)
        for kernel, move in zip(kernels, moves, strict=True):
            if self._is_centred(kernel):
                self._biases[kernel] += move.sum((2, 3)) @ self.state[kernel]['input_mean']

    def _directions(self, kernels: list[Tensor], momentum: float) -> list[Tensor]:
        for kernel in kernels:
            state = self.state[kernel]
            if 'momentum' not in state:
                state['momentum'] = torch.zeros_like(kernel)
        momenta = [self.state[kernel]['momentum'] for kernel in kernels]
        gradients = [self._gradient(kernel) for kernel in kernels]
        torch._foreach_lerp_(momenta, gradients, 1 - momentum)
        return torch._foreach_lerp(gradients, momenta, momentum)

    def _is_centred(self, kernel: Tensor) -> bool:
        return kernel in self._biases and 'input_mean' in self.state[kernel]

    def _gradient(self, kernel: Tensor) -> Tensor:
        if not self._is_centred(kernel) or self._biases[kernel].grad is None:
            return kernel.grad
        mean = self.state[kernel]['input_mean']
        return kernel.grad - self._biases[kernel].grad.outer(mean)[..., None, None]

    def _step_adam(self, params: list[Tensor], group: dict, lr: float | Tensor) -> None:
        if not params:
            return
        # A CUDA graph has such a rate. It must count the steps itself.
        in_graph = isinstance(lr, Tensor) and lr.is_cuda
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
            amsgrad=False, beta1=group['betas'][0], beta2=group['betas'][1], lr=lr,
            weight_decay=0, eps=group['eps'], maximize=False)


def is_kernel(parameter: Tensor) -> bool:
    """Whether Muon takes a parameter."""
    return parameter.dim() > 1 and min(
        parameter.size(0), parameter.numel() // parameter.size(0)) >= _MIN_SIDE


def orthogonalize(matrices: Sequence[Tensor], steps: int = 5) -> list[Tensor]:
    """Approximate the nearest matrices with orthonormal rows or columns.

    Newton-Schulz multiplies a matrix X from the left by polynomials of X X^T,
    which commute. So the iteration runs on X X^T alone: 16x16 for all kernels
    of a dense block. All matrices of one height are computed at once.

    Args:
        matrices (Sequence[Tensor]): Shapes (M, N), float, on one device.
        steps (int): Newton-Schulz iterations. 5 bring all singular values that
            are not negligible to between about 0.7 and 1.2.

    Returns:
        List[Tensor]: The same shapes, float32.
    """
    # Matrices of one shape are multiplied together: on a GPU, launching a small product takes
    # longer than computing it.
    stacks = {}
    for i, m in enumerate(matrices):
        stacks.setdefault(m.shape, []).append(i)
    wide = {shape: torch.stack([matrices[i] if shape[0] <= shape[1] else matrices[i].mT
                                for i in members]).float() for shape, members in stacks.items()}
    by_height = defaultdict(list)
    for shape in stacks:
        by_height[min(shape)].append(shape)
    found: list[Tensor | None] = [None] * len(matrices)
    for shapes in by_height.values():
        grams = [wide[shape] @ wide[shape].mT for shape in shapes]
        factors = _newton_schulz(torch.cat(grams), steps).split([len(gram) for gram in grams])
        for shape, factor in zip(shapes, factors, strict=True):
            for i, x in zip(stacks[shape], factor @ wide[shape], strict=True):
                found[i] = x if shape[0] <= shape[1] else x.mT
    return found


def _newton_schulz(gram: Tensor, steps: int) -> Tensor:
    """The factors for matrices X, given X X^T, shape (K, M, M)."""
    identity = torch.eye(gram.size(-1), device=gram.device)
    # The trace is the squared Frobenius norm, at least that of the largest singular value.
    norm = gram.diagonal(dim1=-2, dim2=-1).sum(-1).sqrt().view(-1, 1, 1) + 1e-7
    gram = gram / norm**2
    total = identity / norm
    a, b, c = _QUINTIC
    for _ in range(steps):
        factor = a * identity + b * gram + c * gram @ gram
        gram = factor @ gram @ factor
        total = factor @ total
    return total
