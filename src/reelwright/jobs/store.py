"""The jobs that there are: the one place that knows what state work is in.

Workers claim a job with a lease and renew it; every later write carries the fence that the claim counted up, so that a
worker that was thought dead and comes back is refused. Nothing else is needed for a job to end exactly once: a broker, if
there is one, only says that a lane has work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reelwright.errors import Conflict, NotFound
from reelwright.jobs.database import Database
from reelwright.jobs.rows import (
    AFFINITY,
    CANCELLED,
    DEAF_S,
    DONE,
    ENDED,
    FAILED,
    LEASE_S,
    PAUSE_S,
    QUEUED,
    RUNNING,
    WAITING,
    Event,
    Job,
    LeaseLost,
    NewJob,
    body,
    due,
    hung,
    job_of,
    mine,
    reached,
    rows,
    states,
    turn_of,
    users,
    with_relatives,
)
from reelwright.jobs.tables import ASSETS, EVENTS, FACTS, JOBS, NEEDS, PREVIEWS


class Store:
    """Jobs over a database. `clock` gives seconds since 1970, the database's if none is given; `lease` in seconds.

    Raises Unavailable when the database cannot be reached.
    """

    def __init__(self, database: Database, clock: Callable[[], float] | None = None, lease: float = LEASE_S) -> None:
        self.database, self.clock, self.lease = database, clock or database.clock, lease
        self.on_end: Callable[[Connection, str, str], None] | None = None
        """Called with each job that ends and its state, in the same transaction."""

    # ---- what a client does

    def submit(self, jobs: Sequence[NewJob], also: Callable[[Connection], None] | None = None) -> tuple[Job, ...]:
        """Add jobs, all or none; `also` writes in the same transaction. Raises NotFound if a need is unknown."""
        with self.database.write() as connection:
            for new in jobs:
                self._insert(connection, new)
            for new in jobs:
                self._need(connection, new)
            if also is not None:
                also(connection)
            return tuple(job_of(connection, new.id) for new in jobs)

    def _insert(self, connection: Connection, new: NewJob) -> None:
        now = self.clock()
        row: dict[str, Any] = {
            "id": new.id, "kind": new.kind, "lane": new.lane, "model": new.model, "content": new.content, "owner": new.owner,
            "parent": new.parent, "state": WAITING, "held": False, "priority": new.priority, "estimate": new.estimate,
            "turn": turn_of(connection, new.owner), "attempt": 0, "max_attempts": new.max_attempts, "not_before": 0.0,
            "fence": 0, "patience": new.patience, "created_at": now, "updated_at": now, "version": 1, "memory": {},
            "notes": [],
        }  # fmt: skip
        connection.execute(JOBS.insert().values(row))
        self._tell(connection, new.id, "submitted")

    def _need(self, connection: Connection, new: NewJob) -> None:
        known = {need.id: need.state for need in rows(connection, JOBS.c.id.in_(new.needs))}  # locked: none ends meanwhile
        if missing := set(new.needs) - set(known):
            raise NotFound(f"there is no job {min(missing)}", job=min(missing))
        if any(state in (FAILED, CANCELLED) for state in known.values()):
            raise Conflict("a job that this one needs has failed", hint="Retry that job first.", field="needs")
        if new.needs:
            connection.execute(NEEDS.insert(), [{"job": new.id, "need": need} for need in dict.fromkeys(new.needs)])
        self._settle(connection, new.id)

    def get(self, job: str, owner: str | None = None) -> Job:
        """A job, of `owner` if one is named; raises NotFound."""
        with self.database.read() as connection:
            return job_of(connection, job, owner)

    def list(
        self,
        *,
        owner: str | None = None,
        states: Iterable[str] = (),
        parent: str | None = None,
        kinds: Iterable[str] = (),
        after: str | None = None,
        limit: int = 50,
        newest: bool = True,
        roots: bool = False,
    ) -> tuple[Job, ...]:
        """Jobs in order of their making; `after`: the id that a page ended with; `roots`: without parts of others."""
        query = sa.select(JOBS)
        if owner is not None:
            query = query.where(JOBS.c.owner == owner)
        if states := tuple(states):
            query = query.where(JOBS.c.state.in_(states))
        if kinds := tuple(kinds):
            query = query.where(JOBS.c.kind.in_(kinds))
        if parent is not None:
            query = query.where(JOBS.c.parent == parent)
        elif roots:
            query = query.where(JOBS.c.parent.is_(None))
        if after is not None:
            query = query.where(JOBS.c.id < after if newest else JOBS.c.id > after)
        query = query.order_by(JOBS.c.id.desc() if newest else JOBS.c.id).limit(limit)
        with self.database.read() as connection:
            return tuple(Job(**row) for row in connection.execute(query).mappings())

    def needs(self, job: str) -> tuple[str, ...]:
        """Ids of the jobs that this one needs."""
        with self.database.read() as connection:
            return tuple(connection.scalars(sa.select(NEEDS.c.need).where(NEEDS.c.job == job).order_by(NEEDS.c.need)))

    def changed(self, since: float) -> tuple[Job, ...]:
        """Jobs that were written at or after a time."""
        with self.database.read() as connection:
            query = sa.select(JOBS).where(JOBS.c.updated_at >= since).order_by(JOBS.c.updated_at)
            return tuple(Job(**row) for row in connection.execute(query).mappings())

    def events(self, job: str, after: int = 0, limit: int = 1000) -> tuple[Event, ...]:
        """What happened to a job after an event's number."""
        query = sa.select(EVENTS).where(EVENTS.c.job == job, EVENTS.c.number > after).order_by(EVENTS.c.number).limit(limit)
        with self.database.read() as connection:
            return tuple(Event(**row) for row in connection.execute(query).mappings())

    def ahead(self, job: Job) -> int:
        """How many queued jobs of its lane go before a queued one."""
        if job.state != QUEUED:
            return 0
        before = sa.or_(
            JOBS.c.priority > job.priority,
            sa.and_(JOBS.c.priority == job.priority, sa.tuple_(JOBS.c.turn, JOBS.c.id) < sa.tuple_(job.turn, job.id)),
        )
        query = sa.select(sa.func.count()).where(JOBS.c.state == QUEUED, JOBS.c.lane == job.lane, before)
        with self.database.read() as connection:
            return int(connection.scalar(query) or 0)

    def count(self) -> dict[tuple[str, str], int]:
        """How many jobs there are by (lane, state)."""
        query = sa.select(JOBS.c.lane, JOBS.c.state, sa.func.count()).group_by(JOBS.c.lane, JOBS.c.state)
        with self.database.read() as connection:
            return {(lane, state): int(number) for lane, state, number in connection.execute(query)}

    def vitals(self) -> dict[str, float]:
        """What to watch: seconds that the oldest queued job waits, workers at a job, bytes stored."""
        now = self.clock()
        asked = {
            "oldest_queued_seconds": sa.select(now - sa.func.min(JOBS.c.created_at)).where(JOBS.c.state == QUEUED),
            "workers": sa.select(sa.func.count(JOBS.c.worker.distinct())).where(JOBS.c.state == RUNNING),
            "bytes_stored": sa.select(sa.func.sum(ASSETS.c.size)),
        }
        with self.database.read() as connection:
            return {name: float(connection.scalar(query) or 0.0) for name, query in asked.items()}

    def cancel(self, job: str) -> Job:
        """Stop a job, its parts, and what needs it: what waits ends at once, what runs is told. Ended ones stay as they are.

        One that waits for another attempt while its order is alive at a provider goes to a worker, which stops that; told a
        second time, it ends at once all the same.
        """
        with self.database.write() as connection:
            self._cancel(connection, job_of(connection, job, lock=True))
            return job_of(connection, job)

    def _cancel(self, connection: Connection, job: Job) -> None:
        fetched = job.memory.get("cost") or {}
        ordered = job.memory.get("comfyui") or [key for key in job.memory.get("hosted") or {} if key not in fetched]
        if job.state == QUEUED and ordered and job.cancel_at is None:
            self._change(connection, job.id, cancel_at=self.clock(), held=False, not_before=0.0, dispatched_at=None)
            self._tell(connection, job.id, "cancel")
        elif job.state in (WAITING, QUEUED):
            self._end(connection, job.id, CANCELLED)
            self._cascade(connection, job.id, CANCELLED, f"job {job.id} was cancelled")
        elif job.state == RUNNING and job.cancel_at is None:
            self._change(connection, job.id, cancel_at=self.clock())
            self._tell(connection, job.id, "cancel")
        for part in rows(connection, JOBS.c.parent == job.id, JOBS.c.state.not_in(ENDED)):
            self._cancel(connection, part)

    def retry(self, job: str) -> Job:
        """Queue a failed or cancelled job again, with what it needs and what came to nothing because of it.

        Raises Conflict if it neither failed nor was cancelled.
        """
        with self.database.write() as connection:
            found = job_of(connection, job, lock=True)
            if found.state not in (FAILED, CANCELLED):
                raise Conflict(f"job {job} is {found.state}; only a failed or cancelled one is retried", job=job)
            again = with_relatives(connection, found)
            for each in again:
                self._change(
                    connection, each, state=WAITING, attempt=0, error=None, finished_at=None, started_at=None, cancel_at=None,
                    lease_until=None, worker=None, progress=None, not_before=0.0,
                )  # fmt: skip
                self._tell(connection, each, "retried")
            for each in again:
                self._settle(connection, each)
            return job_of(connection, job)

    def hold(self, job: str, held: bool = True) -> Job:
        """Pause a job that has not begun, or let it go on."""
        with self.database.write() as connection:
            found = job_of(connection, job, lock=True)
            if found.state not in (WAITING, QUEUED):
                raise Conflict(f"job {job} is {found.state}; only one that has not begun can be paused", job=job)
            self._change(connection, job, held=held)
            self._tell(connection, job, "held" if held else "released")
            return job_of(connection, job)

    def pause(self, paused: bool = True) -> None:
        """Let no worker begin anything, or let them again; what runs goes on."""
        with self.database.write(alone=False) as connection:
            connection.execute(FACTS.delete().where(FACTS.c.name == "paused"))
            if paused:
                connection.execute(FACTS.insert().values(name="paused", value=True))

    @property
    def paused(self) -> bool:
        """Whether no worker may begin anything."""
        with self.database.read() as connection:
            return connection.scalar(sa.select(FACTS.c.value).where(FACTS.c.name == "paused")) is not None

    def reprioritise(self, job: str, priority: int) -> Job:
        """Change what goes first: higher before lower."""
        with self.database.write() as connection:
            job_of(connection, job, lock=True)
            self._change(connection, job, priority=priority)
            return job_of(connection, job)

    def move(self, job: str, before: str) -> Job:
        """Put a queued job right before another one of its lane."""
        with self.database.write() as connection:
            moved, other = job_of(connection, job, lock=True), job_of(connection, before)
            if not (moved.state == other.state == QUEUED and moved.lane == other.lane):
                raise Conflict("only queued jobs of one lane can be put before each other", job=job)
            earlier = connection.scalar(
                sa.select(sa.func.max(JOBS.c.turn)).where(
                    JOBS.c.state == QUEUED, JOBS.c.lane == other.lane, JOBS.c.turn < other.turn, JOBS.c.id != job
                )
            )
            turn = other.turn - 1 if earlier is None else (earlier + other.turn) / 2
            self._change(connection, job, turn=turn, priority=other.priority)
            return job_of(connection, job)

    def delete(self, job: str) -> None:
        """Forget an ended job and its parts; raises Conflict if it has not ended."""
        with self.database.write() as connection:
            found = job_of(connection, job, lock=True)
            parts = rows(connection, JOBS.c.parent == job)
            if not all(each.ended for each in (found, *parts)):
                raise Conflict(f"job {job} has not ended", hint="Cancel it first.", job=job)
            connection.execute(JOBS.delete().where(JOBS.c.parent == job))
            connection.execute(JOBS.delete().where(JOBS.c.id == job))

    # ---- what a worker does

    def claim(self, worker: str, lanes: Sequence[str], warm: Iterable[str] = ()) -> Job | None:
        """The next job of these lanes, now this worker's; None if there is none.

        By priority, then by turn, where models in `warm` are worth AFFINITY turns. One statement: two never get the same.
        """
        now = self.clock()
        turn: sa.ColumnElement[float] = JOBS.c.turn
        if warm := tuple(warm):
            turn = turn - sa.case((JOBS.c.model.in_(warm), AFFINITY), else_=0.0)
        next_one = (
            sa.select(JOBS.c.id)
            .where(
                JOBS.c.state == QUEUED, JOBS.c.lane.in_(tuple(lanes)), due(now), JOBS.c.held.is_(False),
                ~sa.exists().where(FACTS.c.name == "paused"),
            )
            .order_by(JOBS.c.priority.desc(), turn, JOBS.c.id)
            .limit(1)
            .with_for_update(skip_locked=True, of=JOBS)
        )  # fmt: skip
        take = (
            JOBS.update()
            .where(JOBS.c.id == next_one.scalar_subquery(), JOBS.c.state == QUEUED)
            .values(
                state=RUNNING, worker=worker, lease_until=now + self.lease, attempt=JOBS.c.attempt + 1, fence=JOBS.c.fence + 1,
                started_at=now, progressed_at=now, progress=None, error=None, updated_at=now, version=JOBS.c.version + 1,
                cancel_at=sa.case((JOBS.c.cancel_at.is_not(None), now), else_=None),
            )
            .returning(JOBS)
        )  # fmt: skip
        with self.database.write(alone=False) as connection:
            row = connection.execute(take).mappings().one_or_none()
            if row is None:
                return None
            job = Job(**row)
            reached(connection, job.turn)
            self._tell(connection, job.id, "started", worker=worker, attempt=job.attempt)
            return job

    def beat(self, job: Job, progress: dict[str, Any] | None = None, idle: float | None = None) -> bool:
        """Renew the lease; True if the job is no longer wanted. Raises LeaseLost.

        `idle`: seconds since the work's last step, as the worker counted them. Said each time, no jump of the clock, and no
        night that a laptop slept through, looks like a job that hangs.
        """
        now = self.clock()
        values: dict[str, Any] = {"lease_until": now + self.lease}
        if idle is not None:
            values["progressed_at"] = now - idle
        if progress is not None:
            values |= {"progress": progress, "progressed_at": now, "updated_at": now, "version": JOBS.c.version + 1}
        with self.database.write(alone=False) as connection:
            query = JOBS.update().where(*mine(job)).values(values).returning(JOBS.c.cancel_at)
            row = connection.execute(query).one_or_none()
            if row is None:
                raise LeaseLost(job.id)
            return row[0] is not None

    def remember(self, job: Job, memory: dict[str, Any]) -> None:
        """Replace what later attempts find; raises LeaseLost."""
        self._mine_or_lost(job, memory=memory)

    def show(self, job: Job, picture: bytes) -> None:
        """Keep the newest preview of a running job, a JPEG; raises LeaseLost."""
        with self.database.write(alone=False) as connection:
            self._fenced(connection, job)
            changed = connection.execute(
                PREVIEWS.update().where(PREVIEWS.c.job == job.id).values(number=PREVIEWS.c.number + 1, picture=picture)
            )
            if not changed.rowcount:
                connection.execute(PREVIEWS.insert().values(job=job.id, number=1, picture=picture))
            self._change(connection, job.id)

    def preview(self, job: str, after: int = 0) -> tuple[int, bytes] | None:
        """A job's newest preview and its number, if there is one newer than number `after`."""
        query = sa.select(PREVIEWS.c.number, PREVIEWS.c.picture).where(PREVIEWS.c.job == job, PREVIEWS.c.number > after)
        with self.database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (int(row[0]), bytes(row[1]))

    def finish(
        self, job: Job, result: dict[str, Any], notes: Sequence[str] = (), also: Callable[[Connection], None] | None = None
    ) -> None:
        """The work is done: its result counts from now on, and what needs it may begin. Raises LeaseLost."""
        with self.database.write() as connection:
            self._fenced(connection, job)
            if also is not None:
                also(connection)
            self._end(connection, job.id, DONE, result=result, notes=list(notes), error=None)
            for user in users(connection, job.id):
                self._settle(connection, user.id)

    def fail(self, job: Job, error: dict[str, Any], *, again_in: float | None = None, notes: Sequence[str] = ()) -> None:
        """The work failed: for good, or to be tried again in `again_in` seconds if attempts are left. Raises LeaseLost."""
        with self.database.write() as connection:
            self._fenced(connection, job)
            now = job_of(connection, job.id)
            if again_in is not None and now.cancel_at is not None and now.error is None:
                self._stop(connection, now)
                return
            if again_in is not None and job.attempt < job.max_attempts:
                self._requeue(connection, job.id, error=error, not_before=self.clock() + min(again_in, PAUSE_S))
                return
            self._end(connection, job.id, FAILED, error=error, notes=list(notes))
            self._cascade(connection, job.id, FAILED, str(error.get("message", "it failed")))

    def stopped(self, job: Job) -> None:
        """A running job was told to stop and has; raises LeaseLost."""
        with self.database.write() as connection:
            self._fenced(connection, job)
            self._stop(connection, job_of(connection, job.id))

    def give_back(self, job: Job) -> None:
        """The worker leaves without having failed: the job is queued again and the attempt does not count."""
        with self.database.write() as connection:
            self._fenced(connection, job)
            self._requeue(connection, job.id, attempt=job.attempt - 1)

    # ---- what everyone does now and then

    def reap(self) -> tuple[str, ...]:
        """Take back the jobs of dead workers and tell the hung to stop; returns the ids that were taken back."""
        now = self.clock()
        with self.database.write() as connection:
            stuck = rows(
                connection, JOBS.c.state == RUNNING, JOBS.c.progressed_at + JOBS.c.patience < now, JOBS.c.cancel_at.is_(None)
            )
            for job in stuck:
                self._change(connection, job.id, cancel_at=now, error=hung(job))
                self._tell(connection, job.id, "hung")
            dead = rows(connection, JOBS.c.state == RUNNING, JOBS.c.lease_until < now)
            for job in dead:
                self._take_back(connection, job)
            return tuple(job.id for job in dead)

    def died(self, worker: str) -> tuple[str, ...]:
        """A worker is known to be dead: its jobs are taken back at once; returns their ids."""
        with self.database.write() as connection:
            held = rows(connection, JOBS.c.state == RUNNING, JOBS.c.worker == worker)
            for job in held:
                self._take_back(connection, job)
            return tuple(job.id for job in held)

    def _take_back(self, connection: Connection, job: Job) -> None:
        if job.cancel_at is not None:
            self._stop(connection, job)
        elif job.attempt >= job.max_attempts:
            error = body("worker_died", f"the worker died {job.attempt} times while it ran this job", attempts=job.attempt)
            self._end(connection, job.id, FAILED, error=error)
            self._cascade(connection, job.id, FAILED, error["message"])
        else:
            self._requeue(connection, job.id)

    def _stop(self, connection: Connection, job: Job) -> None:
        if job.error is not None:  # it hung, and was told to stop for that
            self._end(connection, job.id, FAILED)
            self._cascade(connection, job.id, FAILED, str(job.error["message"]))
        else:
            self._end(connection, job.id, CANCELLED)
            self._cascade(connection, job.id, CANCELLED, f"job {job.id} was cancelled")

    def deaf(self) -> tuple[Job, ...]:
        """Running jobs that were told to stop DEAF_S ago and have not."""
        with self.database.read() as connection:
            return tuple(rows(connection, JOBS.c.state == RUNNING, JOBS.c.cancel_at < self.clock() - DEAF_S))

    def undispatched(self, older_than: float) -> dict[str, int]:
        """Lanes with queued jobs that nobody announced for so many seconds, and how many; they count as announced now."""
        now = self.clock()
        unheard = sa.or_(JOBS.c.dispatched_at.is_(None), JOBS.c.dispatched_at < now - older_than)
        unsaid = (JOBS.c.state == QUEUED, due(now), unheard)
        with self.database.write() as connection:
            found = (
                connection.execute(JOBS.update().where(*unsaid).values(dispatched_at=now).returning(JOBS.c.lane)).scalars().all()
            )
        return {lane: found.count(lane) for lane in set(found)}

    # ---- within a transaction

    def _tell(self, connection: Connection, job: str, what: str, **facts: Any) -> None:
        connection.execute(EVENTS.insert().values(job=job, at=self.clock(), what=what, facts=facts))

    def _change(self, connection: Connection, job: str, **values: Any) -> None:
        stamped = {**values, "updated_at": self.clock(), "version": JOBS.c.version + 1}
        connection.execute(JOBS.update().where(JOBS.c.id == job).values(stamped))

    def _end(self, connection: Connection, job: str, state: str, **values: Any) -> None:
        self._change(connection, job, state=state, finished_at=self.clock(), lease_until=None, worker=None, **values)
        self._tell(connection, job, state)
        if self.on_end is not None:
            self.on_end(connection, job, state)

    def _requeue(self, connection: Connection, job: str, **values: Any) -> None:
        self._change(
            connection, job, state=QUEUED, lease_until=None, worker=None, progress=None, cancel_at=None,
            dispatched_at=None, **values,
        )  # fmt: skip
        self._tell(connection, job, "requeued")

    def _settle(self, connection: Connection, job: str) -> None:
        """A waiting job whose needs are all done is queued."""
        known = states(connection, connection.scalars(sa.select(NEEDS.c.need).where(NEEDS.c.job == job)).all())
        if all(state == DONE for state in known.values()):
            found = job_of(connection, job, lock=True)
            if found.state == WAITING:
                self._change(connection, job, state=QUEUED, dispatched_at=None)
                self._tell(connection, job, "queued")

    def _cascade(self, connection: Connection, job: str, state: str, why: str) -> None:
        """What needs a job that came to nothing comes to nothing, and says why."""
        for user in users(connection, job):
            if user.state == WAITING:
                self._end(
                    connection, user.id, state, error=body("need_failed", f"what it needs came to nothing: {why}", need=job)
                )
                self._cascade(connection, user.id, state, why)

    def _fenced(self, connection: Connection, job: Job) -> None:
        row = connection.execute(sa.select(JOBS.c.id).where(*mine(job)).with_for_update()).one_or_none()
        if row is None:
            raise LeaseLost(job.id)

    def _mine_or_lost(self, job: Job, **values: Any) -> None:
        with self.database.write(alone=False) as connection:
            self._fenced(connection, job)
            self._change(connection, job.id, **values)
