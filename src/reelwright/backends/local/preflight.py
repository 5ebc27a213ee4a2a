"""What will happen, said before it does: the plan, the memory and the time of a shot on this machine, without loading torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reelwright.backends.local import hardware, weights
from reelwright.backends.local.experience import Experience
from reelwright.backends.local.loading import Source
from reelwright.backends.sections import OVERLAP
from reelwright.catalog import Card, Shot, fit
from reelwright.catalog.fit import LADDER, Machine, Need, Plan, Verdict
from reelwright.errors import ReelwrightError
from reelwright.settings import Settings

LOSSY = (Plan("model", precision="fp8"), Plan("group", tiled=True, precision="fp8"))
"""Plans that a person has to allow (`REELWRIGHT_LOSSY`), or to ask for (the option `precision`)."""


_SLOW_S = 1800.0


def ladder(options: Mapping[str, Any], machine: Machine, *, lossy: bool = False) -> tuple[Plan, ...]:
    """The plans for a shot with these options, in the order in which they are preferred."""
    precision = options.get("precision", "native")
    plans = (*LADDER, *LOSSY) if lossy and precision == "native" else LADDER
    if precision != "native":
        plans = tuple(replace(plan, precision=precision) for plan in plans)
    if "tiling" in options:
        plans = tuple(dict.fromkeys(replace(plan, tiled=bool(options["tiling"])) for plan in plans))
    wanted = options.get("memory", "auto")
    if wanted != "auto":
        offload = "none" if wanted == "resident" else wanted
        plans = tuple(plan for plan in plans if plan.offload == offload)
    return tuple(plan for plan in plans if plan.precision != "fp8" or precision == "fp8" or machine.fp8 or machine.kind == "cpu")


def apart(card: Card) -> tuple[str, ...]:
    """The components of a card that are not its source's own: from elsewhere, or left out."""
    return (*card.settings.get("components", {}), *card.settings.get("drop", ()))


def billions(source: Source, card: Card | None = None) -> dict[str, float] | None:
    """Billions of parameters of each component, from the files' headers; None if they are not on this machine.

    A component of the card that is a file of its own (GGUF) counts by its size, as weights of two bytes.
    """
    if source.folder is None or source.modular:
        return None
    others = () if card is None else apart(card)
    found = {name: each.parameters / 1e9 for name, each in weights.measured(source.folder).items() if name not in others}
    for name, wanted in () if card is None else card.settings.get("components", {}).items():
        place = Path(str(wanted["source"])).expanduser()
        path = place / wanted["file"] if "file" in wanted else place
        if path.is_file():
            found[name] = path.stat().st_size / 2e9
        elif name in card.settings.get("weights", {}):  # type: ignore[union-attr]  # there are none without a card
            found[name] = card.settings["weights"][name]  # type: ignore[union-attr]  # likewise
    return found or None


def verdict(card: Card, size: tuple[int, int], frames: int, options: Mapping[str, Any], known: Settings) -> Verdict:
    """What this machine can do with so many frames of this size; weights as in the files, if they are here.

    A clip that is made in sections needs the memory of one, and the time of all.
    """
    machine = hardware.glance(known.device)
    at_once, count = sections(card, frames)
    found = fit.choose(
        card,
        fit.work_of(card, *size, at_once, options),
        machine,
        _on_disk(card),
        Experience(known.cache_folder).of(card.id, machine.name),
        ladder(options, machine, lossy=known.lossy),
    )
    closest, *needs = (replace(need, seconds=need.seconds * count) for need in (found.closest, *found.needs))
    return replace(found, needs=tuple(needs), closest=closest)


def sections(card: Card, frames: int) -> tuple[int, int]:
    """How many frames are made at once, and in how many sections."""
    most = card.frames.most
    if not card.continues or frames <= most:
        return frames, 1
    return most, 1 + math.ceil((frames - most) / max(1, most - OVERLAP))


def of_shot(shot: Shot, known: Settings) -> Need:
    """What a shot needs: with the best plan that fits, or the nearest one."""
    found = verdict(shot.card, (shot.width, shot.height), shot.frames, shot.options, known)
    return found.best or found.closest


def told(shot: Shot, known: Settings) -> dict[str, Any] | None:
    """The same as JSON values; None for models that are not run here."""
    if shot.card.backend != "diffusers":
        return None
    found = verdict(shot.card, (shot.width, shot.height), shot.frames, shot.options, known)
    need = found.best or found.closest
    return {
        "fits": found.best is not None, "plan": need.plan.name,
        "vram_gb": round(need.vram_gb, 1), "ram_gb": round(need.ram_gb, 1),
        "seconds": round(need.seconds, 1), "sure": need.sure, "why": found.why, "device": hardware.glance(known.device).name,
    }  # fmt: skip


def _on_disk(card: Card) -> dict[str, float] | None:
    folder = Path(card.source).expanduser()
    try:
        return billions(Source(card.source, folder, {}), card) if folder.exists() else None
    except ReelwrightError:
        return None  # damaged files are told when they are used


@dataclass(frozen=True)
class Standing:
    """How a model stands on this machine at its native size: "resident", "offload", "slow" (it fits, and takes over half an
    hour), "no", "other" (it is not run here at all) or "none" (it needs nothing), with what it needs."""

    card: Card
    state: str
    need: Need | None
    why: str


def standings(cards: Mapping[str, Card], known: Settings, *, whole: bool = True) -> Iterator[Standing]:
    """How each model stands; `whole` counts memory that other programs hold as free."""
    machine = hardware.glance(known.device)
    if whole:
        machine = replace(machine, free_vram_gb=machine.vram_gb, free_ram_gb=machine.ram_gb)
    for card in cards.values():
        if card.backend == "keyframes":
            inner = cards.get(str(card.settings.get("picture")))
            here = inner is not None and inner.backend == "diffusers"
            yield replace(_standing(inner, machine, known), card=card) if inner and here else Standing(card, "other", None, "")
        elif card.backend != "diffusers":
            yield Standing(card, "none" if card.instant else "other", None, "")
        else:
            yield _standing(card, machine, known)


def _standing(card: Card, machine: Machine, known: Settings) -> Standing:
    work = fit.work_of(card, *card.sizes.native[0], card.frames.default, {})
    corrections = Experience(known.cache_folder).of(card.id, machine.name)
    found = fit.choose(card, work, machine, None, corrections, ladder({}, machine, lossy=known.lossy))
    if found.best is None:
        return Standing(card, "no", found.closest, found.why)
    if found.best.seconds > _SLOW_S:
        return Standing(card, "slow", found.best, f"{found.why}; it takes about {found.best.seconds / 60:.0f} minutes")
    return Standing(card, "resident" if found.best.plan.offload == "none" else "offload", found.best, found.why)
