"""The tables of the store, the same in SQLite and PostgreSQL. Times are seconds since 1970, UTC."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

VERSION = "0004"
"""The newest migration; a database that has it needs nothing."""

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_JSON = JSON(none_as_null=True)
_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER counts up by itself there

JOBS = Table(
    "jobs",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("lane", String(64), nullable=False),
    Column("model", String(256)),
    Column("content", _JSON, nullable=False),  # what is to be made, as its kind understands it
    Column("owner", String(128), nullable=False),
    Column("parent", String(64), ForeignKey("jobs.id", ondelete="CASCADE")),
    Column("state", String(16), nullable=False),
    Column("held", Boolean, nullable=False),  # paused by a person
    Column("priority", Integer, nullable=False),
    Column("turn", Float, nullable=False),  # virtual time of fair queuing: lower goes first
    Column("estimate", Float),  # seconds of work
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("not_before", Float, nullable=False),
    Column("lease_until", Float),
    Column("fence", Integer, nullable=False),  # counted up at each claim; a writer with an older one is refused
    Column("worker", String(256)),
    Column("patience", Float, nullable=False),  # seconds without progress after which a running job counts as hung
    Column("progressed_at", Float),
    Column("cancel_at", Float),  # when it was asked to stop
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("dispatched_at", Float),
    Column("updated_at", Float, nullable=False, index=True),
    Column("version", Integer, nullable=False),  # counted up at each change that a watcher wants to see
    Column("progress", _JSON),
    Column("memory", _JSON, nullable=False),
    Column("notes", _JSON, nullable=False),
    Column("result", _JSON),
    Column("error", _JSON),
    Index(None, "state", "lane", "priority", "turn"),
    Index(None, "owner", "created_at"),
    Index(None, "parent"),
)

NEEDS = Table(
    "needs",
    METADATA,
    Column("job", String(64), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("need", String(64), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True, index=True),
)

EVENTS = Table(
    "events",
    METADATA,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("job", String(64), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("at", Float, nullable=False),
    Column("what", String(32), nullable=False),
    Column("facts", _JSON, nullable=False),
)

PREVIEWS = Table(
    "previews",
    METADATA,
    Column("job", String(64), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, nullable=False),  # counted up with each picture
    Column("picture", LargeBinary, nullable=False),  # JPEG
)

ASSETS = Table(
    "assets",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("digest", String(64), nullable=False, index=True),  # SHA-256 of the bytes, the blob's name
    Column("kind", String(64), nullable=False),  # media type
    Column("size", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("owner", String(128), nullable=False, index=True),
    Column("job", String(64), ForeignKey("jobs.id", ondelete="SET NULL"), index=True),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("pinned", Boolean, nullable=False),
    Column("facts", _JSON, nullable=False),  # width, height, seconds ... where known
)

STORYBOARDS = Table(
    "storyboards",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("owner", String(128), nullable=False, index=True),
    Column("title", Text, nullable=False),
    Column("content", _JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
)

KEYS = Table(
    "keys",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("hash", String(64), nullable=False),  # SHA-256 of the key; the key itself is never kept
    Column("name", Text, nullable=False),
    Column("owner", String(128), nullable=False),
    Column("scopes", _JSON, nullable=False),
    Column("limits", _JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
    Column("used_at", Float),
    UniqueConstraint("hash"),
)

COSTS = Table(
    "costs",
    METADATA,
    Column("intent", String(64), primary_key=True),  # made before the order leaves
    Column("at", Float, nullable=False, index=True),
    Column("owner", String(128), nullable=False, index=True),
    Column("provider", String(64), nullable=False),
    Column("model", String(128), nullable=False),
    Column("estimated", Float),  # US dollars, by the card's price
    Column("usd", Float),  # what it came to; as estimated until it is settled
)

WEBHOOKS = Table(
    "webhooks",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("owner", String(128), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("secret", String(128), nullable=False),  # signing needs the secret itself
    Column("created_at", Float, nullable=False),
)

DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("webhook", String(64), ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("body", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("due_at", Float, index=True),  # none once it was heard or given up
    Column("said", Text, nullable=False),  # what came of the last attempt
    Column("created_at", Float, nullable=False),
)

IDEMPOTENCY = Table(
    "idempotency",
    METADATA,
    Column("owner", String(128), primary_key=True),
    Column("key", String(256), primary_key=True),
    Column("body", String(64), nullable=False),  # SHA-256 of what was asked
    Column("job", String(64), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", Float, nullable=False),
)

FACTS = Table(
    "facts",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("value", _JSON, nullable=False),
)
