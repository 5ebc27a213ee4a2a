"""Models in memory: loaded once, used one call at a time, let go when idle or when room is needed (J4, M16).

There is one of these in a process, for memory is the process's too: a worker keeps a model warm from one job to the next.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from reelwright.backends.local.hardware import let_go
from reelwright.catalog.fit import Plan

Key = tuple[Any, ...]
_LOOK_S = 0.2
"""Seconds between two looks of who waits for a model, at whether it is still wanted."""


@dataclass
class Loaded:
    """A pipeline in memory. `state` is for whoever uses it: what was put on it and not taken off again."""

    key: Key
    model: str
    pipe: Any
    plan: Plan
    device: str
    gb: float
    ram_gb: float = 0.0
    """With `gb` on the device: what it holds between two shots."""
    since: float = field(default_factory=time.time)
    used: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)
    state: dict[str, Any] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "model": self.model,
            "plan": self.plan.name,
            "device": self.device,
            "gb": round(self.gb, 2),
            "since": self.since,
            "idle_seconds": round(time.monotonic() - self.used, 1),
            "busy": self.lock.locked(),
        }


class Residency:
    """The models that this process holds."""

    def __init__(self) -> None:
        self._held: dict[Key, Loaded] = {}
        self._lock = threading.Lock()
        self._loading: dict[Key, threading.Lock] = {}
        self._watching = False
        self.ttl = 600.0
        """Seconds after which an idle model goes; 0 lets it go after each use."""

    @contextmanager
    def use(self, key: Key, load: Callable[[], Loaded], waiting: Callable[[], None]) -> Iterator[Loaded]:
        """The pipeline of this key, for the caller alone; `waiting` is called while another one uses it, and may raise.

        A model that fails or is cancelled stays. Raises what `load` raises.
        """
        with self._lock:
            gate = self._loading.setdefault(key, threading.Lock())
        _acquire(gate, waiting)
        try:
            while (found := self._held.get(key)) is not None:
                if found.lock.acquire(timeout=_LOOK_S):
                    break
                waiting()  # it may also have been let go meanwhile: its lock is then never free again
            if found is None:
                found = load()
                found.lock.acquire()  # before anybody can see it, and let it go
                with self._lock:
                    self._held[key] = found
                self._watch()
        finally:
            gate.release()
        try:
            yield found
        finally:
            found.used = time.monotonic()
            found.lock.release()
            if self.ttl == 0:
                self.unload(key=key)

    def holds(self, key: Key) -> bool:
        """Whether the pipeline of this key is in memory."""
        return key in self._held

    def loaded(self) -> list[Loaded]:
        """What is in memory, least recently used first."""
        with self._lock:
            return sorted(self._held.values(), key=lambda each: each.used)

    def models(self) -> tuple[str, ...]:
        """Ids of the models in memory."""
        return tuple(dict.fromkeys(each.model for each in self.loaded()))

    def unload(self, model: str | None = None, *, key: Key | None = None, idle: float = 0.0) -> list[str]:
        """Let go of models that nobody uses at this moment: one, or all that were idle for so many seconds; their ids."""
        gone = []
        for each in self.loaded():
            if (model not in (None, each.model)) or (key not in (None, each.key)) or time.monotonic() - each.used < idle:
                continue
            if each.lock.acquire(blocking=False):
                with self._lock:
                    self._held.pop(each.key, None)
                _taken_apart(each)
                gone.append(each.model)
        if gone:
            let_go()
        return gone

    def make_room(self) -> str | None:
        """Let go of the model that was not used for longest; its id, or None if there is none to let go."""
        for each in self.loaded():
            if gone := self.unload(key=each.key):
                return gone[0]
        return None

    def _watch(self) -> None:
        with self._lock:
            if self._watching:
                return
            self._watching = True
        threading.Thread(target=self._look, name="idle models", daemon=True).start()

    def _look(self) -> None:
        while True:
            with self._lock:  # with `_watch`: a model that comes at this moment needs a new thread
                if not self._held:
                    self._watching = False
                    return
            time.sleep(min(5.0, max(0.05, self.ttl / 4)))
            if self.ttl > 0:
                self.unload(idle=self.ttl)


def _acquire(lock: threading.Lock, waiting: Callable[[], None]) -> None:
    while not lock.acquire(timeout=_LOOK_S):
        waiting()


def _taken_apart(loaded: Loaded) -> None:
    """Hooks of offloading hold their modules in circles; with them gone, memory comes back at once."""
    pipe = loaded.pipe
    with suppress(Exception):
        pipe.remove_all_hooks()
    components: Mapping[str, Any] = getattr(pipe, "components", {})
    for name in components:
        with suppress(Exception):
            setattr(pipe, name, None)
    loaded.pipe = None
    loaded.state.clear()


RESIDENTS = Residency()
"""This process's models."""
