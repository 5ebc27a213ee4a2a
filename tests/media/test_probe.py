"""What a file is, and what is refused at the door (S6, J7): damaged, mislabelled, playlists, enormous."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from films import film, flat, grey, scene, tone, write
from PIL import Image

from reelwright.errors import MediaError, MissingAsset, TooLarge
from reelwright.media import sound
from reelwright.media.decode import open_video, read_still
from reelwright.media.encode import save
from reelwright.media.probe import probe


def test_facts_of_a_film(clip: Path) -> None:
    facts = probe(clip)
    assert (facts.width, facts.height, facts.fps, facts.frames) == (96, 64, 24, 48)
    assert (facts.codec, facts.pixel_format, facts.rotation, facts.hdr) == ("h264", "yuv420p", 0, None)
    assert (facts.audio_codec, facts.audio_rate, facts.audio_channels) == ("aac", 48000, 2)
    assert facts.seconds == pytest.approx(2, abs=0.05)
    assert facts.size == clip.stat().st_size
    assert not facts.variable_rate
    assert facts.json()["fps"] == "24"


def test_facts_of_sound_only(tmp_path: Path) -> None:
    facts = probe(_sound_only(tmp_path))
    assert facts.width is None
    assert facts.audio_codec == "aac"


def _sound_only(folder: Path) -> Path:
    sound.save(iter([tone(48000)]), folder / "sound.m4a")
    return folder / "sound.m4a"


def test_sound_only_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="has no pictures") as caught:
        open_video(_sound_only(tmp_path))
    assert "sound track" in caught.value.hint


@pytest.mark.parametrize("open_it", [probe, open_video])
class TestRefused:
    def test_missing(self, tmp_path: Path, open_it: object) -> None:
        with pytest.raises(MissingAsset) as caught:
            open_it(tmp_path / "nothing.mp4")
        assert caught.value.hint

    def test_folder(self, tmp_path: Path, open_it: object) -> None:
        with pytest.raises(MediaError, match="folder"):
            open_it(tmp_path)

    def test_empty(self, tmp_path: Path, open_it: object) -> None:
        path = tmp_path / "empty.mp4"
        path.touch()
        with pytest.raises(MediaError, match="empty") as caught:
            open_it(path)
        assert caught.value.hint

    def test_text(self, tmp_path: Path, open_it: object) -> None:
        path = tmp_path / "text.mp4"
        path.write_text("This is a letter, not a film.\n" * 200)
        with pytest.raises(MediaError) as caught:
            open_it(path)
        assert caught.value.hint

    @pytest.mark.parametrize(
        "text",
        [
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{path}\n#EXT-X-ENDLIST\n",
            "ffconcat version 1.0\nfile '{path}'\n",
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><BaseURL>{path}</BaseURL></MPD>',
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        ],
        ids=["m3u8", "ffconcat", "mpd", "sdp"],
    )
    def test_playlist_under_another_name(self, clip: Path, open_it: object, text: str) -> None:
        """A file that makes FFmpeg read other files or addresses is refused, whatever its ending says."""
        for ending in (".mp4", ".m3u8", ".ffconcat", ".sdp"):
            path = clip.with_name(f"list{ending}")
            path.write_text(text.format(path=clip))
            with pytest.raises(MediaError):
                open_it(path)

    def test_index_at_the_end_cut_off(self, tmp_path: Path, open_it: object) -> None:
        whole = write(tmp_path / "whole.mp4", (grey(i) for i in range(48)))
        cut = tmp_path / "cut.mp4"
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
        with pytest.raises(MediaError) as caught:
            open_it(cut)
        assert "damaged" in caught.value.hint

    def test_enormous_header_of_avi(self, tmp_path: Path, open_it: object) -> None:
        path = write(tmp_path / "big.avi", (grey(i) for i in range(2)), codec="rawvideo", pixels="yuv420p")
        data = bytearray(path.read_bytes())
        at = data.index(b"strf") + 8
        struct.pack_into("<ii", data, at + 4, 12000, 12000)
        path.write_bytes(data)
        with pytest.raises(TooLarge) as caught:
            open_it(path)
        assert caught.value.details["width"] == 12000

    def test_enormous_header_of_mp4(self, tmp_path: Path, open_it: object) -> None:
        path = write(tmp_path / "big.mp4", [flat(10, 20, 30)], codec="rawvideo", pixels="yuv420p", form="mov")
        data = bytearray(path.read_bytes())
        at = data.index(b"stsd") + 16
        struct.pack_into(">HH", data, at + 28, 12000, 12000)
        path.write_bytes(data)
        with pytest.raises(TooLarge) as caught:
            open_it(path)
        assert caught.value.details["width"] == 12000


def test_metadata_and_colons_in_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    from reelwright.media.encode import Encoding

    path = Path("take:2.mp4")
    save(film(3), path, Encoding(metadata={"title": "Tide", "comment": "from a test"}))
    facts = probe(path)
    assert facts.metadata is not None
    assert (facts.metadata["title"], facts.metadata["comment"]) == ("Tide", "from a test")


def test_variable_rate_and_hdr_are_told(tmp_path: Path) -> None:
    times = [0, 100, 133, 400, 433, 1000, 1033, 1066, 1500, 2000]
    path = write(tmp_path / "vfr.mp4", (grey(i) for i in range(10)), times=times, base=Fraction(1, 1000), fps=30)
    assert probe(path).variable_rate
    hdr = write(
        tmp_path / "hdr.mp4", [flat(90, 90, 90)] * 2, codec="libx265", pixels="yuv420p10le",
        tags={"color_trc": 16, "color_primaries": 9, "colorspace": 9}, options={"x265-params": "log-level=error:bframes=0"},
    )  # fmt: skip
    assert (probe(hdr).hdr, probe(hdr).pixel_format) == ("PQ", "yuv420p10le")


@pytest.mark.parametrize("ntsc", [24000, 30000, 60000])
def test_ntsc_rates_are_exact(tmp_path: Path, ntsc: int) -> None:
    path = write(tmp_path / "ntsc.mkv", (grey(i) for i in range(24)), fps=Fraction(ntsc, 1001))  # Matroska rounds to 1 ms
    assert probe(path).fps == Fraction(ntsc, 1001)


def _png(path: Path, width: int, height: int) -> Path:
    """A small PNG whose header claims any size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("side", [9000, 12000, 60000])
def test_enormous_still(tmp_path: Path, side: int) -> None:
    """Refused from the header, before memory is taken; Pillow's own warning and error are not let through."""
    with pytest.raises(TooLarge) as caught:
        read_still(_png(tmp_path / "bomb.png", side, side))
    assert caught.value.hint


def test_damaged_still(tmp_path: Path) -> None:
    with pytest.raises(MediaError):
        read_still(_png(tmp_path / "short.png", 500, 500))
    with pytest.raises(MissingAsset):
        read_still(tmp_path / "none.png")
    text = tmp_path / "text.png"
    text.write_text("hello")
    with pytest.raises(MediaError) as caught:
        read_still(text)
    assert "PNG" in caught.value.hint


def test_still_is_turned_upright_and_put_on_black(tmp_path: Path) -> None:
    picture = np.zeros((20, 40, 4), np.uint8)
    picture[:, :20] = (255, 0, 0, 255)
    picture[:, 20:] = (255, 255, 255, 0)
    image = Image.fromarray(picture)
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees clockwise to be shown
    image.save(tmp_path / "turned.png", exif=exif)
    seen = read_still(tmp_path / "turned.png")
    assert seen.shape == (40, 20, 3)
    assert (seen[:20] == (255, 0, 0)).all()
    assert (seen[20:] == 0).all()


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "gif", "bmp", "tif", "avif"])
def test_kinds_of_stills(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"still.{ending}"
    Image.fromarray(scene(0).rgb).save(path)
    seen = read_still(path)
    assert seen.shape == (64, 96, 3)
    assert np.abs(seen.astype(int) - scene(0).rgb).mean() < 12
