# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""A training step, whole, as one CUDA graph; and which variant of it is fastest here."""
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import asdict, replace

import torch
from torch import Tensor, nn

from srdensenet_mm.engine.optimizers.muon import MuonWithAdam

from .fast_network import Variant, upscale
from .images import Planes

# At batch B about 1 + B / CRITICAL times as many patches lead to the same loss (McCandlish et
# al., 2018). The number is a guess.
CRITICAL = 512
_COMPILED = Variant(compile='default')
# Together they must fit into the device's memory.
CANDIDATES = [
    Variant(),
    _COMPILED,
    replace(_COMPILED, batch=128),
    replace(_COMPILED, batch=256),
    replace(_COMPILED, form='plain'),
    replace(_COMPILED, layout=True),
    replace(_COMPILED, shifts_below=32),
    replace(_COMPILED, compile='max-autotune-no-cudagraphs'),
]
_WARM_UP = 3
# Timed steps.
_TIMED = 20


def make_optimizer(network: nn.Module) -> MuonWithAdam:
    """Muon; biases, in a group of their own, at a tenth of the rate."""
    biases = [p for name, p in network.named_parameters() if name.endswith('bias')]
    kernels = [p for name, p in network.named_parameters() if not name.endswith('bias')]
    return MuonWithAdam([dict(params=kernels, part=1.), dict(params=biases, part=.1)])


class Step:
    """Draw, compute, step: captured once and replayed where there is a GPU.

    Args:
        network (nn.Module): In float32, on the planes' device.
        optimizer (MuonWithAdam): Its groups have a ``part`` of the rate.
        planes (Planes): What batches are drawn from.
        variant (Variant): How to compute.
        dtype (torch.dtype): Of the maps.
    """

    def __init__(self, network: nn.Module, optimizer: MuonWithAdam, planes: Planes,
                 variant: Variant, dtype: torch.dtype):
        self.network, self.optimizer, self.planes = network, optimizer, planes
        self.batch = variant.batch
        self.device = planes.low.device

        def loss_of(low: Tensor, target: Tensor) -> Tensor:
            return (upscale(network, low, variant, dtype) - target).abs().mean()

        self._loss_of = loss_of
        if variant.compile:
            import torch._inductor.config as inductor
            inductor.force_layout_optimization = variant.layout
            self._loss_of = torch.compile(
                loss_of, mode=variant.compile, dynamic=False)
        self.total = torch.zeros((), device=self.device)
        self.rates = [torch.zeros((), device=self.device) for _ in optimizer.param_groups]
        self.graph = None
        if self.device.type == 'cuda' and variant.graph:
            self._capture()

    def __call__(self, steps: int, rate: float) -> float:
        """Take steps at one rate and wait for them.

        Args:
            steps (int): How many.
            rate (float): Of the kernels.

        Returns:
            float: The mean loss.
        """
        for tensor, group in zip(self.rates, self.optimizer.param_groups, strict=True):
            tensor.fill_(rate * group['part'])
        self.total.zero_()
        for _ in range(steps):
            if self.graph is None:
                self._step()
            else:
                self.graph.replay()
        return self.total.item() / steps

    def _step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss_of(*self.planes.draw(self.batch))
        loss.backward()
        for tensor, group in zip(self.rates, self.optimizer.param_groups, strict=True):
            # A GPU's graph reads the rate from its place, a CPU's step its value.
            group['lr'] = tensor if tensor.is_cuda else tensor.item()
        self.optimizer.step()
        self.total += loss.detach()

    def _capture(self) -> None:
        torch.backends.cudnn.benchmark = True
        before = [(tensor, tensor.detach().clone()) for tensor in self._state()]
        known = {id(tensor) for tensor, _ in before}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self._step()
        with torch.no_grad():
            for tensor in self._state():
                if id(tensor) not in known:
                    tensor.zero_()
            for tensor, value in before:
                tensor.copy_(value)

    def _state(self) -> list[Tensor]:
        """What training changes, the gradients aside."""
        return [*self.network.parameters()] + [
            value for state in self.optimizer.state.values() for value in state.values()]


def time_variant(variant: Variant, dtype: torch.dtype, device: torch.device,
                 ready=lambda: None) -> dict:
    """Seconds a step of the default x4 network takes on patches of noise.

    Args:
        variant (Variant): What to time.
        dtype (torch.dtype): Of the maps.
        device (torch.device): Where.
        ready (Callable): Is called between the preparation and the timing.

    Returns:
        dict: ``ms``, ``px`` (LR pixels a second), ``gib``, ``tflops``.
    """
    import numpy as np

    from srdensenet_mm.models import SRDenseNet
    torch.manual_seed(0)
    network = SRDenseNet().to(device)
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    planes = Planes([noise], 4, 32, (1, ), device)
    step = Step(network, make_optimizer(network), planes, variant, dtype)
    step(2, 1e-5)
    ready()
    began = time.perf_counter()
    loss = step(_TIMED, 1e-5)
    seconds = (time.perf_counter() - began) / _TIMED
    if not loss < 100:
        raise ValueError(f'the loss is {loss}')
    pixels = variant.batch * 32**2 / seconds
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == 'cuda' else 0
    return dict(ms=1e3 * seconds, px=pixels, gib=memory, loss=loss,
                tflops=pixels * 6 * operations(network) / 1e12)


def operations(network: nn.Module) -> int:
    """Multiplications a forward pass takes for an LR pixel."""
    total, grown = 0, 1
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            total += grown * module.weight.numel()
            grown *= module.stride[0]**2
        elif isinstance(module, nn.Conv2d):
            total += module.weight.numel() * (grown if module is network.conv_last else 1)
    return total


def choose(seconds: float, script: str, candidates: list[Variant] = CANDIDATES) -> Variant:
    """Time candidates, each in a process of its own, and take the best.

    They compile side by side and are timed one after another. What fails, or is
    not ready in time, is left out.

    Args:
        seconds (float): For compiling.
        script (str): What has the command ``time``.
        candidates (list[Variant]): To choose from.

    Returns:
        Variant: The one that is through most patches a second, large batches
        being marked down by :data:`CRITICAL`.
    """
    end = time.time() + seconds
    jobs = {variant: subprocess.Popen(
        [sys.executable, script, 'time', json.dumps(asdict(variant))], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=dict(os.environ, TORCHINDUCTOR_COMPILE_THREADS='4')) for variant in candidates}
    waiting, ready = {job.stdout: variant for variant, job in jobs.items()}, set()
    while waiting and time.time() < end:
        for out in select.select(waiting, [], [], 1)[0]:
            variant = waiting.pop(out)
            if out.readline().strip() == 'ready':
                ready.add(variant)
    best, most = Variant(graph=False), 0
    for variant, job in jobs.items():
        if variant not in ready:
            job.kill()
        line = job.communicate('go\n' if variant in ready else None)[0]
        if job.returncode:
            print(f'left out: {variant}', flush=True)
            continue
        result = json.loads(line)
        print(f'{result["ms"]:.2f} ms, {result["px"] / 1e6:.2f} million LR pixels/s, '
              f'{result["tflops"]:.0f} TFLOP/s, {result["gib"]:.1f} GiB: {variant}', flush=True)
        worth = result['px'] / (1 + variant.batch / CRITICAL)
        if worth > most:
            best, most = variant, worth
    return best
