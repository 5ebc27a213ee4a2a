"""What a shot will need on a machine, in which way it is best run there, and how long that takes (J4, J5, M13).

Predictions are sums of what is known: weights from their headers or the card, activations from the number of tokens, time
from the number of operations. They are corrected by what earlier runs measured on the same machine; how sure a prediction
is goes with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from reelwright.catalog.card import Card

Offload = Literal["none", "model", "group", "disk"]
Precision = Literal["native", "fp8", "int8", "nf4"]

GB = 1e9
CONTEXT_GB = 0.7
"""What CUDA's context and libraries take on a card before any weight."""
PROCESS_GB, _CUDA_GB = 0.6, 2.5
"""What a process with torch and diffusers takes in RAM before any weight: measured on the CPU (0.4 to 0.6), general knowledge
with CUDA, whose libraries are large."""
_ROOM = 0.94
"""Of the free memory that may be planned with; the rest is for fragmentation."""
_TILE, _TILE_FRAMES = 512, 16
"""px, the side of a tile when decoding in tiles, and its frames: the largest in diffusers 0.42 (LTX; others have 256 px; Allegro
has 24 frames of 320 px). With 32 frames an LTX clip would need 10 GB, and it runs on 8 (README of LTX-Video)."""
_KEPT_LAYERS = 14
"""Tensors of tokens x width alive at once in a transformer block: residual, norm, q, k, v, attention, 4x feed-forward ..."""
_BYTES: dict[str, float] = {"native": 2.0, "fp8": 1.0, "int8": 1.0, "nf4": 0.56}
"""A weight of the denoiser in memory, by precision; native is bfloat16 or float16."""


@dataclass(frozen=True)
class Machine:
    """What a device has. `kind`: cuda, rocm, mps, xpu or cpu. `vram_gb` and `ram_gb` in all and free now, in GB of 1e9
    bytes; on a CPU and on Apple's chips the device's memory is the RAM. `tflops`: what large matrix products reach."""

    kind: str = "cpu"
    name: str = "CPU"
    vram_gb: float = 0.0
    free_vram_gb: float = 0.0
    ram_gb: float = 8.0
    free_ram_gb: float = 6.0
    tflops: float = 0.1
    fp8: bool = False

    @property
    def shared(self) -> bool:
        """Whether the device works in the machine's own memory."""
        return self.kind in ("cpu", "mps")

    def with_free(self, vram: float, ram: float) -> Machine:
        """The same with so many GB more free, on the device and in RAM, but no more than there are."""
        if self.shared:
            return replace(self, free_ram_gb=max(self.free_ram_gb, min(self.ram_gb, self.free_ram_gb + vram + ram)))
        free = max(self.free_vram_gb, min(self.vram_gb, self.free_vram_gb + vram))
        return replace(self, free_vram_gb=free, free_ram_gb=self.free_ram_gb + ram)

    @property
    def tier(self) -> str:
        """The class of hardware, in words of the seeds: "CPU", "8-12 GB", "16-24 GB", "32+ GB"."""
        if self.kind == "cpu":
            return "CPU"
        memory = self.ram_gb * 0.7 if self.shared else self.vram_gb
        return "under 8 GB" if memory < 7.5 else "8-12 GB" if memory < 15 else "16-24 GB" if memory < 30 else "32+ GB"


@dataclass(frozen=True)
class Plan:
    """How a model is held while it works.

    `offload`: "none" keeps all of it on the device; "model" brings one component at a time; "group" brings blocks of
    layers while the one before works; "disk" reads these from files. `tiled`: pictures are decoded in tiles.
    `precision`: of the denoiser's weights. Only "tiled" and a precision other than "native" change pixels.
    """

    offload: Offload = "none"
    tiled: bool = False
    precision: Precision = "native"

    @property
    def name(self) -> str:
        """As it is told and kept: "resident", "model offload, tiled" ..."""
        words = {"none": "resident", "model": "model offload", "group": "group offload", "disk": "disk offload"}[self.offload]
        return ", ".join([words, *(["tiled"] if self.tiled else []), *([self.precision] if self.precision != "native" else [])])

    @property
    def exact(self) -> bool:
        """Whether it gives the same pixels as any other exact plan."""
        return self.precision == "native" and not self.tiled


LADDER: tuple[Plan, ...] = (
    Plan(),
    Plan("model"),
    Plan("group"),
    Plan("none", tiled=True),
    Plan("model", tiled=True),
    Plan("group", tiled=True),
    Plan("disk", tiled=True),
)
"""Plans in the order in which they are preferred: those that change no pixel first, then by speed."""


@dataclass(frozen=True)
class Correction:
    """What this machine measured for a model and a plan: factors on predicted memory and time, and from how many runs.

    Memory ran out where `failed` GB were predicted, uncorrected, and `free` GB were free: such work and larger needs more.
    """

    memory: float = 1.0
    seconds: float = 1.0
    runs: int = 0
    failed: float = 0.0
    free: float = 0.0


@dataclass(frozen=True)
class Need:
    """What a shot takes under a plan: peak GB on the device and in RAM, seconds with the model in place, and `sure`:
    "measured" (by runs like it), "computed" (weights are known) or "guessed"."""

    plan: Plan
    vram_gb: float
    ram_gb: float
    seconds: float
    sure: Literal["measured", "computed", "guessed"]

    def fits(self, machine: Machine) -> bool:
        """Whether the machine's free memory is enough."""
        if machine.shared:
            return self.vram_gb + self.ram_gb <= machine.free_ram_gb * _ROOM
        return self.vram_gb <= machine.free_vram_gb * _ROOM and self.ram_gb <= machine.free_ram_gb * _ROOM


@dataclass(frozen=True)
class Work:
    """A size and a number of steps for which a need is computed."""

    width: int
    height: int
    frames: int
    steps: int


@dataclass(frozen=True)
class Verdict:
    """What to do with a shot: the plans that fit, best first, each with its need; `closest`: the need that is nearest if
    none fits. `why` says it in a sentence."""

    needs: tuple[Need, ...]
    closest: Need
    why: str

    @property
    def best(self) -> Need | None:
        """The plan that is taken, or None."""
        return self.needs[0] if self.needs else None


def work_of(card: Card, width: int, height: int, frames: int, options: Mapping[str, Any]) -> Work:
    """The work of a shot of this card."""
    default = card.options.get("steps", {}).get("default", 50)
    return Work(width, height, frames, int(options.get("steps", default)))


def tokens(card: Card, work: Work) -> int:
    """How many tokens the denoiser sees."""
    latent: Mapping[str, int] = card.settings.get("latent", {})
    spatial, temporal = latent.get("spatial", 8), latent.get("temporal", 1)
    patch, deep = latent.get("patch", 1), latent.get("patch_t", 1)
    across = math.ceil(work.width / (spatial * patch)) * math.ceil(work.height / (spatial * patch))
    return int(across) * math.ceil(((work.frames - 1) // temporal + 1) / deep)


def _held(card: Card, plan: Plan, weights: Mapping[str, float], native: float = 2.0) -> dict[str, float]:
    """GB of each component in memory; `native`: bytes of a weight that is neither quantised nor kept in float32."""
    full = set(card.settings.get("full", ()))
    held = {}
    for name, billions in weights.items():
        size = 4.0 if name in full else native
        if name.startswith(("transformer", "unet")) and plan.precision != "native":
            size = _BYTES[plan.precision]
        held[name] = billions * size
    return held


def _decoding(card: Card, plan: Plan, work: Work, native: float = 2.0) -> float:
    """GB that decoding takes beside the decoder: channels at full size, a few layers of them, for the frames of one pass."""
    at_once = int(card.settings.get("decode_frames", 0)) or work.frames
    pixels = work.width * work.height
    if plan.tiled or card.settings.get("tiled"):
        pixels = min(pixels, _TILE * _TILE)
        at_once = min(at_once, _TILE_FRAMES)
    deep = 4 if native > 2 or "vae" in card.settings.get("full", ()) else 2
    whole = work.width * work.height * work.frames * 3 * (deep + 4) / GB  # the clip itself, on the device and as floats
    # Decoders of 32 pixels a latent end in patches of 4 px: 128 or 256 channels for a sixteenth of the pixels, 32 with reserve.
    channels = 32 if card.settings.get("latent", {}).get("spatial", 8) >= 32 else 128
    return pixels * min(at_once, work.frames) * channels * deep * 3 / GB + whole


def need(
    card: Card,
    work: Work,
    plan: Plan,
    machine: Machine,
    weights: Mapping[str, float] | None = None,
    correction: Correction | None = None,
) -> Need:
    """What `work` takes under `plan`; `weights`: billions of parameters of each component, the card's if None."""
    given = weights or card.settings.get("weights") or {}
    known: dict[str, float] = dict(given) if given else {"transformer": card.params_b or 2.0, "rest": 1.5}
    denoiser = card.settings.get("denoiser", {})
    width = denoiser.get("width", 1024)
    at_once = denoiser.get("at_once", denoiser.get("passes", 2))  # some families do their two passes one after the other
    factor = 2.0 if machine.kind == "cpu" else 1.0  # float32 on a CPU
    held = _held(card, plan, known, 2.0 * factor)
    acts = tokens(card, work) * width * 2 * _KEPT_LAYERS * at_once * factor / GB
    decode = _decoding(card, plan, work, 2.0 * factor)
    extra = {
        name: acts if name.startswith(("transformer", "unet")) else decode if name.startswith("vae") else 0.3 for name in held
    }
    largest, total = max(held.values(), default=0.0), sum(held.values())
    spent = max(acts, decode)
    if plan.offload == "none":
        vram, ram = total + spent, min(total, largest * 1.1)
    elif plan.offload == "model":
        vram, ram = max((held[name] + extra[name] for name in held), default=spent), total
    else:
        blocks = max(2, denoiser.get("layers", 24))
        vram = max((held[name] * (1 if name.startswith("vae") else 3 / blocks) + extra[name] for name in held), default=spent)
        decoder = sum(size for name, size in held.items() if "vae" in name)  # it is not read from disk
        ram = total if plan.offload == "group" else largest * 0.25 + decoder
    context = 0.0 if machine.shared else CONTEXT_GB
    if machine.shared and plan.offload in ("none", "model", "group"):
        vram, ram = total + spent, 0.0
    plain = vram + context
    seconds = _seconds(card, work, plan, machine, known)
    sure: Literal["measured", "computed", "guessed"] = "computed" if given else "guessed"
    if correction is not None and correction.runs:
        vram, seconds, sure = vram * correction.memory, seconds * correction.seconds, "measured"
    peak = vram + context
    if correction is not None and correction.failed and plain >= correction.failed * 0.999:
        peak = max(peak, correction.free)
    process = PROCESS_GB if machine.shared else _CUDA_GB
    return Need(plan, peak, ram + process, seconds, sure)


def idle(card: Card, plan: Plan, machine: Machine, weights: Mapping[str, float] | None = None) -> tuple[float, float]:
    """GB on the device and in RAM that a model holds between two shots: its weights, where the plan keeps them."""
    given = weights or card.settings.get("weights") or {"transformer": card.params_b or 2.0, "rest": 1.5}
    held = _held(card, plan, given, 4.0 if machine.kind == "cpu" else 2.0)
    total = sum(held.values())
    if plan.offload == "disk":
        total = sum(size for name, size in held.items() if "vae" in name)
    return (total, 0.0) if machine.shared or plan.offload == "none" else (0.0, total)


def _seconds(card: Card, work: Work, plan: Plan, machine: Machine, weights: Mapping[str, float]) -> float:
    """Time from the number of operations: two a parameter and token, four a pair of tokens, width and layer; a third more
    for decoding, and moving weights over the bus where they do not stay."""
    denoiser = card.settings.get("denoiser", {})
    count, passes = tokens(card, work), denoiser.get("passes", 2)
    params = next((size for name, size in weights.items() if name.startswith(("transformer", "unet"))), card.params_b or 2.0)
    if card.settings.get("latent", {}).get("patch", 1) == 1 and denoiser.get("layers") is None:
        count = max(1, count // 4)  # a UNet does most of its work at a fraction of the latent's size
    step = passes * (2 * params * 1e9 * count + 4 * count**2 * denoiser.get("width", 1024) * denoiser.get("layers", 16))
    pixels = work.width * work.height * work.frames
    seconds = (step * work.steps + pixels * 2.5e6) / (machine.tflops * 1e12)
    if plan.offload != "none" and not machine.shared:
        bus = 3.0 if plan.offload == "disk" else 12.0  # GB/s: a fast disk, pageable copies over PCIe
        moved = params * _BYTES[plan.precision] * (work.steps * passes if plan.offload != "model" else 1)
        hidden = 0.5 if plan.offload == "group" else 1.0  # copies run beside the work
        seconds += moved / bus * hidden
    return float(seconds) * (1.15 if plan.precision != "native" else 1.0)


def choose(
    card: Card,
    work: Work,
    machine: Machine,
    weights: Mapping[str, float] | None = None,
    corrections: Mapping[str, Correction] | None = None,
    plans: Sequence[Plan] = LADDER,
    held: Mapping[Plan, tuple[float, float]] | None = None,
) -> Verdict:
    """The plans under which the work fits, best first.

    On a CPU model and group offload save nothing and are left out. `corrections` by plan name. `held`: GB on the device and
    in RAM that would be free for a plan beside what the machine has free, as its model is in memory already.
    """
    known = corrections or {}
    usable = [plan for plan in plans if not (machine.shared and plan.offload in ("model", "group"))] or list(plans)
    needs = [need(card, work, plan, machine, weights, known.get(plan.name)) for plan in usable]
    fitting = tuple(each for each in needs if each.fits(machine.with_free(*(held or {}).get(each.plan, (0.0, 0.0)))))
    closest = min(needs, key=lambda each: (each.vram_gb, each.ram_gb))
    return Verdict(fitting, closest, _why(card, fitting, closest, needs, machine))


def _why(card: Card, fitting: Sequence[Need], closest: Need, needs: Sequence[Need], machine: Machine) -> str:
    free = f"{machine.free_ram_gb:.1f} GB of RAM are free" if machine.shared else f"{machine.free_vram_gb:.1f} GB are free"
    if not fitting:
        if not machine.shared and closest.vram_gb <= machine.free_vram_gb * _ROOM:
            told = f"{card.title} needs about {closest.ram_gb:.1f} GB of RAM with {closest.plan.name}"
            return f"{told}, {machine.free_ram_gb:.1f} GB are free"
        return f"{card.title} needs about {closest.vram_gb:.1f} GB even with {closest.plan.name}, {free}"
    best = fitting[0]
    told = f"{best.plan.name}: about {best.vram_gb:.1f} GB, {free} ({best.sure})"
    if best is not needs[0]:
        told += f"; {needs[0].plan.name} would take {needs[0].vram_gb:.1f} GB"
    return told


def nearest(
    card: Card,
    work: Work,
    machine: Machine,
    weights: Mapping[str, float] | None = None,
    plans: Sequence[Plan] = LADDER,
    corrections: Mapping[str, Correction] | None = None,
) -> Work | None:
    """The largest work of the same shape that would fit: fewer frames first, then a smaller picture; None if nothing does."""
    for scale in (1.0, 0.75, 0.5, 0.35, 0.25):
        width, height = card.sizes.nearest(round(work.width * scale), round(work.height * scale))
        for share in (1.0, 0.75, 0.5, 0.25, 0.1):
            frames = card.frames.nearest(max(1, round(work.frames * share)))
            smaller = replace(work, width=width, height=height, frames=frames)
            if smaller != work and choose(card, smaller, machine, weights, corrections, plans).needs:
                return smaller
    return None
