"""Calls to a Reelwright server: sent again when a connection breaks, errors as the library's own, downloads that go on.

Every POST carries an Idempotency-Key, so that it makes one job however often it arrives.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reelwright.errors import BackendError, MissingExtra, ReelwrightError, RequestError, Unavailable
from reelwright.media.partial import whole

_TRIES = 4
"""How often a call is sent before its server counts as gone; the pauses between are 0.3, 0.6, 1.2 s."""
_PAUSE_S = 0.3
_PART = 1024 * 1024


class Wire:
    """A connection to a server at `address` (http:// or https://); `timeout`: seconds until an answer begins.

    Raises the errors that the server tells of, Unavailable if nobody answers, MissingExtra without httpx2.
    """

    def __init__(self, address: str | None, key: str | None, timeout: float) -> None:
        try:
            import httpx2
        except ModuleNotFoundError as error:
            raise MissingExtra("a server is reached through httpx2", hint="pip install 'reelwright[client]'") from error
        if not address or not address.startswith(("http://", "https://")):
            raise RequestError(
                "a server's address begins with http:// or https://",
                hint="Name it with --server, or set REELWRIGHT_SERVER.",
                field="server",
            )
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        patience = httpx2.Timeout(timeout, connect=10.0)
        self._http = httpx2.Client(base_url=address.rstrip("/"), headers=headers, timeout=patience)
        self._bare = httpx2.Client(timeout=patience)  # for other addresses, which get no key
        self._lost: tuple[type[Exception], ...] = (httpx2.TransportError,)

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()
        self._bare.close()

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at a path; values of None are not sent."""
        return self._call("GET", path, params=_given(query)).json()

    def post(self, path: str, content: Any = None, **query: Any) -> Any:
        """Send JSON; returns the JSON of the answer."""
        return self._call("POST", path, params=_given(query), headers=_once(), json=content).json()

    def send(self, path: str, content: bytes, kind: str, **query: Any) -> Any:
        """Send bytes of a media type; returns the JSON of the answer."""
        headers = {**_once(), "Content-Type": kind}
        return self._call("POST", path, params=_given(query), headers=headers, content=content).json()

    def put(self, path: str, content: Any) -> Any:
        """Replace what is at a path by JSON."""
        return self._call("PUT", path, json=content).json()

    def delete(self, path: str) -> None:
        """Remove what is at a path."""
        self._call("DELETE", path)

    def upload(self, path: str, file: Path, kind: str) -> Any:
        """Send a file's bytes; returns the JSON of the answer."""
        headers = {**_once(), "Content-Type": kind, "Content-Length": str(file.stat().st_size)}
        return self._call("POST", path, params={"name": file.name}, headers=headers, body=lambda: _parts(file)).json()

    def _call(self, method: str, path: str, body: Callable[[], Iterator[bytes]] | None = None, **sent: Any) -> Any:
        for tried in range(1, _TRIES + 1):
            if body is not None:
                sent["content"] = body()
            try:
                answer = self._http.request(method, path, **sent)
            except self._lost as error:
                if tried == _TRIES:
                    raise self._away(error) from error
            else:
                gone = answer.status_code in (502, 503, 504) and "json" not in answer.headers.get("content-type", "")
                if not gone or tried == _TRIES:  # a proxy's own page: the server behind it is being restarted
                    return _good(answer)
            time.sleep(_PAUSE_S * 2 ** (tried - 1))
        raise AssertionError

    def _away(self, error: Exception) -> Unavailable:
        why = str(error) or type(error).__name__
        return Unavailable(f"the server {self._http.base_url} does not answer: {why}", hint="Is `reel serve` running there?")

    def download(self, path: str, output: Path) -> Path:
        """Stream an answer into a file, going on where it was when a connection breaks."""
        with whole(output) as part:
            for tried in range(1, _TRIES + 1):
                have = part.stat().st_size if part.exists() else 0
                try:
                    with self._stream(path, have) as (start, answer), part.open("r+b" if start else "wb") as file:
                        file.seek(start)
                        for piece in answer.iter_bytes(_PART):
                            file.write(piece)
                    break
                except self._lost as error:
                    if tried == _TRIES:
                        raise self._away(error) from error
                    time.sleep(_PAUSE_S * 2 ** (tried - 1))
        return output

    @contextmanager
    def _stream(self, path: str, have: int) -> Iterator[tuple[int, Any]]:
        """An answer from byte `have` on, or from where the server begins; a redirect (to S3) is followed without the key."""
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self._http.stream("GET", path, headers=headers) as answer:
            if answer.is_redirect:
                with self._bare.stream("GET", answer.headers["location"], headers=headers, follow_redirects=True) as other:
                    yield self._begun(other, have)
            else:
                yield self._begun(answer, have)

    def _begun(self, answer: Any, have: int) -> tuple[int, Any]:
        if answer.status_code >= 400:
            answer.read()
            _good(answer)
        return (have if answer.status_code == 206 else 0), answer


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}


def _once() -> dict[str, str]:
    return {"Idempotency-Key": uuid.uuid4().hex}


def _parts(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(_PART):
            yield piece


def _good(answer: Any) -> Any:
    """The answer, if it is a good one; else the error that its body tells of."""
    if answer.status_code < 400:
        return answer
    try:
        body = answer.json()
    except ValueError:
        body = {"error": "http_error", "message": f"the server answered {answer.status_code}"}
    raise error_of(body)


def error_of(body: Mapping[str, Any]) -> ReelwrightError:
    """The library's own error for an error body; a BackendError with its code as `cause` if this version knows none."""
    code = str(body.get("error"))
    kind = _kinds(ReelwrightError).get(code)
    details = {name: value for name, value in (body.get("details") or {}).items() if name not in ("message", "retryable")}
    if kind is None:
        kind, details = BackendError, {**details, "cause": code}
    return kind(str(body.get("message", "the job failed")), hint=str(details.pop("hint", "")), **details)


def _kinds(kind: type[ReelwrightError]) -> dict[str, type[ReelwrightError]]:
    found = {kind.code: kind}
    for each in kind.__subclasses__():
        found = {**found, **_kinds(each)}
    return found
