"""Jobs over HTTP: make, list, look, stop, try again, fetch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import FileResponse, RedirectResponse

from reelwright.errors import Conflict
from reelwright.jobs.rows import Job
from reelwright.media.encode import Encoding
from reelwright.request import GenerationRequest
from reelwright.server.auth import Caller, Reader, Shop, Writer
from reelwright.storyfile import validated
from reelwright.workshop import Order, Workshop

ROUTER = APIRouter(prefix="/api", tags=["jobs"])

Once = Annotated[str | None, Header(alias="Idempotency-Key", max_length=256, description="The same key makes one job.")]
_URL_S = 3600


def shown(shop: Workshop, job: Job) -> dict[str, Any]:
    """A job as JSON; nothing of this machine's paths."""
    progress = job.progress or {}
    total = progress.get("total") or 0
    share = 1.0 if job.state == "done" else min(1.0, progress.get("done", 0) / total) if total else 0.0
    return {
        "id": job.id, "kind": job.kind, "model": job.model, "state": job.state, "held": job.held, "priority": job.priority,
        "progress": round(share, 4), "stage": progress.get("stage"), "step": progress.get("done"), "steps": total or None,
        "eta_seconds": progress.get("eta"), "queue_position": shop.store.ahead(job) if job.state == "queued" else None,
        "estimate_seconds": job.estimate, "attempt": job.attempt, "parent": job.parent, "notes": job.notes, "error": job.error,
        "created_at": at(job.created_at), "started_at": at(job.started_at), "finished_at": at(job.finished_at),
        "result": job.result, "result_url": f"/api/jobs/{job.id}/result" if (job.result or {}).get("asset") else None,
    }  # fmt: skip


def at(time: float | None) -> str | None:
    """Seconds since 1970 as ISO 8601, in UTC."""
    return None if time is None else datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Extras:
    """What a call that makes a job may say in its query: how urgent it is, and how the file is to be written."""

    priority: Annotated[int, Query(ge=-100, le=100, description="Higher goes first.")] = 0
    ending: Annotated[str, Query(max_length=8, description="The file's kind: .mp4, .mov, .webm, .mkv, .gif ...")] = ".mp4"
    codec: Annotated[str | None, Query(max_length=16, description="h264, h265, av1, vp9, prores, gif or webp.")] = None
    bitrate: Annotated[int | None, Query(ge=50, le=500_000, description="Ceiling in kbit/s.")] = None
    hardware: Annotated[bool, Query(description="Use the machine's video encoder where there is one.")] = False


Extra = Annotated[Extras, Depends()]


def order(caller: Caller, once: str | None, *asked: Any, extra: Extras | None = None) -> Order:
    """The order of a call; the same Idempotency-Key with the same `asked` (JSON values) is the same order."""
    extra = extra or Extras()
    text = json.dumps([asked, repr(extra)], sort_keys=True, default=str)
    call = None if once is None else (once, hashlib.sha256(text.encode()).hexdigest())
    encoding = Encoding(codec=extra.codec, bitrate=extra.bitrate, hardware=extra.hardware)
    return Order(caller.owner, extra.priority, call, encoding=encoding, ending=extra.ending.lower())


def own(shop: Workshop, job: str, caller: Caller) -> Job:
    """A job that the caller may see; raises NotFound."""
    return shop.store.get(job, caller.sees)


@ROUTER.post("/jobs", status_code=202, operation_id="create_job")
def create(request: GenerationRequest, shop: Shop, caller: Writer, extra: Extra, once: Once = None) -> dict[str, Any]:
    """Queue a clip; answers at once with the job."""
    return shown(shop, shop.generate(request, order(caller, once, "job", repr(request), extra=extra)))


@ROUTER.post("/storyboards/render", status_code=202, operation_id="render_storyboard")
def render(storyboard: dict[str, Any], shop: Shop, caller: Writer, extra: Extra, once: Once = None) -> dict[str, Any]:
    """Queue a storyboard's film; everything that is wrong with it is said at once. It may name assets, no files."""
    return shown(shop, shop.film(validated(storyboard), order(caller, once, "film", storyboard, extra=extra)))


@ROUTER.get("/jobs", operation_id="list_jobs")
def jobs(
    shop: Shop,
    caller: Reader,
    state: Annotated[str | None, Query(description="Only waiting, queued, running, done, failed or cancelled ones.")] = None,
    after: Annotated[str | None, Query(max_length=64, description="The id that the page before ended with.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """Jobs, newest first."""
    found = shop.store.list(owner=caller.sees, states=(state,) if state else (), after=after, limit=limit + 1)
    return {"jobs": [shown(shop, job) for job in found[:limit]], "more": len(found) > limit}


@ROUTER.get("/jobs/{job}", operation_id="get_job")
def show(job: str, shop: Shop, caller: Reader) -> dict[str, Any]:
    """A job."""
    return shown(shop, own(shop, job, caller))


@ROUTER.get("/jobs/{job}/events", operation_id="list_job_events")
def events(job: str, shop: Shop, caller: Reader, after: Annotated[int, Query(ge=0, lt=2**53)] = 0) -> dict[str, Any]:
    """What happened to a job, oldest first."""
    found = shop.store.events(own(shop, job, caller).id, after)
    return {"events": [{"number": each.number, "at": at(each.at), "what": each.what, **each.facts} for each in found]}


@ROUTER.post("/jobs/{job}/cancel", operation_id="cancel_job")
def cancel(job: str, shop: Shop, caller: Writer) -> dict[str, Any]:
    """Stop a job: at once if it waits, within a step if it runs."""
    return shown(shop, shop.store.cancel(own(shop, job, caller).id))


@ROUTER.post("/jobs/{job}/retry", operation_id="retry_job")
def retry(job: str, shop: Shop, caller: Writer) -> dict[str, Any]:
    """Queue a failed or cancelled job again; finished scenes are kept."""
    made = shop.store.retry(own(shop, job, caller).id)
    shop.announce()
    return shown(shop, made)


@ROUTER.post("/jobs/{job}/hold", operation_id="hold_job")
def hold(job: str, shop: Shop, caller: Writer) -> dict[str, Any]:
    """Pause a job that has not begun."""
    return shown(shop, shop.store.hold(own(shop, job, caller).id))


@ROUTER.post("/jobs/{job}/release", operation_id="release_job")
def release(job: str, shop: Shop, caller: Writer) -> dict[str, Any]:
    """Let a paused job go on."""
    return shown(shop, shop.store.hold(own(shop, job, caller).id, held=False))


@ROUTER.delete("/jobs/{job}", operation_id="delete_job")
def delete(job: str, shop: Shop, caller: Writer) -> dict[str, Any]:
    """Forget a job that has ended."""
    shop.store.delete(own(shop, job, caller).id)
    return {"id": job, "deleted": True}


@ROUTER.get("/jobs/{job}/result", operation_id="get_job_result", response_class=FileResponse)
def result(job: str, shop: Shop, caller: Reader) -> Response:
    """The film of a job that is done, in ranges if asked for; or the address where it lies."""
    return film(shop, own(shop, job, caller))


def film(shop: Workshop, job: Job) -> Response:
    """The film of a job; raises Conflict if it has none."""
    made = (job.result or {}).get("asset")
    if made is None:
        raise Conflict(f"job {job.id} is {job.state} and has no film", hint="Ask again when it is done.", job=job.id)
    asset = shop.ledger.asset(made)
    address = shop.blobs.url(asset.digest, _URL_S, asset.kind, asset.name)
    if address is not None:
        return RedirectResponse(address, 307)
    return FileResponse(shop.file(asset), media_type=asset.kind, filename=asset.name, headers={"Cache-Control": "private"})
