"""The application: a workshop behind HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from reelwright.server import (
    assets,
    batch,
    events,
    health,
    jobs,
    keys,
    metrics,
    models,
    openai,
    openai_images,
    problems,
    shield,
    storyboards,
    video,
    webhooks,
)
from reelwright.server.limits import Gate
from reelwright.workshop import Workshop

_PARTS = (video, openai, openai_images, jobs, events, batch, storyboards, assets, models, webhooks, keys, metrics, health)


def create_app(workshop: Workshop, *, open_to_all: bool = True) -> FastAPI:
    """The API over a workshop. `open_to_all`: no key is asked for; only for a server that listens to its own machine."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.watcher.stop()
        workshop.close()

    app = FastAPI(title="Reelwright", version=version("reelwright"), lifespan=lifespan)
    app.state.workshop, app.state.open, app.state.watcher = workshop, open_to_all, events.Watcher(workshop)
    app.state.gate = Gate(workshop.settings)
    app.state.meters = metrics.Meters(workshop, app.state.watcher)
    problems.install(app)
    for module in _PARTS:
        app.include_router(module.ROUTER)
    app.add_middleware(shield.Shield, own_names_only=open_to_all)
    app.add_middleware(metrics.Access, meters=app.state.meters)
    return app
