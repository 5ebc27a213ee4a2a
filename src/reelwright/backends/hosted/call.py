"""What a provider says to the loop: the calls to make, and what their answers mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reelwright.errors import ReelwrightError


@dataclass(frozen=True)
class Call:
    """A request to a provider's own base address.

    `path` is joined to the base. `json` or `form` is the body, `files` are parts of a form: (name, file name, bytes, type), where
    a part without a file name is a plain field. `timeout`: seconds until an answer, for those that answer when they are done.
    """

    method: str
    path: str
    json: Mapping[str, Any] | None = None
    form: Mapping[str, str] | None = None
    files: tuple[tuple[str, str | None, bytes, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers (lower case), and the body as JSON if it is that, as bytes in any case."""

    status: int
    headers: Mapping[str, str]
    json: Any
    body: bytes


@dataclass(frozen=True)
class Pending:
    """Still at work. `share` 0..1 where it is told, `position` in the queue, `eta` in seconds, `lines` of its log, `stage` in
    the provider's words."""

    stage: str = "run"
    share: float | None = None
    position: int | None = None
    eta: float | None = None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finished:
    """Done: where the file is (`url`), or how to get it from the provider itself (`call`), or its bytes; and what it cost."""

    url: str | None = None
    call: Call | None = None
    body: bytes | None = None
    usd: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """It will not come; why."""

    error: ReelwrightError


@dataclass(frozen=True)
class Then:
    """Another call is needed to tell; `means` reads its answer."""

    call: Call
    means: Callable[[Answer], Outcome]


Outcome = Pending | Finished | Failed | Then
