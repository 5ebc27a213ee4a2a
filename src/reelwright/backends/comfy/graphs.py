"""Workflows in API form, with named places for what a shot sets.

    {"3": {"class_type": "KSampler", "inputs": {"seed": "{seed:int}", "positive": ["6", 0], ...}}, ...}

A text that is one name in braces, and nothing else, is a place: `{prompt}`, `{width:int}`, `{first_frame}`. `:int` and `:float`
make a number of it. Every other text stays as it is, braces and all, for people write `{a|b}` in prompts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from reelwright.backends.comfy.client import bare
from reelwright.catalog import Card, Shot
from reelwright.errors import RequestError, Unsupported
from reelwright.settings import config_folder
from reelwright.types import Role

Graph = dict[str, Any]

_PLACE = re.compile(r"\{([a-z]\w*)(?::(int|float))?\}")
IDS = re.compile(r"[a-z0-9][a-z0-9._-]*")
"""How a workflow may be called."""
FILES = {"LoadImage": "image", "LoadImageMask": "image", "LoadVideo": "file", "LoadAudio": "audio", "VHS_LoadVideo": "video"}
"""Nodes that open a file, and the input that names it."""
_VALUES = ("prompt", "negative", "width", "height", "frames", "fps", "seed", "file", "steps_half")


def folder() -> Path:
    """Where a person's registered workflows lie."""
    return config_folder() / "graphs"


def graph_of(card: Card) -> Graph:
    """The workflow that a card names: a registered one, or one of ours. Raises Unsupported if there is none, RequestError."""
    name = card.settings.get("graph")
    if not isinstance(name, str) or not IDS.fullmatch(name):
        raise Unsupported(f"the card {card.id} names no workflow", hint="It needs settings.graph; `reel comfy add` writes one.")
    own = folder() / f"{name}.json"
    if own.is_file():
        try:
            return as_graph(json.loads(own.read_text("utf-8")), own.name)
        except (ValueError, OSError) as error:
            raise RequestError(f"the workflow {own} cannot be read: {error}") from None
    return _ours(name)


@cache
def _ours(name: str) -> Graph:
    place = files("reelwright.backends.comfy").joinpath("graphs", f"{name}.json")
    if not place.is_file():
        raise Unsupported(f"there is no workflow {name!r}", hint=f"`reel comfy add` registers one; it lies in {folder()} then.")
    return as_graph(json.loads(place.read_text("utf-8")), name)


def as_graph(content: Any, origin: str) -> Graph:
    """A workflow in API form, looked over; raises RequestError."""
    if isinstance(content, dict) and isinstance(content.get("prompt"), dict):  # as it is posted
        content = content["prompt"]
    if not isinstance(content, dict) or not content:
        raise RequestError(f"{origin} is no workflow", hint="In ComfyUI: Workflow > Export (API).")
    graph: Graph = {}
    for name, node in content.items():
        kind, inputs = (node.get("class_type"), node.get("inputs")) if isinstance(node, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(inputs, dict):
            raise RequestError(f"{origin} is not in API form: {name!r} is no node", hint="In ComfyUI: Workflow > Export (API).")
        graph[str(name)] = {"class_type": kind, "inputs": dict(inputs)}
    for name, node in graph.items():
        for key, value in node["inputs"].items():
            if is_link(value) and str(value[0]) not in graph:
                raise RequestError(f"{origin}: {key} of node {name} comes from node {value[0]}, which is not there")
        if (value := node["inputs"].get(FILES.get(node["class_type"], ""))) and isinstance(value, str):
            bare(value.removesuffix(" [input]").removesuffix(" [output]").removesuffix(" [temp]"))
    return graph


def is_link(value: Any) -> bool:
    """Whether an input comes from another node: [its name, number of the output]."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int) and type(value[1]) is int


def places(graph: Graph) -> Iterator[tuple[str, str, str]]:
    """(node, input, name) of every place."""
    for node, content in graph.items():
        for key, value in content["inputs"].items():
            if isinstance(value, str) and (found := _PLACE.fullmatch(value)):
                yield node, key, found[1]


def known_names(card: Card) -> set[str]:
    """What places of a card's workflow may name."""
    return {*_VALUES, *(role.value for role in Role), *card.options, *card.settings.get("values", {})}


def values(shot: Shot, uploads: Mapping[str, str], file: str) -> dict[str, Any]:
    """What the places stand for: the shot's fields, its options, the card's `settings.values`, uploaded files by role."""
    steps = shot.options.get("steps")
    return {
        **shot.card.settings.get("values", {}),
        **shot.options,
        **({"steps_half": max(1, int(steps) // 2)} if isinstance(steps, int) else {}),
        **uploads,
        "prompt": shot.prompt,
        "negative": shot.negative or shot.card.settings.get("values", {}).get("negative", ""),
        "width": shot.width,
        "height": shot.height,
        "frames": shot.frames,
        "fps": float(shot.fps),
        "seed": shot.seed % 2**63,
        "file": file,
    }


def filled(graph: Graph, known: Mapping[str, Any], names: Collection[str]) -> Graph:
    """The graph with its places set. An input whose place is one of `names` and has no value is left out."""
    made = {}
    for name, node in graph.items():
        inputs = {key: _set(value, known, names) for key, value in node["inputs"].items()}
        made[name] = {**node, "inputs": {key: value for key, value in inputs.items() if value is not None}}
    return made


def _set(value: Any, known: Mapping[str, Any], names: Collection[str]) -> Any:
    place = _PLACE.fullmatch(value) if isinstance(value, str) else None
    if place is None or (place[1] not in names and place[1] not in known):
        return value
    given = known.get(place[1])
    if given is None or place[2] is None:
        return given
    return round(given) if place[2] == "int" else float(given)


# ---- against what a server says of itself


def choices(spec: Any) -> list[Any] | None:
    """The values that an input may have, if there is a list of them."""
    if not isinstance(spec, list) or not spec:
        return None
    if isinstance(spec[0], list):
        return spec[0]
    more = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    options = more.get("options")
    if spec[0] == "COMBO" and isinstance(options, list):
        return options
    if spec[0] == "COMFY_DYNAMICCOMBO_V3" and isinstance(options, list):
        return [each.get("key") for each in options if isinstance(each, dict)]
    return None


def completed(graph: Graph, schema: Mapping[str, Any]) -> Graph:
    """The graph with every required widget that it leaves out: servers do not fill in defaults, and newer ones want more."""
    made = {}
    for name, node in graph.items():
        required = schema.get(node["class_type"], {}).get("input", {}).get("required") or {}
        inputs = dict(node["inputs"])
        for key, spec in required.items():
            _complete(inputs, key, spec)
        made[name] = {**node, "inputs": inputs}
    return made


def _complete(inputs: dict[str, Any], key: str, spec: Any) -> None:
    more = spec[1] if isinstance(spec, list) and len(spec) > 1 and isinstance(spec[1], dict) else {}
    able = choices(spec)
    if key not in inputs:
        if "default" in more:
            inputs[key] = more["default"]
        elif able:
            inputs[key] = able[0]
    for option in more.get("options") or ():  # a choice that brings inputs of its own, as KEY.NAME
        if isinstance(option, dict) and option.get("key") == inputs.get(key):
            for inner, each in ((option.get("inputs") or {}).get("required") or {}).items():
                _complete(inputs, f"{key}.{inner}", each)
