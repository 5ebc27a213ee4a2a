"""Every card of a hosted model: a template that fills, routes for what it accepts, prices with date and source (M2, M8-M14)."""

from __future__ import annotations

from typing import Any

import pytest

from reelwright import plugins
from reelwright.backends.hosted.arguments import filled, values
from reelwright.backends.hosted.loop import Hosted
from reelwright.catalog import Card, Shot, cards, resolve
from reelwright.request import GenerationRequest, Input

PROVIDERS = ("fal", "google", "huggingface", "huggingface-endpoint", "kling", "luma", "minimax", "openai", "replicate", "runway")
SETTINGS = {"arguments", "price", "routes", "compatible", "idempotent"}
NAMED = (
    "fal/kling-2.5-turbo", "fal/hailuo-02", "fal/veo-3.1", "fal/wan-2.2", "fal/wan-2.5", "fal/ltx-2", "fal/luma-ray-2",
    "fal/pika-2.2", "fal/hunyuan-video", "fal/sadtalker", "fal/live-portrait", "fal/musetalk", "fal/sync-lipsync",
    "fal/topaz-upscale", "replicate/wan-2.2-fast", "runway/gen4.5", "runway/gen4-turbo", "runway/aleph", "runway/act-two",
    "runway/upscale", "openai-video", "gpt-image", "keyframes-gpt-image", "google/gemini-omni", "luma/ray-2",
    "kling/2.5-turbo", "minimax/h3", "huggingface/wan-2.2-5b", "huggingface/endpoint",
)  # fmt: skip

HOSTED = {name: card for name, card in cards().items() if card.backend in PROVIDERS}


def each() -> Any:
    return pytest.mark.parametrize("card", HOSTED.values(), ids=HOSTED)


def shots(card: Card) -> list[Shot]:
    """A shot of each set of roles."""
    made = []
    for roles in card.accepts:
        inputs = tuple(Input(role, f"{role.value}.png") for role in sorted(roles))
        made.append(resolve(GenerationRequest(prompt="A boat", inputs=inputs, seed=3), card, str)[0])
    return made


def leaves(found: Any) -> list[Any]:
    inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else None
    return [found] if inner is None else [leaf for one in inner for leaf in leaves(one)]


def test_every_model_that_was_asked_for_has_a_card() -> None:
    assert [name for name in NAMED if name not in cards()] == []


@each()
def test_its_backend_is_a_provider(card: Card) -> None:
    assert issubclass(plugins.backend_class(card.backend), Hosted)
    assert set(card.settings) <= SETTINGS
    assert card.licence == "provider's terms"
    assert card.price
    assert card.vram_gb is None


@each()
def test_every_input_and_option_reaches_the_provider(card: Card) -> None:
    for shot in shots(card):
        inputs = {given.role.value: f"data:of/{given.role.value};base64,AAAA" for given in shot.inputs}
        arguments = filled(card.settings["arguments"], values(shot, inputs)) or {}
        sent = leaves(arguments)
        assert all(uri in sent for uri in inputs.values()), f"{card.id} leaves out an input"
        assert not any("{" in leaf for leaf in sent if isinstance(leaf, str))
        if "prompt" in str(card.settings["arguments"]):
            assert "A boat" in sent
    asked = str(card.settings["arguments"])
    assert [name for name in card.options if f"{{{name}" not in asked] == []


@each()
def test_each_set_of_inputs_has_its_address(card: Card) -> None:
    if routes := card.settings.get("routes"):
        assert set(routes) == {"+".join(sorted(roles)) or "prompt" for roles in card.accepts}
    if card.backend in ("fal", "huggingface"):  # the address of a request is that of its application, whatever the route
        places = {"/".join(route.split("/")[:2]) for route in (card.source, *card.settings.get("routes", {}).values())}
        assert len(places) == 1


@each()
def test_a_price_says_from_when_and_where_it_is(card: Card) -> None:
    price = card.settings.get("price", {})
    assert set(price) <= {"usd", "usd_per_second", "date", "source"}
    if price.get("usd_per_second") or price.get("usd"):
        assert price["date"] == "2026-11"
        assert price["source"]
        assert any(line.startswith("price:") for line in card.sources)


@each()
def test_figures_say_honestly_where_they_are_from(card: Card) -> None:
    told = " ".join(line.partition(":")[0] for line in card.sources)
    for figure in ("settings.arguments", "sizes", "frames", "quality"):
        assert figure in told, f"{card.id}: nothing says where {figure} comes from"
