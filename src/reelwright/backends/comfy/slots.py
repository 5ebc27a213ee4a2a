"""Where a person's workflow takes its prompt, seed, size, pictures: found through the links of its samplers, or named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reelwright.backends.comfy.graphs import FILES, Graph, is_link
from reelwright.errors import RequestError
from reelwright.types import Role

_SEEDS = ("seed", "noise_seed")
_RATES = ("fps", "frame_rate")
_LENGTHS = ("length", "video_frames", "num_frames", "frames")
_TEXTS = ("text", "prompt", "value", "string", "t5xxl")
_LAST = ("end_image", "last_image", "end_frame", "last_frame")
_INT = ("width", "height", "frames", "seed", "steps", "steps_half")
_FLOAT = ("fps", "guidance")
_DEEP = 40

Places = dict[str, list[tuple[str, str]]]
"""Name of a place -> (node, input) of each."""


def found(graph: Graph) -> Places:
    """The places that can be told from the graph itself."""
    made: Places = {}
    for name, node in graph.items():
        for place, key in _of_node(graph, node):
            spot = literal(graph, name, key)
            if spot is not None and spot not in made.setdefault(place, []):
                made[place].append(spot)
        if any(is_link(node["inputs"].get(key)) for key in ("positive", "guider")) and _samples(node):
            for place, spot in _texts(graph, node):
                if spot not in made.setdefault(place, []):
                    made[place].append(spot)
    for place, spots in _files(graph):
        made.setdefault(place, []).append(spots)
    both = set(made.get("prompt", ())) & set(made.get("negative", ()))
    if both:  # one text for both, as where the negative one is zeroed
        made["negative"] = [spot for spot in made["negative"] if spot not in both]
    return {place: spots for place, spots in made.items() if spots}


def _of_node(graph: Graph, node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(place, input) of what a node sets by itself."""
    inputs, kind = node["inputs"], node["class_type"]
    for key in _SEEDS:
        if key in inputs:
            yield "seed", key
    for key in _RATES:
        if key in inputs and not kind.startswith("Load"):
            yield "fps", key
    if "steps" in inputs:
        yield "steps", "steps"
    if "cfg" in inputs:
        yield "guidance", "cfg"
    length = next((key for key in _LENGTHS if key in inputs), None)
    if length is None and "batch_size" in inputs and any(each["class_type"].startswith("ADE_") for each in graph.values()):
        length = "batch_size"
    if "width" in inputs and "height" in inputs and (length or kind.startswith("Empty")):
        yield "width", "width"
        yield "height", "height"
        if length:
            yield "frames", length
    if kind.startswith("Save") or "VideoCombine" in kind:
        yield "file", "filename_prefix"


def _samples(node: Mapping[str, Any]) -> bool:
    return "Sampler" in node["class_type"] or any(key in node["inputs"] for key in _SEEDS)


def _texts(graph: Graph, sampler: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """The texts behind a sampler's positive and negative input, or behind its guider."""
    inputs = sampler["inputs"]
    if is_link(inputs.get("guider")):
        inputs = graph[str(inputs["guider"][0])]["inputs"]
    for place, keys in (("prompt", ("positive", "conditioning")), ("negative", ("negative",))):
        for key in keys:
            if is_link(inputs.get(key)) and (spot := _text(graph, str(inputs[key][0]), key, 0)) is not None:
                yield place, spot


def _text(graph: Graph, name: str, polarity: str, deep: int) -> tuple[str, str] | None:
    """The text from which a conditioning is made, up through the nodes that change it."""
    if deep > _DEEP:
        return None
    inputs = graph[name]["inputs"]
    for key in _TEXTS:
        if key in inputs and (spot := literal(graph, name, key)) is not None and isinstance(_at(graph, spot), str):
            return spot
    for key in (polarity, "conditioning", "conditioning_1", "conditioning_to", "positive"):
        if is_link(inputs.get(key)):
            return _text(graph, str(inputs[key][0]), polarity, deep + 1)
    return None


def _files(graph: Graph) -> Iterator[tuple[str, tuple[str, str]]]:
    """Pictures, videos and sounds that are loaded, by what the next nodes take them for."""
    first = False
    for name, node in graph.items():
        key = FILES.get(node["class_type"])
        if key is None or not isinstance(node["inputs"].get(key), str):
            continue
        uses = {
            use for each in graph.values() for use, value in each["inputs"].items() if is_link(value) and str(value[0]) == name
        }
        if node["class_type"] == "LoadAudio":
            yield Role.SPEECH.value, (name, key)
        elif "Video" in node["class_type"]:
            yield Role.SOURCE.value, (name, key)
        elif node["class_type"] == "LoadImageMask":
            yield Role.MASK.value, (name, key)
        elif uses & set(_LAST):
            yield Role.LAST_FRAME.value, (name, key)
        elif "ref_image" in uses:
            yield Role.PORTRAIT.value, (name, key)
        else:
            yield (Role.REFERENCE if first else Role.FIRST_FRAME).value, (name, key)
            first = True


def literal(graph: Graph, name: str, key: str, deep: int = 0) -> tuple[str, str] | None:
    """Where an input's value is written: there, or in the node of a single value that it comes from."""
    value = graph[name]["inputs"].get(key)
    if not is_link(value):
        return None if value is None else (name, key)
    source = str(value[0])
    own = [each for each in graph[source]["inputs"] if each in (*_TEXTS, "int", "float", key)]
    if deep > _DEEP or len(own) != 1 or len(graph[source]["inputs"]) > 1:
        return None
    return literal(graph, source, own[0], deep + 1)


def _at(graph: Graph, spot: tuple[str, str]) -> Any:
    return graph[spot[0]]["inputs"].get(spot[1])


def named(graph: Graph, told: list[str]) -> Places:
    """The places that a person names, as NAME=NODE.INPUT; raises RequestError for one that is not there."""
    made: Places = {}
    for each in told:
        place, equals, spot = each.partition("=")
        node, dot, key = spot.partition(".")
        if not equals or not dot or not place.isidentifier() or not place.islower():
            raise RequestError(f"a slot is NAME=NODE.INPUT, such as prompt=6.text, not {each!r}")
        if node not in graph or key not in graph[node]["inputs"]:
            able = ", ".join(graph[node]["inputs"]) if node in graph else ", ".join(graph)
            raise RequestError(
                f"there is no {spot} in the workflow", hint=f"There {'are' if able else 'is'} {able or 'nothing'}."
            )
        opens = FILES.get(graph[node]["class_type"]) == key
        if opens != (place in {role.value for role in Role}):
            hint = f"Files are named by roles: {', '.join(role.value for role in Role)}."
            raise RequestError(f"{spot} {'opens a file' if opens else 'opens no file'} and cannot be {place}", hint=hint)
        made.setdefault(place, []).append((node, key))
    return made


def placed(graph: Graph, places: Places) -> Graph:
    """The graph with these places in it."""
    made = {name: {**node, "inputs": dict(node["inputs"])} for name, node in graph.items()}
    for place, spots in places.items():
        for node, key in spots:
            kind = ":int" if place in _INT else ":float" if place in _FLOAT else ""
            made[node]["inputs"][key] = f"{{{place}{kind}}}"
    return made
