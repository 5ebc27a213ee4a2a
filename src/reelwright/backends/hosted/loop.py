"""Start, remember, poll, fetch, stop: written once for every provider, so that none is ever paid twice (J5, M8-M10).

The intent is in the run's memory before the request leaves, and the operation's id before the first poll. A crash between any
two lines goes on where it was: with an id, it polls on; with an intent alone, it asks again under the same idempotency key where
the provider has them, and else tells the person instead of ordering a second time.
"""

from __future__ import annotations

import re
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from reelwright import settings
from reelwright.backends.hosted.arguments import filled, values
from reelwright.backends.hosted.call import Answer, Call, Failed, Finished, Outcome, Pending, Then
from reelwright.backends.hosted.purse import FilePurse, Purse
from reelwright.backends.hosted.refusals import failure, is_policy, refusal, said, stopped
from reelwright.backends.hosted.results import conformed, data_uri, fetched
from reelwright.backends.hosted.wire import Breaker, NotSent, Wire, paused
from reelwright.catalog import Card, Shot
from reelwright.errors import BackendError, Cancelled, MissingKey, ReelwrightError, Refused, TimedOut, TooLarge, Unsupported
from reelwright.fetching import Fetcher
from reelwright.run import Run
from reelwright.types import Video

__all__ = ["Hosted", "Ordered", "conformed", "data_uri", "failure", "is_policy", "leaving", "refusal", "said", "stopped"]

_BREAKERS: dict[str, Breaker] = {}
_TRIES = 4
"""How often an order is sent that surely was not taken: no connection, or too many at once."""
_PATIENCE_S = 60.0
"""The longest wait that a provider may ask for and get; a longer one is the caller's to decide."""
_STRANGE = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What reading an answer raises that has another shape than the provider's documents say."""


@dataclass
class Ordered:
    """What is known of one shot at a provider; it lies in the run's memory."""

    intent: str
    at: float
    operation: str | None = None
    usd: float | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        return dict(vars(self))


class Hosted(ABC):
    """A provider. Subclasses say what to send and what answers mean; this sends, waits, resumes, fetches and stops.

    `name` for people; `base` its address, which REELWRIGHT_BASE_<NAME> replaces; `key` the setting that holds its key, `site`
    where a key is had. `idempotent`: whether a create with the same key is the same order. `polls`: seconds between first polls.
    """

    name: ClassVar[str]
    base: ClassVar[str]
    key: ClassVar[str | None] = None
    site: ClassVar[str] = ""
    idempotent: ClassVar[bool] = False
    polls: ClassVar[float] = 2.0

    def __init__(self, wanted: settings.Settings | None = None, purse: Purse | None = None) -> None:
        self.settings = wanted or settings.current()
        self._own_purse = purse or FilePurse(self.settings)

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

    # ---- the backend

    def check(self, card: Card) -> None:
        """Raises MissingKey if the provider's key is not set, Unsupported if the card does not say how to ask."""
        if "arguments" not in card.settings:
            raise Unsupported(f"the card {card.id} does not say how to ask {self.name}", hint="It needs settings.arguments.")
        if card.status == "retired":
            raise Unsupported(f"{card.title} is no longer served", hint=card.price or "Choose another model.", model=card.id)
        self._wire(card)

    def close(self) -> None:  # noqa: B027  nothing is held, and a provider that holds something overrides it
        """Nothing is held."""

    def generate(self, shot: Shot, run: Run) -> Video:
        """The shot, from start to file. Raises Refused, RateLimited, TimedOut, ProviderFailed, MissingKey ..., Cancelled."""
        wire = self._wire(shot.card)
        order, finished = self._order(shot, run, wire)
        try:
            finished = finished or self._waited(order, shot, run, wire)
        except Cancelled:
            if not leaving(run):
                self._stopped(order, shot, wire)
                self._forget(shot, run)
            raise
        path = run.scratch / f"{shot.fingerprint[:16]}.mp4"
        self._fetched(finished, path, run, wire)
        usd = finished.usd if finished.usd is not None else order.usd
        self._purse(run).settle(order.intent, usd)
        run.remember(cost={**run.memory.get("cost", {}), shot.fingerprint[:16]: _cost(self.name, shot, order, usd)})
        if usd:
            run.note(f"{shot.card.title}: {usd:.2f} USD{'' if finished.usd is not None else ' (by its price list)'}.")
        return conformed(path, shot, run)

    # ---- the steps

    def _order(self, shot: Shot, run: Run, wire: Wire) -> tuple[Ordered, Finished | None]:
        """The operation: a new one, or the one that an earlier attempt began; and what it made, if that is known already."""
        known = run.memory.get("hosted", {}).get(shot.fingerprint[:16])
        before = Ordered(**known) if known else None
        if before is not None and before.operation is not None:
            run.note(f"{self.name} was asked before; its answer is waited for.")
            return before, None
        if before is not None and not (self.idempotent or shot.card.settings.get("idempotent")):
            raise BackendError(
                f"{self.name} may have taken this order before this program was stopped, and does not say",
                hint=f"Look at your account{f' ({self.site})' if self.site else ''}; if it did not, order again with a new seed.",
                retryable=False,
                provider=self.name,
            )
        order = before or Ordered(str(uuid.uuid4()), time.time(), None, self.price(shot))
        inputs = {given.role.value: self.given(run.fetch(given.ref), wire) for given in shot.inputs}
        arguments = filled(shot.card.settings.get("arguments", {}), values(shot, inputs)) or {}
        call = self.start(shot, arguments, order.intent)
        run.step(0, 1, "order")
        if before is None:
            self._purse(run).reserve(order.intent, self.name, shot.card.id, order.usd, getattr(run, "owner", "local"))
            self._keep(order, shot, run)
        answer = self._sent(call, order, shot, run, wire)
        try:
            told = self.started(answer)
        except ReelwrightError:
            self._nothing(order, shot, run)
            raise
        except _STRANGE:
            told = ""
        if isinstance(told, Finished):
            return order, told
        order.operation = _plain(told, self.name)
        self._keep(order, shot, run)
        return order, None

    def _sent(self, call: Call, order: Ordered, shot: Shot, run: Run, wire: Wire) -> Answer:
        """The answer to an order. It is sent again only where it surely was not taken; else what went wrong is raised."""
        attempt = 0
        while True:
            try:
                answer = wire.send(call)
                if answer.status < 300:
                    return answer
                error = self.refused(answer)
                if answer.status >= 500:
                    raise error
            except ReelwrightError as failed:
                if isinstance(failed, BackendError | TooLarge) and not isinstance(failed, NotSent):
                    raise  # it may have been taken: the intent stays
                error = failed
            wait = max(float(error.details.get("after", 0.0)), paused(attempt))
            if attempt + 1 >= _TRIES or not error.retryable or not isinstance(error, BackendError) or wait > _PATIENCE_S:
                self._nothing(order, shot, run)
                raise error
            try:
                self._pause(wait, run, 0.0)
            except Cancelled:
                self._nothing(order, shot, run)
                raise
            attempt += 1

    def _waited(self, order: Ordered, shot: Shot, run: Run, wire: Wire) -> Finished:
        """Ask until it is done. Raises what it failed with, TimedOut at the deadline."""
        deadline = order.at + self.settings.request_timeout
        attempt, failures, last = 0, 0, 0.0
        while True:
            wait = 0.0
            try:
                outcome = self._asked(order, shot, wire)
                failures = 0
            except ReelwrightError as error:
                if isinstance(error, Refused):
                    self._nothing(order, shot, run)
                if not error.retryable or time.time() > deadline:
                    raise
                wait = min(_PATIENCE_S, float(error.details.get("after", 0.0)))
                failures, outcome = failures + 1, Pending(stage=f"waiting: {error.message}")
            if isinstance(outcome, Finished):
                run.step(100, 100, "run")
                return outcome
            if isinstance(outcome, Failed):
                self._nothing(order, shot, run)
                raise outcome.error
            assert isinstance(outcome, Pending)
            last = max(last, outcome.share or 0.0)
            self._shown(outcome, last, run)
            if time.time() > deadline:
                raise self._late(order, shot, run, wire)
            self._pause(max(wait, paused(max(attempt, failures), first=self.polls)), run, last)
            attempt += 1

    def _asked(self, order: Ordered, shot: Shot, wire: Wire) -> Outcome:
        """How it stands, by as many calls as that takes. Raises what may be better the next time, and a key that is not taken."""
        operation = order.operation or ""
        call = self.poll(operation, shot)

        def means(answer: Answer) -> Outcome:
            return self.polled(answer, operation, shot)

        following: Callable[[Answer], Outcome] = means
        while True:
            answer = wire.send(call)
            if answer.status in (401, 403, 429) or answer.status >= 500:
                raise self.refused(answer)
            if answer.status == 404 and time.time() - order.at < _PATIENCE_S:  # not everywhere yet
                return Pending("order")
            try:
                outcome = following(answer)
            except _STRANGE:
                return Pending("an answer that is not known")
            if not isinstance(outcome, Then):
                return outcome
            call, following = outcome.call, outcome.means

    def _late(self, order: Ordered, shot: Shot, run: Run, wire: Wire) -> TimedOut:
        """The deadline has passed: it is stopped. Where that cannot be, it stays remembered, for it may be done later."""
        if self._stopped(order, shot, wire):
            self._forget(shot, run)
        return TimedOut(
            f"{self.name} did not finish within {self.settings.request_timeout:.0f} s",
            hint="Raise REQUEST_TIMEOUT, or choose a faster model.",
            retryable=False,
            provider=self.name,
            operation=order.operation,
        )

    def _shown(self, outcome: Pending, share: float, run: Run) -> None:
        place = f" (number {outcome.position} in the queue)" if outcome.position else ""
        line = f": {outcome.lines[-1].strip()[:80]}" if outcome.lines and outcome.lines[-1].strip() else ""
        run.step(round(share * 100), 100, "run" if share else f"{outcome.stage}{place}{line}")

    def _pause(self, seconds: float, run: Run, share: float) -> None:
        """Wait, hearing a cancel."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(0.2, left))
            if getattr(run, "cancelled", False):
                run.step(round(share * 100), 100, "run")

    def _fetched(self, finished: Finished, path: Path, run: Run, wire: Wire) -> None:
        run.step(0, 1, "fetch")
        fetched(
            finished,
            path,
            wire,
            Fetcher(self.settings.allow_hosts),
            most=self.settings.max_video_file_size,
            seconds=max(60.0, self.settings.request_timeout),
            refused=self.refused,
            still_wanted=lambda: run.step(0, 1, "fetch"),
        )
        run.step(1, 1, "fetch")

    def _stopped(self, order: Ordered, shot: Shot, wire: Wire) -> bool:
        """Ask that it stop; whether the provider can. What it says to that changes nothing here."""
        if order.operation is None or (call := self.stop(order.operation, shot)) is None:
            return False
        try:
            return wire.send(call).status < 300
        except ReelwrightError:
            return False

    # ---- what is kept

    def _purse(self, run: Run) -> Purse:
        """The run's purse, which is that of the whole installation, or one of this program alone."""
        return getattr(run, "purse", None) or self._own_purse

    def _keep(self, order: Ordered, shot: Shot, run: Run) -> None:
        run.remember(hosted={**run.memory.get("hosted", {}), shot.fingerprint[:16]: order.facts})

    def _forget(self, shot: Shot, run: Run) -> None:
        run.remember(hosted={key: each for key, each in run.memory.get("hosted", {}).items() if key != shot.fingerprint[:16]})

    def _nothing(self, order: Ordered, shot: Shot, run: Run) -> None:
        """The order came to nothing, and costs nothing."""
        self._forget(shot, run)
        self._purse(run).settle(order.intent, 0.0)

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
        breaker = _BREAKERS.setdefault(base, Breaker(self.name))
        return Wire(self.name, base, lambda: self.headers(secret) if secret else {}, breaker, self.secrets(secret))

    def secrets(self, secret: str) -> tuple[str, ...]:
        """Everything that must not come back in an answer."""
        return (secret,)


def leaving(run: Run) -> bool:
    """Whether the work is only put down, to be taken up by another worker: what was ordered must go on then."""
    told: Callable[[], bool] | None = getattr(run, "leaving", None)
    return told is not None and told()


def _plain(operation: str, name: str) -> str:
    """The id, if it is one that an address can be built of; it comes from outside. Raises BackendError."""
    if not re.fullmatch(r"[\w.:~+=@/-]{1,300}", operation, re.ASCII) or ".." in operation or "//" in operation:
        raise BackendError(
            f"{name} took the order and does not say under which name",
            hint="Look at your account there; ordering again may cost twice.",
            retryable=False,
            provider=name,
        )
    return operation


def _cost(name: str, shot: Shot, order: Ordered, usd: float | None) -> dict[str, Any]:
    return {"provider": name, "model": shot.card.id, "operation": order.operation, "estimated_usd": order.usd, "usd": usd}
