"""Whether the server lives and can work."""

from __future__ import annotations

from fastapi import APIRouter

from reelwright.server.auth import Shop

ROUTER = APIRouter(tags=["health"])


@ROUTER.get("/health", operation_id="health")
def health() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}


@ROUTER.get("/ready", operation_id="ready")
def ready(shop: Shop) -> dict[str, object]:
    """Whether the store can be reached, and how many jobs wait and run; 503 if it cannot."""
    counts: dict[str, int] = {}
    for (_, state), number in shop.store.count().items():
        counts[state] = counts.get(state, 0) + number
    return {"status": "ok", "paused": shop.store.paused, "jobs": counts}
