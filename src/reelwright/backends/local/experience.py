"""What runs on this machine took, by model, device and plan: predictions are corrected by it (J5)."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from reelwright.catalog.fit import Correction

_WEIGHT = 0.4
"""Of the newest run in the running mean."""
_BOUNDS = (0.3, 3.0)
"""Of a factor on memory: what lies beyond is a wrong measurement, and not to be believed."""
_EXPIRES_S = 24 * 3600.0
"""After which a failure is forgotten: what else ran on the machine had its part in it."""


class Experience:
    """Factors of what was measured over what was predicted, kept in a file of `folder`; a damaged file is started anew."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "experience.json"

    def of(self, model: str, device: str) -> dict[str, Correction]:
        """The corrections for a model on a device, by plan."""
        start = f"{model}|{device}|"
        return {name.removeprefix(start): each for name, (each, _) in self._read().items() if name.startswith(start)}

    def learn(self, model: str, device: str, plan: str, memory: float | None, seconds: float | None, size: float = 0.0) -> None:
        """Take in a run: measured over predicted, uncorrected; None where it was not measured. `size`: GB predicted.

        Work that succeeded where as much or less had failed takes that failure back.
        """

        def told(before: Correction) -> Correction:
            weight = _WEIGHT if before.runs else 1.0
            held = size >= before.failed
            return Correction(
                _mixed(before.memory, memory, weight, _BOUNDS),
                _mixed(before.seconds, seconds, weight, (0.05, 20.0)),
                before.runs + 1,
                0.0 if held else before.failed,
                0.0 if held else before.free,
            )

        self._change(f"{model}|{device}|{plan}", told)

    def worse(self, model: str, device: str, plan: str, size: float, free: float) -> None:
        """Memory ran out under a plan where `size` GB were predicted, uncorrected, and `free` GB were free."""
        self._change(f"{model}|{device}|{plan}", lambda before: replace(before, failed=size, free=free), failed=True)

    def _change(self, key: str, change: Callable[[Correction], Correction], *, failed: bool = False) -> None:
        with contextlib.suppress(OSError, Timeout):  # a measurement is worth no film
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._path.with_suffix(".lock"), timeout=5):
                known = self._read()
                before, when = known.get(key, (Correction(), 0.0))
                known[key] = (change(before), time.time() if failed else when)
                part = self._path.with_suffix(".new")
                content = {
                    name: [each.memory, each.seconds, each.runs, each.failed, each.free, at] for name, (each, at) in known.items()
                }
                part.write_text(json.dumps(content, indent=1), "utf-8")
                part.replace(self._path)

    def _read(self) -> dict[str, tuple[Correction, float]]:
        """The corrections, each with the time of its last failure."""
        try:
            content = json.loads(self._path.read_text("utf-8"))
            return {str(name): _entry(*values) for name, values in content.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}


def _entry(memory: float, seconds: float, runs: int, failed: float = 0.0, free: float = 0.0, at: float = 0.0) -> Any:
    if time.time() - float(at) > _EXPIRES_S:
        failed = free = 0.0
    bounded = min(_BOUNDS[1], max(_BOUNDS[0], float(memory)))
    return Correction(bounded, float(seconds), int(runs), float(failed), float(free)), float(at)


def _mixed(before: float, now: float | None, weight: float, bounds: tuple[float, float]) -> float:
    if now is None or not math.isfinite(now) or now <= 0:
        return before
    return before + (min(bounds[1], max(bounds[0], now)) - before) * weight
