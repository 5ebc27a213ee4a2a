"""What the tests of local models share: folders of tiny pipelines, one thread, and no model left in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tinies

from reelwright.settings import Settings


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tinies.Tinies:
    """The tiny pipelines, each built and saved once a session, on first use."""
    return tinies.Tinies(tmp_path_factory.mktemp("tinies"))


@pytest.fixture
def known(tmp_path: Path) -> Settings:
    """Settings with a cache of this test's own, on the CPU."""
    return Settings(_env_file=None, cache_folder=tmp_path / "cache", device="cpu")  # type: ignore[call-arg]  # pydantic-settings' own


@pytest.fixture(autouse=True)
def clean(absent: Callable[[str], None]) -> Iterator[None]:
    """One thread for torch, which models this small lose time without, and an empty memory afterwards."""
    if not tinies.HERE:
        absent("torch, diffusers or transformers")
    import torch

    from reelwright.backends.local.residency import RESIDENTS

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    RESIDENTS.unload()
    assert not RESIDENTS.loaded(), "a model is still in use"


@pytest.fixture
def make(known: Settings) -> Callable[..., tinies.Made]:
    """`tinies.made` with this test's settings."""

    def made(shot: Any, **how: Any) -> tinies.Made:
        return tinies.made(shot, known, **how)

    return made
