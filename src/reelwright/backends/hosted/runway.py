"""Runway: Gen-4, Aleph, Act-Two, upscaling, and other makers' models; the only one that says what an order cost.

Over HTTP, without its SDK, which sends an order again after a 429 or a time-out and has no idempotency keys.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from reelwright.backends.hosted.call import Answer, Call, Failed, Finished, Outcome, Pending
from reelwright.backends.hosted.loop import Hosted, data_uri, failure, stopped
from reelwright.backends.hosted.results import first_url, kind_of
from reelwright.backends.hosted.wire import Wire
from reelwright.catalog import Shot
from reelwright.errors import ProviderFailed
from reelwright.fetching import Fetcher

_INLINE = 3 * 1024**2
"""Bytes of an input that goes along within the order: as base64 they have to stay under 5 MB."""
_CREDIT_USD = 0.01


class Runway(Hosted):
    """The backend of cards whose `settings.routes` names endpoints of Runway, and whose `source` is its model."""

    name: ClassVar[str] = "Runway"
    base: ClassVar[str] = "https://api.dev.runwayml.com/v1"
    key: ClassVar[str | None] = "runwayml_api_secret"
    site: ClassVar[str] = "dev.runwayml.com"
    polls: ClassVar[float] = 5.0

    def headers(self, secret: str) -> Mapping[str, str]:
        """A bearer token, and the version of the API."""
        return {"Authorization": f"Bearer {secret}", "X-Runway-Version": "2024-11-06"}

    def given(self, path: Path, wire: Wire) -> str:
        """Small files as data URIs; others are uploaded to where Runway says, without the key, and go after a day."""
        if path.stat().st_size <= _INLINE:
            return data_uri(path)
        answer = wire.send(Call("POST", "uploads", json={"filename": path.name, "type": "ephemeral"}))
        if answer.status >= 300:
            raise self.refused(answer)
        body, kind = _form(answer.json["fields"], path)
        status = Fetcher(self.settings.allow_hosts).post(answer.json["uploadUrl"], body, {"Content-Type": kind}, seconds=300.0)
        if status >= 300:
            raise ProviderFailed(f"{self.name} does not take the upload of {path.name} ({status})", provider=self.name)
        return str(answer.json["runwayUri"])

    def start(self, shot: Shot, arguments: dict[str, Any], intent: str) -> Call:  # noqa: ARG002  it has no idempotency keys
        """A task."""
        return Call("POST", self.route(shot), json={"model": shot.card.source, **arguments})

    def started(self, answer: Answer) -> str:
        """The task's id."""
        return str(answer.json["id"])

    def poll(self, operation: str, shot: Shot) -> Call:  # noqa: ARG002  one address for all models
        """The task."""
        return Call("GET", f"tasks/{operation}")

    def polled(self, answer: Answer, operation: str, shot: Shot) -> Outcome:  # noqa: ARG002  the answer says it all
        """THROTTLED is a queue of one's own; CANCELLED is an end, which its SDK does not know."""
        told = answer.json or {}
        status = told.get("status")
        if status == "SUCCEEDED":
            url, cost = first_url(told.get("output")), (told.get("cost") or {}).get("credits")
            usd = None if cost is None else float(cost) * _CREDIT_USD
            return Finished(url=url, usd=usd) if url else Failed(failure(self.name, "it gave no file"))
        if status == "FAILED":
            return Failed(failure(self.name, f"{told.get('failureCode') or ''} {told.get('failure') or ''}"))
        if status == "CANCELLED":
            return Failed(stopped(self.name))
        stage = {"PENDING": "queue", "THROTTLED": "queue: too many at once"}.get(str(status), "run")
        return Pending(stage, float(told["progress"]) if told.get("progress") is not None else None)

    def stop(self, operation: str, shot: Shot) -> Call | None:  # noqa: ARG002  likewise
        """Delete the task; it is paid back only if it did not begin."""
        return Call("DELETE", f"tasks/{operation}")

    def charged(self, answer: Answer) -> float | None:
        """Its credits, if it says them."""
        cost = ((answer.json or {}).get("cost") or {}).get("credits")
        return None if cost is None else float(cost) * _CREDIT_USD


def _form(fields: Mapping[str, str], path: Path) -> tuple[bytes, str]:
    """A multipart form with these fields and the file last, and its content type."""
    mark = uuid.uuid4().hex
    parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="input"\r\nContent-Type: {kind_of(path)}\r\n\r\n'
    body = "".join(parts).encode() + head.encode() + path.read_bytes() + f"\r\n--{mark}--\r\n".encode()
    return body, f"multipart/form-data; boundary={mark}"
