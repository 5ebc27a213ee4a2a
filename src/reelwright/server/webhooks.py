"""Webhooks over HTTP: whom to call when a video is ready."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import MaxLen
from fastapi import APIRouter

from reelwright.errors import NotFound
from reelwright.fetching import Fetcher
from reelwright.jobs.webhooks import Webhook
from reelwright.server.auth import Reader, Shop, Writer
from reelwright.showing import at

ROUTER = APIRouter(prefix="/api/webhooks", tags=["webhooks"])


@dataclass(frozen=True)
class NewWebhook:
    """An address that is to be called; it begins with https:// (or http:// where the operator allows the host)."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    url: Annotated[str, MaxLen(2000)]


def _shown(hook: Webhook) -> dict[str, Any]:
    return {"id": hook.id, "owner": hook.owner, "url": hook.url, "created_at": at(hook.created_at)}


@ROUTER.post("", status_code=201, operation_id="create_webhook")
def create(wanted: NewWebhook, shop: Shop, caller: Writer) -> dict[str, Any]:
    """Have an address called when a video of yours is completed or has failed. The secret is in this answer only."""
    Fetcher(shop.settings.allow_hosts).check(wanted.url)
    made = shop.webhooks.add(caller.owner, wanted.url)
    return {**_shown(made), "secret": made.secret}


@ROUTER.get("", operation_id="list_webhooks")
def webhooks(shop: Shop, caller: Reader) -> dict[str, Any]:
    """Your webhooks, without their secrets."""
    return {"webhooks": [_shown(hook) for hook in shop.webhooks.all(caller.sees)]}


@ROUTER.get("/{webhook}/deliveries", operation_id="list_webhook_deliveries")
def deliveries(webhook: str, shop: Shop, caller: Reader) -> dict[str, Any]:
    """What was delivered to an address, what is to be, and what it answered."""
    if webhook not in {hook.id for hook in shop.webhooks.all(caller.sees)}:
        raise NotFound(f"there is no webhook {webhook}", hint="List them first.", webhook=webhook)
    found = shop.webhooks.deliveries(webhook)
    names = ("id", "attempt", "said")
    return {
        "deliveries": [
            {**{name: each[name] for name in names}, "created_at": at(each["created_at"]), "due_at": at(each["due_at"])}
            for each in found
        ]
    }


@ROUTER.post("/{webhook}/test", status_code=202, operation_id="test_webhook")
def try_out(webhook: str, shop: Shop, caller: Writer) -> dict[str, Any]:
    """Call an address once with an event that means nothing."""
    return {"delivery": shop.webhooks.try_out(webhook, caller.sees)}


@ROUTER.delete("/{webhook}", operation_id="delete_webhook")
def delete(webhook: str, shop: Shop, caller: Writer) -> dict[str, Any]:
    """Call an address no longer."""
    shop.webhooks.drop(webhook, caller.sees)
    return {"id": webhook, "deleted": True}
