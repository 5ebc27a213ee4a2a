"""Gradio apps as Spaces run them: a queue, progress, clips from our own encoder, and the ways in which Spaces fail.

    python space_app.py PORT RECORD

Writes the headers of each request, and what each call was given, as lines of JSON to RECORD. The apps lie under /plain, /extra
(one more parameter, with a default), /renamed (`steps` has another name), /needy (a required parameter that nobody knows), /full
(its queue holds one) and /astray (its configuration names another address).
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import uvicorn
from fastapi import FastAPI

from reelwright.media.encode import save
from reelwright.types import Frame, Video, VideoSpec

PORT, RECORD = int(sys.argv[1]), Path(sys.argv[2])
STEPS: dict[str, int] = {}
"""How many steps each kind of work has made, which tells whether a cancel reached it."""
LOCK = threading.Lock()
PROGRESS = gr.Progress()


def clip(words: str, seed: int, picture: str | None, width: int, height: int, frames: int) -> str:
    """A clip that differs by prompt, seed and picture."""
    numbers = np.random.default_rng([int(seed), *words.encode(), *(Path(picture).read_bytes()[-64:] if picture else b"")])
    across, down, start = numbers.uniform(0.5, 3, 3)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]

    def drawn() -> Iterator[Frame]:
        for index in range(frames):
            waves = np.sin(2 * np.pi * (x * across + y * down + start + index / frames))
            yield Frame.of(np.repeat(np.rint(128 + 100 * waves).astype(np.uint8)[..., None], 3, axis=-1))

    path = Path(tempfile.mkdtemp()) / "made.mp4"
    save(Video(VideoSpec(width, height, Fraction(8), frames, False), drawn(), None), path)
    return str(path)


def told(**facts: Any) -> None:
    with LOCK, RECORD.open("a") as file:
        file.write(json.dumps(facts) + "\n")


def made(words: str, picture: str | None, given: dict[str, Any], progress: gr.Progress) -> tuple[str, int]:
    told(call=given | {"prompt": words, "picture": picture is not None})
    if "policy" in words:
        raise gr.Error("This prompt violates the content policy.")
    if "quota" in words:
        raise gr.Error(
            "You have exceeded your GPU quota (60s requested vs. 0s left). Try again in 1:30:00 "
            "<a href='https://huggingface.co/join'>or sign up</a>."
        )
    if "boom" in words:
        raise gr.Error("The model fell over at step 3.")
    if "hidden" in words:
        raise RuntimeError("a reason that is kept")
    slow = "slow" in words
    for index in range(20 if slow else 4):
        progress((index + 1, 20 if slow else 4), desc="Denoising", unit="steps")
        time.sleep(0.1 if slow else 0.02)
        with LOCK:
            STEPS[words] = STEPS.get(words, 0) + 1
        told(step=STEPS[words], of=words)
    if given["randomize_seed"]:
        given["seed"] = time.time_ns() % 2**31
    path = clip(words, given["seed"], picture, int(given["width"]), int(given["height"]), int(given["frames"]))
    return path, given["seed"]


def text_to_video(
    prompt, negative_prompt, width, height, num_frames, steps, seed, randomize_seed, camera_motion, progress=PROGRESS
):
    """As the Spaces of text-to-video models are: a plain function."""
    given = {"width": width, "height": height, "frames": num_frames, "steps": steps, "seed": seed, "camera": camera_motion}
    return made(prompt, None, given | {"randomize_seed": randomize_seed, "negative": negative_prompt}, progress)


def text_to_video_extra(
    prompt, negative_prompt, width, height, num_frames, steps, seed, randomize_seed, camera_motion, more, progress=PROGRESS
):
    return text_to_video(prompt, negative_prompt, width, height, num_frames, steps, seed, randomize_seed, camera_motion, progress)


def text_to_video_renamed(
    prompt, negative_prompt, width, height, num_frames, sampling, seed, randomize_seed, camera_motion, progress=PROGRESS
):
    return text_to_video(
        prompt, negative_prompt, width, height, num_frames, sampling, seed, randomize_seed, camera_motion, progress
    )


def image_to_video(input_image, prompt, seed, progress=PROGRESS):
    given = {"width": 128, "height": 72, "frames": 4, "seed": seed, "randomize_seed": False}
    return made(prompt, input_image, given, progress)[0]


def stream(prompt):
    """A generator: it can be stopped between two of its results."""
    for index in range(40):
        told(step=index + 1, of=prompt)
        yield {"step": index}
        time.sleep(0.1)
    yield {"step": 40}


def elsewhere(prompt):
    """A result that lies at another address."""
    return {"video": {"url": prompt, "path": "x.mp4", "meta": {"_type": "gradio.FileData"}}}


def app(variant: str) -> gr.Blocks:
    """The page of a variant."""
    with gr.Blocks() as page:
        prompt, negative = gr.Textbox(label="Prompt"), gr.Textbox(value="", label="Negative Prompt")
        width, height = (
            gr.Slider(64, 1024, value=128, step=8, label="Width"),
            gr.Slider(64, 1024, value=72, step=8, label="Height"),
        )
        frames, steps = (
            gr.Slider(1, 64, value=4, step=1, label="Number of frames"),
            gr.Slider(1, 50, value=20, step=1, label="Steps"),
        )
        seed, again = gr.Number(value=0, precision=0, label="Seed"), gr.Checkbox(value=True, label="Randomize seed")
        camera = gr.Dropdown(["None", "Zoom In", "Pan Left"], value="None", label="Camera motion")
        out, told_seed, box = gr.Video(label="Result"), gr.Number(label="Seed used"), gr.JSON()
        image = gr.Image(type="filepath", label="Input image")
        inputs = [prompt, negative, width, height, frames, steps, seed, again, camera]
        function: Callable[..., Any] = text_to_video
        if variant == "extra":
            inputs, function = [*inputs, gr.Number(value=3, label="More")], text_to_video_extra
        elif variant == "needy":
            inputs, function = [*inputs, gr.Textbox(label="Your licence number")], text_to_video_extra
        elif variant == "renamed":
            function = text_to_video_renamed
        one = {"concurrency_limit": 1, "concurrency_id": "gpu"}
        gr.Button().click(function, inputs, [out, told_seed], api_name="text_to_video", **one)
        gr.Button().click(image_to_video, [image, prompt, seed], out, api_name="image_to_video", **one)
        gr.Button().click(stream, prompt, box, api_name="stream")
        gr.Button().click(elsewhere, prompt, box, api_name="elsewhere")
        gr.Button().click(lambda text: text, prompt, negative, api_name="echo")
    return page


class Recorded:
    """The app with a record of each request's headers."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
            told(path=scope["path"], query=scope["query_string"].decode(), headers=headers)
        await self.inner(scope, receive, send)


def main() -> None:
    """Serve until it is ended."""
    served = FastAPI()

    @served.get("/astray/config")
    def astray() -> dict[str, str]:
        return {"api_prefix": f"http://127.0.0.1:{PORT}/secret/", "version": "6.0.0", "protocol": "sse_v3"}

    for variant in ("plain", "extra", "renamed", "needy", "full"):
        page = app(variant).queue(max_size=1 if variant == "full" else None)
        served = gr.mount_gradio_app(served, page, path=f"/{variant}")
    uvicorn.run(Recorded(served), host="127.0.0.1", port=PORT, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
