"""Makes the pictures of README and docs with the product itself: `python docs/pictures.py`."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import reelwright
from reelwright.backends.placeholder import Placeholder
from reelwright.catalog import find, resolve
from reelwright.media import edit
from reelwright.media.decode import open_video
from reelwright.media.encode import save
from reelwright.media.grade import EFFECTS, Grade
from reelwright.media.letters import LetterStyle, set_type
from reelwright.media.stills import every, save_picture, sheet
from reelwright.media.transitions import TRANSITIONS
from reelwright.request import GenerationRequest
from reelwright.run import LocalRun
from reelwright.storyfile import load
from reelwright.studio import Studio
from reelwright.types import Frame

HERE = Path(__file__).parent
OUT = HERE / "pictures"
WIDTH, HEIGHT = 480, 270


def drawn(prompt: str) -> Frame:
    """A placeholder's picture without letters."""
    request = GenerationRequest(prompt, width=WIDTH, height=HEIGHT, seconds=1, options={"labels": "off"})
    shot, _ = resolve(request, find("placeholder"), lambda ref: ref)
    with Placeholder().generate(shot, LocalRun()) as video:
        return next(video.frames)


def named(frame: Frame, name: str) -> Frame:
    """The frame with its name in the corner."""
    set_type(name, frame.width, frame.height, LetterStyle(size=0.085, position="bottom-left", outline=0.08)).draw(frame)
    return frame


def main() -> None:
    """Write every picture."""
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        board = load(HERE.parent / "examples" / "demo.yaml")
        film = Studio(reelwright.Settings(cache_folder=Path(folder))).render(board, Path(folder) / "demo.mp4").path
        with open_video(film, audio=False) as video:
            save_picture(sheet([frame for _, frame in every(video, 12)], columns=3, width=WIDTH), OUT / "demo.jpg")
        moving = edit.at_rate(edit.fit(edit.trim(open_video(film, audio=False), 2.2, 10.2), 560, 314), Fraction(12))
        save(moving, OUT / "demo.webp")
    a, b = drawn("Snow on mountain peaks at noon"), drawn("City skyline at night, neon")
    frames = [named(t.draw(a.copy(), b.copy(), 0.45), t.name) for t in TRANSITIONS.values() if t.name != "cut"]
    save_picture(sheet(frames, columns=6, width=240), OUT / "transitions.jpg")
    looks = []
    for effect in EFFECTS.values():
        frame = drawn("A lake in the mountains at sunrise")
        Grade([effect.name], WIDTH, HEIGHT).draw(frame, 0)
        looks.append(named(frame, effect.name))
    save_picture(sheet(looks, columns=6, width=240), OUT / "effects.jpg")
    for path in sorted(OUT.iterdir()):
        print(path.relative_to(HERE.parent), path.stat().st_size // 1024, "kB")


if __name__ == "__main__":
    main()
