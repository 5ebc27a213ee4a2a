"""A film from three prompts, with progress, and a clip that moves over a picture of our own."""

import sys
import tempfile
from pathlib import Path

import numpy as np

import reelwright
from reelwright.media.stills import save_picture


def main(folder: Path) -> None:
    """Write both into `folder`."""
    made = reelwright.generate_video(
        ["A lighthouse on a cliff at dawn", "Waves break over the rocks below", "A storm gathers over the sea at night"],
        quality="draft",
        transition="dissolve",
        duration_per_frame=2.0,
        use_ai_generation=False,
        camera="push in",
        sound="wistful",
        output=folder / "lighthouse.mp4",
        on_progress=lambda progress: print(progress.stage, f"{progress.fraction:.0%}") if progress.done % 60 == 0 else None,
    )
    print(made["file_path"], made["resolution"], f"{made['duration']:g} s")

    y, x = np.mgrid[0:720, 0:1280]
    picture = np.stack([x / 5, y / 3, 255 - x / 6], axis=-1).astype(np.uint8)
    save_picture(picture, folder / "picture.png")
    clip = reelwright.generate(
        image=folder / "picture.png", camera="orbit left", effect="film grain", seconds=2, output=folder / "clip.webm"
    )
    print(clip.path, *clip.notes)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp()))
