"""Files of every kind become upright, steady BT.709 frames (S1, S6): damaged, turned, HDR, variable, odd, transparent."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from films import film, flat, grey, number, psnr, scene, write
from PIL import Image

from reelwright.errors import MediaError, RequestError
from reelwright.media.decode import first_frame, keep_rate, open_video
from reelwright.media.edit import trim
from reelwright.media.encode import save
from reelwright.types import Frame, Plane

X264 = {"preset": "ultrafast", "qp": "4"}


def numbers(path: Path, **how: object) -> list[int]:
    with open_video(path, **how) as video:
        seen = [number(frame) for frame in video.frames]
        assert len(seen) == video.spec.frames
    return seen


def first(path: Path) -> Frame:
    with open_video(path) as video:
        return next(video.frames)


def colour(frame: Frame, x: int, y: int) -> tuple[int, int, int]:
    """Y, U, V at a luma position."""
    return int(frame.y[y, x]), int(frame.u[y // 2, x // 2]), int(frame.v[y // 2, x // 2])


def near(got: tuple[int, ...], wanted: tuple[int, ...], by: int = 2) -> bool:
    return all(abs(int(a) - int(b)) <= by for a, b in zip(got, wanted, strict=True))


RED_709 = (63, 102, 240)


# What is damaged


def test_faststart_cut_in_the_middle(tmp_path: Path) -> None:
    whole = write(
        tmp_path / "whole.mp4", (scene(i).rgb for i in range(24 * 8)), options={**X264, "g": "24"}, mux={"movflags": "+faststart"}
    )
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with open_video(cut) as video, pytest.raises(MediaError, match="breaks off after") as caught:
        list(video.frames)
    assert video.spec.frames == 24 * 8
    assert "trim" in caught.value.hint
    assert 3 < caught.value.details["seconds"] < 5
    with trim(open_video(cut), 0, 3) as video:
        assert len(list(video.frames)) == 72
    with pytest.raises(MediaError, match="breaks off"):
        save(open_video(cut), tmp_path / "copy.mp4")
    assert not (tmp_path / "copy.mp4").exists()


@pytest.mark.parametrize("sound", [None, "aac"])
def test_matroska_cut_in_the_middle(tmp_path: Path, sound: str | None) -> None:
    whole = write(
        tmp_path / "whole.mkv", (scene(i).rgb for i in range(24 * 12)), options={**X264, "g": "24"}, sound=sound, seconds=12
    )
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    # PyAV writes all sound after the pictures here, so the pictures reach further than half.
    with open_video(cut) as video, pytest.raises(MediaError, match="breaks off"):
        list(video.frames)
    with trim(open_video(cut, audio=False), 1, 2) as video:
        assert len(list(video.frames)) == 24


def test_a_damaged_packet_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", (scene(i).rgb for i in range(48)), options={**X264, "g": "12"})
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 60] = bytes(60)
    path.write_bytes(data)
    with open_video(path) as video:
        assert len(list(video.frames)) == video.spec.frames == 48


def test_no_picture_can_be_decoded(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", (scene(i).rgb for i in range(10)), options=X264, mux={"movflags": "+faststart"})
    data = bytearray(path.read_bytes())
    at = data.index(b"mdat") + 4
    data[at:] = bytes(len(data) - at)
    path.write_bytes(data)
    with open_video(path) as video, pytest.raises(MediaError, match="can be decoded"):
        next(video.frames)


# Shape


def test_one_picture(tmp_path: Path) -> None:
    path = write(tmp_path / "one.mp4", [grey(7)])
    assert numbers(path) == [7]
    assert numbers(path, fps=Fraction(30)) == [7]


@pytest.mark.parametrize(
    ("codec", "pixels", "ending"), [("ffv1", "yuv444p", "mkv"), ("libx264rgb", "rgb24", "mkv"), ("png", "rgb24", "mov")]
)
def test_odd_sizes_repeat_the_last_row_and_column(tmp_path: Path, codec: str, pixels: str, ending: str) -> None:
    rgb = np.ascontiguousarray(scene(0, 104, 80).rgb[:77, :101])
    options = {"qp": "0"} if codec == "libx264rgb" else {}
    seen = first(write(tmp_path / f"odd.{ending}", [rgb] * 2, codec=codec, pixels=pixels, options=options))
    assert (seen.width, seen.height) == (102, 78)
    assert psnr(seen.buffer, Frame.of(rgb).buffer) > 40
    assert np.abs(seen.y[77].astype(int) - seen.y[76]).max() <= 3
    assert np.abs(seen.y[:, 101].astype(int) - seen.y[:, 100]).max() <= 3


def corners(width: int = 128, height: int = 64) -> Plane:
    """Red, green, blue and white quarters, from the top left on by rows."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[: height // 2, : width // 2] = (255, 0, 0)
    rgb[: height // 2, width // 2 :] = (0, 255, 0)
    rgb[height // 2 :, : width // 2] = (0, 0, 255)
    rgb[height // 2 :, width // 2 :] = 255
    return rgb


@pytest.mark.parametrize("turned", [90, 180, 270, -90])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_turned_pictures_stand_upright(tmp_path: Path, turned: int, ending: str) -> None:
    path = write(tmp_path / f"turned.{ending}", [corners()] * 3, options=X264, turned=turned)
    wanted = np.rot90(corners(), turned // 90)  # both count against the clock
    seen = first(path)
    assert (seen.height, seen.width) == wanted.shape[:2]
    assert psnr(seen.rgb[8:24, 8:24], wanted[8:24, 8:24]) > 20
    assert psnr(seen.rgb[-24:-8, 8:24], wanted[-24:-8, 8:24]) > 20
    assert psnr(seen.rgb[8:24, -24:-8], wanted[8:24, -24:-8]) > 20
    copied = tmp_path / f"copied.{'mkv' if ending == 'mp4' else 'mp4'}"
    save(open_video(path), copied)
    assert psnr(first(copied).buffer, seen.buffer) > 60


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    path = write(tmp_path / "wide.mp4", [corners(96, 64)] * 2, options=X264, aspect=Fraction(4, 3))
    seen = first(path)
    assert (seen.width, seen.height) == (128, 64)
    assert near(colour(seen, 40, 16), RED_709, 6)
    assert seen.rgb[16, 90, 1] > 200


def test_size_that_changes_in_the_middle(tmp_path: Path) -> None:
    """A stream may change its size; the film has one."""
    small = write(tmp_path / "a.h264", (grey(3) for _ in range(5)), options=X264)
    large = write(tmp_path / "b.h264", (grey(9, 192, 128) for _ in range(5)), options=X264)
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with open_video(both) as video:
        seen = list(video.frames)
    assert {(frame.width, frame.height) for frame in seen} == {(video.spec.width, video.spec.height)}
    assert [number(frame) for frame in seen] == [3] * 5 + [9] * 5


# Colour


def test_untagged_sd_is_601(tmp_path: Path) -> None:
    seen = first(write(tmp_path / "red.mp4", [flat(255, 0, 0)] * 2, options={**X264, "qp": "0"}))
    assert near(colour(seen, 40, 30), RED_709)


def test_untagged_hd_is_709(tmp_path: Path) -> None:
    hd = av.VideoFrame.from_ndarray(Frame.filled(1280, 720, *RED_709).buffer, format="yuv420p")
    assert near(colour(first(write(tmp_path / "red.mp4", [hd], options=X264)), 600, 300), RED_709)


@pytest.mark.parametrize(("matrix", "name"), [(1, "ITU709"), (5, "ITU601"), (7, "SMPTE240M"), (9, "BT2020")])
def test_tagged_matrix_is_followed(tmp_path: Path, matrix: int, name: str) -> None:
    from av.video.reformatter import Colorspace

    made = av.VideoFrame.from_ndarray(flat(255, 0, 0), format="rgb24").reformat(format="yuv420p", dst_colorspace=Colorspace[name])
    made.colorspace = matrix
    path = write(tmp_path / "red.mp4", [made], options={**X264, "qp": "0"}, tags={"colorspace": matrix, "color_range": 1})
    assert near(colour(first(path), 40, 30), RED_709)


def test_full_range(tmp_path: Path) -> None:
    for name, grey_level in (("white", 255), ("black", 0), ("mid", 126)):
        path = write(tmp_path / f"{name}.mov", [flat(*[grey_level] * 3)] * 2, codec="mjpeg", pixels="yuvj420p", bitrate=9_000_000)
        assert near(colour(first(path), 40, 30), (round(16 + grey_level * 219 / 255), 128, 128))


def test_ten_bit(tmp_path: Path) -> None:
    picture = scene(0)
    made = av.VideoFrame.from_numpy_buffer(picture.buffer, format="yuv420p").reformat(format="yuv420p10le")
    path = write(
        tmp_path / "ten.mp4", [made], codec="libx265", pixels="yuv420p10le", tags={"colorspace": 1},
        options={"x265-params": "log-level=error:qp=4:bframes=0"},
    )  # fmt: skip
    assert psnr(first(path).buffer, picture.buffer) > 44


@pytest.mark.parametrize("kind", ["apng", "gif", "mov", "webp-still", "png-still"])
def test_transparency_stands_on_black(tmp_path: Path, kind: str) -> None:
    rgba = np.zeros((64, 96, 4), np.uint8)
    rgba[:, :48] = (255, 0, 0, 255)
    rgba[:, 48:] = (255, 255, 255, 0)
    image = Image.fromarray(rgba)
    if kind == "mov":
        picture = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format="yuva444p10le", dst_colorspace=5)
        path = write(tmp_path / "a.mov", [picture], codec="prores_ks", pixels="yuva444p10le", options={"profile": "4"})
    elif kind == "apng":
        image.save(path := tmp_path / "a.apng", save_all=True, append_images=[image.rotate(180)], duration=100, format="PNG")
    elif kind == "gif":
        other = rgba.copy()
        other[:10, :48] = (0, 0, 255, 255)
        image.save(path := tmp_path / "a.gif", save_all=True, append_images=[Image.fromarray(other)], duration=100)
    else:
        image.save(path := tmp_path / f"a.{kind.split('-')[0]}", lossless=True)
    rgb = first_frame(path)
    assert near(tuple(rgb[40, 20]), (255, 0, 0), 8)
    assert near(tuple(rgb[40, 80]), (0, 0, 0), 4)


def test_interlaced_is_read_as_it_is(tmp_path: Path) -> None:
    path = write(
        tmp_path / "i.mp4", (grey(i) for i in range(12)), options={"x264-params": "interlaced=1:qp=8", "preset": "veryfast"}
    )
    assert numbers(path) == list(range(12))


# Time


def test_variable_rate_on_a_steady_grid(tmp_path: Path) -> None:
    """Each picture is shown from the grid time nearest to its own, until the next one; the length stays."""
    times = [0, 95, 133, 400, 433, 1000, 1033, 1066, 1500, 2000]
    path = write(
        tmp_path / "vfr.mp4", (grey(i) for i in range(10)), times=times, base=Fraction(1, 1000), fps=30, options={"bf": "0"}
    )
    with open_video(path, fps=Fraction(30)) as video:
        seen = [number(frame) for frame in video.frames]
        assert len(seen) == video.spec.frames
    for index, got in enumerate(seen):
        at = index / 30 * 1000
        started = max((i for i, time in enumerate(times) if time <= at + 17), default=0)
        assert got == started or abs(times[got] - at) <= 17, (index, got, started)
    assert sorted(set(seen)) == list(range(10))
    assert len(seen) >= 61
    with open_video(path) as video:
        assert video.spec.seconds == pytest.approx(2, abs=0.6)
        assert [number(frame) for frame in video.frames][-1] == 9


def test_a_last_picture_that_is_held_long(tmp_path: Path) -> None:
    """A slide show's last picture may stand for many seconds; that is not a file that breaks off."""
    pictures = [Image.fromarray(flat(40 * i, 10, 10)) for i in range(4)]
    path = tmp_path / "slides.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[500, 500, 500, 6000])
    with open_video(path) as video:
        frames = list(video.frames)
        assert float(video.spec.seconds) == pytest.approx(7.5, abs=0.6)
    assert near(tuple(frames[-1].rgb[20, 20]), (120, 10, 10), 6)


def test_sixty_read_at_thirty_and_back(tmp_path: Path) -> None:
    path = write(tmp_path / "sixty.mp4", (grey(i) for i in range(30)), fps=60)
    assert numbers(path, fps=Fraction(30)) == list(range(0, 30, 2))
    slow = write(tmp_path / "twelve.mp4", (grey(i) for i in range(6)), fps=12)
    assert numbers(slow, fps=Fraction(24)) == [i // 2 for i in range(12)]


@pytest.mark.parametrize("offset", [-12, 36])
@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_time_that_does_not_start_at_zero(tmp_path: Path, offset: int, ending: str) -> None:
    path = tmp_path / f"late.{ending}"
    write(path, (grey(i) for i in range(24)), times=range(offset, offset + 24), options={"bf": "2"})
    before = 12 if (offset, ending) == (-12, "mp4") else 0  # MP4 hides what lies before zero, as players do
    assert numbers(path) == list(range(before, 24))


@pytest.mark.parametrize("ending", ["h264", "webm", "ts", "mkv", "avi", "flv", "gif", "mov", "ivf"])
def test_kinds_of_files(tmp_path: Path, ending: str) -> None:
    """Also those whose header has no length: bare H.264, live WebM, transport streams."""
    codec, pixels = {
        "webm": ("libvpx-vp9", "yuv420p"),
        "ivf": ("libvpx-vp9", "yuv420p"),
        "gif": ("gif", "gray"),
        "avi": ("mpeg4", "yuv420p"),
    }.get(ending, ("libx264", "yuv420p"))
    options = {"libx264": {"bf": "2", "preset": "veryfast"}, "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"}}.get(
        codec, {}
    )
    mux = {"live": "1"} if ending == "webm" else {}
    fps = 25 if ending == "gif" else 24
    path = write(
        tmp_path / f"clip.{ending}", (grey(i) for i in range(36)), codec=codec, pixels=pixels, options=options, mux=mux, fps=fps
    )
    with open_video(path) as video:
        seen = [number(frame) for frame in video.frames]
        assert video.spec.fps == fps
    slack = 1 if ending in ("gif", "avi") else 0
    assert len(seen) == 36
    assert np.abs(np.array(seen) - np.arange(36)).max() <= slack


def test_long_files_without_a_length_of_the_pictures(tmp_path: Path) -> None:
    """Sound that goes on after the pictures does not make them longer."""
    path = write(tmp_path / "long.mkv", (grey(i % 40) for i in range(24 * 12)), sound="aac", seconds=30)
    with open_video(path) as video:
        assert video.spec.frames == 24 * 12


def test_surround_sound(tmp_path: Path) -> None:
    path = write(tmp_path / "surround.mp4", (grey(i) for i in range(24)), sound="aac", layout="5.1", seconds=1)
    with open_video(path) as video:
        assert video.samples is not None
        heard = np.concatenate(list(video.samples))
    assert heard.shape == (48000, 2)
    assert 0.05 < np.abs(heard[5000:40000]).max() <= 1


def test_sound_is_left_out_when_not_wanted(clip: Path, tmp_path: Path) -> None:
    with open_video(clip, audio=False) as video:
        assert video.samples is None
    save(open_video(clip, audio=False), tmp_path / "mute.mp4")
    with open_video(tmp_path / "mute.mp4") as video:
        assert not video.spec.audio


# Seeking


def _long(folder: Path, kind: str) -> Path:
    options = {"preset": "veryfast", "g": "60", "bf": "3", "x264-params": "b-pyramid=normal:open-gop=1"}
    frames = (grey(i % 50) for i in range(150))
    if kind == "avi":
        return write(folder / "long.avi", frames, codec="mpeg4", options={"g": "60", "bf": "2", "qmax": "2"})
    if kind == "webm":
        options = {"deadline": "realtime", "cpu-used": "8", "g": "100", "crf": "4", "b": "0"}
        return write(folder / "long.webm", frames, codec="libvpx-vp9", options=options)
    return write(folder / f"long.{kind}", frames, options=options)


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts", "avi", "webm", "h264", "flv"])
def test_skip_gives_the_same_frames_as_reading_all(tmp_path: Path, kind: str) -> None:
    path = _long(tmp_path, kind)
    with open_video(path) as video:
        every = [frame.buffer.copy() for frame in video.frames]
    assert len(every) == 150
    for start in (1, 23, 24, 25, 59, 60, 61, 100, 119, 120, 121, 149):
        with open_video(path) as video:
            video.frames.skip(start)
            for index in range(start, min(150, start + 3)):
                assert np.array_equal(next(video.frames).buffer, every[index]), (start, index)
            video.frames.skip(5)
            if start + 8 < 150:
                assert np.array_equal(next(video.frames).buffer, every[start + 8])


def test_skip_past_the_end(clip: Path) -> None:
    with open_video(clip) as video:
        video.frames.skip(100)
        assert list(video.frames) == []


def test_drawing_on_a_frame_changes_no_other(tmp_path: Path) -> None:
    """Frames belong to whoever is given them, at the file's own rate and at any other, held pictures included."""
    path = write(tmp_path / "clip.mp4", (grey(i) for i in range(24)), tags={"colorspace": 1, "color_range": 1})
    for fps in (12, 24, 50, 60):
        clean = numbers(path, fps=Fraction(fps))
        with open_video(path, fps=Fraction(fps)) as video:
            drawn = []
            for frame in video.frames:
                drawn.append(number(frame))
                frame.buffer[:] = 200
        assert drawn == clean


def test_close_in_the_middle_and_twice(clip: Path) -> None:
    video = open_video(clip)
    next(video.frames)
    video.close()
    video.close()
    assert next(video.frames, None) is None


# Small things


def test_animated_pictures_come_back(tmp_path: Path) -> None:
    for ending in ("gif", "webp"):
        path = tmp_path / f"loop.{ending}"
        save(film(10, fps=10), path)
        with open_video(path) as video:
            assert (video.spec.fps, video.spec.frames) == (10, 10)
            seen = list(video.frames)
        for index, frame in enumerate(seen):
            assert psnr(frame.y, scene(index).y) > 27


def test_rates_as_people_write_them() -> None:
    assert keep_rate(29.97) == Fraction(30000, 1001)
    assert keep_rate("23.976") == Fraction(24000, 1001)
    assert keep_rate(25) == 25
    assert keep_rate(Fraction(50)) == 50
    for wrong in (0.5, 300, -1):
        with pytest.raises(RequestError):
            keep_rate(wrong)


def test_first_frame_of_a_still_and_of_a_film(tmp_path: Path, clip: Path) -> None:
    Image.fromarray(scene(0).rgb).save(tmp_path / "still.png")
    assert np.array_equal(first_frame(tmp_path / "still.png"), scene(0).rgb)
    assert abs(int(first_frame(clip)[30, 30, 0]) - round((30 - 16) * 255 / 219)) <= 2


def test_sound_is_as_long_as_the_pictures(clip: Path) -> None:
    with open_video(clip) as video:
        assert video.samples is not None
        assert sum(map(len, video.samples)) == video.spec.samples == 96000
