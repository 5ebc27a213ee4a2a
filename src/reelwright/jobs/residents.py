"""Which models are in which worker's memory, told through the store, and wishes that they be let go (M16).

A worker tells what it holds when that changes, and now and then; it hears wishes while it holds anything.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import sqlalchemy as sa

from reelwright.backends.local.residency import RESIDENTS
from reelwright.errors import Unavailable
from reelwright.jobs.store import Store
from reelwright.jobs.tables import FACTS

LOG = logging.getLogger("reelwright.residents")

_HELD, _WISH = "models held by ", "models to let go"
_LOOK_S = 1.0
_TELL_S = 15.0
"""How often a worker tells what it holds, if that does not change."""
_FORGOTTEN_S = 60.0
"""After which a worker that says nothing is taken to hold nothing."""


class Residents:
    """The models in memory, of all workers of one store."""

    def __init__(self, store: Store) -> None:
        self._database, self._clock = store.database, store.clock

    def tell(self, worker: str, loaded: list[dict[str, Any]]) -> None:
        """A worker says what it holds."""
        self._set(f"{_HELD}{worker}"[:128], {"worker": worker, "at": self._clock(), "loaded": loaded} if loaded else None)

    def known(self) -> list[dict[str, Any]]:
        """What is in memory: model, plan, device, GB, since when, how long idle, whether busy, and the worker."""
        with self._database.read() as connection:
            rows = connection.scalars(sa.select(FACTS.c.value).where(FACTS.c.name.startswith(_HELD))).all()
        fresh = [row for row in rows if self._clock() - row["at"] < _FORGOTTEN_S]
        return [{**each, "worker": row["worker"]} for row in fresh for each in row["loaded"]]

    def wish_gone(self, model: str | None) -> list[str]:
        """Ask that a model, or all, be let go by every worker that does not use it at the moment; the ids of those held now."""
        wishes = {**self.wishes(), (model or "*"): self._clock()}
        self._set(_WISH, dict(sorted(wishes.items(), key=lambda each: each[1])[-100:]))
        return sorted({each["model"] for each in self.known() if model in (None, each["model"])})

    def ahead(self) -> float:
        """Seconds by which the store's clock is ahead of this machine's."""
        return self._clock() - time.time()

    def wishes(self) -> dict[str, float]:
        """When it was wished of which model that it go; "*" is all."""
        with self._database.read() as connection:
            found = connection.scalar(sa.select(FACTS.c.value).where(FACTS.c.name == _WISH))
        return dict(found or {})

    def _set(self, name: str, value: dict[str, Any] | None) -> None:
        with self._database.write(alone=False) as connection:
            connection.execute(FACTS.delete().where(FACTS.c.name == name))
            if value is not None:
                connection.execute(FACTS.insert().values(name=name, value=value))


class Keeper(threading.Thread):
    """Tells for one worker process what it holds, and lets go of what is not wanted any more."""

    def __init__(self, store: Store, worker: str) -> None:
        super().__init__(name="models", daemon=True)
        self._residents, self._worker = Residents(store), worker
        self._told: list[str] = []
        self._at = 0.0
        self._heard: dict[str, float] = {}
        self.stopping = threading.Event()

    def run(self) -> None:
        """Until `stopping` is set."""
        try:
            self._heard = self._residents.wishes()
        except Unavailable as error:
            LOG.warning("%s", error)
        while not self.stopping.wait(_LOOK_S):
            try:
                self.once()
            except Unavailable as error:
                LOG.warning("%s", error)
        self._residents.tell(self._worker, [])

    def once(self) -> None:
        """Hear wishes, and tell."""
        held = RESIDENTS.loaded()
        if not held and not self._told:
            return
        for model, at in self._residents.wishes().items():
            if at > self._heard.get(model, 0.0):
                # A busy model stays; the wish is heard again at the next look.
                since = at - self._residents.ahead()  # what came into memory later is not meant
                meant = [each for each in held if model in ("*", each.model) and each.since < since]
                busy = [each for each in meant if each.lock.locked()]
                if gone := [name for each in meant for name in RESIDENTS.unload(key=each.key)]:
                    LOG.info("let go of %s", ", ".join(gone))
                if not busy:
                    self._heard[model] = at
        now = [f"{each.model}|{each.plan.name}|{each.lock.locked()}" for each in RESIDENTS.loaded()]
        if now != self._told or time.monotonic() - self._at > _TELL_S:
            self._residents.tell(self._worker, [each.json() for each in RESIDENTS.loaded()])
            self._told, self._at = now, time.monotonic()
