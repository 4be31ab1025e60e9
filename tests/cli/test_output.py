import errno
import os
from pathlib import Path

import pytest

from regard.base.errors import RegardError
from regard.cli.output import open_output


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.txt"
    with open_output(path) as stream:
        stream.write("späť\n")
        stream.flush()
        assert not path.exists()
    assert path.read_bytes() == "späť\n".encode()
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    assert os.listdir(path.parent) == ["out.txt"]


@pytest.mark.parametrize("error", [RuntimeError("halfway"), KeyboardInterrupt()])
def test_what_was_there_stays_when_it_fails(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "out.txt"
    path.write_text("before")
    with pytest.raises(type(error)), open_output(path) as stream:
        stream.write("after")
        raise error
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(RegardError, match=r"cannot write .*out\.txt.*[Ss]pace"), open_output(tmp_path / "out.txt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert os.listdir(tmp_path) == []


def test_other_errors_keep_their_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), open_output(tmp_path / "out.txt"):
        open(tmp_path / "not there", "rb")  # noqa: SIM115


def test_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    for path in (None, Path("-")):
        with open_output(path) as stream:
            print("a line", file=stream)
    assert capsys.readouterr().out == "a line\na line\n"


def test_devices_are_written_to_and_links_followed(tmp_path: Path) -> None:
    with open_output(Path(os.devnull)) as stream:
        stream.write("gone")
    assert not Path(os.devnull).is_file()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with open_output(tmp_path / "link") as stream:
        stream.write("kept")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "kept"


def test_folders_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RegardError, match="it is a folder"), open_output(tmp_path):
        pass
