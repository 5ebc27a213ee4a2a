"""A person's workflow as a card: what its graph and the server's schema say of sizes, lengths, rates and inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from reelwright import catalog
from reelwright.backends.comfy import slots
from reelwright.backends.comfy.graphs import IDS, Graph, as_graph, folder, places
from reelwright.backends.comfy.workflow import Drawing, is_drawing
from reelwright.errors import Conflict, RequestError
from reelwright.media.partial import whole
from reelwright.settings import config_folder
from reelwright.types import Role

_ROLES = tuple(role.value for role in Role)
_OPTIONS: dict[str, dict[str, Any]] = {
    "steps": {"title": "Steps", "description": "As the workflow's own.", "type": "integer", "minimum": 1, "maximum": 1000},
    "guidance": {"title": "Guidance", "description": "As the workflow's own.", "type": "number", "minimum": 0, "maximum": 100},
}
_PLAIN = {"prompt", "negative", "width", "height", "frames", "fps", "seed", "file", "steps_half"}


@dataclass(frozen=True)
class Registered:
    """A workflow that has become a model: its card's id, both files, and the places as NAME -> "NODE.INPUT" of each."""

    id: str
    card: Path
    graph: Path
    places: Mapping[str, Sequence[str]]


def graph_from(content: Any, schema: Mapping[str, Any], origin: str) -> Graph:
    """A workflow in API form from a file of either kind; `schema` is needed for the editor's."""
    return Drawing(content, schema, origin).graph() if is_drawing(content) else as_graph(content, origin)


def register(
    graph: Graph, name: str, *, told: Sequence[str], schema: Mapping[str, Any], origin: str, title: str = "", licence: str = ""
) -> Registered:
    """Write the card and the workflow of a model into a person's own folders.

    `told`: places as NAME=NODE.INPUT, which replace those that are found. Raises RequestError, Conflict if the id is taken.
    """
    if not IDS.fullmatch(name):
        raise RequestError(f"{name!r} is no id", hint="Small letters, digits, points, dashes and underscores.")
    own = slots.named(graph, list(told))
    taken = {spot for spots in own.values() for spot in spots}
    spots = {place: [spot for spot in found if spot not in taken] for place, found in slots.found(graph).items()}
    spots = {place: found for place, found in {**spots, **own}.items() if found}
    made = slots.placed(graph, spots)
    named = {place for _, _, place in places(made)}
    if "prompt" not in named and not named & set(_ROLES):
        raise RequestError(
            f"nothing in {origin} was found that a shot could set",
            hint="Name it: --slot prompt=NODE.INPUT; NODE is the number of the node.",
        )
    content = _card(name, title or name, licence, graph, spots, named, schema, origin)
    content["revision"] = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]
    catalog.card_from(content, origin)
    card, file = config_folder() / "cards" / f"{name}.toml", folder() / f"{name}.json"
    for path in (card, file):
        if path.exists():
            raise Conflict(f"there is a model {name} already", hint=f"Remove {path}, or choose another --id.")
        path.parent.mkdir(parents=True, exist_ok=True)
    with whole(file) as part:
        part.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", "utf-8")
    with whole(card) as part:
        part.write_text(tomli_w.dumps(content), "utf-8")
    said = {place: [f"{node}.{key}" for node, key, other in places(made) if other == place] for place in sorted(named)}
    return Registered(name, card, file, said)


def _card(
    name: str,
    title: str,
    licence: str,
    graph: Graph,
    spots: slots.Places,
    named: set[str],
    schema: Mapping[str, Any],
    origin: str,
) -> dict[str, Any]:
    roles = sorted(named & set(_ROLES))
    width, height = _number(graph, spots, "width", 1024), _number(graph, spots, "height", 576)
    frames, fps = round(_number(graph, spots, "frames", 1)), _number(graph, spots, "fps", 24)
    step, least = _grid(graph, spots, "width", schema, 16)
    beat, first = _grid(graph, spots, "frames", schema, 1)
    options = {}
    for place in sorted(named - _PLAIN - set(_ROLES)):
        value = _value(graph, spots, place)
        options[place] = {**(_OPTIONS.get(place) or _option(place, value)), **({} if value is None else {"default": value})}
    step = step if step % 2 == 0 else step * 2
    size = [max(16, round(side / step) * step) for side in (width, height)]
    offset = frames % beat if beat > 1 else 0
    fixed = "frames" not in spots
    return {
        "id": name,
        "title": title,
        "family": "workflow",
        "backend": "comfyui",
        "task": [_task(roles)],
        "accepts": [roles],
        "previews": True,
        "audio": "speech" in roles,
        "licence": licence or "not known: that of the workflow's models",
        "sources": [f"written by `reel comfy add` from {Path(origin).name}; look it over"],
        "sizes": {
            "native": [size],
            "step": step,
            "least": max(16, round(min(least, *size))),
            **({} if "width" in named else {"only": True}),
        },
        "frames": {"default": frames, "step": beat, "offset": offset, "least": min(first, frames)}
        | ({"least": frames, "most": frames} if fixed else {}),
        "fps": {"default": fps, **({"least": min(1, fps), "most": max(60, fps)} if "fps" in named else {})},
        "options": options,
        "settings": {"graph": name},
    }


def _task(roles: Sequence[str]) -> str:
    if not roles:
        return "text-to-video"
    if "speech" in roles or "driving" in roles:
        return "animate"
    return "video-to-video" if "source" in roles else "image-to-video"


def _value(graph: Graph, spots: slots.Places, place: str) -> Any:
    """What the workflow itself has at a place; None for one that it marks with a place already."""
    for node, key in spots.get(place, ()):
        value = graph[node]["inputs"][key]
        if not (isinstance(value, str) and value.startswith("{")):
            return value
    return None


def _number(graph: Graph, spots: slots.Places, place: str, otherwise: float) -> float:
    value = _value(graph, spots, place)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else otherwise


def _grid(graph: Graph, spots: slots.Places, place: str, schema: Mapping[str, Any], otherwise: int) -> tuple[int, int]:
    """(step, least) of a place's input, as the server's schema has them."""
    for node, key in spots.get(place, ()):
        groups = schema.get(graph[node]["class_type"], {}).get("input") or {}
        spec = {**(groups.get("required") or {}), **(groups.get("optional") or {})}.get(key)
        more = spec[1] if isinstance(spec, list) and len(spec) > 1 and isinstance(spec[1], dict) else {}
        if isinstance(more.get("step"), int) and more["step"] > 0:
            return min(256, more["step"]), max(1, int(more.get("min") or 1))
    return otherwise, 1


def _option(place: str, value: Any) -> dict[str, Any]:
    kind = {bool: "boolean", int: "integer", float: "number"}.get(type(value), "string")
    return {"title": place.replace("_", " ").capitalize(), "description": "As the workflow's own.", "type": kind}
