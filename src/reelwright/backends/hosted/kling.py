"""Kling by its own API: signed tokens, and codes beside the HTTP status. It has no SDK of its own, only resellers'."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from reelwright import logs
from reelwright.backends.hosted.call import Answer, Call, Failed, Finished, Outcome, Pending
from reelwright.backends.hosted.loop import Hosted, data_uri, failure, said
from reelwright.backends.hosted.results import first_url
from reelwright.backends.hosted.wire import Wire
from reelwright.catalog import Shot

_VALID_S, _SAME_S = 1800, 600


class Kling(Hosted):
    """The backend of cards whose `settings.routes` names endpoints of Kling, and whose `source` is its model."""

    name: ClassVar[str] = "Kling"
    base: ClassVar[str] = "https://api.klingai.com/v1"
    key: ClassVar[str | None] = "kling_access_key"
    site: ClassVar[str] = "app.klingai.com/global/dev"
    polls: ClassVar[float] = 5.0

    def headers(self, secret: str) -> Mapping[str, str]:
        """A token of half an hour, another one every ten minutes: logs have to know each."""
        made = token(secret, self.secret("kling_secret_key"), time.time() // _SAME_S * _SAME_S)
        logs.hide(made)
        return {"Authorization": f"Bearer {made}"}

    def secrets(self, secret: str) -> tuple[str, ...]:
        """Both keys; raises MissingKey if the second is not set."""
        return (secret, self.secret("kling_secret_key"))

    def given(self, path: Path, wire: Wire) -> str:  # noqa: ARG002  it has no uploads
        """Base64 alone, without what a data URI begins with."""
        return data_uri(path).partition(",")[2]

    def start(self, shot: Shot, arguments: dict[str, Any], intent: str) -> Call:
        """A task; the intent goes along as a name of our own, by which it can be found in the account."""
        return Call("POST", self.route(shot), json={"model_name": shot.card.source, "external_task_id": intent, **arguments})

    def started(self, answer: Answer) -> str:
        """The task's id. Raises what a code other than 0 says."""
        if answer.json.get("code"):
            raise failure(self.name, said(answer))
        return str(answer.json["data"]["task_id"])

    def poll(self, operation: str, shot: Shot) -> Call:
        """The task, which belongs to its endpoint."""
        return Call("GET", f"{self.route(shot)}/{operation}")

    def polled(self, answer: Answer, operation: str, shot: Shot) -> Outcome:  # noqa: ARG002  the answer says it all
        """submitted, processing, succeed, failed."""
        task = answer.json["data"]
        if task.get("task_status") == "succeed":
            url = first_url(task.get("task_result", {}).get("videos"))
            return Finished(url=url) if url else Failed(failure(self.name, "it finished and gave no video"))
        if task.get("task_status") == "failed":
            return Failed(failure(self.name, str(task.get("task_status_msg") or "")))
        return Pending("queue" if task.get("task_status") == "submitted" else "run")


def token(access: str, secret: str, now: float) -> str:
    """A JSON Web Token, HS256, that says who asks."""
    head = {"alg": "HS256", "typ": "JWT"}
    claims = {"iss": access, "exp": int(now) + _VALID_S, "nbf": int(now) - 5}
    said = b".".join(_coded(json.dumps(each, separators=(",", ":")).encode()) for each in (head, claims))
    return b".".join((said, _coded(hmac.new(secret.encode(), said, hashlib.sha256).digest()))).decode()


def _coded(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
