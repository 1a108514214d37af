# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Whether an exported model does what the network does."""
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from srdensenet_mm.optional_packages import import_optional

from .onnx_graph import INPUT
from .probing import channels_of

# (N, H, W). Neither was traced, and between them every dynamic dimension differs.
CHECKED_SIZES = ((1, 20, 31), (2, 33, 18))


def make_session(model: bytes, keep_memory: bool = True):
    """An onnxruntime session on the CPU, with as many threads as torch takes now.

    Args:
        model (bytes): The serialised model.
        keep_memory (bool): Whether it keeps the memory that it has once taken
            for the next call. Defaults to True.

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
        float: The largest absolute difference of any output, in parts of the
        output's range where that exceeds 1 (an untrained network's does);
        infinite where shapes differ or the output is not finite.

    Raises:
        UserError: onnxruntime is not installed.
    """
    session = make_session(model)
    return largest_difference_of(
        lambda inputs: torch.from_numpy(session.run(None, {INPUT: inputs.numpy()})[0]),
        network, sizes)


def largest_difference_of(run: Callable[[Tensor], Tensor],
                          network: nn.Module,
                          sizes: Sequence[tuple[int, int, int]] = CHECKED_SIZES) -> float:
    """:func:`largest_difference` of any other way to run a network, taking and giving tensors."""
    generator = torch.Generator().manual_seed(0)
    worst = 0.
    for n, height, width in sizes:
        inputs = torch.rand(n, channels_of(network), height, width, generator=generator,
                            dtype=torch.float32)
        with torch.no_grad():
            expected = network(inputs)
        found = run(inputs)
        if found.shape != expected.shape or not torch.isfinite(found).all():
            return float('inf')
        largest = expected.abs().max().item()
        worst = max(worst, (found - expected).abs().max().item() / max(1, largest))
    return worst


def agreement(model: bytes, network: nn.Module, batches: Sequence[np.ndarray]) -> float:
    """PSNR between an exported model's output and the network's.

    Args:
        model (bytes): The serialised model.
        network (nn.Module): The network that it was made from.
        batches (Sequence[np.ndarray]): Inputs, each (N, C, H, W), float32.

    Returns:
        float: dB, of the mean squared error over all outputs; the peak is 1,
        or the output's largest magnitude where that is more (an untrained
        network's is).
    """
    session = make_session(model)
    total, count, peak = 0., 0, 1.
    for batch in batches:
        with torch.no_grad():
            expected = network(torch.from_numpy(batch)).numpy()
        difference = session.run(None, {INPUT: batch})[0] - expected
        total += float(np.square(difference, dtype=np.float64).sum())
        count += difference.size
        peak = max(peak, float(np.abs(expected).max()))
    return float('inf') if total == 0 else 10 * float(np.log10(peak**2 * count / total))
