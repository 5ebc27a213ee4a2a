"""What a provider says of itself: its address and key, how it is asked, and what its answers mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from reelwright import logs, settings
from reelwright.backends.hosted.arguments import values
from reelwright.backends.hosted.call import Answer, Call, Finished, Outcome
from reelwright.backends.hosted.refusals import refusal
from reelwright.backends.hosted.results import data_uri
from reelwright.backends.hosted.wire import Breaker, Wire
from reelwright.catalog import Card, Shot
from reelwright.errors import MissingKey, ReelwrightError

BREAKERS: dict[str, Breaker] = {}


class Provider(ABC):
    """A provider. Subclasses say what to send and what answers mean; `Hosted` sends, waits, resumes, fetches and stops.

    `name` for people; `base` its address, which REELWRIGHT_BASE_<NAME> replaces; `key` the setting that holds its key, `site`
    where a key is had. `idempotent`: whether a create with the same key is the same order. `polls`: seconds between first polls.
    """

    name: ClassVar[str]
    base: ClassVar[str]
    key: ClassVar[str | None] = None
    site: ClassVar[str] = ""
    idempotent: ClassVar[bool] = False
    polls: ClassVar[float] = 2.0

    def __init__(self, wanted: settings.Settings | None = None) -> None:
        self.settings = wanted or settings.current()

    # ---- what a provider says

    @abstractmethod
    def headers(self, secret: str) -> Mapping[str, str]:
        """The headers that carry the key."""

    @abstractmethod
    def start(self, shot: Shot, arguments: dict[str, Any], intent: str) -> Call:
        """The call that orders the shot; `arguments`: the card's template, filled."""

    @abstractmethod
    def started(self, answer: Answer) -> str | Finished:
        """The operation's id in the answer to `start`; or what was made, if the provider answers only then. Raises what the
        order was refused with, where the status alone does not say so."""

    def poll(self, operation: str, shot: Shot) -> Call:
        """The call that asks how it stands."""
        raise NotImplementedError(f"{self.name} answers at once")

    def polled(self, answer: Answer, operation: str, shot: Shot) -> Outcome:
        """What that answer means; what is not known is still at work."""
        raise NotImplementedError(f"{self.name} answers at once")

    def stop(self, operation: str, shot: Shot) -> Call | None:  # noqa: ARG002  for those who override it
        """The call that stops it; None if it cannot be stopped."""
        return None

    def charged(self, answer: Answer) -> float | None:  # noqa: ARG002  likewise
        """US dollars that a stopped order cost, by the answer to `stop`; None if that does not say."""
        return None

    def route(self, shot: Shot) -> str:
        """Where the shot is ordered: the card's `source`, or by the roles of its inputs what `settings.routes` says."""
        roles = "+".join(sorted({given.role.value for given in shot.inputs})) or "prompt"
        return str(shot.card.settings.get("routes", {}).get(roles, shot.card.source))

    def given(self, path: Path, wire: Wire) -> str:  # noqa: ARG002  likewise
        """An input file as the provider takes it: a data URI, unless it has a store for uploads."""
        return data_uri(path)

    def price(self, shot: Shot) -> float | None:
        """US dollars that the shot will cost, by the card's `settings.price`; None if that is not known."""
        known = shot.card.settings.get("price", {})
        if "usd" in known:
            return float(known["usd"])
        rate = known.get("usd_per_second")
        if isinstance(rate, Mapping):
            rate = rate.get(values(shot, {})["resolution"], max(rate.values()))
        return None if rate is None else float(rate) * float(shot.frames / shot.fps)

    def refused(self, answer: Answer) -> ReelwrightError:
        """An answer of 400 or more as an error of ours."""
        return refusal(self.name, answer)

    # ---- its address and its key

    def secret(self, name: str | None) -> str:
        """The key that a setting holds; "" for none. Raises MissingKey that says where it is had."""
        if name is None:
            return ""
        secret = (self.settings.secret(name) or "").strip()
        if not secret or not secret.isascii() or not secret.isprintable():
            raise MissingKey(
                f"{self.name} needs a key" if not secret else f"the key of {self.name} has characters that no key has",
                hint=f"Set {name.upper()}, or: reel keys set {name}.{f' It is had at {self.site}.' if self.site else ''}",
                provider=self.name,
            )
        logs.hide(secret)
        return secret

    def door(self, card: Card) -> tuple[str, str | None]:
        """The address that a card's model is asked at, and the setting with the key for it. A card with an address of its own
        gets the key that it names in `settings.key`, and never the provider's."""
        if own := card.settings.get("base"):
            return str(own), card.settings.get("key")
        return self.settings.base_of(type(self).__name__.lower()) or self.base, self.key

    def _wire(self, card: Card) -> Wire:
        base, key = self.door(card)
        secret = self.secret(key)
        breaker = BREAKERS.setdefault(base, Breaker(self.name))
        return Wire(self.name, base, lambda: self.headers(secret) if secret else {}, breaker, self.secrets(secret))

    def secrets(self, secret: str) -> tuple[str, ...]:
        """Everything that must not come back in an answer."""
        return (secret,)
