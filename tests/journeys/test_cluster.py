"""Several machines in miniature: PostgreSQL, Redis, an S3 server, Celery workers, each a real process (J2)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import services
from machines import machine
from making import litter
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

    def start(*words: str, **more: str) -> subprocess.Popen[str]:
        number = len(running)
        home = place / f"home{number}"
        (home / "cards").mkdir(parents=True)
        (home / "cards" / "slow.toml").write_text(CARD)
        given = {
            **environment(place),
            **{name: os.environ[name] for name in os.environ if name.startswith(("REELWRIGHT_", "AWS_"))},
        }
        given |= {"REELWRIGHT_HOME": str(home), "REELWRIGHT_LEASE": "3", "REELWRIGHT_WORKERS": "1", "C_FORCE_ROOT": "1", **more}
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


def stored(place: Path) -> set[str]:
    """Digests of the blobs in the bucket."""
    from reelwright.jobs.blobs import open_blobs

    return {blob.digest for blob in open_blobs(os.environ["REELWRIGHT_BLOBS"], place / "looked").all()}


def named(place: Path) -> set[str]:
    """Digests of the blobs that rows name."""
    from reelwright.settings import load
    from reelwright.workshop import Workshop

    shop = Workshop(load(data_folder=place / "data", cache_folder=place / "cache"), migrate=False)
    scenes = {str((job.result or {}).get("digest")) for job in shop.store.list(kinds=("scene",))}
    assets = {asset.digest for asset in shop.ledger.assets(limit=1000)}
    shop.close()
    return scenes | assets


def test_a_machine_that_freezes_and_thaws_is_fenced(place: Path, started: Started) -> None:
    """SIGSTOP of a whole other machine past its leases, then SIGCONT: what it still makes is dropped, and leaves no file."""
    there = machine(place / "there", "there")
    frozen = started(*REEL, "worker", "--lanes", "cpu", **there.environment)
    film = str(said(place, "submit", "film.yaml")["job"])
    wait_for(lambda: any(job["state"] == "running" for job in jobs(place)))
    sleeping = [frozen.pid, *children(frozen.pid)]
    for pid in sleeping:
        os.kill(pid, signal.SIGSTOP)
    (job,) = [job for job in jobs(place) if job["state"] == "running"]
    started(*REEL, "worker", "--lanes", "cpu")
    wait_for(lambda: state(place, film) in ("done", "failed"), 240)
    assert all(Path(f"/proc/{pid}").exists() for pid in sleeping), "nobody here may kill a worker of another machine"
    for pid in sleeping:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: "is someone else's by now" in (place / "log0.txt").read_text(), 60)
    events: list[dict[str, Any]] = said(place, "jobs", "show", str(job["id"]))["events"]  # type: ignore[assignment]  # plain values
    workers = [str(event["worker"]) for event in events if event["what"] == "started"]
    assert [worker.startswith("there/") for worker in workers] == [True, False]
    ended_once(place, film)
    the_film(place, film)
    assert litter(place / "home0" / "cache") == litter(place / "home1" / "cache") == []
    assert stored(place) == named(place)


def test_a_machine_whose_clock_is_wrong_does_its_work_and_is_seen_live(place: Path, started: Started) -> None:
    """Its clock is ten minutes slow, then a day fast: leases hold, its work begins at once, listeners miss nothing."""
    port = services.free_port()
    started(*REEL, "serve", "--no-workers", "--port", str(port))
    there = machine(place / "there", "there")
    there.set_clock(-600)
    started(*REEL, "worker", "--lanes", "cpu", **there.environment)
    film = str(said(place, "submit", "film.yaml")["job"])
    wait_for(lambda: answers(f"http://127.0.0.1:{port}/ready"))
    seen = []
    with httpx2.stream("GET", f"http://127.0.0.1:{port}/api/events?job={film}&until=end", timeout=120) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: ") and "state" in (told := json.loads(line.removeprefix("data: "))) and told["id"] == film:
                seen.append(told["state"])
            if len(seen) == 2:
                there.set_clock(86_400)
    assert seen[-1] == "done"
    for job in jobs(place):
        assert said(place, "jobs", "show", str(job["id"]))["attempt"] == 1, "nobody took it for dead"
    ended_once(place, film)


def answers(url: str, **more: str) -> bool:
    with contextlib.suppress(httpx2.HTTPError):
        return bool(httpx2.get(url, **more).status_code == 200)  # type: ignore[arg-type]  # plain values
    return False


def test_flower_shows_workers_and_what_they_were_told(place: Path, started: Started) -> None:
    port = services.free_port()
    started(*REEL, "serve", "--no-workers", "--port", "0")
    started(*CELERY, "-n", "first@here")
    flower = [sys.executable, "-m", "celery", "-A", "reelwright.dispatch", "flower", "--address=127.0.0.1", f"--port={port}"]
    started(*flower, FLOWER_UNAUTHENTICATED_API="true")
    api = f"http://127.0.0.1:{port}/api"
    wait_for(lambda: answers(f"{api}/workers?refresh=1") and "first@here" in httpx2.get(f"{api}/workers").json())
    film = str(said(place, "submit", "film.yaml")["job"])
    wait_for(lambda: state(place, film) in ("done", "failed"), 240)
    worker = httpx2.get(f"{api}/workers?refresh=1").json()["first@here"]
    assert [queue["name"] for queue in worker["active_queues"]] == ["cpu"]
    wait_for(lambda: any(task["state"] == "SUCCESS" for task in httpx2.get(f"{api}/tasks").json().values()))
    tasks = httpx2.get(f"{api}/tasks").json().values()
    assert {(task["name"], task["worker"]) for task in tasks if task["state"] == "SUCCESS"} == {("reelwright.wake", "first@here")}
