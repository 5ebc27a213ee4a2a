"""Replicate: predictions of many models.

Over HTTP, without its SDK, which cannot read the status `aborted`, reads the result with the token at whatever address the answer
names, and had no release for 18 months.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from reelwright.backends.hosted.call import Answer, Call, Failed, Finished, Outcome, Pending
from reelwright.backends.hosted.fal import percent
from reelwright.backends.hosted.loop import Hosted, data_uri, failure, stopped
from reelwright.backends.hosted.results import first_url, kind_of
from reelwright.backends.hosted.wire import Wire
from reelwright.catalog import Shot

_INLINE = 256 * 1024
"""Bytes of an input that goes along within the order; larger ones are uploaded first."""


class Replicate(Hosted):
    """The backend of cards whose `source` is OWNER/MODEL of Replicate, or OWNER/MODEL:VERSION."""

    name: ClassVar[str] = "Replicate"
    base: ClassVar[str] = "https://api.replicate.com/v1"
    key: ClassVar[str | None] = "replicate_api_token"
    site: ClassVar[str] = "replicate.com/account/api-tokens"

    def headers(self, secret: str) -> Mapping[str, str]:
        """A bearer token."""
        return {"Authorization": f"Bearer {secret}"}

    def given(self, path: Path, wire: Wire) -> str:
        """Small files as data URIs; others are uploaded, and go when Replicate tidies up."""
        if path.stat().st_size <= _INLINE:
            return data_uri(path)
        answer = wire.send(Call("POST", "files", files=(("content", path.name, path.read_bytes(), kind_of(path)),)))
        if answer.status >= 300:
            raise self.refused(answer)
        return str(answer.json["urls"]["get"])

    def start(self, shot: Shot, arguments: dict[str, Any], intent: str) -> Call:  # noqa: ARG002  it has no idempotency keys
        """A prediction of the model, or of one version of it."""
        model, _, version = self.route(shot).partition(":")
        if version:
            return Call("POST", "predictions", json={"version": version, "input": arguments})
        return Call("POST", f"models/{model}/predictions", json={"input": arguments})

    def started(self, answer: Answer) -> str:
        """The prediction's id."""
        return str(answer.json["id"])

    def poll(self, operation: str, shot: Shot) -> Call:  # noqa: ARG002  one address for all models
        """The prediction, at our own base."""
        return Call("GET", f"predictions/{operation}")

    def polled(self, answer: Answer, operation: str, shot: Shot) -> Outcome:  # noqa: ARG002  the answer says it all
        """`aborted` is a deadline that passed before it began; it came with October 2025."""
        told = answer.json or {}
        status, lines = told.get("status"), tuple(str(told.get("logs") or "").splitlines()[-20:])
        if status == "succeeded":
            url = first_url(told.get("output"))
            return Finished(url=url, facts=told.get("metrics") or {}) if url else Failed(failure(self.name, "it gave no file"))
        if status == "failed":
            return Failed(failure(self.name, str(told.get("error") or "")))
        if status in ("canceled", "aborted"):
            return Failed(stopped(self.name))
        return Pending("queue" if status == "starting" else "run", percent(lines), lines=lines)

    def stop(self, operation: str, shot: Shot) -> Call | None:  # noqa: ARG002  likewise
        """Cancel the prediction."""
        return Call("POST", f"predictions/{operation}/cancel")
