"""Many clips with one call, and the whole queue: paused and let go on."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from reelwright import batch
from reelwright.errors import RequestError
from reelwright.server.auth import Admin, Reader, Shop, Writer
from reelwright.server.jobs import Extra, Once, order, own, shown

ROUTER = APIRouter(prefix="/api", tags=["batch"])

_KINDS = {
    "application/json": batch.JSON, "application/jsonl": batch.JSON_LINES, "application/x-ndjson": batch.JSON_LINES,
    "text/csv": batch.CSV,
}  # fmt: skip
_BODY = {"requestBody": {"required": True, "content": {kind: {"schema": {"type": "string"}} for kind in _KINDS}}}


@ROUTER.post("/batch", status_code=202, operation_id="create_batch", openapi_extra=_BODY)
async def create(request: Request, shop: Shop, caller: Writer, extra: Extra, once: Once = None) -> dict[str, Any]:
    """Queue many clips, all or none: JSON lines, CSV, or JSON with `requests` or a `matrix` of prompts, models and seeds."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _KINDS:
        raise RequestError(f"a batch is one of {', '.join(_KINDS)}", hint="Say which as Content-Type.", field="Content-Type")
    try:
        text = (await request.body()).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RequestError("the batch is not UTF-8 text", hint="Save it as UTF-8.") from None
    requests = batch.parse(text, _KINDS[kind])
    made = await run_in_threadpool(shop.batch, requests, order(caller, once, "batch", text, extra=extra))
    return {**shown(shop, made), "jobs": len(requests)}


@ROUTER.get("/batch/{job}", operation_id="get_batch")
def show(job: str, shop: Shop, caller: Reader) -> dict[str, Any]:
    """How a batch stands: its jobs by state. `GET /api/jobs?parent=ID` lists them; cancelling the batch cancels them all."""
    found = own(shop, job, caller)
    states: dict[str, int] = {}
    for part in shop.store.list(parent=found.id, limit=batch.MOST):
        states[part.state] = states.get(part.state, 0) + 1
    return {"id": found.id, "jobs": sum(states.values()), "states": states}


@ROUTER.post("/queue/pause", operation_id="pause_queue")
def pause(shop: Shop, _: Admin) -> dict[str, Any]:
    """Let no worker begin anything; what runs goes on."""
    shop.store.pause()
    return {"paused": True}


@ROUTER.post("/queue/resume", operation_id="resume_queue")
def resume(shop: Shop, _: Admin) -> dict[str, Any]:
    """Let workers begin jobs again."""
    shop.store.pause(False)
    return {"paused": False}
