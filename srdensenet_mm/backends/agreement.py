# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Whether an exported model computes the same as the network."""
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from srdensenet_mm.models.channels import channels_of
from srdensenet_mm.optional_packages import import_optional

from .onnx_graph import INPUT

# (N, H, W). Neither is the traced size, and they differ in every dynamic dimension.
CHECKED_SIZES = ((1, 20, 31), (2, 33, 18))


def make_session(model: bytes, keep_memory: bool = True):
    """An onnxruntime session on the CPU, with as many threads as torch uses now.

    Args:
        model (bytes): The serialised model.
        keep_memory (bool): Whether it keeps its memory for the next call.
            Defaults to True.

    Returns:
        onnxruntime.InferenceSession: Ready to run.

    Raises:
        UserError: onnxruntime is not installed.
    """
    ort = import_optional('onnxruntime')
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.enable_cpu_mem_arena = keep_memory
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=['CPUExecutionProvider'])


def largest_difference(model: bytes,
                       network: nn.Module,
                       sizes: Sequence[tuple[int, int, int]] = CHECKED_SIZES) -> float:
    """Compare an exported model in onnxruntime with the network in torch.

    Args:
        model (bytes): The serialised model.
        network (nn.Module): The network that it was made from.
        sizes (Sequence[tuple]): (N, H, W) of the random inputs, in 0..1.

    Returns:
        float: The largest absolute difference of any output. Where outputs
        exceed 1 (as for an untrained network), it is divided by the largest.
        Infinite where shapes differ or the output is not finite.

    Raises:
        UserError: onnxruntime is not installed.
    """
    session = make_session(model)
    return largest_difference_of(
        lambda inputs: torch.from_numpy(session.run(None, {INPUT: inputs.numpy()})[0]),
        network, noise(channels_of(network), sizes))


def noise(channels: int,
          sizes: Sequence[tuple[int, int, int]] = CHECKED_SIZES) -> Iterator[Tensor]:
    """Random inputs in 0..1, float32, of the sizes (N, H, W)."""
    generator = torch.Generator().manual_seed(0)
    for n, height, width in sizes:
        yield torch.rand(n, channels, height, width, generator=generator, dtype=torch.float32)


def largest_difference_of(run: Callable[[Tensor], Tensor], network: nn.Module,
                          batches: Iterable[Tensor]) -> float:
    """Compare any way to run a network with the network in torch, on any inputs.

    Args:
        run (Callable): Takes and returns tensors as the network does.
        network (nn.Module): The network.
        batches (Iterable[Tensor]): Inputs, each (N, C, H, W), float32.

    Returns:
        float: See :func:`largest_difference`.
    """
    worst = 0.
    for inputs in batches:
        with torch.no_grad():
            expected = network(inputs)
        found = run(inputs)
        if found.shape != expected.shape or not torch.isfinite(found).all():
            return float('inf')
        largest = expected.abs().max().item()
        worst = max(worst, (found - expected).abs().max().item() / max(1, largest))
    return worst


def psnr_loss(model: bytes, network: nn.Module,
              pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """How much PSNR to the truth an exported model loses.

    Args:
        model (bytes): The serialised model.
        network (nn.Module): The network that it was made from.
        pairs (Sequence[tuple]): LR, shape (1, C, h, w), and the truth, shape
            (1, C, s*h, s*w); float32, 0..1.

    Returns:
        float: dB, the mean over all pairs. Negative where the model is better.
        s pixels of border do not count.
    """
    session = make_session(model)
    lost = []
    for low, high in pairs:
        with torch.no_grad():
            expected = network(torch.from_numpy(low)).numpy()
        border = high.shape[-1] // low.shape[-1]
        lost.append(_psnr(expected, high, border)
                    - _psnr(session.run(None, {INPUT: low})[0], high, border))
    return float(np.mean(lost))


def _psnr(image: np.ndarray, truth: np.ndarray, border: int) -> float:
    """dB of values in 0..1."""
    error = (image.clip(0, 1) - truth)[..., border:-border, border:-border]
    # An error far below a rounding to 8 bits keeps two equal images comparable.
    return -10 * float(np.log10(np.square(error, dtype=np.float64).mean() + 1e-9))
