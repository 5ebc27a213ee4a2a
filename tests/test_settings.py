"""Settings: arguments, environment, .env, reelwright.toml, defaults, in this order (J8)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reelwright import settings
from reelwright.errors import RequestError
from reelwright.settings import Settings, load


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, home and environment."""
    for name in [*os.environ]:
        if name.upper().startswith(("REELWRIGHT_", "DEFAULT_", "MAX_VIDEO", "VIDEO_", "REQUEST_TIMEOUT", "HF_", "OPENAI_")):
            monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("REELWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    made = load()
    assert made.default_text_to_video_model == made.default_image_to_video_model == "placeholder"
    assert made.video_quality_preset == "standard"
    assert made.cache_folder == tmp_path / "home" / "cache"
    assert made.hf_token is None


SEEDS = [
    ("DEFAULT_TEXT_TO_VIDEO_MODEL", "a-model", "default_text_to_video_model", "a-model"),
    ("DEFAULT_IMAGE_TO_VIDEO_MODEL", "a-model", "default_image_to_video_model", "a-model"),
    ("MAX_VIDEO_DURATION", "12.5", "max_video_duration", 12.5),
    ("MAX_VIDEO_FILE_SIZE", "1000", "max_video_file_size", 1000),
    ("VIDEO_QUALITY_PRESET", "high", "video_quality_preset", "high"),
    ("VIDEO_QUALITY_PRESET", "Medium", "video_quality_preset", "standard"),
    ("VIDEO_FRAME_RATE", "8", "video_frame_rate", 8.0),
    ("VIDEO_INFERENCE_STEPS", "25", "video_inference_steps", 25),
    ("REQUEST_TIMEOUT", "30", "request_timeout", 30.0),
]


@pytest.mark.parametrize("prefix", ["", "REELWRIGHT_"])
@pytest.mark.parametrize(("name", "value", "field", "expected"), SEEDS)
def test_the_guides_names_work_with_and_without_prefix(
    prefix: str, name: str, value: str, field: str, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J8: the names of the video-generation guide."""
    monkeypatch.setenv(prefix + name, value)
    assert getattr(load(), field) == expected


@pytest.mark.parametrize(
    ("name", "field"),
    [("HF_TOKEN", "hf_token"), ("HF_API_KEY", "hf_token"), ("REELWRIGHT_HF_TOKEN", "hf_token"),
     ("OPENAI_API_KEY", "openai_api_key"), ("REELWRIGHT_OPENAI_API_KEY", "openai_api_key")],
)  # fmt: skip
def test_keys_are_read_and_never_shown(name: str, field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """J8, J7: a key is there for those who ask for it, and in no text."""
    monkeypatch.setenv(name, "sk-very-secret")
    made = load()
    assert getattr(made, field).get_secret_value() == "sk-very-secret"
    assert "very-secret" not in repr(made) + str(made) + made.model_dump_json()


def test_the_prefixed_name_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEO_FRAME_RATE", "10")
    monkeypatch.setenv("REELWRIGHT_VIDEO_FRAME_RATE", "20")
    assert load().video_frame_rate == 20


def test_each_source_yields_to_the_one_before(alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """J8: arguments, environment, .env, the working folder's file, the person's file, defaults."""
    assert load().max_video_duration == 600
    (tmp_path / "home" / "reelwright.toml").write_text("max_video_duration = 1\ncache_limit_gb = 7\n")
    assert (load().max_video_duration, load().cache_limit_gb) == (1, 7)
    (alone / "reelwright.toml").write_text("max_video_duration = 2\n")
    assert (load().max_video_duration, load().cache_limit_gb) == (2, 7)
    (alone / ".env").write_text("MAX_VIDEO_DURATION=3\nSOMETHING_ELSE=x\n")
    assert load().max_video_duration == 3
    monkeypatch.setenv("MAX_VIDEO_DURATION", "4")
    assert load().max_video_duration == 4
    assert load(max_video_duration=5).max_video_duration == 5


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEO_FRAME_RATE", "")
    assert load().video_frame_rate is None


def test_every_wrong_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_VIDEO_DURATION", "-3")
    monkeypatch.setenv("VIDEO_QUALITY_PRESET", "ultra")
    with pytest.raises(RequestError) as caught:
        load()
    assert "MAX_VIDEO_DURATION" in caught.value.message.upper()
    assert "VIDEO_QUALITY_PRESET" in caught.value.message.upper()


def test_a_file_that_is_not_toml_is_an_error_and_no_traceback(alone: Path) -> None:
    (alone / "reelwright.toml").write_text("this is not toml")
    with pytest.raises(RequestError, match="cannot be read"):
        load()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().max_video_duration = 3


def test_current_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    settings.current.cache_clear()
    first = settings.current()
    monkeypatch.setenv("MAX_VIDEO_DURATION", "4")
    assert settings.current() is first
    settings.current.cache_clear()
    assert settings.current().max_video_duration == 4
    settings.current.cache_clear()


def test_every_field_says_what_it_is_for() -> None:
    source = Path(settings.__file__).read_text("utf-8")
    for name in Settings.model_fields:
        assert name in source
    assert len(Settings.model_fields) >= 13
