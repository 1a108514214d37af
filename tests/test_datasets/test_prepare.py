# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_corpus import make_rgb, write, write_bad, write_good

from srdensenet_mm.datasets import matlab_bicubic
from srdensenet_mm.datasets.prepare import prepare_dataset
from srdensenet_mm.errors import UserError

ROOT = Path(__file__).parents[2]
SET5 = ROOT / 'tests' / 'data' / 'Set5'
TOOL = [sys.executable, ROOT / 'tools' / 'prepare_dataset.py']


def read(path):
    """The file's own pixels, as RGB."""
    content = np.frombuffer(Path(path).read_bytes(), np.uint8)
    return cv2.imdecode(content, cv2.IMREAD_UNCHANGED)[..., ::-1]


def tree(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()}


def test_set5_equals_matlab_in_every_pixel(tmp_path):
    """MATLAB's LR are of HR cropped to a multiple of the scale, ours to one of 12.

    Cropping moves the lower and right border, so the 2 LR pixels next to it
    are compared where both crops agree only.
    """
    report = prepare_dataset(SET5 / 'HR', tmp_path, scales=[3, 4])
    assert len(report.written) == 5 and not report.failed
    compared = 0
    for scale in (3, 4):
        for path in sorted((tmp_path / f'LRbicx{scale}').iterdir()):
            lr = read(path)
            matlab = read(SET5 / 'LR_bicubic' / f'X{scale}' / path.name)
            # Pixels that MATLAB's crop had beyond ours: none, or some on the right/below.
            height, width = (
                ours if ours == theirs else ours - 2
                for ours, theirs in zip(lr.shape[:2], matlab.shape[:2], strict=True))
            np.testing.assert_array_equal(lr[:height, :width], matlab[:height, :width])
            compared += lr[:height, :width].size
    assert compared > 3 * 90_000


def test_set5_at_matlabs_own_crop(tmp_path):
    """HR whose sides are the multiples that MATLAB's LR were made of."""
    for scale in (3, 4):
        for path in (SET5 / 'HR').iterdir():
            rgb = read(path)
            height, width = (side // scale * scale for side in rgb.shape[:2])
            if height % 12 == 0 and width % 12 == 0:
                write(tmp_path / f'hr{scale}' / path.name, rgb[:height, :width])
        prepare_dataset(tmp_path / f'hr{scale}', tmp_path / f'out{scale}', [scale])
        made = list((tmp_path / f'out{scale}' / f'LRbicx{scale}').iterdir())
        assert made
        for path in made:
            np.testing.assert_array_equal(
                read(path), read(SET5 / 'LR_bicubic' / f'X{scale}' / path.name))


def test_every_sort_of_image(tmp_path):
    good, bad = write_good(tmp_path / 'hr'), write_bad(tmp_path / 'hr' / 'bad')
    out = tmp_path / 'out'
    report = prepare_dataset(tmp_path / 'hr', out, [2, 4, 8])
    assert set(report.written) == set(good) - set(bad)
    assert set(report.failed) == set(bad)
    for path, reason in bad.items():
        message = report.failed[path]
        assert str(path) in message and reason in message and '\n' not in message
    folders = {'GTmod12': 12, 'GTmod8': 8, 'LRbicx2': 0, 'LRbicx4': 0, 'LRbicx8': 0}
    # "narrow.png" is large enough for GTmod8, but a set is whole or not there.
    assert tree(out) == {f'{folder}/{path.stem}.png' for folder in folders for path in good}
    for path, (rgb, tolerance) in good.items():
        name = f'{path.stem}.png'
        gt12, gt8 = read(out / 'GTmod12' / name), read(out / 'GTmod8' / name)
        assert gt12.shape == (48, 60, 3) and gt8.shape == (48, 56, 3)
        assert np.abs(gt12.astype(int) - rgb[:48, :60]).max() <= tolerance
        for folder, gt, scale in (('LRbicx2', gt12, 2), ('LRbicx4', gt12, 4), ('LRbicx8', gt8, 8)):
            np.testing.assert_array_equal(
                read(out / folder / name), matlab_bicubic(np.ascontiguousarray(gt), scale))


def test_only_what_is_missing_or_old_is_made(tmp_path):
    hr, out = tmp_path / 'hr', tmp_path / 'out'
    sources = [write(hr / f'{i}.png', make_rgb(i)) for i in range(3)]
    prepare_dataset(hr, out, [4])
    first = {path: path.stat().st_mtime_ns for path in out.rglob('*.png')}
    report = prepare_dataset(hr, out, [4])
    assert report.up_to_date == sources and not report.written
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*.png')} == first

    # One source changes, one result is lost.
    write(sources[0], make_rgb(7))
    later = time.time() + 5
    os.utime(sources[0], (later, later))
    (out / 'LRbicx4' / '2.png').unlink()
    report = prepare_dataset(hr, out, [4])
    assert report.written == [sources[0], sources[2]] and report.up_to_date == [sources[1]]
    np.testing.assert_array_equal(read(out / 'GTmod12/0.png'), make_rgb(7)[:48, :60])

    # A further scale leaves the others as they are.
    os.utime(sources[0])
    before = (out / 'LRbicx4' / '1.png').stat().st_ino
    assert len(prepare_dataset(hr, out, [2, 4]).written) == 3
    assert (out / 'LRbicx4' / '1.png').stat().st_ino == before
    assert len(prepare_dataset(hr, out, [2, 4], overwrite=True).written) == 3
    assert (out / 'LRbicx4' / '1.png').stat().st_ino != before


def test_a_share_that_refuses_times_and_the_like(tmp_path, grudging_share):
    write(tmp_path / 'source/0.png', make_rgb(1))
    for _ in range(2):
        report = prepare_dataset(tmp_path / 'source', tmp_path / 'out', [4])
        assert len(report.written) == 1 and not report.failed
    np.testing.assert_array_equal(read(tmp_path / 'out/GTmod12/0.png'), make_rgb(1)[:48, :60])


def test_other_images_of_the_same_names_replace_all(tmp_path):
    out = tmp_path / 'out'
    write(tmp_path / 'first/0.png', make_rgb(0))
    write(tmp_path / 'first/1.png', make_rgb(1))
    prepare_dataset(tmp_path / 'first', out, [2, 3, 4])
    # Older, as an unpacked archive's are, and asked for at some scales alone.
    os.utime(write(tmp_path / 'second/0.png', make_rgb(2)), (1e9, 1e9))
    report = prepare_dataset(tmp_path / 'second', out, [2])
    gt = make_rgb(2)[:48, :60]
    np.testing.assert_array_equal(read(out / 'GTmod12/0.png'), gt)
    for scale in (2, 3, 4):
        np.testing.assert_array_equal(read(out / f'LRbicx{scale}/0.png'), matlab_bicubic(gt, scale))
    assert report.left_over == [out / 'GTmod12/1.png']
    report = prepare_dataset(tmp_path / 'second', out, [2, 4])
    assert len(report.up_to_date) == 1 and not report.written


def test_two_images_of_one_stem_are_refused(tmp_path):
    write(tmp_path / 'hr/a/x.png', make_rgb())
    write(tmp_path / 'hr/b/x.jpg', make_rgb())
    with pytest.raises(UserError, match=r'a/x\.png: .*b/x\.jpg would become x\.png too'):
        prepare_dataset(tmp_path / 'hr', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    # They do not stop the others.
    other = write(tmp_path / 'hr/y.png', make_rgb())
    report = prepare_dataset(tmp_path / 'hr', tmp_path / 'out', [2])
    assert report.written == [other]
    assert [path.name for path in report.failed] == ['x.png', 'x.jpg']
    assert [path.name for path in (tmp_path / 'out/GTmod12').iterdir()] == ['y.png']


def test_what_lies_deep_in_a_prepared_set_is_passed_over(tmp_path):
    source = write(tmp_path / 'x.png', make_rgb())
    write(tmp_path / 'GTmod12/by hand/y.png', make_rgb())
    assert prepare_dataset(tmp_path, tmp_path, [2]).written == [source]


def test_the_set_may_lie_among_the_images(tmp_path):
    source = write(tmp_path / 'x.png', make_rgb())
    for _ in range(2):
        report = prepare_dataset(tmp_path, tmp_path, [2])
        assert report.written + report.up_to_date == [source]
    assert tree(tmp_path) == {'x.png', 'GTmod12/x.png', 'LRbicx2/x.png'}


@pytest.mark.parametrize('scales, named', [([1], 'scale 1'), ([0], 'scale 0'), ([-4], 'scale -4'),
                                           ([2.5], 'scale 2.5')])
def test_refused_scales(tmp_path, scales, named):
    write(tmp_path / 'x.png', make_rgb())
    with pytest.raises(UserError, match=named):
        prepare_dataset(tmp_path, tmp_path / 'out', scales)


def test_where_nothing_can_be_written(tmp_path):
    write(tmp_path / 'hr/x.png', make_rgb())
    (tmp_path / 'out').write_text('a file')
    with pytest.raises(UserError, match='out'):
        prepare_dataset(tmp_path / 'hr', tmp_path / 'out')
    assert prepare_dataset(tmp_path / 'hr', tmp_path / 'out2', num_workers=0).written


def test_mmagics_dataset_reads_it(tmp_path):
    from mmagic.datasets import BasicImageDataset
    from mmagic.datasets.transforms import LoadImageFromFile, PackInputs
    prepare_dataset(SET5 / 'HR', tmp_path, [4])
    pipeline = [LoadImageFromFile(key, channel_order='rgb') for key in ('img', 'gt')]
    dataset = BasicImageDataset(
        data_root=str(tmp_path), data_prefix=dict(img='LRbicx4', gt='GTmod12'),
        pipeline=[*pipeline, PackInputs()])
    assert len(dataset) == 5
    for sample in dataset:
        height, width = sample['inputs'].shape[1:]
        assert sample['data_samples'].gt_img.shape == (3, 4 * height, 4 * width)


def test_the_tool(tmp_path):
    bad = write(tmp_path / 'hr/naïve name.png', make_rgb())
    bad.write_bytes(bad.read_bytes()[:100])
    write(tmp_path / 'hr/good.png', make_rgb())
    command = [*TOOL, tmp_path / 'hr', tmp_path / 'out', '--scales', '2']
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert '1 images written, 0 were up to date, 1 failed' in result.stdout
    assert str(bad) in result.stderr and 'Traceback' not in result.stderr
    assert tree(tmp_path / 'out') == {'GTmod12/good.png', 'LRbicx2/good.png'}


def test_ctrl_c_leaves_whole_files_only(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8)
    content = write(tmp_path / 'hr/0.png', noise).read_bytes()
    for i in range(1, 60):
        (tmp_path / f'hr/{i}.png').write_bytes(content)
    command = [*TOOL, tmp_path / 'hr', tmp_path / 'out', '--scales', '2']
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    limit = time.time() + 60
    while not list(tmp_path.glob('out/LRbicx2/[0-9]*.png')) and time.time() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and 'Traceback' not in stderr, stderr
    made = tree(tmp_path / 'out')
    assert 0 < len(made) < 120
    assert not [name for name in made if '/.' in name], 'temporary files are left'
    for name in made:
        assert read(tmp_path / 'out' / name).size
