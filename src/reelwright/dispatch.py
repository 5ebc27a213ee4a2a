"""Workers under Celery: `celery -A reelwright.dispatch worker -Q cpu,gpu.24`. The row is the job, the message a token."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from celery import shared_task

from reelwright.backends.local.residency import RESIDENTS
from reelwright.errors import RequestError
from reelwright.jobs.messages import WAKE, celery_app
from reelwright.jobs.place import worker_name
from reelwright.jobs.residents import Keeper
from reelwright.jobs.worker import Worker
from reelwright.settings import current
from reelwright.workshop import Workshop

_LOOKS_S = (0.0, 0.05, 0.2)
"""Pauses before each look for a job: one that is being written for a moment is not seen by the first."""


@cache
def _worker() -> tuple[Workshop, Worker]:
    """This process's worker; it keeps its models warm over many messages."""
    shop, name = Workshop(current(), migrate=False), worker_name("celery")
    Keeper(shop.store, name).start()
    return shop, Worker(shop.store, name, ("cpu",), shop.perform, find=shop.find, preview=shop.preview, warm=RESIDENTS.models)


# Shared, for a spawned child of the pool has a copy of the application with no tasks of its own.
@shared_task(name=WAKE)  # type: ignore[untyped-decorator]  # Celery has no types
def wake(lane: str) -> bool:
    """Claim one job of the lane and do it; False if there was none."""
    shop, worker = _worker()
    worker.lanes = (lane,)
    for pause in _LOOKS_S:
        time.sleep(pause)
        if worker.once():
            shop.announce()
            return True
    return False


@cache
def _app() -> Any:
    url = current().queue
    if url is None:
        raise RequestError("no queue is set", hint="Set REELWRIGHT_QUEUE to celery+redis://HOST:PORT/0.", field="queue")
    return celery_app(url)


def __getattr__(name: str) -> Any:
    """`app`, made when Celery asks for it, so that importing this needs no broker."""
    if name == "app":
        return _app()
    raise AttributeError(name)
