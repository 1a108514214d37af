# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""A benchmark's results as CSV, JSON and Markdown."""
import csv
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass

from .results import Results, Row
from .scoring import METRICS


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes:
        group (str): A data set, or empty.
        title (str): With the unit.
        value (Callable): Row -> number in that unit, or None.
        digits (int): After the point.
        best (Callable): ``min`` or ``max``.
        key (str): The column's name in CSV, where values are in base units.
        raw (Callable): Row -> value for CSV.
    """
    group: str
    title: str
    value: Callable[[Row], float | None]
    digits: int
    best: Callable
    key: str
    raw: Callable[[Row], float | None]

    def text(self, row: Row) -> str:
        """The value as text, ``-`` where there is none."""
        value = self.value(row)
        return '-' if value is None else f'{value:,.{self.digits}f}'


def _scaled(get: Callable[[Row], float | None], unit: float) -> Callable[[Row], float | None]:
    def scaled(row: Row) -> float | None:
        value = get(row)
        return None if value is None else value / unit

    return scaled


def columns(results: Results) -> list[Column]:
    """All columns of numbers, in order."""
    simple = [
        ('Parameters (K)', 'parameters', lambda row: row.parameters, 1e3, 0),
        ('Multiply-adds (G)', 'multiply_adds', lambda row: row.multiply_adds, 1e9, 1),
        ('Time (ms)', 'median_seconds', lambda row: row.median_seconds, 1e-3, 1),
        ('Peak memory (MiB)', 'peak_bytes', lambda row: row.peak_bytes, 2**20, 1),
    ]
    found = [Column('', title, _scaled(raw, unit), digits, min, key, raw)
             for title, key, raw, unit, digits in simple]
    for data_set in results.data_sets:
        for metric in METRICS:
            title = metric.replace('-', ' ') + (' (dB)' if metric.startswith('PSNR') else '')

            def raw(row: Row, data_set=data_set, metric=metric) -> float | None:
                return row.scores.get(data_set, {}).get(metric)

            digits = 2 if metric.startswith('PSNR') else 4
            found.append(Column(data_set, title, raw, digits, max, f'{data_set}/{metric}', raw))
    return found


def best_rows(column: Column, rows: list[Row]) -> list[Row]:
    """The rows with the column's best shown value, except bicubic.

    Empty where there is nothing to compare.
    """
    rows = [row for row in rows if (row.config or row.checkpoint) and column.value(row) is not None]
    if len(rows) < 2:
        return []
    best = column.best(round(column.value(row), column.digits) for row in rows)
    return [row for row in rows if round(column.value(row), column.digits) == best]


def to_csv(results: Results) -> str:
    """One line a row; base units (seconds, bytes, single parameters), empty where unknown."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    shown = columns(results)
    writer.writerow(['name', 'config', 'checkpoint', 'backend', *(c.key for c in shown),
                     'min_seconds', 'runs'])
    for row in results.rows:
        writer.writerow([row.name, row.config, row.checkpoint, row.backend,
                         *(c.raw(row) for c in shown), min(row.seconds), len(row.seconds)])
    return out.getvalue()


def to_json(results: Results) -> str:
    """All results, with single runs and images."""
    content = dict(
        scale=results.scale,
        timed_size=dict(height=results.size[0], width=results.size[1]),
        settings=results.settings,
        rows=[dict(asdict(row), median_seconds=row.median_seconds) for row in results.rows],
        pictures=[dict(data_set=upscaled.data_set, name=upscaled.name, psnr_y=upscaled.psnr)
                  for upscaled in results.images])
    return json.dumps(_without_infinities(content), indent=2) + '\n'


def _without_infinities(value):
    """JSON has no infinity, the PSNR of equal images."""
    if isinstance(value, dict):
        return {key: _without_infinities(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_infinities(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def to_markdown(results: Results) -> str:
    """A table for a README with the best of each column in bold, and its explanation."""
    shown = columns(results)
    titles = (_escaped(f'{column.group} {column.title}'.strip()) for column in shown)
    lines = ['| ' + ' | '.join(['Model', *titles]) + ' |',
             '| --- |' + ' ---: |' * len(shown)]
    best = [best_rows(column, results.rows) for column in shown]
    for row in results.rows:
        cells = [f'**{column.text(row)}**' if any(row is other for other in winners)
                 else column.text(row) for column, winners in zip(shown, best, strict=True)]
        lines.append('| ' + ' | '.join([_escaped(row.name), *cells]) + ' |')
    return '\n'.join(lines) + '\n\n' + explain(results) + '\n'


def _escaped(name: str) -> str:
    """A name escaped for a cell of a Markdown table."""
    return re.sub(r'([\\`*|<\[])', r'\\\1', name)


def explain(results: Results) -> str:
    """What the columns mean and how they were measured, a paragraph of plain text."""
    height, width = results.size
    scale = results.scale
    settings = results.settings
    random = any(row.config and not row.checkpoint for row in results.rows)
    return (
        f'Upscaling x{scale}. Multiply-adds for an output of 1280x720. Time: median of '
        f'{settings["runs"]} interleaved runs, {width}x{height} to {scale * width}x'
        f'{scale * height}, RGB in and out, on {settings["processor"]} '
        f'({settings["threads"]} threads). Peak memory: the most of {settings["memory_runs"]} '
        f'such runs, above the level before, {settings["memory_of"]}. PSNR and SSIM: LR by MATLAB '
        f'bicubic, {scale} pixels of border cropped, luma (Y) and RGB.'
        + ' Rows without a checkpoint have random weights.' * random)
