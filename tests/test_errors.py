# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import os
import subprocess
import sys

import pytest

from srdensenet_mm.errors import UserError, naming, run_tool


def fails_with(error, *, during=None):

    def main():
        try:
            raise during or error
        except BaseException as first:
            if first is error:
                raise
            raise error  # noqa: B904 as one that comes while another is handled

    return main


@pytest.mark.parametrize('main, status, words', [
    (lambda: None, None, ''),
    (lambda: 3, 3, ''),
    (fails_with(UserError('two\nlines')), 2, 'error: two lines\n'),
    # What libraries say of files and packages.
    (lambda: os.remove('/no/such.file'), 2, 'error: /no/such.file: No such file or directory\n'),
    (lambda: __import__('no_such_package.part'), 2,
     'error: no_such_package cannot be imported (No module named \'no_such_package\'): see '
     '"Install" in the README of srdensenet_mm\n'),
    (fails_with(KeyboardInterrupt()), 130, 'interrupted\n'),
    # What Ctrl-C becomes while Python reacquires a lock.
    (fails_with(RuntimeError('release unlocked lock'), during=KeyboardInterrupt()), 130,
     'interrupted\n'),
])
def test_what_a_tool_leaves_with(capsys, main, status, words):
    with pytest.raises(SystemExit) as left:
        run_tool(main)
    assert (left.value.code, capsys.readouterr().err) == (status, words)


@pytest.mark.parametrize('error', [
    RuntimeError('a fault'), ValueError('another'), OSError('of no file'),
    ModuleNotFoundError('our own', name='srdensenet_mm.nope')])
def test_faults_keep_their_traceback(error):
    with pytest.raises(type(error), match=str(error)):
        run_tool(fails_with(error))
    with pytest.raises(type(error), match=str(error)):
        run_tool(fails_with(error, during=KeyError('unrelated')))


@pytest.mark.parametrize('lines', [1, 100_000])
def test_a_reader_that_has_gone_is_no_fault(lines):
    code = (f'from srdensenet_mm.errors import run_tool; '
            f'run_tool(lambda: [print("a line") for _ in range({lines})] and None)')
    writer = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
    writer.stdout.close()
    assert (writer.stderr.read(), writer.wait()) == (b'', 141)


def test_no_stdout_is_no_fault():
    code = 'from srdensenet_mm.errors import run_tool; run_tool(lambda: print("a line"))'
    done = subprocess.run(f"'{sys.executable}' -c '{code}' >&-", shell=True, capture_output=True)
    assert (done.stderr, done.returncode) == (b'', 0)


def test_another_broken_pipe_keeps_its_traceback():
    with pytest.raises(BrokenPipeError):
        run_tool(fails_with(BrokenPipeError('a worker')))


@pytest.mark.parametrize('error, line', [
    (UserError('b: is empty'), 'a: b: is empty'),
    (FileNotFoundError(2, 'No such file', 'a'), 'a: is bad (No such file)'),
    (FileNotFoundError(2, 'No such file', 'b'), 'a: is bad (No such file: b)'),
    (OSError('two\nlines'), 'a: is bad (two lines)'),
    (ValueError('of a value'), 'a: is bad (of a value)'),
    (KeyError('b. Please check'), 'a: is bad (KeyError: b)'),
    (MemoryError(), 'a: is bad (MemoryError)')])
def test_an_error_gets_a_name(error, line):
    with pytest.raises(UserError) as caught, naming('a', 'is bad', Exception):
        raise error
    assert str(caught.value) == line and caught.value.__cause__ is error
    if not isinstance(error, (UserError, OSError)):
        with pytest.raises(type(error)), naming('a'):
            raise error
