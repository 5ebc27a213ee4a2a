"""The device that models run on: found through torch, with what is free of its memory at this moment (M13)."""

from __future__ import annotations

import errno
import gc
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

import psutil

from reelwright.catalog.fit import GB, Machine
from reelwright.errors import Unavailable

_CGROUP = Path("/sys/fs/cgroup")
_SUSTAINED = {
    "H200": 400, "H100": 400, "B200": 800, "GH200": 400, "A100": 150, "L40": 110, "RTX 6000 Ada": 120, "L4": 40, "A10": 45,
    "T4": 25, "V100": 50, "A6000": 60, "A5000": 45, "A4000": 30, "RTX 5090": 150, "RTX 5080": 80, "RTX 5070": 50, "RTX 5060": 35,
    "RTX 4090": 125, "RTX 4080": 70, "RTX 4070": 45, "RTX 4060": 25, "RTX 3090": 50, "RTX 3080": 42, "RTX 3070": 28,
    "RTX 3060": 18, "RTX 2080": 30, "RTX 2070": 22, "RTX 2060": 18, "MI300": 350, "MI250": 120, "7900 XTX": 50, "9070": 60,
}  # fmt: skip
"""TFLOPS that video transformers reach in practice, bfloat16. H100 and RTX 4090 from published steps of Wan 2.1 I2V 14B
(9.77 and 30.5 s at 480p, LightX2V README: 3.9e15 operations); the others in proportion to NVIDIA's and AMD's data sheets.
The first run on a machine corrects them."""


def best(wanted: str | None = None) -> str:
    """The device to use: `wanted` if it is there, else the best one. Raises Unavailable."""
    import torch

    there = {
        "cuda": torch.cuda.is_available(),
        "xpu": hasattr(torch, "xpu") and torch.xpu.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted is None:
        return next(name for name, found in there.items() if found)
    if not there.get(wanted.split(":")[0], False):
        found = ", ".join(name for name, found in there.items() if found)
        raise Unavailable(f"there is no device {wanted}", hint=f"There is {found}. See `reel doctor`.", retryable=False)
    return wanted


def probe(device: str) -> Machine:
    """What the device has and what is free now."""
    import torch

    memory = _ram()
    known = _known(device)
    if device.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(torch.device(device))
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return replace(known, vram_gb=total / GB, free_vram_gb=(free + held) / GB, ram_gb=memory[0], free_ram_gb=memory[1])
    return replace(known, ram_gb=memory[0], free_ram_gb=memory[1])


@cache
def _known(device: str) -> Machine:
    """What does not change about a device."""
    import torch

    if device.startswith("cuda"):
        name = torch.cuda.get_device_name(device)
        kind = "rocm" if torch.version.hip else "cuda"
        capability = torch.cuda.get_device_capability(device)
        return Machine(kind, name, tflops=sustained(name), fp8=kind == "rocm" or capability >= (8, 9))
    if device.startswith("xpu"):
        facts = torch.xpu.get_device_properties(device)
        total = facts.total_memory / GB
        return Machine("xpu", str(facts.name), total, total * 0.9, tflops=40)
    if device == "mps":
        return Machine("mps", "Apple GPU", tflops=8)
    return _cores()


@dataclass(frozen=True)
class Card:
    """A graphics card as its driver names it; `memory` and `free` in GB."""

    name: str
    memory: float
    free: float
    driver: str
    compute: float = 0.0
    """Its compute capability; 8.9 and more have fp8."""
    uuid: str = ""


def nvidia() -> tuple[Card, ...]:
    """NVIDIA's cards that this process may use, by `nvidia-smi`, which needs no torch; empty without it."""
    cards = _cards(int(time.monotonic() / _FRESH_S))
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return cards
    visible = list[Card]()
    for name in (each.strip() for each in wanted.split(",")):
        found = [card for index, card in enumerate(cards) if name == str(index) or (name and card.uuid.startswith(name))]
        if not found:
            break  # as CUDA does: those after one that is not there are not seen either
        visible.append(found[0])
    return tuple(visible)


_FRESH_S = 2.0
"""Seconds for which what `nvidia-smi` said of free memory is taken for true."""


@lru_cache(maxsize=1)
def _cards(_now: int) -> tuple[Card, ...]:
    import shutil
    import subprocess

    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    query = [tool, "--query-gpu=name,memory.total,memory.free,driver_version,compute_cap,uuid", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S603  a fixed command
        rows = [[*(part.strip() for part in line.split(",")), "0", ""] for line in answer.strip().splitlines()]
        return tuple(
            Card(row[0], float(row[1]) * 2**20 / GB, float(row[2]) * 2**20 / GB, row[3], float(row[4]), row[5]) for row in rows
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()


def glance(wanted: str | None = None) -> Machine:
    """The machine as far as it can be told without torch: for lists, estimates and advice. `wanted` as in `best`."""
    total, free = _ram()
    cards = nvidia() if wanted is None or wanted.startswith("cuda") else ()
    if cards:
        index = (wanted or "").partition(":")[2]
        card = cards[min(int(index), len(cards) - 1) if index.isdecimal() else 0]  # what is not there is told by `best`
        return Machine("cuda", card.name, card.memory, card.free, total, free, sustained(card.name), card.compute >= 8.9)
    if wanted in (None, "mps") and platform.system() == "Darwin" and platform.machine() == "arm64":
        return Machine("mps", "Apple GPU", 0.0, 0.0, total, free, 8.0)
    if Path("/sys/module/amdgpu").exists() and wanted in (None, "cuda"):
        found = sorted(Path("/sys/class/drm").glob("card*/device/mem_info_vram_total"))
        if found:
            memory_gb = int(found[0].read_text()) / GB
            used = int(found[0].with_name("mem_info_vram_used").read_text()) / GB
            return Machine("rocm", "AMD GPU", memory_gb, memory_gb - used, total, free, 40.0, fp8=True)
    return replace(_cores(), ram_gb=total, free_ram_gb=free)


def _cores() -> Machine:
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    return Machine("cpu", f"CPU, {cores} cores", tflops=0.035 * cores)


nvidia.cache_clear = _cards.cache_clear  # type: ignore[attr-defined]  # for who changes the tool under a process


def sustained(name: str) -> float:
    """TFLOPS of a card of this name; 20 for one that is not known."""
    return float(next((value for part, value in _SUSTAINED.items() if part.lower() in name.lower()), 20))


def _ram() -> tuple[float, float]:
    """GB of RAM, in all and free: of the container, where this runs in one."""
    memory = psutil.virtual_memory()
    total, free = memory.total, memory.available
    with suppress(OSError, ValueError):
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        # Files that were read lately count as used, and are given up as soon as somebody needs the room.
        rows = (line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        cached = next((int(row[1]) for row in rows if row[0] == "inactive_file"), 0)
        total, free = min(total, limit), min(free, limit - max(0, used - cached))
    return total / GB, max(0, free) / GB


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    text = str(error).lower()
    signs = ("out of memory", "cublas_status_alloc_failed", "can't allocate memory", "failed to allocate", "not enough memory")
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs)


def let_go() -> None:
    """Give memory that nothing refers to any more back to the device and to the system."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
    with suppress(OSError, AttributeError):  # glibc keeps what was freed; nobody else has this call
        import ctypes

        ctypes.CDLL("libc.so.6").malloc_trim(0)


@dataclass
class Peak:
    """What a block of work took at its height, in GB: `gb` in all, as torch reserved of a card's memory or this process has
    in RAM; `grown` beyond what was taken when it began. None where it cannot be told."""

    gb: float | None = None
    grown: float | None = None


def taken() -> float:
    """GB that this process has in RAM."""
    return float(psutil.Process().memory_info().rss) / GB


@contextmanager
def peak(device: str) -> Iterator[Peak]:
    """Measure the height of the memory taken while the block runs: on the device, or of this process."""
    import torch

    found = Peak()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        try:
            yield found
        finally:
            found.gb = torch.cuda.max_memory_reserved(device) / GB
            found.grown = (torch.cuda.max_memory_allocated(device) - before) / GB
        return
    done, first = threading.Event(), taken()
    highest = [first]

    def look() -> None:
        while not done.wait(0.05):
            highest[0] = max(highest[0], taken())

    watcher = threading.Thread(target=look, name="memory", daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()
        found.gb = max(highest[0], taken())
        found.grown = found.gb - first
