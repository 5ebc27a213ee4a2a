"""fal: a queue over many models (Kling, Hailuo, Veo, Wan, LTX, Luma, Pika, lip-sync ...).

Over HTTP, without its SDK, which repeats creates after a time-out and sends the key to whatever address an answer names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from reelwright.backends.hosted.call import Answer, Call, Failed, Finished, Outcome, Pending, Then
from reelwright.backends.hosted.loop import Hosted, failure, said, stopped
from reelwright.backends.hosted.results import first_url
from reelwright.catalog import Shot


class Fal(Hosted):
    """The backend of cards whose `source` is a model of fal."""

    name: ClassVar[str] = "fal"
    base: ClassVar[str] = "https://queue.fal.run"
    key: ClassVar[str | None] = "fal_key"
    site: ClassVar[str] = "fal.ai/dashboard/keys"
    query: ClassVar[str] = ""
    """What every address ends with."""

    def headers(self, secret: str) -> Mapping[str, str]:
        """As fal wants it."""
        return {"Authorization": f"Key {secret}"}

    def start(self, shot: Shot, arguments: dict[str, Any], intent: str) -> Call:  # noqa: ARG002  fal has no idempotency keys
        """Put it into the model's queue."""
        return Call("POST", self.route(shot) + self._query(), json=arguments)

    def started(self, answer: Answer) -> str:
        """The request's id."""
        return str(answer.json["request_id"])

    def poll(self, operation: str, shot: Shot) -> Call:
        """Its status, with log lines; at our own base, whatever address the answer named."""
        return Call("GET", f"{self._request(operation, shot)}/status{self._query('logs=1')}")

    def polled(self, answer: Answer, operation: str, shot: Shot) -> Outcome:
        """COMPLETED is the end of everything, good or bad or cancelled; the result tells which."""
        told = answer.json or {}
        status, lines = told.get("status"), tuple(str(each.get("message", "")) for each in told.get("logs") or ())
        if told.get("error_type") == "request_cancelled":
            return Failed(stopped(self.name))
        if status == "COMPLETED" and (wrong := " ".join(str(told[name]) for name in ("error_type", "error") if told.get(name))):
            return Failed(failure(self.name, wrong))
        if status == "COMPLETED":
            return Then(Call("GET", self._request(operation, shot) + self._query()), self._result)
        if status == "IN_QUEUE":
            return Pending("queue", position=int(told.get("queue_position") or 0) + 1, lines=lines)
        return Pending("run", percent(lines), lines=lines)

    def stop(self, operation: str, shot: Shot) -> Call | None:
        """Take it out of the queue, or stop it."""
        return Call("PUT", f"{self._request(operation, shot)}/cancel{self._query()}")

    def _result(self, answer: Answer) -> Outcome:
        told = answer.json or {}
        if "detail" in told:
            return Failed(failure(self.name, said(answer)))
        if answer.status >= 400:
            return Pending(f"waiting: {said(answer)}")
        made = next((told[name] for name in ("video", "videos", "images", "image", "output") if told.get(name)), None)
        url = first_url(made["url"] if isinstance(made, dict) and "url" in made else made)
        return Finished(url=url) if url else Failed(failure(self.name, "it finished and gave no video"))

    def _request(self, operation: str, shot: Shot) -> str:
        """Owner and application: a model's path within it is not part of a request's address."""
        return f"{'/'.join(self.route(shot).split('/')[:2])}/requests/{operation}"

    def _query(self, *more: str) -> str:
        said = "&".join(filter(None, (self.query, *more)))
        return f"?{said}" if said else ""


def percent(lines: tuple[str, ...]) -> float | None:
    """How far it is, from a progress bar in the newest lines of a log."""
    for line in reversed(lines):
        if found := re.findall(r"(\d{1,3})%", line):
            return min(1.0, int(found[-1]) / 100)
    return None
