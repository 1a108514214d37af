# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The set-up script and the Makefile, with a pip that installs toys in no time."""
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAKE_PIP = Path(__file__).with_name('fake_pip')
REAL = Path(sys._base_executable).resolve()
COMMANDS = """awk bash cat cp cut df dirname echo env expand find flock grep head ls make mkdir
mktemp mv nproc readlink rm sed sha256sum sleep sort tail tr wc"""
WORKING = """#!/usr/bin/env bash
if [[ "$1 $2" == '-m venv' ]]; then
    echo "venv $3" >>"$FAKE_CALLS"
    "{real}" -m venv --without-pip "$3" &&
        cp -r "{pip}" "$(echo "$3"/lib/python3*/site-packages)/pip"
else
    exec "{real}" "$@"
fi
"""


class Machine:
    """A computer with the project's files, a PATH of its own, and a made-up pip."""

    def __init__(self, folder):
        self.project = folder / 'project'
        self.bin = folder / 'bin'
        self.calls_file = folder / 'calls'
        self.venv = folder / 'environment'
        self.bin.mkdir()
        self.calls_file.touch()
        for name in ('requirements', 'Makefile', 'setup.py', '.ci', 'srdensenet_mm/version.py'):
            target = self.project / name
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, target)
        for name in COMMANDS.split():
            (self.bin / name).symlink_to(shutil.which(name))
        self.add_command('c++', 'cat')
        self.add_python('python3.11')
        self.environment = {'PATH': str(self.bin), 'HOME': str(folder),
                            'FAKE_CALLS': str(self.calls_file), 'ENV_SAY_EVERY': '1'}

    def add_command(self, name, text):
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).write_text(text if text.startswith('#!')
                                     else f'#!/usr/bin/env bash\n{text}\n')
        (self.bin / name).chmod(0o755)

    def add_python(self, name):
        self.add_command(name, WORKING.format(real=REAL, pip=FAKE_PIP))

    def start(self, *command, **env):
        command = command or ('requirements/make_env.sh', str(self.venv))
        return subprocess.Popen(command, cwd=self.project, env={**self.environment, **env},
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                start_new_session=True)

    def run(self, *command, **env):
        process = self.start(*command, **env)
        process.out, process.err = process.communicate(timeout=100)
        return process

    def fails(self, **env):
        """Run the set-up, which must fail with one line; returns that line."""
        done = self.run(**env)
        assert done.returncode == 1
        assert done.err.startswith('error: ') and done.err.count('\n') == 1, done.err
        assert not (self.venv / '.env-ready').exists()
        return done.err

    def kinds(self):
        """Which mmcv is there."""
        return [path.name for path in self.venv.glob('lib/python3*/site-packages/mmcv*-info')]

    def calls(self):
        return self.calls_file.read_text().splitlines()

    def wait_for_call(self, beginning):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = [call for call in self.calls() if call.startswith(beginning)]
            if found:
                return found[-1]
            time.sleep(0.05)
        raise TimeoutError(beginning)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize('ops, file', [('', 'lite.txt'), ('0', 'lite.txt'), ('1', 'ops.txt')])
def test_from_nothing_in_the_order_that_mmcv_needs(machine, ops, file):
    done = machine.run('make', 'env', f'VENV={machine.venv}', f'MMCV_OPS={ops}')
    assert done.returncode == 0, done.err
    steps = [next(word for word in ('venv', 'download', 'build.txt', file, 'runtime.txt',
                                    '-e .', 'check') if word in call) for call in machine.calls()]
    assert steps == ['venv', 'download', 'build.txt', file, 'runtime.txt', '-e .', 'check']
    calls = machine.calls()
    assert all('-c requirements/constraints.txt' in call for call in calls if ' install ' in call)
    assert ('--no-build-isolation' in calls[3]) == (ops == '1')
    assert all(f'requirements/{name}.txt' in calls[4] for name in ('runtime', 'tests', 'optional'))
    assert calls[5].endswith('--no-deps --no-build-isolation -e .')
    assert [line for line in done.out.splitlines() if line.startswith('[')][2].startswith('[3/5]')
    assert str(machine.venv / 'set-up.log') in done.out
    assert (machine.venv / 'set-up.log').read_text().count('=== [') == 5


def test_neither_compiler_nor_headers_without_ops(machine):
    (machine.bin / 'c++').unlink()
    machine.add_command('python3.11', '[[ $2 != *Python.h* ]] || exit 1\n'
                        + WORKING.format(real=REAL, pip=FAKE_PIP).partition('\n')[2])
    assert machine.run().returncode == 0
    assert machine.kinds() == ['mmcv_lite-2.1.0.dist-info']


def test_switching_between_the_kinds(machine):
    def switch(ops, said, kind):
        before = len(machine.calls())
        done = machine.run(MMCV_OPS=ops)
        assert done.returncode == 0, done.err
        assert said in done.out if said else done.out == ''
        assert machine.kinds() == [f'{kind}-2.1.0.dist-info']
        return machine.calls()[before:]

    switch('', 'mmcv-lite: seconds', 'mmcv_lite')
    calls = switch('1', 'taking mmcv-lite away', 'mmcv')
    gone = calls.index('pip uninstall --yes mmcv-lite')
    assert gone < next(i for i, call in enumerate(calls) if 'ops.txt' in call)
    # Without a wish, it is used as it is.
    assert switch('', '', 'mmcv') == switch('1', '', 'mmcv') == []
    with open(machine.project / 'requirements/runtime.txt', 'a') as file:
        file.write('# changed\n')
    assert not any('uninstall' in call for call in switch('', 'mmcv with its ops', 'mmcv'))
    assert 'pip uninstall --yes mmcv' in switch('0', 'taking mmcv and its ops away', 'mmcv_lite')


def test_both_kinds_at_once_are_mended(machine):
    assert machine.run().returncode == 0
    site = next(machine.venv.glob('lib/python3*/site-packages'))
    (site / 'mmcv-2.1.0.dist-info').mkdir()
    (site / 'mmcv-2.1.0.dist-info/RECORD').touch()
    done = machine.run()
    assert done.returncode == 0 and 'both mmcv and mmcv-lite' in done.out, done.err
    assert machine.kinds() == ['mmcv_lite-2.1.0.dist-info']


def test_a_kind_that_there_is_not(machine):
    assert 'MMCV_OPS=yes: give 1 (mmcv with its ops) or 0' in machine.fails(MMCV_OPS='yes')


def test_second_call_does_nothing(machine):
    assert machine.run().returncode == 0
    before = machine.calls()
    done = machine.run()
    assert (done.returncode, done.out, done.err) == (0, '', '')
    assert machine.calls() == before


def test_changed_requirements_renew_it(machine):
    assert machine.run().returncode == 0
    for name in ('requirements/runtime.txt', 'requirements/constraints.txt', 'setup.py'):
        with open(machine.project / name, 'a') as file:
            file.write('# changed\n')
        before = len(machine.calls())
        assert machine.run().returncode == 0
        new = machine.calls()[before:]
        assert any('runtime.txt' in call for call in new), name
        assert not any(call.startswith('venv') for call in new), name


def test_an_environment_whose_python_is_gone_is_built_anew(machine):
    assert machine.run().returncode == 0
    python = machine.venv / 'bin/python'
    python.unlink()
    python.symlink_to('/nowhere/python3.11')
    done = machine.run()
    assert done.returncode == 0, done.err + done.out
    assert [call.split()[0] for call in machine.calls()].count('venv') == 2


def test_interrupted_by_ctrl_c_then_finished(machine):
    process = machine.start(FAKE_PIP='hang')
    hanging = int(machine.wait_for_call('hanging').split()[1])
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    deadline = time.monotonic() + 20
    while Path(f'/proc/{hanging}').exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f'/proc/{hanging}').exists()
    assert not (machine.venv / '.env-ready').exists()

    site = next(machine.venv.glob('lib/python3*/site-packages'))
    (site / 'half-1.0.dist-info').mkdir()
    (site / 'half-1.0.dist-info/METADATA').write_text('Name: half\n')
    (site / 'whole-1.0.dist-info').mkdir()
    (site / 'whole-1.0.dist-info/RECORD').touch()
    (site / '~orch').mkdir()
    done = machine.run()
    assert done.returncode == 0, done.err
    assert ({path.name for path in site.glob('*.dist-info')}
            == {'whole-1.0.dist-info', 'mmcv_lite-2.1.0.dist-info'})
    assert not (site / '~orch').exists()
    assert (machine.venv / '.env-ready').exists()


def test_killed_while_pip_goes_on(machine):
    process = machine.start(FAKE_PIP='hang')
    hanging = int(machine.wait_for_call('hanging').split()[1])
    process.kill()
    process.wait(timeout=20)
    second = machine.start()
    assert 'another set-up is at work' in second.stdout.readline()
    os.kill(hanging, signal.SIGKILL)
    second.communicate(timeout=60)
    assert second.returncode == 0
    assert (machine.venv / '.env-ready').exists()


def test_killed_while_the_environment_was_made(machine):
    # bin, include and lib are there, pyvenv.cfg and pip are not.
    (machine.venv / 'bin').mkdir(parents=True)
    (machine.venv / '.env-lock').touch()
    assert machine.run().returncode == 0


def test_mmcv_without_ops_is_built_anew_once(machine):
    done = machine.run(FAKE_PIP='no-ops', MMCV_OPS='1')
    assert done.returncode == 0, done.err
    assert 'building it again' in done.out
    again = [call for call in machine.calls() if call.endswith(' mmcv')]
    assert len(again) == 1
    for option in ('--no-cache-dir', '--force-reinstall', '--no-deps', '--no-build-isolation'):
        assert option in again[0]


def test_mmcv_that_never_has_its_ops(machine):
    assert 'mmcv was built without its ops' in machine.fails(FAKE_PIP='never-ops', MMCV_OPS='1')
    assert len([call for call in machine.calls() if call.endswith(' mmcv')]) == 1


@pytest.mark.parametrize('ops', ['0', '1'])
def test_no_libgl(machine, ops):
    done = machine.run(FAKE_PIP='no-libgl', MMCV_OPS=ops)
    assert done.returncode == 0, done.err
    assert 'OpenCV without windows' in done.out
    # It is OpenCV that was mended: mmcv's ops need not be built for that.
    assert not any(call.endswith(' mmcv') for call in machine.calls())


def test_failing_pip_names_its_reason_and_the_log(machine):
    line = machine.fails(FAKE_PIP='fail')
    assert 'Could not find a version that satisfies the requirement nothing==1' in line
    assert str(machine.venv / 'set-up.log') in line


def test_conflicting_packages_are_no_success(machine):
    assert 'set-up.log' in machine.fails(FAKE_PIP='conflict')


def test_no_network(machine):
    # With the real pip, and an index behind a closed port.
    machine.add_command('python3.11', f'exec "{REAL}" "$@"')
    line = machine.fails(PIP_CONFIG_FILE='/dev/null', PIP_INDEX_URL='http://127.0.0.1:9/simple')
    assert line.startswith('error: no network: pip cannot reach its package index')


def test_no_compiler(machine):
    (machine.bin / 'c++').unlink()
    assert 'no C++17 compiler (c++)' in machine.fails(MMCV_OPS='1')
    machine.add_command('c++', 'cat')
    assert 'no C++17 compiler (g++-99)' in machine.fails(CXX='g++-99', MMCV_OPS='1')
    assert not machine.calls()


def test_shims_that_fail_are_skipped(machine):
    machine.add_command('python3.11', 'echo "pyenv: python3.11: command not found" >&2; exit 127')
    machine.add_python('python3.10')
    done = machine.run()
    assert done.returncode == 0, done.err
    assert f'from {machine.bin}/python3.10' in done.out


def test_no_python_that_fits(machine):
    (machine.bin / 'python3.11').unlink()
    machine.add_command('python3', '[[ $1 != -c ]]')  # says of itself that it is too old
    assert 'no Python 3.10, 3.11 or 3.12 found' in machine.fails()


def test_wished_python(machine):
    machine.add_python('snake')
    done = machine.run(PYTHON='snake')
    assert done.returncode == 0 and f'from {machine.bin}/snake' in done.out
    assert 'PYTHON=nosnake does not run' in machine.run(PYTHON='nosnake').err


def test_wished_python_that_does_not_fit(machine):
    machine.add_command('old', 'echo Python 3.9.18; [[ $1 != -c ]]')
    line = machine.fails(PYTHON='old')
    assert 'PYTHON=old is not a Python 3.10, 3.11 or 3.12 that runs' in line
    assert '(it says: Python 3.9.18)' in line


@pytest.mark.parametrize('module, package', [('ensurepip', 'venv'), ('Python.h', 'dev')])
def test_python_without_what_debian_packs_apart(machine, module, package):
    machine.add_command('python3.11', f'[[ $2 != *{module}* ]] || exit 1; exec "{REAL}" "$@"')
    line = machine.fails(MMCV_OPS='1')
    assert line.startswith('error: python3.11 lacks ')
    assert f'apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-{package}' in line


def test_a_folder_of_something_else_is_left_alone(machine):
    machine.venv.mkdir()
    (machine.venv / 'thesis.tex').write_text('precious')
    assert 'holds something else' in machine.fails()
    assert (machine.venv / 'thesis.tex').read_text() == 'precious'
    assert [path.name for path in machine.venv.iterdir()] == ['thesis.tex']


def test_full_disk(machine):
    machine.add_command('df', 'echo head; echo "disk 9 9 3145728 9 /"')
    assert 'has 3 GB of free disk' in machine.fails()


def test_make_test_sets_up_and_keeps_the_exit_status(machine):
    done = machine.run('make', 'test', f'VENV={machine.venv}', 'ARGS=-k colour')
    assert done.returncode == 0, done.err
    lines = done.out.splitlines()
    assert '-m pytest ' in lines[-2] and lines[-2].endswith(' -k colour')
    assert lines[-1] == '5 passed'
    assert '-m ruff check .' in lines[-3]
    site = next(machine.venv.glob('lib/python3*/site-packages'))
    (site / 'pytest.py').write_text('import sys\nprint("1 failed")\nsys.exit(1)\n')
    done = machine.run('.ci/run', VENV=str(machine.venv))
    assert done.returncode != 0 and done.out.splitlines()[-1] == '1 failed'
    (site / 'ruff.py').write_text('import sys\nsys.exit(1)\n')
    done = machine.run('make', 'test', f'VENV={machine.venv}')
    assert done.returncode != 0 and '1 failed' not in done.out


def test_make_fails_where_the_set_up_does(machine):
    (machine.bin / 'c++').unlink()
    done = machine.run('make', 'demo', f'VENV={machine.venv}', 'MMCV_OPS=1')
    assert done.returncode != 0
    assert done.err.startswith('error: no C++17 compiler') and 'tools/demo.py' not in done.out


def test_make_help_lists_every_target(machine):
    done = machine.run('make')
    targets = [line.split()[0] for line in done.out.splitlines() if line.startswith('    ')]
    assert targets == ['help', 'env', 'test', 'lint', 'demo', 'clean']
