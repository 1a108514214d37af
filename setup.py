# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Packaging: ranges and metadata.

The exact versions that are known to work together are in
requirements/constraints.txt; ``make env`` uses them. Here are only the ranges
that srdensenet_mm itself needs, so that ``pip install -e .`` leaves an
existing MMagic environment as it is.

mmcv is not among the requirements. It comes as ``mmcv`` or as ``mmcv-lite``,
both work, and they share one folder: to require either would put it over the
other in somebody's environment. Who has neither asks for the extra ``lite``
or ``ops``; without mmcv, ``import srdensenet_mm`` says so in one line. These
extras also hold back what MMagic cannot work with when it is newer.

As OpenMMLab's packages do, the recipes, the tools and model-index.yml travel
inside the package in a folder ``.mim``, where ``mim`` and
``srdensenet_mm.config.recipes`` look for them: copies in a wheel, links in a checkout.
The published weights travel there too, without their logs and curves.
"""
import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PACKAGE = 'srdensenet_mm'
MIM_PARTS = ('configs', 'tools', 'model-index.yml', 'checkpoints')


def read_version() -> str:
    """The version as text: importing the package would need torch."""
    text = (ROOT / PACKAGE / 'version.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '([^']+)'$", text, flags=re.M).group(1)


def read_requirements(name: str) -> list:
    """The requirements of requirements/<name>.txt without its comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in (line.split('#')[0].strip() for line in lines) if line]


def read_long_description() -> str:
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.exists() else ''


def copy_mim(folder: Path) -> None:
    """Copy the parts of .mim into a build folder, replacing older ones."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for part in MIM_PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns(
                '__pycache__', '*.pyc', '.*', '*.log.jsonl', '*.png'))
        elif source.exists():
            shutil.copy2(source, folder / part)


def link_mim(folder: Path) -> None:
    """Link the parts of .mim, so that edits in the checkout count at once."""
    folder.mkdir(exist_ok=True)
    for part in MIM_PARTS:
        link = folder / part
        if link.is_symlink():
            link.unlink()
        if (ROOT / part).exists() and not link.exists():
            link.symlink_to(os.path.relpath(ROOT / part, folder))


class BuildWithMim(build_py):
    """``build_py`` that also makes .mim."""

    def run(self):
        super().run()
        if getattr(self, 'editable_mode', False):
            link_mim(ROOT / PACKAGE / '.mim')
        else:
            copy_mim(Path(self.build_lib) / PACKAGE / '.mim')


def extras() -> dict:
    optional = {re.match(r'[\w-]+', line).group(): line for line in read_requirements('optional')}
    tests = read_requirements('tests')
    return {
        'lite': read_requirements('lite') + read_requirements('mmagic'),
        'ops': read_requirements('ops') + read_requirements('mmagic'),
        'app': [optional['flask']],
        'heif': [optional['pillow-heif']],
        'onnxruntime': [optional['onnx'], optional['onnxruntime']],
        'openvino': [optional['onnx'], optional['openvino']],
        'spandrel': [optional['spandrel']],
        'tests': tests,
        'all': [*optional.values(), *tests],
    }


setup(
    name=PACKAGE,
    version=read_version(),
    description='SRDenseNet single-image super-resolution as a plugin of MMagic',
    long_description=read_long_description(),
    long_description_content_type='text/markdown',
    author='srdensenet_mm authors',
    license='Apache License 2.0',
    keywords='computer vision, super-resolution, image restoration, MMagic, OpenMMLab',
    classifiers=[
        'Development Status :: 4 - Beta',
        'License :: OSI Approved :: Apache Software License',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Image Processing',
    ],
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    cmdclass={'build_py': BuildWithMim},
    entry_points={'console_scripts': ['srdensenet-mm = srdensenet_mm.cli:entry']},
    python_requires='>=3.10,<3.13',
    install_requires=read_requirements('runtime'),
    extras_require=extras(),
    zip_safe=False,
)
