"""Renders demo.yaml to a film, with its contact sheet; `make demo` runs it. Run it again: everything is there already."""

import sys
import time
from pathlib import Path

import reelwright
from reelwright.media.decode import open_video
from reelwright.media.stills import every, save_picture, sheet


def main(folder: Path = Path("films")) -> None:
    """Render into `folder` and say where."""
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    film = reelwright.render(Path(__file__).with_name("demo.yaml"), folder / "demo.mp4", on_progress=show)
    print(
        f"\n{float(film.spec.seconds):g} s of {film.spec.width}x{film.spec.height} in {time.monotonic() - began:.1f} s;", end=" "
    )
    print(f"{film.made} parts rendered, {film.reused} used again.")
    with open_video(film.path, audio=False) as video:
        save_picture(sheet([frame for _, frame in every(video, 12)], columns=3, width=640), folder / "demo.jpg")
    print(f"The film:      {film.path.resolve()}")
    print(f"Its pictures:  {(folder / 'demo.jpg').resolve()}")


def show(progress: reelwright.Progress) -> None:
    """A line that counts up."""
    if sys.stdout.isatty() or progress.done in (1, progress.total):
        print(f"\r{progress.stage} {progress.done} of {progress.total} frames", end="", flush=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
