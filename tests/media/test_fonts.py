"""Fonts of this machine: which file sets which part of a text."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelwright.errors import MediaError
from reelwright.media import fonts
from reelwright.media.fonts import BUILT_IN, Fonts, lacking, missing_note
from reelwright.media.writing import clusters, levels, units


def need(text: str) -> None:
    if fonts.missing(text):
        if os.environ.get("CI"):
            pytest.fail(fonts.missing_note(fonts.missing(text)))
        pytest.skip(fonts.missing_note(fonts.missing(text)))


def some_font() -> Path:
    (_, font), *_ = fonts.choose("Reel")
    if font is None or font.path is None:
        if os.environ.get("CI"):
            pytest.fail("this machine has no font file")
        pytest.skip("this machine has no font file")
    return font.path


def test_latin_text_is_one_run_of_a_sans_serif_and_opens_few_files() -> None:
    some_font()
    fonts._facts.cache_clear()
    machine = Fonts(fonts.folders())
    runs = machine.choose("Hello, world: it is 20:24!")
    assert [text for text, _ in runs] == ["Hello, world: it is 20:24!"]
    assert fonts._facts.cache_info().currsize <= 2


@settings(deadline=None)  # a strange character makes it read every font once
@given(st.text())
def test_runs_and_clusters_joined_are_the_text(text: str) -> None:
    assert "".join(run for run, _ in fonts.choose(text)) == text
    assert "".join(clusters(text)) == text
    assert len(levels(text, False)) == len(text)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("e\u0301a", ["e\u0301", "a"]),
        ("🇩🇪🇫🇷", ["🇩🇪", "🇫🇷"]),
        ("👩\u200d👩\u200d👧👍🏽", ["👩\u200d👩\u200d👧", "👍🏽"]),
        ("❤\ufe0f1\ufe0f\u20e3", ["❤\ufe0f", "1\ufe0f\u20e3"]),
        ("क्षि각", ["क्षि", "각"]),
        ("\u1112\u1161\u11ab\r\n", ["\u1112\u1161\u11ab", "\r\n"]),
    ],
)
def test_clusters_are_what_a_reader_takes_for_one_character(text: str, whole: list[str]) -> None:
    assert clusters(text) == whole


def test_chinese_and_emoji_get_fonts_of_their_own_and_digits_do_not_become_emoji() -> None:
    need("你好😀")
    runs = fonts.choose("你好, film 😀 7 ❤\ufe0f")
    by_text = dict(runs)
    emoji = by_text["😀"]
    assert emoji is not None
    assert emoji.colour
    assert all(font is not None and font.covers(text) for text, font in runs)
    assert not any(font is not None and font.colour for text, font in runs if "7" in text or "film" in text)


def test_bold_is_another_file_or_weight() -> None:
    some_font()
    (_, regular), *_ = fonts.choose("Reel")
    (_, bold), *_ = fonts.choose("Reel", weight="bold")
    assert regular is not None
    assert bold is not None
    assert (bold.path, bold.weight) != (regular.path, regular.weight)


def test_without_fonts_pillows_own_sets_latin_and_the_rest_is_missing(tmp_path: Path) -> None:
    bare = Fonts([tmp_path, tmp_path / "not there"])
    assert bare.choose("Reel 漢") == [("Reel ", BUILT_IN), ("漢", None)]
    assert bare.missing("漢字 and 漢") == "漢字"
    assert BUILT_IN.load(20).getlength("Reel") > 20


def test_broken_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "Inter.ttf").write_bytes(b"no font at all")
    (tmp_path / "NotoSans.ttf").write_bytes(some_font().read_bytes()[:2000])
    (tmp_path / "Arial.ttc").write_bytes(b"ttcf" + bytes(40))
    shutil.copy(some_font(), tmp_path / "Zzz.ttf")
    assert Fonts([tmp_path]).choose("Reel")[0][1] == fonts.FontFile(tmp_path / "Zzz.ttf")


def test_a_family_by_name_or_path(tmp_path: Path) -> None:
    path = some_font()
    shutil.copy(path, tmp_path / "Own Face-Bold.ttf")
    own = Fonts([tmp_path])
    found = own.find("own face", "bold")
    assert found is not None
    assert found.path == tmp_path / "Own Face-Bold.ttf"
    assert own.find("No Such Family") is None
    assert own.choose("Reel", family=str(path))[0][1] == fonts.FontFile(path)
    (tmp_path / "bad.otf").write_bytes(b"x")
    for wrong in (tmp_path / "bad.otf", tmp_path / "absent.ttf"):
        with pytest.raises(MediaError, match="not a font"):
            own.find(str(wrong))


def test_folders_in_the_environment_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(some_font(), tmp_path / "Envfont-Regular.ttf")
    monkeypatch.setenv("REELWRIGHT_FONTS", os.pathsep.join([str(tmp_path), "/nowhere"]))
    found = fonts.machine().find("Envfont")
    assert found is not None
    assert found.path == tmp_path / "Envfont-Regular.ttf"


def test_the_note_names_characters_and_packages() -> None:
    assert missing_note("") == ""
    assert missing_note("漢字") == (
        "No font on this machine has these characters: 漢 字. "
        "Install a font for them (on Debian: apt-get install fonts-noto-cjk)."
    )
    assert "fonts-noto-color-emoji fonts-noto-core" in missing_note("😀ह")
    assert missing_note("\ue000").endswith("U+E000. Install a font for them.")
    assert lacking([("a\u200d", None), ("b", BUILT_IN)]) == "a"


def test_levels_follow_the_bidirectional_algorithm() -> None:
    assert levels("abc אבג 123 def", False) == [0] * 4 + [1] * 4 + [2] * 3 + [0] * 4
    assert levels("אב ab 12:30", True) == [1] * 3 + [2] * 8
    assert levels("אב 12:30.", True) == [1] * 3 + [2] * 5 + [1]


def test_lines_break_at_words_and_between_chinese_characters_but_not_before_a_comma() -> None:
    assert units("Two well-known words") == [("Two", True), ("well-", False), ("known", True), ("words", False)]
    assert [part for part, _ in units("你好，「世界」")] == ["你", "好，", "「世", "界」"]
    assert [part for part, _ in units("10\u00a0km 한국어 단어")] == ["10\u00a0km", "한국어", "단어"]
