"""Killed at random moments: `python bench/drills.py --moments 200`; prints Markdown, and fails if anything was lost or doubled.

A server with two workers makes films of three scenes, several at a time, while `kill -9` hits a worker, all workers, or the
server itself (its workers leave with it; the next one goes on). Afterwards every job has to have ended once, no finished
scene may have been begun again, and nothing may be left over: no lease, no process, no partial file.

A job whose workers were killed three times under it fails, as a job that kills its workers must; those are counted apart.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "journeys")]

from making import litter  # noqa: E402  they lie in tests/
from test_workers import CARD, children  # noqa: E402  likewise

from reelwright.cleaning import Policy, sweep  # noqa: E402  they need the path above
from reelwright.jobs.rows import DONE, ENDED, FAILED, RUNNING  # noqa: E402  likewise
from reelwright.settings import load  # noqa: E402  likewise
from reelwright.storyboard import Scene, Storyboard  # noqa: E402  likewise
from reelwright.workshop import Workshop  # noqa: E402  likewise

REEL = [sys.executable, "-c", "from reelwright.cli import main; main()"]
VICTIMS = ("a worker", "all workers", "the server")
SCENES, SIDE_BY_SIDE = 3, 3


def start(home: Path) -> subprocess.Popen[bytes]:
    """A supervisor with two workers, as `reel serve` has one."""
    given = {**os.environ, "REELWRIGHT_HOME": str(home), "REELWRIGHT_WORKERS": "1", "REELWRIGHT_LEASE": "3"}
    with (home / "log.txt").open("ab") as log:
        words = [*REEL, "worker", "--lanes", "cpu", "--processes", "2"]
        return subprocess.Popen(words, env=given, stdout=log, stderr=log)


def kill(victim: str, server: subprocess.Popen[bytes], chance: random.Random) -> bool:
    """Kill -9; whether the server has to be started again."""
    if victim == "the server":
        server.kill()
        server.wait()
        return True
    pids = children(server.pid)
    for pid in pids if victim == "all workers" else chance.sample(pids, k=min(1, len(pids))):
        os.kill(pid, signal.SIGKILL)
    return False


def drill(moments: int, seed: int, home: Path) -> tuple[Workshop, dict[str, int], float]:
    """Films under fire; returns the workshop when all of them have ended."""
    chance, hit = random.Random(seed), dict.fromkeys(VICTIMS, 0)
    shop = Workshop(load(data_folder=home / "data", cache_folder=home / "cache", lease=3))
    server, made, began = start(home), 0, time.monotonic()
    while sum(hit.values()) < moments or any(not job.ended for job in shop.store.list(limit=10_000)):
        open_films = [job for job in shop.store.list(kinds=("film",), limit=10_000) if not job.ended]
        if len(open_films) < SIDE_BY_SIDE and sum(hit.values()) < moments:
            made += 1
            scenes = tuple(Scene(f"A boat {made} {number} at sea", seconds=2, model="slow") for number in range(SCENES))
            shop.film(Storyboard(scenes, size="640x360", fps=24, transition="crossfade"))
        time.sleep(0.2 + chance.random())
        if sum(hit.values()) < moments and any(job.state == RUNNING for job in shop.store.list(limit=200)):
            victim = chance.choice(VICTIMS)
            hit[victim] += 1
            if kill(victim, server, chance):
                server = start(home)
    spent = time.monotonic() - began
    server.send_signal(signal.SIGTERM)
    server.wait(60)
    return shop, hit, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reelwright-drills-") as made:
        home = Path(made)
        (home / "cards").mkdir()
        (home / "cards" / "slow.toml").write_text(CARD)
        os.environ["REELWRIGHT_HOME"] = str(home)
        shop, hit, spent = drill(chosen.moments, chosen.seed, home)
        jobs = shop.store.list(limit=100_000)
        events = {job.id: [event.what for event in shop.store.events(job.id)] for job in jobs}
        once = sum(sum(what.count(end) for end in ENDED) == 1 for what in events.values())
        again = sum("started" in what[what.index(DONE) :] for what in events.values() if DONE in what)
        worn = [job for job in jobs if job.state == FAILED and (job.error or {}).get("error") in ("worker_died", "need_failed")]
        other = [job for job in jobs if job.state != DONE and job not in worn]
        shop.studio.results.trim()  # as `reel clean`
        sweep(shop, Policy())
        leases = sum(job.lease_until is not None for job in jobs)
        left = litter(home / "cache") + litter(home / "data" / "blobs")
        deaths = sum(what.count("requeued") for what in events.values())
        shop.close()
    print("| killed | moments |\n| --- | --- |")
    for victim, count in hit.items():
        print(f"| {victim} | {count} |")
    print("\n| what | found |\n| --- | --- |")
    facts = {
        "jobs (films and their scenes)": len(jobs), "ended exactly once": once, "finished scenes or films begun again": again,
        "jobs taken back and made elsewhere": deaths, "failed after three deaths, with what needs them": len(worn),
        "failed or cancelled for any other reason": len(other), "leases left": leases,
        "partial files left after `reel clean`": len(left),
        "seconds": round(spent),
    }  # fmt: skip
    for what, found in facts.items():
        print(f"| {what} | {found} |")
    raise SystemExit(bool(once != len(jobs) or again or other or leases or left))


if __name__ == "__main__":
    main()
