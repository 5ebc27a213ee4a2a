"""What an installation keeps beside jobs and files: storyboards, and the models that are taken when none is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from reelwright.errors import NotFound
from reelwright.jobs.rows import new_id
from reelwright.jobs.store import Store
from reelwright.jobs.tables import FACTS, STORYBOARDS

_DEFAULTS = "default models"


@dataclass(frozen=True)
class StoredBoard:
    """A storyboard that is kept; `content` as in its file. Times are seconds since 1970."""

    id: str
    owner: str
    title: str
    content: dict[str, Any]
    created_at: float
    updated_at: float


class Shelf:
    """Storyboards and default models in the store's database."""

    def __init__(self, store: Store) -> None:
        self._database, self._clock = store.database, store.clock

    def add(self, owner: str, title: str, content: dict[str, Any]) -> StoredBoard:
        """Keep a storyboard."""
        now = self._clock()
        made = StoredBoard(new_id("board"), owner, title, content, now, now)
        with self._database.write(alone=False) as connection:
            connection.execute(STORYBOARDS.insert().values(vars(made)))
        return made

    def change(self, board: str, title: str, content: dict[str, Any]) -> None:
        """Replace what a storyboard says."""
        with self._database.write(alone=False) as connection:
            values = {"title": title, "content": content, "updated_at": self._clock()}
            connection.execute(STORYBOARDS.update().where(STORYBOARDS.c.id == board).values(values))

    def drop(self, board: str) -> None:
        """Forget a storyboard."""
        with self._database.write(alone=False) as connection:
            connection.execute(STORYBOARDS.delete().where(STORYBOARDS.c.id == board))

    def board(self, board: str, owner: str | None = None) -> StoredBoard:
        """A storyboard, of `owner` if one is named; raises NotFound."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(STORYBOARDS).where(STORYBOARDS.c.id == board)).mappings().one_or_none()
        if row is None or (owner is not None and row["owner"] != owner):
            raise NotFound(f"there is no storyboard {board}", hint="List them first.", storyboard=board)
        return StoredBoard(**row)

    def boards(self, owner: str | None = None, *, after: str | None = None, limit: int = 50) -> tuple[StoredBoard, ...]:
        """Storyboards, newest first; `after`: the id that a page ended with."""
        query = sa.select(STORYBOARDS).order_by(STORYBOARDS.c.id.desc()).limit(limit)
        if owner is not None:
            query = query.where(STORYBOARDS.c.owner == owner)
        if after is not None:
            query = query.where(STORYBOARDS.c.id < after)
        with self._database.read() as connection:
            return tuple(StoredBoard(**row) for row in connection.execute(query).mappings())

    # ---- default models

    def defaults(self) -> dict[str, str]:
        """The model of each task for which one was set, by task."""
        with self._database.read() as connection:
            found = connection.scalar(sa.select(FACTS.c.value).where(FACTS.c.name == _DEFAULTS))
        return dict(found or {})

    def set_defaults(self, models: dict[str, str]) -> None:
        """Set the models of tasks; tasks that are not named go back to the settings."""
        with self._database.write(alone=False) as connection:
            connection.execute(FACTS.delete().where(FACTS.c.name == _DEFAULTS))
            if models:
                connection.execute(FACTS.insert().values(name=_DEFAULTS, value=models))
