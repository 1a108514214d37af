# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import errno
import os
import shutil
import stat

import pytest

from srdensenet_mm.errors import UserError
from srdensenet_mm.files import atomic_write, make_folder, path_from_here


def test_appears_at_the_end_with_ordinary_permissions(tmp_path):
    target = tmp_path / 'new folder' / 'é.txt'
    with atomic_write(target) as temporary:
        assert temporary.parent == target.parent and temporary.suffix == '.txt'
        temporary.write_text('whole')
        assert not target.exists()
    (tmp_path / 'plain').write_text('')
    assert target.read_text() == 'whole'
    assert os.listdir(target.parent) == ['é.txt']
    assert target.stat().st_mode == (tmp_path / 'plain').stat().st_mode


@pytest.mark.parametrize('failure', [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_alone(tmp_path, failure):
    target = tmp_path / 'file.txt'
    target.write_text('old')
    with pytest.raises(failure), atomic_write(target) as temporary:
        temporary.write_text('ne')
        raise failure
    assert target.read_text() == 'old'
    assert os.listdir(tmp_path) == ['file.txt']


def test_a_full_disk_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r'file\.txt: cannot be written \(No space left'), \
            atomic_write(tmp_path / 'file.txt'):
        raise OSError(28, 'No space left on device')
    assert not os.listdir(tmp_path)


def test_a_share_that_refuses_all_but_files_gets_them_whole(tmp_path, grudging_share):
    make_folder(tmp_path / 'out')
    for content in ('old', 'new'):
        with atomic_write(tmp_path / 'out/file.txt') as temporary:
            temporary.write_text(content)
    assert (tmp_path / 'out/file.txt').read_text() == 'new'
    assert os.listdir(tmp_path / 'out') == ['file.txt']


def test_a_copy_keeps_its_time_where_a_share_takes_one(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, 'replace', fail)
    with atomic_write(tmp_path / 'file.txt') as temporary:
        temporary.write_text('whole')
        os.utime(temporary, (1e9, 1e9))
    assert (tmp_path / 'file.txt').stat().st_mtime == 1e9


def test_a_copy_that_fails_leaves_no_half(tmp_path, grudging_share, monkeypatch):
    def copy_half(read, write):
        write.write(read.read(2))
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(shutil, 'copyfileobj', copy_half)
    with pytest.raises(UserError, match=r'file\.txt: cannot be written \(No space left'), \
            atomic_write(tmp_path / 'file.txt') as temporary:
        temporary.write_text('whole')
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize('name', ['fsync', 'replace'])
@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE])
def test_what_a_flush_says_of_the_disk_is_no_nicety(tmp_path, monkeypatch, name, code):
    def fail(*args):
        raise OSError(code, os.strerror(code))

    (tmp_path / 'file.txt').write_text('old')
    monkeypatch.setattr(os, name, fail)
    with pytest.raises(UserError, match=rf'cannot be written \({os.strerror(code)}'), \
            atomic_write(tmp_path / 'file.txt') as temporary:
        temporary.write_text('new')
    assert (tmp_path / 'file.txt').read_text() == 'old'
    assert os.listdir(tmp_path) == ['file.txt']


def test_a_folder_that_takes_no_file_is_told_at_once(tmp_path, monkeypatch):
    make_folder(tmp_path / 'new')
    assert not os.listdir(tmp_path / 'new')
    ordinary = os.open

    def over_quota(path, flags, *args, **kwargs):
        if flags & os.O_CREAT:
            raise OSError(errno.EDQUOT, 'Disk quota exceeded')
        return ordinary(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, 'open', over_quota)
    with pytest.raises(UserError, match=r'new: cannot be written to \(Disk quota exceeded\)'):
        make_folder(tmp_path / 'new')


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match='is a folder'), atomic_write(tmp_path):
        pass


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='cannot be written'), \
            atomic_write(tmp_path / 'file' / 'target'):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(UserError, match='Permission denied'), atomic_write(tmp_path / 'target'):
        pass
    tmp_path.chmod(stat.S_IRWXU)


def test_a_path_is_short_where_it_lies_below_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert path_from_here(tmp_path / 'a/b.png') == path_from_here('a/b.png') == 'a/b.png'
    assert path_from_here(tmp_path.parent / 'c') == str(tmp_path.parent / 'c')
