"""How often one may call: a key so many times a minute, an address where no key is asked for, and guesses at keys few."""

from __future__ import annotations

import time
from typing import Any

from limits import RateLimitItemPerMinute
from limits.storage import storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from reelwright.errors import RateLimited
from reelwright.settings import Settings

_GUESSES = 30
"""Wrong keys from one address a minute."""
_SHARED = 10
"""Callers that share an address where no key is asked for: all programs and pages of the machine."""


class Gate:
    """Counts calls: in this process, or in the queue's Redis where there is one, so that several servers count together."""

    def __init__(self, settings: Settings) -> None:
        queue = settings.queue or ""
        self._limiter = SlidingWindowCounterRateLimiter(
            storage_from_string(queue.removeprefix("celery+") if queue.startswith("celery+redis") else "memory://")
        )
        self._usual = settings.requests_per_minute

    def pass_through(self, key: str, most: int | None = None) -> dict[str, str]:
        """Count a call of a key; returns the headers that tell what is left. Raises RateLimited."""
        return self._count("calls", key, most or self._usual)

    def pass_unnamed(self, address: str) -> dict[str, str]:
        """Count a call without a key from an address, where none is asked for; as `pass_through`."""
        return self._count("unnamed", address, self._usual * _SHARED)

    def guessed(self, address: str) -> None:
        """Count a wrong key from an address; raises RateLimited if there were many."""
        if not self._limiter.hit(RateLimitItemPerMinute(_GUESSES), "guesses", address):
            raise RateLimited("too many wrong keys", hint="Wait a minute.", after=60)

    def _count(self, what: str, who: str, most: int) -> dict[str, str]:
        item = RateLimitItemPerMinute(most)
        allowed = self._limiter.hit(item, what, who)
        stats: Any = self._limiter.get_window_stats(item, what, who)
        after = max(1, round(stats.reset_time - time.time()))
        if not allowed:
            raise RateLimited(f"more than {most} calls a minute", hint="Call less often.", after=after)
        # The form of the IETF's draft "RateLimit header fields for HTTP".
        return {"RateLimit-Policy": f'"calls";q={most};w=60', "RateLimit": f'"calls";r={max(0, stats.remaining)};t={after}'}
