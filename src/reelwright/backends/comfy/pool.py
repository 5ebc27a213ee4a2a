"""Several ComfyUI servers: the one with the shortest queue that has all that a workflow needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reelwright.backends.comfy.client import Away, Server, private
from reelwright.backends.comfy.faults import Lack, lacking, lacks
from reelwright.backends.comfy.graphs import Graph
from reelwright.catalog import Card
from reelwright.errors import ReelwrightError, RequestError

_LOOK_S = 5.0
"""Seconds until a server that does not answer counts as dead."""


@dataclass(frozen=True)
class Fit:
    """A server, and what it says of the nodes of a workflow."""

    server: Server
    schema: Mapping[str, Any]


class Pool:
    """The servers that the operator named; no others are called. Raises RequestError for addresses that may not be."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = tuple(dict.fromkeys(private(each) for each in addresses))
        if not self.addresses:
            raise RequestError("no ComfyUI server is named", hint="Set COMFY_SERVERS to http://127.0.0.1:8188, or where it runs.")

    def at(self, address: str) -> Server | None:
        """The server at an address, if it is one of these."""
        return Server(address) if address in self.addresses else None

    def waiting(self) -> Iterator[tuple[Server, int | ReelwrightError]]:
        """Each server with the number of prompts in its queue, or with why it does not answer."""
        for address in self.addresses:
            try:
                running, pending = Server(address, _LOOK_S).queue()
            except ReelwrightError as error:
                yield Server(address), error
            else:
                yield Server(address), len(running) + len(pending)

    def pick(self, card: Card, graph: Graph) -> Fit:
        """The server that makes a graph soonest. Raises Away if none answers, Unavailable if each lacks something."""
        told = list(self.waiting())
        alive = [(count, server) for server, count in told if isinstance(count, int)]
        if not alive:
            first = next(error for _, error in told if isinstance(error, ReelwrightError))
            if len(told) == 1 and not isinstance(first, Away):
                raise first
            raise Away(
                f"no ComfyUI server answers at {', '.join(self.addresses)}",
                hint="Start one, or set COMFY_SERVERS to where it runs.",
                servers=list(self.addresses),
            )
        short: list[tuple[str, Lack]] = []
        fault: ReelwrightError | None = None
        for _, server in sorted(alive, key=lambda each: each[0]):
            try:
                schema = server.schema(node["class_type"] for node in graph.values())
            except ReelwrightError as error:  # it went away meanwhile, or is none
                fault = error
                continue
            if not (lack := lacks(graph, schema)):
                return Fit(server, schema)
            short.append((server.address, lack))
        if fault is not None and not short:
            raise fault
        address, lack = min(short, key=lambda each: len(each[1].nodes) + len(each[1].models))
        raise lacking(card, address, lack)
