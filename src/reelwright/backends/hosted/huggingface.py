"""Hugging Face: its router to fal, paid by a Hugging Face account, and inference endpoints of one's own.

Over HTTP, without its SDK, whose client cannot be stopped, tells nothing, has no end, and cannot ask an endpoint for a video.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from reelwright.backends.hosted.call import Answer, Call, Finished
from reelwright.backends.hosted.fal import Fal
from reelwright.backends.hosted.loop import Hosted
from reelwright.catalog import Card, Shot
from reelwright.errors import ProviderFailed, Unsupported


class HuggingFace(Fal):
    """The backend of cards whose `source` is a model of fal, asked through Hugging Face's router."""

    name: ClassVar[str] = "Hugging Face"
    base: ClassVar[str] = "https://router.huggingface.co/fal-ai"
    key: ClassVar[str | None] = "hf_token"
    site: ClassVar[str] = "huggingface.co/settings/tokens"
    query: ClassVar[str] = "_subdomain=queue"

    def headers(self, secret: str) -> Mapping[str, str]:
        """A bearer token."""
        return {"Authorization": f"Bearer {secret}"}


class Endpoint(Hosted):
    """The backend of cards with an inference endpoint of one's own: one call, which answers with the video.

    Its address is `settings.base` in a card, or REELWRIGHT_BASE_ENDPOINT. Nothing tells how far it is, and nothing stops it.
    """

    name: ClassVar[str] = "Hugging Face endpoint"
    base: ClassVar[str] = ""
    key: ClassVar[str | None] = "hf_token"
    site: ClassVar[str] = "huggingface.co/settings/tokens"

    def headers(self, secret: str) -> Mapping[str, str]:
        """A bearer token."""
        return {"Authorization": f"Bearer {secret}"}

    def door(self, card: Card) -> tuple[str, str | None]:
        """As in Hosted. Raises Unsupported if no address is named."""
        base, key = super().door(card)
        if not base:
            raise Unsupported(
                "no inference endpoint is named", hint="Set REELWRIGHT_BASE_ENDPOINT, or write a card with `settings.base`."
            )
        return base, key

    def start(self, shot: Shot, arguments: dict[str, Any], intent: str) -> Call:  # noqa: ARG002  it has no idempotency keys
        """The whole work in one call."""
        return Call(
            "POST", self.route(shot), json=arguments, headers={"Accept": "video/mp4"}, timeout=self.settings.request_timeout
        )

    def started(self, answer: Answer) -> Finished:
        """The video itself."""
        if answer.json is not None or not answer.body:
            raise ProviderFailed(f"{self.name} answered with no video", retryable=False, provider=self.name)
        return Finished(body=answer.body)
