"""Storyboards over HTTP: kept, checked, planned, rendered, and one scene of a film made anew."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from annotated_types import Interval, MaxLen
from fastapi import APIRouter, Query

from reelwright.errors import BadStoryboard, Conflict, NotFound
from reelwright.jobs.shelf import StoredBoard
from reelwright.references import hold_references
from reelwright.server.assets import After
from reelwright.server.auth import Reader, Shop, Writer
from reelwright.server.jobs import Extra, Once, order, own, shown
from reelwright.showing import at
from reelwright.storyboard import plain
from reelwright.storyfile import validated
from reelwright.workbench import FILM

ROUTER = APIRouter(prefix="/api", tags=["storyboards"])


def _shown(board: StoredBoard) -> dict[str, Any]:
    return {**asdict(board), "created_at": at(board.created_at), "updated_at": at(board.updated_at)}


@ROUTER.post("/storyboards", status_code=201, operation_id="create_storyboard")
def create(storyboard: dict[str, Any], shop: Shop, caller: Writer) -> dict[str, Any]:
    """Keep a storyboard; everything that is wrong with its form is said at once. It may name assets, no files."""
    board = validated(storyboard)
    hold_references(board)
    return _shown(shop.shelf.add(caller.owner, board.title, plain(board)))


@ROUTER.get("/storyboards", operation_id="list_storyboards")
def boards(shop: Shop, caller: Reader, after: After = None, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> dict[str, Any]:
    """The storyboards that are kept, newest first."""
    found = shop.shelf.boards(caller.sees, after=after, limit=limit + 1)
    return {"storyboards": [_shown(board) for board in found[:limit]], "more": len(found) > limit}


@ROUTER.post("/storyboards/check", operation_id="check_storyboard")
def check(storyboard: dict[str, Any], shop: Shop, caller: Reader) -> dict[str, Any]:
    """Everything that would stop a storyboard from being rendered, and warnings of vague prompts."""
    try:
        board = validated(storyboard)
        hold_references(board)
    except BadStoryboard as error:
        return {"problems": error.details.get("problems") or [error.message], "warnings": []}
    problems = shop.studio_with().check(board, find=shop.finder(caller.owner))
    return {"problems": list(problems), "warnings": list(shop.studio_with().advice(board))}


@ROUTER.post("/storyboards/plan", operation_id="plan_storyboard")
def plan(storyboard: dict[str, Any], shop: Shop, caller: Reader) -> dict[str, Any]:
    """What rendering a storyboard will make, what is there already, and how long it will take."""
    board = validated(storyboard)
    hold_references(board)
    return shop.studio_with().plan(board, find=shop.finder(caller.owner)).json()


@ROUTER.get("/storyboards/{storyboard}", operation_id="get_storyboard")
def show(storyboard: str, shop: Shop, caller: Reader) -> dict[str, Any]:
    """A storyboard that is kept."""
    return _shown(shop.shelf.board(storyboard, caller.sees))


@ROUTER.put("/storyboards/{storyboard}", operation_id="replace_storyboard")
def change(storyboard: str, content: dict[str, Any], shop: Shop, caller: Writer) -> dict[str, Any]:
    """Replace what a storyboard says."""
    kept = shop.shelf.board(storyboard, caller.sees)
    board = validated(content)
    hold_references(board)
    shop.shelf.change(kept.id, board.title, plain(board))
    return _shown(shop.shelf.board(kept.id))


@ROUTER.delete("/storyboards/{storyboard}", operation_id="delete_storyboard")
def delete(storyboard: str, shop: Shop, caller: Writer) -> dict[str, Any]:
    """Forget a storyboard; films that were made of it stay."""
    shop.shelf.drop(shop.shelf.board(storyboard, caller.sees).id)
    return {"id": storyboard, "deleted": True}


@ROUTER.post("/storyboards/{storyboard}/render", status_code=202, operation_id="render_kept_storyboard")
def render(storyboard: str, shop: Shop, caller: Writer, extra: Extra, once: Once = None) -> dict[str, Any]:
    """Queue the film of a storyboard that is kept; scenes that did not change since the last time are used again."""
    kept = shop.shelf.board(storyboard, caller.sees)
    ordered = order(caller, once, "board", kept.id, kept.updated_at, extra=extra)
    return shown(shop, shop.film(validated(kept.content), ordered))


@dataclass(frozen=True)
class Remake:
    """What to change about a scene: its words, its model, its seed; with none of them it gets another seed."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    prompt: Annotated[str, MaxLen(20_000)] | None = None
    model: Annotated[str, MaxLen(256)] | None = None
    seed: Annotated[int, Interval(ge=0, lt=2**53)] | None = None


@ROUTER.post("/jobs/{job}/scenes/{scene}/remake", status_code=202, operation_id="remake_scene")
def remake(job: str, scene: int, wanted: Remake, shop: Shop, caller: Writer, once: Once = None) -> dict[str, Any]:
    """Make one scene (from 0) of a film anew and put the film together again, as a new job; all else is used again."""
    film = own(shop, job, caller)
    if film.kind != FILM:
        raise Conflict(f"job {job} is no film", hint="Name the job of a storyboard's film.", job=job)
    board = validated(film.content["storyboard"])
    if not 0 <= scene < len(board.scenes):
        raise NotFound(f"the film has scenes 0 to {len(board.scenes) - 1}", hint="List them first.", scene=scene)
    changes = {name: value for name, value in asdict(wanted).items() if value is not None}
    changes = changes or {"seed": random.SystemRandom().randrange(2**32)}
    scenes = list(board.scenes)
    scenes[scene] = replace(scenes[scene], **changes)
    ordered = order(caller, once, "remake", job, scene, changes)
    return shown(shop, shop.film(replace(board, scenes=tuple(scenes)), ordered))
