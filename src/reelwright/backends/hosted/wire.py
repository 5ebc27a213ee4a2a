"""The one client that talks to providers: their own base address, no redirects, no retries, no proxies from the environment.

Results are downloaded by the guarded fetcher, which carries no credentials and goes to public addresses only.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from reelwright.backends.hosted.call import Answer, Call
from reelwright.errors import MissingExtra, ProviderFailed, ReelwrightError, RequestError, TimedOut, Unavailable
from reelwright.fetching import Fetcher

_MOST = 64 * 1024**2
"""Bytes of an answer; results of providers that answer with the video itself have a limit of their own."""
_OPEN_AFTER, _OPEN_S = 5, 60.0
"""Failures in a row after which a provider is left alone, and for how long."""


class NotSent(ProviderFailed):
    """The request did not leave: nothing was ordered, and nothing is charged."""


@dataclass
class Breaker:
    """Leaves a provider that is down alone for a while, instead of asking it again and again."""

    name: str
    clock: Callable[[], float] = time.monotonic
    _failures: int = 0
    _until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hold(self) -> None:
        """Raises Unavailable while the provider is left alone."""
        left = self._until - self.clock()
        if left > 0:
            raise Unavailable(f"{self.name} is down and is left alone for {left:.0f} s", hint="Try another model.", after=left)

    def told(self, good: bool) -> None:
        """A call came to something, or did not."""
        with self._lock:
            self._failures = 0 if good else self._failures + 1
            if self._failures >= _OPEN_AFTER:
                self._until, self._failures = self.clock() + _OPEN_S, 0


@dataclass
class Wire:
    """Calls of one provider. `base`: its address; `headers`: with its credentials, sent nowhere else."""

    name: str
    base: str
    headers: Mapping[str, str]
    breaker: Breaker
    timeout: float = 60.0

    def send(self, call: Call, *, most: int = _MOST) -> Answer:
        """Make one call. Raises NotSent (no connection), TimedOut, ProviderFailed (it broke off), Unavailable (left alone)."""
        try:
            import httpx2 as httpx
        except ModuleNotFoundError as error:
            raise MissingExtra("hosted models are called through httpx2", hint="pip install 'reelwright[client]'") from error
        self.breaker.hold()
        url = self._url(call.path)
        body: dict[str, Any] = {}
        if call.files:
            body = {"data": dict(call.form or {}), "files": [(name, (file, data, kind)) for name, file, data, kind in call.files]}
        elif call.form is not None:
            body = {"data": dict(call.form)}
        elif call.json is not None:
            body = {"json": dict(call.json)}
        try:
            with (
                httpx.Client(
                    timeout=httpx.Timeout(self.timeout, connect=10.0), trust_env=False, follow_redirects=False
                ) as client,
                client.stream(call.method, url, headers={**self.headers, **call.headers}, **body) as got,
            ):
                content = _read(got, most, self.name)
                answer = Answer(got.status_code, {k.lower(): v for k, v in got.headers.items()}, _json(content), content)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            self.breaker.told(False)
            raise NotSent(f"{self.name} cannot be reached", hint="Is this machine online?", provider=self.name) from error
        except httpx.TimeoutException as error:
            self.breaker.told(False)
            raise TimedOut(f"{self.name} does not answer", provider=self.name) from error
        except httpx.HTTPError as error:
            self.breaker.told(False)
            raise ProviderFailed(f"{self.name} broke off: {type(error).__name__}", provider=self.name) from error
        self.breaker.told(answer.status < 500)
        return answer

    def _url(self, path: str) -> str:
        """The path at the base; an address elsewhere is refused, for the credentials go with it."""
        url = urljoin(self.base.rstrip("/") + "/", path.lstrip("/") if "://" not in path else path)
        if urlsplit(url)[:2] != urlsplit(self.base)[:2]:
            raise RequestError(f"{self.name} wants to be asked at {urlsplit(url).hostname}, which is not its own address")
        return url


def _read(got: Any, most: int, name: str) -> bytes:
    parts, size = [], 0
    for piece in got.iter_bytes():
        size += len(piece)
        if size > most:
            raise ProviderFailed(f"{name} answered with more than {most} bytes", retryable=False, provider=name)
        parts.append(piece)
    return b"".join(parts)


def _json(content: bytes) -> Any:
    import json

    try:
        return json.loads(content)
    except ValueError:
        return None


def paused(attempt: int, *, first: float = 1.0, most: float = 15.0) -> float:
    """Seconds before attempt number `attempt` (from 0) is repeated: growing, with jitter, so that many do not come at once."""
    return float(min(most, first * 1.5**attempt) * random.uniform(0.75, 1.25))


def downloaded(url: str, path: Path, fetcher: Fetcher, *, most: int, seconds: float, still_wanted: Callable[[], None]) -> None:
    """Write what is at a URL to a file; tried again when it breaks off. Raises what the fetcher raises, and Cancelled."""
    attempts = 4
    for attempt in range(attempts):
        still_wanted()
        try:
            fetcher.fetch(url, path, most=most, seconds=seconds)
            return
        except ReelwrightError as error:
            if not error.retryable or attempt == attempts - 1:
                raise
        deadline = time.monotonic() + paused(attempt)
        while time.monotonic() < deadline:
            still_wanted()
            time.sleep(0.1)
