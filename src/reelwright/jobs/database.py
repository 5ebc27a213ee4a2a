"""One door to SQLite and PostgreSQL: engines, transactions, migrations."""

from __future__ import annotations

import time
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
_CLOCK_S = 10.0
"""How often the database is asked what time it is."""
_MIGRATION_LOCK, _WRITE_LOCK = 0x7265656C, 0x7265656D  # "reel"; any numbers that nobody else locks


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
        self._ahead: float | None = None  # the database's clock, less this process's monotonic one
        self._ask_at = 0.0

    def clock(self) -> float:
        """Seconds since 1970 by the one clock that all processes of this database share.

        PostgreSQL's own, for clocks of machines differ and jump; SQLite is used by one machine, so that its clock will do.
        """
        if self.embedded:
            return time.time()
        if self._ahead is None:
            with self.read():
                pass  # each transaction asks when it is time to
        return time.monotonic() + (self._ahead or 0.0)

    def _ask_the_time(self, connection: Connection) -> None:
        before = time.monotonic()
        if self.embedded or before < self._ask_at:
            return
        there = float(connection.scalar(sa.text("SELECT extract(epoch FROM clock_timestamp())")) or 0.0)
        now = time.monotonic()
        self._ahead, self._ask_at = there - (before + now) / 2, now + _CLOCK_S

    @contextmanager
    def write(self, *, alone: bool = True) -> Iterator[Connection]:
        """A transaction that changes rows: all of it or nothing.

        One that is `alone` waits for the others that are, as every one does in SQLite (BEGIN IMMEDIATE): what changes several
        jobs may then look before it writes, and two never wait for each other's rows. Others touch one row of jobs at most.
        """
        with _told(), self._writing.begin() as connection:
            self._ask_the_time(connection)
            if alone and not self.embedded:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _WRITE_LOCK})
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with _told(), self.engine.begin() as connection:
            self._ask_the_time(connection)
            yield connection

    def migrate(self) -> None:
        """Bring the tables to this version's form, once, whoever else is starting."""
        if self.embedded and self.url.database:
            # the first connection makes the file a WAL, which two at once cannot
            with FileLock(f"{self.url.database}.migration.lock"), self.engine.connect() as connection:
                connection.rollback()
                self._upgrade(connection)
            return
        with _told(), self.engine.connect() as connection:
            connection.execute(sa.text("SELECT pg_advisory_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            connection.commit()
            try:
                self._upgrade(connection)
            finally:
                connection.rollback()
                connection.execute(sa.text("SELECT pg_advisory_unlock(:lock)"), {"lock": _MIGRATION_LOCK})
                connection.commit()

    def _upgrade(self, connection: Connection) -> None:
        """Run the migrations that are missing. Alembic, which takes a second to load, is left alone if none is."""
        if sa.inspect(connection).has_table("alembic_version"):
            known = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
            connection.rollback()
            if known == VERSION:
                return
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", "reelwright.jobs:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()

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
