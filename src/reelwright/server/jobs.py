"""Jobs over HTTP: make, list, look, stop, try again, fetch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Interval
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import FileResponse

from reelwright import showing
from reelwright.errors import Conflict, NotFound
from reelwright.jobs.rows import Job
from reelwright.media.encode import Encoding
from reelwright.request import GenerationRequest
from reelwright.server.assets import After, sent
from reelwright.server.auth import Caller, Reader, Shop, Writer
from reelwright.storyfile import validated
from reelwright.workshop import Order, Workshop

ROUTER = APIRouter(prefix="/api", tags=["jobs"])

Once = Annotated[str | None, Header(alias="Idempotency-Key", max_length=256, description="The same key makes one job.")]


def shown(shop: Workshop, job: Job) -> dict[str, Any]:
    """A job as JSON."""
    return showing.shown(shop.store, job)


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
    return Order(caller.owner, extra.priority, call, encoding=encoding, ending=extra.ending.lower(), limits=caller.limits)


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
    parent: Annotated[str | None, Query(max_length=64, description="Only parts of this job.")] = None,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """Jobs, newest first."""
    found = shop.store.list(owner=caller.sees, states=(state,) if state else (), parent=parent, after=after, limit=limit + 1)
    return {"jobs": [shown(shop, job) for job in found[:limit]], "more": len(found) > limit}


@ROUTER.get("/jobs/{job}", operation_id="get_job")
def show(job: str, shop: Shop, caller: Reader) -> dict[str, Any]:
    """A job."""
    return shown(shop, own(shop, job, caller))


@ROUTER.get("/jobs/{job}/events", operation_id="list_job_events")
def events(job: str, shop: Shop, caller: Reader, after: Annotated[int, Query(ge=0, lt=2**53)] = 0) -> dict[str, Any]:
    """What happened to a job, oldest first."""
    return {"events": showing.events(shop.store, own(shop, job, caller).id, after)}


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


@dataclass(frozen=True)
class Priority:
    """How urgent a job is: -100..100, higher before lower."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    priority: Annotated[int, Interval(ge=-100, le=100)]


@ROUTER.post("/jobs/{job}/priority", operation_id="prioritise_job")
def prioritise(job: str, wanted: Priority, shop: Shop, caller: Writer) -> dict[str, Any]:
    """Change what goes first."""
    return shown(shop, shop.store.reprioritise(own(shop, job, caller).id, wanted.priority))


@ROUTER.post("/jobs/{job}/before/{other}", operation_id="move_job")
def move(job: str, other: str, shop: Shop, caller: Writer) -> dict[str, Any]:
    """Put a queued job right before another one of its lane."""
    return shown(shop, shop.store.move(own(shop, job, caller).id, own(shop, other, caller).id))


@ROUTER.get("/jobs/{job}/scenes", operation_id="list_job_scenes")
def scenes(job: str, shop: Shop, caller: Reader) -> dict[str, Any]:
    """The jobs that a film is made of, in the order of its scenes; scenes that need no model have none."""
    parts = shop.store.list(parent=own(shop, job, caller).id, limit=10_000, newest=False)
    found = [{"scene": part.content.get("scene"), **shown(shop, part)} for part in parts]
    return {"scenes": sorted(found, key=lambda scene: scene["scene"] or 0)}


@ROUTER.get("/jobs/{job}/preview", operation_id="get_job_preview", response_class=Response)
def preview(job: str, shop: Shop, caller: Reader) -> Response:
    """The newest picture of a job's result so far, as JPEG."""
    found = shop.store.preview(own(shop, job, caller).id)
    if found is None:
        raise NotFound(f"job {job} has no preview yet", hint="Ask again when it runs.", job=job)
    number, picture = found
    return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "no-cache", "ETag": f'"{number}"'})


@ROUTER.delete("/jobs/{job}", operation_id="delete_job")
def delete(job: str, shop: Shop, caller: Writer) -> dict[str, Any]:
    """Forget a job that has ended."""
    shop.store.delete(own(shop, job, caller).id)
    return {"id": job, "deleted": True}


@ROUTER.get("/jobs/{job}/result", operation_id="get_job_result", response_class=FileResponse)
def result(job: str, shop: Shop, caller: Reader, request: Request) -> Response:
    """The film of a job that is done, in ranges if asked for; or the address where it lies."""
    return film(shop, own(shop, job, caller), request)


@ROUTER.get("/jobs/{job}/thumbnail", operation_id="get_job_thumbnail", response_class=FileResponse)
def thumbnail(job: str, shop: Shop, caller: Reader, request: Request) -> Response:
    """The first picture of a job's film."""
    return film(shop, own(shop, job, caller), request, "thumbnail")


def film(shop: Workshop, job: Job, request: Request, part: str = "asset") -> Response:
    """The film of a job, or its thumbnail; raises Conflict if it has none."""
    made = (job.result or {}).get(part)
    if made is None:
        raise Conflict(f"job {job.id} is {job.state} and has no film", hint="Ask again when it is done.", job=job.id)
    return sent(shop, shop.ledger.asset(made), request)
