"""What a scene asks of the model that serves it, and what is told when that is not the one that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reelwright.catalog import Card, Shot
from reelwright.request import Input
from reelwright.storyboard import Storyboard
from reelwright.types import Role

ORDERED = "ordered"
"""In an error's details: an order of the work is alive elsewhere, or may be; another attempt goes on with it."""


@dataclass(frozen=True)
class Instead:
    """Another model serves than the one that was `asked` for; `why`, in a sentence or more."""

    asked: str
    why: str


def options_of(board: Storyboard, index: int, card: Card) -> dict[str, Any]:
    """What a scene asks of its model, with what only some models know left out for the others."""
    scene = board.scenes[index]
    options: dict[str, Any] = {"camera": scene.move.move, "effect": list(scene.effects), **scene.options}
    if "camera_strength" in card.options:
        options |= {"camera_strength": scene.move.strength, "ease": scene.move.ease}
    if "scene" in card.options:
        options.setdefault("scene", index + 1)
    if "labels" in card.options and (scene.caption or board.subtitles):
        options.setdefault("labels", "raised")
    return options


def with_references(inputs: tuple[Input, ...], board: Storyboard, card: Card) -> tuple[tuple[Input, ...], tuple[str, ...]]:
    """The inputs with the film's references, if the model takes them beside the others; else a note that says so (S8)."""
    if not board.references or card.instant:
        return inputs, ()
    roles = frozenset({Role.REFERENCE, *(given.role for given in inputs)})
    if not card.takes(roles):
        return inputs, (f"{card.title} takes no reference pictures here; the scene is made without them.",)
    return (*inputs, *(Input(Role.REFERENCE, ref) for ref in board.references)), ()


def orders(memory: Mapping[str, Any]) -> frozenset[str]:
    """Which orders of hosted models a run remembers that were not fetched yet, by their shots' keys."""
    return frozenset(memory.get("hosted") or {}) - frozenset(memory.get("cost") or {})  # what was fetched has its cost noted


def alive(shot: Shot, before: frozenset[str], memory: Mapping[str, Any]) -> bool:
    """Whether a remembered order is this shot's; `before`: `orders` before it was asked for."""
    now, key = orders(memory), shot.fingerprint[:16]
    if key in now or now - before or key in (memory.get("comfyui") or {}):
        return True
    # Sections and pictures of keyframes are shots of their own.
    parts = shot.frames > shot.card.frames.most or "schedule" in shot.options or shot.card.backend == "keyframes"
    return parts and bool(now)
