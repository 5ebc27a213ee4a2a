"""Models in memory: loaded once, one call at a time, gone when idle, several at once while there is room (M3, M16, J4)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rooms

from reelwright.backends.diffusers import Diffusers
from reelwright.backends.local import hardware, loading, residency
from reelwright.backends.local.residency import RESIDENTS, Loaded, Residency
from reelwright.catalog.fit import Machine, Plan
from reelwright.errors import Cancelled, OutOfMemory
from reelwright.run import LocalRun, Progress


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with rooms.alone():
        yield


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that were loaded, in order."""
    seen: list[str] = []
    real = loading.load

    def load(card: Any, *rest: Any) -> Any:
        seen.append(card.id)
        return real(card, *rest)

    monkeypatch.setattr(loading, "load", load)
    return seen


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins hold no memory that a second of garbage collection would bring back."""
    monkeypatch.setattr(residency, "let_go", lambda: None)


def _held(key: str, gb: float = 1.0) -> Loaded:
    return Loaded((key,), key, SimpleNamespace(components={}), Plan(), "cpu", gb)


def _silent() -> None:
    """Who waits says nothing."""


def _once(room: Residency, key: str, seen: list[str] | None = None) -> None:
    def load() -> Loaded:
        if seen is not None:
            seen.append(key)
        return _held(key)

    with room.use((key,), load, _silent):
        pass


def _until(true: Callable[[], bool], seconds: float = 8.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


# ---- with real models


def test_two_shots_in_a_row_load_the_model_once(tmp_path: Path, loads: list[str]) -> None:
    known = rooms.settings(tmp_path)
    of = rooms.card("ltx_t2v", known)
    first = rooms.make(rooms.shot(of, "ltx_t2v"), known)
    other = rooms.make(rooms.shot(of, "ltx_t2v", seed=4), known)
    again = rooms.make(rooms.shot(of, "ltx_t2v"), known)
    assert loads == ["ltx-t2v"]
    assert np.array_equal(first.frames, again.frames)
    assert not np.array_equal(first.frames, other.frames)


def test_two_threads_share_one_model_in_turn_and_get_what_they_get_alone(tmp_path: Path, loads: list[str]) -> None:
    known = rooms.settings(tmp_path)
    of = rooms.card("ltx_t2v", known)
    alone = {seed: rooms.make(rooms.shot(of, "ltx_t2v", seed=seed), known).frames for seed in (1, 2)}
    RESIDENTS.unload()
    loads.clear()
    made: dict[int, rooms.Made] = {}
    threads = [
        threading.Thread(target=lambda seed=seed: made.update({seed: rooms.make(rooms.shot(of, "ltx_t2v", seed=seed), known)}))
        for seed in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert loads == ["ltx-t2v"]
    assert all(np.array_equal(made[seed].frames, alone[seed]) for seed in (1, 2))


def test_who_waits_for_a_model_says_so_and_can_be_cancelled(tmp_path: Path) -> None:
    known = rooms.settings(tmp_path)
    shot = rooms.shot(rooms.card("ltx_t2v", known), "ltx_t2v")
    rooms.make(shot, known)
    held = RESIDENTS.loaded()[0]
    stop = threading.Event()
    seen: list[str] = []

    def look(now: Progress) -> None:
        seen.append(now.stage)
        if "wait" in now.stage:
            stop.set()

    run = LocalRun(on_progress=look, cancel=stop)
    with held.lock, pytest.raises(Cancelled):
        Diffusers(known).generate(shot, run)
    assert "wait for the model" in seen
    assert RESIDENTS.loaded() == [held]
    assert rooms.make(shot, known).plan == "resident"


def test_several_models_stay_and_the_least_recently_used_makes_room(tmp_path: Path) -> None:
    known = rooms.settings(tmp_path)
    for name in ("ltx_t2v", "sd15", "cogvideox_t2v"):
        rooms.make(rooms.shot(rooms.card(name, known), name), known)
    assert RESIDENTS.models() == ("ltx-t2v", "sd15", "cogvideox-t2v")
    rooms.make(rooms.shot(rooms.card("ltx_t2v", known), "ltx_t2v"), known)
    assert RESIDENTS.make_room() == "sd15"
    assert RESIDENTS.models() == ("cogvideox-t2v", "ltx-t2v")
    assert RESIDENTS.unload("ltx-t2v") == ["ltx-t2v"]
    assert RESIDENTS.models() == ("cogvideox-t2v",)


def test_a_shot_that_finds_no_room_lets_an_idle_model_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = rooms.settings(tmp_path)
    rooms.make(rooms.shot(rooms.card("sd15", known), "sd15"), known)
    real = hardware.probe

    def probe(device: str) -> Machine:
        free = 0.5 if "sd15" in RESIDENTS.models() else 16.0
        found = real(device)
        return Machine(found.kind, found.name, ram_gb=16.0, free_ram_gb=free, tflops=found.tflops)

    monkeypatch.setattr(hardware, "probe", probe)
    made = rooms.make(rooms.shot(rooms.card("ltx_t2v", known), "ltx_t2v"), known)
    assert made.plan == "resident"
    assert RESIDENTS.models() == ("ltx-t2v",)


def test_a_shot_waits_for_memory_that_another_program_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = rooms.settings(tmp_path, memory_wait=30.0)
    asked = 0

    def probe(device: str) -> Machine:
        nonlocal asked
        asked += 1
        return Machine("cpu", "CPU", ram_gb=16.0, free_ram_gb=0.5 if asked < 3 else 16.0, tflops=0.1)

    monkeypatch.setattr(hardware, "probe", probe)
    made = rooms.make(rooms.shot(rooms.card("ltx_t2v", known), "ltx_t2v"), known)
    assert ("wait for memory", 0, 1) in made.stages

    asked = -10_000
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    RESIDENTS.unload()
    with pytest.raises(Cancelled):
        rooms.make(rooms.shot(rooms.card("ltx_t2v", known), "ltx_t2v"), known, cancel=stop)

    impatient = rooms.settings(tmp_path, memory_wait=0.0)
    with pytest.raises(OutOfMemory, match="free"):
        rooms.make(rooms.shot(rooms.card("ltx_t2v", impatient), "ltx_t2v"), impatient)


def test_an_idle_model_leaves_after_its_time_to_live(tmp_path: Path) -> None:
    known = rooms.settings(tmp_path, model_ttl=0.3)
    shot = rooms.shot(rooms.card("ltx_t2v", known), "ltx_t2v")
    rooms.make(shot, known)
    assert RESIDENTS.models() == ("ltx-t2v",)
    assert _until(lambda: not RESIDENTS.loaded())
    assert rooms.make(shot, known).plan == "resident"
    assert _until(lambda: not RESIDENTS.loaded())


def test_no_time_to_live_lets_the_model_go_at_once(tmp_path: Path, loads: list[str]) -> None:
    known = rooms.settings(tmp_path, model_ttl=0)
    shot = rooms.shot(rooms.card("ltx_t2v", known), "ltx_t2v")
    first = rooms.make(shot, known)
    assert RESIDENTS.loaded() == []
    assert np.array_equal(first.frames, rooms.make(shot, known).frames)
    assert len(loads) == 2


def test_facts_of_models_in_memory_are_json(tmp_path: Path) -> None:
    known = rooms.settings(tmp_path)
    rooms.make(rooms.shot(rooms.card("ltx_t2v", known), "ltx_t2v"), known)
    (fact,) = json.loads(json.dumps([each.json() for each in RESIDENTS.loaded()]))
    assert fact["model"] == "ltx-t2v"
    assert fact["plan"] == "resident"
    assert fact["device"] == "cpu"
    assert fact["busy"] is False
    assert fact["gb"] >= 0
    assert fact["idle_seconds"] >= 0
    assert abs(fact["since"] - time.time()) < 600


# ---- with stand-ins


@pytest.mark.usefixtures("light")
def test_a_busy_model_is_not_unloaded() -> None:
    room = Residency()
    with room.use(("a",), lambda: _held("a"), _silent) as held:
        assert held.json()["busy"] is True
        assert room.unload() == []
        assert room.unload("a") == []
        assert room.make_room() is None
        assert room.holds(("a",))
        assert held.pipe is not None
    assert room.unload("a") == ["a"]
    assert held.pipe is None


@pytest.mark.usefixtures("light")
def test_make_room_passes_over_the_busy_ones_and_goes_by_last_use() -> None:
    room = Residency()
    for key in ("a", "b", "c"):
        _once(room, key)
    _once(room, "a")
    with room.use(("b",), lambda: _held("b"), _silent):
        assert room.make_room() == "c"
        assert room.make_room() == "a"
        assert room.make_room() is None
    assert room.models() == ("b",)


@pytest.mark.usefixtures("light")
def test_a_busy_model_outlives_its_time_to_live() -> None:
    room = Residency()
    room.ttl = 0.1
    with room.use(("a",), lambda: _held("a"), _silent):
        time.sleep(0.4)
        assert room.models() == ("a",)
    assert room.models() == ("a",), "it counts from the end of its work"
    assert _until(lambda: not room.loaded())


@pytest.mark.usefixtures("light")
def test_a_model_that_comes_while_the_last_one_goes_is_watched_too() -> None:
    room = Residency()
    room.ttl = 0.02
    for turn in range(30):
        _once(room, str(turn))
        time.sleep(0.005 * (turn % 8))
    assert _until(lambda: not room.loaded())


@pytest.mark.usefixtures("light")
def test_a_failed_load_leaves_nothing_and_the_next_try_is_free() -> None:
    room = Residency()

    def broken() -> Loaded:
        raise OSError("no such file")

    for _ in range(2):
        with pytest.raises(OSError, match="no such file"), room.use(("a",), broken, _silent):
            pass
    assert room.loaded() == []
    _once(room, "a")
    assert room.models() == ("a",)


@pytest.mark.usefixtures("light")
def test_a_model_that_is_let_go_while_somebody_waits_for_it_is_loaded_anew() -> None:
    """Unloading takes a model's lock for good: who was about to use it must not wait for that."""
    room = Residency()
    _once(room, "a")
    old = room.loaded()[0]
    old.lock.acquire()
    seen: list[str] = []
    waiting = threading.Event()

    def use() -> None:
        def load() -> Loaded:
            seen.append("a")
            return _held("a")

        with room.use(("a",), load, waiting.set):
            seen.append("used")

    thread = threading.Thread(target=use, daemon=True)
    thread.start()
    assert waiting.wait(5)
    old.lock.release()  # and, before the other one can have it:
    room.unload("a")
    thread.join(5)
    assert not thread.is_alive()
    assert seen[-1] == "used"


@pytest.mark.usefixtures("light")
def test_many_threads_with_few_models_never_share_one_and_never_hang() -> None:
    room = Residency()
    room.ttl = 0.01
    working: dict[str, int] = {}
    wrong: list[str] = []
    end = time.monotonic() + 2.0

    def work(number: int) -> None:
        turn = number
        while time.monotonic() < end:
            turn += 1
            key = "abc"[turn % 3]
            with room.use((key,), lambda key=key: _held(key), _silent) as held:
                working[key] = working.get(key, 0) + 1
                if working[key] != 1 or held.pipe is None:
                    wrong.append(key)
                time.sleep(0.001)
                working[key] -= 1
            if turn % 7 == 0:
                room.make_room()

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
