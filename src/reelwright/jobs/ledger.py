"""What belongs to whom beside the jobs: assets, API keys, and which call made which job."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reelwright.errors import Conflict, MissingAsset, NotFound, QuotaExceeded, Unauthorized
from reelwright.jobs.rows import DONE, ENDED, new_id
from reelwright.jobs.store import Store
from reelwright.jobs.tables import ASSETS, DELIVERIES, EVENTS, IDEMPOTENCY, JOBS, KEYS, PREVIEWS, STORYBOARDS

READ, WRITE, ADMIN = "read", "write", "admin"
"""Scopes of a key: look; make and delete one's own; everything, keys too. Each includes those before it."""
SCOPES = (READ, WRITE, ADMIN)
_REPLAY_S = _DAY_S = 86_400
"""How long an idempotency key is remembered."""
_PREFIX = "reel_"
_ASSET = re.compile(r"asset_[0-9a-f]+")


@dataclass(frozen=True)
class StoredAsset:
    """A file that is kept: `digest` names its blob, `kind` is its media type, `size` in bytes.

    `facts`: width, height, seconds and the like, where known. `pinned` ones are never cleaned away.
    """

    digest: str
    kind: str
    size: int
    name: str
    owner: str
    job: str | None = None
    created_at: float = 0.0
    expires_at: float | None = None
    pinned: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: new_id("asset"))


@dataclass(frozen=True)
class Key:
    """An API key as it is kept: without the key. `limits`: jobs at once, seconds of work a day, bytes; None where unlimited."""

    id: str
    name: str
    owner: str
    scopes: tuple[str, ...]
    limits: dict[str, Any]
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    used_at: float | None

    def may(self, scope: str) -> bool:
        """Whether its scopes include this one."""
        return any(SCOPES.index(own) >= SCOPES.index(scope) for own in self.scopes if own in SCOPES)


class CalledBefore(Exception):
    """The same call was made at the same moment, and the other one was first."""


class Ledger:
    """Assets, keys and idempotency in the store's database."""

    def __init__(self, store: Store) -> None:
        self._database, self._clock = store.database, store.clock

    # ---- assets

    def add(self, asset: StoredAsset, connection: Connection | None = None) -> StoredAsset:
        """Keep an asset's row, in a transaction that is under way if one is given."""
        values = {name: getattr(asset, name) for name in asset.__dataclass_fields__}
        values["created_at"] = asset.created_at or self._clock()
        if connection is not None:
            connection.execute(ASSETS.insert().values(values))
        else:
            with self._database.write(alone=False) as own:
                own.execute(ASSETS.insert().values(values))
        return StoredAsset(**values)

    def asset(self, asset: str, owner: str | None = None) -> StoredAsset:
        """An asset, of `owner` if one is named; raises MissingAsset."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(ASSETS).where(ASSETS.c.id == asset)).mappings().one_or_none()
        if row is None or (owner is not None and row["owner"] != owner):
            raise MissingAsset(f"there is no asset {asset}", hint="Upload it first, or list what there is.", ref=asset)
        return StoredAsset(**row)

    def assets(
        self, owner: str | None = None, *, job: str | None = None, after: str | None = None, limit: int = 50
    ) -> tuple[StoredAsset, ...]:
        """Assets, newest first; `after`: the id that a page ended with."""
        query = sa.select(ASSETS).order_by(ASSETS.c.id.desc()).limit(limit)
        for column, value in ((ASSETS.c.owner, owner), (ASSETS.c.job, job)):
            if value is not None:
                query = query.where(column == value)
        if after is not None:
            query = query.where(ASSETS.c.id < after)
        with self._database.read() as connection:
            return tuple(StoredAsset(**row) for row in connection.execute(query).mappings())

    def pin(self, asset: str, pinned: bool) -> None:
        """Keep an asset from being cleaned away, or no longer."""
        with self._database.write(alone=False) as connection:
            connection.execute(ASSETS.update().where(ASSETS.c.id == asset).values(pinned=pinned))

    def drop(self, ids: Iterable[str]) -> None:
        """Forget assets; their blobs go with the next clean-up unless others share them."""
        with self._database.write(alone=False) as connection:
            connection.execute(ASSETS.delete().where(ASSETS.c.id.in_(tuple(ids))))

    def bytes_of(self, owner: str) -> int:
        """Bytes of an owner's assets."""
        with self._database.read() as connection:
            return int(connection.scalar(sa.select(sa.func.sum(ASSETS.c.size)).where(ASSETS.c.owner == owner)) or 0)

    def digests(self, without: frozenset[str] = frozenset()) -> set[str]:
        """Every blob that something names: assets (but for some), and scenes of films that have not ended."""
        film = JOBS.alias()
        scenes = sa.select(JOBS.c.result).join(film, JOBS.c.parent == film.c.id).where(
            film.c.state != DONE, JOBS.c.result.is_not(None)
        )  # fmt: skip
        with self._database.read() as connection:
            named = {row.digest for row in connection.execute(sa.select(ASSETS.c.id, ASSETS.c.digest)) if row.id not in without}
            return named | {result["digest"] for result in connection.scalars(scenes) if "digest" in (result or {})}

    def every(self, owner: str | None = None) -> Iterator[StoredAsset]:
        """All assets, newest first, a page at a time."""
        last = None
        while page := self.assets(owner, after=last, limit=500):
            yield from page
            last = page[-1].id

    def in_use(self) -> set[str]:
        """Assets that belong to jobs which have not ended, or that such jobs or storyboards name."""
        busy = sa.select(JOBS.c.id).where(JOBS.c.state.not_in(ENDED))
        with self._database.read() as connection:
            found = set(connection.scalars(sa.select(ASSETS.c.id).where(ASSETS.c.job.in_(busy))))
            for contents in (sa.select(JOBS.c.content).where(JOBS.c.state.not_in(ENDED)), sa.select(STORYBOARDS.c.content)):
                for content in connection.scalars(contents):
                    found |= set(_ASSET.findall(json.dumps(content)))
        return found

    def forget_traces(self, older_than: float) -> None:
        """Drop pictures of jobs that have ended, and events, deliveries and calls of more than so many seconds ago."""
        before = self._clock() - older_than
        ended = sa.select(JOBS.c.id).where(JOBS.c.state.in_(ENDED))
        with self._database.write(alone=False) as connection:
            connection.execute(PREVIEWS.delete().where(PREVIEWS.c.job.in_(ended)))
            connection.execute(EVENTS.delete().where(EVENTS.c.at < before, EVENTS.c.job.in_(ended)))
            connection.execute(DELIVERIES.delete().where(DELIVERIES.c.created_at < before, DELIVERIES.c.due_at.is_(None)))
            connection.execute(IDEMPOTENCY.delete().where(IDEMPOTENCY.c.created_at < self._clock() - _REPLAY_S))

    # ---- keys

    def new_key(
        self, owner: str, scopes: Iterable[str], *, name: str = "", expires_at: float | None = None, **limits: Any
    ) -> tuple[Key, str]:
        """Make a key; returns its row and the key itself, which is shown this once and kept nowhere."""
        secret = _PREFIX + secrets.token_urlsafe(32)
        key = Key(new_id("key"), name, owner, tuple(scopes), limits, self._clock(), expires_at, None, None)
        values = {**key.__dict__, "scopes": list(key.scopes), "hash": _hash(secret)}
        with self._database.write(alone=False) as connection:
            connection.execute(KEYS.insert().values(values))
        return key, secret

    def key(self, secret: str) -> Key:
        """The key that this is; raises Unauthorized if it is unknown, expired or revoked."""
        now = self._clock()
        with self._database.read() as connection:
            row = connection.execute(sa.select(KEYS).where(KEYS.c.hash == _hash(secret))).mappings().one_or_none()
        if row is None or row["revoked_at"] is not None or (row["expires_at"] is not None and row["expires_at"] <= now):
            raise Unauthorized("the API key is not valid", hint="Ask for a new one: `reel keys new`.")
        if row["used_at"] is None or now - row["used_at"] > 60:
            with self._database.write(alone=False) as connection:
                connection.execute(KEYS.update().where(KEYS.c.id == row["id"]).values(used_at=now))
        return _key(row)

    def keys(self) -> tuple[Key, ...]:
        """All keys."""
        with self._database.read() as connection:
            return tuple(_key(row) for row in connection.execute(sa.select(KEYS).order_by(KEYS.c.id)).mappings())

    def revoke(self, key: str) -> None:
        """Make a key worthless; raises NotFound."""
        with self._database.write(alone=False) as connection:
            changed = connection.execute(KEYS.update().where(KEYS.c.id == key).values(revoked_at=self._clock()))
            if not changed.rowcount:
                raise NotFound(f"there is no key {key}", hint="List them with `reel keys`.", key=key)

    # ---- quotas

    def admit(self, connection: Connection, owner: str, limits: Mapping[str, Any]) -> None:
        """Hold an owner's quotas, in the transaction that adds jobs, after it has: two calls at once cannot both slip through.

        `limits`: `jobs` at once (a film and a clip count one each), `seconds` of work within a day (done, under way, and
        estimated), `bytes` of files. Raises QuotaExceeded, which undoes the transaction.
        """
        mine = (JOBS.c.owner == owner, JOBS.c.kind.not_in(("scene", "batch")))
        if (most := limits.get("jobs")) is not None:
            count = connection.scalar(sa.select(sa.func.count()).where(*mine, JOBS.c.state.not_in(ENDED))) or 0
            if count > most:
                raise QuotaExceeded(
                    f"this key may have {most} jobs at once", hint="Wait until one has ended, or cancel one.", jobs=most
                )
        if (most := limits.get("seconds")) is not None:
            self._hold_seconds(connection, owner, float(most))
        if (most := limits.get("bytes")) is not None:
            size = connection.scalar(sa.select(sa.func.sum(ASSETS.c.size)).where(ASSETS.c.owner == owner)) or 0
            if size >= most:
                raise QuotaExceeded(f"this key may keep {most} bytes", hint="Delete some files.", bytes=most, left=0)

    def _hold_seconds(self, connection: Connection, owner: str, most: float) -> None:
        now = self._clock()
        spent = sa.func.coalesce(JOBS.c.finished_at, now) - JOBS.c.started_at
        left = sa.case((JOBS.c.state.in_(ENDED), 0.0), else_=sa.func.coalesce(JOBS.c.estimate, 0.0))
        taken = sa.case((JOBS.c.started_at >= now - _DAY_S, spent), else_=0.0)
        total = float(connection.scalar(sa.select(sa.func.sum(taken + left)).where(JOBS.c.owner == owner)) or 0.0)
        if total > most:
            raise QuotaExceeded(
                f"this key may work {most:g} s a day, and {total:.0f} s would be taken",
                hint="Ask for less, or wait until tomorrow.", seconds=most, after=3600.0,
            )  # fmt: skip

    # ---- idempotency

    def replay(self, owner: str, key: str, body: str) -> str | None:
        """The job that the same call made before; raises Conflict if the key was used for something else."""
        with self._database.read() as connection:
            where = (IDEMPOTENCY.c.owner == owner, IDEMPOTENCY.c.key == key)
            row = connection.execute(sa.select(IDEMPOTENCY).where(*where)).mappings().one_or_none()
        if row is None or row["created_at"] < self._clock() - _REPLAY_S:
            return None
        if row["body"] != body:
            raise Conflict("this Idempotency-Key was used for another request", hint="Use a new one for each request.")
        return str(row["job"])

    def note_call(self, connection: Connection, owner: str, key: str, body: str, job: str) -> None:
        """Remember which job a call made, in the transaction that makes it; raises CalledBefore, which must undo that."""
        old = (IDEMPOTENCY.c.owner == owner, IDEMPOTENCY.c.key == key)
        connection.execute(IDEMPOTENCY.delete().where(*old, IDEMPOTENCY.c.created_at < self._clock() - _REPLAY_S))
        values = {"owner": owner, "key": key, "body": body, "job": job, "created_at": self._clock()}
        try:
            connection.execute(IDEMPOTENCY.insert().values(values))
        except sa.exc.IntegrityError:
            raise CalledBefore from None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(row: Any) -> Key:
    values = {name: row[name] for name in Key.__dataclass_fields__}
    return Key(**{**values, "scopes": tuple(values["scopes"])})
