# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Imports run one way through the package, also those within functions."""
import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'srdensenet_mm'
# From the top to the bottom; parts of one line may import one another one way.
LAYERS = (
    ('cli', 'app'), ('demo', ), ('benchmark', ), ('export', 'spandrel'), ('inference', ),
    ('backends', ),
    ('engine', ), ('datasets', 'checkpoints'), ('config', 'images'), ('models', ),
    ('compat', ), ('device', 'files', 'free_memory', 'optional_packages', 'progress'),
    ('errors', 'version'))
RANK = {part: i for i, layer in enumerate(LAYERS) for part in layer}
# compat reads types' names as configs have them.
ALLOWED = {('compat', 'config')}


def part_of(module: str) -> str:
    return module.split('.')[1] if '.' in module else ''


def imports_of(path: Path) -> set[str]:
    """The modules of the package that a file imports, by their whole names."""
    parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
    package = parts if path.name == '__init__.py' else parts[:-1]
    package = tuple(part for part in package if part != '__init__')
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join(package[:len(package) - node.level + 1]) if node.level else ''
            module = '.'.join(filter(None, (base, node.module)))
            found.add(module)
            found.update(f'{module}.{alias.name}' for alias in node.names)
    return {name for name in found if name.split('.')[0] == 'srdensenet_mm'}


def files_by_part() -> dict[str, list[Path]]:
    parts: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob('*.py')):
        if '.mim' not in path.parts:
            part = path.relative_to(PACKAGE).with_suffix('').parts[0]
            parts.setdefault(part, []).append(path)
    return {part: paths for part, paths in parts.items() if not part.startswith('__')}


def test_every_part_has_its_place():
    assert sorted(files_by_part()) == sorted(set(RANK) & set(files_by_part()))


@pytest.mark.parametrize('part', sorted(files_by_part()))
def test_nothing_is_imported_from_above(part):
    wrong = {
        f'{path.relative_to(PACKAGE)} imports {name}'
        for path in files_by_part()[part] for name in imports_of(path)
        if part_of(name) in RANK and part_of(name) != part
        and RANK[part_of(name)] < RANK[part] and (part, part_of(name)) not in ALLOWED}
    assert not wrong
