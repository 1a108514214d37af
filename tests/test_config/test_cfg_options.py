# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import argparse

import pytest
from mmengine.config import DictAction

from srdensenet_mm.config.cfg_options import CfgOptions


def read(*texts, action=CfgOptions):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=action)
    return parser.parse_args(['--cfg-options', *texts]).cfg_options


@pytest.mark.parametrize('text', [
    '1', '-2', '1e-4', 'True', 'false', 'None', 'word', 'a/b.png', '1,2', 'a,b', '[1,2]', '[a,b]',
    '[(1,2),[a,b],c]', '(1,)', '(1)', '[]', '()', '[a, [b, c], (1, 2)]', "['a','b']", '[0.1, 2]',
    '', 'x=y', '"word"'])
def test_reads_as_mmengine_does(text):
    assert read(f'k={text}') == read(f'k={text}', action=DictAction)


@pytest.mark.parametrize('text, value', [
    ('/my results/data', '/my results/data'),
    ('/images (old)/a b', '/images (old)/a b'),
    ("['/my pics/a', '/b,c']", ['/my pics/a', '/b,c']),
    ('[/my pics/a, /b]', ['/my pics/a', '/b']),
    ('/a b, /c', ['/a b', '/c']),
    ("'/a,b/x'", '/a,b/x'),
    ("'1'", '1'),
    ("dict(a=1)", {'a': 1}),
    ("[dict(type='A', b=dict(c=[1, (2,)])), {}]", [{'type': 'A', 'b': {'c': [1, (2,)]}}, {}]),
    ("{'type': 'SGD', 'lr': 0.1}", {'type': 'SGD', 'lr': 0.1}),
    ("('/a b', 2)", ('/a b', 2))])
def test_values_stay_what_they_are(text, value):
    found = read(f'k={text}')['k']
    assert found == value and type(found) is type(value)


def test_options_add_up():
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions)
    found = parser.parse_args(['--cfg-options', 'a=1', 'b=2', '--cfg-options', 'a.c=3', 'b=4'])
    assert found.cfg_options == {'a': 1, 'b': 4, 'a.c': 3}


@pytest.mark.parametrize('text, reason', [
    ('key', 'give KEY=VALUE'), ('=value', 'give KEY=VALUE'), ('k=[1,2', 'brackets do not match'),
    ('k=[list(a=1,b=2)]', 'quote its texts'), ('k=/images (a, b)/c', 'quote its texts'),
    ('k={a: 1, b: 2}', 'quote its texts'), ('k=[dict(a=b)]', 'quote its texts'),
    ('k=dict(**{})', 'quote its texts')])
def test_mistakes_are_named(text, reason, capsys):
    with pytest.raises(SystemExit) as ended:
        read(text)
    assert ended.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f'error: --cfg-options {text}: ' in line and reason in line
