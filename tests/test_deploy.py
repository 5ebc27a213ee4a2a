"""The files of `deploy/` name settings, commands and lanes that exist (J2, J10). They were not run: no Docker here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main
import yaml

from reelwright.cli import app
from reelwright.settings import Settings, load
from reelwright.workers import GPU_TIERS

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a click group


@pytest.fixture(scope="module")
def compose(root: Path) -> dict[str, dict[str, dict[str, object]]]:
    made: dict[str, dict[str, dict[str, object]]] = yaml.safe_load((root / "deploy" / "compose.yaml").read_text())
    return made


def test_every_setting_of_the_containers_exists_and_is_valid(compose: dict[str, dict[str, dict[str, object]]]) -> None:
    given = compose["services"]["api"]["environment"]
    ours = {name.removeprefix("REELWRIGHT_").lower(): value for name, value in given.items() if name.startswith("REELWRIGHT_")}  # type: ignore[attr-defined]  # a mapping
    assert ours.keys() <= set(Settings.model_fields)
    assert load(**ours).store_url.startswith("postgresql://")


def test_every_command_of_the_containers_exists(compose: dict[str, dict[str, dict[str, object]]]) -> None:
    lanes = {"cpu", "net", *(f"gpu.{tier}" for tier in GPU_TIERS)}
    for name, service in compose["services"].items():
        command = service.get("command", "")
        words = shlex.split(command) if isinstance(command, str) else []
        if words[:1] == ["reel"]:
            known = {option for parameter in COMMANDS[words[1]].params for option in [*parameter.opts, *parameter.secondary_opts]}
            assert {word for word in words if word.startswith("--")} <= known, name
        elif words[:1] == ["celery"]:
            assert words[words.index("-A") + 1] == "reelwright.dispatch"
            assert set(words[words.index("-Q") + 1].split(",")) <= lanes


def test_no_password_is_written_down(compose: dict[str, dict[str, dict[str, object]]], root: Path) -> None:
    text = (root / "deploy" / "compose.yaml").read_text()
    wanted = set(re.findall(r"\$\{(\w+):\?", text))
    example = (root / "deploy" / "env.example").read_text()
    assert wanted == set(re.findall(r"^(\w+)=$", example, re.MULTILINE))
    assert [port for service in compose["services"].values() for port in service.get("ports", ())] == ["127.0.0.1:8000:8000"]  # type: ignore[attr-defined]  # a list


def test_the_image_installs_extras_that_exist(root: Path) -> None:
    import tomllib

    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = (root / "deploy" / "Dockerfile").read_text() + (root / "deploy" / "compose.yaml").read_text()
    named = {extra for found in re.findall(r'EXTRAS[=:] *"?([\w,]+)', text) for extra in found.split(",")}
    assert named - {"local"} <= set(extras)  # "local" comes with the local models
