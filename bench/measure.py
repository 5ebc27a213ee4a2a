"""Runs a child and measures it: wall, CPU, peak memory of its whole tree, and what else kept the machine busy."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BUSY = 0.25
"""Cores used by others from which on a run is taken again."""


@dataclass(frozen=True)
class Measured:
    """One run: seconds on the clock, CPU seconds, peak resident MB, cores that others used, what the child reported."""

    wall: float
    cpu: float
    rss: float
    load: float
    report: dict[str, Any]


def run(command: Sequence[str], tries: int = 3) -> Measured:
    """The quietest of up to `tries` runs; the child's own `wall` and `cpu` count if it reports them as its last line."""
    best: Measured | None = None
    for _ in range(tries):
        _wait_for_quiet()
        now = _once(command)
        if best is None or now.load < best.load:
            best = now
        if best.load <= _BUSY:
            break
    assert best is not None
    return best


def _once(command: Sequence[str]) -> Measured:
    busy, began = _busy(), time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = _Peak(child.pid)
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.append(child.stderr.read() if child.stderr else ""), daemon=True)
    reader.start()
    out = child.stdout.read() if child.stdout else ""
    reader.join()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    wall, busy = time.perf_counter() - began, _busy() - busy
    peak.stop()
    if child.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} ended with {child.returncode}: {said[0][-2000:]}")
    lines = out.strip().splitlines()
    report = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    cpu = usage.ru_utime + usage.ru_stime
    rss = peak.mb or usage.ru_maxrss / 1024
    return Measured(report.get("wall", wall), report.get("cpu", cpu), rss, max(0.0, busy - cpu) / wall, report)


def median(runs: Sequence[Measured]) -> Measured:
    """Medians of each figure; the report of the first run."""
    middle = [statistics.median(getattr(one, name) for one in runs) for name in ("wall", "cpu", "rss", "load")]
    return Measured(*middle, runs[0].report)


def _busy() -> float:
    """CPU seconds that all processes together have used; 0 where that cannot be read."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _wait, irq, soft = map(int, fields[:7])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def _wait_for_quiet(limit: float = 30.0) -> None:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        before = _busy()
        time.sleep(0.5)
        if (_busy() - before) / 0.5 <= _BUSY:
            return


class _Peak(threading.Thread):
    """Watches the resident memory of a process and its descendants."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self.mb, self._over = pid, 0.0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self._over.wait(0.05):
            self.mb = max(self.mb, sum(map(_resident, _tree(self._pid))))

    def stop(self) -> None:
        self._over.set()
        self.join()


def _tree(pid: int) -> list[int]:
    found, at = [pid], 0
    while at < len(found):
        for task in Path(f"/proc/{found[at]}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:
                continue
        at += 1
    return found


def _resident(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return 0.0
