"""Files appear whole or not at all (J6, S6): folders, left-overs of killed processes, full disks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reelwright.errors import DiskFull, RequestError
from reelwright.media.partial import HOST, alive, disk_errors, sweep, whole


def _ended() -> int:
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_text("old")
    with whole(path) as part:
        part.write_text("new")
        assert part.suffix == ".mp4"
        assert part.parent == tmp_path
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_appears_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    parts = []

    def interrupted() -> None:
        with whole(path) as part:
            part.write_text("half")
            parts.append(part)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(parts) == 1
    assert list(tmp_path.iterdir()) == []


def test_names_as_long_as_the_disk_allows(tmp_path: Path) -> None:
    for name in ("x" * 250 + ".mp4", "映" * 83 + ".mp4"):
        with whole(tmp_path / name) as part:
            part.touch()
        assert (tmp_path / name).exists()


def test_missing_folder_and_folder_as_target(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="does not exist") as caught, whole(tmp_path / "no" / "film.mp4"):
        pass
    assert "-o" in caught.value.hint
    (tmp_path / "film.mp4").mkdir()
    with pytest.raises(RequestError, match="is a folder"), whole(tmp_path / "film.mp4"):
        pass


_READ_ONLY = """
import os, sys
from pathlib import Path
from reelwright.errors import RequestError
from reelwright.media.partial import whole
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
try:
    with whole(Path(sys.argv[1])):
        pass
except RequestError as error:
    assert error.hint
    print("refused")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_read_only_folder() -> None:
    """In a process without root's rights; under / because pytest's own folders are closed to it."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", _READ_ONLY, f"{folder}/film.mp4"], capture_output=True, text=True, timeout=30
        )
        Path(folder).chmod(0o755)
    assert done.stdout.strip() == "refused", done.stderr


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told(code: int) -> None:
    with pytest.raises(DiskFull) as caught, disk_errors(Path("film.mp4")):
        raise OSError(code, os.strerror(code))
    assert caught.value.hint
    with pytest.raises(PermissionError), disk_errors(Path("film.mp4")):
        raise PermissionError(errno.EACCES, "no")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot be asked about a process")
def test_left_overs_are_swept_and_work_in_progress_is_kept(tmp_path: Path) -> None:
    dead, living = _ended(), os.getppid()
    left = tmp_path / f".film.{dead}-{HOST}-0123abcd.part.mp4"
    busy = tmp_path / f".film.{living}-{HOST}-0123abcd.part.mp4"
    own = tmp_path / f".film.{os.getpid()}-{HOST}-89ab0123.part.mp4"
    others = [
        tmp_path / name
        for name in (
            ".film.part.mp4",
            f"film.{dead}-{HOST}-0123abcd.part.mp4",
            ".a.12-xyz.part",
            ".hidden",
            ".b.12-ffffff-0123abcd.part",
        )
    ]
    for path in (left, busy, own, *others):
        path.touch()
    with whole(tmp_path / "film.mp4") as part:
        part.touch()
    assert not left.exists()
    assert all(path.exists() for path in (busy, own, *others))
    assert sweep(tmp_path) == 0


def test_who_is_alive() -> None:
    assert alive(os.getpid())
    if sys.platform != "win32":
        assert not alive(_ended())
        assert alive(1)
