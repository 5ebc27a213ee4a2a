"""Start, remember, poll, fetch, stop: written once for every provider, so that none is ever paid twice (J5, M8-M10).

The intent is in the run's memory before the request leaves, and the operation's id before the first poll. A crash between any
two lines goes on where it was: with an id, it polls on; with an intent alone, it asks again under the same idempotency key where
the provider has them, and else tells the person instead of ordering a second time.
"""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from reelwright import settings
from reelwright.backends.hosted.arguments import filled, values
from reelwright.backends.hosted.call import Answer, Call, Failed, Finished, Outcome, Pending
from reelwright.backends.hosted.purse import FilePurse, Purse
from reelwright.backends.hosted.wire import Breaker, NotSent, Wire, downloaded, paused
from reelwright.catalog import Card, Shot
from reelwright.errors import (
    BackendError,
    Cancelled,
    MediaError,
    MissingKey,
    ProviderFailed,
    RateLimited,
    ReelwrightError,
    Refused,
    TimedOut,
    Unsupported,
)
from reelwright.fetching import Fetcher
from reelwright.media import edit
from reelwright.media.decode import open_video
from reelwright.run import Run
from reelwright.types import Video

_BREAKERS: dict[str, Breaker] = {}


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
    def started(self, answer: Answer) -> str:
        """The operation's id in the answer to `start`."""

    @abstractmethod
    def poll(self, operation: str, shot: Shot) -> Call:
        """The call that asks how it stands."""

    @abstractmethod
    def polled(self, answer: Answer, shot: Shot) -> Outcome:
        """What that answer means; what is not known is still at work."""

    def stop(self, operation: str, shot: Shot) -> Call | None:  # noqa: ARG002  for those who override it
        """The call that stops it; None if it cannot be stopped."""
        return None

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
        self._secret()

    def close(self) -> None:  # noqa: B027  nothing is held, and a provider that holds something overrides it
        """Nothing is held."""

    def generate(self, shot: Shot, run: Run) -> Video:
        """The shot, from start to file. Raises Refused, RateLimited, TimedOut, ProviderFailed, MissingKey ..., Cancelled."""
        wire = self._wire()
        order = self._order(shot, run, wire)
        try:
            finished = self._waited(order, shot, run, wire)
        except Cancelled:
            if not leaving(run):
                self._stopped(order, shot, wire)
                self._forget(shot, run)
            raise
        path = run.scratch / f"{shot.fingerprint[:16]}.mp4"
        self._fetched(finished, path, shot, run, wire)
        usd = finished.usd if finished.usd is not None else order.usd
        self._purse(run).settle(order.intent, usd)
        run.remember(cost={**run.memory.get("cost", {}), shot.fingerprint[:16]: _cost(self.name, shot, order, usd)})
        if usd:
            run.note(f"{shot.card.title}: {usd:.2f} USD{'' if finished.usd is not None else ' (by its price list)'}.")
        return conformed(path, shot, run)

    # ---- the steps

    def _order(self, shot: Shot, run: Run, wire: Wire) -> Ordered:
        """The operation: a new one, or the one that an earlier attempt began."""
        known = run.memory.get("hosted", {}).get(shot.fingerprint[:16])
        before = Ordered(**known) if known else None
        if before is not None and before.operation is not None:
            run.note(f"{self.name} was asked before; its answer is waited for.")
            return before
        if before is not None and not self.idempotent:
            raise BackendError(
                f"{self.name} may have taken this order before this program was stopped, and does not say",
                hint=f"Look at your account{f' ({self.site})' if self.site else ''}; if it did not, order again with a new seed.",
                retryable=False,
                provider=self.name,
            )
        usd = self.price(shot)
        order = before or Ordered(str(uuid.uuid4()), time.time(), None, usd)
        if before is None:
            self._purse(run).reserve(order.intent, self.name, shot.card.id, usd, getattr(run, "owner", "local"))
        inputs = {given.role.value: self.given(run.fetch(given.ref), wire) for given in shot.inputs}
        arguments = filled(shot.card.settings.get("arguments", {}), values(shot, inputs)) or {}
        call = self.start(shot, arguments, order.intent)
        run.step(0, 1, "order")
        self._keep(order, shot, run)
        try:
            answer = wire.send(call)
        except NotSent:
            self._forget(shot, run)
            self._purse(run).settle(order.intent, 0.0)
            raise
        if answer.status >= 400:
            error = self.refused(answer)
            if answer.status < 500:  # it said no: nothing was ordered
                self._forget(shot, run)
                self._purse(run).settle(order.intent, 0.0)
            raise error
        order.operation = self.started(answer)
        self._keep(order, shot, run)
        return order

    def _waited(self, order: Ordered, shot: Shot, run: Run, wire: Wire) -> Finished:
        """Ask until it is done. Raises what it failed with, TimedOut at the deadline."""
        assert order.operation is not None
        deadline = order.at + self.settings.request_timeout
        attempt, failures, last = 0, 0, 0.0
        while True:
            try:
                answer = wire.send(self.poll(order.operation, shot))
                outcome = self._meaning(answer, shot)
                failures = 0
            except ReelwrightError as error:
                if not error.retryable or time.time() > deadline:
                    raise
                failures, outcome = failures + 1, Pending(stage=f"waiting: {error.message}")
            if isinstance(outcome, Finished):
                run.step(100, 100, "run")
                return outcome
            if isinstance(outcome, Failed):
                self._forget(shot, run)
                self._purse(run).settle(order.intent, 0.0)
                raise outcome.error
            last = max(last, outcome.share or 0.0)
            self._shown(outcome, last, run)
            if time.time() > deadline:
                self._stopped(order, shot, wire)
                raise TimedOut(
                    f"{self.name} did not finish within {self.settings.request_timeout:.0f} s",
                    hint="Raise REQUEST_TIMEOUT, or choose a faster model.",
                    provider=self.name,
                    operation=order.operation,
                )
            self._pause(paused(max(attempt, failures), first=self.polls), run, last)
            attempt += 1

    def _meaning(self, answer: Answer, shot: Shot) -> Outcome:
        if answer.status == 429 or answer.status >= 500:
            raise self.refused(answer)
        return self.polled(answer, shot)

    def _shown(self, outcome: Pending, share: float, run: Run) -> None:
        place = f" (number {outcome.position} in the queue)" if outcome.position else ""
        run.step(round(share * 100), 100, "run" if share else f"{outcome.stage}{place}")

    def _pause(self, seconds: float, run: Run, share: float) -> None:
        """Wait, hearing a cancel."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(0.2, left))
            if getattr(run, "cancelled", False):
                run.step(round(share * 100), 100, "run")

    def _fetched(self, finished: Finished, path: Path, shot: Shot, run: Run, wire: Wire) -> None:
        most = self.settings.max_video_file_size
        if finished.body is not None:
            path.write_bytes(finished.body)
        elif finished.call is not None:
            answer = wire.send(finished.call, most=most)
            if answer.status >= 400:
                raise self.refused(answer)
            path.write_bytes(answer.body)
        elif finished.url is not None:
            run.step(0, 1, "fetch")
            fetcher = Fetcher(self.settings.allow_hosts)
            seconds = max(60.0, self.settings.request_timeout)
            downloaded(finished.url, path, fetcher, most=most, seconds=seconds, still_wanted=lambda: run.step(0, 1, "fetch"))
            run.step(1, 1, "fetch")
        else:
            raise ProviderFailed(f"{self.name} finished {shot.card.title} and gave no file", provider=self.name)

    def _stopped(self, order: Ordered, shot: Shot, wire: Wire) -> None:
        """Ask that it stop; what the provider says to that changes nothing here."""
        if order.operation is None or (call := self.stop(order.operation, shot)) is None:
            return
        try:
            wire.send(call)
        except ReelwrightError:
            return

    # ---- what is kept

    def _purse(self, run: Run) -> Purse:
        """The run's purse, which is that of the whole installation, or one of this program alone."""
        return getattr(run, "purse", None) or self._own_purse

    def _keep(self, order: Ordered, shot: Shot, run: Run) -> None:
        run.remember(hosted={**run.memory.get("hosted", {}), shot.fingerprint[:16]: order.facts})

    def _forget(self, shot: Shot, run: Run) -> None:
        run.remember(hosted={key: each for key, each in run.memory.get("hosted", {}).items() if key != shot.fingerprint[:16]})

    def _secret(self) -> str:
        if self.key is None:
            return ""
        secret = self.settings.secret(self.key)
        if secret is None:
            raise MissingKey(
                f"{self.name} needs a key",
                hint=f"Set {self.key.upper()}, or: reel keys set {self.key}. {f'It is had at {self.site}.' if self.site else ''}",
                provider=self.name,
            )
        return secret

    def _wire(self) -> Wire:
        base = self.settings.base_of(type(self).__name__.lower()) or self.base
        return Wire(self.name, base, self.headers(self._secret()), _BREAKERS.setdefault(base, Breaker(self.name)))


def leaving(run: Run) -> bool:
    """Whether the work is only put down, to be taken up by another worker: what was ordered must go on then."""
    told: Callable[[], bool] | None = getattr(run, "leaving", None)
    return told is not None and told()


def data_uri(path: Path) -> str:
    """A file as a data URI."""
    import base64
    import mimetypes

    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def refusal(name: str, answer: Answer) -> ReelwrightError:
    """An answer of 400 or more: the code by its status, the message from wherever providers put it."""
    text = said(answer)
    if answer.status in (401, 403):
        return MissingKey(
            f"{name} does not take the key: {text}", hint="It may be wrong, expired, or not allow this.", provider=name
        )
    if answer.status == 402 or "insufficient" in text.lower() or "quota" in text.lower():
        return RateLimited(f"{name}: {text}", hint="The account's credit or quota is used up.", retryable=False, provider=name)
    if answer.status == 429:
        after = answer.headers.get("retry-after", "")
        return RateLimited(f"{name} is asked too often: {text}", after=float(after) if after.isdigit() else 10.0, provider=name)
    if answer.status >= 500:
        return ProviderFailed(f"{name} has a fault ({answer.status}): {text}", provider=name, status=answer.status)
    if is_policy(text):
        return Refused(f"{name} refuses this by its policy: {text}", hint="Word the prompt in another way.", provider=name)
    return BackendError(f"{name} does not take this ({answer.status}): {text}", provider=name, status=answer.status)


def is_policy(text: str) -> bool:
    """Whether a message says that a policy forbids it."""
    words = ("moderation", "policy", "safety", "nsfw", "content_filter", "prohibited", "sensitive", "violat")
    return any(word in text.lower() for word in words)


def said(answer: Answer) -> str:
    """What an answer says in words, short."""
    found: Any = answer.json
    for _ in range(4):
        if isinstance(found, list) and found:
            found = found[0]
        elif isinstance(found, dict):
            keys = ("message", "detail", "error", "msg", "errors", "status_message", "reason", "failure")
            found = next((found[key] for key in keys if found.get(key)), None)
        else:
            break
    text = str(found) if isinstance(found, str | int) else answer.body[:200].decode("utf-8", "replace")
    return " ".join(text.split())[:300] or f"status {answer.status}"


def _cost(name: str, shot: Shot, order: Ordered, usd: float | None) -> dict[str, Any]:
    return {"provider": name, "model": shot.card.id, "operation": order.operation, "estimated_usd": order.usd, "usd": usd}


def conformed(path: Path, shot: Shot, run: Run) -> Video:
    """The file at the shot's size, rate and length; what had to be changed is told. Raises BackendError if it is no video."""
    try:
        video = open_video(path, audio=shot.card.audio)
    except MediaError as error:
        raise BackendError(f"{shot.card.title} gave a file that is no video: {error.message}", model=shot.card.id) from None
    if shot.card.audio and not video.spec.audio:
        video = edit.with_sound(video, _silence(video.spec.samples))
    made = video.spec
    if (made.width, made.height) != (shot.width, shot.height) or abs(made.seconds - shot.frames / shot.fps) > 0.2:
        run.note(f"{shot.card.title} made {made.width}x{made.height}, {float(made.seconds):.1f} s.")
    video = edit.fit(edit.at_rate(video, shot.fps), shot.width, shot.height)
    video = edit.hold(video, shot.frames / shot.fps)
    return edit.trim(video, 0, shot.frames / shot.fps) if video.spec.frames > shot.frames else video


def _silence(count: int) -> Any:
    import numpy as np

    from reelwright.types import CHANNELS

    yield np.zeros((count, CHANNELS), np.float32)
