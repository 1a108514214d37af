# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Running a whole benchmark, for tools/benchmark.py."""
import platform
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from srdensenet_mm.device import device_name, find_device
from srdensenet_mm.errors import UserError, naming
from srdensenet_mm.files import atomic_write, make_folder
from srdensenet_mm.progress import progress_bar
from srdensenet_mm.version import __version__

from . import backends
from .complexity import count_multiply_adds, count_parameters
from .entries import BICUBIC, Entry, build, common_scale, parse_specs
from .page import to_html
from .peak_memory import MEMORY_RUNS, entry_peak, measure_cuda_peak
from .plot import plot_psnr_over_time
from .results import Results, Row, UpscaledImage
from .scoring import DataSet, Score, Scorer, check_folder, data_set_name, mean_metrics, to_image
from .tables import to_csv, to_json, to_markdown
from .timing import bicubic_call, time_interleaved, torch_call

FILES = ('benchmark.csv', 'benchmark.json', 'benchmark.md', 'psnr_over_time.png', 'index.html')


def run_benchmark(models: Sequence[str],
                  data: Sequence[str],
                  out: str,
                  size: tuple[int, int] = (128, 128),
                  runs: int = 5,
                  threads: int | None = None,
                  device: str = 'cpu',
                  run_by: Sequence[str] = (backends.TORCH,),
                  with_images: bool = True) -> Results:
    """Benchmark models and write all files.

    Args:
        models (Sequence[str]): ``CONFIG``, ``CONFIG=CHECKPOINT`` or ``NAME=CHECKPOINT``.
        data (Sequence[str]): Test sets as tools/prepare_dataset.py makes them.
        out (str): Folder for the files, named in :data:`FILES`.
        size (tuple[int, int]): Height and width of the image that is timed,
            LR pixels.
        runs (int): Timed runs of each model.
        threads (int, optional): For torch; its own choice by default.
        device (str): ``cpu`` or a GPU.
        run_by (Sequence[str]): Backends for SRDenseNets, see
            :func:`.backends.choices`.
        with_images (bool): Whether the page has the images.

    Returns:
        Results: What the files say.

    Raises:
        UserError: A mistake in the arguments or the data.
    """
    _check_arguments(data, size, runs, threads, device)
    specs = parse_specs(models, run_by, device)
    if threads:
        torch.set_num_threads(threads)
    threads = torch.get_num_threads()
    entries = [build(spec, device) for spec in specs]
    scale = common_scale(entries)
    data_sets = [DataSet(folder, scale) for folder in data]
    results = Results(
        scale, size, _settings(device, threads, runs), [one.name for one in data_sets],
        [Row(BICUBIC, None, None, 'MATLAB bicubic', 0, None),
         *(Row(c.spec.name, c.spec.config, c.spec.checkpoint, c.spec.backend,
               count_parameters(c.generator),
               count_multiply_adds(c.generator, c.in_channels, scale)) for c in entries)], [])
    scored = 1 + sum(bool(spec.checkpoint) for spec in specs)
    steps = len(results.rows) * (runs + 2) + scored * sum(map(len, data_sets))
    with naming('--out'):  # now, before minutes of measuring
        make_folder(out)
    with progress_bar(total=steps, unit='run') as bar:
        _measure_memory(results, entries, threads, device, bar)
        _measure_scores(results, entries, data_sets, with_images, bar)
        _measure_time(results, entries, runs, device, bar)
    results.files = _write(results, Path(out), with_images)
    return results


def _check_arguments(data, size, runs, threads, device) -> None:
    for name, value in (('size', min(size)), ('runs', runs), ('threads', threads)):
        if value is not None and value < 1:
            raise UserError(f'--{name} {value}: give a positive number')
    found = find_device(device)
    if found.type == 'cuda' and found.index is not None:
        torch.cuda.set_device(found)  # clocks and memory counters are the current GPU's
    names = set()
    for folder in data:
        check_folder(folder)
        if data_set_name(folder) in names:
            raise UserError(f'--data {folder}: a second data set named {data_set_name(folder)}')
        names.add(data_set_name(folder))


def _measure_memory(results: Results, entries: list[Entry], threads: int, device: str,
                    bar: tqdm) -> None:
    for row, entry in zip(results.rows, [None, *entries], strict=True):
        bar.set_description(f'memory, {row.name}')
        if entry is None or torch.device(device).type == 'cpu':
            spec = entry and entry.spec
            try:
                row.peak_bytes = entry_peak(spec, results.size, results.scale, threads)
            except RuntimeError as error:
                # The kernel ends a process that wants too much memory.
                bar.write(f'{row.name}: peak memory was not measured: '
                          f'{str(error).strip().splitlines()[-1]}')
        else:
            call = torch_call(entry, results.size)
            call()
            row.peak_bytes = max(measure_cuda_peak(call) for _ in range(MEMORY_RUNS))
        bar.update()


def _measure_scores(results: Results, entries: list[Entry], data_sets: list[DataSet],
                    with_images: bool, bar: tqdm) -> None:
    scorer = Scorer(results.scale)
    for data_set in data_sets:
        scores: dict[str, list[Score]] = {}
        for stem, pair in data_set:
            upscaled = UpscaledImage(
                data_set.name, stem, to_image(pair['data_samples'].gt_img.flip(0)))
            for row, entry in zip(results.rows, [None, *entries], strict=True):
                if entry is not None and not row.checkpoint:
                    continue
                bar.set_description(f'{data_set.name}/{stem}, {row.name}')
                if entry is None:
                    score = scorer.score_bicubic(pair)
                else:
                    score = scorer.score_model(entry, pair)
                scores.setdefault(row.name, []).append(score)
                upscaled.psnr[row.name] = score.metrics['PSNR-Y']
                if with_images:
                    upscaled.predictions[row.name] = score.prediction
                bar.update()
            results.images.append(upscaled)
        for row in results.rows:
            if row.name in scores:
                row.scores[data_set.name] = mean_metrics(scores[row.name])


def _measure_time(results: Results, entries: list[Entry], runs: int, device: str,
                  bar: tqdm) -> None:
    calls = {BICUBIC: bicubic_call(results.size, results.scale)}
    calls.update((c.spec.name, torch_call(c, results.size)) for c in entries)

    def on_call(name: str) -> None:
        bar.set_description(f'time, {name}')
        bar.update()

    seconds = time_interleaved(calls, runs, device, on_call)
    for row in results.rows:
        row.seconds = seconds[row.name]


def _settings(device: str, threads: int, runs: int) -> dict[str, object]:
    cuda = torch.device(device).type == 'cuda'
    return dict(
        processor=torch.cuda.get_device_name(device) if cuda else device_name(),
        device=device,
        threads=threads,
        runs=runs,
        memory_runs=MEMORY_RUNS,
        memory_of='as torch allocates it on the GPU' if cuda else 'each in a process of its own',
        python=platform.python_version(),
        torch=torch.__version__,
        srdensenet_mm=__version__)


def _write(results: Results, out: Path, with_images: bool) -> list[str]:
    """Write the files, and remove older ones that this run has no content for."""
    plot = plot_psnr_over_time(results) if results.data_sets else None
    contents = dict(zip(FILES, (
        to_csv(results), to_json(results), to_markdown(results), plot,
        to_html(results, plot, with_images)), strict=True))
    for name, content in contents.items():
        if content is None:
            (out / name).unlink(missing_ok=True)
            continue
        with atomic_write(out / name) as temporary:
            if isinstance(content, str):
                temporary.write_text(content, encoding='utf-8', errors='backslashreplace')
            else:
                temporary.write_bytes(content)
    return [name for name, content in contents.items() if content is not None]
