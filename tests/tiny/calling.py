"""How to call a tiny pipeline: its `Variant` in words of roles, the arguments in words of its class."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition
from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition
from PIL import Image
from tests.tiny.variant import Variant

FRAME_NAMES = ("num_frames", "video_length", "frames", "segment_frame_length")
FIRST_NAMES = ("image", "cond_image")
CONTROL_NAMES = ("control_video", "conditioning_frames", "pose_video")


def picture(size: tuple[int, int], shade: int = 0) -> Image.Image:
    """A picture of `size` (width, height) px, no two of its regions alike; `shade` moves its colours."""
    width, height = size
    down, across = np.mgrid[0:height, 0:width]
    channels = (down * 255 // max(height - 1, 1), across * 255 // max(width - 1, 1), (down + across) * 3)
    return Image.fromarray(((np.stack(channels, axis=-1) + shade) % 256).astype(np.uint8))


def clip(size: tuple[int, int], frames: int, shade: int = 0) -> list[Image.Image]:
    """`frames` pictures of `size`, each a little further on in colour."""
    return [picture(size, shade + 9 * number) for number in range(frames)]


def mask(size: tuple[int, int]) -> Image.Image:
    """White where a new picture is wanted: the right half."""
    width, height = size
    whole = Image.new("L", size, 0)
    whole.paste(255, (width // 2, 0, width, height))
    return whole


def _conditions(variant: Variant, shade: int) -> list[Any]:
    """First and last frame as the conditions that LTX's `conditions` argument takes."""
    size, last = variant.size, variant.frames - 1
    items: list[tuple[Image.Image, int]] = []
    if "first_frame" in variant.roles:
        items.append((picture(size, shade), 0))
    if "last_frame" in variant.roles:
        items.append((picture(size, shade + 120), last))
    if variant.pipeline.startswith("LTX2"):
        return [LTX2VideoCondition(frames=content, index=index) for content, index in items]
    return [LTXVideoCondition(image=content, frame_index=index) for content, index in items]


def _first(names: tuple[str, ...], known: Mapping[str, Any], what: str) -> str:
    """The first of `names` that is `known`."""
    for name in names:
        if name in known:
            return name
    raise AssertionError(f"no argument for {what}")


def _media(variant: Variant, known: Mapping[str, Any], shade: int) -> dict[str, Any]:
    """The pictures and videos that `variant.roles` ask for, under the names that the class `known`s."""
    if "conditions" in known and "source" not in variant.roles:
        return {"conditions": _conditions(variant, shade)} if variant.roles else {}
    size, frames, roles = variant.size, variant.frames, variant.roles
    found: dict[str, Any] = {}
    if "first_frame" in roles or "portrait" in roles:
        found[_first(FIRST_NAMES, known, "a first frame")] = picture(size, shade)
    if "last_frame" in roles:
        found["last_image"] = picture(size, shade + 120)
    if "source" in roles:
        found["video"] = clip(size, frames, shade)
    if "mask" in roles:
        name = _first(("mask_video", "mask"), known, "a mask")
        found[name] = [mask(size)] * frames
    if "reference" in roles:
        found["reference_images"] = [picture(size, shade + 60)]
    if "control" in roles:
        found[_first(CONTROL_NAMES, known, "a control video")] = clip(size, frames, shade + 30)
    if "driving" in roles:
        found["face_video"] = clip(size, frames, shade + 90)
    return found


def arguments(variant: Variant, pipe: Any, prompt: str, seed: int, shade: int = 0) -> dict[str, Any]:
    """What to call `pipe` with: two steps at the variant's size and frame count, numpy out.

    `shade` moves the colours of all pictures that go in. The caller may change what it likes before the call.
    """
    known = inspect.signature(type(pipe).__call__).parameters
    width, height = variant.size
    wanted: dict[str, Any] = {
        "width": width,
        "height": height,
        "num_inference_steps": 2,
        "prompt": prompt,
        "output_type": "np",
    }
    result = {name: value for name, value in wanted.items() if name in known}
    result |= {name: variant.frames for name in FRAME_NAMES if name in known}
    result |= _media(variant, known, shade)
    result["generator"] = torch.Generator("cpu").manual_seed(seed)
    return result | dict(variant.call)
