"""The routes of the video-generation guide: text or an image in, an MP4 file or a job out."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval, MaxLen
from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from reelwright import catalog
from reelwright.errors import BackendError, RequestError, TimedOut, TooLarge, Unsupported
from reelwright.jobs.rows import DONE, Job
from reelwright.media.sniff import HEAD, sniff
from reelwright.request import GenerationRequest, Input
from reelwright.server.assets import kept
from reelwright.server.auth import Caller, Reader, Shop, Writer
from reelwright.server.jobs import Once, film, order, own, shown
from reelwright.types import Role
from reelwright.workshop import Workshop

ROUTER = APIRouter(prefix="/api/video", tags=["video"])

_LOOK_S = 0.05
_PICTURES = ("image/png", "image/jpeg", "image/webp")
_IMAGE_MOST = 64 * 1024**2


@dataclass(frozen=True)
class TextToVideo:
    """What the guide's calls take; `duration` in seconds."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    prompt: Annotated[str, MaxLen(20_000)]
    model: Annotated[str, MaxLen(256)] | None = None
    negative_prompt: Annotated[str, MaxLen(20_000)] = ""
    duration: Annotated[float, Interval(gt=0, le=86_400)] = 6.0
    fps: Annotated[float, Interval(ge=1, le=240)] = 8.0
    num_inference_steps: Annotated[int, Interval(ge=1, le=1000)] = 50
    seed: Annotated[int, Interval(ge=0, lt=2**53)] | None = None


def _request(asked: TextToVideo, shop: Workshop, inputs: tuple[Input, ...] = ()) -> GenerationRequest:
    settings = shop.settings
    model = asked.model or (settings.default_image_to_video_model if inputs else settings.default_text_to_video_model)
    if not asked.prompt.strip() and not inputs:
        raise RequestError("a prompt is needed", hint="Say what is to be seen.", field="prompt")
    steps = {"steps": asked.num_inference_steps} if "steps" in catalog.find(model).options else {}
    return GenerationRequest(
        asked.prompt, model, asked.negative_prompt, seconds=asked.duration, fps=asked.fps, seed=asked.seed, inputs=inputs,
        options=steps,
    )  # fmt: skip


async def waited(shop: Workshop, job: Job, request: Request) -> Response:
    """The film when it is there; raises what `ended` raises."""
    return await run_in_threadpool(film, shop, await ended(shop, job, request), request)


async def ended(shop: Workshop, job: Job, request: Request) -> Job:
    """The job when it is done; it is stopped if nobody waits any more, or not in time.

    Raises TimedOut, and BackendError for a job that came to nothing.
    """
    deadline = time.monotonic() + shop.settings.request_timeout
    while not job.ended:
        if await request.is_disconnected():
            await run_in_threadpool(shop.store.cancel, job.id)
            raise BackendError("nobody waits any more", job=job.id)
        if time.monotonic() > deadline:
            await run_in_threadpool(shop.store.cancel, job.id)
            raise TimedOut("it was not done in time", hint="Use /api/video/generate for long work.", job=job.id)
        await asyncio.sleep(_LOOK_S)
        job = await run_in_threadpool(shop.store.get, job.id)
    if job.state == DONE:
        return job
    body = job.error or {"error": "cancelled", "message": f"job {job.id} was cancelled"}
    raise BackendError(str(body["message"]), job=job.id, cause=body["error"])


@ROUTER.post("/text-to-video", operation_id="text_to_video", response_class=FileResponse)
async def text_to_video(asked: TextToVideo, request: Request, shop: Shop, caller: Writer, once: Once = None) -> Response:
    """Make a clip from a text and answer with the MP4 file. Waits for REQUEST_TIMEOUT seconds at most."""
    wanted = _request(asked, shop)
    job = await run_in_threadpool(shop.generate, wanted, order(caller, once, "text-to-video", repr(wanted)))
    return await waited(shop, job, request)


@ROUTER.post("/generate", status_code=202, operation_id="generate_video")
def generate(asked: TextToVideo, shop: Shop, caller: Writer, once: Once = None) -> dict[str, Any]:
    """Queue a clip from a text; answers at once with the job."""
    wanted = _request(asked, shop)
    job = shop.generate(wanted, order(caller, once, "generate", repr(wanted)))
    return {"job_id": job.id, "status": job.state, **shown(shop, job)}


@ROUTER.get("/status/{job_id}", operation_id="video_status")
def status(job_id: str, shop: Shop, caller: Reader) -> dict[str, Any]:
    """How a job stands."""
    job = own(shop, job_id, caller)
    return {"job_id": job.id, "status": job.state, **shown(shop, job)}


def _picture(image: UploadFile, shop: Workshop, caller: Caller) -> Input:
    """An uploaded picture as an input; raises Unsupported, TooLarge, MediaError."""
    most = min(_IMAGE_MOST, shop.settings.max_video_file_size)
    content = image.file.read(most + 1)
    if len(content) > most:
        raise TooLarge(f"a picture has at most {most} bytes", hint="Make it smaller.", field="image")
    kind = sniff(content[:HEAD])
    if kind.media_type not in _PICTURES:
        raise Unsupported("the image is neither PNG, JPEG nor WebP", hint="Convert it first.", field="image")
    with tempfile.TemporaryDirectory(prefix="reelwright-") as folder:
        path = Path(folder) / f"image{kind.ending}"
        path.write_bytes(content)
        return Input(Role.FIRST_FRAME, kept(path, kind, shop, caller, image.filename or "").id)


Image = Annotated[UploadFile, File(description="PNG, JPEG or WebP.")]
Text = Annotated[str, Form(max_length=20_000)]
Model = Annotated[str | None, Form(max_length=256)]
Seconds = Annotated[float, Form(gt=0, le=86_400)]
Rate = Annotated[float, Form(ge=1, le=240)]
Steps = Annotated[int, Form(ge=1, le=1000)]


@ROUTER.post("/image-to-video", operation_id="image_to_video", response_class=FileResponse)
async def image_to_video(
    request: Request, shop: Shop, caller: Writer, image: Image, prompt: Text = "", model: Model = None, duration: Seconds = 6.0,
    fps: Rate = 8.0, num_inference_steps: Steps = 50, once: Once = None,
) -> Response:  # fmt: skip
    """Make a clip from a picture and answer with the MP4 file."""
    asked = TextToVideo(prompt, model, "", duration, fps, num_inference_steps)
    job = await run_in_threadpool(_animated, shop, caller, image, asked, once)
    return await waited(shop, job, request)


@ROUTER.post("/animate", status_code=202, operation_id="animate_image")
def animate(
    shop: Shop, caller: Writer, image: Image, prompt: Text = "", model: Model = None, duration: Seconds = 6.0,
    fps: Rate = 8.0, num_inference_steps: Steps = 50, once: Once = None,
) -> dict[str, Any]:  # fmt: skip
    """Queue a clip from a picture; answers at once with the job."""
    job = _animated(shop, caller, image, TextToVideo(prompt, model, "", duration, fps, num_inference_steps), once)
    return {"job_id": job.id, "status": job.state, **shown(shop, job)}


def _animated(shop: Workshop, caller: Caller, image: UploadFile, asked: TextToVideo, once: str | None) -> Job:
    given = _picture(image, shop, caller)
    wanted = _request(asked, shop, (given,))
    digest = shop.ledger.asset(given.ref).digest
    return shop.generate(wanted, order(caller, once, "animate", repr(asked), digest))
