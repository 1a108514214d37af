# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""A network's config out of the text that a Runner keeps in its checkpoints."""
import ast
from typing import Any

# Configs are a few kilobytes.
_LONGEST = 2**20


def find_generator(text: str) -> dict[str, Any] | None:
    """Find ``model.generator`` in a config's text, without executing it.

    ``Config.fromstring`` would run the text as Python code, and a checkpoint
    is a stranger's file. What MMEngine writes there (``Config.pretty_text``)
    consists of literals and ``dict(...)``, so parsing is enough.

    Args:
        text (str): The config, as Python.

    Returns:
        dict | None: None where there is no such field, or where it is made of
        anything but literals and ``dict(...)``.
    """
    if not isinstance(text, str) or len(text) > _LONGEST:
        return None
    try:
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.Assign) and any(
                    isinstance(target, ast.Name) and target.id == 'model'
                    for target in statement.targets):
                generator = _fields(statement.value).get('generator')
                found = _literal(generator) if generator is not None else None
                return found if isinstance(found, dict) else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    return None


def _fields(node: ast.expr) -> dict[str, ast.expr]:
    """The fields of ``dict(...)`` or ``{...}``, not evaluated."""
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        return {key.value: value for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        if len(node.args) == 1 and not node.keywords:
            return _fields(node.args[0])  # MMEngine writes dict({'0': ...})
        if not node.args and all(field.arg for field in node.keywords):
            return {field.arg: field.value for field in node.keywords}
    raise ValueError('not a dict')


def _literal(node: ast.expr) -> Any:
    if isinstance(node, (ast.Dict, ast.Call)):
        return {key: _literal(value) for key, value in _fields(node).items()}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(item) for item in node.elts]
    return ast.literal_eval(node)
