"""Contract tests for people who write hosted providers: subclass, name the provider, its stand-in and a card.

    from reelwright.testing_hosted import HostedContract

    class TestMine(HostedContract):
        provider = Mine
        stand_in = MineStandIn
        card_id = "mine/video"

Everything happens on this machine, in a few seconds. pytest is needed to run them, nothing else.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

from reelwright.backends.hosted import loop, wire
from reelwright.backends.hosted.loop import Hosted
from reelwright.backends.hosted.purse import FilePurse
from reelwright.catalog import Card, FrameRule, RateRule, Shot, SizeRule, find, resolve
from reelwright.catalog.shot import digest
from reelwright.errors import (
    BackendError,
    Cancelled,
    MissingKey,
    ProviderFailed,
    ReelwrightError,
    Refused,
    RequestError,
    TimedOut,
    TooLarge,
)
from reelwright.fetching import Fetcher
from reelwright.request import GenerationRequest, Input
from reelwright.run import LocalRun, Progress
from reelwright.settings import Settings
from reelwright.standin import FPS, FRAMES, SIZE, Received, StandIn
from reelwright.types import Role

KEY = "planted-key-0123456789abcdef"


class Elsewhere(StandIn):
    """A server that nobody has any business with."""

    def answer(self, call: Received) -> Any:  # noqa: ARG002  whatever it is
        """Nothing."""
        return {}


class Crash(BaseException):
    """The program ends here."""


class HostedContract:
    """What every hosted provider must keep. `stops`: whether it can be stopped; `blocking`: it answers when it is done."""

    provider: ClassVar[type[Hosted]]
    stand_in: ClassVar[type[StandIn]]
    card_id: ClassVar[str] = ""
    roles: ClassVar[tuple[Role, ...]] = ()
    """Roles of the inputs that the shots have: a picture for each."""
    keys: ClassVar[tuple[str, ...]] = ()
    """The settings that hold its keys; `provider.key` if none are named."""
    door: ClassVar[str] = ""
    """What REELWRIGHT_BASE_ is followed by, if not by the provider's name."""
    stops: ClassVar[bool] = True
    blocking: ClassVar[bool] = False
    timeout: ClassVar[float] = 30.0

    def setup_method(self) -> None:
        """A stand-in, settings and pauses of its own."""
        self._folder = tempfile.TemporaryDirectory(prefix="reelwright-")
        self.folder = Path(self._folder.name)
        self.server, self.elsewhere = self.stand_in(KEY), Elsewhere(KEY)
        self.server.elsewhere = self.elsewhere.address
        base = {f"REELWRIGHT_BASE_{self.door or self.provider.__name__.upper()}": self.base()}
        short = mock.Mock(return_value=0.01)
        self._patches: list[Any] = [
            mock.patch.dict(os.environ, base),
            mock.patch.object(loop, "paused", short),
            mock.patch.object(wire, "paused", short),
        ]
        for patch in self._patches:
            patch.start()

    def teardown_method(self) -> None:
        """Everything is closed."""
        for patch in self._patches:
            patch.stop()
        loop._BREAKERS.clear()
        self.server.close()
        self.elsewhere.close()
        self._folder.cleanup()

    def base(self) -> str:
        """The stand-in's address as the provider's base; override if that has a path."""
        return self.server.address

    def card(self) -> Card:
        """The card under test."""
        return find(self.card_id)

    def small(self) -> Card:
        """The card, made so small that it is quick."""
        picture = self.card().frames.most == 1
        frames = FrameRule(1, most=1) if picture else FrameRule(FRAMES)
        return dataclasses.replace(self.card(), sizes=SizeRule(((SIZE, SIZE),), 2, 16), frames=frames, fps=RateRule(FPS))

    def settings(self, **changes: Any) -> Settings:
        """Settings with the planted key."""
        names = self.keys or tuple(filter(None, (self.provider.key,)))
        os.environ.update({name.upper(): str(changes.get(name, KEY)) for name in names if name not in Settings.model_fields})
        given = {
            **dict.fromkeys(names, KEY),
            "allow_hosts": ("127.0.0.1",),
            "request_timeout": self.timeout,
            "data_folder": self.folder / "data",
            "cache_folder": self.folder / "cache",
            **changes,
        }
        return Settings(_env_file=None, **given)

    def shot(self, **changes: Any) -> Shot:
        """A shot with the inputs that the card needs."""
        inputs = []
        for role in self.roles:
            from PIL import Image

            path = self.folder / f"{role.value}.png"
            Image.new("RGB", (SIZE, SIZE), (200, 90, 40)).save(path)
            inputs.append(Input(role, str(path)))
        asked = GenerationRequest(prompt="A boat on a lake", inputs=tuple(inputs), seed=7, **changes)
        return resolve(asked, self.small(), lambda ref: digest(Path(ref)))[0]

    def made(self, run: LocalRun | None = None, **changes: Any) -> int:
        """Generate, read every frame, and say how many came."""
        run = run or LocalRun()
        try:
            with self.provider(self.settings(**changes)).generate(self.shot(), run) as video:
                spec = video.spec
                assert (spec.width, spec.height) == (SIZE, SIZE), "the video's size is not the shot's"
                assert spec.fps == FPS, "the video's rate is not the shot's"
                return sum(1 for _ in video.frames)
        finally:
            run.close()

    def fails(self, run: LocalRun | None = None, **changes: Any) -> ReelwrightError:
        """Generate, and return what went wrong; the key is nowhere in it."""
        run = run or LocalRun()
        failed: ReelwrightError | None = None
        try:
            self.made(run, **changes)
        except ReelwrightError as error:
            failed = error
        assert failed is not None, "it went well"
        assert KEY not in json.dumps([failed.body(), run.notes, run.memory], default=str) + repr(failed), "the key is told"
        return failed

    # ---- the contract

    def test_a_shot_becomes_a_video(self) -> None:
        run = LocalRun()
        assert self.made(run) == self.shot().frames
        assert len(self.server.orders) == 1
        cost = run.memory["cost"][self.shot().fingerprint[:16]]
        assert cost["model"] == self.card().id
        assert KEY not in json.dumps([run.memory, run.notes]), "the key is remembered"

    def test_progress_rises_and_ends_complete(self) -> None:
        seen: list[Progress] = []
        self.made(LocalRun(on_progress=seen.append))
        stages = list(dict.fromkeys(each.stage.split(" (")[0].split(":")[0] for each in seen))
        assert stages[0] == "order"
        assert stages[-1] == "fetch"
        assert self.blocking or "queue" in stages, f"nothing was told while it waited: {stages}"
        assert seen[-1].done == seen[-1].total, "progress does not end complete"

    def test_a_cancel_stops_it_there(self) -> None:
        if self.blocking:
            return
        run = self._cancelled()
        assert self.server.stops == (["op-1"] if self.stops else []), "it goes on at the provider"
        assert bool(run.memory.get("hosted")) is not self.stops, "what was stopped is remembered, or what goes on is not"

    def test_a_worker_that_leaves_lets_it_go_on(self) -> None:
        if self.blocking:
            return
        run = self._cancelled(leaving=lambda: True)
        assert self.server.stops == [], "what another worker goes on with was stopped"
        self.server.ends = "done"
        assert self.made(LocalRun(memory=run.memory)) == self.shot().frames
        assert len(self.server.orders) == 1, "it was ordered twice"

    def _cancelled(self, **more: Any) -> LocalRun:
        self.server.ends, stop = "running", threading.Event()
        run = LocalRun(lambda step: stop.set() if step.stage.startswith("run") else None, cancel=stop, **more)
        try:
            self.made(run)
        except Cancelled:
            return run
        raise AssertionError("it was not cancelled")

    def test_asked_to_wait_it_waits_and_orders_once(self) -> None:
        self.server.busy = 2
        began = time.monotonic()
        assert self.made() == self.shot().frames
        assert time.monotonic() - began >= 0.1, "Retry-After was not heeded"
        assert len(self.server.orders) == 1

    def test_a_fault_in_the_middle_is_outlived(self) -> None:
        if not self.blocking:
            self.server.faults = 3
            assert self.made() == self.shot().frames

    def test_a_failure_is_told(self) -> None:
        if self.blocking:
            return
        self.server.ends, run = "failed", LocalRun()
        error = self.fails(run)
        assert isinstance(error, ProviderFailed)
        assert not error.retryable
        assert "out of memory" in error.message, "what the provider says is lost"
        assert not run.memory.get("hosted"), "a second attempt would wait for what failed"
        assert self._spent() == 0.0, "what failed is paid"

    def test_a_refusal_by_policy_is_one(self) -> None:
        if not self.blocking:
            self.server.ends = "refused"
            assert isinstance(self.fails(), Refused)

    def test_a_state_that_is_not_known_is_still_at_work(self) -> None:
        if self.blocking:
            return
        self.server.ends, run = "strange", LocalRun()
        assert isinstance(self.fails(run, request_timeout=0.3), TimedOut)
        assert len(self.server.orders) == 1

    def test_one_that_never_ends_is_given_up_and_stopped(self) -> None:
        if self.blocking:
            return
        self.server.ends = "running"
        error = self.fails(request_timeout=0.3)
        assert isinstance(error, TimedOut)
        assert not error.retryable, "a second attempt would order it again"
        assert self.server.stops == (["op-1"] if self.stops else [])

    def test_addresses_in_answers_are_not_followed_with_the_key(self) -> None:
        self.made()
        assert self.elsewhere.calls == [], "another server was asked because an answer said so"

    def test_a_result_that_leads_into_a_private_network_is_refused(self) -> None:
        if self.blocking:
            return
        self.server.moved = "http://10.255.255.1:80/film.mp4"
        assert isinstance(self.fails(), RequestError)

    def test_a_result_that_is_too_large_is_refused(self) -> None:
        if not self.blocking:
            assert isinstance(self.fails(max_video_file_size=len(self.server.made) - 1), TooLarge)

    def test_a_result_that_is_no_video_is_refused(self) -> None:
        self.server.made, self.server.kind = b"<html>An advertisement</html>" * 50, "video/mp4"
        error = self.fails()
        assert isinstance(error, BackendError)
        assert not error.retryable

    def test_a_missing_key_is_told_before_anything_is_asked(self) -> None:
        for name in self.keys or (self.provider.key,):
            if name is not None:
                assert isinstance(self.fails(None, **{name: ""}), MissingKey)
        assert self.server.calls == []

    def test_a_wrong_key_is_told_and_orders_nothing(self) -> None:
        for name in self.keys[:1] or (self.provider.key,):
            if name is not None:
                run = LocalRun()
                error = self.fails(run, **{name: "another-key"})
                assert isinstance(error, MissingKey)
                assert "another-key" not in error.message, "the key that was tried is told"
                assert not run.memory.get("hosted")
        assert self.server.orders == []

    def test_a_crash_between_any_two_lines_costs_once_at_most(self) -> None:
        point, finished = 0, False
        while not finished:
            self.server.orders.clear()
            self.server._asked.clear()
            self.server._once.clear()
            shutil.rmtree(self.folder / "data" / "orders", ignore_errors=True)
            run, finished = _Forgetful(), False
            with _crashing(point):
                try:
                    self.made(run)
                    finished = True
                except Crash:
                    pass
            self._goes_on(run, point)
            point += 1
        assert point >= (6 if self.blocking else 10), "fewer lines than start, remember, poll and fetch have"

    def _goes_on(self, run: _Forgetful, point: int) -> None:
        """After a crash it is done, and paid once; or, where nobody can know whether it was ordered, the person is asked."""
        memory = json.loads(run.disk)
        unknown = any(each["operation"] is None and each["made"] is None for each in memory.get("hosted", {}).values())
        again = self.provider.idempotent or self.card().settings.get("idempotent")
        told, count = "", None
        try:
            count = self.made(LocalRun(memory=memory))
        except BackendError as error:
            told = error.message
        where = f"after a crash at {point}: {told or count}, {len(self.server.orders)} orders"
        assert len(self.server.orders) <= 1, where
        if unknown and not again:
            assert "may have taken" in told, where
        else:
            assert count == self.shot().frames, where
            assert len(self.server.orders) == 1, where

    def _spent(self) -> float:
        return sum(each["usd"] or 0.0 for each in FilePurse(self.settings()).orders())


class _Forgetful(LocalRun):
    """A run whose memory is what reached the disk."""

    disk: str = "{}"

    def remember(self, **facts: Any) -> None:
        """Keep facts as a store does."""
        super().remember(**facts)
        self.disk = json.dumps(self.memory)


class _crashing:  # noqa: N801  read as a statement
    """The program ends before or after the `point`-th thing that it does: what it sends, remembers and fetches."""

    def __init__(self, point: int) -> None:
        self._point, self._count = point, 0
        places: tuple[tuple[Any, str], ...] = (
            (wire.Wire, "send"),
            (wire.Wire, "save"),
            (Fetcher, "fetch"),
            (_Forgetful, "remember"),
        )
        self._patches = [mock.patch.object(owner, name, self._around(getattr(owner, name))) for owner, name in places]

    def _around(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def around(*given: Any, **named: Any) -> Any:
            self._line()
            made = original(*given, **named)
            self._line()
            return made

        return around

    def _line(self) -> None:
        self._count += 1
        if self._count == self._point + 1:
            raise Crash

    def __enter__(self) -> None:
        for patch in self._patches:
            patch.start()

    def __exit__(self, *_: object) -> None:
        for patch in self._patches:
            patch.stop()
