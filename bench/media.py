"""Reelwright against moviepy 2, an FFmpeg command line and x264 alone, at the same work. `make bench`.

Each row runs in a process of its own, rows of one round after another, and the medians of the rounds are shown. Times
of Python rows begin when their modules are imported; all of them begin with the same three JPEG files.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import av
import geometry
import measure
import memory
import quality
import rivals
from work import MOVES, Work, stills

from reelwright.storyboard import plain

ROOT = Path(__file__).parent.parent


@dataclass
class Row:
    """One way of doing the work. `command` makes `output`; `lossless` holds the same renderer's uncompressed frames."""

    name: str
    output: Path
    command: list[str]
    lossless: Path
    matrix: str = "709"
    runs: list[measure.Measured] = field(default_factory=list)
    encoded: float = 0.0
    shown: float | None = None

    @property
    def took(self) -> measure.Measured:
        return measure.median(self.runs)

    @property
    def size(self) -> float:
        return self.output.stat().st_size / 1e6


class Bars:
    """What has to hold; prints each with PASS or FAIL."""

    def __init__(self) -> None:
        self.failed = 0

    def hold(self, text: str, value: float, fine: bool, *, form: str = ".2f") -> None:
        """One bar: what it says, what was measured, whether it holds."""
        self.failed += not fine
        print(f"  {'PASS' if fine else 'FAIL'}  {text}: {value:{form}}")


def rows(work: Work, folder: Path, moviepy: Path | None, ffmpeg: str | None) -> dict[str, Row]:
    """The rows of one preset; the lossless files that they are judged by are made here."""

    def job(name: str, content: dict[str, object]) -> Path:
        path = folder / f"{work.name}-{name}.json"
        path.write_text(json.dumps(content))
        return path

    def ours(speed: str) -> tuple[list[str], Path]:
        output = folder / f"{work.name}-{speed}.mp4"
        given = job(speed, {"board": plain(work.board()), "speed": speed, "output": str(output)})
        return [sys.executable, str(memory.CHILD), "film", str(given)], output

    def floor(speed: str) -> tuple[list[str], Path]:
        output = folder / f"{work.name}-floor-{speed}.mp4"
        given = {"frames": str(lossless), "bitrate": work.preset.bitrate, "speed": speed, "output": str(output)}
        return [sys.executable, str(memory.CHILD), "floor", str(job(f"floor-{speed}", given))], output

    command, lossless = ours("lossless")
    measure.run(command, 1)
    made = {}
    for key, name, way, speed in (
        ("same", "Reelwright, veryfast", ours, "veryfast"),
        ("ours", "Reelwright, its default", ours, "drawn"),
        ("floor same", "x264 alone, veryfast", floor, "veryfast"),
        ("floor ours", "x264 alone, our default", floor, "drawn"),
    ):
        command, output = way(speed)
        made[key] = Row(name, output, command, lossless)
    facts = work.job(folder)
    if moviepy is not None:
        given = job("rival", facts)
        for key, way in (("moviepy", "resized"), ("moviepy by hand", "pillow")):
            output, whole = folder / f"{work.name}-{way}.mp4", folder / f"{work.name}-{way}-lossless.mp4"
            measure.run(rivals.moviepy_command(moviepy, given, whole, way, lossless=True), 1)
            made[key] = Row(f"moviepy, {way}", output, rivals.moviepy_command(moviepy, given, output, way), whole, "601")
    if ffmpeg is not None:
        output, whole = folder / f"{work.name}-ffmpeg.mp4", folder / f"{work.name}-ffmpeg-lossless.mp4"
        measure.run(rivals.ffmpeg_command(ffmpeg, facts, whole, lossless=True), 1)
        made["ffmpeg"] = Row("FFmpeg, veryfast", output, rivals.ffmpeg_command(ffmpeg, facts, output), whole, "")
    return made


def film(work: Work, folder: Path, rounds: int, moviepy: Path | None, ffmpeg: str | None) -> dict[str, Row]:
    """All rows of one preset: made, timed round by round, judged, printed."""
    made = rows(work, folder, moviepy, ffmpeg)
    for _ in range(rounds):
        for row in made.values():
            row.runs.append(measure.run(row.command))
    for row in made.values():
        row.encoded = quality.encoded(row.output, row.lossless)
        if row.matrix:
            row.shown = quality.shown(row.output, quality.reference(work, row.matrix))
    preset = work.preset
    size = f"{preset.width}x{preset.height}"
    print(f"\n{work.name}: {size} at {preset.fps} fps, {work.frames} frames, at most {preset.bitrate} kbit/s")
    print(f"  {'':26}{'wall s':>8}{'fps':>7}{'CPU s':>8}{'MB RSS':>8}{'MB':>7}{'SSIM':>8}{'shown':>8}"
          f"{'×moviepy':>10}{'×FFmpeg':>9}{'/floor':>8}{'others':>8}")  # fmt: skip
    for key, row in made.items():
        took = row.took
        shown = "–" if row.shown is None else f"{row.shown:.4f}"
        floor = made["floor ours" if key in ("ours", "floor ours") else "floor same"].took.wall
        faster = [f"{made[rival].took.wall / took.wall:.2f}" if rival in made else "–" for rival in ("moviepy", "ffmpeg")]
        print(f"  {row.name:26}{took.wall:8.2f}{work.frames / took.wall:7.0f}{took.cpu:8.2f}{took.rss:8.0f}{row.size:7.2f}"
              f"{row.encoded:8.4f}{shown:>8}{faster[0]:>10}{faster[1]:>9}{took.wall / floor:8.2f}{took.load:8.2f}")  # fmt: skip
    return made


def film_bars(made: dict[str, Row], work: Work, bars: Bars) -> None:
    """The bars at high."""
    wall = {key: row.took.wall for key, row in made.items()}
    if "moviepy" in made:
        times = wall["moviepy"] / wall["same"]
        bars.hold("times moviepy, both veryfast (at least 9)", times, times >= 9)
        times = wall["moviepy"] / wall["ours"]
        bars.hold("times moviepy, our default settings (at least 15)", times, times >= 15)
        more = (made["ours"].shown or 0) - (made["moviepy"].shown or 0)
        bars.hold("shown, our default file less moviepy's (not below 0)", more, more >= 0, form="+.4f")
    if "ffmpeg" in made:
        times = wall["ffmpeg"] / wall["same"]
        bars.hold("times the FFmpeg command line, both veryfast (at least 1)", times, times >= 1)
    for key, name in (("same", "veryfast"), ("ours", "our default settings")):
        share = wall[key] / wall[f"floor {key}"]
        bars.hold(f"times x264 alone, {name} (at most 1.25)", share, share <= 1.25)
    kbit = made["ours"].size * 8000 * float(work.preset.fps) / work.frames
    bars.hold(f"kbit/s of our default file (about {work.preset.bitrate})", kbit, kbit <= work.preset.bitrate * 1.1, form=".0f")


def camera(folder: Path, ffmpeg: str | None, bars: Bars) -> None:
    """Sub-pixel truth of the moves, and FFmpeg's."""
    print("\ncamera: position error in px of blobs, 1280x720")
    for move in MOVES:
        found = geometry.ours(move)
        print(f"  {move:10} Reelwright  rms {found.rms:.4f}  jitter {found.jitter:.4f}  bias {found.bias:+.4f}")
        if ffmpeg is not None:
            theirs = geometry.zoompans(ffmpeg, move, folder)
            print(f"  {'':10} zoompan     rms {theirs.rms:.4f}  jitter {theirs.jitter:.4f}  bias {theirs.bias:+.4f}")
        bars.hold(f"{move}: rms error in px (below 0.05)", found.rms, found.rms < 0.05, form=".4f")
        bars.hold(f"{move}: jitter in px (below 0.1)", found.jitter, found.jitter < 0.1, form=".4f")


def lengths(folder: Path, pictures: tuple[Path, ...], long: bool, bars: Bars) -> None:
    """Memory does not grow with length, nor does the time of a frame with the number of scenes."""
    print("\nmemory: peak resident MB")
    short, other = 10, 60 if long else 20
    peaks = {}
    for seconds in (short, other):
        took = memory.premium(folder, pictures, seconds // 5)
        peaks[seconds] = took.rss
        print(f"  premium 3840x2160 at 60 fps, {seconds:3} s: {took.rss:6.0f} MB, {seconds * 60 / took.wall:5.1f} fps")
    for seconds, peak in peaks.items():
        bars.hold(f"premium {seconds} s, MB (below 1200)", peak, peak < 1200, form=".0f")
    _flat(f"premium {other} s to {short} s, memory (about 1)", peaks[other] / peaks[short], bars)
    faded = {seconds: memory.crossfade(folder, pictures[0], seconds) for seconds in (5, 20)}
    for seconds, took in faded.items():
        print(f"  crossfade of two 4K clips, {seconds:2} s each: {took.rss:6.0f} MB")
    _flat("crossfade of 20 s to 5 s, memory (about 1)", faded[20].rss / faded[5].rss, bars)
    print("\nscenes of 0.2 s at 160x90")
    found = {count: memory.many(folder, pictures, count) for count in (100, 1000)}
    for count, (each, took) in found.items():
        print(f"  {count:5} scenes: {each:.2f} CPU ms a frame, {took.wall:.1f} s, {took.rss:.0f} MB")
    ratio = found[1000][0] / found[100][0]
    bars.hold("1000 scenes to 100, time a frame (at most 1.2)", ratio, ratio <= 1.2)


def _flat(text: str, ratio: float, bars: Bars) -> None:
    bars.hold(text, ratio, ratio <= 1.15)


def main() -> int:
    """Run what was asked for; 1 if a bar does not hold."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--rounds", type=int, default=3, help="runs of each row (3)")
    given.add_argument("--quick", action="store_true", help="one run of each row, high only")
    given.add_argument("--long", action="store_true", help="premium for 60 s instead of 20 s; takes minutes")
    given.add_argument("--moviepy", type=Path, default=ROOT / ".venv/bench/bin/python", help="a Python that has moviepy")
    given.add_argument("--only", choices=("film", "camera", "memory"), help="one part of all")
    options = given.parse_args()
    moviepy, ffmpeg = rivals.moviepy(options.moviepy), rivals.ffmpeg(options.moviepy)
    x264 = ".".join(map(str, av.library_versions["libavcodec"]))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, libavcodec {x264}")
    print(f"moviepy: {moviepy or 'none here, its row is left out (make bench sets it up)'}")
    print(f"FFmpeg: {rivals.ffmpeg_version(ffmpeg) if ffmpeg else 'none here that has all filters, its row is left out'}")
    bars = Bars()
    with tempfile.TemporaryDirectory(prefix="reelwright-bench-") as made:
        folder = Path(made)
        pictures = stills(folder)
        parts: dict[str, Callable[[], None]] = {
            "film": lambda: films(folder, pictures, options, moviepy, ffmpeg, bars),
            "camera": lambda: camera(folder, ffmpeg, bars),
            "memory": lambda: lengths(folder, pictures, options.long, bars),
        }
        for name, part in parts.items():
            if options.only in (None, name):
                part()
    print(f"\n{'every bar holds' if not bars.failed else f'{bars.failed} bars do not hold'}")
    return 1 if bars.failed else 0


def films(
    folder: Path, pictures: tuple[Path, ...], options: argparse.Namespace, moviepy: str | None, ffmpeg: str | None, bars: Bars
) -> None:
    """The table of each preset and the bars at high."""
    print("SSIM: a file against its renderer's own uncompressed frames; a sharper picture loses more. shown: against a slow,")
    print("supersampled rendering of the same views, above the caption: sharpness counts too; FFmpeg's zoompan, a pixel beside")
    print("it, has none. others: cores that other processes used meanwhile. Every row has the same rate control (capped CRF 20).")
    print("moviepy: `resized` is its own way, which the bars are held against; `pillow` is written by hand. Both veryfast.")
    python = options.moviepy if moviepy else None
    for name in ("high",) if options.quick else ("standard", "high"):
        work = Work(name, pictures)
        made = film(work, folder, 1 if options.quick else options.rounds, python, ffmpeg)
    film_bars(made, work, bars)


if __name__ == "__main__":
    sys.exit(main())
