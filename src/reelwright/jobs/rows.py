"""Jobs as rows: what a job is, and how rows of them are read and locked within a transaction."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from reelwright.errors import NotFound
from reelwright.jobs.tables import FACTS, JOBS, NEEDS

WAITING, QUEUED, RUNNING, DONE, FAILED, CANCELLED = "waiting", "queued", "running", "done", "failed", "cancelled"
ENDED = (DONE, FAILED, CANCELLED)
LEASE_S = 60.0
"""A worker that says nothing for so long is taken for dead. It renews its lease six times as often."""
PATIENCE_S = 1800.0
"""A job that makes no progress for so long is hung; loading weights counts as none."""
DEAF_S = 30.0
"""A worker that goes on for so long after a cancel is killed."""
PAUSE_S = 3600.0
"""The longest pause before another attempt."""
ATTEMPTS = 3
AFFINITY = 3.0
"""Turns that a job may be overtaken by others whose model a worker has in memory."""


class LeaseLost(Exception):
    """The job is someone else's by now, or has ended; nothing that this worker writes counts any more."""


@dataclass(frozen=True)
class Job:
    """One piece of work and its state, as it was read.

    `needs` are ids of jobs that have to be done first. `error` is an error body (J9), `progress` a stage with done, total
    and eta in seconds, `memory` what earlier attempts left for later ones. Times are seconds since 1970.
    """

    id: str
    kind: str
    lane: str
    model: str | None
    content: dict[str, Any]
    owner: str
    parent: str | None
    state: str
    held: bool
    priority: int
    turn: float
    estimate: float | None
    attempt: int
    max_attempts: int
    not_before: float
    lease_until: float | None
    fence: int
    worker: str | None
    patience: float
    progressed_at: float | None
    cancel_at: float | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    dispatched_at: float | None
    updated_at: float
    version: int
    progress: dict[str, Any] | None
    memory: dict[str, Any]
    notes: list[str]
    result: dict[str, Any] | None
    error: dict[str, Any] | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.state in ENDED


@dataclass(frozen=True)
class NewJob:
    """A job to be submitted. `needs`: ids of jobs, or of others in the same call by their `id`."""

    kind: str
    content: dict[str, Any]
    lane: str = "cpu"
    model: str | None = None
    owner: str = "local"
    priority: int = 0
    needs: tuple[str, ...] = ()
    parent: str | None = None
    estimate: float | None = None
    max_attempts: int = ATTEMPTS
    patience: float = PATIENCE_S
    id: str = field(default_factory=lambda: new_id("job"))


@dataclass(frozen=True)
class Event:
    """Something that happened to a job, in order of `number`."""

    number: int
    job: str
    at: float
    what: str
    facts: dict[str, Any]


def new_id(prefix: str) -> str:
    """An id that nobody guesses; later ones sort after earlier ones."""
    return f"{prefix}_{int(time.time() * 1000):011x}{secrets.token_hex(8)}"


def mine(job: Job) -> tuple[sa.ColumnElement[bool], ...]:
    """The row of a job, if it is still this claim's."""
    return JOBS.c.id == job.id, JOBS.c.fence == job.fence, JOBS.c.state == RUNNING


def due(now: float) -> sa.ColumnElement[bool]:
    """Jobs whose pause is over, or is longer than any: it was written by a clock that was ahead and has been set back."""
    return sa.or_(JOBS.c.not_before <= now, JOBS.c.not_before > now + 2 * PAUSE_S)


def job_of(connection: Connection, job: str, owner: str | None = None, *, lock: bool = False) -> Job:
    """A job, of `owner` if one is named, locked until the transaction ends if asked for; raises NotFound."""
    query = sa.select(JOBS).where(JOBS.c.id == job)
    row: RowMapping | None = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if row is None or (owner is not None and row["owner"] != owner):
        raise NotFound(f"there is no job {job}", hint="List them with `reel jobs`.", job=job)
    return Job(**row)


def rows(connection: Connection, *where: sa.ColumnElement[bool]) -> list[Job]:
    """Jobs, locked until the transaction ends."""
    query = sa.select(JOBS).where(*where).order_by(JOBS.c.id).with_for_update()
    return [Job(**row) for row in connection.execute(query).mappings()]


def users(connection: Connection, job: str) -> list[Job]:
    """The jobs that need this one."""
    return rows(connection, JOBS.c.id.in_(sa.select(NEEDS.c.job).where(NEEDS.c.need == job)))


def states(connection: Connection, jobs: Sequence[str]) -> dict[str, str]:
    """The states of those of these jobs that exist."""
    if not jobs:
        return {}
    return {row.id: row.state for row in connection.execute(sa.select(JOBS.c.id, JOBS.c.state).where(JOBS.c.id.in_(jobs)))}


def with_relatives(connection: Connection, job: Job) -> list[str]:
    """A job that came to nothing, its parts and needs that did too, and what came to nothing because of them."""
    seen: dict[str, Job] = {}
    left = [job]
    while left:
        each = left.pop()
        if each.id in seen or each.state not in (FAILED, CANCELLED):
            continue
        seen[each.id] = each
        needed = JOBS.c.id.in_(sa.select(NEEDS.c.need).where(NEEDS.c.job == each.id))
        left += rows(connection, sa.or_(JOBS.c.parent == each.id, needed))
        left += [user for user in users(connection, each.id) if user.error and user.error.get("error") == "need_failed"]
    return list(seen)


def turn_of(connection: Connection, owner: str) -> float:
    """Start-time fair queuing (Goyal, Vin, Cheng 1996): an owner's jobs are one turn apart, from the turn served last on."""
    own = connection.scalar(sa.select(sa.func.max(JOBS.c.turn)).where(JOBS.c.owner == owner, JOBS.c.state.not_in(ENDED)))
    served = connection.scalar(sa.select(FACTS.c.value).where(FACTS.c.name == "turn"))
    return max(float(served or 0.0), -1e18 if own is None else float(own) + 1.0)


def reached(connection: Connection, turn: float) -> None:
    """The turn served last, from which newcomers start."""
    served = connection.scalar(sa.select(FACTS.c.value).where(FACTS.c.name == "turn"))
    if turn > float(served or 0.0):
        connection.execute(FACTS.update().where(FACTS.c.name == "turn").values(value=turn))


def hung(job: Job) -> dict[str, Any]:
    """The error of a job that makes no progress."""
    return body("timed_out", f"no progress for {job.patience:g} s", patience=job.patience)


def body(code: str, message: str, **details: Any) -> dict[str, Any]:
    """An error body for a row."""
    return {"error": code, "message": message, "details": details}
