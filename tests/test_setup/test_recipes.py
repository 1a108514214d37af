# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Listing, finding and copying recipes, and the command over them."""
import shutil
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from srdensenet_mm import cli
from srdensenet_mm.config import recipes
from srdensenet_mm.config.reading import read_config, resolve_config
from srdensenet_mm.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """An installed package's .mim with recipes of all kinds, and an empty folder to be in."""
    files = {
        'configs/_base_/models/net.py': "model = dict(type='Net', depth=8)\n",
        'configs/_base_/runtime.py': "_base_ = ['./extra/more.py']\nlog = 10\n",
        'configs/_base_/extra/more.py': 'seed = 1\n',
        'configs/plain_x4.py': "_base_ = ['./_base_/models/net.py', './_base_/runtime.py',\n"
                               "          'mmagic::_base_/default_runtime.py']\nscale = 4\n",
        'configs/heir_x2.py': "_base_ = './plain_x4.py'\nscale = 2\n",
        'configs/sub/deep_x4.py': "_base_ = ['../_base_/models/net.py']\nscale = 4\n",
        **{f'tools/{tool}.py': f'"""Do what\n{tool} does. And more."""\n'
           'import sys\nprint(sys.argv[1:])\nsys.exit(3)\n'
           for tool in ('train', 'infer')},
    }
    for name, text in files.items():
        path = tmp_path / 'package' / '.mim' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(recipes, '_PACKAGE', tmp_path / 'package')
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    return tmp_path


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['srdensenet-mm', *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.entry()
    return ended.value.code


def test_list_leaves_shared_parts_out(shop):
    assert recipes.list_recipes() == ['heir_x2', 'plain_x4', 'sub/deep_x4']


@pytest.mark.parametrize('name', ['plain_x4', 'plain_x4.py', 'srdensenet_mm::plain_x4.py'])
def test_find(shop, name):
    assert recipes.find_recipe(name) == shop / 'package/.mim/configs/plain_x4.py'


def test_find_names_similar_ones(shop):
    with pytest.raises(UserError, match='plain_x3: no such file or recipe; did you mean plain_x4'):
        recipes.find_recipe('plain_x3')


def test_copy_brings_what_it_inherits_from(shop):
    written = recipes.copy_recipe('heir_x2', 'mine')
    assert {path.as_posix() for path in written} == {
        'mine/heir_x2.py', 'mine/plain_x4.py', 'mine/_base_/models/net.py',
        'mine/_base_/runtime.py', 'mine/_base_/extra/more.py'}
    assert written[0] == Path('mine/heir_x2.py')
    original = Config.fromfile(shop / 'package/.mim/configs/heir_x2.py')
    shutil.rmtree(shop / 'package')
    copy = Config.fromfile('mine/heir_x2.py')
    assert copy.to_dict() == original.to_dict()
    assert (copy.scale, copy.model.depth, copy.seed) == (2, 8, 1)


def test_copy_from_a_subfolder_keeps_it(shop):
    written = recipes.copy_recipe('sub/deep_x4')
    assert [path.as_posix() for path in written] == ['sub/deep_x4.py', '_base_/models/net.py']
    assert Config.fromfile('sub/deep_x4.py').model.depth == 8


def test_copy_never_overwrites_an_edited_file(shop):
    recipes.copy_recipe('plain_x4')
    Path('plain_x4.py').write_text('edited = True\n')
    Path('_base_/runtime.py').unlink()
    with pytest.raises(UserError, match='plain_x4.py: is there already, with another content'):
        recipes.copy_recipe('plain_x4')
    assert Path('plain_x4.py').read_text() == 'edited = True\n'
    assert not Path('_base_/runtime.py').exists()


def test_copying_twice_does_nothing(shop):
    assert recipes.copy_recipe('plain_x4')
    assert recipes.copy_recipe('plain_x4') == []


def test_package_without_recipes(shop):
    shutil.rmtree(shop / 'package' / '.mim')
    with pytest.raises(UserError, match='came without its recipes'):
        recipes.list_recipes()


def test_command_list_and_copy(shop, monkeypatch, capsys):
    assert run(monkeypatch, 'list') == 0
    assert capsys.readouterr().out.split() == ['heir_x2', 'plain_x4', 'sub/deep_x4']
    assert run(monkeypatch, 'copy', 'plain_x4') == 0
    assert 'plain_x4.py' in capsys.readouterr().out.split()
    assert Path('plain_x4.py').exists()


def test_command_runs_a_tool(shop, monkeypatch, capsys):
    # Its arguments and its own exit status come through.
    assert run(monkeypatch, 'train', 'heir_x2', '--out', 'other') == 3
    assert capsys.readouterr().out.strip() == str(['heir_x2', '--out', 'other'])


@pytest.mark.parametrize('name', ['heir_x2', 'heir_x2.py', 'srdensenet_mm::heir_x2.py'])
def test_every_tool_finds_a_recipe_by_name(shop, name):
    path = str(shop / 'package/.mim/configs/heir_x2.py')
    assert resolve_config(name) == path
    assert read_config(name).scale == 2
    # A folder may have a recipe's name; a copy in the current folder goes first.
    Path('heir_x2').mkdir()
    assert resolve_config(name) == path
    recipes.copy_recipe('heir_x2')
    assert resolve_config(name) == 'heir_x2.py'


def test_what_is_neither_file_nor_recipe(shop):
    with pytest.raises(UserError, match='heir_x3: no such file or recipe; did you mean heir_x2'):
        resolve_config('heir_x3')


def test_the_demo_wants_a_checkout(shop, monkeypatch, capsys):
    (shop / 'package/.mim/tools/demo.py').write_text('')
    assert cli.list_tools() == ['infer', 'train']
    assert run(monkeypatch, 'demo') == 2
    assert 'demo: no such command' in capsys.readouterr().err
    (shop / 'package/.mim/tests/data').mkdir(parents=True)
    assert cli.list_tools() == ['demo', 'infer', 'train']


@pytest.mark.parametrize('arguments, message', [
    (['trian'], 'trian: no such command; there are list, copy, infer, train'),
    (['copy'], 'copy takes the name of a recipe'),
    (['copy', 'plane_x4'], 'did you mean plain_x4'),
])
def test_command_mistakes(shop, monkeypatch, capsys, arguments, message):
    assert run(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and message in error and error.count('\n') == 1


def test_help_says_what_each_tool_does(shop, monkeypatch, capsys):
    assert run(monkeypatch) == 0
    lines = [' '.join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert 'infer Do what infer does' in lines and 'train Do what train does' in lines


def test_every_tool_says_what_it_does():
    told = [cli.describe_tool(name) for name in cli.list_tools()]
    assert all(told) and len(set(told)) == len(told)


def test_every_shipped_recipe_can_be_copied(tmp_path):
    names = recipes.list_recipes()
    assert names == sorted(
        path.relative_to(ROOT / 'configs').with_suffix('').as_posix()
        for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts)
    for name in names:
        written = recipes.copy_recipe(name, tmp_path / name)
        copy = Config.fromfile(written[0])
        assert copy.to_dict() == Config.fromfile(ROOT / 'configs' / f'{name}.py').to_dict()
