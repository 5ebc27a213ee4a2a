"""What clients of OpenAI's videos contract send: JSON or forms, brackets or JSON texts, and the names of other servers.

Beside OpenAI's own fields, those of SGLang and vLLM-Omni are taken where they mean the same. Paths of this machine never are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Interval, MaxLen, MinLen
from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import UploadFile

from reelwright.errors import RequestError

_ALIASES = {
    "steps": "num_inference_steps", "frame_rate": "fps", "true_cfg_scale": "guidance_scale", "cfg_scale": "guidance_scale",
    "image_reference": "input_reference", "input_image": "input_reference", "video_reference": "video",
    "extra_json": "extra_params", "diffusers_kwargs": "extra_params", "num_outputs_per_prompt": "n",
}  # fmt: skip
_NESTED = {"input_reference", "video", "extra_params", "extra_body", "metadata"}
"""Fields that hold objects; forms may carry them as a JSON text."""
_WHAT: dict[str, tuple[str, str]] = {"reference_url": ("input_reference", "image_url"), "video_url": ("video", "video_url")}
SIZE = re.compile(r"^(\d{2,5})\s*[x×]\s*(\d{2,5})$", re.IGNORECASE)

Text = Annotated[str, MaxLen(20_000)]
Name = Annotated[str, MaxLen(256)]


@dataclass(frozen=True)
class Reference:
    """A picture or a video that is there already: an asset, a video, an address, or a data URL."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    id: Name | None = None
    file_id: Name | None = None
    image_url: str | None = None
    video_url: str | None = None


@dataclass(frozen=True)
class VideoBody:
    """A video that is wanted. `seconds` of new pictures; `size` as 1280x720; `n` is 1."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    prompt: Annotated[str, MinLen(1), MaxLen(20_000)]
    model: Name | None = None
    seconds: Annotated[float, Interval(gt=0, le=86_400)] | None = None
    size: str | None = None
    input_reference: Reference | None = None
    video: Reference | None = None
    negative_prompt: Text = ""
    width: Annotated[int, Interval(ge=16, le=8192)] | None = None
    height: Annotated[int, Interval(ge=16, le=8192)] | None = None
    fps: Annotated[float, Interval(ge=1, le=240)] | None = None
    num_frames: Annotated[int, Interval(ge=1, le=1_000_000)] | None = None
    seed: Annotated[int, Interval(ge=0, lt=2**53)] | None = None
    num_inference_steps: Annotated[int, Interval(ge=1, le=1000)] | None = None
    guidance_scale: Annotated[float, Interval(ge=0, le=100)] | None = None
    guidance_scale_2: Annotated[float, Interval(ge=0, le=100)] | None = None
    flow_shift: Annotated[float, Interval(ge=0, le=100)] | None = None
    max_sequence_length: Annotated[int, Interval(ge=1, le=100_000)] | None = None
    strength: Annotated[float, Interval(ge=0, le=1)] = 1.0
    n: Annotated[int, Interval(ge=1, le=1)] = 1
    extra_params: Mapping[str, Any] = field(default_factory=dict)
    user: Name | None = None
    metadata: Mapping[str, str] | None = None

    @property
    def dimensions(self) -> tuple[int | None, int | None]:
        """Width and height; raises RequestError."""
        if self.size is None or self.size == "auto":
            return self.width, self.height
        found = SIZE.match(self.size.strip())
        if found is None:
            raise RequestError("a size is written 1280x720", hint="Width first.", field="size")
        return int(found[1]), int(found[2])

    @property
    def options(self) -> dict[str, Any]:
        """What only some models know."""
        known = {
            "steps": self.num_inference_steps, "guidance": self.guidance_scale, "guidance_2": self.guidance_scale_2,
            "flow_shift": self.flow_shift, "max_sequence_length": self.max_sequence_length,
        }  # fmt: skip
        return {**{name: value for name, value in known.items() if value is not None}, **self.extra_params}


_BODY = TypeAdapter(VideoBody)


async def body_of(request: Request) -> tuple[VideoBody, dict[str, UploadFile]]:
    """The body of a call, and the files that came with it, by field; raises RequestError."""
    content, files = await parts_of(request)
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if name in _WHAT:
            whole, part = _WHAT[name]
            flat[whole] = {part: value}
        elif name == "extra_body" and isinstance(value, Mapping):
            flat |= {_ALIASES.get(str(each), str(each)): inner for each, inner in value.items()}
        else:
            flat[_ALIASES.get(name, name)] = value
    try:
        named = {_ALIASES.get(name, name): file for name, file in files.items()}
        return _BODY.validate_python(flat), named
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        text = "this parameter is not known" if fault["type"] == "unexpected_keyword_argument" else fault["msg"]
        raise RequestError(f"{where}: {text}", hint="See docs/howto/use-the-openai-sdk.md.", field=where) from None


async def parts_of(request: Request) -> tuple[dict[str, Any], dict[str, UploadFile]]:
    """The fields and files of a JSON or form body; brackets in names are undone."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        form = await request.form(max_files=8, max_fields=200)
        content: dict[str, Any] = {}
        files: dict[str, UploadFile] = {}
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files[name.partition("[")[0]] = value
            else:
                _put(content, name, value)
        return {name: _opened(name, value) for name, value in content.items()}, files
    try:
        read = json.loads(await request.body() or b"{}")
    except (ValueError, UnicodeDecodeError):
        raise RequestError("the body is neither JSON nor a form", hint="Set Content-Type to what it is.") from None
    if not isinstance(read, dict):
        raise RequestError("the body is a JSON object", hint="Send its fields in braces.")
    return read, {}


def _put(content: dict[str, Any], name: str, value: str) -> None:
    """`a[b][c]` and `a[]` as they were before the client flattened them."""
    first, *rest = re.findall(r"[^\[\]]+|\[\]", name) or [name]
    keys = [first, *rest]
    place: Any = content
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        if following is None:
            if isinstance(place, list):
                place.append(value)
            else:
                place[key] = value
        elif following == "[]":
            place = place.setdefault(key, []) if isinstance(place, dict) else place
            if not isinstance(place, list):
                raise RequestError(f"{name} is given in two ways", field=first)
            place.append(value)
            return
        else:
            place = place.setdefault(key, {}) if isinstance(place, dict) else {}
            if not isinstance(place, dict):
                raise RequestError(f"{name} is given in two ways", field=first)


def _opened(name: str, value: Any) -> Any:
    if _ALIASES.get(name, name) in _NESTED and isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            raise RequestError(f"{name} is no JSON", field=name) from None
    return value
