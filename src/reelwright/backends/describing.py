"""Cards for models that have none: a Space by its name, else a folder, a file or a hub id of Diffusers."""

from __future__ import annotations

from typing import Any

from reelwright.catalog import Card, card_from
from reelwright.settings import Settings

SPACES = "spaces/"


def content_of(name: str, known: Settings) -> dict[str, Any]:
    """A card's content, as its TOML file would have it. Raises what looking at the model raises."""
    if name.startswith(SPACES):
        from reelwright.backends.spaces import card_of_space

        return card_of_space(name, known)
    from reelwright.backends.local.discovery import content_of as of_diffusers

    return of_diffusers(name, known)


def described(name: str, known: Settings) -> Card:
    """The card made on the fly."""
    return card_from(content_of(name, known), name)
