# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Stands in for pip where tests set up an environment: notes its calls, installs toys.

FAKE_PIP names what goes wrong: ``no-ops``, ``never-ops``, ``no-libgl``,
``hang``, ``fail``, ``conflict``.
"""
import os
import shutil
import sys
import time
from pathlib import Path

SITE = Path(__file__).resolve().parents[1]
TROUBLE = os.environ.get('FAKE_PIP', '')
LIBGL = "raise ImportError('libGL.so.1: cannot open shared object file')\n"


def note(text):
    with open(os.environ['FAKE_CALLS'], 'a') as file:
        file.write(text + '\n')


def write(name, text=''):
    path = SITE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def install(arguments):
    words = ' '.join(arguments)
    if 'build.txt' in words:
        write('torch.py')
        if not (SITE / 'cv2.py').exists():
            write('cv2.py', LIBGL if TROUBLE == 'no-libgl' else '')
    if 'lite.txt' in words:
        write('mmcv_lite-2.1.0.dist-info/RECORD')
        write('mmcv/__init__.py', 'import cv2\n')
    if 'ops.txt' in words or arguments[-1] == 'mmcv':
        print('  [7/9] c++ some_op.cpp')
        write('mmcv-2.1.0.dist-info/RECORD')
        write('mmcv/__init__.py', 'import cv2\n')
        built_anew = '--no-cache-dir' in arguments
        if TROUBLE != 'never-ops' and (TROUBLE != 'no-ops' or built_anew):
            write('mmcv/_ext.py')
    if arguments[-1] == 'opencv-python-headless':
        write('cv2.py')
    if 'runtime.txt' in words:
        if TROUBLE == 'hang':
            note(f'hanging {os.getpid()}')
            time.sleep(60)
        if TROUBLE == 'fail':
            print('ERROR: Could not find a version that satisfies the requirement nothing==1')
            return 1
        write('pytest.py', 'print("5 passed")\n')
        write('ruff.py')
    if '-e' in arguments:
        write('srdensenet_mm.py')
    return 0


def main():
    arguments = [word for word in sys.argv[1:] if word != '--disable-pip-version-check']
    if arguments != ['--version']:
        note('pip ' + ' '.join(arguments))
    if arguments[0] == 'install':
        return install(arguments)
    if arguments[0] == 'uninstall':
        shutil.rmtree(SITE / 'mmcv')
        for name in arguments[2:]:
            shutil.rmtree(SITE / f'{name.replace("-", "_")}-2.1.0.dist-info')
    if arguments[0] == 'check' and TROUBLE == 'conflict':
        print('mediapipe 0.10.21 has requirement protobuf<5, but you have protobuf 7.36.2.')
        return 1
    return 0


sys.exit(main())
