"""What runs on this machine took, by model, device and plan: predictions are corrected by it (J5)."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path

from filelock import FileLock, Timeout

from reelwright.catalog.fit import Correction

_WEIGHT = 0.4
"""Of the newest run in the running mean."""


class Experience:
    """Factors of what was measured over what was predicted, kept in a file of `folder`; a damaged file is started anew."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "experience.json"

    def of(self, model: str, device: str) -> dict[str, Correction]:
        """The corrections for a model on a device, by plan."""
        start = f"{model}|{device}|"
        return {name.removeprefix(start): each for name, each in self._read().items() if name.startswith(start)}

    def learn(self, model: str, device: str, plan: str, memory: float | None, seconds: float | None) -> None:
        """Take in a run: measured over predicted, uncorrected; None where it was not measured."""
        with contextlib.suppress(OSError, Timeout):  # a measurement is worth no film
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._path.with_suffix(".lock"), timeout=5):
                known, key = self._read(), f"{model}|{device}|{plan}"
                before = known.get(key, Correction())
                weight = _WEIGHT if before.runs else 1.0
                known[key] = Correction(
                    _mixed(before.memory, memory, weight), _mixed(before.seconds, seconds, weight), before.runs + 1
                )
                part = self._path.with_suffix(".new")
                content = {name: [each.memory, each.seconds, each.runs] for name, each in known.items()}
                part.write_text(json.dumps(content, indent=1), "utf-8")
                part.replace(self._path)

    def worse(self, model: str, device: str, plan: str) -> None:
        """Memory ran out: the plan needs more than was thought, and half as much again each time that it happens."""
        before = self.of(model, device).get(plan, Correction()).memory
        self.learn(model, device, plan, before + (before * 0.5) / _WEIGHT, None)

    def _read(self) -> dict[str, Correction]:
        try:
            content = json.loads(self._path.read_text("utf-8"))
            return {str(name): Correction(float(a), float(b), int(runs)) for name, (a, b, runs) in content.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}


def _mixed(before: float, now: float | None, weight: float) -> float:
    if now is None or not math.isfinite(now) or now <= 0:
        return before
    return before + (min(20.0, max(0.05, now)) - before) * weight
