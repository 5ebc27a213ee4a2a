"""A worker: claims a job, does it while a thread of its own renews the lease, and says how it ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sqlalchemy.engine import Connection

from reelwright.errors import Cancelled, ReelwrightError, Unavailable
from reelwright.jobs.rows import Job, LeaseLost
from reelwright.jobs.store import Store
from reelwright.logs import facts
from reelwright.run import FoundRun, Progress
from reelwright.types import Frame

LOG = logging.getLogger("reelwright.worker")

_TICK_S = 0.2
"""How often progress is written at most."""
_ASK_S = 1.0
"""How often a running job asks whether it is still wanted."""
_IDLE_S = (0.03, 0.1)
"""Shortest and longest pause between two looks for work; it grows while there is none."""
_BACKOFF_S = 5.0
"""Pause before the second attempt at a job that may succeed later; it doubles."""


@dataclass
class Outcome:
    """What a job came to: JSON values for its row, and rows that are written in the same transaction."""

    result: dict[str, Any]
    also: Callable[[Connection], None] | None = None


Perform = Callable[[Job, "JobRun"], Outcome]
"""Does a job of any kind."""


@dataclass
class JobRun(FoundRun):
    """What a job's work is handed; `keep` writes what has to be remembered into the job's row."""

    keep: Callable[[dict[str, Any]], None] | None = None
    purse: Any = None
    """Where orders from hosted models are noted."""

    def remember(self, **facts: Any) -> None:
        """Keep facts for a later attempt, in the job's row before this returns."""
        self.memory.update(facts)
        if self.keep is not None:
            self.keep(dict(self.memory))


class Worker:
    """One worker. `lanes` are served in their order of turn; `warm` names models in memory, which are preferred."""

    def __init__(
        self,
        store: Store,
        name: str,
        lanes: Sequence[str],
        perform: Perform,
        *,
        find: Callable[[Job, str], Path] | None = None,
        preview: Callable[[Job, Frame], None] | None = None,
        warm: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self.store, self.name, self.lanes = store, name, tuple(lanes)
        self._perform, self._find, self._preview, self._warm = perform, find, preview, warm
        self.stopping = threading.Event()
        self.ring = threading.Event()
        """Set to have it look for work now; it looks by itself too."""

    def work(self) -> None:
        """Do jobs until `stopping` is set; what runs then is given back."""
        pause = _IDLE_S[0]
        while not self.stopping.is_set():
            try:
                worked = self.once()
            except Unavailable as error:
                LOG.warning("%s", error)
                worked, pause = False, _IDLE_S[1]
            pause = _IDLE_S[0] if worked else min(_IDLE_S[1], pause * 1.3)
            if not worked:
                self.ring.wait(pause)
                self.ring.clear()

    def once(self) -> bool:
        """Claim one job and do it; False if there was none."""
        job = self.store.claim(self.name, self.lanes, self._warm())
        if job is None:
            return False
        with facts(job=job.id, owner=job.owner, worker=self.name):
            LOG.info("%s %s started, attempt %d", job.kind, job.model or "", job.attempt)
            with _Beat(self.store, job, self.stopping) as beat:
                run = self._run(job, beat)
                end = self._ended(job, run, beat)
            _insist(end, job)
            LOG.info("%s ended", job.kind)
        return True

    def _run(self, job: Job, beat: _Beat) -> JobRun:
        find, preview = self._find, self._preview
        return JobRun(
            on_progress=beat.progressed,
            on_preview=(lambda frame: preview(job, frame)) if preview else None,
            cancel=beat.unwanted,
            leaving=lambda: not beat.cancelled.is_set(),
            owner=job.owner,
            memory=dict(job.memory),
            finder=(lambda ref: find(job, ref)) if find else None,
            keep=lambda memory: self.store.remember(job, memory),
        )

    def _ended(self, job: Job, run: JobRun, beat: _Beat) -> Callable[[], None]:
        """Do the work; returns what has to be written about how it ended."""
        store = self.store
        try:
            made = self._perform(job, run)
        except (Cancelled, LeaseLost):
            if beat.lost.is_set():
                return lambda: LOG.warning("job %s is someone else's by now", job.id)
            return lambda: store.stopped(job) if beat.cancelled.is_set() else store.give_back(job)
        except ReelwrightError as error:
            body = error.body()
            again = _BACKOFF_S * 2 ** (job.attempt - 1) if error.retryable else None
            if isinstance(again, float):
                again = max(again, float(error.details.get("after", 0) or 0))
            return lambda: store.fail(job, body, again_in=again, notes=run.notes)
        except Exception as error:
            LOG.exception("job %s failed", job.id)
            code, text = "internal_error", f"{type(error).__name__}: {error}"
            failed = {"error": code, "message": text, "details": {"hint": "This is a fault of the program; see its log."}}
            return lambda: store.fail(job, failed, notes=run.notes)
        finally:
            run.close()
        return lambda: store.finish(job, made.result, run.notes, made.also)


def _insist(end: Callable[[], None], job: Job) -> None:
    """Write how a job ended, also if the store is away for a while: what was made must not be lost for that."""
    pause = 0.2
    while True:
        try:
            end()
        except LeaseLost:
            LOG.warning("job %s is someone else's by now; what was made here is dropped", job.id)
        except Unavailable as error:
            LOG.warning("job %s has ended, but the store is away: %s", job.id, error)
            time.sleep(pause)
            pause = min(10.0, pause * 2)
            continue
        return


class _Beat(threading.Thread):
    """Renews the lease of one job, carries its progress to the row, and hears when it is no longer wanted."""

    def __init__(self, store: Store, job: Job, stopping: threading.Event) -> None:
        super().__init__(name=f"beat {job.id}", daemon=True)
        self._store, self._job, self._stopping = store, job, stopping
        self._ended = threading.Event()
        self._progress: dict[str, Any] | None = None
        self._stepped = time.monotonic()
        self.cancelled, self.lost = threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def progressed(self, progress: Progress) -> None:
        """Called by the work at each step."""
        self._stepped = time.monotonic()
        self._progress = {
            "stage": progress.stage,
            "done": progress.done,
            "total": progress.total,
            "elapsed": round(progress.elapsed, 3),
            "eta": None if progress.eta is None else round(progress.eta, 3),
        }

    def unwanted(self) -> bool:
        """Whether the work should stop."""
        return self.cancelled.is_set() or self.lost.is_set() or self._stopping.is_set()

    def run(self) -> None:
        every, last = min(_ASK_S, self._store.lease / 6), 0.0
        while not self._ended.wait(_TICK_S):
            now = time.monotonic()
            progress, self._progress = self._progress, None
            if progress is None and now - last < every:
                continue
            try:
                if self._store.beat(self._job, progress, max(0.0, now - self._stepped)):
                    self.cancelled.set()
                last = now
            except LeaseLost:
                self.lost.set()
                return
            except Unavailable as error:  # it comes back, or the lease runs out and someone else goes on
                LOG.warning("job %s: %s", self._job.id, error)
