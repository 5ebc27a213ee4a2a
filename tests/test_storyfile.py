"""Storyboard files: three languages, one schema; every fault at once, each with its line; hostile files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelwright.errors import BadStoryboard, MissingAsset, ReelwrightError, TooLarge
from reelwright.storyfile import load, parse, validated

YAML = """\
title: 海 and sea
size: 320x180
fps: 24
transition: { name: crossfade, seconds: 0.5 }
sound: { bed: calm, gain: -3 }
scenes:
  - prompt: A boat
    seconds: 2
    camera: { move: dolly in, strength: 0.5 }
    effect: [noir, vignette]
    title: { text: Hello, seconds: 1 }
  - prompt: A ship
    image: previous
    transition: fade
    options: { labels: "off" }
"""
TOML = """\
title = "海 and sea"
size = "320x180"
fps = 24
transition = { name = "crossfade", seconds = 0.5 }

[sound]
bed = "calm"
gain = -3

[[scenes]]
prompt = "A boat"
seconds = 2
camera = { move = "dolly in", strength = 0.5 }
effect = ["noir", "vignette"]

[scenes.title]
text = "Hello"
seconds = 1

[[scenes]]
prompt = "A ship"
image = "previous"
transition = "fade"
options = { labels = "off" }
"""
JSON = r"""{
@"title": "\u6d77 and sea", "size": "320x180", "fps": 2.4e1,
@"transition": {"name": "crossfade", "seconds": 0.5},
@"sound": {"bed": "calm", "gain": -3},
@"scenes": [
@@{"prompt": "A boat", "seconds": 2, "camera": {"move": "dolly in", "strength": 0.5},
@@ "effect": ["noir", "vignette"], "title": {"text": "Hello", "seconds": 1}},
@@{"prompt": "A ship", "image": "previous", "transition": "fade", "options": {"labels": "off"}}
@]
}
""".replace("@", "\t")


def problems(text: str, ending: str = ".yaml") -> list[tuple[str, str, int | None]]:
    with pytest.raises(BadStoryboard) as caught:
        parse(text, ending, "film")
    found = caught.value.details["problems"]
    for each in found:
        assert each["message"]
        assert each["message"] in caught.value.message
    return [(each["field"], each["message"], each["line"]) for each in found]


def test_yaml_toml_and_json_of_one_film_are_equal(tmp_path: Path) -> None:
    boards = []
    for ending, text in ((".yaml", YAML), (".toml", TOML), (".json", JSON)):
        path = tmp_path / f"film{ending}"
        path.write_text(text, "utf-8")
        boards.append(load(path))
    assert boards[0] == boards[1] == boards[2]
    assert boards[0].title == "海 and sea"


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "film.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + YAML.replace("\n", "\r\n").encode())
    assert load(path) == parse(YAML)


def test_json_by_its_own_rules() -> None:
    """Escaped emoji, exponents and tabs are JSON, though not YAML 1.1."""
    board = parse('{\n\t"scenes": [\n\t\t{"prompt": "\\ud83d\\ude00 sails", "seconds": 5e-1}]}', ".json")
    assert board.scenes[0].prompt == "😀 sails"
    assert board.scenes[0].seconds == 0.5
    ((field, _, line),) = problems('{\n\t"scenes": [\n\t\t{"prompt": "\\ud83d\\ude00",\n\t\t "seconds": "long"}]}', ".json")
    assert (field, line) == ("scenes[1].seconds", 4)


def test_aliases_and_merge_keys_work() -> None:
    board = parse("scenes:\n  - &a { prompt: A, seconds: 4, effect: &e [noir] }\n  - <<: *a\n    prompt: B\n    effect: *e\n")
    assert [(scene.prompt, scene.seconds) for scene in board.scenes] == [("A", 4), ("B", 4)]


FAULTY = """\
titel: Typo
size: 320x180
fps: fast
scenes:
  - prompt: A boat
    secnds: 2
    camera: wobble
  - prompt: 1984
    effect: [noir, sparkle]
    seconds: -1
  - seconds: 2
  - just text
"""


def test_every_fault_is_told_at_once_with_its_line() -> None:
    """S5: unknown keys, wrong types, wrong names, bounds, each with line and field."""
    found = {field: (message, line) for field, message, line in problems(FAULTY)}
    assert found["titel"][1] == 1
    assert "title" in found["titel"][0]
    assert found["fps"][1] == 3
    assert found["scenes[1].secnds"][1] == 6
    assert "seconds" in found["scenes[1].secnds"][0]
    assert found["scenes[1].camera"][1] == 7
    assert found["scenes[2].prompt"] == ('must be text; write it in quotes: "1984"', 8)
    assert found["scenes[2].effect"][1] == 9
    assert found["scenes[2].seconds"][1] == 10
    assert found["scenes[3].prompt"][1] == 11
    assert found["scenes[4]"][1] == 12
    assert len(found) == 9


def test_lines_of_toml_are_found_too() -> None:
    text = TOML.replace('prompt = "A ship"', 'prompt = "A ship"\nsecs = 2').replace("gain = -3", "gain = -300")
    found = {field: line for field, _, line in problems(text, ".toml")}
    lines = text.splitlines()
    assert found == {"sound.gain": lines.index("gain = -300") + 1, "scenes[2].secs": lines.index("secs = 2") + 1}


@pytest.mark.parametrize(
    ("text", "field", "match", "line"),
    [
        ("scenes: []\n", "scenes", "1 to 10,000 scenes, not 0", 1),
        ("title: a\n", "scenes", "required", 1),
        ("scenes:\n- {prompt: a, id: x}\n- {prompt: b, id: x}\n", "scenes", "'x'", 1),
        ("scenes:\n- prompt: a\n- prompt: b\n  seconds: 1\n  transition: {name: fade, seconds: 2}\n- prompt: c\n",
         "scenes[2].transition", "less than", 5),
        ("scenes:\n- {prompt: a, id: a, image: 'scene:b'}\n- {prompt: b, id: b, image: 'scene:a'}\n",
         "scenes[1].image", "circle", 2),
        ("scenes:\n- prompt: a\n  image: previous\n", "scenes[1].image", "previous", 3),
        ("scenes:\n- prompt: a\n  prompt: b\n", "scenes[1].prompt", "twice, first in line 2", 3),
        ("version: 2\nscenes: [{prompt: a}]\n", "version", "1", 1),
        ("quality: ultra\nscenes: [{prompt: a}]\n", "quality", "premium", 1),
        ("scenes: [{prompt: a, seconds: .nan}]\n", "scenes[1].seconds", "", 1),
        ("scenes: [{prompt: a, start: .inf}]\n", "scenes[1].start", "", 1),
        ("- a\n- b\n", "", "mapping with a list `scenes`", 1),
        ("just text", "", "mapping", 1),
        ("", "", "mapping", 1),
        ("scenes:\n\t- prompt: a\n", "", "", 2),
        ("a: [1, 2\nb: 3\n", "", "", 2),
        ("title: \x00", "", "", None),
        ("title: 2024-13-45\n", "", "month", None),
        ("scenes: !!python/object/apply:os.system ['true']", "", "constructor", 1),
        ("{? [1]: 2}", "", "unhashable", 1),
    ],
)  # fmt: skip
def test_one_fault_is_told_where_it_lies(text: str, field: str, match: str, line: int | None) -> None:
    ((found, message, at),) = problems(text)
    assert found == field
    assert match in message
    assert at == line


@pytest.mark.parametrize(
    ("text", "ending", "line"),
    [("{", ".json", 1), ("", ".json", 1),
     ('{"a": 1,\n}', ".json", 2), ("a = \n", ".toml", 1), ("[x]\ny = 1\ny = 2", ".toml", None),
     ("[1]", ".json", 1), ("[" * 100_000, ".json", None),
      ("a = " + "[" * 3000 + "]" * 3000, ".toml", None), ('{"a": ' + "9" * 5000 + "}", ".json", None)],
)  # fmt: skip
def test_files_that_cannot_be_parsed_say_where(text: str, ending: str, line: int | None) -> None:
    ((field, message, at),) = problems(text, ending)
    assert field == ""
    assert message
    assert line is None or at == line


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 50_000 + "a", "{a: " * 5000, "scenes: " + "[" * 60 + "]" * 60])
def test_deep_nesting_is_refused_before_it_hurts(text: str) -> None:
    """PyYAML's parser ends the whole process on such a file."""
    ((_, message, line),) = problems(text)
    assert "too deep" in message
    assert line == 1


def _laughs(levels: int) -> str:
    lines = ["l0: &l0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join([*lines, f"scenes: [{{prompt: a, options: {{x: *l{levels - 1}}}}}]"])


def test_a_billion_laughs_are_refused() -> None:
    ((_, message, _),) = problems(_laughs(9))
    assert "aliases" in message


def test_a_value_within_itself_is_refused() -> None:
    ((_, message, _),) = problems("scenes: [{prompt: a, options: &a {x: *a}}]")
    assert "aliases" in message


def test_a_file_that_is_not_text_a_missing_one_and_a_large_one(tmp_path: Path) -> None:
    path = tmp_path / "film.yaml"
    path.write_bytes(b"title: \xff\xfe\x00")
    with pytest.raises(BadStoryboard, match="not UTF-8"):
        load(path)
    with pytest.raises(MissingAsset, match=r"nothing\.yaml"):
        load(tmp_path / "nothing.yaml")
    with path.open("wb") as file:
        file.truncate(65 * 1024 * 1024)
    with pytest.raises(TooLarge):
        load(path)


def test_ten_thousand_scenes_load_and_one_more_is_refused() -> None:
    text = "scenes:\n" + "- {prompt: A boat, seconds: 1}\n" * 10_000
    assert len(parse(text).scenes) == 10_000
    ((field, message, line),) = problems(text + "- {prompt: One too many}\n")
    assert (field, line) == ("scenes", 1)
    assert "not 10,001" in message


def test_many_faults_are_listed_up_to_a_limit() -> None:
    with pytest.raises(BadStoryboard) as caught:
        parse("scenes:\n" + "- {promt: a}\n" * 600)
    assert len(caught.value.details["problems"]) == 500
    assert "and 550 more" in caught.value.message
    assert len(caught.value.message.splitlines()) < 60


def test_plain_values_are_held_too() -> None:
    with pytest.raises(BadStoryboard, match="scenes"):
        validated({})
    assert validated({"scenes": ({"prompt": "a"},)}).scenes[0].prompt == "a"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.sampled_from([".yaml", ".toml", ".json"]))
def test_any_text_is_a_storyboard_or_an_error_of_ours(text: str, ending: str) -> None:
    with pytest.raises(ReelwrightError):
        parse(text, ending)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = st.sampled_from(
    ["prompt", "image", "clip", "camera", "effect", "seconds", "transition", "title", "options", "style", "x"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(_FIELDS, _VALUES, max_size=4) | _VALUES, max_size=3), st.dictionaries(
    st.sampled_from(["title", "size", "fps", "sound", "letters", "transition", "seed"]), _VALUES, max_size=3))  # fmt: skip
def test_any_values_are_a_storyboard_or_an_error_of_ours(scenes: list[object], rest: dict[str, object]) -> None:
    told: object = None
    try:
        told = validated({"scenes": scenes, **rest}).scenes
    except ReelwrightError as error:
        told = error.details["problems"]
    assert told
