"""What only an administrator sees: API keys, and the machine that the server runs on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from annotated_types import Gt, Interval, MaxLen, MinLen
from fastapi import APIRouter

from reelwright import showing
from reelwright.doctor import examine
from reelwright.server.auth import Admin, Shop

ROUTER = APIRouter(prefix="/api", tags=["administration"])


@dataclass(frozen=True)
class KeyLimits:
    """What a key may at most: jobs at once, seconds of work a day, bytes of files, requests a minute; None where unlimited."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    jobs: Annotated[int, Interval(ge=1, le=1_000_000)] | None = None
    seconds: Annotated[float, Interval(ge=0, le=1e9)] | None = None
    bytes: Annotated[int, Interval(ge=0, le=2**53)] | None = None
    requests: Annotated[int, Interval(ge=1, le=1_000_000)] | None = None


@dataclass(frozen=True)
class NewKey:
    """A key that is wanted: what it is for, whose jobs and files it sees (its name's if unset), for how many days."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    name: Annotated[str, MinLen(1), MaxLen(128)]
    owner: Annotated[str, MinLen(1), MaxLen(128)] | None = None
    scope: Literal["read", "write", "admin"] = "write"
    days: Annotated[float, Gt(0)] | None = None
    limits: KeyLimits = KeyLimits()


@ROUTER.get("/keys", operation_id="list_keys")
def keys(shop: Shop, _: Admin) -> dict[str, Any]:
    """The API keys, without the keys themselves."""
    known = shop.ledger.keys()
    return {"keys": [showing.key(key) for key in known]}


@ROUTER.post("/keys", status_code=201, operation_id="create_key")
def create(wanted: NewKey, shop: Shop, _: Admin) -> dict[str, Any]:
    """Make an API key. It is in this answer only."""
    key, secret = showing.make_key(shop.ledger, shop.store.clock(), **asdict(wanted))
    return {**showing.key(key), "key": secret}


@ROUTER.delete("/keys/{key}", operation_id="revoke_key")
def revoke(key: str, shop: Shop, _: Admin) -> dict[str, Any]:
    """Make an API key worthless at once."""
    shop.ledger.revoke(key)
    return {"id": key, "revoked": True}


@ROUTER.get("/machine", operation_id="show_machine")
def machine(_: Admin) -> dict[str, Any]:
    """What the server's machine has and what it lacks, as `reel doctor` says it."""
    return {"findings": [asdict(finding) for finding in examine()]}
