"""Logs: a line of text for people or of JSON for machines, with what it is about, and never with a secret."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

_ABOUT: ContextVar[Mapping[str, Any]] = ContextVar("about", default={})  # noqa: B039  never changed, only replaced
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRETS = (
    (re.compile(r"\breel_[A-Za-z0-9_-]{8,}"), "reel_***"),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/=]{8,}"), "whsec_***"),
    (re.compile(r"\b(sk|hf|r8|key|fal|pk)[-_][A-Za-z0-9_-]{12,}"), r"\1-***"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 ***"),
    (re.compile(r"(?i)([?&](?:key|token|api_key|signature|x-amz-signature|x-amz-credential)=)[^&\s\"']+"), r"\1***"),
    (re.compile(r"(\w+://[^\s:/@]+:)[^\s@/]+@"), r"\1***@"),
)
_KNOWN: set[str] = set()


def hide(*secrets: str) -> None:
    """Keep these texts out of all logs, whatever they look like."""
    _KNOWN.update(secret for secret in secrets if len(secret) >= 6)


def clean(text: str) -> str:
    """A text without keys, tokens, passwords."""
    for secret in _KNOWN:
        text = text.replace(secret, "***")
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


@contextmanager
def facts(**known: Any) -> Iterator[None]:
    """Every line logged meanwhile, in this thread or task, carries these: request, job, worker ..."""
    token = _ABOUT.set({**_ABOUT.get(), **known})
    try:
        yield
    finally:
        _ABOUT.reset(token)


def fact(name: str) -> Any:
    """A fact that lines carry now; None if there is none of this name."""
    return _ABOUT.get().get(name)


class Lines(logging.Formatter):
    """A line for people: time, name, text, facts."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        more = "".join(f" {name}={value}" for name, value in _more(record).items())
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        return clean(f"{time} {record.levelname.lower():7} {record.name}: {record.getMessage()}{more}{_trace(self, record)}")


class JsonLines(logging.Formatter):
    """A line for machines: one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        content = {"time": time, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        trace = _trace(self, record)
        whole = {**content, **_more(record), **({"trace": trace.strip()} if trace else {})}
        return clean(json.dumps(whole, ensure_ascii=False, default=str))


def _more(record: logging.LogRecord) -> dict[str, Any]:
    own = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    return {**_ABOUT.get(), **own}


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return "\n" + formatter.formatException(record.exc_info) if record.exc_info else ""


def set_up(kind: str = "text") -> None:
    """Send logs to standard error, as "text" or "json"."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if kind == "json" else Lines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for noisy in ("httpx", "httpcore", "httpx2", "botocore", "urllib3", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
