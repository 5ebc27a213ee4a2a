"""Whether the server lives and can work."""

from __future__ import annotations

import shutil

from fastapi import APIRouter

from reelwright.errors import DiskFull
from reelwright.server.auth import Shop

ROUTER = APIRouter(tags=["health"])

_SPARE = 200 * 1024**2


@ROUTER.get("/health", operation_id="health")
def health() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}


@ROUTER.get("/ready", operation_id="ready")
def ready(shop: Shop) -> dict[str, object]:
    """Whether the store and the files can be reached, and how many jobs wait and run; 503 or 507 if not."""
    counts: dict[str, int] = {}
    for (_, state), number in shop.store.count().items():
        counts[state] = counts.get(state, 0) + number
    shop.blobs.has("0" * 64)
    free = shutil.disk_usage(shop.folder if shop.folder.exists() else shop.folder.anchor or ".").free
    if free < _SPARE:
        raise DiskFull(f"less than {_SPARE // 2**20} MiB are free", hint="Free some space, or run `reel clean`.", free=free)
    return {"status": "ok", "paused": shop.store.paused, "jobs": counts, "free_bytes": free}
