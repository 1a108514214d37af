# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The scripts that train networks on the same patches."""
import json
import sys
from pathlib import Path

import pytest
from mmagic_layout import write_hr_folder, write_layout
from small_models import write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'studies'))

import data_and_teacher  # noqa: E402
import same_budget  # noqa: E402

from srdensenet_mm.errors import UserError  # noqa: E402
from srdensenet_mm.inference.teacher_targets import make_teacher_targets  # noqa: E402

TRAINING = f"""
_base_ = '{ROOT}/configs/srdensenet_x4_short.py'
train_dataloader = dict(num_workers=0, persistent_workers=False,
                        dataset=dict(data_root=['data/train_HR']))
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = [dict(loader, num_workers=0) for loader in _base_.test_dataloader]
default_hooks = dict(logger=dict(interval=1))
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(vis_backends=vis_backends)
"""
SMALL = f"""
_base_ = '{ROOT}/configs/srdensenet_x4_div2k.py'
model = dict(generator=dict(mid_channels=6, num_blocks=2, num_layers=2, growth_rate=4,
                            bottleneck_channels=8))
"""
SRCNN = """
_base_ = 'mmagic::srcnn/srcnn_x4k915_1xb16-1000k_div2k.py'
model = dict(generator=dict(channels=(3, 6, 4, 3)))
"""


@pytest.fixture
def site(tmp_path, monkeypatch, config_as_it_is):
    write_layout(tmp_path / 'data')
    write_hr_folder(tmp_path / 'data/train_HR')
    for name, text in dict(training=TRAINING, small=SMALL, srcnn=SRCNN).items():
        (tmp_path / f'{name}.py').write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(same_budget, 'TRAINING', tmp_path / 'training.py')
    return tmp_path


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['same_budget.py', *arguments, '--batch', '2'])
    same_budget.main()


def logged(folder):
    path, = folder.glob('*/vis_data/scalars.json')
    return [entry for entry in map(json.loads, path.read_text().splitlines()) if 'loss' in entry]


def test_networks_see_the_same_and_are_scored(site, monkeypatch, capsys):
    entries = ['falling=small.py', 'own=small.py@own', 'SRCNN=srcnn.py@own']
    call(monkeypatch, *entries, '--iters', '3')
    out = site / 'work_dirs/same_budget'
    falling, own, srcnn = (logged(out / name) for name in ('falling', 'own', 'SRCNN'))
    assert len(falling) == len(own) == len(srcnn) == 3
    # The same weights and patches at first; each optimizer goes its own way.
    assert falling[0]['loss'] == pytest.approx(own[0]['loss'], rel=2e-2)
    assert falling[2]['loss'] != own[2]['loss']
    # The falling rate has fallen; SRCNN's recipe is at its own.
    assert falling[2]['lr'] < falling[1]['lr'] or falling[2]['lr'] < 1e-3
    assert srcnn[2]['lr'] == pytest.approx(2e-4, rel=1e-3)
    results = {name: json.loads((out / name / 'scores.json').read_text())
               for name in ('falling', 'own', 'SRCNN')}
    assert [result['optimizer'] for result in results.values()] == ['MuonWithAdam', 'Adam', 'Adam']
    # 9x9, 1x1 and 5x5 convolutions with their biases.
    assert results['SRCNN']['parameters'] == 81 * 18 + 6 + 24 + 4 + 25 * 12 + 3
    rows = capsys.readouterr().out.splitlines()[-3:]
    for row, (name, result) in zip(rows, results.items(), strict=True):
        assert row.startswith(f'| {name} |')
        assert f'| {result["scores"]["Set5-Y/PSNR"]:.2f} / ' in row

    # Again: nothing is trained, the same is printed.
    times = {path: path.stat().st_mtime_ns for path in out.glob('*/*.pth')}
    call(monkeypatch, *entries, '--iters', '3')
    assert {path: path.stat().st_mtime_ns for path in out.glob('*/*.pth')} == times
    assert capsys.readouterr().out.splitlines()[-3:] == rows
    for name in ('training', 'scores'):
        with pytest.raises(UserError, match=f'falling/{name}.json: is of another training'):
            call(monkeypatch, *entries, '--iters', '4')
        (out / 'falling/training.json').unlink(missing_ok=True)


def test_a_training_cut_short_is_not_finished_as_another(site, monkeypatch):
    def die(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(same_budget, 'run', die)
    with pytest.raises(KeyboardInterrupt):
        call(monkeypatch, 'a=small.py', '--iters', '3')
    with pytest.raises(UserError, match='a/training.json: is of another training'):
        call(monkeypatch, 'a=small.py', '--iters', '4')
    with pytest.raises(KeyboardInterrupt):
        call(monkeypatch, 'a=small.py', '--iters', '3')


@pytest.mark.parametrize('texts', [['small.py'], ['=small.py'], ['a='], ['a=x', 'a=y'], ['a/b=x']])
def test_entries_that_are_not_understood(texts):
    with pytest.raises(UserError, match='give NAME=CONFIG'):
        same_budget.parse_entries(texts)


def test_another_scale_is_refused(site):
    config = str(ROOT / 'configs/srdensenet_x2_div2k.py')
    with pytest.raises(UserError, match='srdensenet_x2_div2k.py: the entries are trained for'):
        same_budget.training_of(config, False, 3, 2, site / 'out')


def test_images_and_targets_make_a_table(site, monkeypatch, capsys):
    teacher = str(write_checkpoint(site / 'teacher.pth'))
    make_teacher_targets([teacher], ['data/train_HR'], 'data/taught')
    monkeypatch.setattr(sys, 'argv', [
        'data_and_teacher.py', '--config', 'small.py', '--images', 'ours=data/train_HR',
        '--teacher', 'data/taught', '--shares', '0', '0.5', '1', '--iters', '2', '--batch', '2'])
    data_and_teacher.main()
    *_, head, _, row = capsys.readouterr().out.splitlines()
    assert head == '| images, Set5 / Set14 | HR | 50% teacher | teacher |'
    out = site / 'work_dirs/data_and_teacher'
    assert len({logged(out / f'ours-{share}')[0]['loss'] for share in ('0', '0.5', '1')}) == 3
    found = json.loads((out / 'ours-0.5/scores.json').read_text())['scores']
    assert row.split(' | ')[2] == f'{found["Set5-Y/PSNR"]:.2f} / {found["Set14-Y/PSNR"]:.2f}'
    with pytest.raises(UserError, match='give NAME=FOLDER'):
        data_and_teacher.parse_images(['HQ'])
