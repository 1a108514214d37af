# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The scripts that compare optimizers and draw a training's curve."""
import json
import sys
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'studies'))

import optimizers  # noqa: E402
import training_curve  # noqa: E402

from srdensenet_mm.errors import UserError  # noqa: E402


def write_scalars(work_dir: Path, run: str, entries) -> None:
    folder = work_dir / run / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text(''.join(json.dumps(one) + '\n' for one in entries))


def test_phases_are_joined_and_repeated_iterations_count_once(tmp_path):
    first, second = tmp_path / 'first', tmp_path / 'second'
    write_scalars(first, '20260101_000000', [
        dict(step=50, loss=0.5, lr=1e-3), dict(step=100, loss=0.4, lr=1e-3)])
    # Resumed at 50. Validations by MMEngine's default count epochs.
    write_scalars(first, '20260102_000000', [
        dict(step=100, loss=0.3, lr=1e-3), dict(step=0, PSNR=29., SSIM=0.8)])
    write_scalars(second, '20260103_000000', [
        dict(step=50, loss=0.2, lr=1e-4), dict(step=50, PSNR=31., SSIM=0.9, data_time=1.)])
    entries = training_curve.join([training_curve.read_phase(one) for one in (first, second)])
    assert entries == [
        dict(iter=50, loss=0.5, lr=1e-3, phase=0),
        dict(iter=100, loss=0.3, lr=1e-3, phase=0),
        dict(iter=100, PSNR=29., SSIM=0.8, phase=0),
        dict(iter=150, loss=0.2, lr=1e-4, phase=1),
        dict(iter=150, PSNR=31., SSIM=0.9, phase=1)]
    # The second began where the first was at 50.
    cut = training_curve.join([training_curve.read_phase(one) for one in (f'{first}:50', second)])
    assert [entry['iter'] for entry in cut] == [50, 100, 100]
    training_curve.draw(entries, tmp_path / 'curve.png')
    assert cv2.imread(str(tmp_path / 'curve.png')).shape[1] == 960


def test_each_test_set_has_a_curve(tmp_path):
    scores = {'A/PSNR': 30., 'A-RGB/PSNR': 28., 'B-Y/PSNR': 25., 'B-Y/SSIM': 0.7}
    write_scalars(tmp_path, '20260101_000000', [
        dict(step=50, loss=0.5, lr=1e-3), dict(step=50, time=1., data_time=1., **scores)])
    entries = training_curve.read_phase(tmp_path)
    assert entries == [dict(iter=50, loss=0.5, lr=1e-3), dict(iter=50, time=1., **scores)]
    drawn = []
    for left_out in ('A-RGB/PSNR', 'B-Y/PSNR'):
        training_curve.draw([{key: value for key, value in entry.items() if key != left_out}
                             for entry in entries], tmp_path / 'curve.png')
        drawn.append(cv2.imread(str(tmp_path / 'curve.png')))
    training_curve.draw(entries, tmp_path / 'curve.png')
    assert (cv2.imread(str(tmp_path / 'curve.png')) == drawn[0]).all()  # colour has no curve
    assert (drawn[0] != drawn[1]).any()


def test_an_iteration_of_several_steps_counts_as_these(tmp_path):
    write_scalars(tmp_path, '20260101_000000', [
        dict(step=2, loss=0.5, lr=1e-3), dict(step=3, loss=0.4, lr=1e-3),
        dict(step=3, PSNR=30., SSIM=0.8)])
    config = tmp_path / '20260101_000000/vis_data/config.py'
    config.write_text('train_cfg = dict(max_iters=3, steps_per_iter=10)')
    assert [entry['iter'] for entry in training_curve.read_phase(tmp_path)] == [20, 30, 30]
    config.write_text('train_cfg = dict(max_iters=3)')
    assert [entry['iter'] for entry in training_curve.read_phase(tmp_path)] == [2, 3, 3]


def test_a_written_log_stands_for_its_phases(monkeypatch, tmp_path):
    folders = [tmp_path / name for name in 'abc']
    for number, folder in enumerate(folders, start=1):
        write_scalars(folder, '20260101_000000', [
            dict(step=100 * number, loss=0.1, lr=1e-3),
            dict(step=100 * number, PSNR=30. + number, SSIM=0.8)])
    *both, third = map(str, folders)
    for arguments, out in ((both, 'two'), ([f'{tmp_path}/two.log.jsonl', third], 'on'),
                           ([*both, third], 'all')):
        monkeypatch.setattr(
            sys, 'argv', ['training_curve.py', *arguments, '--out', f'{tmp_path}/{out}'])
        training_curve.main()
    continued, at_once = ((tmp_path / f'{name}.log.jsonl').read_text() for name in ('on', 'all'))
    assert continued == at_once
    assert [json.loads(line)['iter'] for line in at_once.splitlines()] == [
        100, 100, 300, 300, 600, 600]


@pytest.mark.parametrize('content', ['', 'words\n', '[1]\n', '{"step": 1}\n'])
def test_another_file_is_no_log(tmp_path, content):
    file = tmp_path / 'some.log.jsonl'
    file.write_text(content)
    with pytest.raises(UserError, match='some.log.jsonl: is no log'):
        training_curve.read_phase(file)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
        training_curve.read_phase(tmp_path)


def test_optimizers_train_on_the_same_and_are_compared(monkeypatch, tmp_path, capsys):
    data = ROOT / 'tests/data/Set5/HR'
    monkeypatch.setattr(sys, 'argv', [
        'optimizers.py', 'adam=1e-3', 'muon=1e-3', '--small', '--iters', '12', '--batch', '2',
        '--data', str(data), '--out', str(tmp_path / 'out.json')])
    optimizers.main()
    results = json.loads((tmp_path / 'out.json').read_text())['results']
    adam, muon = results['adam=1e-3'], results['muon=1e-3']
    # The same weights and batch at first, other steps from then on.
    assert adam['losses'][0] == muon['losses'][0]
    assert adam['losses'][2:] != muon['losses'][2:]
    for result in (adam, muon):
        assert result['last_loss'] < result['losses'][0]
        assert 3 < result['psnr_held_back'] < 40
    assert capsys.readouterr().out.count('dB |') == 2


@pytest.mark.parametrize('text', ['sgd=1', 'adam', 'muon=fast'])
def test_optimizers_that_are_not_known(text):
    with pytest.raises(UserError, match=text):
        optimizers.parse_optimizers([text])
