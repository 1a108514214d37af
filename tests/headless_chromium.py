# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Just enough of Chromium's DevTools protocol, over its pipe, to use a page as a person does."""
import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

# The protocol's pipe is file descriptors 3 and 4 of the browser.
_PLACE_PIPE = '''
import fcntl, os, sys
to_browser, from_browser = (fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3])
os.dup2(to_browser, 3)
os.dup2(from_browser, 4)
os.execv(sys.argv[3], sys.argv[3:])
'''
NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')


def find_chromium():
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A tab with one page open.

    Args:
        url (str): What to open; ready when <html data-ready> is set.
        profile (Path): Folder for the browser's own files.
        width (int): Of the window, CSS pixels.
        height (int): Of the window, CSS pixels.
    """

    def __init__(self, url: str, profile: Path, width: int = 1280, height: int = 900):
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, '-c', _PLACE_PIPE, str(to_browser), str(from_browser),
             find_chromium(), '--headless', '--no-sandbox', '--disable-gpu',
             '--disable-dev-shm-usage',
             '--no-first-run', f'--user-data-dir={profile}', '--remote-debugging-pipe',
             'about:blank'],
            pass_fds=(to_browser, from_browser), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._id, self._session, self.events = b'', 0, None, []
        try:
            target = self.call('Target.createTarget', url='about:blank')['targetId']
            self._session = self.call(
                'Target.attachToTarget', targetId=target, flatten=True)['sessionId']
            for domain in ('Page', 'Runtime', 'Network', 'Log'):
                self.call(f'{domain}.enable')
            # They would take width that a screenshot of the whole page does not have.
            self.call('Emulation.setScrollbarsHidden', hidden=True)
            self.resize(width, height)
            self.open(url)
        except BaseException:
            self.close()
            raise

    def open(self, url: str) -> None:
        self.call('Page.navigate', url='about:blank')
        self.call('Page.navigate', url=url)
        for _ in range(600):
            if self.evaluate("document.documentElement?.dataset.ready === 'true'"):
                return
            time.sleep(0.05)
        raise TimeoutError(f'{url} did not become ready: {self.errors()}')

    def resize(self, width: int, height: int) -> None:
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height,
                  deviceScaleFactor=1, mobile=False)

    def call(self, method: str, **params):
        self._id += 1
        message = dict(id=self._id, method=method, params=params)
        if self._session:
            message['sessionId'] = self._session
        os.write(self._write, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._receive()
            if answer.get('id') == self._id:
                if 'error' in answer:
                    raise RuntimeError(f'{method}: {answer["error"]}')
                return answer['result']
            self.events.append(answer)

    def _receive(self, timeout: float = 90):
        while b'\0' not in self._buffer:
            if not select.select([self._read], [], [], timeout)[0]:
                raise TimeoutError('Chromium does not answer')
            chunk = os.read(self._read, 1 << 20)
            if not chunk:
                raise RuntimeError('Chromium has ended')
            self._buffer += chunk
        message, self._buffer = self._buffer.split(b'\0', 1)
        return json.loads(message)

    def evaluate(self, expression: str):
        result = self.call('Runtime.evaluate', expression=expression, returnByValue=True)
        if 'exceptionDetails' in result:
            raise RuntimeError(f'{expression}: {result["exceptionDetails"]}')
        return result['result'].get('value')

    def point(self, selector: str, across: float = 0.5):
        """The middle of an element, scrolled into view; ``across`` of its width."""
        return self.evaluate(f'''(() => {{
            const e = document.querySelector({json.dumps(selector)});
            e.scrollIntoView({{block: 'center', inline: 'center'}});
            const r = e.getBoundingClientRect();
            return [r.left + r.width * {across}, r.top + r.height / 2]; }})()''')

    def click(self, selector: str, across: float = 0.5) -> None:
        x, y = self.point(selector, across)
        for kind in ('mousePressed', 'mouseReleased'):
            self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', clickCount=1)

    def drop(self, selector: str, path: Path) -> None:
        """Drag a file from the desktop to an element and let it go there."""
        x, y = self.point(selector)
        data = dict(items=[], files=[str(path)], dragOperationsMask=1)
        for kind in ('dragEnter', 'dragOver', 'drop'):
            self.call('Input.dispatchDragEvent', type=kind, x=x, y=y, data=data)

    def wait_for(self, expression: str, seconds: float = 60) -> None:
        """Until JavaScript finds it true."""
        end = time.monotonic() + seconds
        while not self.evaluate(expression):
            if time.monotonic() > end:
                raise TimeoutError(f'{expression}: {self.errors()}')
            time.sleep(0.05)

    def press(self, key: str, code: int) -> None:
        for kind in ('keyDown', 'keyUp'):
            self.call('Input.dispatchKeyEvent', type=kind, key=key, code=key,
                      windowsVirtualKeyCode=code)

    def errors(self):
        """What the page complained about, and what it asked the network for."""
        found = []
        for event in self.events:
            params = event.get('params', {})
            if event.get('method') == 'Runtime.exceptionThrown':
                found.append(params['exceptionDetails'])
            elif event.get('method') == 'Log.entryAdded' and params['entry']['level'] == 'error':
                found.append(params['entry'])
            elif event.get('method') == 'Network.requestWillBeSent':
                url = params['request']['url']
                if not url.startswith(('data:', 'file:', 'about:')):
                    found.append(url)
        return found

    def screenshot(self, path: Path, whole_page: bool = True) -> None:
        data = self.call('Page.captureScreenshot', captureBeyondViewport=whole_page)['data']
        Path(path).write_bytes(base64.b64decode(data))

    def close(self) -> None:
        with suppress(OSError, RuntimeError, TimeoutError):
            self._session = None
            self.call('Browser.close')
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for handle in (self._read, self._write):
            os.close(handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
