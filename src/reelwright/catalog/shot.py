"""A request with nothing left to decide."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from reelwright.catalog.card import Card
from reelwright.errors import MissingAsset, RequestError, Unsupported
from reelwright.media import grade, moves
from reelwright.media.decode import keep_rate
from reelwright.request import GenerationRequest, Lora
from reelwright.types import Role


@dataclass(frozen=True)
class ShotInput:
    """An input whose content is known: `digest` is the SHA-256 of its bytes."""

    role: Role
    ref: str
    digest: str
    strength: float = 1.0
    at: float | None = None


@dataclass(frozen=True)
class Shot:
    """What a backend makes: every value set, sizes and counts as the card allows."""

    card: Card
    prompt: str
    negative: str
    width: int
    height: int
    fps: Fraction
    frames: int
    seed: int
    inputs: tuple[ShotInput, ...] = ()
    loras: tuple[Lora, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    lora_digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the LoRAs that are files."""

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over everything that pixels depend on; the same fingerprint, the same film."""
        return fingerprint(self.facts)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The shot as JSON values: the model and its revision, parameters, inputs by content."""
        return {
            "model": self.card.id,
            "source": self.card.source,
            "revision": self.card.revision,
            **self._asked_of_backend,
            "prompt": self.prompt,
            "negative": self.negative,
            "size": [self.width, self.height],
            "fps": str(self.fps),
            "frames": self.frames,
            "seed": self.seed,
            "inputs": [[given.role.value, given.digest, given.strength, given.at] for given in self.inputs],
            "loras": [[self.lora_digests.get(lora.ref, lora.ref), lora.weight] for lora in self.loras],
            "options": {name: value for name, value in self.options.items() if not self.card.options.get(name, {}).get("x-how")},
        }

    @property
    def _asked_of_backend(self) -> dict[str, Any]:
        """What of the card's settings pixels depend on: a changed scheduler or type is another clip, a changed price is not."""
        known = {name: value for name, value in self.card.settings.items() if name not in _PRICES_AND_FIGURES}
        return {"settings": json.loads(json.dumps(known, default=str))} if known else {}

    @property
    def lane(self) -> str:
        """The queue whose workers can make it: "cpu", or "gpu" with the VRAM tier in GB."""
        need = self.card.vram_gb[0] if self.card.vram_gb else 0
        tier = next((tier for tier in (8, 12, 16, 24, 48, 80) if need <= tier), 80) if need else 0
        return f"gpu.{tier}" if tier else "cpu"

    def input(self, role: Role) -> ShotInput | None:
        """The first input of this role."""
        return next((given for given in self.inputs if given.role is role), None)


_PRICES_AND_FIGURES = frozenset(
    {
        "weights",
        "latent",
        "denoiser",
        "decode_frames",
        "price",
        "steps_to_take",
        "also_served_by",
        "models",
        "schema_hash",
        "preview_decoder",
    }
)
"""Settings of cards that predict or explain, and change no pixel."""


def fingerprint(facts: Any) -> str:
    """SHA-256 of JSON values, keys sorted."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def resolve(request: GenerationRequest, card: Card, read: Callable[[str], str]) -> tuple[Shot, tuple[str, ...]]:
    """The shot that `card`'s model makes of the request, and notes on what was adapted.

    `read` gives the SHA-256 of an input's content. Raises Unsupported (inputs the model cannot work from, unknown
    options), RequestError (values out of an option's range).
    """
    notes: list[str] = []
    roles = frozenset(given.role for given in request.inputs)
    if not card.takes(roles):
        able = " or ".join(sorted("+".join(sorted(accepted)) or "a prompt alone" for accepted in card.accepts))
        given = "+".join(sorted(roles)) or "a prompt alone"
        raise Unsupported(f"{card.title} cannot work from {given}", hint=f"It works from {able}.", model=card.id)
    if request.loras and not card.loras:
        raise Unsupported(
            f"{card.title} takes no LoRA", hint="Choose a model that does: `reel models --task lora`.", model=card.id
        )
    for lora in request.loras:
        if lora.file is None and "/" not in lora.ref:
            raise MissingAsset(f"there is no LoRA {lora.ref}", hint="Name a .safetensors file or a hub id.", ref=lora.ref)
    width, height = _size(request, card, notes)
    fps, frames = _timing(request, card, notes)
    prompt, options = _options(request, card, notes)
    seed = request.seed
    if seed is None:  # the same words give the same picture, so that a film can be made again without a seed
        seed = int.from_bytes(hashlib.sha256(f"{request.prompt}\0{card.id}".encode()).digest()[:4], "big")
    inputs = tuple(ShotInput(given.role, given.ref, read(given.ref), given.strength, given.at) for given in request.inputs)
    digests = {lora.ref: read(lora.file) for lora in request.loras if lora.file is not None}
    shot = Shot(card, prompt, request.negative, width, height, fps, frames, seed, inputs, request.loras, options, digests)
    return shot, tuple(notes)


def _size(request: GenerationRequest, card: Card, notes: list[str]) -> tuple[int, int]:
    native = card.sizes.native[0]
    if request.width is None and request.height is None:
        return native
    ratio = native[0] / native[1]
    width = request.width or round((request.height or native[1]) * ratio)
    height = request.height or round(width / ratio)
    made = card.sizes.nearest(width, height)
    if made != (width, height):
        notes.append(f"{card.title} makes {made[0]}x{made[1]}, not {width}x{height}.")
    return made


def _timing(request: GenerationRequest, card: Card, notes: list[str]) -> tuple[Fraction, int]:
    asked = keep_rate(request.fps) if request.fps is not None else Fraction(str(card.fps.default))
    fps = card.fps.nearest(asked)
    if request.fps is not None and fps != asked:
        notes.append(f"{card.title} makes {float(fps):g} frames a second, not {request.fps:g}.")
    wanted = card.frames.default if request.seconds is None else max(1, round(Fraction(str(request.seconds)) * fps))
    frames = card.frames.nearest(wanted)
    alone = all(given.role in (Role.FIRST_FRAME, Role.LAST_FRAME, Role.REFERENCE) for given in request.inputs)
    if wanted > card.frames.most and card.continues and alone:
        return fps, wanted  # in sections that go on from one another
    if frames != wanted:
        notes.append(f"{card.title} makes {frames} frames ({float(frames / fps):.2f} s), not {wanted}.")
    return fps, frames


def _options(request: GenerationRequest, card: Card, notes: list[str]) -> tuple[str, dict[str, Any]]:
    """The prompt with what has to be said in words, and the options that the model takes, defaults filled in."""
    prompt = request.prompt.strip()
    options = {name: schema["default"] for name, schema in card.options.items() if "default" in schema}
    for name, value in request.options.items():
        if name in card.options:
            options[name] = checked(name, value, card.options[name])
        elif name in ("camera", "effect"):
            if words := _in_words(name, value):
                prompt = f"{prompt}, {words}" if prompt else words
                notes.append(f"{card.title} has no {name} control; the prompt says “{words}”.")
        else:
            raise Unsupported(
                f"{card.title} has no option {name!r}", hint=f"It takes {', '.join(sorted(card.options)) or 'none'}.", field=name
            )
    return prompt, options


def _in_words(name: str, value: Any) -> str:
    names = [value] if isinstance(value, str) else list(value)
    found = [
        moves.find(each).phrase if name == "camera" else grade.find(each).phrase
        for each in names
        if each not in ("static", "none")
    ]
    return ", ".join(phrase for phrase in found if phrase)


_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list, tuple),
}


def checked(name: str, value: Any, schema: Mapping[str, Any]) -> Any:
    """The value if its schema (the part of JSON Schema that cards use) allows it; raises RequestError."""
    kind = schema.get("type")
    wanted = _TYPES.get(kind) if isinstance(kind, str) else None
    if wanted and (not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted)):
        raise RequestError(f"{name} must be a {kind}, not {value!r}", field=name)
    if "enum" in schema and value not in schema["enum"]:
        raise RequestError(f"{name} must be one of {', '.join(map(str, schema['enum']))}, not {value!r}", field=name)
    if "minimum" in schema and value < schema["minimum"]:
        raise RequestError(f"{name} must be at least {schema['minimum']}, not {value}", field=name)
    if "maximum" in schema and value > schema["maximum"]:
        raise RequestError(f"{name} must be at most {schema['maximum']}, not {value}", field=name)
    if isinstance(value, (list, tuple)):
        return [checked(name, item, schema.get("items", {})) for item in value]
    return value
