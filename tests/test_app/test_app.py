# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The page of ``srdensenet-mm app``: over HTTP, and in headless Chromium as a person uses it."""
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from headless_chromium import Browser, find_chromium
from PIL import Image, ImageCms
from small_liif import CONFIG, small_liif
from small_models import write_checkpoint

from srdensenet_mm.app import Jobs, jobs, make_server
from srdensenet_mm.checkpoints import save_network
from srdensenet_mm.errors import UserError
from srdensenet_mm.images.matlab_bicubic import matlab_bicubic_upscale
from srdensenet_mm.inference import Upscaler

pytest.importorskip('flask', reason='needs the extra app')
ROOT = Path(__file__).resolve().parents[2]
needs_chromium = pytest.mark.skipif(
    find_chromium() is None, reason='no Chromium here (Debian: apt-get install chromium)')


def brighter(path):
    """A network whose result differs from bicubic by far, for the eye."""
    content = torch.load(path)
    content['state_dict']['generator.conv_last.bias'] += 0.2
    torch.save(content, path)
    return path


class Site:
    """The page on a port of its own, with networks x4, x2 and of any scale."""

    def __init__(self, folder, **settings):
        self.checkpoints = [brighter(write_checkpoint(folder / 'four.pth')),
                            write_checkpoint(folder / 'two.pth', upscale_factor=2),
                            folder / 'any.pth']
        save_network(small_liif(), self.checkpoints[2], config=CONFIG)
        self.jobs = Jobs(self.checkpoints, device='cpu', **settings)
        self._server = make_server(self.jobs, port=0)
        self.url = f'http://127.0.0.1:{self._server.server_address[1]}/'
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def ask(self, path, data=None, method=None, **headers):
        """Status and body."""
        request = urllib.request.Request(
            self.url + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def add(self, data, **options):
        status, body = self.ask('jobs?' + urllib.parse.urlencode(options), data, 'POST')
        assert status == 200, body
        return json.loads(body)['job']

    def state(self, key):
        return json.loads(self.ask(f'jobs/{key}')[1])

    def result(self, key):
        for _ in range(1200):
            state = self.state(key)
            if state['state'] not in ('waiting', 'running'):
                return state
            time.sleep(0.05)
        raise TimeoutError(state)

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self.jobs.close()


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp('site'))
    yield site
    site.close()


def png(height, width, channels, dtype=np.uint8):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, np.iinfo(dtype).max, (height, width, channels), endpoint=True)
    if channels == 4:
        pixels[..., 3] = np.iinfo(dtype).max // 2
    return cv2.imencode('.png', pixels.astype(dtype))[1].tobytes()


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_the_download_is_what_the_upscaler_makes(site, dtype, channels):
    data = png(9, 12, channels, dtype)
    key = site.add(data, name='a.png', weights=0)
    assert site.result(key) == dict(
        state='done', progress=1, size=[48, 36], notes=[], error='')
    low = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    found = site.ask(f'jobs/{key}/upscaled.png')[1]
    found = cv2.imdecode(np.frombuffer(found, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(found, Upscaler(site.checkpoints[0], device='cpu')(low))
    assert found.dtype == dtype
    beside = site.ask(f'jobs/{key}/bicubic.png')[1]
    beside = cv2.imdecode(np.frombuffer(beside, np.uint8), cv2.IMREAD_UNCHANGED)
    if dtype == np.uint8:
        np.testing.assert_array_equal(beside, matlab_bicubic_upscale(low, 4))
    assert beside.shape == found.shape


def test_profile_scale_and_self_ensemble_count(site):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    buffer = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (10, 8, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, 'PNG', icc_profile=profile)
    key = site.add(buffer.getvalue(), name='ä/ö.tif', weights=1, self_ensemble=1)
    assert site.result(key)['size'] == [16, 20]
    request = urllib.request.urlopen(f'{site.url}jobs/{key}/upscaled.png?download=1')
    assert "filename*=UTF-8''%C3%B6_x2.png" in request.headers['Content-Disposition']
    image = Image.open(io.BytesIO(request.read()))
    assert image.info['icc_profile'] == profile
    expected = Upscaler(site.checkpoints[1], device='cpu', self_ensemble=True)(pixels[..., ::-1])
    np.testing.assert_array_equal(np.asarray(image), expected[..., ::-1])


def test_any_scale(site):
    # Without overshoots, which each program cuts off after another pass.
    low = np.random.default_rng(0).integers(64, 192, (9, 12, 3), np.uint8)
    data = cv2.imencode('.png', low)[1].tobytes()
    key = site.add(data, name='a.png', weights=2, scale=2.7)
    assert site.result(key)['size'] == [32, 24]
    request = urllib.request.urlopen(f'{site.url}jobs/{key}/upscaled.png?download=1')
    assert 'a_x2.7.png' in request.headers['Content-Disposition']
    found = cv2.imdecode(np.frombuffer(request.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(
        found, Upscaler(site.checkpoints[2], device='cpu', scale=2.7)(low))
    # Pillow's bicubic interpolation is another program of the same kernel, but at the border.
    beside = cv2.imdecode(np.frombuffer(site.ask(f'jobs/{key}/bicubic.png')[1], np.uint8),
                          cv2.IMREAD_UNCHANGED)
    expected = np.asarray(Image.fromarray(low).resize((32, 24), Image.Resampling.BICUBIC))
    inside = slice(6, -6)
    assert abs(beside[inside, inside].astype(int) - expected[inside, inside]).max() <= 1
    for scale, reason in (({}, 'give the scale'), (dict(scale='x'), 'give the scale'),
                          (dict(scale=0.5), 'scale=0.5: give a number'),
                          (dict(scale='nan'), 'scale=nan: give a number')):
        state = site.result(site.add(data, name='a.png', weights=2, **scale))
        assert state['state'] == 'failed' and reason in state['error']
    state = site.result(site.add(data, name='a.png', weights=0, scale=2))
    assert 'scale=2: SRDenseNet upscales by 4 alone' in state['error']


def test_mistakes_are_one_line(site):
    key = site.add(b'no image', name='<b>.png')
    state = site.result(key)
    assert state['state'] == 'failed' and state['error'].startswith('<b>.png: is no image')
    assert site.ask(f'jobs/{key}/upscaled.png')[0] == 404
    for path, data, status, message in [
            ('jobs?name=a.png&weights=3', b'x', 400, 'weights=3: choose one of 0 to 2'),
            ('jobs?name=a.png&weights=x', b'x', 400, "weights='x': give a number"),
            ('jobs?name=a.png', b'', 400, 'a.png: is empty (0 bytes)'),
            ('jobs/gone', None, 404, 'this image is gone, drop it again')]:
        found = site.ask(path, data)
        assert (found[0], json.loads(found[1])) == (status, dict(error=message))


def test_pages_of_other_hosts_cannot_pose_as_this_one(site):
    assert site.ask('', Host='localhost')[0] == 200
    assert site.ask('', Host='elsewhere.example')[0] == 400


def test_progress_order_and_cancelling(tmp_path, monkeypatch):
    go_on = threading.Event()

    class Slow(Upscaler):
        """Stops after its first tile until it may go on."""

        def __call__(self, image, progress):
            def count(pixels):
                progress(pixels)
                assert go_on.wait(60)
            return super().__call__(image, count)

    monkeypatch.setattr(jobs, 'Upscaler', Slow)
    site = Site(tmp_path, tile=8, overlap=0)
    try:
        first, second, third = (site.add(png(16, 16, 3), name=f'{i}.png') for i in range(3))
        while not site.state(first)['progress']:
            time.sleep(0.02)
        assert site.state(first) == dict(
            state='running', progress=0.25, size=None, notes=[], error='')
        assert site.state(second)['state'] == 'waiting'
        for key in (first, third):
            assert site.ask(f'jobs/{key}', method='DELETE')[0] == 200
        go_on.set()
        assert [site.result(key)['state'] for key in (first, second, third)] == [
            'cancelled', 'done', 'cancelled']
        # Of many images the last ones are kept.
        keys = [site.add(png(4, 4, 1), name='a.png') for _ in range(8)]
        assert site.result(keys[-1])['state'] == 'done'
        site.result(site.add(png(4, 4, 1), name='a.png'))
        assert site.ask(f'jobs/{second}')[0] == 404
        folder = site.jobs.get(keys[-1]).folder.parent
        assert len(list(folder.iterdir())) <= 6
    finally:
        go_on.set()
        site.close()
    assert not folder.exists()


def test_a_port_that_is_taken_is_said(site):
    port = int(site.url.rsplit(':')[-1].strip('/'))
    with pytest.raises(UserError, match=f'--port {port}: cannot listen there'):
        make_server(site.jobs, port=port)


def test_the_command_starts_and_ends(tmp_path):
    command = [sys.executable, '-m', 'srdensenet_mm', 'app', '--port', '0', '--device', 'cpu',
               '--checkpoint']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'TMPDIR': str(tmp_path)}
    missing = subprocess.run([*command, 'missing.pth'], cwd=tmp_path, env=environment, text=True,
                             capture_output=True)
    assert missing.returncode == 2 and missing.stderr.count('\n') == 1
    assert missing.stderr.startswith('error: missing.pth')
    weights = write_checkpoint(tmp_path / 'four.pth')
    before = set(tmp_path.iterdir())
    with subprocess.Popen([*command, weights], cwd=tmp_path, env=environment, text=True,
                          stdout=subprocess.PIPE) as process:
        try:
            lines = [process.stdout.readline() for _ in range(2)]
            address = lines[1].split()[1]
            assert b'x4: four' in urllib.request.urlopen(address, timeout=60).read()
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    assert set(tmp_path.iterdir()) == before


@pytest.fixture
def browser(site, tmp_path):
    with Browser(site.url, tmp_path / 'profile') as browser:
        yield browser
        # Nothing but the page's own server was asked.
        assert [e for e in browser.errors() if not str(e).startswith(site.url)] == []


def colours(browser, tmp_path, *across):
    """The colours on the screen at shares of the comparison's width."""
    points = [browser.point('#pair', share) for share in across]
    browser.screenshot(tmp_path / 'shot.png', whole_page=False)
    image = cv2.imread(str(tmp_path / 'shot.png'))
    return [image[round(y), round(x)].astype(int) for x, y in points]


SHOWN = "!document.getElementById('result').hidden"


@needs_chromium
def test_drop_slide_download(browser, site, tmp_path):
    source = tmp_path / 'grey and red.png'
    pixels = np.full((20, 30, 3), 90, np.uint16)
    pixels[..., 2] = 200
    pixels *= 257
    cv2.imwrite(str(source), pixels)
    browser.drop('#drop', source)
    browser.wait_for(SHOWN)
    expected = Upscaler(site.checkpoints[0], device='cpu')(pixels)
    bicubic, upscaled = np.array([90, 90, 200]), np.rint(expected[40, 60] / 257)
    assert abs(bicubic - upscaled).max() > 20
    left, right = colours(browser, tmp_path, 0.25, 0.75)
    assert abs(left - bicubic).max() <= 2 and abs(right - upscaled).max() <= 2
    browser.click('#position', 0.1)
    left, right = colours(browser, tmp_path, 0.25, 0.75)
    assert abs(left - upscaled).max() <= 2 and abs(right - upscaled).max() <= 2

    browser.call('Browser.setDownloadBehavior', behavior='allow', downloadPath=str(tmp_path))
    browser.click('#download')
    target = tmp_path / 'grey and red_x4.png'
    for _ in range(200):
        if target.exists():
            break
        time.sleep(0.05)
    np.testing.assert_array_equal(cv2.imread(str(target), cv2.IMREAD_UNCHANGED), expected)

    # Other weights: the same image again.
    browser.evaluate("""(() => { const e = document.getElementById('weights');
        e.value = '1'; e.dispatchEvent(new Event('change')); })()""")
    browser.wait_for(f"{SHOWN} && document.getElementById('right-caption').textContent"
                     ".includes('60 x 40 pixels')")

    # Of any scale: the field for it shows, and a new number upscales again.
    assert browser.evaluate("document.getElementById('times').hidden")
    browser.evaluate("""(() => { const e = document.getElementById('weights');
        e.value = '2'; e.dispatchEvent(new Event('change')); })()""")
    browser.wait_for(f"{SHOWN} && document.getElementById('right-caption').textContent"
                     ".includes('any scale: any75 x 50 pixels')")
    browser.evaluate("""(() => { const e = document.getElementById('scale');
        e.value = '1.5'; e.dispatchEvent(new Event('change')); })()""")
    browser.wait_for(f"{SHOWN} && document.getElementById('right-caption').textContent"
                     ".includes('45 x 30 pixels')")


@needs_chromium
def test_an_error_is_shown_and_a_phone_has_room(browser, tmp_path):
    (tmp_path / '<i>.png').write_text('no image')
    browser.drop('h1', tmp_path / '<i>.png')
    browser.wait_for("!document.getElementById('error').hidden")
    assert browser.evaluate("document.getElementById('error').textContent").startswith(
        'error: <i>.png: is no image')
    assert browser.evaluate("document.getElementById('busy').hidden")
    browser.resize(390, 844)
    (tmp_path / 'wide.png').write_bytes(png(8, 200, 4))
    browser.drop('#drop', tmp_path / 'wide.png')
    browser.wait_for(SHOWN)
    assert browser.evaluate("document.getElementById('error').hidden")
    assert browser.evaluate('document.documentElement.scrollWidth') <= 390
