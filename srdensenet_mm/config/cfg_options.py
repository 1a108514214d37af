# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import argparse
import ast
import re

# Replaces blanks in a value, because MMEngine removes blanks.
_BLANK = '\0'


class CfgOptions(argparse.Action):
    """Reads ``--cfg-options KEY=VALUE ...`` as MMEngine does, but keeps paths unchanged.

    Python lists, tuples, dicts and quoted strings are read as such:
    ``key="['/my images/a', '/b,c']"``, ``key="[dict(type='SGD', lr=0.1)]"``.
    All other values follow MMEngine's rules
    (``1e-4``, ``True``, ``a,b``, ``[a,(b,c)]``), but keep blanks. A value that
    cannot be read ends the command with one line.
    """

    def __call__(self, parser, namespace, values, option_string=None):
        options = dict(getattr(namespace, self.dest, None) or {})
        for text in values:
            key, equals, value = text.partition('=')
            if not key or not equals:
                parser.error(f'{option_string} {text}: give KEY=VALUE')
            try:
                options[key] = self._read(value.strip())
            except AssertionError:
                parser.error(f'{option_string} {text}: its brackets do not match')
            except (SyntaxError, RecursionError):  # MMEngine's answer to x(a,b)
                parser.error(f'{option_string} {text}: cannot be read; quote its texts as in '
                             f'{key}="[\'a, b\', dict(c=\'d\')]"')
        setattr(namespace, self.dest, options)

    def _read(self, value: str):
        if value.startswith(('[', '(', '{', '"', "'", 'dict(')):
            try:
                read = ast.literal_eval(_DictCalls().visit(ast.parse(value, mode='eval')))
            except (SyntaxError, ValueError) as error:
                if re.search(r'(^|[[(,])\s*(dict\(|{)', value):  # MMEngine splits it at commas
                    raise SyntaxError from error
                value = re.sub(r'\s*([][(),])\s*', r'\1', value)
            else:
                if isinstance(read, (list, tuple, dict, str)):
                    return read
        from mmengine.config import DictAction  # not at the top: --help does not need it
        return self._with_blanks(DictAction._parse_iterable(value.replace(' ', _BLANK)))

    def _with_blanks(self, read):
        if isinstance(read, (list, tuple)):
            return type(read)(map(self._with_blanks, read))
        if isinstance(read, str):
            from mmengine.config import DictAction
            return DictAction._parse_int_float_bool(read.replace(_BLANK, ' ').strip())
        return read


class _DictCalls(ast.NodeTransformer):
    """Turns ``dict(a=1)``, as configs have it, into ``{'a': 1}``, which is a literal."""

    def visit_Call(self, node: ast.Call) -> ast.AST:  # noqa: N802  the name that ast calls
        self.generic_visit(node)
        names = [keyword.arg for keyword in node.keywords]
        if getattr(node.func, 'id', None) != 'dict' or node.args or None in names:
            return node
        return ast.copy_location(ast.Dict(
            keys=[ast.Constant(name) for name in names],
            values=[keyword.value for keyword in node.keywords]), node)
