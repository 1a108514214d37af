# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The notebook of docs/: it runs from top to bottom, and what it keeps is what it shows."""
import base64
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / 'docs' / 'tutorial.ipynb'


def outputs(notebook, kind):
    """By cell: what it shows of a MIME type."""
    return {cell.id: [output.data[kind] for output in cell.outputs
                      if kind in output.get('data', {})]
            for cell in notebook.cells if cell.cell_type == 'code'}


def psnr_of_table(notebook):
    """By image and method, dB."""
    table, = outputs(notebook, 'text/markdown')['table']
    head, _, *rows = ([part.strip() for part in line.strip('|').split('|')]
                      for line in table.splitlines() if line.startswith('|'))
    return {row[0]: {name: float(cell.split('/')[0])
                     for name, cell in zip(head[1:], row[1:], strict=True)} for row in rows}


def test_it_runs_in_an_empty_folder(tmp_path, monkeypatch):
    """Without network and checkout, but for the weights that lie beside the package."""
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    # Tools that ran in this process before have set it for themselves.
    monkeypatch.delenv('MPLBACKEND', raising=False)
    monkeypatch.setenv('HTTPS_PROXY', 'http://127.0.0.1:9')  # nobody answers there
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    kept = psnr_of_table(notebook)
    for cell in notebook.cells:
        if cell.cell_type == 'code':
            cell.outputs = []
    NotebookClient(notebook, timeout=300, kernel_name='python3',
                   resources={'metadata': {'path': str(tmp_path)}}).execute()
    for image, found in psnr_of_table(notebook).items():
        assert found['bicubic'] == kept[image]['bicubic']
        assert found['trained here'] > found['bicubic'] - 1
        if 'published' in found:
            assert abs(found['published'] - kept[image]['published']) < 0.02
            assert found['published'] > found['bicubic'] + 0.5
    assert len(outputs(notebook, 'image/jpeg')['figure']) == 1
    assert not [output for cell in notebook.cells if cell.cell_type == 'code'
                for output in cell.outputs if output.get('name') == 'stderr']


def test_its_kept_outputs_are_whole_small_and_of_no_machine():
    text = NOTEBOOK.read_text(encoding='utf-8')
    assert not re.search(r'"(/home|/work|/root|/tmp)/|site-packages', text)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(cell.outputs for cell in notebook.cells if cell.cell_type == 'code')
    images = [base64.b64decode(image) for found in outputs(notebook, 'image/jpeg').values()
              for image in found]
    assert len(images) == 2 and sum(map(len, images)) < 400_000
    assert set(psnr_of_table(notebook)['coffee']) == {'bicubic', 'trained here', 'published'}
