"""What is known of a machine: memory of containers and of cards, at this moment (M13)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from reelwright.backends.local import hardware
from reelwright.catalog.fit import GB


def test_files_that_were_read_lately_count_as_free_in_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_CGROUP", tmp_path)
    memory = SimpleNamespace(total=64 * GB, available=60 * GB)
    monkeypatch.setattr(hardware.psutil, "virtual_memory", lambda: memory)
    (tmp_path / "memory.max").write_text(f"{8 * 10**9}\n")
    (tmp_path / "memory.current").write_text(f"{7 * 10**9}\n")
    (tmp_path / "memory.stat").write_text(f"anon {2 * 10**9}\ninactive_file {5 * 10**9}\nactive_file 0\n")
    assert hardware._ram() == pytest.approx((8, 6))


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `nvidia-smi` with two cards, the free memory of which is in a file."""
    made, free = tmp_path / "nvidia-smi", tmp_path / "free"
    free.write_text("8000")
    rows = "echo \"One, 8192, $(cat {0}), 570.1, 8.6, GPU-aa1\"; echo 'NVIDIA L4, 24576, 100, 570.1, 8.9, GPU-bb2'"
    made.write_text("#!/bin/sh\n" + rows.format(free))
    made.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    hardware.nvidia.cache_clear()  # type: ignore[attr-defined]  # it is set
    yield free
    hardware.nvidia.cache_clear()  # type: ignore[attr-defined]  # it is set


def test_free_memory_of_cards_is_as_of_now(tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardware.nvidia()[0].free == pytest.approx(8000 * 2**20 / GB)
    tool.write_text("1000")
    now = hardware.time.monotonic()
    monkeypatch.setattr(hardware.time, "monotonic", lambda: now + 5)
    assert hardware.nvidia()[0].free == pytest.approx(1000 * 2**20 / GB)


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("0,1", ["One", "NVIDIA L4"]),
        ("1", ["NVIDIA L4"]),
        ("GPU-bb", ["NVIDIA L4"]),
        ("1,7,0", ["NVIDIA L4"]),
        ("", []),
        ("-1", []),
    ],
)
@pytest.mark.usefixtures("tool")
def test_cards_that_are_hidden_from_this_process_are_not_there(
    visible: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [card.name for card in hardware.nvidia()] == names


@pytest.mark.usefixtures("tool")
def test_a_card_that_is_not_there_is_no_crash() -> None:
    assert hardware.glance("cuda:1").name == "NVIDIA L4"
    assert hardware.glance("cuda:7").name == "NVIDIA L4"
    assert hardware.glance("cuda:x").name == "One"


def test_a_device_has_one_name() -> None:
    assert hardware.glance("cpu").name == hardware.probe("cpu").name
