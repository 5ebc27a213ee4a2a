"""What happens to machines, with real processes: the disk fills up, the clock jumps (J1)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machines import machine
from making import litter
from test_workers import BOARD, CARD, REEL, children, ended_once, environment, jobs, kill, said, state, the_film, wait_for

pytestmark = [
    pytest.mark.journey,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc"),
]
Started = Callable[..., subprocess.Popen[str]]
DAY = 86_400.0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "home" / "cards").mkdir(parents=True)
    (tmp_path / "home" / "cards" / "slow.toml").write_text(CARD)
    (tmp_path / "film.yaml").write_text(BOARD)
    return tmp_path


@pytest.fixture
def started(place: Path) -> Iterator[Started]:
    """Starts `reel` in the background; what still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def start(*words: str, **more: str) -> subprocess.Popen[str]:
        given = {**environment(place), **more}
        with (place / f"log{len(running)}.txt").open("w") as log:
            running.append(subprocess.Popen([*REEL, *words], cwd=place, env=given, stdout=log, stderr=log, text=True))
        return running[-1]

    yield start
    for process in running:
        for pid in [*children(process.pid), process.pid]:
            kill(pid, signal.SIGKILL)
        process.wait()


class Disk:
    """A file system of our own, in memory, which can be made full without filling it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _mount(self, *words: str) -> bool:
        return subprocess.run(["mount", *words, str(self.folder)], check=False, capture_output=True).returncode == 0

    def made(self) -> bool:
        self.folder.mkdir(exist_ok=True)
        return self._mount("-t", "tmpfs", "-o", "size=2g", "none")

    def fill(self, left: int) -> None:
        used = shutil.disk_usage(self.folder).used
        assert self._mount("-o", f"remount,size={(used + left) // 1024 + 1}k")

    def free(self) -> None:
        assert self._mount("-o", "remount,size=2g")

    def gone(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=False, capture_output=True)


@pytest.fixture
def disk(place: Path) -> Iterator[Disk]:
    made = Disk(place / "disk")
    if os.geteuid() != 0 or not made.made():
        pytest.skip("only root may mount a file system, and not in every container")
    yield made
    made.gone()


def code_of(place: Path, job: str) -> str:
    error: dict[str, str] = said(place, "jobs", "show", job)["error"]  # type: ignore[assignment]  # plain values
    return error["error"]


def test_a_job_on_a_full_disk_fails_and_goes_on_when_there_is_room(place: Path, started: Started, disk: Disk) -> None:
    """Results, films and temporary files on a disk that is full in the middle of a job; the store on another."""
    for name in ("cache", "blobs", "tmp"):
        (disk.folder / name).mkdir()
    started(
        "worker", "--lanes", "cpu", REELWRIGHT_CACHE_FOLDER=str(disk.folder / "cache"),
        REELWRIGHT_BLOBS=f"file://{disk.folder}/blobs", TMPDIR=str(disk.folder / "tmp"),
    )  # fmt: skip
    film = str(said(place, "submit", "film.yaml")["job"])
    wait_for(lambda: any(job["state"] == "running" for job in jobs(place)))
    wait_for(lambda: any((disk.folder / "cache").rglob(".*.part*")))
    disk.fill(40_000)
    # The attempt under way fails as it writes; the next ones are refused before they begin.
    wait_for(lambda: any("there is no room left to write" in str(job["error"]) for job in jobs(place)))
    wait_for(lambda: state(place, film) in ("done", "failed"), 240)
    failed = [job for job in jobs(place) if job["kind"] == "scene" and job["state"] == "failed"]
    assert state(place, film) == "failed"
    assert failed
    assert {code_of(place, str(job["id"])) for job in failed} == {"disk_full"}
    assert litter(disk.folder) == []
    assert not list((disk.folder / "tmp").iterdir())
    kept = {job["id"] for job in jobs(place) if job["state"] == "done"}
    disk.free()
    said(place, "jobs", "retry", film)
    wait_for(lambda: state(place, film) in ("done", "failed"), 240)
    ended_once(place, film)
    for job in kept:  # finished scenes were kept
        assert said(place, "jobs", "show", str(job))["attempt"] == 1
    assert litter(disk.folder) == []


def test_a_store_on_a_full_disk_waits_and_ends_each_job_once(place: Path, started: Started, disk: Disk) -> None:
    """Everything on one disk, the store too: nothing can even be written down, until there is room again."""
    shutil.copytree(place / "home", disk.folder / "home")
    shutil.rmtree(place / "home")
    (place / "home").symlink_to(disk.folder / "home")
    (disk.folder / "tmp").mkdir()
    started("worker", "--lanes", "cpu", TMPDIR=str(disk.folder / "tmp"))
    film = str(said(place, "submit", "film.yaml")["job"])
    wait_for(lambda: any(job["state"] == "running" for job in jobs(place)))
    wait_for(lambda: any((disk.folder / "home" / "cache").rglob(".*.part*")))
    disk.fill(0)
    time.sleep(8)  # past leases
    disk.free()
    wait_for(lambda: state(place, film) in ("done", "failed"), 240)
    if state(place, film) == "failed":
        assert {code_of(place, str(job["id"])) for job in jobs(place) if job["error"]} <= {"disk_full", "need_failed"}
        said(place, "jobs", "retry", film)
        wait_for(lambda: state(place, film) in ("done", "failed"), 240)
    ended_once(place, film)
    the_film(place, film)
    assert litter(place / "home" / "cache") == litter(place / "home" / "data" / "blobs") == []
    assert not list((disk.folder / "tmp").iterdir())


def test_a_clock_that_jumps_and_is_set_right_ends_each_job_once(place: Path, started: Started) -> None:
    """A day forward, a day back, while workers work; a job ordered under each wrong time; then the clock is right again."""
    here = machine(place / "machine")
    started("worker", "--lanes", "cpu", **here.environment)
    ordered = [str(said(place, "submit", "film.yaml")["job"])]
    wait_for(lambda: any(job["state"] == "running" for job in jobs(place)))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in here.environment.items():
            patch.setenv(name, value)
        for number, jump in enumerate((DAY, -DAY)):
            here.set_clock(jump)
            (place / "small.yaml").write_text(f"scenes:\n- {{prompt: Another {number}, model: slow, seconds: 2}}\n")
            ordered.append(str(said(place, "submit", "small.yaml")["job"]))
            time.sleep(1)
            here.set_clock(0)
    wait_for(lambda: {state(place, job) for job in ordered} <= {"done", "failed"}, 240)
    for job in jobs(place):
        what = [event["what"] for event in said(place, "jobs", "show", str(job["id"]))["events"]]  # type: ignore[attr-defined]  # plain values
        assert (what.count("done"), what[-1], job["attempt"]) == (1, "done", 1), (job["kind"], what)
    the_film(place, ordered[0])
