"""Which models for a task, a machine, a licence or a wish (M13)."""

from __future__ import annotations

from collections.abc import Collection

from reelwright.catalog.card import Card, cards
from reelwright.errors import RequestError

WISHES: dict[str, tuple[str, ...]] = {
    "fast": ("fast", "real time", "iteration", "drafts"),
    "quality": ("quality", "highest quality", "cinematic"),
    "photorealism": ("photorealism", "realism"),
    "low-memory": ("low memory", "entry level", "machines without a GPU"),
    "text-on-screen": ("text on screen",),
    "long": ("long", "long clips"),
    "camera-control": ("camera control",),
    "style-transfer": ("style transfer", "custom styles"),
    "characters": ("characters",),
    "sound": ("sound",),
    "pictures": ("pictures",),
    "first-and-last-frame": ("first and last frame",),
}
"""A wish -> the words of `best_for` that meet it."""


def matching(
    *, task: str | None = None, max_vram: float | None = None, licence: str | None = None, everything: bool = False
) -> list[Card]:
    """The cards that meet all that is asked, current ones first; `licence`: "commercial", or part of a licence's name."""
    found = [
        card
        for card in cards().values()
        if (task is None or task in card.task or (task == "lora" and card.loras))
        and (max_vram is None or card.vram_gb is None or card.vram_gb[0] <= max_vram)
        and (licence is None or (card.commercial if licence == "commercial" else licence.lower() in card.licence.lower()))
        and (everything or card.status == "current")
    ]
    return sorted(found, key=lambda card: (card.status != "current", card.family, card.params_b or 0, card.id))


def picked(wish: str, task: str, able: Collection[str]) -> list[tuple[Card, str]]:
    """Models for a wish, best first, each with the reason; of those in `able`. Raises RequestError for an unknown wish."""
    name = wish.strip().lower().replace(" ", "-")
    if name not in WISHES:
        raise RequestError(f"there is no wish {wish!r}", hint=f"Wish for one of: {', '.join(WISHES)}.", field="for")
    words = set(WISHES[name])
    scored = []
    for card in cards().values():
        if card.id not in able or card.status == "retired" or (task not in card.task and name != "pictures"):
            continue
        meets = sorted(words & set(card.best_for))
        score = 10.0 * bool(meets) + _leaning(name, card) - (2 if card.status == "legacy" else 0)
        reason = f"best for {', '.join(meets)}" if meets else f"quality {card.quality}, speed {card.speed} of 5"
        scored.append((score, card.id, card, reason))
    scored.sort(key=lambda each: (-each[0], each[1]))
    return [(card, reason) for _, _, card, reason in scored]


def _leaning(name: str, card: Card) -> float:
    """What else speaks for a card."""
    if name == "fast":
        return 2.0 * card.speed + 0.3 * card.quality
    if name == "low-memory":
        return card.quality - 0.5 * (card.vram_gb[0] if card.vram_gb else 0)
    if name == "long":
        return card.quality + min(5.0, card.frames.most / card.fps.default / 5)
    return 1.5 * card.quality + 0.3 * card.speed
