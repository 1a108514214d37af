# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The measurements of speed.py: the network and its plain form."""
import copy
import gc
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import mean

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from srdensenet_mm.backends.engines import make_backend  # noqa: E402
from srdensenet_mm.benchmark.peak_memory import measure_peak  # noqa: E402
from srdensenet_mm.checkpoints.reading import load_network_with_meta  # noqa: E402
from srdensenet_mm.datasets import matlab_bicubic  # noqa: E402
from srdensenet_mm.datasets.prepare import gt_multiple  # noqa: E402
from srdensenet_mm.device import cpu_has_bf16  # noqa: E402
from srdensenet_mm.engine import AutocastOptimWrapper  # noqa: E402
from srdensenet_mm.errors import UserError  # noqa: E402
from srdensenet_mm.inference import Upscaler  # noqa: E402
from srdensenet_mm.models import SRDenseNet  # noqa: E402
from srdensenet_mm.models.colour import rgb_to_y  # noqa: E402
from srdensenet_mm.models.fused import computing  # noqa: E402

SET5 = ROOT / 'tests/data/Set5/HR'
PLAIN = 'plain form, fp32'
# Name -> backend and type with which the forward pass is timed.
FORMS = {
    'ours, fp32': ('torch', 'fp32'),
    'ours, bf16': ('torch', 'bf16'),
    'ours, onnxruntime fp32': ('onnxruntime', 'fp32'),
    'ours, OpenVINO fp32': ('openvino', 'fp32'),
    'ours, OpenVINO bf16': ('openvino', 'bf16'),
    'ours, OpenVINO int8': ('openvino', 'int8'),
}
# The types that torch computes in here. It would emulate bf16 on other CPUs, many times slower.
DTYPES = ('fp32', 'bf16') if cpu_has_bf16() else ('fp32', )
GEMM = {f'matrix product, {dtype}': dict(fp32=torch.float32, bf16=torch.bfloat16)[dtype]
        for dtype in DTYPES}
# Sides of the matrices: large enough that the rate no longer grows.
GEMM_SIZE = 2048


class PlainForm(nn.Module):
    """A network computed by its plain forward."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        with computing('plain'):
            return self.network(x)


def make_network(checkpoint: str | None) -> tuple[nn.Module, nn.Module]:
    """The network, and its plain form with the same weights.

    Args:
        checkpoint (str, optional): Without one, the default network with
            random weights.

    Raises:
        UserError: The checkpoint cannot be read, or is of a network on colour.
    """
    if checkpoint is None:
        torch.manual_seed(0)
        network = SRDenseNet().eval()
    else:
        network, meta = load_network_with_meta(checkpoint)
        if meta['colour'] != 'y':
            raise UserError(f'{checkpoint}: is for colour, give a network on luma')
    return network, PlainForm(network).eval()


def image(height: int, width: int) -> np.ndarray:
    """A real image of any size, mirrored until it is large enough, BGR."""
    image = cv2.imread(str(SET5.parent / 'LR_bicubic/X4/baby.png'), cv2.IMREAD_COLOR)
    more = [(0, max(0, want - have)) for want, have in zip((height, width), image.shape,
                                                         strict=False)]
    return np.ascontiguousarray(np.pad(image, (*more, (0, 0)), mode='symmetric')[:height, :width])


def luma(image: np.ndarray) -> Tensor:
    """Y / 255 of a BGR image, shape (1, 1, H, W), contiguous as another author has it."""
    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float()
    return rgb_to_y(rgb).div(255).contiguous().clone(memory_format=torch.contiguous_format)


def gflop(network: nn.Module, size: tuple[int, int]) -> float:
    """Floating-point operations of the plain form's forward pass, in 1e9."""
    x = torch.zeros(1, 1, *size, device='meta')
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(network).to('meta')(x)
    return counter.get_total_flops() / 1e9


def gflop_of_step(network: nn.Module, batch: int, patch: int) -> float:
    """The same of a training step, forward and backward."""
    network = copy.deepcopy(network).to('meta').train()
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(batch, 1, patch, patch, device='meta')).sum().backward()
    return counter.get_total_flops() / 1e9


def gemm_calls() -> dict[str, Callable[[], object]]:
    """Products of square matrices, the upper limit for convolutions."""
    calls = {}
    for name, dtype in GEMM.items():
        a, b = (torch.rand(GEMM_SIZE, GEMM_SIZE).to(dtype) for _ in range(2))
        calls[name] = lambda a=a, b=b: a @ b
    return calls


def forward_calls(network: nn.Module, plain: nn.Module,
                  size: tuple[int, int]) -> tuple[dict[str, Callable], dict[str, str]]:
    """The calls that upscale the same luma image, and the reasons for missing ones."""
    x = luma(image(*size))

    @torch.no_grad()
    def run_plain():
        return plain(x)

    calls, missing = {PLAIN: run_plain}, {}
    for name, (backend, dtype) in FORMS.items():
        try:
            run = make_backend(network, backend, dtype)
        except UserError as error:
            missing[name] = str(error)
        else:
            calls[name] = lambda run=run: run(x)
    return calls, missing


def differences(calls: Mapping[str, Callable[[], Tensor]]) -> dict[str, float]:
    """The largest difference of each output from the plain form's."""
    reference = calls[PLAIN]()
    return {name: float((call() - reference).abs().max()) for name, call in calls.items()
            if name != PLAIN}


def training_calls(network: nn.Module, plain: nn.Module, batch: int, patch: int,
                   scale: int) -> dict[str, Callable[[], object]]:
    """Whole training steps on the same patches: forward, backward, Adam."""
    low, high = patches(batch, patch, scale)
    forms = {PLAIN: (plain, 'fp32')}
    forms.update({f'ours, {dtype}': (network, dtype) for dtype in DTYPES})
    return {name: _training_step(copy.deepcopy(form).train(), dtype, low, high)
            for name, (form, dtype) in forms.items()}


def _training_step(network: nn.Module, dtype: str, low: Tensor,
                   high: Tensor) -> Callable[[], object]:
    wrapper = AutocastOptimWrapper(
        dtype=dtype, optimizer=torch.optim.Adam(network.parameters(), lr=1e-4))

    def step():
        with wrapper.optim_context(network):
            loss = nn.functional.l1_loss(network(low).float(), high)
        wrapper.update_params(loss)

    return step


def patches(batch: int, patch: int, scale: int) -> tuple[Tensor, Tensor]:
    """Random patches of Set5, for timing only: (N, 1, patch, patch) and s times that."""
    dice = np.random.default_rng(0)
    images = [cv2.imread(str(path), cv2.IMREAD_COLOR) for path in sorted(SET5.glob('*.png'))]
    side, pairs = patch * scale, []
    for i in range(batch):
        image = images[i % len(images)]
        image = np.pad(image, [(0, max(0, side - n)) for n in image.shape[:2]] + [(0, 0)],
                       mode='symmetric')
        top, left = (dice.integers(n - side + 1) for n in image.shape[:2])
        high = np.ascontiguousarray(image[top:top + side, left:left + side])
        pairs.append((luma(matlab_bicubic(high, scale)), luma(high)))
    low, high = zip(*pairs, strict=True)
    return torch.cat(low), torch.cat(high)


def quality(network: nn.Module,
            on_image: Callable[[], object] | None = None,
            names: Iterable[str] = tuple(FORMS)) -> dict[str, float]:
    """PSNR on Y over Set5 by the field's protocol, for each available form."""
    from mmagic.evaluation.metrics import psnr
    upscalers = {}
    for name in names:
        backend, dtype = FORMS[name]
        if backend == 'torch' and dtype not in DTYPES:
            continue
        try:
            upscalers[name] = Upscaler(network, device='cpu', backend=backend, dtype=dtype)
        except UserError:
            continue
    scale = network.upscale_factor
    multiple = gt_multiple(scale)
    found = {name: [] for name in upscalers}
    for path in sorted(SET5.glob('*.png')):
        high = cv2.imread(str(path), cv2.IMREAD_COLOR)
        height, width = (side // multiple * multiple for side in high.shape[:2])
        high = high[:height, :width]
        low = matlab_bicubic(high, scale)
        for name, upscaler in upscalers.items():
            found[name].append(float(psnr(
                upscaler(low).astype(float), high.astype(float), crop_border=scale,
                input_order='HWC', convert_to='Y', channel_order='bgr')))
            if on_image is not None:
                on_image()
    return {name: mean(values) for name, values in found.items()}


# What follows runs in a process of its own each time, see
# srdensenet_mm.benchmark.peak_memory.run_fresh.


def plain_peak(checkpoint: str | None, size: list[int], threads: int) -> dict[str, float]:
    """Peak memory of the plain form on one luma image."""
    torch.set_num_threads(threads)
    _, plain = make_network(checkpoint)
    x = luma(image(*size))

    @torch.no_grad()
    def run(x: Tensor):
        return plain(x)

    run(luma(image(48, 48)))
    return _timed_peak(lambda: run(x))


def ours_peak(checkpoint: str | None, size: list[int], threads: int, dtype: str = 'fp32',
              max_memory: float | None = None, tile: int | None = None,
              compare: bool = False) -> dict[str, float]:
    """Peak memory of Upscaler on one RGB image, and whether its tiles are exact.

    Args:
        checkpoint (str, optional): As for :func:`make_network`.
        size (list[int]): Height and width of the image.
        threads (int): For torch.
        dtype (str): For :class:`Upscaler`.
        max_memory (float, optional): For :class:`Upscaler`, GiB.
        tile (int, optional): For :class:`Upscaler`, LR pixels.
        compare (bool): Whether the image is upscaled untiled as well.
    """
    torch.set_num_threads(threads)
    network, _ = make_network(checkpoint)
    upscaler = Upscaler(network, device='cpu', dtype=dtype, max_memory=max_memory, tile=tile)
    low = image(*size)
    upscaler(image(48, 48))
    found, tiles = [], 0

    def count(_):
        nonlocal tiles
        tiles += 1

    result = _timed_peak(lambda: found.append(upscaler(low, progress=count)))
    result['tiles'] = tiles
    if compare:
        whole = Upscaler(network, device='cpu', dtype=dtype, tile=0)(low)
        apart = np.abs(whole.astype(int) - found[0].astype(int))
        result.update(largest_difference_in_levels=int(apart.max()),
                      share_of_values_that_differ=float((apart > 0).mean()))
    return result


def _timed_peak(call: Callable[[], object]) -> dict[str, float]:
    gc.collect()
    start = time.perf_counter()
    peak = measure_peak(call)
    return dict(peak_bytes=peak, seconds=time.perf_counter() - start)
