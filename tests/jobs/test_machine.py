"""The store against a model of it: whatever is called in whatever order, jobs end once and nothing is stuck (J1, J2)."""

from __future__ import annotations

import contextlib
import tempfile
from itertools import pairwise
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, precondition, rule

from reelwright.errors import Conflict, NotFound
from reelwright.jobs.database import Database
from reelwright.jobs.rows import CANCELLED, DONE, ENDED, FAILED, QUEUED, RUNNING, WAITING, Job, LeaseLost, NewJob
from reelwright.jobs.store import Store

LEASE = 60.0
ERROR = {"error": "x", "message": "it broke", "details": {}}


class StoreMachine(RuleBasedStateMachine):
    """Workers hold claims that may be stale; the model knows which claim of a job counts."""

    jobs: Bundle[str] = Bundle("jobs")
    claims: Bundle[Job] = Bundle("claims")
    url = ""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="reelwright-")
        self.now = 1000.0
        self.database = Database(f"sqlite:///{Path(self.folder.name) / 'reel.db'}")
        self.database.migrate()
        self.store = Store(self.database, lambda: self.now, lease=LEASE)
        self.holder: dict[str, int] = {}
        self.deleted: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()
            self.folder.cleanup()

    def valid(self, claim: Job) -> bool:
        """Whether a claim still counts, by the model."""
        return self.holder.get(claim.id) == claim.fence

    @rule(target=jobs, owner=st.sampled_from("ab"), priority=st.integers(-1, 1), attempts=st.integers(1, 3))
    def submit(self, owner: str, priority: int, attempts: int) -> str:
        (made,) = self.store.submit([NewJob("generate", {}, owner=owner, priority=priority, max_attempts=attempts)])
        assert made.state == QUEUED
        return made.id

    @rule(target=jobs, count=st.integers(1, 3))
    def submit_film(self, count: int) -> object:
        scenes = [NewJob("scene", {}) for _ in range(count)]
        film = NewJob("film", {}, needs=tuple(scene.id for scene in scenes))
        scenes = [NewJob("scene", {}, parent=film.id, id=scene.id) for scene in scenes]
        made = self.store.submit([film, *scenes])
        assert made[0].state == WAITING
        return multiple(*(job.id for job in made))

    @rule(target=jobs, need=jobs)
    def submit_with_need(self, need: str) -> object:
        try:
            (made,) = self.store.submit([NewJob("film", {}, needs=(need,))])
        except NotFound:
            assert need in self.deleted
            return multiple()
        except Conflict:
            assert self.store.get(need).state in (FAILED, CANCELLED)
            return multiple()
        return made.id

    @rule(target=claims, worker=st.sampled_from(["w1", "w2"]))
    def claim(self, worker: str) -> object:
        ready = [job for job in self.store.list(limit=1000) if self.ready(job)]
        job = self.store.claim(worker, ["cpu"])
        if job is None:
            assert not ready
            return multiple()
        assert job.id in {each.id for each in ready}
        assert job.priority == max(each.priority for each in ready)
        assert job.id not in self.holder
        self.holder[job.id] = job.fence
        return job

    def ready(self, job: Job) -> bool:
        return job.state == QUEUED and not job.held and job.not_before <= self.now

    @rule(claim=claims)
    def beat(self, claim: Job) -> None:
        try:
            self.store.beat(claim, {"stage": "render", "done": 1, "total": 2})
        except LeaseLost:
            assert not self.valid(claim)
        else:
            assert self.valid(claim)

    @rule(claim=consumes(claims), end=st.sampled_from(["finish", "fail", "again", "stopped", "back"]))
    def end(self, claim: Job, end: str) -> None:
        valid = self.valid(claim)
        told = valid and self.store.get(claim.id).cancel_at is not None
        ends = {
            "finish": lambda: self.store.finish(claim, {"made": claim.fence}),
            "fail": lambda: self.store.fail(claim, ERROR),
            "again": lambda: self.store.fail(claim, ERROR, again_in=5.0),
            "stopped": lambda: self.store.stopped(claim),
            "back": lambda: self.store.give_back(claim),
        }
        try:
            ends[end]()
        except LeaseLost:
            assert not valid
            return
        assert valid
        del self.holder[claim.id]
        now = self.store.get(claim.id)
        expected = {
            "finish": {DONE},
            "fail": {FAILED},
            "again": {QUEUED, FAILED, *([CANCELLED] if told else [])},
            "back": {QUEUED},
        }
        assert now.state in expected.get(end, {CANCELLED, FAILED}), (end, now.state, told)
        if end == "finish":
            assert now.result == {"made": claim.fence}

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        with contextlib.suppress(NotFound):
            before = self.store.get(job)
            after = self.store.cancel(job)
            if before.state in (WAITING, QUEUED):
                assert after.state == CANCELLED
            elif before.ended:
                assert after.state == before.state

    @rule(job=jobs)
    def retry(self, job: str) -> None:
        with contextlib.suppress(NotFound, Conflict):
            after = self.store.retry(job)
            assert after.state in (WAITING, QUEUED)
            assert after.attempt == 0

    @rule(job=jobs, held=st.booleans())
    def hold(self, job: str, held: bool) -> None:
        with contextlib.suppress(NotFound, Conflict):
            self.store.hold(job, held)

    @rule(job=jobs)
    def delete(self, job: str) -> None:
        try:
            parts = [part.id for part in self.store.list(parent=job, limit=100)]
            self.store.delete(job)
        except NotFound:
            assert job in self.deleted
        except Conflict:
            pass
        else:
            self.deleted |= {job, *parts}

    @rule(seconds=st.sampled_from([1.0, 10.0, LEASE + 1]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def reap(self) -> None:
        for job in self.store.reap():
            del self.holder[job]

    @precondition(lambda self: self.holder)
    @rule(worker=st.sampled_from(["w1", "w2"]))
    def worker_dies(self, worker: str) -> None:
        for job in self.store.died(worker):
            del self.holder[job]

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "store"):
            return
        known = {job.id: job for job in self.store.list(limit=1000)}
        assert not self.deleted & known.keys()
        for job in known.values():
            needs = [known[need].state if need in known else DONE for need in self.store.needs(job.id)]
            assert (job.state == RUNNING) == (job.id in self.holder), (job.state, job.id)
            assert (job.state == RUNNING) == (job.lease_until is not None)
            assert (job.state in ENDED) == (job.finished_at is not None)
            if job.state == QUEUED:
                assert all(state == DONE for state in needs), "queued before what it needs"
            if job.state == WAITING:
                assert not all(state == DONE for state in needs), "left waiting"
                assert not set(needs) & {FAILED, CANCELLED}, "waits for what never comes"
            if job.error and job.error.get("error") == "need_failed":
                assert job.state in (FAILED, CANCELLED)
                assert "need" in job.error["details"]
            ends = [event.what for event in self.store.events(job.id) if event.what in (*ENDED, "retried")]
            assert all(one not in ENDED or two == "retried" for one, two in pairwise(ends)), ends


class TestStore(StoreMachine.TestCase):  # type: ignore[name-defined, misc]  # made by Hypothesis
    settings = settings(max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
