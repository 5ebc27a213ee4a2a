"""A workflow as ComfyUI's editor saves it, turned into API form: what the editor itself does before it queues one.

Notes, reroutes and primitives are the editor's alone and are resolved; muted nodes go, bypassed ones hand their input on. Values
of widgets come in the order of the node's schema, with companions of their own (`control_after_generate`) in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reelwright.backends.comfy.graphs import Graph, as_graph
from reelwright.errors import RequestError, Unavailable

_MUTED, _BYPASSED = 2, 4
_NOTES = ("Note", "MarkdownNote")
_ALONE = (*_NOTES, "Reroute", "PrimitiveNode", "GetNode", "SetNode")
"""Nodes that exist in the editor only."""
_WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
_AFTER = ("fixed", "increment", "decrement", "randomize")
_UPLOADS = ("image", "video", "audio", "file")
_DEEP = 200


def is_drawing(content: Any) -> bool:
    """Whether this is a workflow as the editor saves it."""
    return isinstance(content, dict) and isinstance(content.get("nodes"), list) and "links" in content


class Drawing:
    """A workflow in the editor's form, with the schema of the server that has its nodes."""

    def __init__(self, content: Mapping[str, Any], schema: Mapping[str, Any], origin: str = "the workflow") -> None:
        self._schema, self._origin = schema, origin
        parts = {each.get("id") for each in (content.get("definitions") or {}).get("subgraphs") or ()}
        self._nodes: dict[str, Mapping[str, Any]] = {str(node["id"]): node for node in content["nodes"]}
        inside = [str(node.get("title") or name) for name, node in self._nodes.items() if node.get("type") in parts]
        if inside:
            raise RequestError(
                f"{origin} uses subgraphs ({', '.join(inside)}), which are not taken apart here",
                hint="In ComfyUI: Workflow > Export (API), or unpack the subgraphs and save again.",
            )
        self._links = dict(map(_link, content["links"] or ()))

    def graph(self) -> Graph:
        """The workflow in API form; raises Unavailable if the server lacks a node, RequestError if it does not hold together."""
        made: Graph = {}
        lacking = []
        for name, node in self._nodes.items():
            kind = str(node.get("type"))
            if kind in _ALONE or node.get("mode") in (_MUTED, _BYPASSED):
                continue
            if kind not in self._schema:
                lacking.append(kind)
                continue
            made[name] = {"class_type": kind, "inputs": self._inputs(node, self._schema[kind])}
        if lacking:
            raise Unavailable(
                f"{self._origin} uses nodes that the server lacks: {', '.join(sorted(set(lacking)))}",
                hint="Install them there, update ComfyUI, or export the workflow in API form.",
                retryable=False,
                nodes=sorted(set(lacking)),
            )
        return as_graph(made, self._origin)

    def _inputs(self, node: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
        """Its widgets' values, and over them what comes from other nodes."""
        made = self._values(node, schema)
        for given in node.get("inputs") or ():
            if given.get("link") is None:
                continue
            found = self._source(given["link"], 0)
            if found is not None:
                made[given["name"]] = found[0] if isinstance(found, tuple) else found
            elif given["name"] in made and given.get("widget") is None:
                del made[given["name"]]
        return made

    def _values(self, node: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
        told = node.get("widgets_values")
        if isinstance(told, dict):  # as some custom nodes save them
            known = {key for key, _ in _specs(schema)}
            return {key: value for key, value in told.items() if key in known}
        values = list(told or ())
        made: dict[str, Any] = {}
        at = 0
        for key, spec in _specs(schema):
            if not _is_widget(spec) or at >= len(values):
                continue
            made[key] = values[at]
            at += 1
            at += _companions(key, spec, values[at:])
            at = self._chosen(made, key, spec, values, at)
        return made

    def _chosen(self, made: dict[str, Any], key: str, spec: Any, values: list[Any], at: int) -> int:
        """A choice that brings widgets of its own: they follow it, as KEY.NAME. Returns where to go on."""
        options = spec[1].get("options") if isinstance(spec, list) and len(spec) > 1 and isinstance(spec[1], dict) else None
        for option in options or ():
            if isinstance(option, dict) and option.get("key") == made[key]:
                for inner, each in _specs({"input": option.get("inputs") or {}}):
                    if _is_widget(each) and at < len(values):
                        made[f"{key}.{inner}"] = values[at]
                        at += 1
        return at

    def _source(self, link: Any, deep: int) -> Any:
        """What a link brings: [node, output], a value in a tuple, or None if nothing comes."""
        if deep > _DEEP:
            raise RequestError(f"{self._origin} goes in circles")
        if link not in self._links:
            return None
        name, slot = self._links[link]
        node = self._nodes.get(name)
        if node is None or node.get("mode") == _MUTED:
            return None
        kind = node.get("type")
        if kind == "PrimitiveNode":
            values = node.get("widgets_values") or [None]
            return (values[0],)
        if kind == "Reroute":
            return self._through(node, 0, deep)
        if kind in ("GetNode", "SetNode"):
            return self._by_name(node, deep)
        if node.get("mode") == _BYPASSED:
            return self._bypassed(node, slot, deep)
        return [name, slot]

    def _through(self, node: Mapping[str, Any], number: int, deep: int) -> Any:
        inputs = node.get("inputs") or ()
        link = inputs[number].get("link") if number < len(inputs) else None
        return None if link is None else self._source(link, deep + 1)

    def _by_name(self, node: Mapping[str, Any], deep: int) -> Any:
        name = (node.get("widgets_values") or [None])[0]
        for each in self._nodes.values():
            if each.get("type") == "SetNode" and (each.get("widgets_values") or [None])[0] == name:
                return self._through(each, 0, deep)
        return None

    def _bypassed(self, node: Mapping[str, Any], slot: int, deep: int) -> Any:
        """A bypassed node hands on the input of the same kind: the one in the same place first."""
        outputs, inputs = node.get("outputs") or (), node.get("inputs") or ()
        kind = outputs[slot].get("type") if slot < len(outputs) else None
        order = sorted(range(len(inputs)), key=lambda number: number != slot)
        for number in order:
            if inputs[number].get("type") == kind and inputs[number].get("link") is not None:
                return self._through(node, number, deep)
        return None


def _link(told: Any) -> tuple[Any, tuple[str, int]]:
    """(id, (node, output)): a list in the editor's older form, an object in the newer."""
    if isinstance(told, dict):
        return told["id"], (str(told["origin_id"]), int(told["origin_slot"]))
    return told[0], (str(told[1]), int(told[2]))


def _specs(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(name, spec) of each input, required ones first, in the order that the server tells."""
    groups = schema.get("input") or {}
    order = schema.get("input_order") or {}
    for group in ("required", "optional"):
        inputs = groups.get(group) or {}
        for key in order.get(group) or inputs:
            if key in inputs:
                yield key, inputs[key]


def _is_widget(spec: Any) -> bool:
    if not isinstance(spec, list) or not spec:
        return False
    more = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    if more.get("forceInput"):
        return False
    return isinstance(spec[0], list) or spec[0] in _WIDGETS or spec[0] == "COMFY_DYNAMICCOMBO_V3"


def _companions(key: str, spec: Any, rest: list[Any]) -> int:
    """How many values that follow belong to the editor: what becomes of a seed after a run, a button for uploads."""
    more = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    if not rest:
        return 0
    if (more.get("control_after_generate") or key in ("seed", "noise_seed")) and rest[0] in _AFTER:
        return 1
    uploads = any(more.get(f"{kind}_upload") for kind in _UPLOADS) or more.get("upload")
    return int(bool(uploads) and isinstance(rest[0], str) and rest[0] in _UPLOADS)
