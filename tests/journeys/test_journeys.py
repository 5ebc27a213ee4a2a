"""Real processes: killed, interrupted, out of disk, two at once. Each ends in a right film or a clear error."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from making import clip, frames_of, litter, picture

pytestmark = [
    pytest.mark.journey,
    pytest.mark.skipif(os.name == "nt", reason="signals of POSIX"),
]

REEL = [sys.executable, "-c", "from reelwright.cli import main; main()"]
SCENES, PARTS = 6, 12  # of two seconds
BOARD = "title: Journey\nsize: 160x90\nfps: 24\ntransition: crossfade\nsound: calm\nscenes:\n" + "".join(
    f"- {{prompt: A boat number {n} at sea at sunrise, seconds: 4, camera: dolly in}}\n" for n in range(SCENES)
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "film.yaml").write_text(BOARD)
    return tmp_path


def environment(place: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REELWRIGHT_", "VIDEO_", "DEFAULT_"))}
    return {**kept, "REELWRIGHT_HOME": str(place / "home"), "REELWRIGHT_WORKERS": "2", **more}


def start(place: Path, *words: str, before: Callable[[], None] | None = None, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*REEL, *words],
        cwd=place / "work",
        env=environment(place, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


def finish(running: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = running.communicate(timeout=120)
    return running.returncode, out, err


def run(place: Path, *words: str, **given: Any) -> tuple[int, str, str]:
    return finish(start(place, *words, **given))


def kept(place: Path) -> int:
    return len([path for path in (place / "home").rglob("*.mp4") if not path.name.startswith(".")])


def until(place: Path, enough: Callable[[], bool], running: subprocess.Popen[str]) -> None:
    """Wait until something has happened, or the process ended."""
    deadline = time.monotonic() + 60
    while not enough() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)


def test_killed_at_any_moment_it_goes_on_where_it_was(place: Path) -> None:
    """kill -9 during a render, then the same command again: finished segments are used, nothing is left lying about."""
    whole = place / "whole"
    (whole / "work").mkdir(parents=True)
    (whole / "work" / "film.yaml").write_text(BOARD)
    assert run(whole, "render", "film.yaml")[0] == 0
    chance = random.Random(7)
    before = 0
    for moment in range(6):
        running = start(place, "render", "film.yaml")
        if moment == 0:
            until(place, lambda: any((place / "home").rglob(".*.part*")), running)
        else:
            until(place, lambda before=before: kept(place) > before, running)  # type: ignore[misc]  # bound at once
        time.sleep(chance.random() * 0.15)
        running.kill()
        finish(running)
        if moment == 0:
            assert not (place / "work" / "film.mp4").exists()
        assert kept(place) >= before
        before = min(kept(place), PARTS - 1)
    there = kept(place)
    code, out, err = run(place, "render", "film.yaml", "--json")
    assert code == 0, err
    made = json.loads(out)
    assert made["reused"] == there > 0
    assert made["made"] + made["reused"] == PARTS
    assert (place / "work" / "film.mp4").read_bytes() == (whole / "work" / "film.mp4").read_bytes()
    assert litter(place) == []
    assert sorted(path.name for path in (place / "work").iterdir()) == ["film.mp4", "film.mp4.json", "film.yaml"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("machine", [False, True])
def test_an_interrupt_stops_at_once_and_leaves_nothing(place: Path, number: signal.Signals, machine: bool) -> None:
    """Ctrl-C stops within a second, exit 130, no partial file."""
    (place / "work" / "film.yaml").write_text(BOARD.replace("seconds: 4", "seconds: 40"))  # more than is made in a moment
    running = start(place, "render", "film.yaml", *(["--json"] if machine else []))
    until(place, lambda: any((place / "home").rglob(".*.part*")), running)
    running.send_signal(number)
    code, out, err = finish(running)
    assert code == 130, err
    assert kept(place) < PARTS, "it went on to the end"
    assert out == ""
    assert "Traceback" not in err
    if machine:
        assert json.loads(err)["error"] == "cancelled"
    else:
        assert "Stopped" in err
    assert sorted(path.name for path in (place / "work").iterdir()) == ["film.yaml"]
    assert litter(place) == []


def test_an_interrupt_stops_one_that_waits_for_another(place: Path) -> None:
    first = start(place, "render", "film.yaml", "-o", "a.mp4")
    until(place, lambda: any((place / "home").rglob(".*.part*")), first)
    first.send_signal(signal.SIGSTOP)  # it holds its locks and does nothing
    try:
        second = start(place, "render", "film.yaml", "-o", "b.mp4")
        time.sleep(3)  # what it waits for cannot be seen from outside
        assert second.poll() is None
        second.send_signal(signal.SIGINT)
        code, _, err = finish(second)
    finally:
        first.send_signal(signal.SIGCONT)
    assert code == 130, err
    assert finish(first)[0] == 0
    assert not (place / "work" / "b.mp4").exists()
    assert litter(place) == []


def test_two_at_once_make_each_segment_once(place: Path) -> None:
    """Two renders of one storyboard at once both succeed, with identical bytes."""
    both = [start(place, "render", "film.yaml", "-o", f"{name}.mp4", "--json") for name in "ab"]
    answers = [finish(running) for running in both]
    assert [code for code, _, _ in answers] == [0, 0], answers
    assert (place / "work" / "a.mp4").read_bytes() == (place / "work" / "b.mp4").read_bytes()
    assert kept(place) == PARTS
    assert litter(place) == []
    assert len(frames_of(place / "work" / "a.mp4")) == json.loads(answers[0][1])["frames"]


def test_two_that_write_the_same_file(place: Path) -> None:
    both = [start(place, "render", "film.yaml") for _ in range(2)]
    assert [finish(running)[0] for running in both] == [0, 0]
    assert sorted(path.name for path in (place / "work").iterdir()) == ["film.mp4", "film.mp4.json", "film.yaml"]


@pytest.mark.parametrize("limit", [2_000, 40_000, 150_000])
def test_a_full_disk_is_said_and_the_next_run_goes_on(place: Path, limit: int) -> None:
    """A limit on file size stands in for a disk that is full in the middle."""
    resource = pytest.importorskip("resource")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    code, out, err = run(place, "render", "film.yaml", "--json", before=limited)
    assert code == 3, (out, err)
    assert json.loads(err)["error"] == "disk_full"
    assert "same command again" in json.loads(err)["details"]["hint"]
    assert sorted(path.name for path in (place / "work").iterdir()) == ["film.yaml"]
    assert litter(place) == []
    there = kept(place)
    code, out, err = run(place, "render", "film.yaml", "--json")
    assert code == 0, err
    assert json.loads(out)["reused"] == there
    assert len(frames_of(place / "work" / "film.mp4")) == json.loads(out)["frames"]


def test_an_output_folder_that_is_missing_or_a_file(place: Path) -> None:
    (place / "work" / "file").write_text("")
    for target in ("gone/a.mp4", "file/a.mp4", "."):
        code, _, err = run(place, "render", "film.yaml", "-o", target, "--json")
        assert code == 2, err
        assert json.loads(err)["error"] in ("invalid_request", "unsupported")
    assert kept(place) == 0, "it is found out before the work"


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write into read-only folders")
def test_folders_that_are_read_only(place: Path) -> None:
    (place / "closed").mkdir(mode=0o500)
    code, _, err = run(place, "render", "film.yaml", "-o", str(place / "closed" / "a.mp4"), "--json")
    assert (code, json.loads(err)["error"]) == (2, "invalid_request")
    code, _, err = run(place, "render", "film.yaml", "--json", REELWRIGHT_CACHE_FOLDER=str(place / "closed" / "cache"))
    assert (code, json.loads(err)["error"]) == (3, "unavailable")


def test_a_cache_that_cannot_be_is_said(place: Path) -> None:
    (place / "file").write_text("")
    code, _, err = run(place, "render", "film.yaml", "--json", REELWRIGHT_CACHE_FOLDER=str(place / "file"))
    assert code == 3, err
    body = json.loads(err)
    assert body["error"] == "unavailable"
    assert "REELWRIGHT_CACHE_FOLDER" in body["details"]["hint"]
    assert litter(place) == []


def test_a_cache_that_is_gone_is_made_anew(place: Path) -> None:
    import shutil

    assert run(place, "render", "film.yaml")[0] == 0
    first = (place / "work" / "film.mp4").read_bytes()
    shutil.rmtree(place / "home")
    assert run(place, "render", "film.yaml")[0] == 0
    assert (place / "work" / "film.mp4").read_bytes() == first


def test_a_kept_segment_that_was_damaged_is_an_error_that_helps(place: Path) -> None:
    assert run(place, "render", "film.yaml")[0] == 0
    next(path for path in (place / "home").rglob("*.mp4")).write_bytes(b"")
    code, out, err = run(place, "render", "film.yaml", "--json")
    assert code == 0, err
    assert json.loads(out)["made"] == 1


@pytest.mark.parametrize("kind", ["empty", "truncated", "renamed"])
@pytest.mark.parametrize("what", ["clip", "image"])
def test_a_bad_input_names_its_scene(place: Path, kind: str, what: str) -> None:
    good = clip(place / "good.mp4", 72) if what == "clip" else picture(place / "good.png")
    bad = place / "work" / f"bad{good.suffix}"
    data = good.read_bytes()
    bad.write_bytes({"empty": b"", "truncated": data[: len(data) // 3], "renamed": b"just some words"}[kind])
    scene = f"clip: {bad.name}" if what == "clip" else f"image: {bad.name}\n  prompt: a picture"
    (place / "work" / "film.yaml").write_text(f"size: 160x90\nfps: 24\nscenes:\n- prompt: A boat\n- id: broken\n  {scene}\n")
    code, _, err = run(place, "render", "film.yaml", "--json")
    assert code == 5, err
    body = json.loads(err)
    assert body["error"] == "bad_media"
    assert body["message"].startswith("Scene broken: ")
    assert bad.name in body["message"]
    assert not (place / "work" / "film.mp4").exists()
    assert litter(place) == []


def test_a_font_that_cannot_be_read(place: Path) -> None:
    (place / "work" / "x.ttf").write_text("no font")
    text = "size: 160x90\nfps: 24\nletters: {font: ./x.ttf}\nscenes:\n- {prompt: A boat, caption: Hello}\n"
    (place / "work" / "film.yaml").write_text(text)
    code, _, err = run(place, "render", "film.yaml", "--json")
    assert code == 5, err
    assert json.loads(err)["message"].startswith("Scene 1: ")
    assert run(place, "check", "film.yaml")[0] == 2
