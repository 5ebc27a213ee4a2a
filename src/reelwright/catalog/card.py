"""What one model is and can do, as data. Every figure is held when the card is made."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import annotated_types as at
from pydantic import TypeAdapter, ValidationError

from reelwright import plugins
from reelwright.errors import RequestError, UnknownModel
from reelwright.types import Role, hold

Status = Literal["current", "legacy", "retired"]


@dataclass(frozen=True)
class SizeRule:
    """Which pictures a model makes: multiples of `step` px, `least`..`most` a side, `most_pixels` in all.

    `native`: the sizes it was trained for, best first; the first is the default. `only`: it makes no others.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    native: Annotated[tuple[tuple[int, int], ...], at.MinLen(1)]
    step: Annotated[int, at.Interval(ge=2, le=256)] = 16
    least: Annotated[int, at.Ge(16)] = 64
    most: Annotated[int, at.Le(8192)] = 4096
    most_pixels: Annotated[int, at.Gt(0)] | None = None
    only: bool = False

    def __post_init__(self) -> None:
        hold(self)
        if self.step % 2 or self.least > self.most:
            raise RequestError(f"a size rule has an even step and least <= most, not {self.step}, {self.least}, {self.most}")

    def nearest(self, width: int, height: int) -> tuple[int, int]:
        """The size that the model can make nearest to this one."""
        if self.only:
            return min(self.native, key=lambda size: (abs(size[0] * height - size[1] * width) / height, abs(size[0] - width)))
        scale = 1.0
        if self.most_pixels is not None and width * height > self.most_pixels:
            scale = (self.most_pixels / (width * height)) ** 0.5
        longest = max(width, height) * scale
        if longest > self.most:
            scale *= self.most / longest

        def snap(side: float) -> int:
            low = -(-self.least // self.step) * self.step
            return max(low, min(self.most // self.step * self.step, round(side * scale / self.step) * self.step))

        made = snap(width), snap(height)
        while self.most_pixels is not None and made[0] * made[1] > self.most_pixels and max(made) > self.least:
            made = (made[0] - self.step, made[1]) if made[0] >= made[1] else (made[0], made[1] - self.step)
        return made


@dataclass(frozen=True)
class FrameRule:
    """How many frames a model makes: `offset` + k * `step`, `least`..`most`; `default` if nothing is asked for."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    default: Annotated[int, at.Ge(1)]
    step: Annotated[int, at.Ge(1)] = 1
    offset: Annotated[int, at.Ge(0)] = 0
    least: Annotated[int, at.Ge(1)] = 1
    most: Annotated[int, at.Ge(1)] = 1_000_000

    def __post_init__(self) -> None:
        hold(self)
        if self.nearest(self.default) != self.default:
            raise RequestError(f"the default of {self.default} frames breaks the rule {self.offset} + k*{self.step}")

    def nearest(self, frames: int) -> int:
        """The count that the model can make nearest to this one."""
        low = -(-(max(self.least, self.offset or 1) - self.offset) // self.step)
        high = max(low, (self.most - self.offset) // self.step)
        return self.offset + self.step * max(low, min(high, round((frames - self.offset) / self.step)))


@dataclass(frozen=True)
class RateRule:
    """Frames per second: the model's own, and the range it can be asked for (its own alone if both are None)."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    default: Annotated[float, at.Interval(ge=1, le=240)]
    least: float | None = None
    most: float | None = None

    def nearest(self, fps: Fraction) -> Fraction:
        """The rate that the model can make nearest to this one."""
        own = Fraction(str(self.default))
        low = own if self.least is None else Fraction(str(self.least))
        high = own if self.most is None else Fraction(str(self.most))
        return max(low, min(high, fps))


@dataclass(frozen=True)
class Card:
    """One model.

    `accepts`: the sets of input roles it can work from; the empty set means a prompt alone. `instant`: its frames cost
    less to make than to store, and any of them can be made without those before it. `options`: JSON Schema of each
    option it takes. `settings`: what only its backend reads. `vram_gb`: (minimum, recommended). `licence`: SPDX where
    there is an id. `quality`, `speed`: 1 (least) .. 5. `sources`: where the figures come from.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    id: Annotated[str, at.MinLen(1), at.MaxLen(128)]
    title: Annotated[str, at.MinLen(1)]
    family: str
    backend: str
    sizes: SizeRule
    frames: FrameRule
    fps: RateRule
    licence: str
    source: str = ""
    revision: str = ""
    task: tuple[str, ...] = ("text-to-video",)
    accepts: tuple[frozenset[Role], ...] = (frozenset(),)
    audio: bool = False
    loras: bool = False
    previews: bool = False
    deterministic: bool = False
    instant: bool = False
    params_b: Annotated[float, at.Ge(0)] | None = None
    vram_gb: tuple[float, float] | None = None
    ram_gb: Annotated[float, at.Ge(0)] | None = None
    disk_gb: Annotated[float, at.Ge(0)] | None = None
    commercial: bool = False
    price: str = ""
    quality: Annotated[int, at.Interval(ge=1, le=5)] = 3
    speed: Annotated[int, at.Interval(ge=1, le=5)] = 3
    best_for: tuple[str, ...] = ()
    status: Status = "current"
    also: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hold(self)
        for name, schema in self.options.items():
            if "type" not in schema and "enum" not in schema:
                raise RequestError(f"card {self.id}: the option {name!r} has no type")

    @property
    def continues(self) -> bool:
        """Whether clips longer than the model makes at once can be made of it: it goes on from a picture."""
        return not self.instant and frozenset({Role.FIRST_FRAME}) in self.accepts

    def takes(self, roles: frozenset[Role]) -> bool:
        """Whether the model can work from inputs of exactly these roles."""
        return roles in self.accepts


_ADAPTER: TypeAdapter[Card] = TypeAdapter(Card)


def card_from(content: Mapping[str, Any], origin: str = "") -> Card:
    """A card from its TOML content; raises RequestError that names file and field."""
    shared = shared_options(str(content.get("backend", "")))
    if shared and isinstance(content.get("options", {}), Mapping):
        content = {**content, "options": {**shared, **content.get("options", {})}}
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise RequestError(f"the card {origin or content.get('id', '?')} is wrong: {wrong}") from None


@cache
def shared_options(backend: str) -> dict[str, Any]:
    """The options that all cards of a backend have."""
    place = files("reelwright.catalog").joinpath("shared", f"{backend}.toml")
    return tomllib.loads(place.read_text("utf-8")) if place.is_file() else {}


@cache
def cards() -> dict[str, Card]:
    """Every installed card by id; a person's own cards replace installed ones of the same id."""
    return {card.id: card for card in (card_from(content, origin) for origin, content in plugins.card_files())}


def find(name: str) -> Card:
    """The card of this id, or of another name it goes by; raises UnknownModel with the nearest ones."""
    known = cards()
    if name in known:
        return known[name]
    for card in known.values():
        if name in card.also:
            return card
    # Of several models of one repository, the plainest: another one needs parts from elsewhere, or leaves some out.
    if found := [card for card in known.values() if name and name == card.source]:
        return min(found, key=lambda card: ("components" in card.settings or "drop" in card.settings, len(card.id), card.id))
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    meant = f"Did you mean {' or '.join(near)}? " if near else ""
    raise UnknownModel(f"there is no model {name!r}", hint=f"{meant}`reel models` lists them.", requested_model=name)
