# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Reading a training's config from the text in a Runner's checkpoint."""
import ast
from contextlib import suppress
from typing import Any

# Configs are a few kilobytes.
_LONGEST = 2**20
_UNREADABLE = (SyntaxError, ValueError, TypeError, RecursionError, MemoryError)


def read_config_text(text: str) -> dict[str, Any]:
    """The fields of a config's text, without executing it.

    ``Config.fromstring`` would run the text as Python code, and a checkpoint
    may come from anyone. MMEngine's text (``Config.pretty_text``) consists of
    literals and ``dict(...)``, so parsing is enough.

    Args:
        text (str): The config, as Python.

    Returns:
        dict: The fields, without those (on two levels) that hold anything but
        literals and ``dict(...)``. Empty where the text is no config.
    """
    if not isinstance(text, str) or len(text) > _LONGEST:
        return {}
    try:
        statements = ast.parse(text).body
    except _UNREADABLE:
        return {}
    return _readable({
        target.id: statement.value
        for statement in statements if isinstance(statement, ast.Assign)
        for target in statement.targets if isinstance(target, ast.Name)}, depth=2)


def _readable(nodes: dict[str, ast.expr], depth: int) -> dict[str, Any]:
    found = {}
    for name, node in nodes.items():
        with suppress(*_UNREADABLE):
            is_dict = isinstance(node, (ast.Dict, ast.Call))
            found[name] = (_readable(_fields(node), depth - 1) if is_dict and depth > 1
                           else _literal(node))
    return found


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
