"""Commands about ComfyUI: a workflow becomes a model, and which server has what (M11)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelwright.cli import report

if TYPE_CHECKING:
    from reelwright.backends.comfy.client import Server

app = typer.Typer(help="Make models of ComfyUI workflows; list the servers.", no_args_is_help=True)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="A workflow: exported in API form, or as the editor saves it.")],
    name: Annotated[str, typer.Option("--id", help="The id that the model gets.")],
    slot: Annotated[
        list[str] | None, typer.Option("--slot", help="A place that is not found by itself, as NAME=NODE.INPUT: prompt=6.text.")
    ] = None,
    title: Annotated[str, typer.Option(help="Its name for people.")] = "",
    licence: Annotated[str, typer.Option(help="The licence of the models that it uses.")] = "",
) -> None:
    """Make a model of a workflow: write its card and the workflow itself into your own folders."""
    from reelwright.backends.comfy.register import graph_from, register
    from reelwright.backends.comfy.workflow import is_drawing
    from reelwright.errors import MissingAsset, RequestError

    if not file.is_file():
        raise MissingAsset(f"there is no file {file}", ref=str(file))
    try:
        content = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise RequestError(f"{file} is not JSON: {error}", hint="In ComfyUI: Workflow > Export (API).") from None
    schema = _schema(needed=is_drawing(content))
    graph = graph_from(content, schema, file.name)
    made = register(graph, name, told=slot or [], schema=schema, origin=file.name, title=title, licence=licence)
    lines = [f"{place}: {', '.join(spots)}" for place, spots in made.places.items()]
    text = "\n".join([str(made.card), str(made.graph), *lines, "Look the card over: licence, sizes, frames."])
    report.give({"id": made.id, "card": str(made.card), "graph": str(made.graph), "places": dict(made.places)}, text)


def _schema(*, needed: bool) -> dict[str, Any]:
    """What the first server that answers says of its nodes; nothing if none does and it can be done without."""
    from reelwright.backends.comfy.client import Away
    from reelwright.backends.comfy.pool import Pool
    from reelwright.errors import ReelwrightError
    from reelwright.settings import current

    for server, told in Pool(current().comfy_servers).waiting():
        if isinstance(told, int):
            try:
                return server.schema()
            except ReelwrightError:
                continue
    if needed:
        raise Away(
            "a workflow as the editor saves it needs a ComfyUI server that knows its nodes, and none answers",
            hint="Start one, or export the workflow in API form: Workflow > Export (API).",
        )
    return {}


@app.command()
def servers() -> None:
    """List the servers: their queues, and which models they can make or what they lack for the others."""
    from reelwright.backends.comfy.pool import Pool
    from reelwright.settings import current

    rows: list[tuple[Any, ...]] = []
    for server, told in Pool(current().comfy_servers).waiting():
        if not isinstance(told, int):
            rows.append((server.address, f"away: {told.message}", None, None, None, None))
            continue
        version, ready, short = _of(server)
        rows.append((server.address, "up", version, told, ", ".join(ready), "; ".join(short)))
    names = ("server", "state", "version", "queue", "ready", "lacks")
    report.table("ComfyUI servers", ("Server", "State", "Version", "Queue", "Ready", "Lacks"), rows, names)


def _of(server: Server) -> tuple[str, list[str], list[str]]:
    """(version, models that it can make, what it lacks for each of the others)."""
    from reelwright.backends.comfy import graphs
    from reelwright.backends.comfy.faults import lacks
    from reelwright.catalog import cards
    from reelwright.errors import ReelwrightError

    schema = server.schema()
    version = str((server.stats().get("system") or {}).get("comfyui_version") or "")
    ready, short = [], []
    for card in cards().values():
        if card.backend != "comfyui":
            continue
        known = {**card.settings.get("values", {}), "file": "x"}
        try:
            lack = lacks(graphs.filled(graphs.graph_of(card), known, ()), schema)
        except ReelwrightError as error:  # a card whose workflow is gone
            short.append(f"{card.id}: {error.message}")
            continue
        if lack:
            missing = [*lack.nodes, *(name for name, _ in lack.models), *lack.values]
            short.append(f"{card.id}: {', '.join(missing)}")
        else:
            ready.append(card.id)
    return version, ready, short
