"""A shot's values become a pipeline's arguments, found by what they mean: the families name them differently."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from reelwright.catalog import Shot, ShotInput
from reelwright.catalog.card import shared_options
from reelwright.errors import Unsupported
from reelwright.media import edit
from reelwright.media.camera import fitted
from reelwright.media.decode import first_frame, open_video
from reelwright.types import Role

NAMES: dict[str, tuple[str, ...]] = {
    "frames": ("num_frames", "video_length", "frames", "segment_frame_length"),
    "fps": ("frame_rate", "fps", "target_fps"),
    "negative": ("negative_prompt",),
    "steps": ("num_inference_steps",),
    "guidance": ("guidance_scale", "max_guidance_scale"),
    "guidance_2": ("guidance_scale_2",),
    "first_frame": ("image", "cond_image"),
    "last_frame": ("last_image",),
    "source": ("video", "image"),
    "mask": ("mask", "mask_video"),
    "control": ("control_video", "conditioning_frames", "pose_video", "image"),
    "reference": ("reference_images", "ip_adapter_image", "ref_image", "image"),
    "portrait": ("image",),
    "driving": ("pose_video", "video"),
    "keyframe": ("conditioning_frames",),
}
"""What a value means here -> what pipelines call it, in the order in which they are tried."""

_KEPT = 0.6
_PICTURES = {Role.FIRST_FRAME, Role.LAST_FRAME, Role.REFERENCE, Role.PORTRAIT, Role.KEYFRAME}


def parameters(cls: Any) -> Mapping[str, inspect.Parameter]:
    """What a pipeline's call takes; for a modular pipeline, see `Loaded`."""
    return inspect.signature(cls.__call__).parameters


def bind(shot: Shot, pipe: Any, fetch: Callable[[str], Path]) -> dict[str, Any]:
    """The arguments of `pipe` for a shot, but for the callbacks. Raises Unsupported for what it has no parameter for."""
    known = set(parameters(type(pipe)))
    keep = shot.card.settings
    names = keep.get("names", {})
    arguments: dict[str, Any] = {}

    def give(meaning: str, value: Any) -> bool:
        tried = (names[meaning],) if meaning in names else NAMES.get(meaning, (meaning,))
        name = next((each for each in tried if each in known and each not in arguments), None)
        if name is not None:
            arguments[name] = value
        return name is not None

    for meaning, value in (
        ("prompt", _scheduled(shot)),
        ("negative", shot.negative or None),
        ("width", shot.width // enlarged(shot)),
        ("height", shot.height // enlarged(shot)),
        ("frames", shot.frames + int(keep.get("extra_frames", 0))),
        ("fps", float(shot.fps) if "frame_rate" in known else round(shot.fps)),
    ):
        if value is not None:
            give(meaning, value)
    for meaning, value in shot.options.items():
        schema = shot.card.options.get(meaning, {})
        if meaning in shared_options(shot.card.backend):
            continue  # how it is run, not what is made
        if not give(meaning, value) and not _through_guider(pipe, meaning, value) and value != schema.get("default"):
            raise Unsupported(f"{type(pipe).__name__} has no parameter for {meaning}", field=meaning, model=shot.card.id)
    _inputs(shot, pipe, known, give, arguments, fetch)
    arguments |= {name: value for name, value in keep.get("call", {}).items() if name in known}
    if "output_type" in known:
        arguments["output_type"] = "np"
    if "clip_skip" in known:
        arguments["clip_skip"] = None  # any other value fails with transformers 5 (notes, trap 9)
    return arguments


def _scheduled(shot: Shot) -> Any:
    """The prompt; for a pipeline that takes prompts over time, those by the frame from which they hold (FreeNoise)."""
    lines = shot.options.get("schedule", ())
    if not lines or shot.card.settings.get("schedule") != "native":
        return shot.prompt
    from reelwright.backends.sections import schedule_of

    return dict(schedule_of(shot.prompt, lines, shot.fps))


def _through_guider(pipe: Any, meaning: str, value: Any) -> bool:
    """Guidance of pipelines that keep it in a component (HunyuanVideo 1.5)."""
    if meaning != "guidance" or getattr(pipe, "guider", None) is None:
        return False
    pipe.guider = pipe.guider.new(guidance_scale=value)
    return True


def _inputs(
    shot: Shot,
    pipe: Any,
    known: set[str],
    give: Callable[[str, Any], bool],
    arguments: dict[str, Any],
    fetch: Callable[[str], Path],
) -> None:
    if "conditions" in known and shot.inputs:
        arguments["conditions"] = [_condition(given, shot, pipe, fetch) for given in shot.inputs]
        return
    grouped: dict[Role, list[ShotInput]] = {}
    for given in shot.inputs:
        grouped.setdefault(given.role, []).append(given)
    for role, inputs in grouped.items():
        if role in _PICTURES:
            pictures = [picture(given, shot, fetch) for given in inputs]
            value: Any = pictures if role in (Role.REFERENCE, Role.KEYFRAME) else pictures[0]
            if role is Role.REFERENCE and "reference_images" not in known and len(pictures) == 1:
                value = pictures[0]
            if role is Role.KEYFRAME and "controlnet_frame_indices" in known:
                arguments["controlnet_frame_indices"] = [place(given, shot) for given in inputs]
        else:
            value = clip(inputs[0], shot, fetch)
        if not give(role.value, value):
            raise Unsupported(f"{type(pipe).__name__} takes no {role.value.replace('_', ' ')}", model=shot.card.id)
        if role in (Role.SOURCE, Role.FIRST_FRAME) and "strength" in known and inputs[0].strength < 1:
            arguments.setdefault("strength", inputs[0].strength)
    if "face_video" in known and "pose_video" in arguments:  # who gives one driving clip means both
        arguments.setdefault("face_video", arguments["pose_video"])
    if "ip_adapter_image" in arguments and hasattr(pipe, "set_ip_adapter_scale"):
        pipe.set_ip_adapter_scale(grouped[Role.REFERENCE][0].strength)


def enlarged(shot: Shot) -> int:
    """How many times larger than its input a model's picture is: 1 but for upscalers."""
    return int(shot.card.settings.get("scale", 1))


def place(given: ShotInput, shot: Shot) -> int:
    """The frame at which an input stands; a last frame stands at the end."""
    if given.role is Role.LAST_FRAME:
        return shot.frames - 1
    return min(shot.frames - 1, round(Fraction(str(given.at or 0)) * shot.fps))


def _condition(given: ShotInput, shot: Shot, pipe: Any, fetch: Callable[[str], Path]) -> Any:
    """An input as the condition type of the pipeline's own module (LTX, LTX-2), filled by the names of its fields."""
    module = sys.modules[type(pipe).__module__]
    cls = next(
        value for name, value in vars(module).items() if name.endswith("VideoCondition") and dataclasses.is_dataclass(value)
    )
    fields = {each.name for each in dataclasses.fields(cls)}
    moving = given.role not in _PICTURES
    content: Any = clip(given, shot, fetch) if moving else picture(given, shot, fetch)
    index = "frame_index" if "frame_index" in fields else "index"
    name = ("video" if moving else "image") if "image" in fields else "frames"
    where = place(given, shot)
    # At full strength a whole clip would come back as it is; this much of it is kept unless the person says otherwise.
    strength = _KEPT if given.role is Role.SOURCE and given.strength == 1 else given.strength
    make: Any = cls
    return make(
        **{name: content, index: -1 if given.role is Role.LAST_FRAME and index == "index" else where, "strength": strength}
    )


def picture(given: ShotInput, shot: Shot, fetch: Callable[[str], Path]) -> Image.Image:
    """A picture as the model takes it: covering the shot's size; a reference keeps its own."""
    rgb = first_frame(fetch(given.ref))
    if given.role is Role.REFERENCE:
        return Image.fromarray(rgb)
    return Image.fromarray(fitted(rgb, shot.width, shot.height).rgb)


def clip(given: ShotInput, shot: Shot, fetch: Callable[[str], Path]) -> list[Image.Image]:
    """A clip's pictures at the shot's rate and size, as many as the shot has; the last one is held."""
    width, height = shot.width // enlarged(shot), shot.height // enlarged(shot)
    with edit.fit(edit.silent(open_video(fetch(given.ref), fps=shot.fps, audio=False)), width, height) as video:
        made = [Image.fromarray(frame.rgb) for frame in islice(video.frames, shot.frames)]
    return made + [made[-1]] * (shot.frames - len(made))
