"""What every test stands on: a home of its own, so that nothing of the person's is read or written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import services

ROOT = Path(__file__).resolve().parent.parent
_OURS = ("REELWRIGHT_", "DEFAULT_", "MAX_VIDEO_", "VIDEO_", "REQUEST_TIMEOUT", "HF_", "OPENAI_")
"""How the names of our settings begin in the environment."""


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """REELWRIGHT_HOME in an empty folder, and no setting from the environment."""
    from reelwright import settings

    for name in [name for name in os.environ if name.startswith(_OURS)]:
        monkeypatch.delenv(name)
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("REELWRIGHT_HOME", str(folder))
    settings.current.cache_clear()
    yield folder
    settings.current.cache_clear()


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def absent() -> Callable[[str], None]:
    """Skip a test for want of something: here, that is; CI has to have it, so there it fails."""

    def stop(what: str) -> None:
        if os.environ.get("CI"):
            pytest.fail(f"{what} is missing in CI")
        pytest.skip(f"{what} is missing here")

    return stop


@pytest.fixture(scope="session")
def postgres(absent: Callable[[str], None]) -> Iterator[services.Postgres]:
    """A PostgreSQL of this session's own."""
    with services.postgres() as made:
        if made is None:
            absent("PostgreSQL (initdb, pg_ctl)")
        assert made is not None
        yield made


@pytest.fixture(scope="session")
def redis(absent: Callable[[str], None]) -> Iterator[services.Redis]:
    """A Redis of this session's own."""
    with services.redis() as made:
        if made is None:
            absent("redis-server")
        assert made is not None
        yield made


@pytest.fixture
def postgres_url(postgres: services.Postgres) -> str:
    """A PostgreSQL database with nothing in it."""
    import sqlalchemy as sa

    engine = sa.create_engine(postgres.url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()
    return postgres.url
