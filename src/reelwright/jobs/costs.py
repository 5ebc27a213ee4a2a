"""What hosted models cost, in the store: budgets hold over all workers of an installation (J5)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from reelwright.backends.hosted.purse import DAY_S, hold_budget
from reelwright.jobs.store import Store
from reelwright.jobs.tables import COSTS
from reelwright.settings import Settings


class StorePurse:
    """A purse whose orders lie in the store's database."""

    def __init__(self, store: Store, known: Settings) -> None:
        self._database, self._clock, self._settings = store.database, store.clock, known

    def reserve(self, intent: str, provider: str, model: str, usd: float | None, owner: str) -> None:
        """As in Purse; two at once do not both get the last dollar, and one that is said twice is held once."""
        now = self._clock()
        with self._database.write() as connection:
            if connection.scalar(sa.select(COSTS.c.intent).where(COSTS.c.intent == intent)) is not None:
                return
            day = sa.select(sa.func.coalesce(sa.func.sum(COSTS.c.usd), 0.0)).where(COSTS.c.at > now - DAY_S)
            spent = float(connection.scalar(day) or 0.0)
            own = float(connection.scalar(day.where(COSTS.c.owner == owner)) or 0.0)
            hold_budget(spent, own, usd, owner, self._settings)
            row = {
                "intent": intent,
                "at": now,
                "owner": owner,
                "provider": provider,
                "model": model,
                "estimated": usd,
                "usd": usd,
            }
            connection.execute(COSTS.insert().values(row))

    def settle(self, intent: str, usd: float | None) -> None:
        """As in Purse."""
        with self._database.write(alone=False) as connection:
            connection.execute(COSTS.update().where(COSTS.c.intent == intent).values(usd=usd))

    def orders(self, owner: str | None = None, since: float = 0.0) -> list[dict[str, Any]]:
        """Every order, oldest first, of `owner` if one is named."""
        query = sa.select(COSTS).where(COSTS.c.at >= since).order_by(COSTS.c.at)
        if owner is not None:
            query = query.where(COSTS.c.owner == owner)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]
