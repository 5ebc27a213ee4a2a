"""Google: Omni through the Gemini API's interactions, with a developer key.

Over HTTP: the SDK refuses Veo with a developer key, and brings a tenth of the Internet with it. Veo is had through fal.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

from reelwright.backends.hosted.arguments import Given
from reelwright.backends.hosted.call import Answer, Call, Failed, Finished, Outcome, Pending
from reelwright.backends.hosted.loop import Hosted, failure, said, stopped
from reelwright.catalog import Shot


class Google(Hosted):
    """The backend of cards whose `source` is a video model of the Gemini API."""

    name: ClassVar[str] = "Google"
    base: ClassVar[str] = "https://generativelanguage.googleapis.com/v1beta"
    key: ClassVar[str | None] = "gemini_api_key"
    site: ClassVar[str] = "aistudio.google.com/apikey"
    polls: ClassVar[float] = 5.0

    def headers(self, secret: str) -> Mapping[str, str]:
        """Never in the address, where logs would keep it."""
        return {"x-goog-api-key": secret}

    def start(self, shot: Shot, arguments: dict[str, Any], intent: str) -> Call:  # noqa: ARG002  it has no idempotency keys
        """An interaction in the background; each input becomes a part of its own kind."""
        parts = [_part(each) for each in arguments.pop("input", [])]
        return Call("POST", "interactions", json={"model": shot.card.source, "input": parts, "background": True, **arguments})

    def started(self, answer: Answer) -> str:
        """The interaction's id."""
        return str(answer.json["id"])

    def poll(self, operation: str, shot: Shot) -> Call:  # noqa: ARG002  one address for all models
        """The interaction."""
        return Call("GET", f"interactions/{operation}")

    def polled(self, answer: Answer, operation: str, shot: Shot) -> Outcome:  # noqa: ARG002  the answer says it all
        """queued, in_progress, completed, failed, cancelled, incomplete, budget_exceeded, requires_action."""
        told = answer.json or {}
        status = told.get("status")
        if status == "completed":
            return self._made(_video(told), self.door(shot.card)[0])
        if status in ("failed", "incomplete", "budget_exceeded", "requires_action"):
            return Failed(failure(self.name, f"{status}: {said(answer)}" if told.get("error") else str(status)))
        if status == "cancelled":
            return Failed(stopped(self.name))
        return Pending("queue" if status == "queued" else "run")

    def stop(self, operation: str, shot: Shot) -> Call | None:  # noqa: ARG002  likewise
        """Cancel the interaction."""
        return Call("POST", f"interactions/{operation}/cancel")

    def _made(self, video: Mapping[str, Any], base: str) -> Outcome:
        """Its bytes, or its file: with Google itself, where the key is needed, or elsewhere, where it must not go."""
        if video.get("data"):
            return Finished(body=base64.b64decode(video["data"]))
        if not (uri := str(video.get("uri") or "")):
            return Failed(failure(self.name, "it finished and gave no video"))
        return Finished(call=Call("GET", uri)) if urlsplit(uri)[:2] == urlsplit(base)[:2] else Finished(url=uri)


def _part(value: str) -> dict[str, str]:
    if not isinstance(value, Given) or not value.startswith("data:"):
        return {"type": "text", "text": value}
    head, _, body = value.partition(",")
    kind = head.removeprefix("data:").removesuffix(";base64")
    return {"type": kind.partition("/")[0], "data": body, "mime_type": kind}


def _video(found: Any) -> Mapping[str, Any]:
    """The first part that is a video, wherever an answer keeps it."""
    if isinstance(found, dict) and found.get("type") == "video" and (found.get("uri") or found.get("data")):
        return found
    inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    return next((video for each in inner if (video := _video(each))), {})
