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
    yield from _providers()
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
        ("extra spaces", "gradio_client", "Hugging Face Spaces: pip install 'reelwright[spaces]'"),
        ("extra keyring", "keyring", "keys in the system's keyring: pip install 'reelwright[keyring]'"),
    ):
        try:
            yield Finding(name, "ok", version(package))
        except PackageNotFoundError:
            yield Finding(name, "missing", f"only needed for {purpose}")


def _gpu() -> Iterator[Finding]:
    """The device for models, its tier, and which models run on it: resident, with offload, or not (M13)."""
    from reelwright.backends.local import hardware, preflight
    from reelwright.catalog import cards

    try:
        known = settings.current()
    except ReelwrightError:
        return  # told with the disk
    machine = hardware.glance(known.device)
    memory = f"{machine.vram_gb:.0f} GB" if machine.vram_gb else f"{machine.ram_gb:.0f} GB of RAM"
    if shutil.which("nvidia-smi") and not hardware.nvidia():
        yield Finding("GPU", "warning", "nvidia-smi failed: the driver may not be loaded; reboot, or install it again")
    elif machine.kind == "cpu":
        detail = "no GPU found; storyboards, keyframes' cameras, editing and placeholders need none"
        yield Finding("GPU", "missing", detail)
    else:
        yield Finding("GPU", "ok", f"{machine.name}, {memory}")
    yield from _torch_fits(machine.kind)
    yield Finding("tier", "ok", f"{machine.tier} ({memory}); docs/howto has a page for it")
    found: dict[str, list[str]] = {"resident": [], "offload": [], "slow": [], "no": []}
    for each in preflight.standings(cards(), known):
        if each.state in found and each.card.status == "current":
            found[each.state].append(each.card.id)
    words_of = {
        "resident": "models that run well",
        "offload": "models that run with offload",
        "slow": "models that would take over half an hour",
        "no": "models too large",
    }
    for state, words in words_of.items():
        if found[state]:
            yield Finding(words, "ok", ", ".join(sorted(found[state])))


def _torch_fits(kind: str) -> Iterator[Finding]:
    """Whether the torch that is installed can use the device that is there."""
    try:
        build = version("torch")
    except PackageNotFoundError:
        if kind != "cpu":
            yield Finding("torch for the GPU", "missing", "make setup TORCH=auto, or: pip install 'reelwright[diffusers]'")
        return
    if kind == "cuda" and "+cpu" in build:
        yield Finding("torch for the GPU", "warning", f"torch {build} cannot use it: install the build with CUDA")
    if kind == "rocm" and "rocm" not in build:
        yield Finding("torch for the GPU", "warning", f"torch {build} cannot use it: install the build for ROCm")


def _providers() -> Iterator[Finding]:
    """Which providers are ready, and where the key of the others is had; which ComfyUI servers answer. No provider is called."""
    from reelwright import plugins
    from reelwright.backends.hosted.loop import Hosted

    try:
        known = settings.current()
    except ReelwrightError:
        return  # told with the disk
    for name in sorted(plugins.backends()):
        try:
            provider = plugins.backend_class(name)
        except ReelwrightError:
            continue  # an extra that is not there is told below
        if not issubclass(provider, Hosted) or provider.key is None:
            continue
        if known.secret(provider.key):
            yield Finding(f"provider {provider.name}", "ok", "ready")
        else:
            where = f"; it is had at {provider.site}" if provider.site else ""
            detail = f"no key: set {provider.key.upper()}, or: reel keys set {name}{where}"
            yield Finding(f"provider {provider.name}", "missing", detail)
    for address in known.comfy_servers:
        there = _answers(address)
        state, told = ("ok", address) if there else ("missing", f"none at {address}; REELWRIGHT_COMFY_SERVERS names others")
        yield Finding(f"ComfyUI {address}" if len(known.comfy_servers) > 1 else "ComfyUI", state, told)


def _answers(address: str) -> bool:
    """Whether somebody listens there."""
    import socket
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(address)
        with socket.create_connection((parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)), 0.5):
            return True
    except (OSError, ValueError):
        return False


def gpu_memory() -> tuple[float, ...]:
    """GB of each NVIDIA GPU of this machine, in the driver's order; empty without one."""
    from reelwright.backends.local import hardware

    return tuple(card.memory for card in hardware.nvidia())


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
