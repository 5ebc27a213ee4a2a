"""Where the work is done: on this machine, or on the server that `--server` or REELWRIGHT_SERVER names."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reelwright.client import Client

server: str | None = None
"""Set by `--server`."""


def client() -> Client | None:
    """The server's client; None if the work is done here."""
    from reelwright.settings import current

    if not (server or current().server):
        return None
    from reelwright.client import Client

    return Client(server)


def maker() -> ModuleType | Client:
    """What has `generate` and `render`, here or there."""
    from reelwright import films

    return client() or films
