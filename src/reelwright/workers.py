"""Worker processes and who looks after them.

Each worker is a process of its own, started afresh (`spawn`, which CUDA needs), so that one that is killed by the system
takes nothing with it. A supervisor starts them, takes back the jobs of one that dies, and starts another; workers leave
when their supervisor is gone.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from reelwright.backends.local.residency import RESIDENTS
from reelwright.cleaning import Policy, sweep
from reelwright.errors import ReelwrightError, Unavailable
from reelwright.jobs.place import is_dead, pid_of, worker_name
from reelwright.jobs.residents import Keeper
from reelwright.jobs.rows import RUNNING
from reelwright.jobs.worker import Worker
from reelwright.settings import Settings
from reelwright.workshop import Workshop

LOG = logging.getLogger("reelwright.workers")

GPU_TIERS = (8, 12, 16, 24, 48, 80)
"""GB of the lanes `gpu.8`, `gpu.12` ... : what the jobs in them need."""
_LOOK_S = 1.0
"""How often the supervisor looks for dead, deaf and hung workers."""
_ANNOUNCE_S = 10.0
"""A queued job that no broker's message brought to a worker for so long is announced again."""
_SWEEP_S = 86_400.0
"""How often files are cleaned away, the first time an hour after the start."""
_LEAVE_S = 15.0
"""How long a worker may take to leave when it is told to."""
_QUICK_S = 5.0
"""A worker that dies sooner than this after its start is started again with a growing pause."""


@dataclass(frozen=True)
class Post:
    """A worker that is wanted: `label` for people, the lanes it serves, and the GPU that it sees (None: all)."""

    label: str
    lanes: tuple[str, ...]
    gpu: int | None = None


def posts(gpus_gb: Sequence[float]) -> tuple[Post, ...]:
    """The workers of a machine with GPUs of so many GB: one a GPU and one for everything else; without any GPU, one for all.

    The largest GPU also gets what is meant for larger ones: there a job hears from the model's own check that it does not fit.
    """
    tiers = tuple(f"gpu.{tier}" for tier in reversed(GPU_TIERS))
    if not gpus_gb:
        return (Post("cpu", ("cpu", "net", *tiers)),)
    made = [Post("cpu", ("cpu", "net"))]
    for index, memory in enumerate(gpus_gb):
        # A card with 24 GB has 23.6; and who has 6 GB may still try what is meant for 8.
        largest = index == gpus_gb.index(max(gpus_gb))
        fitting = (
            tiers if largest else tuple(f"gpu.{tier}" for tier in reversed(GPU_TIERS) if tier <= memory * 1.05) or ("gpu.8",)
        )
        made.append(Post(f"gpu{index}", fitting, index))
    return tuple(made)


def _work(settings: Settings, post: Post, alive: Connection) -> None:
    """A worker's process: works until it is told to stop or its supervisor is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    if post.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(post.gpu)
    shop = Workshop(settings, migrate=False)
    shop.logged()
    name = worker_name(post.label)
    worker = Worker(shop.store, name, post.lanes, shop.perform, find=shop.find, preview=shop.preview, warm=RESIDENTS.models)
    keeper = Keeper(shop.store, name)
    keeper.start()
    signal.signal(signal.SIGTERM, lambda *_: worker.stopping.set())

    def heed_supervisor() -> None:
        try:
            while True:
                alive.recv()
                worker.ring.set()
        except (EOFError, OSError):
            os._exit(1)  # nobody looks after this one any more; its job is taken back by whoever comes next

    threading.Thread(target=heed_supervisor, daemon=True).start()
    worker.work()
    keeper.stopping.set()
    keeper.join()
    shop.close()


@dataclass
class _Place:
    """A post and who holds it."""

    post: Post
    process: Any = None
    alive: Connection | None = None
    began: float = 0.0
    pause: float = 0.0
    due: float = 0.0
    name: str = ""


class Supervisor:
    """Keeps a worker at each post. `start()`, then `stop()`; `run()` does both around waiting for an event."""

    def __init__(self, workshop: Workshop, posts: Sequence[Post]) -> None:
        self._shop = workshop
        self._places = [_Place(post) for post in posts]
        self._context = multiprocessing.get_context("spawn")
        self._stopping = threading.Event()
        self._sweep_at = time.monotonic() + _SWEEP_S / 24
        self._looked = self._wall = self._believe_from = 0.0
        self._thread = threading.Thread(target=self._look, name="supervisor", daemon=True)
        self._calling = threading.Thread(target=self._call, name="webhooks", daemon=True)

    def start(self) -> None:
        """Start the workers and the thread that looks after them."""
        self._take_back_the_dead()
        for place in self._places:
            self._fill(place)
        self._shop.on_order = self._ring
        self._thread.start()
        self._calling.start()

    def stop(self) -> None:
        """Tell the workers to leave; what they are at is given back, and those who do not leave are killed."""
        self._stopping.set()
        self._thread.join()
        deadline = time.monotonic() + _LEAVE_S
        for place in self._places:
            if place.process is not None:
                place.process.terminate()
        for place in self._places:
            if place.process is not None:
                place.process.join(max(0.0, deadline - time.monotonic()))
                if place.process.is_alive():
                    place.process.kill()
                    place.process.join()
                self._gone(place)

    @property
    def pids(self) -> tuple[int, ...]:
        """The workers' processes."""
        return tuple(place.process.pid for place in self._places if place.process is not None)

    def _fill(self, place: _Place) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(self._shop.settings, place.post, theirs), name=f"worker {place.post.label}"
        )
        process.start()
        theirs.close()
        place.process, place.alive, place.began = process, ours, time.monotonic()
        LOG.info("worker %s is process %d, for %s", place.post.label, process.pid, ", ".join(place.post.lanes))

    def _ring(self) -> None:
        """Have the workers look for work now."""
        for place in self._places:
            if place.alive is not None:
                with suppress(OSError):
                    place.alive.send(None)

    def _look(self) -> None:
        while not self._stopping.is_set():
            sentinels = [place.process.sentinel for place in self._places if place.process is not None]
            if sentinels:
                wait(sentinels, timeout=_LOOK_S / 5)
            else:
                self._stopping.wait(_LOOK_S / 5)
            try:
                self._tend()
            except Unavailable as error:
                LOG.warning("%s", error)
                self._stopping.wait(_LOOK_S)

    def _call(self) -> None:
        """Call webhooks, one after another, and clean up once a day; a slow one holds up no worker."""
        while not self._stopping.is_set():
            try:
                worked = self._shop.deliver()
                if time.monotonic() >= self._sweep_at:
                    self._sweep_at = time.monotonic() + _SWEEP_S
                    gone = sweep(self._shop, Policy.of(self._shop.settings))
                    LOG.info("cleaning: %d things, %d bytes", len(gone), sum(each.size for each in gone))
            except ReelwrightError as error:
                LOG.warning("webhooks: %s", error)
                worked = False
            if not worked:
                self._stopping.wait(_LOOK_S)

    def _tend(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.process is not None and not place.process.is_alive():
                LOG.warning("worker %s (process %d) died: %s", place.post.label, place.process.pid, place.process.exitcode)
                place.pause = min(60.0, place.pause * 2 + 1) if now - place.began < _QUICK_S else 0.0
                place.due = now + place.pause
                self._gone(place)
                self._take_back_the_dead()
            if place.process is None and now >= place.due and not self._stopping.is_set():
                self._fill(place)
        if now - self._looked >= _LOOK_S:
            if self._clock_held(now):
                self._kill_the_silent()
                self._shop.store.reap()
            self._take_back_the_dead()
            self._kill_the_deaf()
            self._shop.announce(_ANNOUNCE_S)

    def _clock_held(self, now: float) -> bool:
        """Whether leases can be believed: not right after the clock jumped, as when a laptop wakes up."""
        wall = self._shop.store.clock()
        if self._looked and abs((wall - self._wall) - (now - self._looked)) > self._shop.store.lease / 2:
            LOG.warning("the clock jumped by %.0f s; leases are given time", (wall - self._wall) - (now - self._looked))
            self._believe_from = now + self._shop.store.lease
        self._looked, self._wall = now, wall
        return now >= self._believe_from

    def _kill_the_silent(self) -> None:
        """Workers of this machine whose lease ran out though they live: frozen ones, which hold files that others wait for."""
        running = self._shop.store.list(states=(RUNNING,), limit=1000)
        for job in running:
            pid = pid_of(job.worker or "")
            if pid is not None and not is_dead(job.worker or "") and (job.lease_until or 0) < self._shop.store.clock():
                LOG.warning("worker process %d has been silent for too long; it is killed", pid)
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    def _gone(self, place: _Place) -> None:
        if place.alive is not None:
            place.alive.close()
        place.process = place.alive = None

    def _take_back_the_dead(self) -> None:
        """Jobs of workers of this machine whose processes are gone; there is no need to wait for their leases."""
        running = self._shop.store.list(states=(RUNNING,), limit=1000)
        for name in {job.worker for job in running if job.worker is not None and is_dead(job.worker)}:
            for job in self._shop.store.died(name):
                LOG.warning("job %s was taken back from a dead worker", job)

    def _kill_the_deaf(self) -> None:
        """Workers of ours that go on long after they were told to stop."""
        own = {place.process.pid: place for place in self._places if place.process is not None}
        for job in self._shop.store.deaf():
            pid = pid_of(job.worker or "")
            if pid in own:
                LOG.warning("job %s does not stop; its worker (process %d) is killed", job.id, pid)
                own[pid].process.kill()
