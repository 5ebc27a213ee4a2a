"""How long jobs waited and ran, from what happened to them, for those who count it."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reelwright.jobs.rows import ENDED
from reelwright.jobs.store import Store
from reelwright.jobs.tables import EVENTS, JOBS

_READY = ("queued", "requeued")
_OVER = (*ENDED, "requeued")
_TOLD = (*_READY, "started", *ENDED)
_OVERLAP = 500
"""Events have numbers before their transactions end, so that a later number may be seen first: so many are looked at again."""
_PAGE = 400
"""Jobs that are asked about at once."""


@dataclass(frozen=True)
class Wait:
    """A job began so many seconds after it was queued, or queued again."""

    lane: str
    seconds: float


@dataclass(frozen=True)
class Attempt:
    """An attempt at a job took so long; `end` is a state, or "requeued" if the job is to be tried again."""

    lane: str
    kind: str
    end: str
    seconds: float


class Timings:
    """Waits and attempts that ended since this was made, each told once."""

    def __init__(self, store: Store) -> None:
        self._store, self._began = store, time.monotonic()
        self._last: int | None = None
        self._seen: set[int] = set()

    def news(self) -> tuple[list[Wait], list[Attempt]]:
        """What is new since the last call."""
        with self._store.database.read() as connection:
            if self._last is None:
                self._last = self._first(connection)
            fresh = connection.execute(
                sa.select(EVENTS.c.number, EVENTS.c.job, EVENTS.c.what)
                .where(EVENTS.c.number > self._last - _OVERLAP, EVENTS.c.what.in_(_TOLD))
                .order_by(EVENTS.c.number)
            ).all()
            numbers = {row.number for row in fresh} - self._seen
            concerned = sorted({row.job for row in fresh if row.number in numbers and row.what != "queued"})
            waits: list[Wait] = []
            runs: list[Attempt] = []
            for first in range(0, len(concerned), _PAGE):
                self._page(connection, concerned[first : first + _PAGE], numbers, waits, runs)
        self._last = max((row.number for row in fresh), default=self._last)
        self._seen = {number for number in self._seen | numbers if number > self._last - _OVERLAP}
        return waits, runs

    def _first(self, connection: Connection) -> int:
        """The number before which nothing counts: what happened before this was made. Older ones in the overlap count as seen."""
        since = self._store.clock() - (time.monotonic() - self._began)
        before = int(connection.scalar(sa.select(sa.func.max(EVENTS.c.number)).where(EVENTS.c.at < since)) or 0)
        self._seen = set(range(before - _OVERLAP, before + 1))
        return before

    def _page(self, connection: Connection, jobs: list[str], numbers: set[int], waits: list[Wait], runs: list[Attempt]) -> None:
        query = (
            sa.select(EVENTS.c.number, EVENTS.c.job, EVENTS.c.what, EVENTS.c.at, JOBS.c.lane, JOBS.c.kind)
            .join(JOBS, JOBS.c.id == EVENTS.c.job)
            .where(EVENTS.c.job.in_(jobs), EVENTS.c.what.in_(_TOLD))
            .order_by(EVENTS.c.number)
        )
        marks: dict[str, dict[str, float]] = defaultdict(dict)
        for row in connection.execute(query):
            mark = marks[row.job]
            if row.what == "started":
                if row.number in numbers and "ready" in mark:
                    waits.append(Wait(row.lane, max(0.0, row.at - mark["ready"])))
                mark["started"] = row.at
                continue
            began = mark.pop("started", None) if row.what in _OVER else None
            if began is not None and row.number in numbers:
                runs.append(Attempt(row.lane, row.kind, row.what, max(0.0, row.at - began)))
            if row.what in _READY:
                mark["ready"] = row.at
