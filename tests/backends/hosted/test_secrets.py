"""A planted key is nowhere but at the provider: not in files, notes, errors, logs, manifests or costs (J7)."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import standins

from reelwright import settings
from reelwright.backends.hosted import loop
from reelwright.errors import ReelwrightError
from reelwright.request import GenerationRequest
from reelwright.run import LocalRun
from reelwright.studio import Studio

KEY = "planted-key-0123456789abcdef"


@pytest.mark.parametrize("ends", ["done", "failed", "refused"])
def test_a_key_is_nowhere_in_what_is_kept(
    ends: str, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = standins.FalStandIn(KEY)
    server.ends = ends  # a failure says the key back
    monkeypatch.setenv("FAL_KEY", KEY)
    monkeypatch.setenv("REELWRIGHT_BASE_FAL", server.address)
    monkeypatch.setenv("REELWRIGHT_ALLOW_HOSTS", "127.0.0.1")
    monkeypatch.setattr(loop, "paused", lambda *_, **__: 0.01)
    settings.current.cache_clear()
    caplog.set_level(logging.DEBUG)
    told = ""
    run = LocalRun()
    try:
        made = Studio().generate(GenerationRequest(prompt="A boat", model="fal/hailuo-02"), tmp_path / "boat.mp4", run=run)
        told += json.dumps([made.manifest, made.notes], default=str)
    except ReelwrightError as error:
        told += json.dumps(error.body()) + repr(error) + repr(error.__cause__)
    finally:
        server.close()
        loop._BREAKERS.clear()
    told += json.dumps([run.memory, run.notes]) + caplog.text + repr(settings.current())
    assert server.orders
    assert KEY not in told
    files = [path for folder in (home, tmp_path) for path in folder.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
