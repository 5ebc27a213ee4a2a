"""Machines that tests make up: a clock and a name of their own, for processes that are started with their environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# Read by every Python process of the machine as it starts, children too. What the kernel itself counts (monotonic time, times of
# files) stays: so it is when somebody sets a clock, or when a machine keeps time badly.
_SITE = """
import os, platform, time

_real, _file = time.time, os.environ["TEST_CLOCK"]

def _moved():
    with open(_file) as file:
        return _real() + float(file.read() or 0)

time.time = _moved
if name := os.environ.get("TEST_MACHINE"):
    platform.node = lambda: name
"""


@dataclass(frozen=True)
class Machine:
    """`environment` is what its processes are started with."""

    folder: Path
    name: str = ""

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        return {"PYTHONPATH": path, "TEST_CLOCK": str(self.folder / "clock"), "TEST_MACHINE": self.name}

    def set_clock(self, ahead: float) -> None:
        """So many seconds ahead of the real time, from now on."""
        part = self.folder / "clock.part"
        part.write_text(str(ahead))
        part.replace(self.folder / "clock")


def machine(folder: Path, name: str = "") -> Machine:
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_SITE)
    made = Machine(folder, name)
    made.set_clock(0)
    return made
