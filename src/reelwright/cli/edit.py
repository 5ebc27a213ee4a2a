"""Commands that work on existing files (S6)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reelwright.cli import report

if TYPE_CHECKING:
    from reelwright.types import Video

File = Annotated[Path, typer.Argument(help="A video file.")]
Target = Annotated[Path, typer.Option("-o", "--output", help="The file to write; its ending chooses the kind.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (join, trim, resize, retime, sound, captions, convert, stills, sheet, waveform):
        app.command()(command)


def _edited(file: Path, output: Path, change: Callable[[Video], Video]) -> None:
    """Open, change, save, report."""
    from reelwright.media.decode import open_video
    from reelwright.media.encode import save

    with report.working("Writing") as run:
        video = change(open_video(file))
        spec = video.spec
        notes = save(video, output, step=lambda done, total: run.step(done, total, "encode"))
    _written(output, spec.frames, float(spec.fps), notes)


def _written(output: Path, frames: int, fps: float, notes: tuple[str, ...] = ()) -> None:
    lines = [f"Note: {note}" for note in notes]
    content = {"path": str(output), "frames": frames, "seconds": round(frames / fps, 3), "notes": notes}
    report.give(content, "\n".join([*lines, f"{output}  ({frames / fps:.2f} s)"]))


def join(
    files: Annotated[list[Path], typer.Argument(help="Videos, in order.")],
    output: Target,
    transition: Annotated[str, typer.Option(help="Between them; `reel transitions` lists them.")] = "cut",
    seconds: Annotated[float | None, typer.Option(help="Length of the transition.")] = None,
    size: Annotated[str | None, typer.Option(help="As 1280x720; the first one's if left out.")] = None,
) -> None:
    """Join videos of any size, rate and sound into one."""
    from reelwright.films import join as make

    with report.working("Joining") as run:
        made = make(files, output, transition, seconds, size, run=run)
    report.result(made)


def trim(
    file: File,
    output: Target,
    start: Annotated[float, typer.Option("--from", help="Seconds from the start.")] = 0.0,
    end: Annotated[float | None, typer.Option("--to", help="Seconds from the start; the end if left out.")] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Encode nothing: instant, but begins at the key frame before.")] = False,
) -> None:
    """Cut a part out of a video."""
    from reelwright.media import edit, splicing
    from reelwright.media.decode import open_video

    if copy:
        first = splicing.cut(file, output, start, end)
        with open_video(output) as video:
            notes = (f"It begins at the key frame at {first:.2f} s.",) if abs(first - start) > 0.02 else ()
            _written(output, video.spec.frames, float(video.spec.fps), notes)
        return

    _edited(file, output, lambda video: edit.trim(video, start, end))


def resize(
    file: File,
    output: Target,
    size: Annotated[str, typer.Option(help="As 1280x720.")],
    how: Annotated[str, typer.Option("--fit", help="cover (crop), contain (bars) or stretch.")] = "contain",
) -> None:
    """Scale a video to another size."""
    from reelwright.cli.make import _size
    from reelwright.errors import RequestError
    from reelwright.media import edit

    if how not in ("cover", "contain", "stretch"):
        raise RequestError(f"fit is cover, contain or stretch, not {how!r}", field="fit")
    width, height = _size(size)
    _edited(file, output, lambda video: edit.fit(video, width, height, how))  # type: ignore[arg-type]  # held above


def retime(file: File, output: Target, pace: Annotated[float, typer.Option(help="0.5 is half speed, 2 is double.")]) -> None:
    """Make a video slower or faster; its sound keeps its pitch."""
    from reelwright.media import edit

    _edited(file, output, lambda video: edit.retime(video, pace))


def sound(
    file: File,
    output: Target,
    track: Annotated[Path, typer.Option(help="A sound file.")],
    mix: Annotated[bool, typer.Option("--mix", help="Keep the video's own sound under it.")] = False,
    gain: Annotated[float, typer.Option(help="dB for the new sound.")] = 0.0,
) -> None:
    """Replace a video's sound, or mix another one into it."""
    from reelwright.media import edit
    from reelwright.media import sound as sounds

    def change(video: Video) -> Video:
        added = sounds.gain(sounds.decode(track), gain)
        if not mix or video.samples is None:
            return edit.with_sound(video, added)
        return edit.with_sound(video, sounds.limit(sounds.mix([(0, video.samples), (0, added)], video.spec.samples)))

    _edited(file, output, change)


def captions(
    file: File,
    output: Target,
    subtitles: Annotated[Path, typer.Option(help="An .srt or .vtt file.")],
    style_size: Annotated[float, typer.Option("--size", help="Of the letters, as a part of the height.")] = 0.045,
) -> None:
    """Burn captions into a video."""
    from reelwright.compose import captioned
    from reelwright.media.captions import read
    from reelwright.media.letters import LetterStyle

    texts, style = read(subtitles), LetterStyle(size=style_size)
    _edited(file, output, lambda video: captioned(video, texts, style))


def convert(
    file: File,
    output: Target,
    codec: Annotated[str | None, typer.Option(help="h264, h265, av1, vp9, prores, gif or webp.")] = None,
    bitrate: Annotated[int | None, typer.Option(help="Ceiling in kbit/s.")] = None,
    hardware: Annotated[bool, typer.Option("--hardware", help="Use the machine's encoder where there is one.")] = False,
) -> None:
    """Write a video as another kind of file; copied without encoding where that is possible."""
    from reelwright.media.decode import open_video
    from reelwright.media.encode import Encoding, save

    with report.working("Writing") as run:
        video = open_video(file)
        spec = video.spec
        encoding = Encoding(codec=codec, bitrate=bitrate, hardware=hardware, speed="filmed")
        notes = save(video, output, encoding, lambda done, total: run.step(done, total, "encode"))
    _written(output, spec.frames, float(spec.fps), notes)


def stills(
    file: File,
    output: Annotated[Path, typer.Option("-o", "--output", help="A folder.")],
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many, spread evenly.")] = 8,
) -> None:
    """Write single pictures of a video."""
    from reelwright.errors import RequestError
    from reelwright.media.decode import open_video
    from reelwright.media.stills import every, save_picture

    if output.exists() and not output.is_dir():
        raise RequestError(f"{output} is a file", hint="Name a folder for the pictures.")
    output.mkdir(parents=True, exist_ok=True)
    written = []
    with open_video(file, audio=False) as video:
        for index, frame in every(video, count):
            path = output / f"{file.stem}-{index:06d}.png"
            save_picture(frame.rgb, path)
            written.append(path)
    report.give({"files": [str(path) for path in written]}, "\n".join(map(str, written)))


def sheet(
    file: File,
    output: Target,
    count: Annotated[int, typer.Option(min=1, max=400, help="Pictures on it.")] = 12,
    columns: Annotated[int, typer.Option(min=1, max=40)] = 4,
) -> None:
    """Write a contact sheet of a video."""
    from reelwright.media.decode import open_video
    from reelwright.media.stills import every, save_picture
    from reelwright.media.stills import sheet as drawn

    with open_video(file, audio=False) as video:
        save_picture(drawn([frame for _, frame in every(video, count)], columns), output)
    report.give({"path": str(output)}, str(output))


def waveform(
    file: Annotated[Path, typer.Argument(help="A video or sound file.")],
    output: Target,
    width: Annotated[int, typer.Option(min=16, max=16384)] = 1600,
    height: Annotated[int, typer.Option(min=16, max=4096)] = 300,
) -> None:
    """Draw a file's sound."""
    from reelwright.media import sound as sounds
    from reelwright.media.stills import save_picture
    from reelwright.types import SAMPLE_RATE

    count = round(sounds.duration(file) * SAMPLE_RATE)
    save_picture(sounds.waveform(sounds.decode(file), count, width, height, (255, 178, 104), (20, 22, 28)), output)
    report.give({"path": str(output)}, str(output))
