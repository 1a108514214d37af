# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""A benchmark's results as one self-contained HTML page."""
import base64
import json
import math
import re
from html import escape
from itertools import groupby

import numpy as np

from srdensenet_mm.images.files import encode_png

from .page_parts import SCRIPT, STAGE, STYLE
from .results import HIGH_RESOLUTION, Results, UpscaledImage
from .tables import Column, best_rows, columns, explain


def to_html(results: Results, plot: bytes | None, with_images: bool = True) -> str:
    """The page: a sortable table, the plot, and the images under a before/after slider.

    Args:
        results (Results): What to show.
        plot (bytes, optional): A PNG.
        with_images (bool): Whether the images go in; a data set of five makes
            some megabytes.

    Returns:
        str: HTML that needs no other file or host.
    """
    title = f'Super-resolution x{results.scale}: quality, time and memory'
    shown = [_image_data(upscaled) for upscaled in results.images] if with_images else []
    # "</script" would end the script element, and "<!--<script" keep it from ending.
    data = json.dumps(shown).replace('<', '\\u003c')
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="muted">A click on a column sorts by it; the best model of each column is bold.</p>
{_table(results)}
<p class="muted">{escape(explain(results))}</p>
{_plot(plot)}
{_COMPARISON if shown else ''}
<p class="muted">{escape(_versions(results))}</p>
</main>
<script type="application/json" id="pictures">{data}</script>
<script>{SCRIPT}</script>
</body>
</html>
"""


_COMPARISON = f"""<section id="comparison">
<h2>Images</h2>
<div class="controls">
<label>Image <select id="picture"></select></label>
<label>Left <select id="left"></select></label>
<label>Right <select id="right"></select></label>
<label>Size <select id="zoom"><option value="fit">fit</option><option value="1">1:1</option>
<option value="2">2:1</option><option value="4">4:1</option></select></label>
</div>
{STAGE}
<noscript>The comparison needs JavaScript.</noscript>
</section>"""


def _table(results: Results) -> str:
    shown = columns(results)
    group_row = ''.join(
        f'<th class="group{" edge" if name else ""}" colspan="{len(list(group))}" '
        f'scope="colgroup">{escape(name)}</th>'
        for name, group in groupby(shown, key=lambda column: column.group))
    # The first click on a column puts its best on top.
    heads = _head('Model', 'ascending', '') + ''.join(
        _head(column.title, 'descending' if column.best is max else 'ascending',
              _edge(shown, i)) for i, column in enumerate(shown))
    best = [best_rows(column, results.rows) for column in shown]
    body = []
    for row in results.rows:
        cells = []
        for i, column in enumerate(shown):
            value = column.value(row)
            classes = _edge(shown, i)
            if any(row is other for other in best[i]):
                classes += ' best'
            cells.append(f'<td class="{classes.strip()}" data-value="{_number(value)}">'
                         f'{column.text(row)}</td>')
        hint = escape(' '.join(filter(None, (row.config, row.checkpoint, row.backend))))
        body.append(f'<tr><th scope="row" title="{hint}">{_breakable(row.name)}</th>'
                    f'{"".join(cells)}</tr>')
    newline = '\n'
    return f"""<div class="scroll" tabindex="0" role="region" aria-label="Results">
<table id="table">
<thead>
<tr><th class="group"></th>{group_row}</tr>
<tr>{heads}</tr>
</thead>
<tbody>
{newline.join(body)}
</tbody>
</table>
</div>"""


def _breakable(name: str) -> str:
    """A name that a narrow column may break at its separators."""
    return re.sub('([_-])', r'\1<wbr>', escape(name))


def _edge(shown: list[Column], i: int) -> str:
    return 'edge' if i and shown[i].group != shown[i - 1].group else ''


def _head(title: str, first: str, edge: str) -> str:
    text = escape(title).replace('-', '&#8209;')  # a hyphen that no line ends after
    return (f'<th class="sort {edge}" scope="col" data-first="{first}">'
            f'<button type="button">{text}</button></th>')


def _number(value: float | None) -> str:
    if value is None:
        return ''
    return repr(value) if math.isfinite(value) else 'Infinity'


def _plot(plot: bytes | None) -> str:
    if plot is None:
        return ''
    return ('<section><h2>Quality over time</h2>'
            f'<img class="plot" alt="PSNR of each model over its time" src="{_data_uri(plot)}">'
            '</section>')


def _image_data(upscaled: UpscaledImage) -> dict[str, object]:
    height, width = upscaled.high_resolution.shape[:2]
    versions = {name: dict(source=_png_uri(image), psnr=f'{upscaled.psnr[name]:.2f}')
                for name, image in upscaled.predictions.items()}
    versions[HIGH_RESOLUTION] = dict(source=_png_uri(upscaled.high_resolution), psnr=None)
    # JavaScript sorts keys that look like numbers first, so the order is kept beside them.
    return dict(id=f'{upscaled.data_set}/{upscaled.name}', width=width, height=height,
                versions=versions, order=list(versions))


def _png_uri(image: np.ndarray) -> str:
    return _data_uri(encode_png(image, compression=9))


def _data_uri(png: bytes) -> str:
    return 'data:image/png;base64,' + base64.b64encode(png).decode()


def _versions(results: Results) -> str:
    settings = results.settings
    return (f'srdensenet_mm {settings["srdensenet_mm"]}, torch {settings["torch"]}, '
            f'Python {settings["python"]}, device {settings["device"]}.')
