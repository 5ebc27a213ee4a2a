"""Captions in and out."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelwright.errors import MediaError, MissingAsset, RequestError, Unsupported
from reelwright.media.captions import Caption, as_srt, as_vtt, read, write

SRT = (
    "1\r\n00:00:01,000 --> 00:00:02,500 X1:40 X2:600\r\n<i>Hello</i>\r\nworld\r\n\r\n"
    '2\r\n00:01:00,040 --> 01:00:00,999\r\n{\\an8}<font color="#fff">Tom &amp; Jerry</font>\r\n'
)
TOLD = (Caption(1.0, 2.5, "Hello\nworld"), Caption(60.04, 3600.999, "Tom & Jerry"))


def saved(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_srt_in_any_unicode_with_tags_and_places(tmp_path: Path, encoding: str) -> None:
    assert read(saved(tmp_path, "a.srt", SRT.encode(encoding))) == TOLD


def test_windows_1252_is_the_fall_back(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.srt", "1\n00:00:00,000 --> 00:00:01,000\nCafé – “bon”\n".encode("cp1252"))
    assert read(path)[0].text == "Café – “bon”"


def test_srt_without_numbers_empty_lines_or_commas(tmp_path: Path) -> None:
    text = "0:0:1.5 --> 0:0:2.5\nOne\n0:0:3,25 --> 0:0:4\n12\n7\n0:0:5,0 --> 0:0:6,0\nThree"
    assert read(saved(tmp_path, "a.srt", text)) == (Caption(1.5, 2.5, "One"), Caption(3.25, 4, "12"), Caption(5, 6, "Three"))


def test_vtt_with_notes_styles_names_and_settings(tmp_path: Path) -> None:
    text = (
        "\ufeffWEBVTT - a title\nKind: captions\n\nNOTE\nnot --shown\n\nSTYLE\n::cue { color: red }\n\n"
        "intro\n00:01.000 --> 00:02.000 align:start line:0%\n<v Ada>Hi <00:01.500><c.loud>there</c></v> 1 &lt; 2\n\n"
        "100:00:00.001 --> 100:00:01.000\n- a\n- b\n"
    )
    assert read(saved(tmp_path, "a.vtt", text)) == (Caption(1, 2, "Hi there 1 < 2"), Caption(360000.001, 360001, "- a\n- b"))


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.srt", "1\n00:00:01,000 -> later\nx\n", 1),
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\nx\n\nstray words\n", 5),
        ("a.srt", "1\n00:00:03,000 --> 00:00:02,000\nx\n", 2),
        ("a.srt", "1\n00:99:03,000 --> 00:99:04,000\nx\n", 2),
        ("a.vtt", "00:01.000 --> 00:02.000\nx\n", 1),
        ("a.vtt", "WEBVTT\n\nNOTE x\n\n00:01.000 --> soon\n", 5),
        ("a.srt", bytes(range(256)), 1),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path: Path, name: str, text: str | bytes, line: int) -> None:
    with pytest.raises(MediaError, match=f"line {line}:") as caught:
        read(saved(tmp_path, name, text))
    assert caught.value.details["line"] == line


def test_other_files_and_bad_captions(tmp_path: Path) -> None:
    assert read(saved(tmp_path, "a.srt", "")) == ()
    with pytest.raises(MissingAsset):
        read(tmp_path / "none.srt")
    with pytest.raises(Unsupported):
        read(tmp_path / "film.txt")
    with pytest.raises(Unsupported):
        write(TOLD, tmp_path / "film.ass")
    for start, end in ((-1.0, 1.0), (1.0, 1.0), (2.0, 1.0), (0.0, float("nan")), (0.0, float("inf"))):
        with pytest.raises(RequestError):
            Caption(start, end, "x")


def test_written_files_are_whole_and_alone(tmp_path: Path) -> None:
    assert as_srt(TOLD[:1]) == "1\n00:00:01,000 --> 00:00:02,500\nHello\nworld\n\n"
    assert as_vtt(TOLD[1:]) == "WEBVTT\n\n00:01:00.040 --> 01:00:00.999\nTom &amp; Jerry\n\n"
    for name in ("a.srt", "a.vtt"):
        write(TOLD, tmp_path / name)
        assert read(tmp_path / name) == TOLD
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.srt", "a.vtt"]


LINE = st.one_of(
    st.text(
        st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"], exclude_characters="\ufeff"), min_size=1, max_size=20
    ),
    st.sampled_from(["<i>x</i>", "a --> b", "&amp;", "12", "{\\an8}", "00:00:01,000 --> 00:00:02,000", "NOTE x", "<b>", "&#60;"]),
)


@st.composite
def captions(draw: st.DrawFn) -> Caption:
    start = draw(st.integers(0, 400_000_000))
    length = draw(st.integers(1, 100_000))
    return Caption(start / 1000, (start + length) / 1000, "\n".join(draw(st.lists(LINE, max_size=3))))


@pytest.mark.parametrize("name", ["a.srt", "a.vtt"])
@settings(deadline=None)  # disks pause
@given(told=st.lists(captions(), max_size=4))
def test_out_and_in_again_is_the_same(tmp_path_factory: pytest.TempPathFactory, name: str, told: list[Caption]) -> None:
    path = tmp_path_factory.mktemp("out") / name
    write(told, path)
    assert read(path) == tuple(told)
