"""What is known of an order, kept where a later attempt finds it: in the run's memory, and in a file where that goes with the
program (J5)."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from reelwright.catalog import Shot
from reelwright.errors import BackendError, Unavailable
from reelwright.run import Run

_WEEK_S = 7 * 86_400.0


@dataclass
class Ordered:
    """What is known of one shot at a provider. `made`: the file with what it answered, where it answers at once; `queued`: it was
    last seen in the queue, where nothing is charged yet."""

    intent: str
    at: float
    operation: str | None = None
    usd: float | None = None
    made: str | None = None
    queued: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        return dict(vars(self))

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Ordered:
        """From what was kept; what another version kept beside it is left out."""
        names = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in facts.items() if name in names})


class Memory:
    """Orders of one `kind` ("hosted", "comfyui") by their shots: in the run's memory, and, unless the run keeps that somewhere
    itself, in a file for each under `data_folder`."""

    def __init__(self, kind: str, data_folder: Path) -> None:
        self._kind, self._folder = kind, data_folder.expanduser() / "orders"

    def known(self, run: Run, key: str) -> dict[str, Any] | None:
        """What an earlier attempt kept of a shot."""
        here: dict[str, Any] | None = run.memory.get(self._kind, {}).get(key)
        if here is not None or _persists(run):
            return here
        try:
            found = json.loads(self._path(key).read_text("utf-8")).get(self._kind)
        except (OSError, ValueError, AttributeError):
            return None
        return found if isinstance(found, dict) else None

    def keep(self, run: Run, key: str, facts: dict[str, Any]) -> None:
        """Keep it; raises Unavailable if that cannot be."""
        run.remember(**{self._kind: {**run.memory.get(self._kind, {}), key: facts}})
        if not _persists(run):
            written(self._path(key), json.dumps({self._kind: facts}).encode())

    def forget(self, run: Run, key: str) -> None:
        """The order is done with."""
        run.remember(**{self._kind: {name: each for name, each in run.memory.get(self._kind, {}).items() if name != key}})
        self.done(key)

    def done(self, key: str) -> None:
        """What was made has arrived: only the run's own memory still has it."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError:  # the order's end is looked up once more then
            return

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"


def _persists(run: Run) -> bool:
    """Whether what the run remembers outlives this program."""
    return getattr(run, "keep", None) is not None


def written(path: Path, content: bytes) -> None:
    """A file of the person's own, there as a whole or not at all, also after a crash. Raises Unavailable."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise Unavailable(f"{path.parent} cannot be written: {error.strerror}", hint="Is the disk full?") from error


def laid_down(cache_folder: Path, intent: str, content: bytes) -> str:
    """A file with what a provider answered at once, for a later attempt; those of a week ago go. Raises Unavailable."""
    folder = cache_folder.expanduser() / "orders"
    for each in folder.glob("*"):
        with suppress(OSError):
            if each.stat().st_mtime < time.time() - _WEEK_S:
                each.unlink()
    written(folder / intent, content)
    return str(folder / intent)


def leaving(run: Run) -> bool:
    """Whether the work is only put down, to be taken up by another worker: what was ordered must go on then."""
    told: Callable[[], bool] | None = getattr(run, "leaving", None)
    return told is not None and told()


def plain(operation: str, name: str) -> str:
    """The id, if it is one that an address can be built of; it comes from outside. Raises BackendError."""
    if not re.fullmatch(r"[\w.:~+=@/-]{1,300}", operation, re.ASCII) or ".." in operation or "//" in operation:
        raise BackendError(
            f"{name} took the order and does not say under which name",
            hint="Look at your account there; ordering again may cost twice.",
            retryable=False,
            provider=name,
        )
    return operation


def cost(name: str, shot: Shot, order: Ordered, usd: float | None) -> dict[str, Any]:
    """What a shot cost, for its job and its manifest."""
    return {"provider": name, "model": shot.card.id, "operation": order.operation, "estimated_usd": order.usd, "usd": usd}
