"""Storyboards as values: defaults, shorthand, references, transitions, the published schema (S1-S4, S7)."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelwright.errors import ReelwrightError, RequestError
from reelwright.media.bed import MOODS
from reelwright.media.grade import EFFECTS
from reelwright.media.moves import MOVES
from reelwright.media.transitions import TRANSITIONS
from reelwright.storyboard import Scene, SoundTrack, Storyboard, Title, TransitionSpec, dump, plain, schema
from reelwright.storyfile import load, validated

FULL = Storyboard(
    (
        Scene("A boat", id="one", seconds=2, camera="dolly in", effect=("noir", "vignette"), title="Hello", negative="rain"),
        Scene("A ship", image="scene:one", seed=4, transition=TransitionSpec("wipe left", 0.5),
              caption="Words", options={"labels": "off"}),
        Scene(clip="c.mp4", start=1.5, mute=True, narration="n.wav"),
    ),
    title="All of it", size="320x180", fps=25, seed=3, transition="crossfade", negative="fog", subtitles="s.srt",
    sound=SoundTrack(bed="calm", gain=-3, fade_in=1, loudness=None),
)  # fmt: skip


def test_one_prompt_is_a_film() -> None:
    """S1: a single prompt, or many scenes."""
    board = Storyboard((Scene("A boat"),))
    assert board.dimensions == (1280, 720)
    assert board.rate == 30
    assert board.preset == "standard"
    assert board.name(0) == "1"


@pytest.mark.parametrize(
    ("quality", "size", "fps"), [("draft", (854, 480), 24), ("standard", (1280, 720), 30), ("high", (1920, 1080), 30),
    ("premium", (3840, 2160), 60)]
)  # fmt: skip
def test_presets_set_size_and_rate(quality: Any, size: tuple[int, int], fps: int) -> None:
    """S3."""
    board = Storyboard((Scene("A boat"),), quality=quality)
    assert (board.dimensions, board.rate) == (size, fps)
    other = Storyboard((Scene("A boat"),), quality=quality, size=" 320 × 240 ", fps=29.97)
    assert (other.dimensions, other.rate) == ((320, 240), Fraction(30000, 1001))


def test_a_quality_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RequestError, match="ultra"):
        Storyboard((Scene("A boat"),), quality="ultra")  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize("size", ["big", "321x180", "320x181", "14x180", "320x9000", "320", "0x0"])
def test_a_size_that_cannot_be_is_refused(size: str) -> None:
    with pytest.raises(RequestError) as caught:
        Storyboard((Scene("A boat"),), size=size)
    assert caught.value.details["field"] == "size"


@pytest.mark.parametrize("name", sorted(TRANSITIONS))
def test_every_transition_can_stand_in_a_storyboard(name: str) -> None:
    """S2."""
    board = Storyboard((Scene("A", seconds=9), Scene("B", seconds=9)), transition=name)
    assert board.going(0).name == name
    assert board.going(1).name == "cut"
    assert (board.going(0).frames(board.rate) == 0) == (name == "cut")


@pytest.mark.parametrize("name", sorted(MOVES))
def test_every_camera_move_can_stand_in_a_scene(name: str) -> None:
    """S4."""
    assert Scene("A", camera=name).move.move == name
    assert Scene("A", camera=name.upper().replace("-", " ")).move.move == name


@pytest.mark.parametrize("name", sorted(EFFECTS))
def test_every_effect_can_stand_in_a_scene(name: str) -> None:
    """S4."""
    assert Scene("A", effect=name).effects == (name,) or name == "none"


@pytest.mark.parametrize("mood", MOODS)
def test_a_mood_alone_is_a_bed(mood: str) -> None:
    """S7."""
    assert Storyboard((Scene("A"),), sound=mood).sound == SoundTrack(bed=mood)
    assert Storyboard((Scene("A"),), sound=f"bed:{mood}").sound == SoundTrack(bed=mood)
    assert Storyboard((Scene("A"),), sound="song.mp3").sound == SoundTrack(file="song.mp3")


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Scene(""), "prompt"),
        (lambda: Scene("a", image="x.png", clip="y.mp4"), "clip"),
        (lambda: Scene("a", id="two words"), "id"),
        (lambda: SoundTrack(), "file"),
        (lambda: SoundTrack(file="a", bed="calm"), "file"),
        (lambda: SoundTrack(bed="angry"), "bed"),
        (lambda: Storyboard((Scene("a", image="previous"),)), "scenes.0.image"),
        (lambda: Storyboard((Scene("a"), Scene("b", image="scene:nobody"))), "scenes.1.image"),
        (lambda: Storyboard((Scene("a", id="x"), Scene("b", id="x"))), "scenes"),
        (lambda: Storyboard(()), "scenes"),
        (lambda: Storyboard((Scene("a", image="scene:1"),)), "scenes.0.image"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_made(make: Any, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        make()
    assert caught.value.details["field"] == field


@pytest.mark.parametrize(
    "make", [lambda: Scene("a", camera="wobble"), lambda: Scene("a", effect="sparkle"), lambda: TransitionSpec("melt")]
)
def test_names_that_do_not_exist_are_refused(make: Any) -> None:
    with pytest.raises(ReelwrightError):
        make()


def test_a_circle_of_references_is_named() -> None:
    scenes = (Scene("a", id="a", image="scene:c"), Scene("b", id="b", image="scene:a"), Scene("c", id="c", image="scene:b"))
    with pytest.raises(RequestError, match="a → c → b → a"):
        Storyboard(scenes)


def test_a_long_chain_forwards_and_backwards_is_fine() -> None:
    backwards = Storyboard((Scene("a"), *(Scene("a", image="previous") for _ in range(2000))))
    assert backwards.source_of(2000) == 1999
    forwards = Storyboard((*(Scene("a", image=f"scene:{i + 2}") for i in range(2000)), Scene("a")))
    assert forwards.source_of(0) == 1


def test_an_id_is_stronger_than_a_number() -> None:
    board = Storyboard((Scene("a"), Scene("b"), Scene("c", id="1"), Scene("d", image="scene:1")))
    assert board.source_of(3) == 2


@pytest.mark.parametrize("seconds", [(1, 1.9), (1.9, 1)])
def test_a_transition_longer_than_its_scene_is_refused(seconds: tuple[float, float]) -> None:
    with pytest.raises(RequestError, match="less than its transitions"):
        Storyboard(tuple(Scene("a", seconds=s) for s in seconds), transition=TransitionSpec("fade", 1.5))


def test_two_transitions_share_a_scene() -> None:
    scenes = (Scene("a"), Scene("b", seconds=1), Scene("c"))
    with pytest.raises(RequestError, match="scene 2"):
        Storyboard(scenes, transition=TransitionSpec("fade", 0.6))
    assert Storyboard(scenes, transition=TransitionSpec("fade", 0.5)).rate == 30


def test_a_transition_of_no_length_still_has_a_frame() -> None:
    assert TransitionSpec("fade", 0).frames(Fraction(24)) == 1
    assert TransitionSpec("cut", 3).frames(Fraction(24)) == 0


def test_an_empty_title_is_none() -> None:
    assert Scene("a", title="  ").title is None
    assert Scene("a", title="Hello").title == Title("Hello")


def test_plain_and_back_is_the_same_film() -> None:
    """The manifest holds plain values; the film is made again from them (rule 8)."""
    assert validated(json.loads(json.dumps(plain(FULL)))) == FULL
    assert validated(plain(Storyboard((Scene("a"),)))) == Storyboard((Scene("a"),))
    assert plain(Storyboard((Scene("a"),))) == {"scenes": [{"prompt": "a"}], "version": 1}


@pytest.mark.parametrize("ending", [".yaml", ".yml", ".json"])
def test_what_is_dumped_loads_again(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"board{ending}"
    dump(FULL, path)
    assert load(path) == FULL


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1, max_size=80).filter(lambda text: text.strip()))
def test_any_prompt_survives_a_file(tmp_path_factory: pytest.TempPathFactory, prompt: str) -> None:
    from reelwright.storyfile import parse

    board = Storyboard((Scene(prompt),))
    assert parse(json.dumps(plain(board)), ".json") == board
    assert parse(json.dumps(plain(board), ensure_ascii=False), ".json") == board


# ---- the schema


def _fits(value: Any, wanted: dict[str, Any], whole: dict[str, Any]) -> bool:
    """Whether a value fits a JSON Schema, as far as ours go; where jsonschema is installed that is asked too."""
    if "$ref" in wanted:
        return _fits(value, whole["$defs"][wanted["$ref"].rpartition("/")[2]], whole)
    if "anyOf" in wanted:
        return any(_fits(value, each, whole) for each in wanted["anyOf"])
    if "const" in wanted or "enum" in wanted:
        return value in wanted.get("enum", [wanted.get("const")])
    kinds = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "array": list,
        "object": dict,
        "null": type(None),
    }
    if "type" in wanted and not isinstance(value, kinds[wanted["type"]]):
        return False
    if isinstance(value, list):
        fits = all(_fits(each, wanted.get("items", {}), whole) for each in value)
        return fits and wanted.get("minItems", 0) <= len(value) <= wanted.get("maxItems", len(value))
    if isinstance(value, dict) and "properties" in wanted:
        known = wanted["properties"]
        return set(wanted.get("required", ())) <= set(value) <= set(known) and all(
            _fits(each, known[name], whole) for name, each in value.items()
        )
    if isinstance(value, str):
        return wanted.get("minLength", 0) <= len(value) <= wanted.get("maxLength", len(value))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (
            wanted.get("minimum", value) <= value <= wanted.get("maximum", value)
            and value > wanted.get("exclusiveMinimum", value - 1)
            and value < wanted.get("exclusiveMaximum", value + 1)
        )
    return True


def _valid(content: Any) -> bool:
    made = schema()
    fits = _fits(content, made, made)
    try:
        import jsonschema
    except ImportError:
        return fits
    asked = jsonschema.Draft202012Validator(made).is_valid(content)
    assert asked == fits
    return fits


def test_the_schema_takes_what_the_loader_takes() -> None:
    assert _valid(plain(FULL))
    assert _valid({"scenes": [{"prompt": "a"}]})
    made = schema()
    assert made["$schema"].startswith("https://json-schema.org/")
    assert "version 1" in made["title"]
    assert json.loads(json.dumps(made)) == made


@pytest.mark.parametrize(
    "content",
    [{}, {"scenes": []}, {"scenes": [{"promt": "a"}]}, {"scenes": [{"prompt": 3}]}, {"scenes": [{"prompt": "a"}], "more": 1},
     {"scenes": [{"prompt": "a", "seconds": 0}]}, {"scenes": [{"prompt": "a"}], "version": 2},
     {"scenes": [{"prompt": "a"}], "quality": "ultra"}],
)  # fmt: skip
def test_the_schema_refuses_what_the_loader_refuses(content: dict[str, Any]) -> None:
    assert not _valid(content)
    with pytest.raises(ReelwrightError):
        validated(content)
