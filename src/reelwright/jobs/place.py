"""Which process a worker is: its name says so, and whether it still lives can be asked on its own machine."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path


@cache
def _machine() -> str:
    """This machine since it was started: its name, and the kernel's boot id where there is one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        boot = "-"
    return f"{platform.node() or 'host'}/{boot}"


def _began(pid: int) -> str:
    """When a process began, in ticks since the machine's start; tells it from a later one with the same number."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "-"
    return text.rpartition(")")[2].split()[19]  # fields after the name; the name may hold spaces


def worker_name(label: str) -> str:
    """The name of a worker in this process."""
    return f"{_machine()}/{os.getpid()}/{_began(os.getpid())}/{label}"


def pid_of(name: str) -> int | None:
    """The process of a worker of this machine; None if it is of another one."""
    parts = name.rsplit("/", 3)
    return int(parts[1]) if len(parts) == 4 and parts[0] == _machine() and parts[1].isdigit() else None


def is_dead(name: str) -> bool:
    """Whether a worker is known to be dead: it was of this machine and its process is gone."""
    pid = pid_of(name)
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    began = name.rsplit("/", 3)[2]
    return began != "-" and _began(pid) not in (began, "-")
