"""A hosted model and a program that is killed: one order, one result (J5)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from reelwright.standin import Received, StandIn

pytestmark = pytest.mark.journey
KEY = "planted-key-0123456789abcdef"
PROGRAM = """
import json, sys
from pathlib import Path
from reelwright.backends.hosted.replicate import Replicate
from reelwright.catalog import find, resolve
from reelwright.media.encode import save
from reelwright.request import GenerationRequest
from reelwright.run import LocalRun

kept = Path("memory.json")

class Kept(LocalRun):
    def remember(self, **facts):
        super().remember(**facts)
        part = kept.with_suffix(".part")
        part.write_text(json.dumps(self.memory))
        part.rename(kept)

run = Kept(memory=json.loads(kept.read_text()) if kept.exists() else {})
shot, _ = resolve(GenerationRequest(prompt="A boat", seed=1), find("replicate/wan-2.2-fast"), str)
with Replicate().generate(shot, run) as video:
    save(video, Path("boat.mp4"))
print(json.dumps(run.memory["cost"]))
"""


class Slow(StandIn):
    """Replicate, as little of it as is needed."""

    def answer(self, call: Received) -> Any:
        if call.method == "POST":
            return {"id": self.ordered(call), "status": "starting"}
        state = self.state(call.path.split("/")[-1])
        return {"status": "succeeded", "output": self.url} if state == "done" else {"status": "processing"}


@pytest.mark.skipif(os.name == "nt", reason="kills by signal")
def test_a_program_that_is_killed_while_it_waits_goes_on_with_what_it_ordered(tmp_path: Path, home: Path) -> None:
    server = Slow(KEY)
    server.ends = "running"
    surroundings = {
        **os.environ,
        "REPLICATE_API_TOKEN": KEY,
        "REELWRIGHT_BASE_REPLICATE": server.address,
        "REELWRIGHT_ALLOW_HOSTS": "127.0.0.1",
    }
    command = [sys.executable, "-c", PROGRAM]
    try:
        first = subprocess.Popen(command, cwd=tmp_path, env=surroundings)
        until = time.monotonic() + 60
        while not any(call.method == "GET" for call in server.calls):
            assert first.poll() is None, "it left by itself"
            assert time.monotonic() < until
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
        assert first.wait() == -signal.SIGKILL
        server.ends = "done"
        second = subprocess.run(command, cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=120, check=True)
    finally:
        server.close()
    assert len(server.orders) == 1
    assert server.stops == []
    (cost,) = json.loads(second.stdout).values()
    assert cost["operation"] == "op-1"
    assert (tmp_path / "boat.mp4").stat().st_size > 1000
    assert KEY not in (tmp_path / "memory.json").read_text()
