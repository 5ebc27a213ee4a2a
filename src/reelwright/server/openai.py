"""OpenAI's videos contract, so that its SDK and everything written for it work unchanged.

What has no place there travels in additional keys, which its clients keep: `eta_seconds`, `queue_position`, `stage`,
`warnings`, `state`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from pydantic import TypeAdapter

from reelwright import catalog, showing
from reelwright.errors import NotFound, RequestError, Unsupported
from reelwright.films import known_options
from reelwright.jobs.ledger import StoredAsset
from reelwright.jobs.rows import Job
from reelwright.request import GenerationRequest, Input
from reelwright.server.assets import sent
from reelwright.server.auth import Caller, Reader, Shop, Writer
from reelwright.server.jobs import Once, order
from reelwright.server.openai_bodies import Reference, VideoBody, body_of, parts_of
from reelwright.server.openai_orders import SECONDS, given_asset, job_id, model_for, ordered, request_of, video_id, video_job
from reelwright.server.video import waited
from reelwright.storyboard import Scene, Storyboard
from reelwright.types import Role
from reelwright.workbench import FILM, GENERATE
from reelwright.workshop import IMAGE, Workshop


async def _closing(request: Request) -> AsyncIterator[None]:
    """Files of a form are let go when the call is over."""
    try:
        yield
    finally:
        await request.close()


ROUTER = APIRouter(prefix="/v1", tags=["openai"], dependencies=[Depends(_closing)])

_STATUS = {"waiting": "queued", "queued": "queued", "running": "in_progress", "done": "completed"}
_POLL_MS = (500, 10_000)
_REQUEST = TypeAdapter(GenerationRequest)
_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {
        kind: {"schema": {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string"}}}}
        for kind in ("application/json", "multipart/form-data")
    }}
}  # fmt: skip


def shown(shop: Workshop, job: Job) -> dict[str, Any]:
    """A job as OpenAI's Video object, with our own keys beside."""
    facts = showing.shown(shop.store, job)
    about, result = job.content.get("openai", {}), job.result or {}
    request = job.content.get("request", {})
    width, height = result.get("width") or about.get("width") or 0, result.get("height") or about.get("height") or 0
    seconds = about.get("seconds") or result.get("seconds") or request.get("seconds") or 0
    error = None
    if job.state in ("failed", "cancelled"):
        known = job.error or {"error": "cancelled", "message": "the video was cancelled"}
        error = {"code": "cancelled" if job.state == "cancelled" else known["error"], "message": str(known["message"])}
    return {
        "id": video_id(job.id), "object": "video", "model": about.get("model") or job.model or "storyboard",
        "status": _STATUS.get(job.state, "failed"), "progress": int(facts["progress"] * 100), "created_at": int(job.created_at),
        "completed_at": int(job.finished_at) if job.state == "done" and job.finished_at else None, "expires_at": None,
        "size": f"{width}x{height}", "seconds": f"{seconds:g}" if isinstance(seconds, float | int) else str(seconds),
        "prompt": about.get("prompt") or request.get("prompt", ""), "remixed_from_video_id": about.get("remixed_from"),
        "error": error, "state": job.state, "eta_seconds": facts["eta_seconds"], "queue_position": facts["queue_position"],
        "stage": facts["stage"], "warnings": [*about.get("warnings", ()), *job.notes], "job": job.id,
    }  # fmt: skip


def _answer(shop: Workshop, job: Job, response: Response) -> dict[str, Any]:
    """The Video; and when to ask again, a twentieth of what is left, as a client reads it once only."""
    made = shown(shop, job)
    if not job.ended:
        left = made["eta_seconds"] or job.estimate or 10.0
        response.headers["openai-poll-after-ms"] = str(round(max(_POLL_MS[0], min(_POLL_MS[1], left * 50))))
    return made


# ---- videos


async def _create(request: Request, shop: Workshop, caller: Caller, once: str | None) -> Job:
    body, files = await body_of(request)
    given = await given_asset(body.input_reference, files.get("input_reference"), "input_reference", shop, caller)
    if body.video is not None or "video" in files:
        raise RequestError("a video is edited or extended", hint="Use /v1/videos/edits or /extensions.", field="video")
    inputs = () if given is None else (Input(Role.FIRST_FRAME, given.id, body.strength),)
    wanted, _, warnings = await run_in_threadpool(request_of, body, inputs, shop)
    return await run_in_threadpool(ordered, shop, caller, once, wanted, warnings, body.model)


@ROUTER.post("/videos", operation_id="create_video", openapi_extra=_BODY)
async def create(request: Request, response: Response, shop: Shop, caller: Writer, once: Once = None) -> dict[str, Any]:
    """Start a video from a prompt and, where wanted, a picture."""
    job = await _create(request, shop, caller, once)
    return await run_in_threadpool(_answer, shop, job, response)


@ROUTER.post("/videos/sync", operation_id="create_video_sync", openapi_extra=_BODY, response_class=FileResponse)
async def create_sync(request: Request, shop: Shop, caller: Writer, once: Once = None) -> Response:
    """Make a video and answer with the MP4 file (as vLLM-Omni does)."""
    began = time.monotonic()
    job = await _create(request, shop, caller, once)
    made = await waited(shop, job, request)
    made.headers["X-Model"] = job.model or ""
    made.headers["X-Inference-Time-S"] = f"{time.monotonic() - began:.3f}"
    return made


@ROUTER.get("/videos", operation_id="list_videos")
def videos(
    shop: Shop, caller: Reader, after: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20, order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:  # fmt: skip
    """Videos, newest first unless asked otherwise."""
    last = None if after is None else job_id(after)
    found = shop.store.list(
        owner=caller.sees, kinds=(GENERATE, FILM), after=last, limit=limit + 1, newest=order == "desc", roots=True
    )
    data = [shown(shop, job) for job in found[:limit]]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, "has_more": len(found) > limit, **ends}


# ---- characters; before /videos/{video_id}, which would take their name for an id


@ROUTER.post("/videos/characters", operation_id="create_character", openapi_extra=_BODY)
async def character(request: Request, shop: Shop, caller: Writer) -> dict[str, Any]:
    """Keep a video of someone under a name."""
    content, files = await parts_of(request)
    name = content.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= 128:
        raise RequestError("a character has a name of up to 128 letters", field="name")
    named = content.get("video")
    reference = Reference(id=str(named["id"])) if isinstance(named, Mapping) and "id" in named else None
    given = await given_asset(reference, files.get("video"), "video", shop, caller)
    if given is None:
        raise RequestError("a character needs a video", hint="Send it as `video`.", field="video")
    return await run_in_threadpool(_character_kept, given, name, shop, caller)


def _character_kept(given: StoredAsset, name: str, shop: Workshop, caller: Caller) -> dict[str, Any]:
    facts = {**given.facts, "character": name}
    made = shop.keep(shop.file(given), caller.owner, name=given.name, kind=given.kind, **facts)
    shop.ledger.pin(made.id, True)
    return _character(made)


def _character(asset: StoredAsset) -> dict[str, Any]:
    made = "char_" + asset.id.removeprefix("asset_")
    return {"id": made, "object": "character", "created_at": int(asset.created_at), "name": asset.facts["character"]}


@ROUTER.get("/videos/characters/{character}", operation_id="get_character")
def show_character(character: str, shop: Shop, caller: Reader) -> dict[str, Any]:
    """A character."""
    found = shop.ledger.asset("asset_" + character.removeprefix("char_"), caller.sees)
    if "character" not in found.facts:
        raise NotFound(f"there is no character {character}", hint="Create it first.", field="character_id")
    return _character(found)


# ---- edits and extensions


@ROUTER.post("/videos/edits", operation_id="edit_video", openapi_extra=_BODY)
async def edit(request: Request, response: Response, shop: Shop, caller: Writer, once: Once = None) -> dict[str, Any]:
    """Change a video by a prompt; needs a model that works from a video."""
    body, files = await body_of(request)
    source = await given_asset(body.video, files.get("video"), "video", shop, caller)
    if source is None:
        raise RequestError("a video is needed", hint="Send it, or {id} of one.", field="video")
    job = await run_in_threadpool(_edited, body, source, shop, caller, once)
    return await run_in_threadpool(_answer, shop, job, response)


def _edited(body: VideoBody, source: StoredAsset, shop: Workshop, caller: Caller, once: str | None) -> Job:
    inputs = (Input(Role.SOURCE, source.id, body.strength),)
    wanted, card, warnings = request_of(body, inputs, shop)
    if not card.takes(frozenset({Role.SOURCE})):
        able = [each.id for each in catalog.cards().values() if each.takes(frozenset({Role.SOURCE}))]
        raise Unsupported(
            f"{card.title} cannot edit a video", hint=f"Choose one of {', '.join(able) or 'those that can; none is installed'}.",
            field="model",
        )  # fmt: skip
    return ordered(shop, caller, once, wanted, warnings, body.model, remixed_from=body.video and body.video.id)


@ROUTER.post("/videos/extensions", operation_id="extend_video", openapi_extra=_BODY)
async def extend(request: Request, response: Response, shop: Shop, caller: Writer, once: Once = None) -> dict[str, Any]:
    """Go on from a video's last frame; the answer is the whole, `seconds` its length."""
    body, files = await body_of(request)
    source = await given_asset(body.video, files.get("video"), "video", shop, caller)
    if source is None:
        raise RequestError("a video is needed", hint="Send it, or {id} of one.", field="video")
    job = await run_in_threadpool(_extended, body, source, shop, caller, once)
    return await run_in_threadpool(_answer, shop, job, response)


def _extended(body: VideoBody, source: StoredAsset, shop: Workshop, caller: Caller, once: str | None) -> Job:
    card, habit = model_for(body.model, shop, IMAGE)
    options, warnings = known_options(card.title, card.options, body.options)
    if habit and body.model is not None:
        warnings.append(f"{body.model} is not here; {card.title} makes it.")
    added = body.seconds or SECONDS
    before = float(source.facts.get("seconds", 0))
    more = Scene(body.prompt, seconds=added, model=card.id, image="previous", seed=body.seed, options=options)
    width, height = source.facts.get("width"), source.facts.get("height")
    size = f"{width}x{height}" if width and height else None
    rate = float(Fraction(source.facts["fps"])) if source.facts.get("fps") else None
    board = Storyboard((Scene(clip=source.id), more), title=body.prompt[:80], size=size, fps=rate, negative=body.negative_prompt)
    facts = {
        "width": width, "height": height, "seconds": f"{before + added:g}", "prompt": body.prompt, "warnings": warnings,
        "model": body.model or card.id, "remixed_from": body.video and body.video.id,
    }  # fmt: skip
    wanted = order(caller, once, "extension", source.digest, repr(body))
    return shop.film(board, replace(wanted, about={"openai": facts}))


# ---- one video


@ROUTER.get("/videos/{video_id}", operation_id="get_video")
def show(video_id: str, response: Response, shop: Shop, caller: Reader) -> dict[str, Any]:
    """A video; a failed one is an answer like any other."""
    return _answer(shop, video_job(shop, video_id, caller), response)


@ROUTER.delete("/videos/{video_id}", operation_id="delete_video")
async def delete(video_id: str, shop: Shop, caller: Writer) -> dict[str, Any]:
    """Stop a video if it is being made, and forget it."""
    job = await run_in_threadpool(video_job, shop, video_id, caller)
    if not job.ended:
        job = await run_in_threadpool(shop.store.cancel, job.id)
    deadline = time.monotonic() + 30
    while not job.ended and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        job = await run_in_threadpool(shop.store.get, job.id)
    await run_in_threadpool(shop.store.delete, job.id)
    return {"id": video_id, "object": "video.deleted", "deleted": True}


@ROUTER.get("/videos/{video_id}/content", operation_id="get_video_content", response_class=FileResponse)
def content(
    video_id: str, request: Request, shop: Shop, caller: Reader,
    variant: Literal["video", "thumbnail", "spritesheet"] = "video",
) -> Response:  # fmt: skip
    """The file of a completed video, its first picture, or a sheet of its pictures."""
    job = video_job(shop, video_id, caller)
    if job.state != "done":
        state = shown(shop, job)["status"]
        raise NotFound(f"video {video_id} is {state}", hint="Poll it until it is completed.", field="video_id")
    made = job.result or {}
    if variant == "spritesheet":
        return FileResponse(shop.spritesheet(shop.ledger.asset(made["asset"])), media_type="image/jpeg")
    return sent(shop, shop.ledger.asset(made["asset" if variant == "video" else "thumbnail"]), request)


@ROUTER.post("/videos/{video_id}/remix", operation_id="remix_video", openapi_extra=_BODY)
async def remix(
    video_id: str, request: Request, response: Response, shop: Shop, caller: Writer, once: Once = None
) -> dict[str, Any]:
    """The same video with another prompt: same model, size, seed and pictures."""
    job = await run_in_threadpool(video_job, shop, video_id, caller)
    body, _ = await body_of(request)
    made = await run_in_threadpool(_remixed, job, body, shop, caller, once)
    return await run_in_threadpool(_answer, shop, made, response)


def _remixed(job: Job, body: VideoBody, shop: Workshop, caller: Caller, once: str | None) -> Job:
    if job.kind != GENERATE:
        raise Unsupported("a film of several scenes cannot be remixed", hint="Remix one of its parts.", field="video_id")
    before = _REQUEST.validate_python(job.content["request"])
    seed = before.seed if before.seed is not None else shop.estimate(before, job.owner)[0].seed
    wanted = replace(before, prompt=body.prompt, seed=seed)
    return ordered(shop, caller, once, wanted, [], job.content.get("openai", {}).get("model"), remixed_from=video_id(job.id))


# ---- models


def _listed(card: catalog.Card) -> dict[str, Any]:
    return {"id": card.id, "object": "model", "created": 0, "owned_by": card.family, "tasks": list(card.task)}


@ROUTER.get("/models", operation_id="list_openai_models")
def models(_: Reader) -> dict[str, Any]:
    """The models, as OpenAI lists them."""
    return {"object": "list", "data": [_listed(card) for card in catalog.cards().values()]}


@ROUTER.get("/models/{model:path}", operation_id="get_openai_model")
def show_model(model: str, _: Reader) -> dict[str, Any]:
    """A model, as OpenAI shows it."""
    return _listed(catalog.find(model))
