"""What is refused before any route sees it: pages of other sites, names that only look like this machine, bodies too large."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reelwright.errors import Forbidden, ReelwrightError, TooLarge
from reelwright.jobs.ledger import WRITE
from reelwright.server.auth import identify
from reelwright.server.problems import answer

_OWN = {"localhost", "127.0.0.1", "::1", "testserver"}
_JSON_MOST = 2 * 1024**2
_FORM_SPARE = 1024**2
"""Bytes of a form beside its file."""


class Shield:
    """ASGI middleware. `own_names_only`: the Host has to be this machine's own, against DNS rebinding."""

    def __init__(self, app: ASGIApp, own_names_only: bool) -> None:
        self._app, self._own_names_only = app, own_names_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope.setdefault("state", {}).pop("rate", None)
        send = _marked(scope, send)
        try:
            self._hold(scope, headers)
            if headers.get("content-type", "").startswith("multipart/"):  # forms are read before routes ask who sends them
                await run_in_threadpool(identify, HTTPConnection(scope), WRITE)
            await self._app(scope, _capped(scope, headers, receive), send)
        except ReelwrightError as error:
            await answer(error, scope["path"])(scope, receive, send)

    def _hold(self, scope: Scope, headers: Headers) -> None:
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if self._own_names_only and host not in _OWN:
            raise Forbidden("this server answers to its own machine's names only", hint="Call it as http://127.0.0.1.")
        origin = headers.get("origin")
        if origin is not None and scope.get("method") not in ("GET", "HEAD") and not _same(origin, headers.get("host", "")):
            raise Forbidden("a page of another site may not do this", hint="Call the API from a program, or its own page.")


def _same(origin: str, host: str) -> bool:
    """Whether a page of this origin is this server's own: the same name and port, each scheme having its usual one.

    The scheme itself is the page's: behind a proxy with TLS this server does not see it.
    """
    try:
        page = urlsplit(origin)
        called = urlsplit(f"{page.scheme}://{host}")
        usual = {"http": 80, "https": 443}.get(page.scheme)
        return bool(page.hostname) and (page.hostname, page.port or usual) == (called.hostname, called.port or usual)
    except ValueError:  # no port is so large
        return False


def _most(scope: Scope, headers: Headers) -> int:
    if scope["path"] == "/api/assets" or headers.get("content-type", "").startswith("multipart/"):
        largest: int = scope["app"].state.workshop.settings.max_video_file_size
        return largest + _FORM_SPARE
    return _JSON_MOST


def _capped(scope: Scope, headers: Headers, receive: Receive) -> Receive:
    """The body, refused as soon as it is known to be too large; a stated length is believed at once."""
    most = _most(scope, headers) if "app" in scope else _FORM_SPARE * 1024 * 8
    stated = headers.get("content-length", "")
    if stated.isdigit() and int(stated) > most:
        raise TooLarge(f"at most {most} bytes are taken", hint="Send less.", most=most)
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise TooLarge(f"at most {most} bytes are taken", hint="Send less.", most=most)
        return message

    return counted


def _marked(scope: Scope, send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            more = {"X-Content-Type-Options": "nosniff", **scope["state"].get("rate", {})}
            message["headers"] = [*message["headers"], *((n.lower().encode(), v.encode()) for n, v in more.items())]
        await send(message)

    return sent
