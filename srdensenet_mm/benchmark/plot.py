# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""PSNR over time."""
import io

from .results import Results

_INK, _MUTED, _ACCENT = '#1d2733', '#667485', '#0b62c4'


def plot_psnr_over_time(results: Results) -> bytes:
    """Draw a panel for each data set: time of a picture (logarithmic) against PSNR on Y.

    Args:
        results (Results): Rows without scores are left out.

    Returns:
        bytes: A PNG.
    """
    from matplotlib.figure import Figure
    panels = results.data_sets
    figure = Figure(figsize=(7 * max(len(panels), 1), 4.4), dpi=120, layout='constrained')
    for i, data_set in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), i + 1)
        rows = [row for row in results.rows if data_set in row.scores]
        for row in rows:
            x, y = row.median_seconds * 1000, row.scores[data_set]['PSNR-Y']
            colour = _ACCENT if row.config else _MUTED
            axes.plot(x, y, 'o', color=colour, markersize=9)
            axes.annotate(row.name, (x, y), xytext=(0, 9), textcoords='offset points', ha='center',
                          fontsize=9, color=_INK)
        axes.set_xscale('log')
        # Room for the names, which are wider than their points.
        axes.margins(x=0.35, y=0.2)
        axes.set_title(f'{data_set} x{results.scale}', color=_INK, loc='left', fontweight='bold')
        axes.set_xlabel(f'time for {results.size[1]}x{results.size[0]} (ms)', color=_MUTED)
        axes.set_ylabel('PSNR on Y (dB)', color=_MUTED)
        axes.xaxis.set_major_formatter('{x:g}')
        axes.tick_params(colors=_MUTED)
        axes.grid(True, color='#e4e8ed', linewidth=0.8)
        axes.spines[['top', 'right']].set_visible(False)
        axes.spines[['left', 'bottom']].set_color('#c5cdd6')
    out = io.BytesIO()
    figure.savefig(out, format='png')
    return out.getvalue()
