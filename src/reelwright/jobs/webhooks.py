"""Who wants to be called when a video is ready, and what has not reached them yet.

What is to be delivered is written in the transaction that ends the job, so that no crash loses it; a delivery that is sent
twice carries the same `webhook-id`, by which its receiver knows it. Signed as OpenAI's are, which is the Standard Webhooks
scheme: HMAC-SHA256 over `id.timestamp.body`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reelwright.errors import NotFound, ReelwrightError, RequestError
from reelwright.jobs.rows import CANCELLED, DONE, FAILED, job_of, new_id
from reelwright.jobs.store import Store
from reelwright.jobs.tables import DELIVERIES, WEBHOOKS

LOG = logging.getLogger("reelwright.webhooks")

KINDS = ("generate", "film")
"""Jobs whose end is told."""
_EVENTS = {DONE: "video.completed", FAILED: "video.failed", CANCELLED: "video.failed"}
_PAUSES_S = (5.0, 30.0, 120.0, 600.0, 3600.0, 3 * 3600.0, 6 * 3600.0, 12 * 3600.0)
"""Before each further attempt; after the last one it is given up."""
_UNDER_WAY_S = 60.0
"""A delivery that someone began is left alone for so long."""
_MOST = 20
"""Webhooks of one owner."""

Post = Callable[[str, bytes, dict[str, str]], int]
"""Sends a body to a URL with headers; returns the HTTP status, or raises ReelwrightError."""


@dataclass(frozen=True)
class Webhook:
    """An address that is called. `secret` signs what it gets."""

    id: str
    owner: str
    url: str
    secret: str
    created_at: float


def sign(secret: str, delivery: str, timestamp: int, body: bytes) -> str:
    """The signature of a delivery; `secret` as it was handed out, `whsec_...`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.new(key, f"{delivery}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(signed).decode()


class Webhooks:
    """Webhooks and their deliveries in the store's database."""

    def __init__(self, store: Store) -> None:
        self._database, self._clock = store.database, store.clock
        store.on_end = self.ended

    def add(self, owner: str, url: str) -> Webhook:
        """Call this address from now on."""
        made = Webhook(new_id("hook"), owner, url, "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode(), self._clock())
        with self._database.write(alone=False) as connection:
            if (connection.scalar(sa.select(sa.func.count()).where(WEBHOOKS.c.owner == owner)) or 0) >= _MOST:
                raise RequestError(f"there are {_MOST} webhooks already", hint="Remove one.", most=_MOST)
            connection.execute(WEBHOOKS.insert().values(vars(made)))
        return made

    def all(self, owner: str | None = None) -> tuple[Webhook, ...]:
        """The webhooks of an owner, or everyone's."""
        query = sa.select(WEBHOOKS).order_by(WEBHOOKS.c.id)
        with self._database.read() as connection:
            rows = connection.execute(query if owner is None else query.where(WEBHOOKS.c.owner == owner)).mappings()
            return tuple(Webhook(**row) for row in rows)

    def drop(self, webhook: str, owner: str | None = None) -> None:
        """Call an address no longer; raises NotFound."""
        where = [WEBHOOKS.c.id == webhook] + ([] if owner is None else [WEBHOOKS.c.owner == owner])
        with self._database.write(alone=False) as connection:
            if not connection.execute(WEBHOOKS.delete().where(*where)).rowcount:
                raise NotFound(f"there is no webhook {webhook}", hint="List them first.", webhook=webhook)

    def try_out(self, webhook: str, owner: str | None = None) -> str:
        """Have an address called once with an event that means nothing; returns the delivery's id."""
        found = next((each for each in self.all(owner) if each.id == webhook), None)
        if found is None:
            raise NotFound(f"there is no webhook {webhook}", hint="List them first.", webhook=webhook)
        with self._database.write(alone=False) as connection:
            return self._deliver_to(connection, found.id, "webhook.test", {"id": found.id})

    def ended(self, connection: Connection, job: str, state: str) -> None:
        """A job has ended: what its owner wants to hear is written in the same transaction."""
        found = job_of(connection, job)
        if found.kind not in KINDS:
            return
        for webhook in connection.scalars(sa.select(WEBHOOKS.c.id).where(WEBHOOKS.c.owner == found.owner)).all():
            self._deliver_to(connection, webhook, _EVENTS[state], {"id": "video_" + job.removeprefix("job_")})

    def _deliver_to(self, connection: Connection, webhook: str, event: str, about: dict[str, Any]) -> str:
        name, now = new_id("evt"), self._clock()
        body = json.dumps({"id": name, "object": "event", "type": event, "created_at": int(now), "data": about})
        row = {"id": name, "webhook": webhook, "body": body, "attempt": 0, "due_at": now, "said": "", "created_at": now}
        connection.execute(DELIVERIES.insert().values(row))
        return name

    def deliver(self, post: Post) -> bool:
        """Deliver one thing that is due; False if nothing is."""
        now = self._clock()
        due = (
            sa.select(DELIVERIES.c.id).where(DELIVERIES.c.due_at <= now).order_by(DELIVERIES.c.due_at).limit(1)
            .with_for_update(skip_locked=True)
        )  # fmt: skip
        take = (
            DELIVERIES.update().where(DELIVERIES.c.id == due.scalar_subquery(), DELIVERIES.c.due_at <= now)
            .values(attempt=DELIVERIES.c.attempt + 1, due_at=now + _UNDER_WAY_S).returning(DELIVERIES)
        )  # fmt: skip
        with self._database.read() as connection:
            if connection.scalar(sa.select(DELIVERIES.c.id).where(DELIVERIES.c.due_at <= now).limit(1)) is None:
                return False
        with self._database.write(alone=False) as connection:
            row = connection.execute(take).mappings().one_or_none()
            if row is None:
                return False
            hook = connection.execute(sa.select(WEBHOOKS).where(WEBHOOKS.c.id == row["webhook"])).mappings().one()
        self._settle(row["id"], row["attempt"], *self._sent(row["id"], row["body"].encode(), Webhook(**hook), post))
        return True

    def _sent(self, delivery: str, body: bytes, hook: Webhook, post: Post) -> tuple[bool, str]:
        timestamp = int(self._clock())
        headers = {
            "Content-Type": "application/json", "webhook-id": delivery, "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(hook.secret, delivery, timestamp, body),
        }  # fmt: skip
        try:
            status = post(hook.url, body, headers)
        except ReelwrightError as error:
            return False, error.message
        return 200 <= status < 300, f"it answered {status}"

    def _settle(self, delivery: str, attempt: int, heard: bool, said: str) -> None:
        again = None if heard or attempt > len(_PAUSES_S) else self._clock() + _PAUSES_S[attempt - 1]
        if not heard:
            LOG.warning("delivery %s, attempt %d: %s", delivery, attempt, said)
        with self._database.write(alone=False) as connection:
            connection.execute(DELIVERIES.update().where(DELIVERIES.c.id == delivery).values(due_at=again, said=said))

    def deliveries(self, webhook: str, limit: int = 50) -> list[dict[str, Any]]:
        """What was or is to be delivered to an address, newest first."""
        query = sa.select(DELIVERIES).where(DELIVERIES.c.webhook == webhook).order_by(DELIVERIES.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]
