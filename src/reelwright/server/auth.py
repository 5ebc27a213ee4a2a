"""Who calls, and what they may: API keys, scopes, and no key at all on a machine that only listens to itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.requests import HTTPConnection

from reelwright.errors import Forbidden, Unauthorized
from reelwright.jobs.ledger import ADMIN, READ, WRITE, Key
from reelwright.server.limits import Gate
from reelwright.workshop import Workshop

_BEARER = HTTPBearer(auto_error=False, description="An API key, as `Authorization: Bearer reel_...`.")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key, as `X-API-Key: reel_...`.")


@dataclass(frozen=True)
class Caller:
    """Whose request this is. `limits` as in Key; `key` None when no key is asked for."""

    owner: str
    key: Key | None = None
    limits: dict[str, Any] = field(default_factory=dict)

    @property
    def sees(self) -> str | None:
        """Whose things the caller sees: an owner's, or everyone's (None) for an administrator."""
        return None if self.key is None or self.key.may(ADMIN) else self.owner


def workshop(connection: HTTPConnection) -> Workshop:
    """The workshop of this server."""
    found: Workshop = connection.app.state.workshop
    return found


def secret_of(connection: HTTPConnection) -> str | None:
    """The key that a request or a WebSocket carries: bearer token, X-API-Key, or (for browsers' sockets) ?key=."""
    kind, _, token = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    given = connection.headers.get("x-api-key")
    if given:
        return given
    return connection.query_params.get("key") if connection.scope["type"] == "websocket" else None


def identify(connection: HTTPConnection, scope: str) -> Caller:
    """The caller, allowed to do what `scope` says, and counted; raises Unauthorized, Forbidden, RateLimited.

    It asks the database. What is left of the caller's rate is put into the connection's state as `rate`, headers for the answer.
    """
    open_to_all: bool = connection.app.state.open
    gate: Gate = connection.app.state.gate
    address = connection.client.host if connection.client else ""
    secret = secret_of(connection)
    if secret is None:
        if open_to_all:
            return _anyone(connection, gate, address)
        raise Unauthorized("an API key is needed", hint="Send it as `Authorization: Bearer reel_...`.")
    try:
        key = workshop(connection).ledger.key(secret)
    except Unauthorized:
        if open_to_all:  # OpenAI's SDK always sends a key; where none is asked for, any will do
            return _anyone(connection, gate, address)
        gate.guessed(address)
        raise
    if "rate" not in connection.scope["state"]:  # a form is looked at twice
        connection.scope["state"]["rate"] = gate.pass_through(key.id, key.limits.get("requests"))
    if not key.may(scope):
        raise Forbidden(f"this key may not {scope}", hint="Use a key with that scope.", scope=scope)
    return Caller(key.owner, key, key.limits)


def _anyone(connection: HTTPConnection, gate: Gate, address: str) -> Caller:
    """Whoever calls a server that asks for no key; counted by where they call from."""
    if "rate" not in connection.scope["state"]:
        connection.scope["state"]["rate"] = gate.pass_unnamed(address)
    return Caller("local")


def _needs(scope: str) -> Callable[..., Any]:
    async def caller(
        request: Request,
        _bearer: Annotated[object, Depends(_BEARER)] = None,
        _header: Annotated[object, Depends(_HEADER)] = None,
    ) -> Caller:
        found = await run_in_threadpool(identify, request, scope)
        request.state.caller = found
        return found

    return caller


Reader = Annotated[Caller, Depends(_needs(READ))]
"""A caller who may look."""
Writer = Annotated[Caller, Depends(_needs(WRITE))]
"""A caller who may make and delete what is theirs."""
Admin = Annotated[Caller, Depends(_needs(ADMIN))]
"""A caller who may do everything."""
Shop = Annotated[Workshop, Depends(workshop)]
"""The workshop."""
