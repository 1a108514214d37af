# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Tools called as on the command line, in this process: no interpreter to start."""
import contextlib
import io
import runpy
import sys
import uuid
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[1]


def call_tool(name, *arguments):
    """Run ``tools/NAME.py``; returns its exit status, stdout and stderr.

    An exception that the tool would show with a traceback passes through.
    """
    argv = [str(ROOT / 'tools' / f'{name}.py'), *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    status = 0
    with mock.patch.object(sys, 'argv', argv), contextlib.redirect_stdout(out), \
            contextlib.redirect_stderr(err):
        try:
            runpy.run_path(argv[0], run_name='__main__')
        except SystemExit as error:
            status = error.code or 0
    return status, out.getvalue(), err.getvalue()


def refused(name, *arguments):
    """The one line in which a tool refuses its input; no other line is an error's."""
    status, _, err = call_tool(name, *arguments)
    assert status not in (0, None), f'{name} accepted {arguments}'
    lines = [line for line in err.splitlines() if line.startswith(('error: ', 'failed: '))]
    assert len(lines) == 1 and 'Traceback' not in err, err
    assert 'Original' not in lines[0] and len(lines[0]) < 1000, lines[0]
    return lines[0]


def unique_name():
    """For ``experiment_name``: Runners of one second in one process share their records else."""
    return f'experiment_name={uuid.uuid4().hex}'
