# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Exporting a checkpoint to a checked ONNX file."""
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine import fileio

from srdensenet_mm.backends.agreement import CHECKED_SIZES, largest_difference, psnr_loss
from srdensenet_mm.backends.onnx_graph import DEFAULT_OPSET, folded, to_onnx
from srdensenet_mm.backends.probing import find_scale
from srdensenet_mm.backends.quantization import dead_leaves, to_int8
from srdensenet_mm.checkpoints import load_network_with_meta
from srdensenet_mm.checkpoints.model_config import known_normalization
from srdensenet_mm.errors import UserError, printable
from srdensenet_mm.files import atomic_write
from srdensenet_mm.models.channels import channels_of
from srdensenet_mm.optional_packages import import_optional
from srdensenet_mm.version import __version__

from .forms import graph_form
from .half_precision import to_fp16
from .judging import image_pairs

# The largest allowed difference to torch, in 0..1. Half precision has 11 bits, and errors add up
# over the layers.
TOLERANCES = {'fp32': 1e-5, 'fp16': 1e-2}
# The PSNR that int8 may lose, dB.
MAX_LOSS = 0.05


@dataclass(frozen=True)
class ExportReport:
    """The result of an export.

    Attributes:
        path (Path): The file.
        num_bytes (int): Its size.
        metadata (dict[str, str]): Its metadata.
        difference (float, optional): The largest difference to torch on random
            inputs, in 0..1. None with int8.
        tolerance (float, optional): The largest allowed difference.
        loss (float, optional): The PSNR that the int8 model loses on the
            images, dB. None for other types.
    """
    path: Path
    num_bytes: int
    metadata: dict[str, str]
    difference: float | None = None
    tolerance: float | None = None
    loss: float | None = None

    def __str__(self) -> str:
        what = self.metadata
        lines = [f'{self.path}: {self.num_bytes / 2**20:.1f} MiB, x{what["scale"]}, '
                 f'{what["colour"]} in and out, {what["dtype"]}, opset {what["opset"]}']
        if self.difference is not None:
            sizes = ' and '.join(f'{n}x{height}x{width}' for n, height, width in CHECKED_SIZES)
            lines.append(f'onnxruntime and torch differ by {self.difference:.2g} at most on '
                         f'{sizes} (allowed: {self.tolerance:.0e})')
        if self.loss is not None:
            lines.append(f'on the images it has {self.loss:.3f} dB of PSNR less than in fp32 '
                         f'(allowed: {MAX_LOSS})')
        return '\n'.join(lines)


def export_checkpoint(source: str | Path,
                      target: str | Path,
                      colour: str | None = None,
                      dtype: str = 'fp32',
                      opset: int = DEFAULT_OPSET,
                      pictures: Sequence[str | Path] = ()) -> ExportReport:
    """Write a checkpoint's network as an ONNX file, checked against torch.

    Batch, height and width are dynamic. The file's metadata have scale,
    channels, colour, dtype, opset, the network's config, the version of
    srdensenet_mm, and the name and SHA-256 of the source.

    Args:
        source (str | Path): Any checkpoint that
            :func:`srdensenet_mm.checkpoints.load_network` reads.
        target (str | Path): The file to write, ``.onnx``.
        colour (str, optional): Colour of input and output. ``'y'``: Y / 255, the
            network alone. ``'rgb'``: RGB in 0..1. For a network on luma, the
            model then includes the conversion and the bicubic Cb and Cr. None:
            as the network. Defaults to None.
        dtype (str): ``'fp32'``, ``'fp16'`` (half the size) or ``'int8'`` (the
            convolutions in 8 bits, checked on ``pictures``). Input and output
            are always float32. Defaults to ``'fp32'``.
        opset (int): 13 to 20. Defaults to 17.
        pictures (Sequence[str | Path]): HR image files or folders, for int8
            only. The PSNR that int8 loses is measured on them.

    Returns:
        ExportReport: With the measured difference to torch, or the lost PSNR.

    Raises:
        UserError: The source cannot be read, an argument has an unsupported
            value, a package is missing, the model differs from the network by
            more than its dtype allows, or the target cannot be written.
            Nothing is written then.
    """
    target = Path(target)
    if target.suffix != '.onnx':
        raise UserError(f'{target}: name the file with .onnx')
    if dtype == 'int8' and not pictures:
        raise UserError('dtype=int8: needs HR images (--pictures) to measure how much PSNR it '
                        'loses')
    for package in ('onnx', 'onnxruntime'):
        import_optional(package)
    network, meta = load_network_with_meta(source)
    if not known_normalization(meta, source).is_usual:
        raise UserError(f'{source}: was trained on other numbers than values divided by 255 '
                        f'({meta["normalization"]}), which cannot be exported')
    form, colour = graph_form(network, meta['colour'], colour)
    metadata = dict(
        srdensenet_mm_version=__version__,
        scale=str(find_scale(form, channels_of(form))),
        channels=str(channels_of(form)),
        colour=colour,
        dtype=dtype,
        opset=str(opset),
        network=json.dumps(meta['network']),
        source=printable(Path(source).name),
        source_sha256=hashlib.sha256(fileio.get(str(source))).hexdigest())

    model = folded(to_onnx(form, opset))
    measured = {}
    if dtype == 'int8':
        pairs = image_pairs(pictures, colour, int(metadata['scale']))
        model = to_int8(model, dead_leaves(8, channels_of(form)))
        if not math.isfinite(largest_difference(model, form)):
            raise UserError(f'{source}: its int8 model does not take images of every size')
        measured['loss'] = psnr_loss(model, form, pairs)
        if not measured['loss'] <= MAX_LOSS:
            raise UserError(f'{source}: int8 loses {measured["loss"]:.3f} dB of PSNR on the images '
                            f'(allowed: {MAX_LOSS}): choose fp32 or fp16')
    else:
        if dtype == 'fp16':
            model = to_fp16(model)
        measured.update(
            difference=largest_difference(model, form), tolerance=TOLERANCES[dtype])
        if not measured['difference'] <= measured['tolerance']:
            raise UserError(
                f'{source}: the exported {dtype} model differs from the network by '
                f'{measured["difference"]:.2g}, more than {measured["tolerance"]:.0e}'
                + (': choose fp32' if dtype != 'fp32' else f' (opset {opset})'))

    model = with_metadata(model, metadata)
    with atomic_write(target) as temporary:
        temporary.write_bytes(model)
    return ExportReport(target, len(model), metadata, **measured)


def with_metadata(model: bytes, metadata: dict[str, str]) -> bytes:
    """Put entries into a model's ``metadata_props``."""
    onnx = import_optional('onnx')
    proto = onnx.load_from_string(model)
    onnx.helper.set_model_props(proto, metadata)
    proto.producer_name, proto.producer_version = 'srdensenet_mm', __version__
    onnx.checker.check_model(proto)
    return proto.SerializeToString()
