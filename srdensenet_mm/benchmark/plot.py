# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""PSNR over time."""
import io
from collections.abc import Mapping

from srdensenet_mm.errors import printable

from .results import Results

# Where a name may stand: offset from its point (points), and how it is aligned there.
_PLACES = [((0, 9), 'center', 'bottom'), ((0, -9), 'center', 'top'), ((9, 0), 'left', 'center'),
           ((-9, 0), 'right', 'center'), ((0, 22), 'center', 'bottom'), ((0, -22), 'center', 'top'),
           ((0, 35), 'center', 'bottom'), ((0, -35), 'center', 'top')]
_INK, _MUTED, _ACCENT = '#1d2733', '#667485', '#0b62c4'


def plot_psnr_over_time(results: Results) -> bytes:
    """Draw a panel for each data set: time of an image (logarithmic) against PSNR on Y.

    Args:
        results (Results): Rows without scores are left out.

    Returns:
        bytes: A PNG.
    """
    from matplotlib.figure import Figure
    panels, named = results.data_sets, []
    figure = Figure(figsize=(7 * max(len(panels), 1), 4.4), dpi=120, layout='constrained')
    for i, data_set in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), i + 1)
        rows = [row for row in results.rows if data_set in row.scores]
        points = {row.name: (row.median_seconds * 1000, row.scores[data_set]['PSNR-Y'])
                  for row in rows}
        for row in rows:
            color = _ACCENT if row.config or row.checkpoint else _MUTED
            axes.plot(*points[row.name], 'o', color=color, markersize=9)
        axes.set_xscale('log')
        # Room for the names, which are wider than their points.
        axes.margins(x=0.4, y=0.25)
        named.append((axes, points))
        axes.set_title(printable(f'{data_set} x{results.scale}'), color=_INK, loc='left',
                       fontweight='bold', parse_math=False)
        axes.set_xlabel(f'time for {results.size[1]}x{results.size[0]} (ms)', color=_MUTED)
        axes.set_ylabel('PSNR on Y (dB)', color=_MUTED)
        axes.xaxis.set_major_formatter('{x:g}')
        axes.tick_params(colors=_MUTED)
        axes.grid(True, color='#e4e8ed', linewidth=0.8)
        axes.spines[['top', 'right']].set_visible(False)
        axes.spines[['left', 'bottom']].set_color('#c5cdd6')
    figure.draw_without_rendering()  # the layout, which decides what overlaps
    for axes, points in named:
        _write_names(axes, points)
    out = io.BytesIO()
    figure.savefig(out, format='png')
    return out.getvalue()


def _write_names(axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Write each name beside its point, where it covers no other name or point."""
    from matplotlib.transforms import Bbox
    taken = [Bbox.from_bounds(x - 7, y - 7, 14, 14)
             for x, y in map(axes.transData.transform, points.values())]
    for name, point in points.items():
        label = axes.annotate(printable(name), point, xytext=(0, 0), textcoords='offset points',
                              fontsize=9, color=_INK, parse_math=False)
        for offset, across, along in _PLACES:
            label.set(position=offset, horizontalalignment=across, verticalalignment=along)
            box = label.get_window_extent()
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            if inside and not any(box.overlaps(other) for other in taken):
                break
        else:
            label.set(position=_PLACES[0][0], horizontalalignment='center',
                      verticalalignment='bottom')
        taken.append(label.get_window_extent())
