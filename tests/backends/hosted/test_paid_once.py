"""Nothing is paid twice, nothing that goes on is forgotten, and nothing that was not stopped is noted as free (J5, M9, M10)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import standins
from filelock import FileLock
from test_loop import KEY, known, quick, serve, shot

from reelwright.backends.hosted import loop, orders, purse
from reelwright.backends.hosted.fal import Fal
from reelwright.backends.hosted.openai import OpenAI
from reelwright.backends.hosted.runway import Runway
from reelwright.errors import BackendError, Cancelled, ProviderFailed, RateLimited, TimedOut, Unavailable
from reelwright.run import LocalRun
from reelwright.standin import Received, Said

__all__ = ["quick", "serve"]

CARD = "runway/gen4.5"


class Killed(BaseException):
    """kill -9: nothing is tidied up."""


@pytest.fixture
def runs() -> Iterator[Callable[..., LocalRun]]:
    made: list[LocalRun] = []

    def new(*given: Any, **named: Any) -> LocalRun:
        made.append(LocalRun(*given, **named))
        return made[-1]

    yield new
    for each in made:
        each.close()


def runway(folder: Path, **given: Any) -> Runway:
    return Runway(known(folder, runwayml_api_secret=KEY, **given))


def spent(folder: Path) -> list[float | None]:
    return [each["usd"] for each in purse.FilePurse(known(folder)).orders()]


def raises_at(stage: str, error: BaseException) -> Callable[[Any], None]:
    def heard(step: Any) -> None:
        if step.stage.startswith(stage):
            raise error

    return heard


class Slow(standins.RunwayStandIn):
    """It does not end by itself, and answers 500 to the first calls that stop it."""

    faults_at_stop = 0
    refuses = False

    def answer(self, call: Received) -> Any:
        if call.method == "DELETE" and self.faults_at_stop:
            self.faults_at_stop -= 1
            return Said(503, {})
        if call.method == "DELETE" and self.refuses:
            return Said(409, {"error": "it is too late"})
        return super().answer(call)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Cancelled()])
def test_an_interrupt_stops_it_there(tmp_path: Path, serve: Any, runs: Any, error: BaseException) -> None:
    server = serve(Slow, "runway", "/v1")
    server.ends = "running"
    with pytest.raises(type(error)):
        runway(tmp_path).generate(shot(CARD), runs(raises_at("run", error)))
    assert server.stops == ["op-1"]


def test_an_interrupt_while_waiting_to_order_leaves_nothing(
    tmp_path: Path, serve: Any, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, run = serve(Slow, "runway", "/v1"), runs()
    server.busy = 3

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop.Hosted, "_pause", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runway(tmp_path).generate(shot(CARD), run)
    assert not run.memory.get("hosted")
    assert spent(tmp_path) == [0.0]


def test_a_program_that_was_killed_goes_on_with_its_order(tmp_path: Path, serve: Any, runs: Any) -> None:
    server = serve(Slow, "runway", "/v1")
    with pytest.raises(Killed):
        runway(tmp_path).generate(shot(CARD), runs(raises_at("queue", Killed())))
    runway(tmp_path).generate(shot(CARD), runs()).close()
    assert len(server.orders) == 1
    assert not list((tmp_path / "data" / "orders").iterdir())


def test_a_purse_that_is_held_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purse, "_LOCK_S", 0.1)
    (tmp_path / "data").mkdir()
    with FileLock(tmp_path / "data" / "costs.jsonl.lock"), pytest.raises(Unavailable, match="held"):
        purse.FilePurse(known(tmp_path)).settle("a", 0)


@pytest.mark.parametrize("status", [400, 402, 404, 409, 422, 429])
def test_what_is_said_to_a_question_ends_no_order(tmp_path: Path, serve: Any, runs: Any, status: int) -> None:
    class Odd(Slow):
        odd = 3

        def answer(self, call: Received) -> Any:
            if call.method == "GET" and self.odd:
                self.odd -= 1
                return Said(status, {"error": "over your quota"}, {"Retry-After": "0.05"})
            return super().answer(call)

    server = serve(Odd, "runway", "/v1")
    runway(tmp_path).generate(shot(CARD), runs()).close()
    assert len(server.orders) == 1


def test_an_order_that_is_gone_is_given_up_and_stays_paid(
    tmp_path: Path, serve: Any, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgets(Slow):
        def answer(self, call: Received) -> Any:
            return Said(410, {"error": "gone"}) if call.method == "GET" else super().answer(call)

    server, run = serve(Forgets, "runway", "/v1"), runs()
    monkeypatch.setattr(loop, "_PATIENCE_S", -1.0)
    with pytest.raises(ProviderFailed, match="no longer knows"):
        runway(tmp_path).generate(shot(CARD), run)
    assert sum(call.method == "GET" for call in server.calls) == 5
    assert not run.memory.get("hosted")
    assert spent(tmp_path) == [pytest.approx(0.12)]


def test_what_was_paid_is_not_made_less(tmp_path: Path, serve: Any, runs: Any) -> None:
    server, run = serve(Slow, "runway", "/v1"), runs()
    runway(tmp_path).generate(shot(CARD), run).close()
    server.ends = "failed"
    with pytest.raises(BackendError):
        runway(tmp_path).generate(shot(CARD), run)  # the job is done again, with what it remembers
    assert spent(tmp_path) == [pytest.approx(0.30)]


def test_a_store_that_is_away_after_the_order_is_waited_for(tmp_path: Path, serve: Any) -> None:
    class Away(LocalRun):
        away = 2

        def remember(self, **facts: Any) -> None:
            if any(each["operation"] for each in facts.get("hosted", {}).values()) and self.away:
                self.away -= 1
                raise Unavailable("the store is away")
            super().remember(**facts)

    server, run = serve(Slow, "runway", "/v1"), Away()
    runway(tmp_path).generate(shot(CARD), run).close()
    run.close()
    assert run.away == 0
    assert len(server.orders) == 1


@pytest.mark.parametrize(("stage", "usd"), [("queue", 0.0), ("run", 0.12)])
def test_a_stop_is_tried_past_the_breaker_and_costs_what_began(
    tmp_path: Path, serve: Any, runs: Any, stage: str, usd: float
) -> None:
    server, provider = serve(Slow, "runway", "/v1"), runway(tmp_path)
    server.ends, server.faults_at_stop = "running", 2
    breaker = provider._wire(shot(CARD).card).breaker

    def heard(step: Any) -> None:
        if step.stage.startswith(stage):
            for _ in range(5):
                breaker.told(False)
            raise Cancelled

    run = runs(heard)
    with pytest.raises(Cancelled):
        provider.generate(shot(CARD), run)
    assert server.stops == ["op-1"]
    assert not run.memory["hosted"]
    assert spent(tmp_path) == [pytest.approx(usd)]


def test_what_could_not_be_stopped_is_remembered_and_paid(tmp_path: Path, serve: Any, runs: Any) -> None:
    server, run = serve(Slow, "runway", "/v1"), runs(raises_at("run", Cancelled()))
    server.ends, server.refuses = "running", True
    with pytest.raises(Cancelled):
        runway(tmp_path).generate(shot(CARD), run)
    assert run.memory["hosted"]
    assert spent(tmp_path) == [pytest.approx(0.12)]


def test_what_runway_says_of_a_stopped_order_is_noted(tmp_path: Path, serve: Any, runs: Any) -> None:
    class Tells(Slow):
        def answer(self, call: Received) -> Any:
            made = super().answer(call)
            return {"cost": {"credits": 7}} if call.method == "DELETE" else made

    serve(Tells, "runway", "/v1").ends = "running"
    with pytest.raises(Cancelled):
        runway(tmp_path).generate(shot(CARD), runs(raises_at("run", Cancelled())))
    assert spent(tmp_path) == [pytest.approx(0.07)]


def test_an_old_order_has_its_whole_time_again(tmp_path: Path, serve: Any, runs: Any) -> None:
    server, run = serve(Slow, "runway", "/v1"), runs()
    with pytest.raises(Killed):
        runway(tmp_path).generate(shot(CARD), runs(raises_at("queue", Killed()), memory=run.memory))
    next(iter(run.memory["hosted"].values()))["at"] = time.time() - 10_000
    server.polls = 3
    runway(tmp_path).generate(shot(CARD), run).close()
    assert server.stops == []


def test_one_that_is_asked_too_often_with_words_of_a_quota_is_asked_again(tmp_path: Path) -> None:
    from test_loop import answer

    from reelwright.backends.hosted.refusals import refusal

    error = refusal("X", answer(429, {"message": "quota exceeded"}))
    assert isinstance(error, RateLimited)
    assert error.retryable


def test_an_answer_that_is_the_result_is_kept_before_anything_else(
    tmp_path: Path, serve: Any, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(standins.OpenAIStandIn, "openai", "/v1")
    provider = OpenAI(known(tmp_path, openai_api_key=KEY))

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop.Hosted, "_fetched", killed)
        with pytest.raises(Killed):
            provider.generate(shot("gpt-image"), runs())
    assert [path.read_bytes() for path in (tmp_path / "cache" / "orders").iterdir()] == [server.made]
    provider.generate(shot("gpt-image"), runs()).close()
    assert len(server.orders) == 1


def test_a_purse_is_not_asked_before_the_intent_is_kept(tmp_path: Path, serve: Any, runs: Any) -> None:
    run, seen = runs(), []

    class Watching(purse.FilePurse):
        def reserve(self, intent: str, *given: Any) -> None:
            seen.append(next(iter(run.memory["hosted"].values()))["intent"] == intent)
            super().reserve(intent, *given)

    serve(Slow, "runway", "/v1")
    provider = runway(tmp_path)
    provider._own_purse = Watching(provider.settings)
    provider.generate(shot(CARD), run).close()
    assert seen == [True]


def test_what_came_to_nothing_is_settled_before_it_is_forgotten(tmp_path: Path, serve: Any, runs: Any) -> None:
    class Away(purse.FilePurse):
        def settle(self, intent: str, usd: float | None) -> None:
            raise Unavailable("the store is away")

    serve(Slow, "runway", "/v1").ends = "failed"
    provider, run = runway(tmp_path), runs()
    provider._own_purse = Away(provider.settings)
    with pytest.raises(Unavailable):
        provider.generate(shot(CARD), run)
    assert run.memory["hosted"]


@pytest.mark.parametrize("status", [408, 409, 425])
def test_an_order_that_may_have_been_taken_is_not_sent_again(tmp_path: Path, serve: Any, runs: Any, status: int) -> None:
    class Unsure(Slow):
        def answer(self, call: Received) -> Any:
            made = super().answer(call)
            return Said(status, {"error": "?"}) if call.method == "POST" else made

    server, run = serve(Unsure, "runway", "/v1"), runs()
    with pytest.raises(BackendError):
        runway(tmp_path).generate(shot(CARD), run)
    with pytest.raises(BackendError, match="may have taken"):
        runway(tmp_path).generate(shot(CARD), run)
    assert len(server.orders) == 1


def test_an_order_in_a_file_is_there_as_a_whole_or_unavailable(tmp_path: Path) -> None:
    (tmp_path / "orders").write_text("a file where the folder belongs")
    with pytest.raises(Unavailable, match="cannot be written"):
        orders.Memory("hosted", tmp_path).keep(LocalRun(), "a", {})


def test_fal_a_result_that_does_not_come_is_asked_for_again(tmp_path: Path, serve: Any, runs: Any) -> None:
    class Late(standins.FalStandIn):
        late = 2

        def answer(self, call: Received) -> Any:
            if call.method == "GET" and call.path.endswith("op-1") and self.late:
                self.late -= 1
                return Said(400, {"error": "not ready"})
            return super().answer(call)

    server = serve(Late, "fal")
    Fal(known(tmp_path, fal_key=KEY)).generate(shot("fal/kling-2.5-turbo"), runs()).close()
    assert len(server.orders) == 1


def test_at_the_deadline_what_was_stopped_costs_what_began(tmp_path: Path, serve: Any, runs: Any) -> None:
    server = serve(Slow, "runway", "/v1")
    server.ends = "running"
    provider = runway(tmp_path)
    provider.settings = provider.settings.model_copy(update={"request_timeout": 0.3})
    with pytest.raises(TimedOut):
        provider.generate(shot(CARD), runs())
    assert spent(tmp_path) == [pytest.approx(0.12)]
