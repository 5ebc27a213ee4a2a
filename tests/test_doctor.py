"""The doctor: what this machine has, and what to do about what it lacks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reelwright import settings
from reelwright.backends.local import hardware
from reelwright.doctor import Finding, examine


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REELWRIGHT_HOME", str(tmp_path / "not" / "there" / "yet"))
    settings.current.cache_clear()
    hardware.nvidia.cache_clear()
    yield tmp_path
    settings.current.cache_clear()
    hardware.nvidia.cache_clear()


def found() -> dict[str, Finding]:
    made = list(examine())
    assert len({each.name for each in made if each.name != "GPU"}) == len([each for each in made if each.name != "GPU"])
    return {each.name: each for each in made}


def test_everything_is_looked_at() -> None:
    """M13 will build on it: versions, codecs, fonts, extras, GPU, disk."""
    made = found()
    assert {
        "Python",
        "reelwright",
        "av",
        "codec h264",
        "codec vp9",
        "letters Latin",
        "letters Chinese",
        "text shaping",
        "torch",
        "GPU",
        "cache",
    } <= set(made)
    assert {each.state for each in made.values()} <= {"ok", "missing", "warning"}
    assert made["codec h264"].state == "ok"
    assert made["letters Latin"].state == "ok"
    assert made["cache"].state == "ok"
    for each in made.values():
        assert each.detail or each.state == "ok", f"{each.name} lacks something and does not say what to do"


def test_without_a_driver_the_gpu_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert found()["GPU"].state == "missing"


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for the driver's tool")
@pytest.mark.parametrize(
    ("script", "state", "text"),
    [("echo 'A Card, 8192, 8000, 570.1'", "ok", "A Card"), ("exit 9", "warning", "nvidia-smi failed")],
)
def test_the_drivers_answer_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, state: str, text: str) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    gpu = found()["GPU"]
    assert (gpu.state, text in gpu.detail) == (state, True)


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for the driver's tool")
@pytest.mark.parametrize(
    ("name", "memory", "tier", "resident", "offload"),
    [
        ("NVIDIA GeForce RTX 3060", 12288, "8-12 GB", "animatediff", "wan-2.1-1.3b"),
        ("NVIDIA GeForce RTX 4090", 24564, "16-24 GB", "wan-2.1-1.3b", "wan-2.2-ti2v-5b"),
        ("NVIDIA H100 80GB HBM3", 81559, "32+ GB", "wan-2.1-i2v-480p", "wan-2.2-t2v-a14b"),
    ],
)
def test_the_tier_and_what_runs_on_it_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, memory: int, tier: str, resident: str, offload: str
) -> None:
    """M13: hardware tiers of the seeds; what runs well, what with offload."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '{name}, {memory}, {memory - 300}, 570.1'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(hardware, "_ram", lambda: (128.0, 120.0))
    made = found()
    assert tier in made["tier"].detail
    assert resident in made["models that run well"].detail.split(", ")
    assert offload in made["models that run with offload"].detail.split(", ")


def test_providers_say_whether_they_are_ready_and_where_a_key_is_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """J7, M10: which key is missing, and never a key itself."""
    monkeypatch.setenv("FAL_KEY", "planted-secret")
    for name in ("RUNWAYML_API_SECRET", "REPLICATE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REELWRIGHT_COMFY_SERVERS", "http://127.0.0.1:9")
    monkeypatch.setattr("keyring.get_password", lambda *_: None)
    settings.current.cache_clear()
    made = found()
    assert made["provider fal"].state == "ok"
    assert made["provider Runway"].state == "missing"
    assert "RUNWAYML_API_SECRET" in made["provider Runway"].detail
    assert "http" in made["ComfyUI"].detail
    assert made["ComfyUI"].state == "missing"
    assert "planted-secret" not in repr(made)


def test_wrong_settings_are_a_finding_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEO_FRAME_RATE", "fast")
    settings.current.cache_clear()
    finding = found()["settings"]
    assert finding.state == "warning"
    assert "video_frame_rate" in finding.detail.lower()
