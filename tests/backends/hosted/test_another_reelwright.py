"""Another Reelwright is a hosted model: the real server, asked by the same contract as SGLang and vLLM-Omni (M14)."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import served, working

from reelwright.backends.hosted import loop, wire
from reelwright.backends.hosted.openai import OpenAI
from reelwright.catalog import Card, find, resolve
from reelwright.errors import Cancelled
from reelwright.jobs.rows import CANCELLED
from reelwright.request import GenerationRequest
from reelwright.run import LocalRun
from reelwright.settings import Settings, load
from reelwright.workshop import Workshop


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (loop, wire):
        monkeypatch.setattr(place, "paused", lambda *_, **__: 0.05)


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(load(data_folder=tmp_path / "data", cache_folder=tmp_path / "cache", workers=1))


@pytest.fixture
def card(shop: Workshop) -> Iterator[Card]:
    """A card with the server's address; its model there is the placeholder."""
    with served(shop) as address:
        card = find("openai-video")
        sizes = dataclasses.replace(card.sizes, native=((160, 96),), least=64)
        settings = {**card.settings, "base": f"{address}/v1", "idempotent": True}
        yield dataclasses.replace(card, sizes=sizes, source="placeholder", settings=settings)


@pytest.fixture
def run() -> Iterator[LocalRun]:
    made = LocalRun()
    yield made
    made.close()


def provider(tmp_path: Path) -> OpenAI:
    return OpenAI(Settings(_env_file=None, data_folder=tmp_path / "here", request_timeout=60))


def test_a_shot_is_made_there_and_ordered_once(shop: Workshop, card: Card, run: LocalRun, tmp_path: Path) -> None:
    shot, _ = resolve(GenerationRequest(prompt="A boat", seconds=1, seed=3), card, str)
    with working(shop):
        with provider(tmp_path).generate(shot, run) as video:
            assert (video.spec.width, video.spec.height, video.spec.frames) == (160, 96, 24)
            assert sum(1 for _ in video.frames) == 24
        memory = copy.deepcopy(run.memory)
        memory["hosted"][shot.fingerprint[:16]]["operation"] = None  # the answer to the order was lost in a crash
        run.memory = memory
        with provider(tmp_path).generate(shot, run) as video:
            assert sum(1 for _ in video.frames) == 24
    assert len([job for job in shop.store.list() if job.parent is None]) == 1


def test_a_cancel_here_is_a_cancel_there(shop: Workshop, card: Card, tmp_path: Path) -> None:
    """Without a worker it waits in the queue until it is stopped."""
    shot, _ = resolve(GenerationRequest(prompt="A boat", seconds=1, seed=3), card, str)
    seen: list[str] = []
    run = LocalRun(lambda step: seen.append(step.stage), cancel=lambda: "queue" in seen)
    with pytest.raises(Cancelled):
        provider(tmp_path).generate(shot, run)
    assert all(job.state == CANCELLED for job in shop.store.list())
