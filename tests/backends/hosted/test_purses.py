"""What hosted models may cost: budgets hold in a file and in the store, also when two ask at once (J5)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reelwright.backends.hosted import purse as purses
from reelwright.backends.hosted.purse import FilePurse
from reelwright.errors import QuotaExceeded
from reelwright.jobs.costs import StorePurse
from reelwright.jobs.database import Database
from reelwright.jobs.store import Store
from reelwright.settings import Settings

Made = Callable[..., Any]


@pytest.fixture(params=["file", "store"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Made]:
    """Purses over one place, each as of another process."""
    opened: list[Database] = []

    def make(**limits: float) -> Any:
        known = Settings(_env_file=None, data_folder=tmp_path, **limits)
        if request.param == "file":
            return FilePurse(known)
        database = Database(f"sqlite:///{tmp_path / 'reel.db'}")
        opened.append(database)
        database.migrate()
        return StorePurse(Store(database, lease=60), known)

    yield make
    for database in opened:
        database.close()


def test_orders_are_noted_and_settled(made: Made) -> None:
    purse = made()
    purse.reserve("a", "fal", "fal/wan-2.2", 0.5, "ann")
    purse.reserve("b", "Runway", "runway/aleph", None, "ben")
    purse.settle("a", 0.4)
    first, second = purse.orders()
    assert (first["intent"], first["provider"], first["owner"], first["usd"]) == ("a", "fal", "ann", 0.4)
    assert first["estimated"] == 0.5
    assert (second["usd"], second["estimated"]) == (None, None)


def test_a_day_has_a_budget(made: Made) -> None:
    purse = made(budget_usd_day=1.0)
    purse.reserve("a", "fal", "m", 0.6, "ann")
    with pytest.raises(QuotaExceeded, match=r"0\.60 of 1\.00 USD a day in all"):
        purse.reserve("b", "fal", "m", 0.6, "ben")
    purse.settle("a", 0.0)  # it came to nothing
    purse.reserve("b", "fal", "m", 0.6, "ben")
    with pytest.raises(QuotaExceeded, match="not known"):
        purse.reserve("c", "fal", "m", None, "ben")


def test_each_owner_has_one_too(made: Made) -> None:
    purse = made(budget_usd_day_owner=1.0)
    purse.reserve("a", "fal", "m", 0.9, "ann")
    purse.reserve("b", "fal", "m", 0.9, "ben")
    with pytest.raises(QuotaExceeded, match="for ann"):
        purse.reserve("c", "fal", "m", 0.2, "ann")


def test_what_is_free_needs_no_budget(made: Made) -> None:
    made(budget_usd_day=0.0).reserve("a", "OpenAI", "openai-video", 0.0, "ann")


def test_two_at_once_do_not_overspend(made: Made) -> None:
    purse, start, kept = [made(budget_usd_day=1.0) for _ in range(6)], threading.Barrier(6), []

    def ask(number: int) -> None:
        start.wait()
        try:
            purse[number].reserve(f"order-{number}", "fal", "m", 0.4, "ann")
            kept.append(number)
        except QuotaExceeded:
            pass

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == 2
    assert sum(each["usd"] for each in purse[0].orders()) == pytest.approx(0.8)


def test_the_day_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    purse = FilePurse(Settings(_env_file=None, data_folder=tmp_path, budget_usd_day=1.0))
    purse.reserve("a", "fal", "m", 1.0, "ann")
    now = purses.time.time()
    monkeypatch.setattr(purses.time, "time", lambda: now + purses.DAY_S + 1)
    purse.reserve("b", "fal", "m", 1.0, "ann")


def test_a_line_that_a_crash_cut_off_spoils_nothing(tmp_path: Path) -> None:
    purse = FilePurse(Settings(_env_file=None, data_folder=tmp_path, budget_usd_day=1.0))
    purse.reserve("a", "fal", "m", 0.6, "ann")
    with (tmp_path / "costs.jsonl").open("a") as file:
        file.write('{"intent": "b", "at": 17')
    purse.reserve("c", "fal", "m", 0.3, "ann")
    assert [each["intent"] for each in purse.orders()] == ["a", "c"]
    with pytest.raises(QuotaExceeded):
        purse.reserve("d", "fal", "m", 0.3, "ann")


def test_an_order_that_is_noted_twice_is_held_once(made: Made) -> None:
    purse = made(budget_usd_day=1.0)
    purse.reserve("a", "fal", "m", 0.8, "ann")
    purse.reserve("a", "fal", "m", 0.8, "ann")
    assert [each["usd"] for each in purse.orders()] == [0.8]
