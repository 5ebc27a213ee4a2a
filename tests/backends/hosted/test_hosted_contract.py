"""Every built-in provider keeps the contract, against a stand-in that speaks its protocol (M2, M8-M11, M14)."""

from __future__ import annotations

import dataclasses

import standins

from reelwright.backends.hosted.fal import Fal
from reelwright.backends.hosted.google import Google
from reelwright.backends.hosted.huggingface import Endpoint, HuggingFace
from reelwright.backends.hosted.kling import Kling
from reelwright.backends.hosted.luma import Luma
from reelwright.backends.hosted.minimax import MiniMax
from reelwright.backends.hosted.openai import OpenAI
from reelwright.backends.hosted.replicate import Replicate
from reelwright.backends.hosted.runway import Runway
from reelwright.catalog import Card
from reelwright.testing_hosted import HostedContract
from reelwright.types import Role


class TestFal(HostedContract):
    provider, stand_in, card_id = Fal, standins.FalStandIn, "fal/kling-2.5-turbo"


class TestHuggingFace(HostedContract):
    provider, stand_in, card_id = HuggingFace, standins.HuggingFaceStandIn, "huggingface/wan-2.2-5b"


class TestReplicate(HostedContract):
    provider, stand_in, card_id = Replicate, standins.ReplicateStandIn, "replicate/wan-2.2-fast"

    def base(self) -> str:
        return f"{self.server.address}/v1"


class TestRunway(HostedContract):
    provider, stand_in, card_id = Runway, standins.RunwayStandIn, "runway/gen4-turbo"
    roles = (Role.FIRST_FRAME,)

    def base(self) -> str:
        return f"{self.server.address}/v1"


class TestOpenAI(HostedContract):
    provider, stand_in, card_id = OpenAI, standins.OpenAIStandIn, "openai-video"
    door, keys = "OPENAI_COMPATIBLE", ("openai_compatible_key",)

    def base(self) -> str:
        return f"{self.server.address}/v1"

    def test_a_missing_key_is_told_before_anything_is_asked(self) -> None:
        """A server of one's own may have none."""
        assert self.provider(self.settings(openai_compatible_key=""))._wire(self.card()).credentials() == {}


class TestOpenAIOnce(TestOpenAI):
    """A server that heeds idempotency keys: a crash costs nothing at all."""

    def card(self) -> Card:
        card = super().card()
        return dataclasses.replace(card, settings={**card.settings, "idempotent": True})


class TestOpenAIPictures(HostedContract):
    provider, stand_in, card_id = OpenAI, standins.OpenAIStandIn, "gpt-image"
    blocking = True

    def setup_method(self) -> None:
        from io import BytesIO

        from PIL import Image

        super().setup_method()
        kept = BytesIO()
        Image.new("RGB", (96, 64), (200, 30, 30)).save(kept, "PNG")
        self.server.made = kept.getvalue()

    def base(self) -> str:
        return f"{self.server.address}/v1"


class TestGoogle(HostedContract):
    provider, stand_in, card_id = Google, standins.GoogleStandIn, "google/gemini-omni"
    roles = (Role.FIRST_FRAME,)

    def base(self) -> str:
        return f"{self.server.address}/v1beta"


class TestLuma(HostedContract):
    provider, stand_in, card_id = Luma, standins.LumaStandIn, "luma/ray-2"


class TestKling(HostedContract):
    provider, stand_in, card_id = Kling, standins.KlingStandIn, "kling/2.5-turbo"
    keys = ("kling_access_key", "kling_secret_key")
    stops = False


class TestMiniMax(HostedContract):
    provider, stand_in, card_id = MiniMax, standins.MiniMaxStandIn, "minimax/h3"
    stops = False
    roles = (Role.FIRST_FRAME, Role.LAST_FRAME)


class TestEndpoint(HostedContract):
    provider, stand_in, card_id = Endpoint, standins.EndpointStandIn, "huggingface/endpoint"
    blocking = True
