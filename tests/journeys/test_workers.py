"""Workers and their supervisor as real processes: killed, frozen, left alone. Every job ends once, and nothing is made twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from making import frames_of, litter

pytestmark = [
    pytest.mark.journey,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc"),
]

REEL = [sys.executable, "-c", "from reelwright.cli import main; main()"]
SCENES = 4
# A model whose clips are kept, as a GPU's would be, drawn by the placeholder's backend.
CARD = """
id = "slow"
title = "Slow"
family = "drawn"
backend = "placeholder"
revision = "1"
task = ["text-to-video"]
accepts = [[]]
licence = "Apache-2.0"
commercial = true
deterministic = true
instant = false
params_b = 0
vram_gb = [0, 0]
ram_gb = 0.5
disk_gb = 0
price = "free"
quality = 1
speed = 5
best_for = ["tests"]
sources = ["these tests"]
[sizes]
native = [[640, 360]]
step = 2
least = 16
most = 8192
[frames]
default = 48
[fps]
default = 24
least = 1
most = 240
"""
BOARD = "title: Journey\nsize: 640x360\nfps: 24\ntransition: crossfade\nmodel: slow\nscenes:\n" + "".join(
    f"- {{prompt: A boat number {n} at sea at sunrise, seconds: 4}}\n" for n in range(SCENES)
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "home" / "cards").mkdir(parents=True)
    (tmp_path / "home" / "cards" / "slow.toml").write_text(CARD)
    (tmp_path / "film.yaml").write_text(BOARD)
    return tmp_path


@pytest.fixture
def started(place: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `reel` in the background; what still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        log = (place / f"log{len(running)}.txt").open("w")
        running.append(subprocess.Popen([*REEL, *words], cwd=place, env=environment(place), stdout=log, stderr=log, text=True))
        log.close()
        return running[-1]

    yield start
    for process in running:
        for pid in [*children(process.pid), process.pid]:
            kill(pid, signal.SIGKILL)
        process.wait()


def environment(place: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REELWRIGHT_", "VIDEO_", "DEFAULT_"))}
    return {**kept, "REELWRIGHT_HOME": str(place / "home"), "REELWRIGHT_WORKERS": "1", "REELWRIGHT_LEASE": "3"}


def said(place: Path, *words: str) -> dict[str, object]:
    done = subprocess.run(
        [*REEL, *words, "--json"], cwd=place, env=environment(place), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    made: dict[str, object] = json.loads(done.stdout)
    return made


def children(pid: int) -> list[int]:
    """Worker processes of a supervisor."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"spawn_main" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except (OSError, ValueError, IndexError):
            continue
    return found


def kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def state(place: Path, job: str) -> str:
    return str(said(place, "jobs", "show", job)["state"])


def wait_for(true: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)


def ended_once(place: Path, film: str) -> None:
    """The film and each of its scenes were finished exactly once, and no finished scene was begun again."""
    parts = {film, *(str(job["id"]) for job in jobs(place) if job["kind"] == "scene")}
    assert len(parts) == SCENES + 1
    for job in parts:
        what = [event["what"] for event in said(place, "jobs", "show", job)["events"]]  # type: ignore[attr-defined]  # plain values
        assert what.count("done") == 1, (job, what)
        assert what[-1] == "done", (job, what)


def the_film(place: Path, film: str) -> Path:
    said(place, "jobs", "fetch", film, "-o", "film.mp4")
    assert len(frames_of(place / "film.mp4")) == 4 * 24 * SCENES - 12 * (SCENES - 1)
    return place / "film.mp4"


def test_workers_killed_at_random_moments_lose_and_double_nothing(
    place: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    """J1: kill -9 of workers; their jobs go on elsewhere at once, finished scenes are kept."""
    supervisor = started("worker", "--lanes", "cpu", "--processes", "2")
    film = str(said(place, "submit", "film.yaml")["job"])
    chance, killed = random.Random(11), 0
    wait_for(lambda: len(children(supervisor.pid)) == 2)
    while state(place, film) not in ("done", "failed") and killed < 2:  # a job survives two deaths, not three
        time.sleep(0.2 + chance.random())
        for pid in chance.sample(children(supervisor.pid), k=1):
            kill(pid, signal.SIGKILL)
            killed += 1
    wait_for(lambda: state(place, film) == "done")
    assert killed >= 1
    ended_once(place, film)
    the_film(place, film)
    assert litter(place / "home" / "cache") == litter(place / "home" / "data" / "blobs") == []


def test_a_killed_server_leaves_no_worker_and_the_next_goes_on(
    place: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    """J1: kill -9 of the supervisor; its workers leave, and the jobs are taken up by the next one without waiting for leases."""
    first = started("worker", "--lanes", "cpu")
    film = str(said(place, "submit", "film.yaml")["job"])
    wait_for(lambda: any(said_job["state"] == "running" for said_job in jobs(place)))
    workers = children(first.pid)
    assert workers
    first.kill()
    first.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 60)
    started("worker", "--lanes", "cpu")
    wait_for(lambda: state(place, film) == "done")
    ended_once(place, film)
    the_film(place, film)


def test_a_worker_that_is_frozen_past_its_lease_is_replaced(place: Path, started: Callable[..., subprocess.Popen[str]]) -> None:
    """J1: SIGSTOP past the lease: the worker is killed, for it holds files that others wait for, and its job goes on."""
    frozen = started("worker", "--lanes", "cpu")
    film = str(said(place, "submit", "film.yaml")["job"])
    wait_for(lambda: any(job["state"] == "running" for job in jobs(place)))
    (pid,) = children(frozen.pid)
    kill(pid, signal.SIGSTOP)
    wait_for(lambda: state(place, film) == "done")
    assert not Path(f"/proc/{pid}").exists()
    ended_once(place, film)
    the_film(place, film)


def test_a_running_job_is_cancelled_and_a_stopped_worker_gives_its_job_back(
    place: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    """J2: cancel within a step; SIGTERM leaves the job queued, with no attempt counted."""
    supervisor = started("worker", "--lanes", "cpu")
    film = str(said(place, "submit", "film.yaml")["job"])
    wait_for(lambda: any(job["state"] == "running" for job in jobs(place)))
    said(place, "jobs", "cancel", film)
    wait_for(lambda: all(job["state"] in ("cancelled", "done") for job in jobs(place)), 60)
    assert state(place, film) == "cancelled"
    said(place, "jobs", "retry", film)
    wait_for(lambda: any(job["state"] == "running" for job in jobs(place)))
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(60) == 0
    assert not [job for job in jobs(place) if job["state"] == "running"]
    assert all(job["attempt"] in (0, 1) for job in jobs(place))


def jobs(place: Path) -> list[dict[str, object]]:
    made: list[dict[str, object]] = said(place, "jobs")  # type: ignore[assignment]  # plain values
    return made
