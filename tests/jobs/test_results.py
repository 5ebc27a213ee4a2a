"""Results by fingerprint: made once, found again, trimmed, and nothing half done (J6)."""

from __future__ import annotations

import os
import shutil
import threading
from collections import namedtuple
from pathlib import Path

import pytest
from making import litter

from reelwright.errors import Cancelled, DiskFull, Unavailable
from reelwright.jobs.results import Results
from reelwright.media.partial import HOST

KEY = "ab" + "0" * 62


def writer(text: str = "made", log: list[str] | None = None):
    def write(part: Path) -> None:
        if log is not None:
            log.append(text)
        part.write_text(text)

    return write


def test_a_result_is_made_once_and_found_again(tmp_path: Path) -> None:
    """J6: the same request is not generated twice."""
    results, log = Results(tmp_path, 1000), list[str]()
    assert results.find(KEY, ".txt") is None
    path = results.make(KEY, ".txt", writer("a", log))
    assert results.make(KEY, ".txt", writer("b", log)) == path == results.find(KEY, ".txt")
    assert path.read_text() == "a"
    assert log == ["a"]
    assert litter(tmp_path) == []


def test_kinds_of_one_fingerprint_lie_side_by_side(tmp_path: Path) -> None:
    results = Results(tmp_path, 1000)
    assert results.make(KEY, ".mp4", writer("film")) != results.make(KEY, ".png", writer("still"))
    assert results.usage().files == 2


def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    results = Results(tmp_path, 1000)

    def breaks(part: Path) -> None:
        part.write_text("half")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        results.make(KEY, ".txt", breaks)
    assert results.find(KEY, ".txt") is None
    assert litter(tmp_path) == []
    assert results.make(KEY, ".txt", writer()).read_text() == "made"


def test_two_that_want_the_same_make_it_once(tmp_path: Path) -> None:
    results, log, begun, go = Results(tmp_path, 1000), list[str](), threading.Event(), threading.Event()

    def slow(part: Path) -> None:
        begun.set()
        assert go.wait(30)
        writer("first", log)(part)

    waited = threading.Event()

    def waiting() -> None:
        waited.set()
        go.set()

    first = threading.Thread(target=lambda: Results(tmp_path, 1000).make(KEY, ".txt", slow))
    first.start()
    assert begun.wait(30)
    path = results.make(KEY, ".txt", writer("second", log), waiting)
    first.join(30)
    assert waited.is_set()
    assert path.read_text() == "first"
    assert log == ["first"]
    assert litter(tmp_path) == []


def test_who_waits_can_be_stopped(tmp_path: Path) -> None:
    """Ctrl-C works too while another process makes what is wanted."""
    results, begun, go = Results(tmp_path, 1000), threading.Event(), threading.Event()

    def slow(part: Path) -> None:
        begun.set()
        assert go.wait(30)
        part.write_text("late")

    def cancelled() -> None:
        raise Cancelled

    first = threading.Thread(target=lambda: Results(tmp_path, 1000).make(KEY, ".txt", slow))
    first.start()
    assert begun.wait(30)
    with pytest.raises(Cancelled):
        results.make(KEY, ".txt", writer(), cancelled)
    go.set()
    first.join(30)
    assert results.path(KEY, ".txt").read_text() == "late"


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    """J6: clean-up policies, size limits."""
    results = Results(tmp_path, 250)
    keys = [f"{n}{n}" + "0" * 62 for n in range(4)]
    for age, key in enumerate(keys):
        path = results.make(key, ".txt", writer("x" * 100))
        os.utime(path, (1000 + age, 1000 + age))
    results.find(keys[0], ".txt")  # used just now
    assert [path.name[:2] for path in results.trim(dry=True)] == ["11", "22"]
    assert results.usage() == results.usage().__class__(4, 400, 250)
    assert len(results.trim()) == 2
    assert results.find(keys[0], ".txt")
    assert results.find(keys[3], ".txt")
    assert results.usage().size == 200
    assert len(results.trim(0)) == 2
    assert results.usage().files == 0


def test_trimming_sweeps_what_killed_processes_left(tmp_path: Path) -> None:
    results = Results(tmp_path, 1000)
    folder = results.make(KEY, ".txt", writer()).parent
    (folder / f".abc.999999999-{HOST}-0badcafe.part.mp4").write_bytes(b"half")
    (folder / ("cd" + "0" * 62 + ".lock")).touch()
    assert len(litter(tmp_path)) == 2
    results.trim()
    assert litter(tmp_path) == []
    assert results.find(KEY, ".txt")


def test_a_disk_with_little_room_is_refused_before_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024  as shutil's own
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    log: list[str] = []
    with pytest.raises(DiskFull) as caught:
        Results(tmp_path, 1000).make(KEY, ".txt", writer("a", log))
    assert log == []
    assert "REELWRIGHT_CACHE_FOLDER" in caught.value.hint


def test_a_folder_that_cannot_be_made_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("I am no folder")
    results = Results(tmp_path / "file", 1000)
    assert results.find(KEY, ".txt") is None
    with pytest.raises(Unavailable, match="cannot be kept") as caught:
        results.make(KEY, ".txt", writer())
    assert "REELWRIGHT_CACHE_FOLDER" in caught.value.hint
    assert results.usage().files == 0


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_is_still_a_cache(tmp_path: Path) -> None:
    results = Results(tmp_path, 0)
    path = results.make(KEY, ".txt", writer())
    path.parent.chmod(0o500)
    try:
        assert results.make(KEY, ".txt", writer()) == path
        with pytest.raises(Unavailable):
            results.make("ab" + "1" * 62, ".txt", writer())
        results.trim()
        assert path.exists()
    finally:
        path.parent.chmod(0o700)
