"""Each file says what it was made from, and can be made again from that (rule 8)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from making import clip, picture, studio, wav

from reelwright import manifest
from reelwright.errors import MediaError, MissingAsset
from reelwright.media.probe import probe
from reelwright.request import GenerationRequest, Input
from reelwright.storyboard import Scene, SoundTrack, Storyboard
from reelwright.types import Role


def board(**fields: object) -> Storyboard:
    given = {
        "scenes": (Scene("A boat at sea", seconds=0.5), Scene("A night city", seconds=0.5)),
        "size": "160x90",
        "fps": 24,
        "title": "Two 景",
    }
    return Storyboard(**{**given, **fields})  # type: ignore[arg-type]  # fields of Storyboard


def test_the_manifest_is_in_the_file_and_beside_it(tmp_path: Path) -> None:
    made = studio(tmp_path).render(board(), tmp_path / "a.mp4")
    beside = json.loads((tmp_path / "a.mp4.json").read_text("utf-8"))
    (tmp_path / "a.mp4.json").unlink()
    within = manifest.read(tmp_path / "a.mp4")
    assert within == beside
    assert within == {"reelwright_manifest": 1, **json.loads(json.dumps(made.manifest))}
    assert within["storyboard"]["title"] == "Two 景"
    assert within["kind"] == "film"
    assert within["spec"]["frames"] == 24
    assert [scene["served"] for scene in within["scenes"]] == ["placeholder", "placeholder"]
    assert within["scenes"][0]["shot"]["prompt"] == "A boat at sea"
    assert set(within["versions"]) >= {"reelwright", "av", "opencv", "numpy", "python"}
    tags = probe(tmp_path / "a.mp4").metadata or {}
    assert tags["title"] == "Two 景"


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".mov", ".webm", ".gif", ".webp"])
def test_again_gives_the_same_bytes(tmp_path: Path, ending: str) -> None:
    """Rule 8: GIF and WebP by the file beside them, all others by themselves."""
    first, again = tmp_path / f"a{ending}", tmp_path / "elsewhere" / f"b{ending}"
    again.parent.mkdir()
    studio(tmp_path / "one").render(board(), first)
    if ending not in (".gif", ".webp"):
        (tmp_path / f"a{ending}.json").unlink()
    studio(tmp_path / "two").again(first, again)
    assert first.read_bytes() == again.read_bytes()


def test_a_generated_clip_is_made_again_too(tmp_path: Path) -> None:
    request = GenerationRequest("A boat at sea", seconds=0.5, width=160, height=90, fps=24, options={"camera": "dolly in"})
    studio(tmp_path / "one").generate(request, tmp_path / "a.mp4")
    made = studio(tmp_path / "two").again(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert made.manifest["kind"] == "clip"
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def with_inputs(folder: Path) -> Storyboard:
    clip(folder / "c.mp4", 24)
    picture(folder / "p.png")
    wav(folder / "n.wav", 0.4)
    wav(folder / "s.wav", 1, 300)
    (folder / "t.srt").write_text("1\n00:00:00,100 --> 00:00:00,900\nHello\n")
    scenes = (Scene(clip="c.mp4", narration="n.wav"), Scene("A picture", image="p.png", seconds=0.5))
    return board(scenes=scenes, sound=SoundTrack(file="s.wav"), subtitles="t.srt")


def test_inputs_are_named_by_content_and_found_from_wherever_the_film_lies(tmp_path: Path) -> None:
    boards, films = tmp_path / "boards", tmp_path / "films"
    boards.mkdir()
    films.mkdir()
    first = studio(tmp_path).render(with_inputs(boards), films / "a.mp4", boards)
    assert set(first.manifest["inputs"]) == {"c.mp4", "p.png", "n.wav", "s.wav", "t.srt"}
    assert first.manifest["folder"] == "../boards"
    made = studio(tmp_path).again(films / "a.mp4", tmp_path / "b.mp4")
    assert (films / "a.mp4").read_bytes() == made.path.read_bytes()


def test_a_film_moved_with_its_inputs_is_made_again(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    studio(tmp_path).render(with_inputs(here), here / "a.mp4", here)
    shutil.move(here, there)
    studio(tmp_path).again(there / "a.mp4", there / "b.mp4")
    assert (there / "a.mp4").read_bytes() == (there / "b.mp4").read_bytes()


def test_missing_and_changed_inputs_are_named(tmp_path: Path) -> None:
    films = studio(tmp_path)
    films.render(with_inputs(tmp_path), tmp_path / "a.mp4", tmp_path)
    (tmp_path / "p.png").unlink()
    wav(tmp_path / "s.wav", 1, 500)
    with pytest.raises(MissingAsset) as caught:
        films.again(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert sorted(caught.value.details["inputs"]) == ["p.png is missing", "s.wav has changed"]
    assert not (tmp_path / "b.mp4").exists()


def test_a_picture_of_a_generated_clip_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "films").mkdir()
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "p.png")
    request = GenerationRequest(inputs=(Input(Role.FIRST_FRAME, "p.png"),), seconds=0.3, width=160, height=90)
    studio(tmp_path).generate(request, Path("films/a.mp4"))
    monkeypatch.chdir("/")
    studio(tmp_path).again(tmp_path / "films" / "a.mp4", tmp_path / "b.mp4")
    assert (tmp_path / "films" / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_manifest_that_is_too_long_for_the_file_lies_beside_it(tmp_path: Path) -> None:
    scenes = tuple(Scene(f"A boat number {n} " + "at sea " * 900, seconds=0.05) for n in range(25))
    films = studio(tmp_path)
    films.render(board(scenes=scenes, size="32x32", fps=20), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4.json").stat().st_size > 256 * 1024
    assert len((probe(tmp_path / "a.mp4").metadata or {})["comment"]) < 1000
    films.again(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    (tmp_path / "a.mp4.json").unlink()
    with pytest.raises(MediaError, match="no manifest") as caught:
        films.again(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert "a.mp4.json" in caught.value.hint


def test_a_file_without_a_manifest_says_so(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no manifest"):
        manifest.read(clip(tmp_path / "c.mp4", 4))
    with pytest.raises(MissingAsset):
        manifest.read(tmp_path / "gone.mp4")


@pytest.mark.parametrize(
    ("text", "match"),
    [("{", "no manifest"), ("[]", "no manifest"), ('{"reelwright_manifest": "x"}', "no manifest"), ("\udcff", "no manifest"),
     ('{"reelwright_manifest": 99}', "newer"), ('{"reelwright_manifest": 1}', "damaged"),
     ('{"reelwright_manifest": 1, "kind": "clip", "encoding": {}, "request": {"prompt": 3}}', "damaged"),
     ('{"reelwright_manifest": 1, "kind": "film", "encoding": {"nonsense": 1}, "storyboard": {}}', "damaged")],
)  # fmt: skip
def test_a_damaged_manifest_is_an_error_of_ours(tmp_path: Path, text: str, match: str) -> None:
    path = clip(tmp_path / "c.mp4", 4)
    manifest.beside(path).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(MediaError, match=match):
        studio(tmp_path).again(path, tmp_path / "b.mp4")


def test_the_tags_of_a_person_stay(tmp_path: Path) -> None:
    from reelwright.media.encode import Encoding

    studio(tmp_path).render(board(), tmp_path / "a.mp4", encoding=Encoding(metadata={"artist": "Me"}))
    assert (probe(tmp_path / "a.mp4").metadata or {})["artist"] == "Me"
    assert manifest.read(tmp_path / "a.mp4")["kind"] == "film"
