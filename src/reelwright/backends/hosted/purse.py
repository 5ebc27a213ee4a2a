"""What hosted models cost, and may cost: each order is noted before it leaves, held against the day's budget, and settled."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from reelwright.errors import QuotaExceeded, Unavailable
from reelwright.settings import Settings

DAY_S = 86_400.0
_LOCK_S = 10.0


class Purse(Protocol):
    """Where orders are noted."""

    def reserve(self, intent: str, provider: str, model: str, usd: float | None, owner: str) -> None:
        """Note an order that is about to be made, once however often it is said. Raises QuotaExceeded if the day's budget does
        not have it."""

    def settle(self, intent: str, usd: float | None) -> None:
        """Note what an order cost in the end; 0 if it came to nothing."""


def hold_budget(spent: float, own: float, usd: float | None, owner: str, known: Settings) -> None:
    """Raise QuotaExceeded if `usd` more is over what may be spent in a day, in all or by this owner."""
    for limit, so_far, whose in (
        (known.budget_usd_day, spent, "in all"),
        (known.budget_usd_day_owner, own, f"for {owner}"),
    ):
        if limit is None:
            continue
        if usd is None:
            raise QuotaExceeded(
                "what this costs is not known, and there is a budget",
                hint="Write `settings.price` into the model's card, or lift REELWRIGHT_BUDGET_USD_DAY.",
            )
        if so_far + usd > limit + 1e-9:
            raise QuotaExceeded(
                f"this costs about {usd:.2f} USD; {so_far:.2f} of {limit:.2f} USD a day {whose} are spent",
                hint="Wait until tomorrow, or raise REELWRIGHT_BUDGET_USD_DAY.",
                after=DAY_S / 4,
            )


class FilePurse:
    """Orders in a file of lines of JSON, for a program that has no store."""

    def __init__(self, known: Settings) -> None:
        self._settings = known
        self._path = known.data_folder.expanduser() / "costs.jsonl"

    def reserve(self, intent: str, provider: str, model: str, usd: float | None, owner: str) -> None:
        """As in Purse."""
        with self._locked():
            known = list(self._orders())
            if any(each["intent"] == intent for each in known):
                return
            day = [each for each in known if each["at"] > time.time() - DAY_S]
            spent = sum(each["usd"] or 0.0 for each in day)
            own = sum(each["usd"] or 0.0 for each in day if each["owner"] == owner)
            hold_budget(spent, own, usd, owner, self._settings)
            self._write(
                {
                    "intent": intent,
                    "at": time.time(),
                    "provider": provider,
                    "model": model,
                    "usd": usd,
                    "estimated": usd,
                    "owner": owner,
                }
            )

    def settle(self, intent: str, usd: float | None) -> None:
        """As in Purse."""
        with self._locked():
            self._write({"intent": intent, "usd": usd})

    def orders(self) -> list[dict[str, Any]]:
        """Every order, oldest first, with what it cost in the end."""
        return list(self._orders())

    def _orders(self) -> Iterator[dict[str, Any]]:
        known: dict[str, dict[str, Any]] = {}
        try:
            lines = self._path.read_text("utf-8").splitlines()
        except OSError:
            lines = []
        for line in lines:
            try:
                entry = json.loads(line)
                known[entry["intent"]] = {**known.get(entry["intent"], {}), **entry}
            except (ValueError, KeyError, TypeError):
                continue  # a line that was cut off by a crash
        return iter([each for each in known.values() if "at" in each])

    def _write(self, entry: dict[str, Any]) -> None:
        with self._path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a line that was cut off by a crash ends here
                    file.write(b"\n")
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone with the file. Raises Unavailable."""
        busy = f"{self._path} is held by another program, or cannot be written"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(Path(f"{self._path}.lock"), timeout=_LOCK_S)
            lock.acquire()
        except (Timeout, OSError) as error:
            raise Unavailable(busy, hint="Try again; no order leaves unless it is noted.") from error
        try:
            yield
        finally:
            lock.release()
