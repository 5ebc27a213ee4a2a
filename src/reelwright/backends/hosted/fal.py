"""fal: a queue over many models (Kling, Hailuo, Veo, Wan, LTX, Luma, Pika, lip-sync ...).

Over HTTP, without its SDK, which repeats creates after a time-out and sends the key to whatever address an answer names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from reelwright.backends.hosted.call import Answer, Call, Failed, Finished, Outcome, Pending
from reelwright.backends.hosted.loop import Hosted, is_policy, said
from reelwright.catalog import Shot
from reelwright.errors import BackendError, ProviderFailed, Refused


class Fal(Hosted):
    """The backend of cards whose `source` is a model of fal."""

    name: ClassVar[str] = "fal"
    base: ClassVar[str] = "https://queue.fal.run"
    key: ClassVar[str | None] = "fal_key"
    site: ClassVar[str] = "fal.ai/dashboard/keys"

    def headers(self, secret: str) -> Mapping[str, str]:
        """As fal wants it."""
        return {"Authorization": f"Key {secret}"}

    def start(self, shot: Shot, arguments: dict[str, Any], intent: str) -> Call:  # noqa: ARG002  fal has no idempotency keys
        """Put it into the model's queue."""
        return Call("POST", shot.card.source, json=arguments)

    def started(self, answer: Answer) -> str:
        """The request's id."""
        return str((answer.json or {})["request_id"])

    def poll(self, operation: str, shot: Shot) -> Call:
        """Its status, with log lines; at our own base, whatever address the answer named."""
        return Call("GET", f"{_app(shot)}/requests/{operation}/status?logs=1")

    def polled(self, answer: Answer, shot: Shot) -> Outcome:
        """COMPLETED is the end of everything, good or bad; the result tells which."""
        told = answer.json or {}
        if "video" in told or "images" in told or "detail" in told or answer.status >= 400:
            return _result(answer)
        status, lines = told.get("status"), tuple(str(each.get("message", "")) for each in told.get("logs") or ())
        if told.get("error") or told.get("error_type"):
            return Failed(_failure(f"{told.get('error') or told.get('error_type')}"))
        if status == "COMPLETED":
            result = self._wire().send(Call("GET", f"{_app(shot)}/requests/{told['request_id']}" if "request_id" in told else ""))
            return _result(result)
        if status == "IN_QUEUE":
            return Pending("queue", position=(told.get("queue_position") or 0) + 1, lines=lines)
        return Pending("run", _share(lines), lines=lines)

    def stop(self, operation: str, shot: Shot) -> Call | None:
        """Take it out of the queue, or stop it."""
        return Call("PUT", f"{_app(shot)}/requests/{operation}/cancel")


def _app(shot: Shot) -> str:
    """Owner and application: a model's path within it is not part of a request's address."""
    return "/".join(shot.card.source.split("/")[:2])


def _result(answer: Answer) -> Outcome:
    told = answer.json or {}
    if answer.status >= 400 or "detail" in told:
        return Failed(_failure(said(answer)))
    video = told.get("video") or (told.get("videos") or told.get("images") or [None])[0]
    url = video.get("url") if isinstance(video, dict) else video
    return Finished(url=url) if url else Failed(ProviderFailed("fal finished and gave no video", retryable=False))


def _failure(text: str) -> BackendError:
    if is_policy(text):
        return Refused(f"fal refuses this by its policy: {text}", hint="Word the prompt in another way.", provider="fal")
    return ProviderFailed(f"fal failed: {text}", retryable=False, provider="fal")


def _share(lines: tuple[str, ...]) -> float | None:
    """How far it is, from a progress bar in the newest lines of its log."""
    import re

    for line in reversed(lines):
        if found := re.search(r"(\d{1,3})%", line):
            return min(1.0, int(found[1]) / 100)
    return None
