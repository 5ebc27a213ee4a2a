"""MiniMax (Hailuo) by its own API, version 2. It has no SDK for videos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from reelwright.backends.hosted.call import Answer, Call, Failed, Finished, Outcome, Pending
from reelwright.backends.hosted.loop import Hosted, failure, said, stopped
from reelwright.backends.hosted.results import first_url
from reelwright.catalog import Shot


class MiniMax(Hosted):
    """The backend of cards whose `source` is a video model of MiniMax."""

    name: ClassVar[str] = "MiniMax"
    base: ClassVar[str] = "https://api.minimax.io/v2"
    key: ClassVar[str | None] = "minimax_api_key"
    site: ClassVar[str] = "platform.minimax.io"
    polls: ClassVar[float] = 5.0

    def headers(self, secret: str) -> Mapping[str, str]:
        """A bearer token."""
        return {"Authorization": f"Bearer {secret}"}

    def start(self, shot: Shot, arguments: dict[str, Any], intent: str) -> Call:  # noqa: ARG002  it has no idempotency keys
        """A task; what it is made from is a list of parts with roles."""
        return Call("POST", "video_generation", json={"model": shot.card.source, **arguments})

    def started(self, answer: Answer) -> str:
        """The task's id. Raises what a status other than 0 in the body says."""
        if (answer.json.get("base_resp") or {}).get("status_code"):
            raise failure(self.name, _why(answer))
        return str(answer.json["task_id"])

    def poll(self, operation: str, shot: Shot) -> Call:  # noqa: ARG002  one address for all models
        """The task."""
        return Call("GET", f"query/video_generation/{operation}")

    def polled(self, answer: Answer, operation: str, shot: Shot) -> Outcome:  # noqa: ARG002  the answer says it all
        """queued, running, succeeded, failed, cancelled, expired."""
        told = answer.json or {}
        status = str(told.get("status") or "").lower()
        if status == "succeeded":
            url = first_url((told.get("content") or {}).get("url"))
            return Finished(url=url) if url else Failed(failure(self.name, "it finished and gave no video"))
        if status in ("failed", "expired"):
            return Failed(failure(self.name, f"{_why(answer)}" if status == "failed" else "it expired before it began"))
        if status == "cancelled":
            return Failed(stopped(self.name))
        return Pending("queue" if status == "queued" else "run")


def _why(answer: Answer) -> str:
    told = answer.json or {}
    error, base = told.get("error") or {}, told.get("base_resp") or {}
    return " ".join(str(each) for each in (error.get("code"), error.get("message"), base.get("status_msg")) if each) or said(
        answer
    )
