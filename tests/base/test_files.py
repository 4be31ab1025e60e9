import errno
import os
import stat
from pathlib import Path

import pytest

from regard.base import files
from regard.base.errors import RegardError
from regard.base.files import new_folder, write_atomic


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_text_is_utf8_with_the_line_ends_it_came_with(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.txt", "früh\n早\n")
    assert (tmp_path / "a.txt").read_bytes() == "früh\n早\n".encode()


def test_bytes_replace_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    write_atomic(str(tmp_path / "a"), b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_missing_parents_are_made(tmp_path: Path) -> None:
    write_atomic(tmp_path / "b" / "c" / "a", "x")
    assert (tmp_path / "b" / "c" / "a").read_text() == "x"


def test_others_may_read_what_the_umask_allows(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_keeps_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(files.os, step, no_space)
        with pytest.raises(RegardError, match=r"cannot write .*a: No space left on device.*Free some space"):
            write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_path_below_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(RegardError, match="cannot write"):
        write_atomic(tmp_path / "a" / "b", "x")


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with new_folder(target) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("x")
        assert not target.exists()
    assert (target / "sub" / "a").read_text() == "x"
    assert os.listdir(tmp_path) == ["model"]


def test_a_folder_replaces_the_earlier_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("x")
    with new_folder(target) as folder:
        (folder / "new").write_text("y")
    assert os.listdir(target) == ["new"]
    assert os.listdir(tmp_path) == ["model"]


def test_an_error_inside_keeps_the_earlier_folder(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("x")
    with pytest.raises(RuntimeError, match="half way"), new_folder(target) as folder:
        (folder / "new").write_text("y")
        raise RuntimeError("half way")
    assert os.listdir(target) == ["old"]
    assert os.listdir(tmp_path) == ["model"]


def test_a_full_disk_inside_keeps_the_earlier_folder(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("x")
    with pytest.raises(RegardError, match="No space left"), new_folder(target):
        no_space()
    assert os.listdir(target) == ["old"]
    assert os.listdir(tmp_path) == ["model"]
