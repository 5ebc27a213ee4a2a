"""Luma: Ray by its own API.

Over HTTP: four calls do not need an SDK that sends orders up to three times.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from reelwright.backends.hosted.call import Answer, Call, Failed, Finished, Outcome, Pending
from reelwright.backends.hosted.loop import Hosted, failure
from reelwright.backends.hosted.wire import Wire
from reelwright.catalog import Shot
from reelwright.errors import Unsupported


class Luma(Hosted):
    """The backend of cards whose `source` is a model of Luma."""

    name: ClassVar[str] = "Luma"
    base: ClassVar[str] = "https://api.lumalabs.ai/dream-machine/v1"
    key: ClassVar[str | None] = "lumaai_api_key"
    site: ClassVar[str] = "lumalabs.ai/dream-machine/api/keys"

    def headers(self, secret: str) -> Mapping[str, str]:
        """A bearer token."""
        return {"Authorization": f"Bearer {secret}"}

    def given(self, path: Path, wire: Wire) -> str:  # noqa: ARG002  there is nowhere to put it
        """Luma takes pictures only by an address on the Internet."""
        raise Unsupported("Luma takes no files", hint="The same model at fal does: fal/luma-ray-2.")

    def start(self, shot: Shot, arguments: dict[str, Any], intent: str) -> Call:  # noqa: ARG002  it has no idempotency keys
        """A generation."""
        return Call("POST", "generations", json={"model": shot.card.source, **arguments})

    def started(self, answer: Answer) -> str:
        """The generation's id."""
        return str(answer.json["id"])

    def poll(self, operation: str, shot: Shot) -> Call:  # noqa: ARG002  one address for all models
        """The generation."""
        return Call("GET", f"generations/{operation}")

    def polled(self, answer: Answer, operation: str, shot: Shot) -> Outcome:  # noqa: ARG002  the answer says it all
        """queued, dreaming, completed, failed."""
        told = answer.json or {}
        if told.get("state") == "completed":
            url = (told.get("assets") or {}).get("video")
            return Finished(url=str(url)) if url else Failed(failure(self.name, "it finished and gave no video"))
        if told.get("state") == "failed":
            return Failed(failure(self.name, str(told.get("failure_reason") or "")))
        return Pending("queue" if told.get("state") == "queued" else "run")

    def stop(self, operation: str, shot: Shot) -> Call | None:  # noqa: ARG002  likewise
        """Delete the generation; whether that saves what a running one costs, Luma does not say."""
        return Call("DELETE", f"generations/{operation}")
