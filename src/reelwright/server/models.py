"""Models over HTTP: what there is, what a request would cost, which model is taken when none is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import MaxLen
from fastapi import APIRouter, Query
from pydantic import TypeAdapter

from reelwright import catalog
from reelwright.backends.local import preflight
from reelwright.catalog import Card
from reelwright.errors import Unsupported
from reelwright.jobs.residents import Residents
from reelwright.request import GenerationRequest
from reelwright.server.auth import Admin, Reader, Shop
from reelwright.showing import shown as job_shown
from reelwright.workshop import IMAGE, TEXT, Order

ROUTER = APIRouter(prefix="/api", tags=["models"])

_CARD = TypeAdapter(Card)
_MEASURED, _GUESSED = (0.7, 1.5), (0.25, 4.0)
"""Within these factors of an estimate the time lies mostly: speeds of this machine vary by that much, guesses by more."""
ModelId = Annotated[str, MaxLen(256)]


def shown(card: Card) -> dict[str, Any]:
    """A card as JSON; what only its backend reads is left out, and so are folders of this machine."""
    content = _CARD.dump_python(card, mode="json", exclude={"settings"})
    if card.source.startswith(("/", "~", ".")) or "\\" in card.source:
        content["source"] = ""
    return {"object": "model", **content}


@ROUTER.get("/models", operation_id="list_models")
def models(
    _: Reader, task: Annotated[str | None, Query(description="Only models for this: text-to-video ...")] = None
) -> dict[str, Any]:
    """The models, each with its sizes, limits and options."""
    return {"models": [shown(card) for card in catalog.cards().values() if task is None or task in card.task]}


@ROUTER.get("/models/loaded", operation_id="list_loaded_models")
def loaded(shop: Shop, _: Reader) -> dict[str, Any]:
    """The models in workers' memory: plan, device, GB, since when, how long idle, whether busy."""
    return {"loaded": Residents(shop.store).known()}


@dataclass(frozen=True)
class Named:
    """A model, by its id."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    model: ModelId


@ROUTER.post("/models/load", operation_id="load_model", status_code=202)
def load(wanted: Named, shop: Shop, caller: Admin) -> dict[str, Any]:
    """Bring a model into a worker's memory; the job that does it."""
    return job_shown(shop.store, shop.load(wanted.model, Order(caller.owner, 10)))


@dataclass(frozen=True)
class NamedOrAll:
    """A model, or all of them if null."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    model: ModelId | None = None


@ROUTER.post("/models/unload", operation_id="unload_model")
def unload(wanted: NamedOrAll, shop: Shop, _: Admin) -> dict[str, Any]:
    """Let go of a model, or of all; those that are at work go when they are done. The ids of those that are held now."""
    return {"unloading": Residents(shop.store).wish_gone(None if wanted.model is None else catalog.find(wanted.model).id)}


@dataclass(frozen=True)
class Defaults:
    """The model for each task; null for the one of the server's settings."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    text_to_video: ModelId | None = None
    image_to_video: ModelId | None = None


@ROUTER.get("/models/defaults", operation_id="get_default_models")
def defaults(shop: Shop, _: Reader) -> dict[str, str]:
    """The model that is taken for each task when a request names none."""
    return shop.defaults()


@ROUTER.put("/models/defaults", operation_id="set_default_models")
def set_defaults(wanted: Defaults, shop: Shop, _: Admin) -> dict[str, str]:
    """Set the models that are taken when a request names none; jobs that are there already keep theirs."""
    given = {TEXT: wanted.text_to_video, IMAGE: wanted.image_to_video}
    for task, model in given.items():
        if model is not None and task not in catalog.find(model).task:
            raise Unsupported(f"{model} is not for {task}", hint="`GET /api/models` says what is.", model=model)
    shop.shelf.set_defaults({task: catalog.find(model).id for task, model in given.items() if model is not None})
    return shop.defaults()


@ROUTER.get("/models/{model:path}", operation_id="get_model")
def show(model: str, _: Reader) -> dict[str, Any]:
    """A model: what it can do, and a JSON Schema of each of its options."""
    return shown(catalog.find(model))


@ROUTER.post("/estimate", operation_id="estimate")
def estimate(request: GenerationRequest, shop: Shop, caller: Reader) -> dict[str, Any]:
    """What a request would come to, without making it: the adapted size and length, seconds of work, memory, money."""
    shot, notes, seconds, measured, cached = shop.estimate(request, caller.owner)
    low, high = _MEASURED if measured else _GUESSED
    card = shot.card
    return {
        "model": card.id, "width": shot.width, "height": shot.height, "fps": str(shot.fps), "frames": shot.frames,
        "seconds": round(float(shot.frames / shot.fps), 3), "seed": shot.seed, "lane": shot.lane,
        "fingerprint": shot.fingerprint, "cached": cached, "notes": list(notes),
        "estimate_seconds": round(seconds, 2), "estimate_range": [round(seconds * low, 2), round(seconds * high, 2)],
        "measured": measured, "vram_gb": list(card.vram_gb) if card.vram_gb else None, "price": card.price or None,
        "fit": preflight.told(shot, shop.settings),
        "ahead": shop.store.count().get((shot.lane, "queued"), 0),
    }  # fmt: skip
