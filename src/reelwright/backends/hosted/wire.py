"""The one client that talks to providers: their own base address, no redirects, no retries, no proxies from the environment.

Results are downloaded by the guarded fetcher, which carries no credentials and goes to public addresses only.
"""

from __future__ import annotations

import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from reelwright.backends.hosted.call import Answer, Call
from reelwright.errors import MissingExtra, ProviderFailed, ReelwrightError, RequestError, TimedOut, TooLarge, Unavailable

_MOST = 256 * 1024**2
"""Bytes of an answer, which may be the video itself."""
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
    """Calls of one provider. `base`: its address; `credentials`: the headers with its key, made for each call and sent nowhere
    else; `secrets`: the key itself, which is taken out of whatever comes back."""

    name: str
    base: str
    credentials: Callable[[], Mapping[str, str]]
    breaker: Breaker
    secrets: tuple[str, ...] = ()
    timeout: float = 60.0

    def send(self, call: Call, *, most: int = _MOST, anyway: bool = False) -> Answer:
        """Make one call. Raises NotSent (no connection), TimedOut, ProviderFailed (it broke off), Unavailable (left alone, unless
        `anyway`)."""
        with self._called(call, anyway) as got:
            return self._answer(got, _read(got, most, self.name, call.timeout or self.timeout))

    def save(
        self, call: Call, path: Path, most: int, *, seconds: float = 600.0, still_wanted: Callable[[], object] = lambda: None
    ) -> Answer:
        """Make one call and write what it answers to a file, unless it is an error. Raises TooLarge, what `send` raises, and what
        `still_wanted` raises, which is asked with each piece."""
        deadline = time.monotonic() + seconds
        with self._called(call) as got:
            if got.status_code >= 300:
                return self._answer(got, _read(got, _MOST, self.name, seconds))
            stated = got.headers.get("content-length", "")
            size = int(stated) if stated.isdigit() and int(stated) > most else 0
            with path.open("wb") as file:
                for piece in got.iter_bytes():
                    still_wanted()
                    _hold(deadline, self.name)
                    size += len(piece)
                    if size > most:
                        raise TooLarge(f"the file of {self.name} is larger than {most} bytes", hint="Make it smaller.", most=most)
                    file.write(piece)
            return self._answer(got, b"")

    @contextmanager
    def _called(self, call: Call, anyway: bool = False) -> Iterator[Any]:
        try:
            import httpx2 as httpx
        except ModuleNotFoundError as error:
            raise MissingExtra("hosted models are called through httpx2", hint="pip install 'reelwright[client]'") from error
        if not anyway:
            self.breaker.hold()
        url, body = self._url(call.path), _body(call)
        headers = {"Accept-Encoding": "identity", **self.credentials(), **call.headers}
        timeout = httpx.Timeout(call.timeout or self.timeout, connect=10.0)
        try:
            with (
                httpx.Client(timeout=timeout, trust_env=False, verify=_trusted(), follow_redirects=False) as client,
                client.stream(call.method, url, headers=headers, **body) as got,
            ):
                yield got
                self.breaker.told(got.status_code < 500)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            self.breaker.told(False)
            raise NotSent(f"{self.name} cannot be reached", hint="Is this machine online?", provider=self.name) from error
        except httpx.TimeoutException as error:
            self.breaker.told(False)
            raise TimedOut(f"{self.name} does not answer", provider=self.name) from error
        except httpx.HTTPError as error:
            self.breaker.told(False)
            raise ProviderFailed(f"{self.name} broke off: {type(error).__name__}", provider=self.name) from error

    def _answer(self, got: Any, content: bytes) -> Answer:
        for secret in filter(None, self.secrets):
            content = content.replace(secret.encode(), b"***")
        return Answer(got.status_code, {k.lower(): v for k, v in got.headers.items()}, _json(content), content)

    def _url(self, path: str) -> str:
        """The path at the base; an address elsewhere is refused, for the credentials go with it."""
        url = urljoin(self.base.rstrip("/") + "/", path.lstrip("/") if "://" not in path else path)
        if urlsplit(url)[:2] != urlsplit(self.base)[:2]:
            raise RequestError(f"{self.name} wants to be asked at {urlsplit(url).hostname}, which is not its own address")
        return url


@cache
def _trusted() -> ssl.SSLContext:
    """Whom to trust; reading the certificates takes a quarter of a second, which each call need not."""
    import httpx2

    return httpx2.create_ssl_context(trust_env=False)


def _body(call: Call) -> dict[str, Any]:
    if call.files:
        parts = [(name, (file, data, kind) if file else (None, data)) for name, file, data, kind in call.files]
        return {"data": dict(call.form or {}), "files": parts}
    if call.form is not None:
        return {"data": dict(call.form)}
    return {} if call.json is None else {"json": dict(call.json)}


def _hold(deadline: float, name: str) -> None:
    if time.monotonic() > deadline:
        raise TimedOut(f"what {name} sends does not come in time", provider=name)


def _read(got: Any, most: int, name: str, seconds: float) -> bytes:
    parts, size, deadline = [], 0, time.monotonic() + seconds
    for piece in got.iter_bytes():
        _hold(deadline, name)
        size += len(piece)
        if size > most:
            raise TooLarge(f"{name} answered with more than {most} bytes", hint="Ask for less.", most=most)
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


def again(attempt: Callable[[], object], still_wanted: Callable[[], None], tries: int = 4) -> None:
    """Do what may be repeated until it goes well: a download. Raises what it raises in the end, and Cancelled."""
    for count in range(tries):
        still_wanted()
        try:
            attempt()
            return
        except ReelwrightError as error:
            if not error.retryable or count == tries - 1:
                raise
        deadline = time.monotonic() + paused(count)
        while time.monotonic() < deadline:
            still_wanted()
            time.sleep(0.1)
