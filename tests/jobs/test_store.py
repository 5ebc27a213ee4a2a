"""The store: jobs end once, whatever happens to their workers (J1, J2)."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from reelwright.errors import Conflict, MissingAsset, NotFound, RequestError, Unauthorized
from reelwright.jobs.database import Database
from reelwright.jobs.ledger import Ledger, StoredAsset
from reelwright.jobs.rows import CANCELLED, DEAF_S, DONE, FAILED, QUEUED, RUNNING, WAITING, Job, LeaseLost, NewJob
from reelwright.jobs.store import Store
from reelwright.jobs.timings import Attempt, Timings, Wait


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """The contract holds over both databases."""
    file = f"sqlite:///{tmp_path / 'reel.db'}"
    database = Database(file if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    database.migrate()
    database.migrate()
    yield Store(database, clock, lease=60)
    database.close()


def add(store: Store, **facts: object) -> Job:
    (job,) = store.submit([NewJob("generate", {}, **facts)])  # type: ignore[arg-type]  # plain values
    return job


def claimed(store: Store, worker: str = "w", **more: object) -> Job:
    job = store.claim(worker, ["cpu"], **more)  # type: ignore[arg-type]  # plain values
    assert job is not None
    return job


def film(store: Store) -> tuple[Job, Job, Job]:
    """A film that needs two scenes."""
    root = NewJob("film", {}, needs=("job_a", "job_b"), id="job_f")
    scenes = [NewJob("scene", {}, parent="job_f", id=name) for name in ("job_a", "job_b")]
    made, a, b = store.submit([root, *scenes])
    return made, a, b


def test_higher_priority_goes_first_then_the_order_of_submission(store: Store) -> None:
    first, second, urgent = add(store), add(store), add(store, priority=5)
    assert [claimed(store).id for _ in range(3)] == [urgent.id, first.id, second.id]
    assert store.claim("w", ["cpu"]) is None
    assert store.claim("w", ["gpu.8"]) is None


def test_owners_take_turns_whoever_asked_for_more(store: Store) -> None:
    """Jain's index of the first claims is 1 within rounding: one owner's hundred jobs do not hold up another's ten."""
    for _ in range(100):
        add(store, owner="many")
    for owner in ("few", "some"):
        for _ in range(10):
            add(store, owner=owner)
    served = Counter(claimed(store).owner for _ in range(30))
    assert served == {"many": 10, "few": 10, "some": 10}


def test_a_model_in_memory_is_preferred_but_never_for_long(store: Store) -> None:
    cold = add(store, model="cold")
    warm = [add(store, model="warm") for _ in range(6)]
    order = [claimed(store, warm=("warm",)).id for _ in range(7)]
    assert 1 <= order.index(cold.id) <= 3, "it is overtaken by AFFINITY turns at most"
    assert [job for job in order if job != cold.id] == [job.id for job in warm]


def test_two_workers_never_get_the_same_job(store: Store) -> None:
    for _ in range(60):
        add(store)
    taken: list[str] = []

    def take(worker: str) -> None:
        while (job := store.claim(worker, ["cpu"])) is not None:
            taken.append(job.id)

    threads = [threading.Thread(target=take, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 60


def test_a_beat_renews_the_lease_and_hears_of_a_cancel(store: Store, clock: Clock) -> None:
    job = add(store)
    mine = claimed(store)
    clock.now += 50
    assert store.beat(mine, {"stage": "draw", "done": 1, "total": 2}) is False
    clock.now += 50
    assert store.reap() == ()
    assert store.get(job.id).progress == {"stage": "draw", "done": 1, "total": 2}
    store.cancel(job.id)
    assert store.beat(mine) is True
    store.stopped(mine)
    assert store.get(job.id).state == CANCELLED


def test_a_late_writer_is_fenced(store: Store, clock: Clock) -> None:
    add(store)
    late = claimed(store, "late")
    clock.now += 61
    assert store.reap() == (late.id,)
    mine = claimed(store, "other")
    assert (mine.id, mine.attempt, mine.fence) == (late.id, 2, late.fence + 1)
    for write in (lambda: store.beat(late), lambda: store.finish(late, {}), lambda: store.fail(late, {"error": "x"}),
                  lambda: store.remember(late, {}), lambda: store.give_back(late), lambda: store.stopped(late)):  # fmt: skip
        with pytest.raises(LeaseLost):
            write()
    store.finish(mine, {"asset": "a"})
    assert store.get(mine.id).result == {"asset": "a"}


def test_a_job_that_kills_its_workers_fails_after_its_attempts(store: Store) -> None:
    poison, other = add(store), add(store)
    for attempt in (1, 2, 3):
        job = claimed(store, f"w{attempt}")
        assert (job.id, job.attempt) == (poison.id, attempt)
        assert store.died(f"w{attempt}") == (poison.id,)
    failed = store.get(poison.id)
    assert failed.state == FAILED
    assert failed.error is not None
    assert failed.error["error"] == "worker_died"
    assert store.get(other.id).state == QUEUED


def test_giving_back_counts_no_attempt(store: Store) -> None:
    job = add(store)
    store.give_back(claimed(store))
    assert (store.get(job.id).state, store.get(job.id).attempt) == (QUEUED, 0)


def test_a_hung_job_is_told_to_stop_and_fails(store: Store, clock: Clock) -> None:
    job = add(store, patience=10.0)
    mine = claimed(store)
    clock.now += 11
    assert store.reap() == ()
    assert store.beat(mine) is True
    assert store.deaf() == ()
    clock.now += 31
    assert [each.id for each in store.deaf()] == [job.id]
    store.stopped(mine)
    failed = store.get(job.id)
    assert failed.state == FAILED
    assert failed.error is not None
    assert failed.error["error"] == "timed_out"


def test_a_film_waits_for_its_scenes_and_a_failed_one_fails_it_with_the_cause(store: Store) -> None:
    made, a, b = film(store)
    assert (made.state, a.state, b.state) == (WAITING, QUEUED, QUEUED)
    store.finish(claimed(store), {})
    store.fail(claimed(store), {"error": "backend_failed", "message": "no such weights"})
    failed = store.get(made.id)
    assert failed.state == FAILED
    assert failed.error is not None
    assert (failed.error["error"], failed.error["details"]) == ("need_failed", {"need": b.id})
    assert "no such weights" in failed.error["message"]
    store.retry(b.id)
    assert [store.get(job.id).state for job in (made, a, b)] == [WAITING, DONE, QUEUED]
    store.finish(claimed(store), {})
    store.finish(claimed(store), {})
    assert store.get(made.id).state == DONE


def test_cancelling_a_film_cancels_its_scenes_and_a_retry_brings_them_back(store: Store) -> None:
    made, a, b = film(store)
    mine = claimed(store)
    store.cancel(made.id)
    assert [store.get(job.id).state for job in (made, a, b)] == [CANCELLED, RUNNING, CANCELLED]
    store.stopped(mine)
    store.retry(made.id)
    assert [store.get(job.id).state for job in (made, a, b)] == [WAITING, QUEUED, QUEUED]


def test_a_failure_that_may_pass_is_tried_again_later(store: Store, clock: Clock) -> None:
    job = add(store)
    store.fail(claimed(store), {"error": "rate_limited", "message": "wait"}, again_in=30)
    assert store.claim("w", ["cpu"]) is None
    clock.now += 31
    mine = claimed(store)
    assert (mine.id, mine.attempt, mine.error) == (job.id, 2, None)


def test_jobs_are_held_moved_and_paused(store: Store) -> None:
    first, second, third = add(store), add(store), add(store)
    store.move(third.id, first.id)
    store.hold(first.id)
    assert [store.ahead(store.get(job.id)) for job in (third, first, second)] == [0, 1, 2]
    store.pause()
    assert store.claim("w", ["cpu"]) is None
    store.pause(False)
    assert [claimed(store).id for _ in range(2)] == [third.id, second.id]
    assert store.claim("w", ["cpu"]) is None
    store.hold(first.id, held=False)
    assert claimed(store).id == first.id


def test_what_cannot_be_done_is_refused(store: Store) -> None:
    job = add(store)
    with pytest.raises(NotFound):
        store.get("job_none")
    with pytest.raises(NotFound):
        store.get(job.id, "somebody else")
    with pytest.raises(NotFound):
        add(store, needs=("job_none",))
    with pytest.raises(Conflict, match="queued"):
        store.retry(job.id)
    with pytest.raises(Conflict, match="Cancel it first"):
        store.delete(job.id)
    store.cancel(job.id)
    store.delete(job.id)
    with pytest.raises(RequestError, match="SQLite or PostgreSQL"):
        Database("mysql://host/name")


def test_lanes_are_announced_once(store: Store, clock: Clock) -> None:
    add(store)
    add(store)
    assert store.undispatched(10) == {"cpu": 2}
    assert store.undispatched(10) == {}
    clock.now += 11
    assert store.undispatched(10) == {"cpu": 2}


def test_keys_are_kept_as_hashes_and_expire(store: Store, clock: Clock, tmp_path: Path) -> None:
    """J7."""
    ledger = Ledger(store)
    key, secret = ledger.new_key("ann", ("write",), expires_at=clock.now + 10, jobs=2)
    found = ledger.key(secret)
    assert (found.owner, found.limits, found.may("read"), found.may("admin")) == ("ann", {"jobs": 2}, True, False)
    assert not any(secret.encode() in path.read_bytes() for path in tmp_path.glob("reel.db*"))
    clock.now += 11
    for wrong in (secret, "reel_wrong"):
        with pytest.raises(Unauthorized):
            ledger.key(wrong)
    ledger.revoke(key.id)
    with pytest.raises(NotFound):
        ledger.revoke("key_none")


def test_assets_belong_to_their_owner(store: Store) -> None:
    ledger = Ledger(store)
    made = ledger.add(StoredAsset("0" * 64, "video/mp4", 10, "a.mp4", "ann"))
    assert ledger.asset(made.id, "ann") == made
    assert (ledger.bytes_of("ann"), ledger.bytes_of("bob"), ledger.digests()) == (10, 0, {"0" * 64})
    with pytest.raises(MissingAsset):
        ledger.asset(made.id, "bob")


def test_a_clock_that_was_ahead_holds_nothing_up(store: Store, clock: Clock) -> None:
    """Ordered, and put off for a while, under a clock that is set back by a day."""
    clock.now += 86_400
    put_off, ordered = add(store), add(store)
    store.fail(claimed(store), {"error": "busy", "message": "busy"}, again_in=30)
    assert claimed(store).id == ordered.id
    assert store.claim("w", ["cpu"]) is None
    clock.now -= 86_400
    assert claimed(store).id == put_off.id
    store.fail(store.get(put_off.id), {"error": "busy", "message": "busy"}, again_in=86_400)
    clock.now += 3_599
    assert store.claim("w", ["cpu"]) is None
    clock.now += 2
    assert claimed(store).id == put_off.id, "no pause is longer than an hour"


def test_a_jump_of_the_clock_is_no_hanging(store: Store, clock: Clock) -> None:
    """A laptop that slept for a day while a job loaded its weights: its worker says how long the work stood still."""
    add(store, patience=100)
    job = claimed(store)
    clock.now += 86_400
    store.beat(job, idle=20)
    store.reap()
    assert (store.get(job.id).state, store.get(job.id).cancel_at) == (RUNNING, None)
    store.beat(job, idle=101)
    store.reap()
    assert store.get(job.id).cancel_at is not None


def test_a_store_has_one_clock_however_wrong_a_machines_is(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(postgres_url)
    right = time.time()
    monkeypatch.setattr(time, "time", lambda: 5.0)
    assert abs(database.clock() - right) < 5
    database.close()
    file = Database("sqlite://")
    assert file.clock() == 5.0
    file.close()


def test_waits_and_attempts_are_told_once_each(store: Store, clock: Clock) -> None:
    old = add(store)
    store.finish(claimed(store), {})
    clock.now += 10
    timings = Timings(store)
    clock.now += 1
    assert timings.news() == ([], [])
    add(store, lane="cpu")
    clock.now += 3
    job = claimed(store)
    clock.now += 7
    store.fail(job, {"error": "busy", "message": "busy"}, again_in=0)
    clock.now += 2
    assert timings.news() == ([Wait("cpu", 3.0)], [Attempt("cpu", "generate", "requeued", 7.0)])
    again = claimed(store)
    assert timings.news() == ([Wait("cpu", 2.0)], [])
    clock.now += 5
    store.finish(again, {})
    assert timings.news() == ([], [Attempt("cpu", "generate", "done", 5.0)])
    assert timings.news() == ([], [])
    assert store.get(old.id).state == DONE


def test_a_cancelled_job_whose_order_is_alive_goes_to_a_worker_that_stops_it(store: Store, clock: Clock) -> None:
    """J2, J5: nothing goes on costing at a provider after a cancel between two attempts."""
    job = add(store)
    first = claimed(store)
    store.remember(first, {"hosted": {"k": {"intent": "x"}}})
    store.fail(first, {"error": "x", "message": "away"}, again_in=600)
    assert store.cancel(job.id).state == QUEUED
    clock.now += DEAF_S * 2
    second = claimed(store)
    assert store.deaf() == (), "it has only just been told"
    assert store.beat(second)
    store.fail(second, {"error": "x", "message": "still away"}, again_in=1)
    assert store.get(job.id).state == CANCELLED, "it is not tried a third time"


def test_a_second_cancel_ends_it_without_a_worker(store: Store) -> None:
    job = add(store)
    first = claimed(store)
    store.remember(first, {"hosted": {"k": {}}})
    store.give_back(first)
    assert [store.cancel(job.id).state for _ in range(2)] == [QUEUED, CANCELLED]


def test_an_order_that_was_fetched_is_not_waited_for(store: Store) -> None:
    job = add(store)
    first = claimed(store)
    store.remember(first, {"hosted": {"k": {}}, "cost": {"k": {}}})
    store.give_back(first)
    assert store.cancel(job.id).state == CANCELLED
