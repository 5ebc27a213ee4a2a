"""One door to SQLite and PostgreSQL: engines, transactions, migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from filelock import FileLock
from sqlalchemy.engine import URL, Connection, make_url

from reelwright.errors import MissingExtra, RequestError, Unavailable
from reelwright.jobs.tables import VERSION

Transaction = Connection
"""What is handed to those who write in a transaction that is under way."""
_BUSY_S = 30
_MIGRATION_LOCK = 0x7265656C  # "reel"; any number that nobody else locks


class Database:
    """A database by URL: `sqlite:///path` or `postgresql://user@host/name`.

    `write()` and `read()` are transactions. Raises RequestError for other kinds, MissingExtra without a driver.
    """

    def __init__(self, url: str) -> None:
        self.url = _known(url)
        self.embedded = self.url.get_backend_name() == "sqlite"
        if self.embedded and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"connect_args": {"timeout": _BUSY_S}} if self.embedded else {"pool_pre_ping": True}
        try:
            self.engine = sa.create_engine(self.url, **options)
        except ModuleNotFoundError as error:
            raise MissingExtra(f"no driver for {self.url.get_backend_name()}", hint="pip install 'reelwright[scale]'") from error
        if self.embedded:
            sa.event.listen(self.engine, "connect", _pragmas)
            sa.event.listen(self.engine, "begin", _begin)
        self._writing = self.engine.execution_options(writes=True)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that changes rows: all of it or nothing. In SQLite it waits for its turn first (BEGIN IMMEDIATE)."""
        with _told(), self._writing.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with _told(), self.engine.begin() as connection:
            yield connection

    def migrate(self) -> None:
        """Bring the tables to this version's form, once, whoever else is starting."""
        if self._version() == VERSION:
            return
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", "reelwright.jobs:migrations")
        if self.embedded and self.url.database:
            with FileLock(f"{self.url.database}.migration.lock"), self.engine.connect() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                connection.commit()
            return
        with _told(), self.engine.connect() as connection:
            connection.execute(sa.text("SELECT pg_advisory_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            connection.commit()
            try:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                connection.commit()
            finally:
                connection.rollback()
                connection.execute(sa.text("SELECT pg_advisory_unlock(:lock)"), {"lock": _MIGRATION_LOCK})
                connection.commit()

    def _version(self) -> str | None:
        """The migration that the tables have; None before the first. Asked without Alembic, which takes a second to load."""
        with self.read() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
            return found

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _known(url: str) -> URL:
    try:
        made = make_url(url)
    except sa.exc.ArgumentError:
        made = None
    kinds = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
    kind = made.drivername.partition("+")[0] if made is not None else ""
    if made is None or kind not in kinds:
        raise RequestError(
            "the store is a SQLite or PostgreSQL database",
            hint="Set REELWRIGHT_STORE to sqlite:///PATH or postgresql://USER@HOST/NAME.",
            field="store",
        )
    return made.set(drivername=kinds[kind])


def _pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_S * 1000}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


@contextmanager
def _told() -> Iterator[None]:
    """A database that cannot be reached is an error with advice, and never shows its password."""
    try:
        yield
    except sa.exc.OperationalError as error:
        raise Unavailable(
            f"the store cannot be reached: {str(error.orig).strip().splitlines()[0]}",
            hint="Is the database running, and is its disk writable and not full?",
        ) from error
