"""Start, remember, poll, fetch, stop: written once for every provider, so that none is ever paid twice (J5, M8-M10).

The intent is in the run's memory before the request leaves, and the operation's id before the first poll. A crash between any
two lines goes on where it was: with an id, it polls on; with an intent alone, it asks again under the same idempotency key where
the provider has them, and else tells the person instead of ordering a second time.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from reelwright import settings
from reelwright.backends.hosted.arguments import Given, Several, filled, takes_several, values
from reelwright.backends.hosted.call import Answer, Call, Failed, Finished, Outcome, Pending, Then
from reelwright.backends.hosted.orders import Memory, Ordered, cost, laid_down, leaving, plain
from reelwright.backends.hosted.provider import BREAKERS, Provider
from reelwright.backends.hosted.purse import FilePurse, Purse
from reelwright.backends.hosted.refusals import failure, is_policy, refusal, said, stopped
from reelwright.backends.hosted.results import conformed, data_uri, fetched
from reelwright.backends.hosted.wire import NotSent, Wire, paused
from reelwright.catalog import Card, Shot
from reelwright.errors import (
    BackendError,
    Cancelled,
    MissingKey,
    ProviderFailed,
    ReelwrightError,
    TimedOut,
    TooLarge,
    Unavailable,
    Unsupported,
)
from reelwright.fetching import Fetcher
from reelwright.run import Run
from reelwright.types import Video

__all__ = ["Hosted", "Ordered", "conformed", "data_uri", "failure", "is_policy", "leaving", "refusal", "said", "stopped"]

_BREAKERS = BREAKERS
_TRIES = 4
"""How often an order is sent that surely was not taken: no connection, or too many at once."""
_PATIENCE_S = 60.0
"""The longest wait that a provider may ask for and get; a longer one is the caller's to decide."""
_STRANGE = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What reading an answer raises that has another shape than the provider's documents say."""


_UNSURE = (408, 409, 425)
"""Answers to an order that do not say that it was not taken."""
_GONE, _GONE_AFTER = Pending("waiting: it is not known there"), 5
"""An order that the provider does not know; how many answers in a row have to say so until that is believed."""
_STOPS = 3
"""How often a provider is told to stop."""
_STOP_S = 15.0
_INPUT_MOST = 100_000_000
"""Bytes of an input; it is read into memory on its way."""


class Hosted(Provider):
    """A provider as a backend: it is asked, waited for, asked again after a crash, fetched from and stopped."""

    def __init__(self, wanted: settings.Settings | None = None, purse: Purse | None = None) -> None:
        super().__init__(wanted)
        self._own_purse = purse or FilePurse(self.settings)
        self._memory = Memory("hosted", self.settings.data_folder)

    # ---- the backend

    def check(self, card: Card) -> None:
        """Raises MissingKey if the provider's key is not set, Unsupported if the card does not say how to ask."""
        if "arguments" not in card.settings:
            raise Unsupported(f"the card {card.id} does not say how to ask {self.name}", hint="It needs settings.arguments.")
        if card.status == "retired":
            raise Unsupported(f"{card.title} is no longer served", hint=card.price or "Choose another model.", model=card.id)
        self._wire(card)

    def close(self) -> None:
        """Nothing is held."""

    def generate(self, shot: Shot, run: Run) -> Video:
        """The shot, from start to file. Raises Refused, RateLimited, TimedOut, ProviderFailed, MissingKey ..., Cancelled."""
        wire = self._wire(shot.card)
        order, finished = self._order(shot, run, wire)
        try:
            self._keep_surely(order, shot, run)
            finished = finished or self._waited(order, shot, run, wire)
        except (Cancelled, KeyboardInterrupt):
            if not leaving(run):
                self._ended(order, shot, run, wire)
            raise
        path = run.scratch / f"{shot.fingerprint[:16]}.mp4"
        self._fetched(finished, path, run, wire)
        usd = finished.usd if finished.usd is not None else order.usd
        self._settle(order, shot, run, usd)
        run.remember(cost={**run.memory.get("cost", {}), shot.fingerprint[:16]: cost(self.name, shot, order, usd)})
        if usd:
            run.note(f"{shot.card.title}: {usd:.2f} USD{'' if finished.usd is not None else ' (by its price list)'}.")
        video = conformed(path, shot, run)
        self._memory.done(shot.fingerprint[:16])
        return video

    # ---- the steps

    def _order(self, shot: Shot, run: Run, wire: Wire) -> tuple[Ordered, Finished | None]:
        """The operation: a new one, or the one that an earlier attempt began; and what it made, if that is known already."""
        known = self._memory.known(run, shot.fingerprint[:16])
        before = Ordered.of(known) if known else None
        if before is not None and (before.operation or (before.made and Path(before.made).is_file())):
            run.note(f"{self.name} was asked before; its answer is {'waited for' if before.operation else 'here'}.")
            return before, None if before.operation else Finished(body=Path(str(before.made)).read_bytes())
        if before is not None and not (self.idempotent or shot.card.settings.get("idempotent")):
            raise BackendError(
                f"{self.name} may have taken this order before this program was stopped, and does not say",
                hint=f"Look at your account{f' ({self.site})' if self.site else ''}; if it did not, order again with a new seed.",
                retryable=False,
                provider=self.name,
            )
        order = before or Ordered(str(uuid.uuid4()), time.time(), None, self.price(shot))
        arguments = filled(shot.card.settings.get("arguments", {}), values(shot, self._inputs(shot, run, wire))) or {}
        call = self.start(shot, arguments, order.intent)
        run.step(0, 1, "order")
        self._reserve(order, shot, run)
        answer = self._sent(call, order, shot, run, wire)
        try:
            told = self.started(answer)
        except ReelwrightError:
            self._nothing(order, shot, run)
            raise
        except _STRANGE:
            told = ""
        if isinstance(told, Finished):
            if told.body is not None:  # it is paid, and nobody has it but this answer
                order.made = laid_down(self.settings.cache_folder, order.intent, told.body)
            return order, told
        order.operation = plain(told, self.name)
        return order, None

    def _inputs(self, shot: Shot, run: Run, wire: Wire) -> dict[str, Any]:
        """The inputs as the provider takes them, by role."""
        paths: dict[str, list[Path]] = {}
        for given in shot.inputs:
            path = run.fetch(given.ref)
            if (size := path.stat().st_size) > _INPUT_MOST:
                raise TooLarge(f"an input has {size / 1e6:.0f} MB; {_INPUT_MOST / 1e6:.0f} MB are sent", hint="Make it smaller.")
            paths.setdefault(given.role.value, []).append(path)
        for role, found in paths.items():
            if len(found) > 1 and not takes_several(shot.card.settings.get("arguments", {}), role):
                raise Unsupported(f"{shot.card.title} takes one {role}, not {len(found)}", model=shot.card.id)
        taken = {role: Several(Given(self.given(path, wire)) for path in found) for role, found in paths.items()}
        return {role: each if len(each) > 1 else each[0] for role, each in taken.items()}

    def _reserve(self, order: Ordered, shot: Shot, run: Run) -> None:
        """Keep the intent, and hold its price against the budget. Raises QuotaExceeded."""
        self._keep(order, shot, run)
        try:
            self._purse(run).reserve(order.intent, self.name, shot.card.id, order.usd, getattr(run, "owner", "local"))
        except ReelwrightError:
            self._forget(shot, run)
            raise

    def _sent(self, call: Call, order: Ordered, shot: Shot, run: Run, wire: Wire) -> Answer:
        """The answer to an order. It is sent again only where it surely was not taken; else what went wrong is raised."""
        attempt = 0
        while True:
            error: ReelwrightError
            try:
                answer = wire.send(call)
            except NotSent as failed:
                error = failed
            except (BackendError, TooLarge):
                raise  # it may have been taken: the intent stays
            except ReelwrightError as failed:
                error = failed
            else:
                if answer.status < 300:
                    return answer
                error = self.refused(answer)
                if answer.status >= 500 or answer.status in _UNSURE:
                    raise error
            wait = max(float(error.details.get("after", 0.0)), paused(attempt))
            if attempt + 1 >= _TRIES or not error.retryable or not isinstance(error, BackendError) or wait > _PATIENCE_S:
                self._nothing(order, shot, run)
                raise error
            try:
                self._pause(wait, run, 0.0)
            except (Cancelled, KeyboardInterrupt):
                self._nothing(order, shot, run)
                raise
            attempt += 1

    def _waited(self, order: Ordered, shot: Shot, run: Run, wire: Wire) -> Finished:
        """Ask until it is done. Raises what it failed with, TimedOut at the deadline."""
        deadline = max(order.at, time.time()) + self.settings.request_timeout
        attempt, failures, gone, last = 0, 0, 0, 0.0
        while True:
            wait = 0.0
            try:
                outcome = self._asked(order, shot, wire)
                failures = 0
            except ReelwrightError as error:
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
            gone = gone + 1 if outcome is _GONE else 0
            if gone >= _GONE_AFTER and time.time() - order.at > _PATIENCE_S:
                self._forget(shot, run)  # what it cost is not known: the estimate stays
                raise ProviderFailed(f"{self.name} no longer knows the order", retryable=False, provider=self.name)
            order.queued, last = outcome.stage.startswith("queue"), max(last, outcome.share or 0.0)
            self._shown(outcome, last, run)
            if time.time() > deadline:
                raise self._late(order, shot, run, wire)
            self._pause(max(wait, paused(max(attempt, failures), first=self.polls)), run, last)
            attempt += 1

    def _asked(self, order: Ordered, shot: Shot, wire: Wire) -> Outcome:
        """How it stands, by as many calls as that takes. Raises what may be better the next time, and a key that is not taken.
        An order is paid and goes on, whatever is said to a question: only what its provider tells as its end is one."""
        operation = order.operation or ""
        call = self.poll(operation, shot)

        def means(answer: Answer) -> Outcome:
            return self.polled(answer, operation, shot)

        following: Callable[[Answer], Outcome] = means
        while True:
            answer = wire.send(call)
            if answer.status >= 400:
                error = self.refused(answer)
                if answer.status == 429 or answer.status >= 500 or isinstance(error, MissingKey):
                    raise error
                if answer.status in (404, 410):
                    return _GONE
                if following is means or answer.status in _UNSURE:
                    return Pending(f"waiting: {error.message}")
            try:
                outcome = following(answer)
            except _STRANGE:
                return Pending("an answer that is not known")
            if not isinstance(outcome, Then):
                return outcome
            call, following = outcome.call, outcome.means

    def _late(self, order: Ordered, shot: Shot, run: Run, wire: Wire) -> TimedOut:
        """The deadline has passed: it is stopped. Where that cannot be, it stays remembered, for it may be done later."""
        self._ended(order, shot, run, wire)
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

    def _ended(self, order: Ordered, shot: Shot, run: Run, wire: Wire) -> None:
        """It is not wanted any more: it is stopped, and forgotten if it was. Else it goes on, and whoever asks again gets it."""
        answer = self._stopped(order, shot, wire)
        if answer is None:
            return
        usd = self.charged(answer)
        self._settle(order, shot, run, usd if usd is not None else 0.0 if order.queued else order.usd)
        self._forget(shot, run)

    def _stopped(self, order: Ordered, shot: Shot, wire: Wire) -> Answer | None:
        """Ask that it stop; what was answered, if the provider does it."""
        if order.operation is None or (call := self.stop(order.operation, shot)) is None:
            return None
        for attempt in range(_STOPS):
            if attempt:
                time.sleep(paused(attempt - 1))
            try:
                answer = wire.send(replace(call, timeout=call.timeout or _STOP_S), anyway=True)
            except ReelwrightError:
                continue
            if answer.status < 300:
                return answer
            if answer.status < 500 and answer.status != 429:
                return None
        return None

    # ---- what is kept

    def _purse(self, run: Run) -> Purse:
        """The run's purse, which is that of the whole installation, or one of this program alone."""
        return getattr(run, "purse", None) or self._own_purse

    def _keep(self, order: Ordered, shot: Shot, run: Run) -> None:
        self._memory.keep(run, shot.fingerprint[:16], order.facts)

    def _keep_surely(self, order: Ordered, shot: Shot, run: Run) -> None:
        """Keep what was ordered, though what keeps it may be away for a while: the provider's number is known only here."""
        end = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return self._keep(order, shot, run)
            except Unavailable:
                if time.monotonic() > end:
                    raise
            self._pause(paused(0), run, 0.0)

    def _forget(self, shot: Shot, run: Run) -> None:
        self._memory.forget(run, shot.fingerprint[:16])

    def _settle(self, order: Ordered, shot: Shot, run: Run, usd: float | None) -> None:
        """Note what it cost; what was once paid is not made less by what is said later."""
        paid = run.memory.get("cost", {}).get(shot.fingerprint[:16], {})
        if paid.get("operation") == order.operation and paid.get("usd") is not None and (usd is None or usd < paid["usd"]):
            return
        self._purse(run).settle(order.intent, usd)

    def _nothing(self, order: Ordered, shot: Shot, run: Run) -> None:
        """The order came to nothing, and costs nothing."""
        self._settle(order, shot, run, 0.0)
        self._forget(shot, run)
