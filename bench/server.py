"""The server against the library, and its queue, in one run: `python bench/server.py`; prints Markdown.

Everything is real and over loopback: `reel serve` as a process, a SQLite file (with `--celery` also PostgreSQL, Redis and a
Celery worker, as tests/services.py starts them), WebSocket clients in a process of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
REEL = [sys.executable, "-c", "from reelwright.cli import main; main()"]
SMALL = {"prompt": "A boat at sea", "seconds": 0.2, "width": 64, "height": 64, "fps": 10}
ROWS: list[tuple[str, str, str, bool | None]] = []


def row(what: str, found: str, bar: str = "", holds: bool | None = None) -> None:
    """A line of the table."""
    ROWS.append((what, found, bar, holds))
    print(f"  {what}: {found} {bar} {'' if holds is None else 'holds' if holds else 'FAILS'}", file=sys.stderr)


@contextmanager
def serving(home: Path, **more: str) -> Iterator[httpx2.Client]:
    """A server with its worker."""
    import services

    port = services.free_port()
    given = {**os.environ, "REELWRIGHT_HOME": str(home), "REELWRIGHT_REQUESTS_PER_MINUTE": "1000000", **more}
    words = [*REEL, "serve", "--port", str(port), *(["--no-workers"] if "REELWRIGHT_QUEUE" in more else [])]
    process = subprocess.Popen(words, env=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)
    try:
        while True:
            try:
                client.get("/ready").raise_for_status()
                break
            except httpx2.TransportError:
                time.sleep(0.05)
        yield client
    finally:
        client.close()
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def ended(client: httpx2.Client, job: str) -> dict[str, object]:
    """A job when it has ended."""
    while (found := client.get(f"/api/jobs/{job}").json())["state"] not in ("done", "failed", "cancelled"):
        time.sleep(0.05)
    return dict(found)


def percentile(values: list[float], share: float) -> float:
    """A value below which that share lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def first_line(client: httpx2.Client, how: str, count: int) -> None:
    """From the call until the worker has begun, one job at a time."""
    ended(client, client.post("/api/jobs", json=SMALL).json()["id"])
    waits = []
    for _ in range(count):
        job = client.post("/api/jobs", json=SMALL).json()["id"]
        events = []
        while "done" not in {event["what"] for event in events}:
            events = client.get(f"/api/jobs/{job}/events").json()["events"]
        at = {event["what"]: event["at"] for event in events}
        waits.append(seconds(at["started"]) - seconds(at["submitted"]))
    row(f"order to start, {how}, p50 / p95 of {count}", both(waits, 0.95))


def both(values: list[float], share: float) -> str:
    """The median and another percentile."""
    return f"{percentile(values, 0.5) * 1000:.0f} / {percentile(values, share) * 1000:.0f} ms"


def seconds(text: str) -> float:
    """A time of the API."""
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def overhead(client: httpx2.Client, folder: Path) -> None:
    """The same film by the server and by the library."""
    import reelwright

    def board(number: int) -> reelwright.Storyboard:
        scenes = tuple(reelwright.Scene(f"A boat {number} {scene} at sea at sunrise", seconds=4) for scene in range(3))
        return reelwright.Storyboard(scenes, size="1280x720", fps=30)

    from reelwright.storyboard import plain

    here, there = [], []
    for number in range(4):
        began = time.monotonic()
        reelwright.render(board(2 * number), folder / f"{number}.mp4")
        here.append(time.monotonic() - began)
        began = time.monotonic()
        job = client.post("/api/storyboards/render", json=plain(board(2 * number + 1))).json()["id"]
        with client.stream("GET", f"/api/events?job={job}&until=end") as events:  # asking often would take the cores' time
            for _ in events.iter_lines():
                pass
        client.get(f"/api/jobs/{job}/result")
        there.append(time.monotonic() - began)
    own, other = statistics.median(here[1:]), statistics.median(there[1:])
    more = other - own
    row("a film of 12 s, library", f"{own:.2f} s")
    row("the same by the server, file fetched", f"{other:.2f} s ({more / own:+.1%}, {more * 1000:+.0f} ms)", "<= 5 % or 100 ms",
        more <= max(0.05 * own, 0.1))  # fmt: skip


def under_load(client: httpx2.Client) -> None:
    """Calls while a film is rendered."""
    board = {"size": "1920x1080", "scenes": [{"prompt": "A storm over the sea", "seconds": 60}]}
    job = client.post("/api/storyboards/render", json=board).json()["id"]
    while client.get(f"/api/jobs/{job}").json()["state"] != "running":
        time.sleep(0.01)
    waits = []
    while client.get(f"/api/jobs/{job}").json()["state"] == "running" and len(waits) < 2000:
        began = time.monotonic()
        client.get("/api/jobs", params={"limit": 20}).raise_for_status()
        waits.append(time.monotonic() - began)
    ended(client, job)
    row(
        f"list of jobs while a film renders, p50 / p99 of {len(waits)}",
        f"{percentile(waits, 0.5) * 1000:.0f} / {percentile(waits, 0.99) * 1000:.0f} ms",
    )


def fairness(folder: Path, jobs: int) -> None:
    """Five owners with unequal numbers of jobs; Jain's index of who is served while all of them wait."""
    from reelwright.jobs.database import Database
    from reelwright.jobs.rows import NewJob
    from reelwright.jobs.store import Store

    store = Store(Database(f"sqlite:///{folder / 'fair.db'}"))
    store.database.migrate()
    shares = (0.5, 0.2, 0.1, 0.1, 0.1)
    began = time.monotonic()
    for owner, share in enumerate(shares):
        store.submit([NewJob("generate", {}, owner=f"owner {owner}") for _ in range(round(jobs * share))])
    added = time.monotonic() - began
    served: Counter[str] = Counter()
    began = time.monotonic()
    for _ in range(round(jobs * min(shares) * len(shares))):
        job = store.claim("w", ["cpu"])
        assert job is not None
        served[job.owner] += 1
        store.finish(job, {})
    spent = time.monotonic() - began
    count = list(served.values())
    jain = sum(count) ** 2 / (len(shares) * sum(each * each for each in count))
    row(f"{jobs} jobs queued, 5 owners, Jain's index", f"{jain:.3f}", ">= 0.95", jain >= 0.95)
    row("jobs added / claimed and finished a second", f"{jobs / added:.0f} / {sum(count) / spent:.0f}")


LISTEN = """
import json, sys, threading
from websockets.sync.client import connect
url, job, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
heard, pictures, lock, ready = [], [0], threading.Lock(), threading.Semaphore(0)
def listen():
    with connect(f"{url}/api/events?job={job}&until=end", compression=None, open_timeout=120) as socket:
        ready.release()
        for message in socket:
            with lock:
                if isinstance(message, bytes):
                    pictures[0] += 1
                elif json.loads(message).get("job", {}).get("state") == "done":
                    heard.append(1)
threads = [threading.Thread(target=listen) for _ in range(count)]
for thread in threads: thread.start()
for _ in threads: ready.acquire()
print("ready", flush=True)
for thread in threads: thread.join()
print(json.dumps([len(heard), pictures[0]]), flush=True)
"""


def listeners(client: httpx2.Client, home: Path, count: int) -> None:
    """Many listeners to one job with pictures of 20 kB."""
    from reelwright.jobs.rows import NewJob
    from reelwright.settings import load
    from reelwright.workshop import Workshop

    shop = Workshop(load(data_folder=home / "data", cache_folder=home / "cache"))
    (job,) = shop.store.submit([NewJob("generate", {}, lane="bench")])
    claimed = shop.store.claim("bench", ["bench"])
    assert claimed is not None
    url = str(client.base_url).replace("http", "ws").rstrip("/")
    words = [sys.executable, "-c", LISTEN, url, job.id, str(count)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    before = memory(client)
    shown = 20
    for number in range(shown):
        shop.store.beat(claimed, {"stage": "render", "done": number, "total": shown})
        shop.store.show(claimed, os.urandom(20_000))
        time.sleep(0.5)
    after = memory(client)
    shop.store.finish(claimed, {})
    heard, pictures = json.loads(process.stdout.readline())
    process.wait()
    shop.close()
    row(f"{count} listeners, told of the end", f"{heard}", f"= {count}", heard == count)
    row(f"pictures of 20 kB delivered, of {shown} shown to each", f"{pictures / count:.1f}")
    row("server's memory before / after", f"{before:.0f} / {after:.0f} MB", "grows < 100 MB", after - before < 100)


def memory(client: httpx2.Client) -> float:
    """Resident MB of the process that listens on the client's port."""
    port = client.base_url.port
    found = subprocess.run(["sh", "-c", f"ps -eo pid,rss,args | grep -- '--port {port}' | grep -v grep | sort -k2 -n | tail -1"],
                           capture_output=True, text=True, check=True)  # fmt: skip
    return int(found.stdout.split()[1]) / 1024


@contextmanager
def celery(home: Path) -> Iterator[dict[str, str]]:
    """PostgreSQL, Redis and a Celery worker; what a server needs to use them."""
    import services

    with ExitStack() as stack:
        postgres, redis = stack.enter_context(services.postgres()), stack.enter_context(services.redis())
        if postgres is None or redis is None:
            raise SystemExit("PostgreSQL or Redis is not installed")
        shared = {"REELWRIGHT_STORE": postgres.url, "REELWRIGHT_QUEUE": f"celery+{redis.url}"}
        given = {**os.environ, "REELWRIGHT_HOME": str(home), "C_FORCE_ROOT": "1", **shared}
        subprocess.run([*REEL, "jobs"], env=given, check=True, stdout=subprocess.DEVNULL)
        words = [sys.executable, "-m", "celery", "-A", "reelwright.dispatch", "worker", "-Q", "cpu"]
        worker = subprocess.Popen(words, env=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            yield shared
        finally:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--celery", action="store_true", help="also over Celery, Redis and PostgreSQL")
    parser.add_argument("--listeners", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--count", type=int, default=100)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reelwright-bench-") as made:
        home = Path(made) / "home"
        os.environ["REELWRIGHT_HOME"] = str(Path(made) / "library")
        with serving(home) as client:
            first_line(client, "embedded", chosen.count)
            overhead(client, Path(made))
            under_load(client)
            listeners(client, home, chosen.listeners)
        if chosen.celery:
            with celery(home) as shared, serving(Path(made) / "home2", **shared) as client:
                first_line(client, "Celery, Redis, PostgreSQL", chosen.count)
        fairness(Path(made), chosen.jobs)
    print("| what | found | bar | |\n| --- | --- | --- | --- |")
    for what, found, bar, holds in ROWS:
        print(f"| {what} | {found} | {bar} | {'' if holds is None else 'holds' if holds else 'fails'} |")
    assert threading.active_count() == 1
    raise SystemExit(any(holds is False for *_, holds in ROWS))


if __name__ == "__main__":
    main()
