"""Jobs as they change: a WebSocket with pictures, and the same as server-sent events.

One watcher a process asks the store what changed; it fans out to a mailbox a listener, where the newest state of a job
replaces the one before it. A listener who does not keep up misses states in between, and the server keeps no backlog.
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from reelwright.errors import ReelwrightError
from reelwright.jobs.ledger import READ
from reelwright.jobs.rows import Job
from reelwright.server.auth import Caller, Reader, Shop, identify
from reelwright.server.jobs import own, shown
from reelwright.workshop import Workshop

LOG = logging.getLogger("reelwright.events")
ROUTER = APIRouter(prefix="/api", tags=["events"])

_LOOK_S = 0.05
_OVERLAP_S = 5.0
"""Clocks of machines differ, and a transaction that began earlier may be seen later: so much is looked at again."""
_SEND_S = 30.0
"""A client that takes nothing for so long is let go."""
_HEARTBEAT_S = 15.0
_MOST = 1000
"""Jobs that one listener may name."""

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
        since = self._shop.store.clock() - _OVERLAP_S
        while self.mailboxes:
            wanted = any(mailbox.pictures for mailbox in self.mailboxes)
            try:
                now = self._shop.store.clock()
                for job, state, picture in await run_in_threadpool(self._changes, since, wanted):
                    for mailbox in list(self.mailboxes):
                        if mailbox.wants(job):
                            mailbox.put(state, picture)
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
async def stream(request: Request, shop: Shop, caller: Reader, job: Named = [], until: str = "") -> StreamingResponse:  # noqa: B006  FastAPI copies it
    """The same as server-sent events; pictures are fetched from `/api/jobs/ID/preview` when `preview` grows."""
    await run_in_threadpool(_snapshot, shop, caller, job)  # a job that is not there is said before the stream begins
    mailbox = Mailbox(caller.sees, frozenset(job), False)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    told = _told(request, mailbox, lambda: _snapshot(shop, caller, job), job if until == "end" else [])
    return StreamingResponse(told, media_type="text/event-stream", headers=headers)


async def _told(
    request: Request, mailbox: Mailbox, snapshot: Callable[[], list[dict[str, Any]]], named: list[str]
) -> AsyncIterator[str]:
    watcher: Watcher = request.app.state.watcher
    watcher.listen(mailbox)
    try:
        known = await run_in_threadpool(snapshot)
        last = {state["id"]: state["state"] for state in known}
        yield _event("snapshot", {"jobs": known})
        while not _all_ended(named, last) and not watcher.stopped:
            try:
                await asyncio.wait_for(mailbox.ring.wait(), _HEARTBEAT_S)
            except TimeoutError:
                yield ": still here\n\n"
                continue
            for state in mailbox.take()[0]:
                last[state["id"]] = state["state"]
                yield _event("job", state)
        yield _event("end", {})
    finally:
        watcher.leave(mailbox)


def _event(kind: str, content: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n"
