"""How fast this machine was, so that the next estimate is its own (J5)."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path

from filelock import Timeout

from reelwright.jobs.results import locked

_WEIGHT = 0.4
"""Of the newest measurement in the running mean."""


class Speeds:
    """Seconds per million pixels made, by kind of work, kept in a file; a damaged file is started anew."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "speeds.json"

    def _read(self) -> dict[str, list[float]]:
        try:
            content = json.loads(self._path.read_text("utf-8"))
            return {str(kind): [float(mean), float(count)] for kind, (mean, count) in content.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def estimate(self, kind: str, pixels: int, default: float) -> tuple[float, bool]:
        """Seconds for so many pixels, and whether they were measured here; `default`: seconds per million pixels."""
        known = self._read().get(kind)
        return pixels / 1e6 * (known[0] if known else default), known is not None

    def learn(self, kind: str, pixels: int, seconds: float) -> None:
        """Take in a measurement; those under a tenth of a second say nothing and are left out."""
        if seconds < 0.1 or pixels <= 0 or not math.isfinite(seconds):
            return
        with contextlib.suppress(OSError, Timeout):  # a measurement is worth no film
            self._learn(kind, pixels, seconds)

    def _learn(self, kind: str, pixels: int, seconds: float) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self._path.with_suffix(".lock"), 5):
            known, rate = self._read(), seconds / (pixels / 1e6)
            mean, count = known.get(kind, [rate, 0])
            known[kind] = [mean + (rate - mean) * (_WEIGHT if count else 1), count + 1]
            part = self._path.with_suffix(".new")
            part.write_text(json.dumps(known, indent=1), "utf-8")
            part.replace(self._path)
