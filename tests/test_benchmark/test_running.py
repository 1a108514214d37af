# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""A whole benchmark of small networks: the files, and how they agree."""
import csv
import json
import subprocess
import sys

import pytest
from small_models import EDSR, ROOT, write_checkpoint, write_config, write_data_set

from srdensenet_mm.benchmark.running import FILES, run_benchmark
from srdensenet_mm.errors import UserError


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp('benchmark')
    return dict(
        folder=folder,
        config=write_config(folder / 'small.py'),
        checkpoint=write_checkpoint(folder / 'small.pth'),
        data=write_data_set(folder / 'Corner5'))


def test_the_tool_writes_files_that_agree(case):
    out = case['folder'] / 'out'
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools/benchmark.py'),
         f'{case["config"]}={case["checkpoint"]}', EDSR, '--data', str(case['data']),
         '--out', str(out), '--size', '30x20', '--runs', '2'],
        capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    content = json.loads((out / 'benchmark.json').read_text())
    bicubic, small, edsr = content['rows']
    assert [row['name'] for row in content['rows']] == [
        'bicubic', 'small', 'edsr_x4c64b16_1xb16-300k_div2k']
    assert content['timed_size'] == dict(height=20, width=30)
    assert all(len(row['seconds']) == 2 and min(row['seconds']) > 0 for row in content['rows'])
    assert edsr['peak_bytes'] > small['peak_bytes'] >= 0
    assert edsr['scores'] == {} and edsr['parameters'] == 1_517_571
    assert small['parameters'] < edsr['parameters']
    # An untrained network is no match for bicubic.
    assert small['scores']['Corner5']['PSNR-Y'] < bicubic['scores']['Corner5']['PSNR-Y']
    pictures = content['pictures']
    assert [picture['name'] for picture in pictures] == ['baby', 'bird']
    assert sum(picture['psnr_y']['small'] for picture in pictures) / 2 == pytest.approx(
        small['scores']['Corner5']['PSNR-Y'])
    with open(out / 'benchmark.csv') as file:
        rows = list(csv.DictReader(file))
    assert [float(row['median_seconds']) for row in rows] == [
        row['median_seconds'] for row in content['rows']]
    markdown = (out / 'benchmark.md').read_text()
    assert markdown.strip() in done.stdout
    assert f'{small["scores"]["Corner5"]["SSIM-RGB"]:.4f}' in markdown
    page = (out / 'index.html').read_text()
    assert page.count('data:image/png;base64,') == 1 + 2 * 3  # the plot; bicubic, small and HR


def test_one_that_dies_for_want_of_memory_leaves_the_others(case, tmp_path, monkeypatch, capsys):
    def dies(spec, *_):
        if spec is not None:
            raise RuntimeError('failed with status -9:\nkilled')
        return 1234

    monkeypatch.setattr('srdensenet_mm.benchmark.running.entry_peak', dies)
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'psnr_over_time.png').write_bytes(b'of an earlier run')
    results = run_benchmark([f'{case["config"]}={case["checkpoint"]}'], [], str(out), (12, 12), 1)
    assert [row.peak_bytes for row in results.rows] == [1234, None]
    assert 'small: peak memory was not measured: killed' in ''.join(capsys.readouterr())
    assert sorted(path.name for path in out.iterdir()) == sorted(results.files)
    assert sorted({*FILES} - {*results.files}) == ['psnr_over_time.png']
    assert 'random weights' not in (out / 'benchmark.md').read_text()


def test_two_data_sets_of_one_name(case, tmp_path):
    with pytest.raises(UserError, match='a second data set named Corner5'):
        run_benchmark([str(case['config'])], [str(case['data'])] * 2, str(tmp_path / 'out'))
