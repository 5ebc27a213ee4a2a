"""Requests, presets, and warnings about vague prompts (S3, S5, S9)."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from reelwright.errors import RequestError
from reelwright.request import PRESETS, GenerationRequest, Input, advice
from reelwright.types import Role


def test_the_presets_are_those_of_the_guide() -> None:
    """S3."""
    table = {name: (each.width, each.height, each.fps, each.bitrate) for name, each in PRESETS.items()}
    assert table == {
        "draft": (854, 480, Fraction(24), 1500),
        "standard": (1280, 720, Fraction(30), 3000),
        "high": (1920, 1080, Fraction(30), 6000),
        "premium": (3840, 2160, Fraction(60), 15000),
    }


@pytest.mark.parametrize("prompt", ["", "   ", "\n"])
def test_a_request_needs_a_prompt_or_an_input(prompt: str) -> None:
    """S5."""
    with pytest.raises(RequestError, match="a prompt or an input"):
        GenerationRequest(prompt)
    assert GenerationRequest(prompt, inputs=(Input(Role.FIRST_FRAME, "a.png"),)).inputs[0].role is Role.FIRST_FRAME


def test_requests_come_from_json_with_the_same_rules() -> None:
    adapter = TypeAdapter(GenerationRequest)
    made = adapter.validate_json('{"prompt": "a", "inputs": [{"role": "mask", "ref": "m.png"}], "options": {"steps": 3}}')
    assert made == GenerationRequest("a", inputs=(Input(Role.MASK, "m.png"),), options={"steps": 3})
    for wrong in (
        '{"prompt": "a", "widht": 3}',
        '{"prompt": ""}',
        '{"prompt": "a", "fps": 0}',
        '{"prompt": "a", "inputs": [{}]}',
    ):
        with pytest.raises(ValidationError):
            adapter.validate_json(wrong)
    assert adapter.validate_json(adapter.dump_json(made)) == made


@pytest.mark.parametrize("prompt", ["a cat", "Sunset", "very nice video"])
def test_a_short_prompt_is_called_vague(prompt: str) -> None:
    """S9."""
    (warning,) = advice(prompt)
    assert prompt in warning
    assert "vague" in warning


def test_a_prompt_without_movement_place_light_or_camera_is_told_so() -> None:
    """S9."""
    (warning,) = advice("one very beautiful and interesting old red car")
    assert "movement, place, light or camera" in warning


@pytest.mark.parametrize(
    "prompt",
    [
        "A sailing boat crosses the bay in golden evening light, tracking shot",
        "",
        "一只小船在平静的湖面上漂过",
        "Morning mist drifts over a lake",
    ],
)
def test_a_concrete_prompt_gets_no_warning(prompt: str) -> None:
    """S9: and scripts without spaces are not counted in words."""
    assert advice(prompt) == ()


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200))
def test_advice_takes_any_text(prompt: str) -> None:
    assert len(advice(prompt)) <= 1
