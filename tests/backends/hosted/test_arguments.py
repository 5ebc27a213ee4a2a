"""Templates: a shot's values in a provider's words."""

from __future__ import annotations

from typing import Any

import pytest

from reelwright.backends.hosted.arguments import filled, ratio, values
from reelwright.catalog import find, resolve
from reelwright.request import GenerationRequest

KNOWN = {"prompt": "A boat", "seconds": 5.0, "seed": 7, "negative": None, "first_frame": None, "fps": 24.0, "flag": False}


@pytest.mark.parametrize(
    ("template", "made"),
    [
        ({"a": "{prompt}"}, {"a": "A boat"}),
        ({"a": "{seconds:.0f}s", "b": "{seconds:int}", "c": "{fps:str}"}, {"a": "5s", "b": 5, "c": "24.0"}),
        ({"a": "{seed}", "b": 3, "c": True, "d": "plain"}, {"a": 7, "b": 3, "c": True, "d": "plain"}),
        ({"a": "{flag}"}, {"a": False}),
        ({"a": "{negative}", "b": "x {first_frame}", "c": "{unknown}"}, None),
        ({"a": {"b": "{first_frame}"}, "c": 1}, {"c": 1}),
        ({"a": ["{prompt}", "{first_frame}"]}, {"a": ["A boat"]}),
        ({"a": [{"type": "text", "text": "{prompt}"}, {"type": "image", "url": {"url": "{first_frame}"}}]},
         {"a": [{"type": "text", "text": "A boat"}]}),
        ({"a": [{"type": "image", "url": "{first_frame}"}], "b": 1}, {"b": 1}),
    ],
)  # fmt: skip
def test_fields_are_filled_and_what_has_no_value_is_left_out(template: Any, made: Any) -> None:
    assert filled(template, KNOWN) == made


def test_a_prompt_with_braces_stays_as_it_is() -> None:
    assert filled({"a": "{prompt}", "b": "say {prompt}"}, {"prompt": "{seed} {0}"}) == {"a": "{seed} {0}", "b": "say {seed} {0}"}


def test_an_option_cannot_stand_in_for_the_prompt() -> None:
    shot, _ = resolve(GenerationRequest(prompt="A boat", seed=2**40), find("fal/wan-2.2"), str)
    known = values(shot, {"first_frame": "data:"})
    assert known["prompt"] == "A boat"
    assert known["resolution"] == "720p"
    assert known["ratio"] == "16:9"
    assert 0 <= known["seed"] < 2**31


@pytest.mark.parametrize(
    ("size", "name"), [((1280, 720), "16:9"), ((720, 1280), "9:16"), ((1366, 768), "16:9"), ((960, 960), "1:1")]
)
def test_shapes_have_their_usual_names(size: tuple[int, int], name: str) -> None:
    assert ratio(*size) == name
