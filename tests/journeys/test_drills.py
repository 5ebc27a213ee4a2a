"""Hard cases with real processes: a job that kills its workers, a machine that sleeps past its leases (J1)."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_workers import BOARD, CARD, REEL, children, ended_once, environment, jobs, kill, said, state, the_film, wait_for

pytestmark = [
    pytest.mark.journey,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc"),
]
Started = Callable[..., subprocess.Popen[str]]

# A plug-in as anyone may install one; this one breaks the process that uses it.
POISON = """
import os, signal
class Poison:
    def check(self, card): pass
    def generate(self, shot, run): os.kill(os.getpid(), signal.SIGKILL)
    def close(self): pass
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "home" / "cards").mkdir(parents=True)
    (tmp_path / "home" / "cards" / "slow.toml").write_text(CARD)
    poison = CARD.replace('"slow"', '"poison"').replace('backend = "placeholder"', 'backend = "poison"')
    (tmp_path / "home" / "cards" / "poison.toml").write_text(poison)
    installed = tmp_path / "site" / "poison-1.0.dist-info"
    installed.mkdir(parents=True)
    (tmp_path / "site" / "poison.py").write_text(POISON)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: poison\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[reelwright.backends]\npoison = poison:Poison\n")
    (tmp_path / "film.yaml").write_text(BOARD)
    (tmp_path / "poison.yaml").write_text("scenes:\n- {prompt: Poison, model: poison, seconds: 2}\n")
    return tmp_path


@pytest.fixture
def started(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    monkeypatch.setenv("PYTHONPATH", str(place / "site"))
    running: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        with (place / f"log{len(running)}.txt").open("w") as log:
            running.append(
                subprocess.Popen([*REEL, *words], cwd=place, env=environment(place), stdout=log, stderr=log, text=True)
            )
        return running[-1]

    yield start
    for process in running:
        for pid in [*children(process.pid), process.pid]:
            kill(pid, signal.SIGKILL)
        process.wait()


def test_a_job_that_kills_its_workers_fails_and_harms_no_neighbour(place: Path, started: Started) -> None:
    started("worker", "--lanes", "cpu", "--processes", "2")
    poison = str(said(place, "submit", "poison.yaml")["job"])
    film = str(said(place, "submit", "film.yaml")["job"])
    wait_for(lambda: state(place, poison) == "failed")
    (scene,) = [job for job in jobs(place) if job["model"] == "poison"]
    events = [event["what"] for event in said(place, "jobs", "show", str(scene["id"]))["events"]]  # type: ignore[attr-defined]  # plain values
    assert (events.count("started"), events[-1]) == (3, "failed")
    assert "the worker died 3 times" in str(scene["error"])
    assert "the worker died 3 times" in str(said(place, "jobs", "show", poison)["error"])
    wait_for(lambda: state(place, film) in ("done", "failed"))
    assert state(place, film) == "done"
    the_film(place, film)


def test_a_machine_that_sleeps_past_its_leases_is_replaced(place: Path, started: Started) -> None:
    """SIGSTOP of worker and supervisor together, as when a laptop is closed; others go on; SIGCONT, if they still are there."""
    asleep = started("worker", "--lanes", "cpu")
    film = str(said(place, "submit", "film.yaml")["job"])
    wait_for(lambda: any(job["state"] == "running" for job in jobs(place)))
    sleeping = [asleep.pid, *children(asleep.pid)]
    for pid in sleeping:
        os.kill(pid, signal.SIGSTOP)
    started("worker", "--lanes", "cpu")
    wait_for(lambda: any(job["attempt"] == 2 for job in jobs(place)), 60)
    for pid in sleeping:
        kill(pid, signal.SIGCONT)
    wait_for(lambda: state(place, film) in ("done", "failed"))
    ended_once(place, film)
    the_film(place, film)
