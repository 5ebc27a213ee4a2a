"""Two at the same moment: on SQLite, and on PostgreSQL under READ COMMITTED (J1, J2)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reelwright.errors import Conflict, NotFound, ReelwrightError
from reelwright.jobs.database import Database
from reelwright.jobs.rows import DONE, ENDED, QUEUED, RUNNING, WAITING, LeaseLost, NewJob
from reelwright.jobs.store import Store
from reelwright.request import GenerationRequest
from reelwright.settings import load
from reelwright.workshop import Order, Workshop

ROUNDS = 12


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'reel.db'}" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    database = Database(url)
    database.migrate()
    yield Store(database, lease=60)
    database.close()


def at_once(*works: Callable[[], object]) -> list[object]:
    """What each came to; errors are results too."""
    ready = threading.Barrier(len(works))
    came: list[object] = [None] * len(works)

    def run(index: int, work: Callable[[], object]) -> None:
        ready.wait(30)
        try:
            came[index] = work()
        except (ReelwrightError, LeaseLost) as error:
            came[index] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "they wait for each other"
    return came


def test_many_workers_get_each_job_once(store: Store) -> None:
    jobs = store.submit([NewJob("generate", {}) for _ in range(60)])
    served: Counter[str] = Counter()

    def work() -> None:
        while (job := store.claim("w", ["cpu"])) is not None:
            served[job.id] += 1
            store.finish(job, {})

    at_once(*[work] * 6)
    assert served == Counter(job.id for job in jobs)
    assert {job.state for job in store.list(limit=100)} == {DONE}


def test_a_need_that_ends_while_it_is_named_does_not_leave_its_user_waiting(store: Store) -> None:
    for _ in range(ROUNDS):
        (need,) = store.submit([NewJob("scene", {})])
        job = store.claim("w", ["cpu"])
        assert job is not None
        (user,), _ = at_once(
            lambda need=need: store.submit([NewJob("film", {}, needs=(need.id,))]), lambda job=job: store.finish(job, {})
        )  # type: ignore[misc]  # a tuple of one
        assert store.get(user.id).state == QUEUED  # type: ignore[attr-defined]  # a job
        store.cancel(user.id)  # type: ignore[attr-defined]  # likewise


def test_two_needs_that_end_together_wake_their_user_once(store: Store) -> None:
    for _ in range(ROUNDS):
        needs = store.submit([NewJob("scene", {}) for _ in range(2)])
        (user,) = store.submit([NewJob("film", {}, needs=tuple(need.id for need in needs))])
        jobs = [store.claim("w", ["cpu"]) for _ in needs]
        at_once(*(lambda job=job: store.finish(job, {}) for job in jobs))  # type: ignore[misc]  # jobs, none is None
        assert store.get(user.id).state == QUEUED
        assert [event.what for event in store.events(user.id)].count("queued") == 1
        store.cancel(user.id)


def test_cancel_and_finish_end_a_job_once(store: Store) -> None:
    for _ in range(ROUNDS):
        store.submit([NewJob("generate", {})])
        job = store.claim("w", ["cpu"])
        assert job is not None
        at_once(lambda job=job: store.cancel(job.id), lambda job=job: store.finish(job, {}))  # type: ignore[misc]  # a job
        ends = [event.what for event in store.events(job.id) if event.what in ENDED]
        assert ends == [DONE]


def test_a_dead_workers_job_is_taken_back_or_finished_never_both(store: Store) -> None:
    for _ in range(ROUNDS):
        (made,) = store.submit([NewJob("generate", {})])
        job = store.claim("w", ["cpu"])
        assert job is not None
        back, end = at_once(lambda: store.died("w"), lambda job=job: store.finish(job, {}))  # type: ignore[misc]  # a job
        if back == (made.id,):
            assert isinstance(end, LeaseLost)
            assert store.get(made.id).state == QUEUED
            store.cancel(made.id)
        else:
            assert store.get(made.id).state == DONE


def test_retry_and_delete_leave_a_job_whole_or_none(store: Store) -> None:
    for _ in range(ROUNDS):
        root = NewJob("film", {}, needs=("job_x",), id="job_r")
        store.submit([root, NewJob("scene", {}, parent="job_r", id="job_x")])
        store.cancel("job_r")
        at_once(lambda: store.retry("job_r"), lambda: store.delete("job_r"))
        left = {job.id: job.state for job in store.list(limit=10)}
        assert left in ({}, {"job_r": WAITING, "job_x": QUEUED})
        if left:
            store.cancel("job_r")
            store.delete("job_r")


def test_films_are_cancelled_while_their_scenes_end_without_a_deadlock(store: Store) -> None:
    for _ in range(ROUNDS):
        ids = [f"job_s{number}" for number in range(4)]
        film = NewJob("film", {}, needs=tuple(ids), id="job_f")
        store.submit([film, *(NewJob("scene", {}, parent="job_f", id=name) for name in ids)])
        *jobs, failing = (store.claim("w", ["cpu"]) for _ in range(3))
        at_once(
            lambda: store.cancel("job_f"),
            lambda: store.reap(),
            *(lambda job=job: store.finish(job, {}) for job in jobs),  # type: ignore[misc]  # jobs
            lambda job=failing: store.fail(job, {"error": "x", "message": "x"}),  # type: ignore[arg-type]  # a job
        )
        states = {job.id: job.state for job in store.list(limit=10)}
        assert states["job_f"] in ENDED
        assert RUNNING not in states.values()
        store.delete("job_f")


def test_the_same_call_twice_at_once_makes_one_job(url: str, tmp_path: Path) -> None:
    shop = Workshop(load(data_folder=tmp_path / "data", cache_folder=tmp_path / "cache", store=url))
    for number in range(ROUNDS):
        order = Order(call=(f"key {number}", "body"))
        made = at_once(*[lambda order=order: shop.generate(GenerationRequest("A boat"), order)] * 4)  # type: ignore[misc]  # an order
        assert len({job.id for job in made}) == 1  # type: ignore[attr-defined]  # jobs
    assert len(shop.store.list(limit=100)) == ROUNDS
    other = at_once(lambda: shop.generate(GenerationRequest("A boat"), Order(call=("key 0", "another"))))
    assert isinstance(other[0], Conflict)
    with pytest.raises(NotFound):
        shop.store.get("job_none")
    shop.close()


def test_two_that_start_together_migrate_once(url: str) -> None:
    databases = [Database(url) for _ in range(3)]
    assert at_once(*(database.migrate for database in databases)) == [None] * 3
    assert Store(databases[0]).list() == ()
    for database in databases:
        database.close()


def test_the_tables_are_what_the_migrations_make(url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from reelwright.jobs.tables import METADATA, VERSION

    config = Config()
    config.set_main_option("script_location", "reelwright.jobs:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [VERSION]
    database = Database(url)
    database.migrate()
    with database.engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), METADATA)
    assert found == []
    database.close()
