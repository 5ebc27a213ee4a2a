"""Plug-ins come through entry points, the built-in ones too (rule 2, M7)."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from making import Counting, counting

from reelwright import catalog, plugins
from reelwright.errors import MissingExtra, RequestError, UnknownModel

__all__ = ["counting"]

CARD = """
id = "{id}"
title = "{title}"
family = "drawn"
backend = "placeholder"
licence = "MIT"
sizes = {{ native = [[160, 90]], step = 2, least = 16 }}
frames = {{ default = 24 }}
fps = {{ default = 24 }}
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REELWRIGHT_HOME", str(tmp_path))
    (tmp_path / "cards").mkdir()
    return tmp_path / "cards"


@pytest.fixture(autouse=True)
def fresh():
    catalog.card.cards.cache_clear()
    yield
    catalog.card.cards.cache_clear()


def test_the_built_in_backend_is_an_entry_point() -> None:
    assert plugins.backend_class("placeholder").__name__ == "Placeholder"


def test_an_unknown_backend_names_those_that_are_there() -> None:
    with pytest.raises(RequestError) as caught:
        plugins.backend_class("nope")
    assert "placeholder" in caught.value.hint


@pytest.mark.parametrize(
    ("value", "kind", "match"),
    [("no_such_package_here:Thing", MissingExtra, "no_such_package_here"), ("reelwright.types:hold", RequestError, "class")],
)
def test_a_backend_that_cannot_be_loaded_says_why(
    value: str, kind: type[Exception], match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "backends", lambda: {"mine": EntryPoint("mine", value, "reelwright.backends")})
    with pytest.raises(kind, match=match):
        plugins.backend_class("mine")


def test_a_test_backend_comes_through_the_same_door(counting: type[Counting]) -> None:
    assert plugins.backend_class("counting") is counting
    assert catalog.find("counter").backend == "counting"


def test_a_persons_own_card_is_added(own: Path) -> None:
    """M7, M12."""
    (own / "mine.toml").write_text(CARD.format(id="mine", title="Mine"))
    assert catalog.find("mine").title == "Mine"
    assert catalog.find("placeholder").title == "Placeholder"


def test_a_persons_own_card_replaces_an_installed_one(own: Path) -> None:
    (own / "a.toml").write_text(CARD.format(id="placeholder", title="My own"))
    assert catalog.find("placeholder").title == "My own"


@pytest.mark.parametrize(
    ("text", "match"), [("id = ", "not valid TOML"), (CARD.format(id="x", title="y") + "wrong = 1", "wrong")]
)
def test_a_wrong_card_is_named(own: Path, text: str, match: str) -> None:
    (own / "broken.toml").write_text(text)
    with pytest.raises(RequestError, match=match) as caught:
        catalog.cards()
    assert "broken.toml" in str(caught.value)


def test_an_unknown_model_suggests_the_nearest() -> None:
    """J9: model_not_found."""
    with pytest.raises(UnknownModel) as caught:
        catalog.find("placehodler")
    assert "placeholder" in caught.value.hint
    assert caught.value.body()["details"]["requested_model"] == "placehodler"
