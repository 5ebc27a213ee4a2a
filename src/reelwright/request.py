"""What a person asks for, as plain values; None means the model's default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval, MaxLen, MinLen

from reelwright.errors import RequestError
from reelwright.settings import config_folder
from reelwright.types import Role, hold


@dataclass(frozen=True)
class Preset:
    """A quality preset: size in px, frames per second, bitrate in kbit/s (S3)."""

    width: int
    height: int
    fps: Fraction
    bitrate: int


PRESETS: dict[str, Preset] = {
    "draft": Preset(854, 480, Fraction(24), 1500),
    "standard": Preset(1280, 720, Fraction(30), 3000),
    "high": Preset(1920, 1080, Fraction(30), 6000),
    "premium": Preset(3840, 2160, Fraction(60), 15000),
}


@dataclass(frozen=True)
class Input:
    """A picture, clip or sound that goes into a generation.

    `ref`: a path, or an asset's reference. `strength`: 0 (ignored) .. 1. `at`: for key frames, seconds from the start.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    role: Role
    ref: Annotated[str, MinLen(1), MaxLen(4096)]
    strength: Annotated[float, Interval(ge=0, le=1)] = 1.0
    at: Annotated[float, Interval(ge=0, le=86_400)] | None = None

    def __post_init__(self) -> None:
        hold(self)


@dataclass(frozen=True)
class Lora:
    """A LoRA and its weight, -4..4.

    `ref`: a .safetensors file, a hub id (OWNER/NAME, or OWNER/NAME:FILE), or the name of a file in the folder `loras` of the
    configuration folder.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    ref: Annotated[str, MinLen(1), MaxLen(4096)]
    weight: Annotated[float, Interval(ge=-4, le=4)] = 1.0

    def __post_init__(self) -> None:
        hold(self)

    @property
    def file(self) -> str | None:
        """The file that it is, as a reference; None for a hub id."""
        if re.fullmatch(r"[\w.-]+", self.ref):
            own = config_folder() / "loras" / f"{self.ref.removesuffix('.safetensors')}.safetensors"
            if own.is_file():
                return str(own)
        return self.ref if self.ref.endswith((".safetensors", ".bin", ".pt", ".pth", ".ckpt")) and ":" not in self.ref else None

    @property
    def installed(self) -> bool:
        """Whether it lies in the folder of LoRAs: the only ones that a server's clients may name."""
        return self.file is not None and Path(self.file).parent == config_folder() / "loras"


@dataclass(frozen=True)
class GenerationRequest:
    """One clip that a person asks for (S5).

    `width`, `height` in px; `seconds` and `fps` of the result; `seed` 0..2^53-1. `options`: what only some models know,
    such as `steps`, `guidance`, `camera` or `effect`; a card says which. What a model does in its own way is adapted
    and told; what lies outside these bounds raises RequestError.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    prompt: Annotated[str, MaxLen(20_000)] = ""
    model: Annotated[str, MinLen(1), MaxLen(256)] | None = None
    negative: Annotated[str, MaxLen(20_000)] = ""
    width: Annotated[int, Interval(ge=16, le=8192)] | None = None
    height: Annotated[int, Interval(ge=16, le=8192)] | None = None
    seconds: Annotated[float, Interval(gt=0, le=86_400)] | None = None
    fps: Annotated[float, Interval(ge=1, le=240)] | None = None
    seed: Annotated[int, Interval(ge=0, lt=2**53)] | None = None
    inputs: tuple[Input, ...] = ()
    loras: tuple[Lora, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hold(self)
        if not self.prompt.strip() and not self.inputs:
            raise RequestError(
                "a prompt or an input is needed", hint="Say what is to be seen, or give a picture.", field="prompt"
            )


_CONCRETE = 5
"""Words from which on a prompt tends to say enough."""


def advice(prompt: str) -> tuple[str, ...]:
    """Warnings about a vague prompt (S9): too short, or without anything that moves, a place, or light."""
    words = prompt.lower().replace(",", " ").replace(".", " ").split()
    if not words or any(ord(character) > 0x2E7F for character in prompt):  # scripts without spaces are not counted in words
        return ()
    if len(words) < _CONCRETE:
        return (f"The prompt “{prompt.strip()}” is vague: say what happens, where, in what light, and how it is filmed.",)
    missing = [name for name, known in _ASPECTS.items() if not any(word.strip("'\"") in known for word in words)]
    if len(missing) == len(_ASPECTS) and len(words) < 12:
        start = " ".join(words[:6])
        return (f"The prompt “{start} …” names no {', '.join(missing[:-1])} or {missing[-1]}; models do better with them.",)
    return ()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ASPECTS = {
    "movement": _words(
        "walking running flying drifting moving rolling falling rising dancing riding sailing spinning turning swimming blowing "
        "burning flowing floating crossing jumping climbing opening closing driving playing waving breaking entering leaving "
        "walks runs flies drifts moves rolls falls rises dances rides sails spins turns swims blows burns flows floats crosses"
    ),
    "place": _words(
        "in on at over under above below through across along inside outside near between behind beside beneath around into from"
    ),
    "light": _words(
        "light sunrise sunset dawn dusk night noon morning evening golden moonlight sunlight neon shadow shadows foggy mist "
        "misty bright dark glowing lit backlit candlelight storm cloudy overcast sunny rain rainy snow snowy stars starlit"
    ),
    "camera": _words(
        "shot close-up closeup wide aerial drone pan tilt zoom dolly tracking handheld cinematic macro angle camera lens"
    ),
}
