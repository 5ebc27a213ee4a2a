"""OpenAI's contracts: pictures by GPT image, and `/v1/videos`, which outlived Sora: other servers speak it.

Over HTTP, without its SDK, which sends orders up to three times and marks every call for videos as retired.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, ClassVar

from reelwright.backends.hosted.arguments import Given
from reelwright.backends.hosted.call import Answer, Call, Failed, Finished, Outcome, Pending
from reelwright.backends.hosted.loop import Hosted, failure, stopped
from reelwright.backends.hosted.results import from_uri
from reelwright.catalog import Card, Shot
from reelwright.errors import Unsupported

_PICTURE_S = 300.0
"""Seconds until a picture is there; the answer comes only then."""


class OpenAI(Hosted):
    """The backend of cards of OpenAI's pictures, and of videos of any server that speaks as it did.

    Another server is named by `settings.base` in a card, with `settings.key` for its key, or by
    REELWRIGHT_BASE_OPENAI_COMPATIBLE, with OPENAI_COMPATIBLE_KEY for its key. OpenAI's own key never goes to one.
    """

    name: ClassVar[str] = "OpenAI"
    base: ClassVar[str] = "https://api.openai.com/v1"
    key: ClassVar[str | None] = "openai_api_key"
    site: ClassVar[str] = "platform.openai.com/api-keys"

    def headers(self, secret: str) -> Mapping[str, str]:
        """A bearer token."""
        return {"Authorization": f"Bearer {secret}"}

    def door(self, card: Card) -> tuple[str, str | None]:
        """As in Provider; a server of one's own may have no key. Raises Unsupported if a card needs one and none is named."""
        if not card.settings.get("compatible"):
            return super().door(card)
        base, key = card.settings.get("base"), card.settings.get("key")
        if not base:
            base, key = self.settings.base_of("openai_compatible"), "openai_compatible_key"
        if not base:
            raise Unsupported(
                "OpenAI itself serves no videos any more, and no other server is named",
                hint="Set REELWRIGHT_BASE_OPENAI_COMPATIBLE=http://HOST:PORT/v1, or write a card with `settings.base`.",
                model=card.id,
            )
        return str(base), key if key and self.settings.secret(key) else None

    def start(self, shot: Shot, arguments: dict[str, Any], intent: str) -> Call:
        """A picture, or a video; the intent is the order's idempotency key, for servers that heed it."""
        once = {"Idempotency-Key": intent}
        body = {"model": shot.card.source, **arguments}
        if "text-to-image" in shot.card.task:
            return Call("POST", "images/generations", json=body, headers=once, timeout=_PICTURE_S)
        parts = ((name, each) for name, value in body.items() for each in (value if isinstance(value, list) else [value]))
        return Call("POST", "videos", files=tuple(_part(name, each) for name, each in parts), headers=once)

    def started(self, answer: Answer) -> str | Finished:
        """The video's id; a picture is there at once."""
        told = answer.json
        if "data" in told:
            return Finished(body=base64.b64decode(told["data"][0]["b64_json"]), facts=told.get("usage") or {})
        return str(told["id"])

    def poll(self, operation: str, shot: Shot) -> Call:  # noqa: ARG002  one address for all models
        """The video's state."""
        return Call("GET", f"videos/{operation}")

    def polled(self, answer: Answer, operation: str, shot: Shot) -> Outcome:  # noqa: ARG002  likewise
        """queued, in_progress, completed, failed; some servers know cancelled too."""
        told = answer.json or {}
        status = told.get("status")
        if status == "completed":
            return Finished(call=Call("GET", f"videos/{operation}/content", timeout=_PICTURE_S))
        if status == "failed":
            error = told.get("error") or {}
            return Failed(failure(self.name, f"{error.get('code') or ''} {error.get('message') or ''}"))
        if status in ("cancelled", "canceled"):
            return Failed(stopped(self.name))
        share = told.get("progress")
        return Pending("queue" if status == "queued" else "run", None if share is None else float(share) / 100)

    def stop(self, operation: str, shot: Shot) -> Call | None:  # noqa: ARG002  likewise
        """Delete the video, which stops it on servers that can."""
        return Call("DELETE", f"videos/{operation}")


def _part(name: str, value: Any) -> tuple[str, str | None, bytes, str]:
    """A field of a form; an input becomes a file."""
    if isinstance(value, Given) and value.startswith("data:"):
        kind, content = from_uri(value)
        return name, f"input.{kind.rpartition('/')[2]}", content, kind
    return name, None, str(value).encode(), ""
