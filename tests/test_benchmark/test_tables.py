# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""CSV, JSON and Markdown, read back."""
import csv
import io
import json
import math
import re

import cv2
import numpy as np
from made_up_results import made_up_results

from srdensenet_mm.benchmark.plot import plot_psnr_over_time
from srdensenet_mm.benchmark.tables import best_rows, columns, to_csv, to_json, to_markdown


def _markdown_table(text):
    lines = [line for line in text.splitlines() if line.startswith('|')]
    # A cell is not ended by an escaped bar, and a backslash shows what follows it.
    rows = [[re.sub(r'\\(.)', r'\1', cell.strip())
             for cell in re.split(r'(?<!\\)\|', line)[1:-1]] for line in lines]
    return rows[0], {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}


def test_csv_holds_base_units_and_leaves_unknown_values_empty():
    rows = {row['name']: row for row in csv.DictReader(io.StringIO(to_csv(made_up_results())))}
    assert list(rows) == ['bicubic', 'srdensenet', 'edsr <b>']
    ours = rows['srdensenet']
    assert (ours['config'], ours['checkpoint'], ours['backend']) == ('ours.py', 'ours.pth', 'torch')
    assert int(ours['parameters']) == 2_004_225
    assert int(ours['multiply_adds']) == 312 * 10**9
    assert float(ours['median_seconds']) == 0.41
    assert float(ours['min_seconds']) == 0.40
    assert int(ours['runs']) == 3
    assert int(ours['peak_bytes']) == 300 * 2**20
    assert float(ours['Set5/PSNR-Y']) == 31.25
    assert rows['bicubic']['multiply_adds'] == ''
    assert rows['edsr <b>']['Set5/PSNR-Y'] == ''


def test_markdown_is_in_readers_units_with_the_best_in_bold():
    heads, rows = _markdown_table(to_markdown(made_up_results()))
    assert heads[:3] == ['Model', 'Parameters (K)', 'Multiply-adds (G)']
    ours, edsr, bicubic = rows['srdensenet'], rows['edsr <b>'], rows['bicubic']
    assert ours['Parameters (K)'] == '2,004'
    assert edsr['Parameters (K)'] == '**1,518**'
    assert ours['Time (ms)'] == '410.0'
    assert edsr['Time (ms)'] == '**310.0**'  # not bicubic, which is no model
    assert bicubic['Time (ms)'] == '3.0'
    assert ours['Peak memory (MiB)'] == '300.0'
    assert edsr['Set5 PSNR Y (dB)'] == '-'
    assert ours['Set5 SSIM Y'] == '0.8800'  # alone, so there is no best


def test_names_stay_what_they_are_in_markdown_and_in_the_plot():
    results = made_up_results()
    results.rows[1].name = 'x$a^$b|*c*<i>`d`'
    results.data_sets[0] = 'Set$^$5|'
    for row in results.rows[:2]:
        row.scores = {'Set$^$5|': row.scores['Set5']}
    text = to_markdown(results)
    heads, rows = _markdown_table(text)
    assert rows['x$a^$b|*c*<i>`d`']['Set$^$5| SSIM Y'] == '0.8800'
    assert r'x$a^$b\|\*c\*\<i>\`d\`' in text
    assert _models_place(_drawn(results)) > 0.6


def test_the_best_of_a_column_is_by_what_is_shown():
    results = made_up_results()
    ours, edsr = results.rows[1:]
    edsr.scores = {'Set5': {'PSNR-Y': 31.2499}}
    psnr = next(column for column in columns(results) if column.key == 'Set5/PSNR-Y')
    assert best_rows(psnr, results.rows) == [ours, edsr]
    edsr.scores['Set5']['PSNR-Y'] = 31.24
    assert best_rows(psnr, results.rows) == [ours]


def test_json_has_every_run_and_image_and_no_infinity():
    results = made_up_results()
    results.images[0].psnr['srdensenet'] = math.inf

    def refuse(name):
        raise AssertionError(f'{name} is not JSON')

    content = json.loads(to_json(results), parse_constant=refuse)
    assert content['timed_size'] == dict(height=128, width=160)
    assert content['rows'][1]['seconds'] == [0.41, 0.40, 0.45]
    assert content['rows'][1]['median_seconds'] == 0.41
    assert content['pictures'][0]['psnr_y'] == dict(bicubic=28.4, srdensenet='inf')
    assert content['pictures'][1]['name'] == 'bird'


def _drawn(results):
    return cv2.imdecode(np.frombuffer(plot_psnr_over_time(results), np.uint8), cv2.IMREAD_COLOR)


def _models_place(image):
    """Where the models' colour is, as a share of the image's width."""
    accent = (np.abs(image.astype(int) - (0xc4, 0x62, 0x0b)) < 24).all(axis=2)
    return np.flatnonzero(accent.any(axis=0)).mean() / image.shape[1]


def test_plot_has_time_to_the_right_and_a_panel_for_each_data_set():
    results = made_up_results()
    slow = _drawn(results)
    assert _models_place(slow) > 0.6
    results.rows[1].seconds = [1e-4]
    assert _models_place(_drawn(results)) < 0.4
    results.data_sets.append('Set14')
    for row in results.rows[:2]:
        row.scores['Set14'] = dict(row.scores['Set5'])
    assert _drawn(results).shape[1] == 2 * slow.shape[1]
