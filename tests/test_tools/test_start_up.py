# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What the tools import: each of these packages takes a part of a second or more."""
import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted(ROOT.glob('tools/*.py'))

RUN = """
import json, runpy, sys
status = []
for argv in json.loads(sys.argv[1]):
    sys.argv = argv
    try:
        runpy.run_path(argv[0], run_name='__main__')
    except SystemExit as ended:
        status.append(ended.code)
print()
print(json.dumps([status, sorted(sys.modules)]))
"""


def modules_of(*commands: list) -> set[str]:
    """Run commands in one new process; the modules that they have imported."""
    commands = [[str(word) for word in command] for command in commands]
    done = subprocess.run([sys.executable, '-c', RUN, json.dumps(commands)], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    status, modules = json.loads(done.stdout.splitlines()[-1])
    assert status == [0] * len(commands), done.stderr
    return set(modules)


def test_help_imports_no_package_that_computes():
    modules = modules_of(*([tool, '--help'] for tool in TOOLS))
    assert TOOLS and not modules & {'numpy', 'cv2', 'torch', 'mmengine', 'mmcv', 'mmagic'}


@pytest.mark.parametrize('arguments', [['--help'], ['list'], ['infer', '--help']])
def test_the_command_imports_no_package_that_computes(arguments):
    code = ('import sys; from srdensenet_mm.cli import main\n'
            f'sys.argv[1:] = {arguments!r}\n'
            'try:\n    main()\nexcept SystemExit:\n    pass\n'
            "print(sorted({'numpy', 'cv2', 'torch', 'mmengine'} & {*sys.modules}))")
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ['[]'], done.stderr


def test_upscaling_imports_neither_compiler_nor_other_models(tmp_path):
    image = cv2.imread(str(ROOT / 'tests/data/Set5/LR_bicubic/X4/baby.png'))
    cv2.imwrite(str(tmp_path / 'small.png'), image[:20, :24])
    modules = modules_of([
        ROOT / 'tools/infer.py', tmp_path / 'small.png', '--out', tmp_path / 'out',
        '--checkpoint', next(ROOT.glob('checkpoints/srdensenet_x4*.pth'))])
    assert cv2.imread(str(tmp_path / 'out/small.png')).shape == (80, 96, 3)
    assert not modules & {
        'torch._dynamo', 'torch._inductor', 'torch.fx.experimental.symbolic_shapes', 'sympy',
        'transformers', 'torch.distributed.optim', 'mmagic.models', 'diffusers', 'torchvision',
        'matplotlib', 'pandas', 'skimage', 'scipy', 'onnx', 'onnxruntime', 'openvino', 'spandrel',
        'tensorboard', 'PIL.AvifImagePlugin'}
