"""A person with local models: folders of tiny real pipelines, by the commands (M3, M7, M14, S8, S9)."""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from reelwright import manifest
from reelwright.media.decode import open_video
from reelwright.request import GenerationRequest

pytestmark = pytest.mark.journey

FAMILIES = {"wan": "wan_t2v", "ltx": "ltx_t2v", "mochi": "mochi_t2v", "svd": "svd", "picture": "sd15"}
MODULES = {"wan": "wan", "ltx": "ltx", "mochi": "mochi", "svd": "unet3d", "picture": "sd"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pipeline of each family in it."""
    pytest.importorskip("diffusers")
    made = tmp_path_factory.mktemp("models")
    for name, variant in FAMILIES.items():
        builders = importlib.import_module(f"tests.tiny.{MODULES[name]}")
        builders.VARIANTS[variant].build().save_pretrained(made / name)
    return made


def reel(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The command, in a folder and a home of its own."""
    surroundings = {**os.environ, "REELWRIGHT_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **more}
    command = [str(Path(sys.executable).with_name("reel")), *words]
    return subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True, timeout=300)


def pictures(path: Path) -> list[np.ndarray]:
    with open_video(path) as video:
        return [frame.rgb for frame in video.frames]


def test_a_folder_is_a_model(models: Path, tmp_path: Path) -> None:
    done = reel(
        tmp_path, "generate", "a red boat on a calm sea", "-m", str(models / "wan"), "--size", "64x64", "--seconds", "1",
        "--option", "steps=2", "--seed", "5", "-o", "boat.mp4", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["width"], told["height"]) == (64, 64)
    assert any("resident" in note for note in told["notes"]), "how it was run is told"
    made = pictures(tmp_path / "boat.mp4")
    assert len(made) == 17, "4k + 1 frames at 16 a second"
    assert np.std(made[0]) > 1
    assert manifest.read(tmp_path / "boat.mp4")["scenes"][0]["served"] == "wan"


def test_a_film_of_three_families(models: Path, tmp_path: Path) -> None:
    """Three models, one film; what was made is kept, and one changed scene is made anew."""
    board = {
        "version": 1, "title": "Three", "size": "96x64", "fps": 8, "transition": {"name": "crossfade", "seconds": 0.25},
        "scenes": [
            {"prompt": "a boat at dawn on the water", "model": str(models / "wan"), "seconds": 1, "options": {"steps": 2}},
            {"prompt": "a storm over the city", "model": str(models / "ltx"), "seconds": 1, "options": {"steps": 2}},
            {"image": "previous", "model": str(models / "svd"), "seconds": 1, "options": {"steps": 2}},
        ],
    }  # fmt: skip
    (tmp_path / "film.json").write_text(json.dumps(board))
    done = reel(tmp_path, "render", "film.json", "-o", "film.mp4", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert not any("placeholder" in note for note in told["notes"]), told["notes"]
    assert len(pictures(tmp_path / "film.mp4")) == 8 * 3 - 2 * 2
    served = [scene["served"] for scene in manifest.read(tmp_path / "film.mp4")["scenes"]]
    assert served == ["wan", "ltx", "svd"]
    board["scenes"][1]["prompt"] = "a calm evening over the city"
    (tmp_path / "film.json").write_text(json.dumps(board))
    again = reel(tmp_path, "plan", "film.json", "--json")
    states = [scene["state"] for scene in json.loads(again.stdout)["scenes"]]
    assert states == ["kept", "make", "make"], "the third starts from the second's last frame"


def test_a_model_that_fails_is_served_by_the_next_one(models: Path, tmp_path: Path) -> None:
    """M14: the chain ends at the placeholder; asked and served are both told."""
    broken = tmp_path / "broken"
    (broken / "transformer").mkdir(parents=True)
    (broken / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline", "transformer": ["diffusers", "Wan"]}))
    words = ("generate", "a red boat on a calm sea", "-m", str(broken), "--size", "64x64", "--seconds", "1", "--json")
    alone = reel(tmp_path, *words, "-o", "a.mp4")
    assert alone.returncode == 4
    assert json.loads(alone.stderr)["error"] == "weights_invalid"
    done = reel(tmp_path, *words, "-o", "b.mp4", REELWRIGHT_FALLBACK=f"{models / 'mochi'},placeholder", VIDEO_INFERENCE_STEPS="2")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert any("cannot be used" in note and "mochi stands in" in note for note in told["notes"]), told["notes"]
    scene = manifest.read(tmp_path / "b.mp4")["scenes"][0]
    assert (scene["asked"], scene["served"]) == (str(broken), "mochi")


def test_a_worker_that_is_killed_while_a_model_works_loses_nothing(models: Path, tmp_path: Path) -> None:
    """J2, M3: `kill -9` of the worker in the middle of denoising; another worker makes the clip, once."""
    from reelwright.client import Client

    added = reel(tmp_path, "models", "add", str(models / "ltx"), "--id", "tiny", "--json")
    assert added.returncode == 0, added.stderr
    surroundings = {**os.environ, "REELWRIGHT_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("reel")), "serve", "--port", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, cwd=tmp_path, env=surroundings, **quiet)
    try:
        up_by = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < up_by
                assert server.poll() is None
                time.sleep(0.1)
        with Client(f"http://127.0.0.1:{port}") as client:
            wanted = GenerationRequest("a lake at dawn", "tiny", width=64, height=64, seconds=0.3, seed=1, options={"steps": 100})
            job = client.start(wanted)
            killed = False
            deadline = time.monotonic() + 240
            while not (state := client.job(job.id)).ended:
                assert time.monotonic() < deadline, state
                if not killed and state.stage == "denoise" and (state.step or 0) > 5:
                    for pid in children(server.pid):
                        os.kill(pid, signal.SIGKILL)
                    killed = True
                time.sleep(0.05)
            assert killed, "it was too quick to be killed"
            assert (state.state, state.attempt) == ("done", 2)
            path = client.fetch(job.id, tmp_path / "a.mp4")
        assert len(pictures(path)) == 9
    finally:
        server.terminate()
        server.wait(30)


def children(pid: int) -> list[int]:
    """The worker processes of a server: those that multiprocessing spawned to do work."""
    started = psutil.Process(pid).children(recursive=True)
    return [child.pid for child in started if "spawn_main" in " ".join(child.cmdline())]


def test_a_card_is_written_and_the_model_goes_by_its_name(models: Path, tmp_path: Path) -> None:
    added = reel(tmp_path, "models", "add", str(models / "ltx"), "--id", "my-ltx", "--json")
    assert added.returncode == 0, added.stderr
    assert (tmp_path / "home" / "cards" / "my-ltx.toml").is_file()
    listed = json.loads(reel(tmp_path, "models", "--json", "--all").stdout)
    assert "my-ltx" in [each["id"] for each in listed]
    done = reel(
        tmp_path, "generate", "waves on a beach at noon, wide shot", "-m", "my-ltx", "--size", "64x64", "--seconds", "0.3",
        "--option", "steps=2", "-o", "a.mp4", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    twice = reel(tmp_path, "models", "add", str(models / "ltx"), "--id", "my-ltx")
    assert twice.returncode == 2


def test_keyframes_are_pictures_with_a_camera(models: Path, tmp_path: Path) -> None:
    """M2: the picture by a model, the move by us; another move needs no model; a picture that fails is drawn."""
    cards = tmp_path / "home" / "cards"
    cards.mkdir(parents=True)
    picture = reel(tmp_path, "models", "add", str(models / "picture"), "--id", "tiny-picture")
    assert picture.returncode == 0, picture.stderr
    source = Path(__file__).parents[2] / "src/reelwright/catalog/cards/keyframes-sd15.toml"
    text = (
        source.read_text().replace('id = "keyframes-sd15"', 'id = "stills"').replace('"stable-diffusion-1.5"', '"tiny-picture"')
    )
    (cards / "stills.toml").write_text(text)
    words = ("generate", "a lighthouse on a cliff", "-m", "stills", "--size", "128x64", "--seconds", "1", "--fps", "8", "--json")
    first = reel(tmp_path, *words, "--camera", "pan right", "--option", "steps=2", "-o", "a.mp4")
    assert first.returncode == 0, first.stderr
    made = pictures(tmp_path / "a.mp4")
    assert len(made) == 8
    assert np.abs(made[0].astype(int) - made[-1].astype(int)).mean() > 0.5, "the camera moves"
    kept = list((tmp_path / "home" / "cache" / "pictures").rglob("*.png"))
    assert len(kept) == 1
    with Image.open(kept[0]) as picture_made:
        assert picture_made.width >= 64
    second = reel(tmp_path, *words, "--camera", "zoom in", "--option", "steps=2", "-o", "b.mp4")
    assert second.returncode == 0, second.stderr
    assert list((tmp_path / "home" / "cache" / "pictures").rglob("*.png")) == kept, "the same picture, moved over in another way"
    for file in (models / "picture" / "unet").glob("*.safetensors"):
        file.rename(file.with_suffix(".gone"))
    try:
        drawn = reel(tmp_path, *words[:1], "another place in the woods", *words[2:], "-o", "c.mp4")
    finally:
        for file in (models / "picture" / "unet").glob("*.gone"):
            file.rename(file.with_suffix(".safetensors"))
    assert drawn.returncode == 0, drawn.stderr
    assert any("the placeholder stands in" in note for note in json.loads(drawn.stdout)["notes"])
