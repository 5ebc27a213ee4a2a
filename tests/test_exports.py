"""Storyboards for other programs: clips, stills, a sheet, captions, timelines (S6)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from making import clip, frames_of, litter, picture, studio

from reelwright.errors import MissingExtra, ReelwrightError, RequestError, Unsupported
from reelwright.exports import export
from reelwright.media import captions
from reelwright.media.probe import probe
from reelwright.run import LocalRun
from reelwright.storyboard import Scene, Storyboard, TransitionSpec

otio = pytest.importorskip("opentimelineio")


def board(folder: Path, frames: int = 7) -> Storyboard:
    """Three scenes with transitions of an odd number of frames, a clip among them, captions, a chain."""
    clip(folder / "c.mp4", 48)
    scenes = (
        Scene("A boat at sea", seconds=2, caption="First", id="boat"),
        Scene(clip="c.mp4", caption="Second"),
        Scene("goes on", image="previous", seconds=2),
    )
    return Storyboard(scenes, size="160x90", fps=24, title="Three", transition=TransitionSpec("crossfade", frames / 24))


def test_a_folder_gets_everything(tmp_path: Path) -> None:
    files = export(board(tmp_path), tmp_path / "out", tmp_path, studio=studio(tmp_path))
    names = {path.relative_to(tmp_path / "out").as_posix() for path in files}
    assert names == {
        "film.mp4", "clips/001-boat.mp4", "clips/002-2.mp4", "clips/003-3.mp4", "stills/001-boat.png", "stills/002-2.png",
        "stills/003-3.png", "sheet.png", "captions.srt", "timeline.otio",
    }  # fmt: skip
    assert all(path.is_file() for path in files)
    assert len(frames_of(tmp_path / "out" / "film.mp4")) == 144 - 14
    for number, name in enumerate(("boat", "2", "3"), 1):
        assert len(frames_of(tmp_path / "out" / "clips" / f"{number:03}-{name}.mp4")) == 48
    assert litter(tmp_path / "out") == []
    assert not list((tmp_path / "out" / "clips").glob("*chain*"))


def test_stills_and_the_sheet_are_pictures(tmp_path: Path) -> None:
    from PIL import Image

    export(board(tmp_path), tmp_path / "sheet.png", tmp_path, studio=studio(tmp_path))
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == (2 * 488 + 8, 2 * (270 + 8) + 8)


def test_captions_have_the_films_times(tmp_path: Path) -> None:
    for ending in (".srt", ".vtt"):
        export(board(tmp_path), tmp_path / f"c{ending}", tmp_path, studio=studio(tmp_path))
        found = captions.read(tmp_path / f"c{ending}")
        assert [text.text for text in found] == ["First", "Second"]
        assert [text.start for text in found] == pytest.approx([0, 41 / 24], abs=0.001)
        assert [text.end for text in found] == pytest.approx([2, 89 / 24], abs=0.001)


def test_a_films_subtitles_are_exported_with_its_captions(tmp_path: Path) -> None:
    (tmp_path / "s.srt").write_text("1\n00:00:01,000 --> 00:00:01,500\nBetween\n")
    with_subtitles = Storyboard(board(tmp_path).scenes, size="160x90", fps=24, subtitles="s.srt")
    export(with_subtitles, tmp_path / "c.srt", tmp_path, studio=studio(tmp_path))
    assert [text.text for text in captions.read(tmp_path / "c.srt")] == ["First", "Between", "Second"]


@pytest.mark.parametrize("frames", [1, 6, 7])
def test_an_otio_timeline_reads_back_exactly(tmp_path: Path, frames: int) -> None:
    """Durations, in and out points, transitions: the timeline is as long as the film."""
    storyboard, films = board(tmp_path, frames), studio(tmp_path)
    export(storyboard, tmp_path / "t.otio", tmp_path, studio=films)
    timeline = otio.adapters.read_from_file(str(tmp_path / "t.otio"))
    (track,) = timeline.video_tracks()
    clips = [item for item in track if isinstance(item, otio.schema.Clip)]
    joins = [item for item in track if isinstance(item, otio.schema.Transition)]
    assert [each.name for each in clips] == ["boat", "2", "3"]
    film = films.plan(storyboard, tmp_path).spec
    assert track.duration() == otio.opentime.RationalTime(film.frames, 24)
    assert timeline.name == "Three"
    assert len(joins) == 2
    place = 0
    for index, each in enumerate(clips):
        inside, whole = each.source_range, each.media_reference.available_range
        assert whole.duration.value == 48
        media = tmp_path / each.media_reference.target_url
        assert len(frames_of(media)) == 48
        if index < 2:
            join = joins[index]
            assert join.in_offset.value + join.out_offset.value == frames
            # before the cut the outgoing clip is blended with what lies before the incoming clip's in point, and so on
            begins = place + inside.duration.value - join.in_offset.value
            assert begins == (48 - frames) * (index + 1)
            assert inside.end_time_exclusive().value + join.out_offset.value == 48
            assert clips[index + 1].source_range.start_time.value == join.in_offset.value
        place += inside.duration.value
    assert clips[0].metadata["reelwright"]["prompt"] == "A boat at sea"


@pytest.mark.parametrize("ending", [".edl", ".fcpxml"])
def test_other_timelines_are_written_and_read_back(tmp_path: Path, ending: str) -> None:
    export(board(tmp_path, 6), tmp_path / f"t{ending}", tmp_path, studio=studio(tmp_path))
    text = (tmp_path / f"t{ending}").read_text("utf-8")
    assert "boat" in text
    if ending == ".edl":
        read = otio.adapters.read_from_file(str(tmp_path / "t.edl"), rate=24)
        clips = list(read.find_clips())
        assert len(clips) == 3
        assert sum(each.duration().value for each in clips) == 144 - 12
    else:
        assert text.startswith("<?xml")
        assert "fcpxml" in text


def test_a_chain_that_starts_later_is_exported_too(tmp_path: Path) -> None:
    scenes = (Scene("goes on", image="scene:3", seconds=0.5), Scene("A city", seconds=0.5), Scene("A boat", seconds=0.5))
    storyboard = Storyboard(scenes, size="160x90", fps=24)
    export(storyboard, tmp_path / "out", tmp_path, studio=studio(tmp_path))
    film, alone = frames_of(tmp_path / "out" / "film.mp4"), frames_of(tmp_path / "out" / "clips" / "001-1.mp4")
    assert len(alone) == 12
    differences = [abs(float(a.y.astype(float).mean()) - float(b.y.mean())) for a, b in zip(film[:12], alone, strict=True)]
    assert max(differences) < 2


def test_a_clip_of_a_scene_is_the_scene_without_letters(tmp_path: Path) -> None:
    picture(tmp_path / "p.png")
    plain = Scene("A picture", image="p.png", seconds=0.5)
    titled = Scene("A picture", image="p.png", seconds=0.5, title="HELLO")
    films = studio(tmp_path)
    export(Storyboard((titled,), size="160x90", fps=24), tmp_path / "out", tmp_path, studio=films)
    films.render(Storyboard((plain,), size="160x90", fps=24), tmp_path / "plain.mp4", tmp_path)
    a, b = frames_of(tmp_path / "out" / "clips" / "001-1.mp4"), frames_of(tmp_path / "plain.mp4")
    assert all((x.buffer == y.buffer).all() for x, y in zip(a, b, strict=True))


def test_what_cannot_be_exported_says_what_can(tmp_path: Path) -> None:
    with pytest.raises(Unsupported) as caught:
        export(board(tmp_path), tmp_path / "x.docx", tmp_path, studio=studio(tmp_path))
    assert ".otio" in caught.value.hint
    with pytest.raises(RequestError, match="does not exist"):
        export(board(tmp_path), tmp_path / "gone" / "x.srt", tmp_path, studio=studio(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(ReelwrightError):
        export(board(tmp_path), tmp_path / "file", tmp_path, studio=studio(tmp_path))


def test_without_opentimelineio_the_rest_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    with pytest.raises(MissingExtra, match="OpenTimelineIO"):
        export(board(tmp_path), tmp_path / "t.otio", tmp_path, studio=studio(tmp_path))
    run = LocalRun()
    files = export(board(tmp_path), tmp_path / "out", tmp_path, run, studio(tmp_path))
    assert (tmp_path / "out" / "film.mp4") in files
    assert any("OpenTimelineIO" in note for note in run.notes)


def test_the_exported_film_is_sound(tmp_path: Path) -> None:
    export(board(tmp_path), tmp_path / "out", tmp_path, studio=studio(tmp_path))
    assert probe(tmp_path / "out" / "film.mp4").fps == Fraction(24)
