"""Cards: what models are, as data, held when they are made (M12)."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelwright.catalog import Card, FrameRule, RateRule, SizeRule, card_from, cards, find
from reelwright.errors import RequestError
from reelwright.types import Role

SMALL = {
    "id": "x", "title": "X", "family": "f", "backend": "b", "licence": "MIT",
    "sizes": {"native": [[64, 64]]}, "frames": {"default": 9}, "fps": {"default": 8},
}  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 64).map(lambda n: n * 2), st.integers(16, 512), st.integers(0, 2000), st.integers(1, 20_000),
    st.integers(1, 20_000), st.none() | st.integers(300_000, 4_000_000),
)  # fmt: skip
def test_the_nearest_size_is_one_that_the_rule_allows(
    step: int, least: int, room: int, width: int, height: int, pixels: int | None
) -> None:
    """S5: sizes snap to the model's grid."""
    most = min(8192, least + step * 2 + room)
    rule = SizeRule(((64, 64),), step, least, most, pixels)
    made = rule.nearest(width, height)
    assert all(side % step == 0 and least <= side <= most for side in made)
    assert pixels is None or made[0] * made[1] <= max(pixels, (least + step) ** 2)
    assert rule.nearest(*made) == made


def test_a_size_that_fits_stays() -> None:
    rule = SizeRule(((64, 64),), 16, 64, 1024)
    assert rule.nearest(320, 192) == (320, 192)
    assert rule.nearest(321, 190) == (320, 192)


def test_a_size_over_the_limit_keeps_its_shape() -> None:
    width, height = SizeRule(((64, 64),), 16, 64, 1024).nearest(4096, 2304)
    assert width == 1024
    assert height == 576


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 8), st.integers(0, 5), st.integers(1, 20), st.integers(0, 200), st.integers(1, 500))
def test_the_nearest_count_of_frames_is_one_that_the_rule_allows(
    step: int, offset: int, least: int, room: int, wanted: int
) -> None:
    """S5: frame counts snap to offset + k * step."""
    most = least + step + offset + room
    probe = object.__new__(FrameRule)
    for name, value in (("default", 1), ("step", step), ("offset", offset), ("least", least), ("most", most)):
        object.__setattr__(probe, name, value)
    made = probe.nearest(wanted)
    assert made >= max(1, least)
    assert made <= most
    assert (made - offset) % step == 0
    rule = FrameRule(made, step, offset, least, most)
    assert abs(rule.nearest(wanted) - wanted) <= max(step, least - wanted + step + offset, wanted - most + step)


def test_wrong_rules_are_refused() -> None:
    with pytest.raises(RequestError, match="rule"):
        FrameRule(16, step=8, offset=1)
    with pytest.raises(RequestError, match="even step"):
        SizeRule(((64, 64),), step=3)
    with pytest.raises(RequestError, match="native"):
        SizeRule(())


def test_rates_are_the_models_own_unless_it_has_a_range() -> None:
    assert RateRule(8).nearest(Fraction(30)) == 8
    assert RateRule(8, 6, 24).nearest(Fraction(30)) == 24
    assert RateRule(8, 6, 24).nearest(Fraction(24000, 1001)) == Fraction(24000, 1001)


def test_the_placeholders_card() -> None:
    """M1: it needs nothing and takes a prompt alone or a picture."""
    card = find("placeholder")
    assert card.instant
    assert card.deterministic
    assert card.vram_gb == (0, 0)
    assert card.takes(frozenset())
    assert card.takes(frozenset({Role.FIRST_FRAME}))
    assert not card.takes(frozenset({Role.MASK}))


def test_a_model_is_found_by_its_other_names(monkeypatch: pytest.MonkeyPatch) -> None:
    from reelwright import plugins

    other = SMALL | {"also": ["old-x"], "source": "hub/x"}
    monkeypatch.setattr(plugins, "card_files", lambda: iter([("a", other)]))
    cards.cache_clear()
    try:
        assert find("x") is find("old-x") is find("hub/x")
    finally:
        cards.cache_clear()


@pytest.mark.parametrize(
    ("change", "named"),
    [({"quality": 6}, "quality"), ({"sizes": {}}, "native"), ({"accepts": [["smell"]]}, "accepts"), ({"new": 1}, "new"),
     ({"options": {"steps": {"title": "no type"}}}, "steps"), ({"id": ""}, "id"), ({"fps": {"default": 0}}, "fps")],
)  # fmt: skip
def test_a_wrong_card_names_file_and_field(change: dict[str, object], named: str) -> None:
    """M12."""
    with pytest.raises(RequestError) as caught:
        card_from(SMALL | change, "mine.toml")
    assert "mine.toml" in caught.value.message
    assert named in caught.value.message


def test_a_card_is_made_of_plain_content() -> None:
    card = card_from(SMALL)
    assert isinstance(card, Card)
    assert card.sizes.native == ((64, 64),)
    assert card.accepts == (frozenset(),)
