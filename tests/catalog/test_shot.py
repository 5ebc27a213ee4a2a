"""Requests resolved against cards: filled, snapped, checked, and what was changed is told (S5, J6)."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from reelwright.catalog import Shot, card_from, find, resolve
from reelwright.catalog.shot import checked, digest, fingerprint
from reelwright.errors import ReelwrightError, RequestError, Unsupported
from reelwright.request import GenerationRequest, Input, Lora
from reelwright.types import Role

STIFF = card_from(
    {
        "id": "stiff", "title": "Stiff", "family": "f", "backend": "b", "licence": "MIT", "revision": "3", "vram_gb": [10, 16],
        "sizes": {"native": [[512, 320], [320, 512]], "step": 64, "least": 128, "most": 1024},
        "frames": {"default": 25, "offset": 1, "step": 8, "least": 9, "most": 49}, "fps": {"default": 8},
        "options": {"steps": {"type": "integer", "minimum": 1, "maximum": 100, "default": 50},
                    "guidance": {"type": "number", "minimum": 1, "maximum": 20, "default": 7.5},
                    "mode": {"enum": ["a", "b"], "default": "a"}, "tags": {"type": "array", "items": {"type": "string"}}},
    }
)  # fmt: skip


def made(card: Any = STIFF, **fields: Any) -> tuple[Shot, tuple[str, ...]]:
    return resolve(GenerationRequest(**{"prompt": "A boat", **fields}), card, lambda ref: f"digest of {ref}")


def test_nothing_asked_is_the_models_own() -> None:
    """S5: defaults are the card's, and nothing needs telling."""
    shot, notes = made()
    assert (shot.width, shot.height, shot.frames, shot.fps) == (512, 320, 25, 8)
    assert shot.options == {"steps": 50, "guidance": 7.5, "mode": "a"}
    assert notes == ()


def test_what_is_snapped_is_told() -> None:
    """S5: adapted to the model's own rules inside, and told."""
    shot, notes = made(width=500, height=300, seconds=3, fps=24)
    assert (shot.width, shot.height, shot.fps) == (512, 320, 8)
    assert shot.frames == 25
    assert any("512x320, not 500x300" in note for note in notes)
    assert any("8 frames a second, not 24" in note for note in notes)
    assert any("25 frames" in note and "24" in note for note in notes)


def test_one_side_gives_the_other() -> None:
    shot, _ = made(find("placeholder"), width=640)
    assert (shot.width, shot.height) == (640, 360)
    shot, _ = made(find("placeholder"), height=360)
    assert (shot.width, shot.height) == (640, 360)


@pytest.mark.parametrize(
    ("asked", "exact"), [(29.97, Fraction(30000, 1001)), (23.976, Fraction(24000, 1001)), (25, Fraction(25))]
)
def test_broadcast_rates_are_exact(asked: float, exact: Fraction) -> None:
    assert made(find("placeholder"), fps=asked)[0].fps == exact


def test_inputs_that_the_model_cannot_take_are_refused() -> None:
    with pytest.raises(Unsupported, match="cannot work from first_frame") as caught:
        made(inputs=(Input(Role.FIRST_FRAME, "a.png"),))
    assert "a prompt alone" in caught.value.hint
    with pytest.raises(Unsupported, match="LoRA"):
        made(loras=(Lora("x"),))


@pytest.mark.parametrize(
    ("options", "match"),
    [({"steps": 0}, "at least 1"), ({"steps": 101}, "at most 100"), ({"steps": 2.5}, "integer"), ({"steps": True}, "integer"),
     ({"guidance": "7"}, "number"), ({"mode": "c"}, "one of a, b"), ({"tags": "x"}, "array"), ({"tags": [1]}, "string"),
     ({"nope": 1}, "no option 'nope'"), ({"guidance": 20.01}, "at most 20")],
)  # fmt: skip
def test_options_out_of_range_are_refused_and_named(options: dict[str, Any], match: str) -> None:
    """S5: steps, guidance (1-20): invalid ones are refused with a clear error."""
    with pytest.raises(RequestError, match=match) as caught:
        made(options=options)
    assert caught.value.details["field"] in options


def test_camera_and_effect_become_words_where_the_model_has_no_dial() -> None:
    """S4: prompt words for models that take words."""
    shot, notes = made(options={"camera": "dolly in", "effect": ["noir"]})
    assert shot.prompt.startswith("A boat, ")
    assert "dolly" in shot.prompt.lower()
    assert "camera" not in shot.options
    assert len(notes) == 2
    plain, quiet = made(options={"camera": "static", "effect": []})
    assert plain.prompt == "A boat"
    assert quiet == ()


def test_an_unknown_camera_is_refused_even_as_words() -> None:
    with pytest.raises(ReelwrightError, match="wobble"):
        made(options={"camera": "wobble"})


def test_the_fingerprint_is_of_everything_that_pixels_depend_on() -> None:
    """J6: the same request is not made twice, another one is."""
    base, _ = made(seed=1)
    assert made(seed=1)[0].fingerprint == base.fingerprint
    others = [
        made(seed=2), made(seed=1, prompt="A ship"), made(seed=1, negative="rain"), made(seed=1, width=1024, height=640),
        made(seed=1, seconds=5), made(seed=1, options={"steps": 49}),
    ]  # fmt: skip
    prints = {shot.fingerprint for shot, _ in others} | {base.fingerprint}
    prints.add(replace(base, card=replace(STIFF, revision="4")).fingerprint)
    assert len(prints) == len(others) + 2


def test_inputs_count_by_content_and_not_by_name() -> None:
    card = find("placeholder")
    request = GenerationRequest("a", inputs=(Input(Role.FIRST_FRAME, "a.png"),))
    other = GenerationRequest("a", inputs=(Input(Role.FIRST_FRAME, "b.png"),))
    same = [resolve(each, card, lambda ref: "one content")[0].fingerprint for each in (request, other)]
    assert same[0] == same[1]
    assert resolve(request, card, lambda ref: "other content")[0].fingerprint != same[0]


def test_a_seed_that_was_not_given_follows_from_the_words() -> None:
    assert made()[0].seed == made()[0].seed != made(prompt="Another")[0].seed


def test_lanes_name_backend_and_memory() -> None:
    assert made()[0].lane == "gpu.12"
    assert made(find("placeholder"))[0].lane == "cpu"


def test_fingerprints_do_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    (tmp_path / "x").write_bytes(b"abc")
    assert digest(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_numbers_may_be_whole() -> None:
    assert checked("guidance", 7, {"type": "number", "minimum": 1}) == 7
    assert checked("any", {"x": 1}, {"type": "object"}) == {"x": 1}
