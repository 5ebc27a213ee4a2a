"""What a tiny pipeline is: a real Diffusers class with few random weights, and what it needs and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    """A pipeline that is built in memory in well under a second.

    `build()` makes it, in eval mode, float32, the same weights each time. `pipeline`: its class's name, as in
    `model_index.json`. `roles`: the inputs (names of `reelwright.types.Role`) without which it cannot run. `size` is
    (width, height) in px, `frames` a count that follows its rule `offset + k * step`; `given` frames come back for it.
    `size_step`: px of which sides are multiples. `call`: arguments of the pipeline that it always needs here.
    `prompt`, `seed`: whether its output depends on them. `loras`: whether a LoRA can be added to and taken from it.
    `audio`: whether it makes sound.
    """

    build: Callable[[], Any]
    pipeline: str
    roles: tuple[str, ...] = ()
    size: tuple[int, int] = (32, 32)
    frames: int = 9
    given: int = 9
    step: int = 4
    offset: int = 1
    size_step: int = 16
    call: Mapping[str, Any] = field(default_factory=dict)
    prompt: bool = True
    seed: bool = True
    loras: bool = False
    audio: bool = False
