"""What clients of OpenAI's contract send becomes orders of this workshop."""

from __future__ import annotations

import base64
import binascii
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from reelwright import catalog
from reelwright.errors import NotFound, RequestError
from reelwright.fetching import Fetcher
from reelwright.films import known_options
from reelwright.jobs.ledger import StoredAsset
from reelwright.jobs.rows import Job
from reelwright.media.sniff import HEAD, sniff
from reelwright.request import GenerationRequest, Input
from reelwright.server.assets import kept, received
from reelwright.server.auth import Caller
from reelwright.server.jobs import order, own
from reelwright.server.openai_bodies import Reference, VideoBody
from reelwright.workbench import FILM, GENERATE
from reelwright.workshop import IMAGE, TEXT, Workshop

_FAMOUS = ("sora-2", "sora-2-pro", "gpt-image", "dall-e")
"""Model names that clients send by habit; ours are taken for them."""
SIZE, SECONDS = (720, 1280), 4.0
"""What OpenAI takes when nothing is said."""
_FETCHED = 64 * 1024**2


def video_id(job: str) -> str:
    """A job's id as the contract writes it."""
    return "video_" + job.removeprefix("job_")


def job_id(video: str) -> str:
    """The job of a video's id."""
    return "job_" + video.removeprefix("video_")


def video_job(shop: Workshop, video: str, caller: Caller) -> Job:
    """The job of a video that the caller may see; raises NotFound."""
    job = own(shop, job_id(video), caller)
    if job.kind not in (GENERATE, FILM):
        raise NotFound(f"there is no video {video}", hint="List them first.", field="video_id")
    return job


async def given_asset(
    reference: Reference | None, file: UploadFile | None, field: str, shop: Workshop, caller: Caller
) -> StoredAsset | None:
    """A picture or video that came along, was stored before, or lies somewhere else; raises RequestError, MissingAsset."""
    if file is not None:

        async def pieces() -> Any:
            while piece := await file.read(1024**2):
                yield piece

        with tempfile.TemporaryDirectory(prefix="reelwright-") as folder:
            path, kind = await received(pieces(), Path(folder), shop, caller)
            return await run_in_threadpool(kept, path, kind, shop, caller, file.filename or "")
    if reference is None:
        return None
    return await run_in_threadpool(referred, reference, field, shop, caller)


def referred(reference: Reference, field: str, shop: Workshop, caller: Caller) -> StoredAsset:
    """The asset that a reference names, or leads to; raises MissingAsset, RequestError."""
    if reference.file_id is not None:
        return shop.ledger.asset(reference.file_id, caller.owner)
    if reference.id is not None:
        if reference.id.startswith("asset_"):
            return shop.ledger.asset(reference.id, caller.owner)
        job = video_job(shop, reference.id, caller)
        if job.state != "done":
            raise RequestError(f"video {reference.id} is not completed", hint="Wait for it.", field=field)
        return shop.ledger.asset((job.result or {})["asset"])
    url = reference.image_url or reference.video_url
    if not url:
        raise RequestError(f"{field} names nothing", hint="Send a file, file_id or image_url.", field=field)
    with tempfile.TemporaryDirectory(prefix="reelwright-") as folder:
        path = Path(folder) / "part"
        if url.startswith("data:"):
            path.write_bytes(_data(url, field))
        else:
            Fetcher(shop.settings.allow_hosts).fetch(url, path, most=min(_FETCHED, shop.settings.max_video_file_size))
        with path.open("rb") as opened:
            kind = sniff(opened.read(HEAD))
        return kept(path.rename(path.with_name(f"file{kind.ending}")), kind, shop, caller)


def _data(url: str, field: str) -> bytes:
    head, comma, text = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise RequestError("a data URL is written data:image/png;base64,...", field=field)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("the data URL is not base64", field=field) from None


def model_for(asked: str | None, shop: Workshop, task: str) -> tuple[catalog.Card, bool]:
    """The card of a model name, and whether it is a habit's name that stands for the default."""
    if asked is None or asked.startswith(_FAMOUS):
        return catalog.find(shop.defaults()[task]), True
    return catalog.find(asked), False


def request_of(body: VideoBody, inputs: tuple[Input, ...], shop: Workshop) -> tuple[GenerationRequest, catalog.Card, list[str]]:
    """The request that a body means, its model's card, and what could not be honoured."""
    card, habit = model_for(body.model, shop, IMAGE if inputs else TEXT)
    width, height = body.dimensions
    seconds = body.seconds
    if habit and width is None and height is None:
        width, height = SIZE
    if body.num_frames is not None and seconds is None:
        seconds = body.num_frames / (body.fps or card.fps.default)
    if habit and seconds is None:
        seconds = SECONDS
    options, warnings = known_options(card.title, card.options, body.options)
    if habit and body.model is not None:
        warnings.append(f"{body.model} is not here; {card.title} makes it.")
    request = GenerationRequest(
        body.prompt, card.id, body.negative_prompt, width, height, seconds, body.fps, body.seed, inputs, options=options
    )
    return request, card, warnings


def ordered(
    shop: Workshop, caller: Caller, once: str | None, request: GenerationRequest, warnings: list[str], asked: str | None,
    **about: Any,
) -> Job:  # fmt: skip
    """The job of a request; what the contract shows of it goes with it."""
    shot = shop.estimate(request, caller.owner)[0]
    facts = {
        "width": shot.width, "height": shot.height, "seconds": f"{float(shot.frames / shot.fps):g}", "prompt": request.prompt,
        "model": asked or shot.card.id, "warnings": warnings, "seed": shot.seed, **about,
    }  # fmt: skip
    wanted = order(caller, once, "openai", repr(request), about)
    return shop.generate(request, replace(wanted, about={"openai": facts}))
