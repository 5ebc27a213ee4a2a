"""Jobs as they change: a WebSocket with pictures, and the same as server-sent events.

One watcher a process asks the store what changed; it fans out to a mailbox a listener, where the newest state of a job
replaces the one before it. A listener who does not keep up misses states in between, and the server keeps no backlog.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from reelwright.errors import NotFound, ReelwrightError
from reelwright.jobs.ledger import READ
from reelwright.jobs.rows import Job
from reelwright.server.auth import Caller, Reader, Shop, identify
from reelwright.server.jobs import own, shown
from reelwright.workshop import Workshop

LOG = logging.getLogger("reelwright.events")
ROUTER = APIRouter(prefix="/api", tags=["events"])

_LOOK_S = 0.05
_OVERLAP_S = 5.0
"""A transaction that began earlier may be seen later: so much is looked at again. The clock is the store's, all machines' one."""
_FORGET_S = 86_400.0
"""Who was away for longer is told how things stand instead of what happened."""
_END = "end"
"""The id of the event after which there is nothing to come back for."""
_SEND_S = 30.0
"""A client that takes nothing for so long is let go."""
_HEARTBEAT_S = 15.0
_MOST = 1000
"""Jobs that one listener may name."""

LastEvent = Annotated[
    str | None,
    Header(alias="Last-Event-ID", max_length=64, description="The id of the last event that came, to go on from there."),
]
Named = Annotated[list[str], Query(alias="job", max_length=_MOST, description="Only these jobs; all that you see if none.")]


@dataclass(eq=False)
class Mailbox:
    """What a listener has not been told yet: at most one state and one picture a job."""

    owner: str | None
    jobs: frozenset[str]
    pictures: bool
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    shown: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    ring: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: int = 0
    seen: float = 0.0
    """The store's time up to which everything is in here, or was."""

    def wants(self, job: Job) -> bool:
        """Whether a job concerns the listener: it, or the film that it is part of."""
        if self.owner is not None and job.owner != self.owner:
            return False
        return not self.jobs or job.id in self.jobs or job.parent in self.jobs

    def put(self, state: dict[str, Any], picture: tuple[int, bytes] | None) -> None:
        """A job's newest state, and its newest picture."""
        self.states[state["id"]] = state
        if picture is not None and self.pictures:
            self.dropped += state["id"] in self.shown
            self.shown[state["id"]] = picture
        self.ring.set()

    def take(self) -> tuple[list[dict[str, Any]], dict[str, tuple[int, bytes]]]:
        """Everything, and nothing is left."""
        states, pictures = list(self.states.values()), self.shown
        self.states, self.shown = {}, {}
        self.ring.clear()
        return states, pictures


class Watcher:
    """Looks for changes while anyone listens."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self.mailboxes: set[Mailbox] = set()
        self._task: asyncio.Task[None] | None = None
        self._seen: dict[str, int] = {}
        self._pictured: dict[str, int] = {}
        self.dropped = 0
        self.stopped = False

    def listen(self, mailbox: Mailbox) -> None:
        """Tell this mailbox from now on."""
        self.mailboxes.add(mailbox)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())

    def leave(self, mailbox: Mailbox) -> None:
        """Tell it no longer."""
        self.mailboxes.discard(mailbox)
        self.dropped += mailbox.dropped

    def stop(self) -> None:
        """Look no longer; listeners wake up and go."""
        self.stopped = True
        if self._task is not None:
            self._task.cancel()
        for mailbox in self.mailboxes:
            mailbox.ring.set()

    async def _watch(self) -> None:
        since = await run_in_threadpool(self._shop.store.clock) - _OVERLAP_S
        while self.mailboxes:
            wanted = any(mailbox.pictures for mailbox in self.mailboxes)
            heard = set(self.mailboxes)  # those who came later may have missed some of it
            try:
                now = await run_in_threadpool(self._shop.store.clock)
                for job, state, picture in await run_in_threadpool(self._changes, since, wanted):
                    for mailbox in list(self.mailboxes):
                        if mailbox.wants(job):
                            mailbox.put(state, picture)
                for mailbox in self.mailboxes & heard:
                    mailbox.seen = now
                since = now - _OVERLAP_S
            except Exception as error:  # noqa: BLE001  one look that fails, as when a job is deleted meanwhile, ends no listening
                LOG.warning("live events: %s", error)
            await asyncio.sleep(_LOOK_S)
        self._seen, self._pictured = {}, {}

    def _changes(self, since: float, pictures: bool) -> list[tuple[Job, dict[str, Any], tuple[int, bytes] | None]]:
        found = []
        films = set()
        changed = self._shop.store.changed(since)
        for job in changed:
            if self._seen.get(job.id) == job.version:
                continue
            if job.parent is not None:
                films.add(job.parent)  # a scene's progress is the film's too
            found.append(self._told(job, pictures))
            self._seen[job.id] = job.version
        for film in films - {job.id for job, _, _ in found}:
            with suppress(ReelwrightError):
                found.append(self._told(self._shop.store.get(film), False))
        recent = {job.id for job in changed}
        self._seen = {job: version for job, version in self._seen.items() if job in recent}
        return found

    def _told(self, job: Job, pictures: bool) -> tuple[Job, dict[str, Any], tuple[int, bytes] | None]:
        picture = self._shop.store.preview(job.id, self._pictured.get(job.id, 0)) if pictures else None
        if picture is not None:
            self._pictured[job.id] = picture[0]
        if job.ended:
            self._pictured.pop(job.id, None)
        return job, shown(self._shop, job), picture


def _snapshot(shop: Workshop, caller: Caller, jobs: list[str]) -> list[dict[str, Any]]:
    """How things stand; raises NotFound for jobs that the caller does not see."""
    if jobs:
        known = [own(shop, job, caller) for job in jobs]
    else:
        known = list(shop.store.list(owner=caller.sees, states=("waiting", "queued", "running"), limit=_MOST))
    return [shown(shop, job) for job in known]


def _all_ended(named: list[str], last: dict[str, str]) -> bool:
    return bool(named) and all(last.get(job) in ("done", "failed", "cancelled") for job in named)


@ROUTER.websocket("/events")
async def events(socket: WebSocket, job: Named = [], until: str = "", previews: bool = True) -> None:  # noqa: B006  FastAPI copies it
    """A snapshot, then each change; `until=end` closes when all named jobs have ended.

    Text messages are JSON: `{"type": "snapshot", "jobs": [...]}`, `{"type": "job", "job": {...}}`, `{"type": "end"}`. Binary
    ones are pictures: the length of a JSON header (4 bytes, big-endian), the header (`job`, `number`, `kind`), the JPEG.
    """
    shop: Workshop = socket.app.state.workshop
    watcher: Watcher = socket.app.state.watcher
    mailbox = Mailbox(None, frozenset(job), previews)
    try:
        caller = await run_in_threadpool(identify, socket, READ)
        mailbox.owner = caller.sees
        watcher.listen(mailbox)  # before the snapshot, so that nothing falls between the two
        known = await run_in_threadpool(_snapshot, shop, caller, job)
    except ReelwrightError:
        watcher.leave(mailbox)
        await socket.close(1008)  # before it was accepted: the client sees 403
        return
    await socket.accept()
    gone = asyncio.create_task(_until_gone(socket, mailbox))
    try:
        await _say(socket, {"type": "snapshot", "jobs": known})
        last = {state["id"]: state["state"] for state in known}
        while not (until == "end" and _all_ended(job, last)):
            await mailbox.ring.wait()
            if gone.done() or watcher.stopped:
                break
            states, pictures = mailbox.take()
            for state in states:
                await _say(socket, {"type": "job", "job": state})
                last[state["id"]] = state["state"]
            for name, (number, picture) in pictures.items():
                head = json.dumps({"job": name, "number": number, "kind": "image/jpeg"}).encode()
                await asyncio.wait_for(socket.send_bytes(struct.pack(">I", len(head)) + head + picture), _SEND_S)
        await _say(socket, {"type": "end"})
        await socket.close(1001 if watcher.stopped else 1000)
    except (WebSocketDisconnect, RuntimeError, TimeoutError):
        LOG.debug("a listener went")
    finally:
        watcher.leave(mailbox)
        gone.cancel()


async def _say(socket: WebSocket, content: dict[str, Any]) -> None:
    await asyncio.wait_for(socket.send_text(json.dumps(content, ensure_ascii=False)), _SEND_S)


async def _until_gone(socket: WebSocket, mailbox: Mailbox) -> None:
    """What a client says is read and left, so that its going is noticed."""
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            await socket.receive()
    mailbox.ring.set()


@ROUTER.get("/events", operation_id="stream_events", response_class=StreamingResponse)
async def stream(
    request: Request,
    shop: Shop,
    caller: Reader,
    job: Named = [],  # noqa: B006  FastAPI copies it
    until: str = "",
    last_event_id: LastEvent = None,
) -> Response:
    """The same as server-sent events; pictures are fetched from `/api/jobs/ID/preview` when `preview` grows.

    Who comes back with the id of the last event gets what changed since, in place of a snapshot; what changed in the seconds
    before may come twice. After `end` of `until=end` there is nothing more: 204, upon which browsers come back no longer.
    """
    await run_in_threadpool(_snapshot, shop, caller, job)  # a job that is not there is said before the stream begins
    if last_event_id == _END and until == "end":
        return Response(status_code=204)
    listener = _Listener(shop, caller, job, until == "end", _time_of(last_event_id))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(listener.told(request.app.state.watcher), media_type="text/event-stream", headers=headers)


def _time_of(event: str | None) -> float | None:
    """The store's time that an event's id stands for; None if it is not one of ours."""
    try:
        made = float(event or "")
    except ValueError:
        return None
    return made if math.isfinite(made) else None


@dataclass
class _Listener:
    """Someone who listens to server-sent events. `since`: the store's time up to which they know everything."""

    shop: Workshop
    caller: Caller
    jobs: list[str]
    until_end: bool
    since: float | None

    async def told(self, watcher: Watcher) -> AsyncIterator[str]:
        """The text of the stream."""
        mailbox = Mailbox(self.caller.sees, frozenset(self.jobs), False)
        named = self.jobs if self.until_end else []
        mailbox.seen = at = await run_in_threadpool(self.shop.store.clock)
        watcher.listen(mailbox)  # before the snapshot, so that nothing falls between the two
        try:
            first, last = await run_in_threadpool(self._first, mailbox, at)
            for text in first:
                yield text
            while not _all_ended(named, last) and not watcher.stopped:
                try:
                    await asyncio.wait_for(mailbox.ring.wait(), _HEARTBEAT_S)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                states, told_to = mailbox.take()[0], mailbox.seen
                for number, state in enumerate(states, 1):
                    last[state["id"]] = state["state"]
                    # Who is cut off in the middle of these is told all of them again.
                    yield _event("job", state, told_to if number == len(states) else at)
                at = told_to
            yield _event("end", {}, _END if _all_ended(named, last) else at)
        finally:
            watcher.leave(mailbox)

    def _first(self, mailbox: Mailbox, at: float) -> tuple[list[str], dict[str, str]]:
        """What is said first, and the states of jobs that this tells: what changed since, or how things stand."""
        known = _snapshot(self.shop, self.caller, self.jobs)
        last = {state["id"]: state["state"] for state in known}
        if self.since is not None and at - _FORGET_S < self.since:
            changed = [job for job in self.shop.store.changed(self.since - _OVERLAP_S) if mailbox.wants(job)]
            films = {job.parent for job in changed if job.parent} - {job.id for job in changed}
            with suppress(NotFound):
                changed += [film for film in map(self.shop.store.get, sorted(films)) if mailbox.wants(film)]
            if len(changed) <= _MOST:
                told = [shown(self.shop, job) for job in changed]
                last |= {state["id"]: state["state"] for state in told}
                return [_event("job", state, at if state is told[-1] else self.since) for state in told], last
        return [_event("snapshot", {"jobs": known}, at)], last


def _event(kind: str, content: dict[str, Any], number: float | str) -> str:
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n"
