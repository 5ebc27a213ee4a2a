"""What this machine has and what it lacks, each finding with what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version

from reelwright import settings
from reelwright.errors import ReelwrightError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: its name, "ok", "missing" or "warning", and the detail."""

    name: str
    state: str
    detail: str


def examine() -> Iterator[Finding]:
    """Look at everything, in the order in which it is shown."""
    from reelwright.manifest import versions

    known = versions()
    yield Finding(
        "Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    )
    for name in ("reelwright", "av", "opencv", "numpy"):
        yield Finding(name, "ok", known[name])
    yield from _codecs()
    yield from _letters()
    yield from _extras()
    yield from _gpu()
    yield from _disk()


def _codecs() -> Iterator[Finding]:
    import av

    from reelwright.media.encode import CODECS, opens
    from reelwright.types import VideoSpec

    available = av.codecs_available
    for codec in CODECS.values():
        software = codec.encoders[-1]
        spec = VideoSpec(640, 360, Fraction(30), 1)
        hardware = [name for name in codec.encoders[:-1] if name in available and opens(name, spec)]
        state = "ok" if software in available else "missing"
        yield Finding(f"codec {codec.name}", state, ", ".join([software, *(f"{name} (hardware)" for name in hardware)]))


def _letters() -> Iterator[Finding]:
    from PIL import features

    from reelwright.media import fonts

    shaping = features.check("raqm")
    detail = "scripts are joined and ordered" if shaping else "Arabic and Indic letters will not be joined: install libfribidi"
    yield Finding("text shaping", "ok" if shaping else "warning", detail)
    samples = {"Latin": "A", "Cyrillic": "Ж", "Greek": "Ω", "Arabic": "ع", "Hebrew": "ש", "Devanagari": "क", "Chinese": "漢",
               "Japanese": "か", "Korean": "한", "emoji": "🎬"}  # fmt: skip
    for script, sample in samples.items():
        lacking = fonts.missing(sample)
        yield Finding(f"letters {script}", "missing" if lacking else "ok", fonts.missing_note(sample) if lacking else "")


def _extras() -> Iterator[Finding]:
    for name, package, purpose in (
        ("extra timeline", "OpenTimelineIO", "export to editors: pip install 'reelwright[timeline]'"),
        ("torch", "torch", "local models"),
        ("diffusers", "diffusers", "local models"),
    ):
        try:
            yield Finding(name, "ok", version(package))
        except PackageNotFoundError:
            yield Finding(name, "missing", f"only needed for {purpose}")


def _gpu() -> Iterator[Finding]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        yield Finding("GPU", "missing", "no NVIDIA driver found; storyboards, editing and placeholders need none")
        return
    import subprocess

    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S603  a fixed command
    except (OSError, subprocess.SubprocessError) as error:
        yield Finding("GPU", "warning", f"nvidia-smi failed: {error}")
        return
    for line in answer.strip().splitlines():
        yield Finding("GPU", "ok", line)


def gpu_memory() -> tuple[float, ...]:
    """GB of each NVIDIA GPU of this machine, in the driver's order; empty without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    import subprocess

    query = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S603  a fixed command
        return tuple(float(line) * 2**20 / 1e9 for line in answer.split())
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()


def _disk() -> Iterator[Finding]:
    try:
        known = settings.current()
    except ReelwrightError as error:
        yield Finding("settings", "warning", str(error))
        return
    folder = known.cache_folder
    here = folder
    while not here.exists():
        here = here.parent
    free = shutil.disk_usage(here).free
    writable = os.access(here, os.W_OK)
    state = "ok" if free > 2e9 and writable else "warning"
    detail = f"{free / 1e9:.0f} GB free{'' if writable else ', not writable'}, limit {known.cache_limit_gb:g} GB"
    yield Finding("cache", state, f"{folder}: {detail}")
