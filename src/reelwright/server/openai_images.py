"""OpenAI's image contract, for key frames: what a model makes of a prompt, one picture of it."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Interval, MaxLen, MinLen
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from reelwright.errors import RequestError
from reelwright.jobs.rows import Job
from reelwright.request import GenerationRequest
from reelwright.server.auth import Caller, Shop, Writer
from reelwright.server.jobs import Once, order
from reelwright.server.openai_bodies import SIZE
from reelwright.server.openai_orders import model_for
from reelwright.server.video import ended
from reelwright.workbench import PICTURE
from reelwright.workshop import TEXT, Workshop

ROUTER = APIRouter(prefix="/v1", tags=["openai"])


@dataclass(frozen=True)
class ImageBody:
    """Pictures that are wanted: `n` of them, `size` as 1024x1024 or "auto". Quality, style and the like are taken and left."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    prompt: Annotated[str, MinLen(1), MaxLen(20_000)]
    model: Annotated[str, MaxLen(256)] | None = None
    n: Annotated[int, Interval(ge=1, le=10)] = 1
    size: Annotated[str, MaxLen(16)] = "auto"
    response_format: Literal["b64_json", "url"] = "b64_json"
    output_format: Literal["png"] = "png"
    seed: Annotated[int, Interval(ge=0, lt=2**53)] | None = None
    quality: str | None = None
    style: str | None = None
    background: str | None = None
    moderation: str | None = None
    user: str | None = None


@ROUTER.post("/images/generations", operation_id="create_image")
async def create(body: ImageBody, request: Request, shop: Shop, caller: Writer, once: Once = None) -> dict[str, Any]:
    """Make pictures from a prompt and answer with them."""
    found = SIZE.match(body.size.strip())
    if found is None and body.size != "auto":
        raise RequestError("a size is written 1024x1024", hint="Width first.", field="size")
    size = (int(found[1]), int(found[2])) if found else (1024, 1024)
    jobs = [await run_in_threadpool(_ordered, body, size, number, shop, caller, once) for number in range(body.n)]
    made = [await ended(shop, job, request) for job in jobs]
    data = [await run_in_threadpool(_shown, shop, job, body.response_format, str(request.base_url)) for job in made]
    return {"created": int(time.time()), "data": data, "output_format": "png", "size": f"{size[0]}x{size[1]}"}


def _ordered(body: ImageBody, size: tuple[int, int], number: int, shop: Workshop, caller: Caller, once: str | None) -> Job:
    card, _ = model_for(body.model, shop, TEXT)
    first = body.seed if body.seed is not None else shop.estimate(GenerationRequest(body.prompt, card.id), caller.owner)[0].seed
    request = GenerationRequest(
        body.prompt, card.id, width=size[0], height=size[1], seconds=1 / card.fps.default, seed=(first + number) % 2**53
    )
    key = None if once is None else f"{once} {number}"
    return shop.generate(request, order(caller, key, "image", repr(body)), PICTURE)


def _shown(shop: Workshop, job: Job, form: str, base: str) -> dict[str, Any]:
    asset = shop.ledger.asset((job.result or {})["asset"])
    if form == "url":
        return {"url": f"{base}api/assets/{asset.id}/content"}
    return {"b64_json": base64.b64encode(shop.blobs.path(asset.digest).read_bytes()).decode()}
