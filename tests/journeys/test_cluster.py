"""Several machines in miniature: PostgreSQL, Redis, an S3 server, Celery workers, each a real process (J2)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import services
from test_workers import BOARD, CARD, REEL, children, ended_once, environment, jobs, kill, said, state, the_film, wait_for

pytestmark = [
    pytest.mark.journey,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc"),
]

CELERY = [sys.executable, "-m", "celery", "-A", "reelwright.dispatch", "worker", "-Q", "cpu", "-E", "--loglevel", "INFO"]
Started = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def place(tmp_path: Path, postgres_url: str, redis: services.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine whose store, queue and files are elsewhere."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    shared = {
        "REELWRIGHT_STORE": postgres_url, "REELWRIGHT_QUEUE": f"celery+{redis.url}",
        "REELWRIGHT_BLOBS": f"s3://films?endpoint=http://{host}:{port}", "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    for name, value in shared.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("test_workers.environment", lambda where: {**environment(where), **shared})
    boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="films")
    (tmp_path / "home" / "cards").mkdir(parents=True)
    (tmp_path / "home" / "cards" / "slow.toml").write_text(CARD)
    (tmp_path / "film.yaml").write_text(BOARD)
    said(tmp_path, "jobs")  # makes the tables
    yield tmp_path
    server.stop()


@pytest.fixture
def started(place: Path) -> Iterator[Started]:
    """Starts a program; each has a home of its own, as on a machine of its own. What still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        number = len(running)
        home = place / f"home{number}"
        (home / "cards").mkdir(parents=True)
        (home / "cards" / "slow.toml").write_text(CARD)
        given = {
            **environment(place),
            **{name: os.environ[name] for name in os.environ if name.startswith(("REELWRIGHT_", "AWS_"))},
        }
        given |= {"REELWRIGHT_HOME": str(home), "REELWRIGHT_LEASE": "3", "REELWRIGHT_WORKERS": "1", "C_FORCE_ROOT": "1"}
        with (place / f"log{number}.txt").open("w") as log:
            running.append(
                subprocess.Popen(words, cwd=place, env=given, stdout=log, stderr=log, text=True, start_new_session=True)
            )
        return running[-1]

    yield start
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_celery_workers_make_a_film_once_whatever_is_killed(place: Path, started: Started, redis: services.Redis) -> None:
    """kill -9 of the pool's child, then of the whole worker; Redis emptied, and restarted."""
    started(*REEL, "serve", "--no-workers", "--port", "0")
    first, second = started(*CELERY, "-n", "first@here"), started(*CELERY, "-n", "second@here")
    film = str(said(place, "submit", "film.yaml")["job"])
    wait_for(lambda: any(job["state"] == "running" for job in jobs(place)))
    for pid in children(first.pid):
        kill(pid, signal.SIGKILL)
    subprocess.run(["redis-cli", "-p", str(redis.port), "FLUSHALL"], check=True, capture_output=True)
    wait_for(lambda: any(job["state"] == "done" for job in jobs(place)))
    os.killpg(second.pid, signal.SIGKILL)
    redis.stop()
    redis.start()
    wait_for(lambda: state(place, film) in ("done", "failed"), 180)
    ended_once(place, film)
    the_film(place, film)


def test_a_store_that_restarts_loses_nothing(place: Path, started: Started, postgres: services.Postgres) -> None:
    """PostgreSQL is stopped at once (as in a crash) and started while a film is made."""
    started(*REEL, "worker", "--lanes", "cpu", "--processes", "2")
    film = str(said(place, "submit", "film.yaml")["job"])
    wait_for(lambda: any(job["state"] == "running" for job in jobs(place)))
    postgres.stop("immediate")
    postgres.start()
    wait_for(lambda: state(place, film) in ("done", "failed"), 180)
    ended_once(place, film)
    the_film(place, film)
