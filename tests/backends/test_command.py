"""Models in an environment of their own: the program is told what to make, listened to, and ended (M4, M7)."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import textwrap
import time
import tomllib
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from making import clip, frames_of, mean, picture, wav

from reelwright import logs, testing
from reelwright.backends import command
from reelwright.backends.command import Command
from reelwright.catalog import Card, Shot, card_from, resolve
from reelwright.catalog.shot import digest
from reelwright.errors import BackendError, Cancelled, Unavailable, Unsupported
from reelwright.request import GenerationRequest, Input, Lora
from reelwright.run import LocalRun, Progress
from reelwright.testing import BackendContract
from reelwright.types import Role, Video

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "models-in-their-own-environment.md"
SHIPPED = [
    content
    for entry in sorted(files("reelwright.catalog").joinpath("cards").iterdir(), key=lambda entry: entry.name)
    if entry.name.endswith(".toml") and (content := tomllib.loads(entry.read_text("utf-8")))["backend"] == "command"
]


def card(words: list[str], **changes: Any) -> Card:
    return card_from(
        {
            "id": "outside",
            "title": "Outside",
            "family": "test",
            "backend": "command",
            "licence": "MIT",
            "deterministic": True,
            "loras": True,
            "accepts": [[], ["first_frame"]],
            "sizes": {"native": [[128, 72]], "step": 8, "least": 64, "most": 1280},
            "frames": {"default": 8, "most": 48},
            "fps": {"default": 8, "least": 4, "most": 30},
            "options": {"steps": {"type": "integer", "minimum": 1, "default": 20}},
            "settings": {"command": words},
            **changes,
        }
    )


def program(folder: Path, body: str) -> list[str]:
    """A program of these lines, which find `order` read; what starts it."""
    path = folder / "program.py"
    path.write_text("import json, os, sys, time\norder = json.loads(sys.stdin.readline())\n" + textwrap.dedent(body))
    return [sys.executable, str(path)]


def copying(folder: Path, source: Path) -> list[str]:
    """A program that hands in a file that is there already."""
    return program(folder, f"import shutil; shutil.copy({str(source)!r}, order['output'])")


class Kept(LocalRun):
    """A run whose scratch folder is the test's, and stays."""

    place: Path

    @property
    def scratch(self) -> Path:
        return self.place


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Kept]:
    monkeypatch.setattr(Kept, "place", tmp_path / "scratch", raising=False)
    Kept.place.mkdir()
    return Kept


def shot_of(of: Card, **fields: Any) -> Shot:
    given = {"prompt": "A boat at sea", "seconds": 1, "seed": 7, **fields}
    return resolve(GenerationRequest(**given), of, lambda ref: digest(Path(ref)))[0]


def made(words: list[str], run: LocalRun, changes: dict[str, Any] | None = None, **fields: Any) -> Video:
    return Command().generate(shot_of(card(words, **(changes or {})), **fields), run)


def is_gone(pid: int, within: float = 5.0) -> bool:
    """Whether a process has ended, or does soon."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.02)
                continue
        return True
    return False


# ---- a worker that does what it should


class TestWorkerOfTheHowTo(BackendContract):
    """The worker that the how-to shows keeps the whole contract."""

    words: list[str]

    @pytest.fixture(autouse=True)
    def worker(self, tmp_path: Path, kept: type[Kept], monkeypatch: pytest.MonkeyPatch) -> None:
        shown = re.search(
            r"<!-- file: reel_worker.py -->\n```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
        )
        assert shown is not None
        path = tmp_path / "reel_worker.py"
        path.write_text(shown[1], "utf-8")
        self.words = [sys.executable, str(path)]
        monkeypatch.setattr(testing, "LocalRun", kept)

    def card(self) -> Card:
        return card(self.words)

    def backend(self) -> Command:
        return Command()

    def test_colours_come_out_as_they_went_in(self, tmp_path: Path) -> None:
        shot = self.shot(width=1280, height=720)  # a size at which readers expect another matrix
        numbers = np.random.default_rng([shot.seed, *shot.prompt.encode()])
        across, down, start = numbers.uniform(0.5, 2.5, (3, 3))
        y, x = np.mgrid[0 : 1 : shot.height * 1j, 0 : 1 : shot.width * 1j]
        painted = 128 + 100 * np.sin(2 * np.pi * (x[..., None] * across + y[..., None] * down + start))
        with self.made(shot) as video:
            first = next(video.frames).rgb
        assert float(np.abs(first - painted).mean()) < 2

    def test_what_it_notes_is_told(self, tmp_path: Path) -> None:
        run = Kept()
        shot = self.shot((Input(Role.FIRST_FRAME, str(picture(tmp_path / "start.png"))),))
        with self.made(shot, run) as video:
            assert len(list(video.frames)) == shot.frames
        assert run.notes == ["This stand-in does not look at pictures."]


def test_the_order_says_everything(tmp_path: Path, kept: type[Kept], monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs by full paths, even where they were named by relative ones; the program runs elsewhere."""
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "start.png")
    (tmp_path / "style.safetensors").write_bytes(b"weights")
    source = clip(tmp_path / "made.mp4", 8, fps=8, width=128, height=72)
    words = program(
        tmp_path,
        f"""
        import shutil
        json.dump({{**order, "folder": os.getcwd()}}, open({str(tmp_path / "order.json")!r}, "w"))
        assert all(os.path.exists(given["path"]) for given in order["inputs"])
        shutil.copy({str(source)!r}, order["output"])
        """,
    )
    inputs = (Input(Role.FIRST_FRAME, "start.png", 0.6),)
    loras = (Lora("style.safetensors", 0.5), Lora("someone/on-a-hub", 1.0))
    words_said = 'Zwölf Boxkämpfer\n"jagen" 🦊'
    made(words, kept(), None, prompt=words_said, negative="blur", inputs=inputs, loras=loras, options={"steps": 4}).close()
    order = json.loads((tmp_path / "order.json").read_text())
    scratch = str(kept.place)
    assert order.pop("output").startswith(scratch)
    assert order == {
        "model": "outside", "source": "", "prompt": words_said, "negative": "blur", "width": 128, "height": 72, "fps": 8.0,
        "frames": 8, "seed": 7, "options": {"steps": 4}, "folder": scratch,
        "inputs": [{"role": "first_frame", "path": str(tmp_path / "start.png"), "strength": 0.6, "at": None}],
        "loras": [{"path": str(tmp_path / "style.safetensors"), "weight": 0.5}, {"path": "someone/on-a-hub", "weight": 1.0}],
    }  # fmt: skip


def test_its_python_is_not_drawn_into_our_environment(tmp_path: Path, kept: type[Kept], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("VIRTUAL_ENV", "/nowhere")
    monkeypatch.setenv("SOMETHING", "else")
    words = program(tmp_path, "print(sorted({'PYTHONPATH', 'VIRTUAL_ENV', 'SOMETHING'} & set(os.environ))); sys.exit(1)")
    with pytest.raises(BackendError, match=re.escape("['SOMETHING']")):
        made(words, kept())


def test_it_sees_no_keys_and_tells_none(tmp_path: Path, kept: type[Kept], monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"FAL_KEY", "REELWRIGHT_OPENAI_API_KEY", "GOOGLE_API_KEY", "HF_API_KEY", "REELWRIGHT_API_KEY", "REELWRIGHT_STORE"}
    for name in {*names, "SOMETHING"}:
        monkeypatch.setenv(name, "planted")
    logs.hide("a-secret-of-ours")
    words = program(tmp_path, f"print(sorted({names | {'SOMETHING'}} & set(os.environ)), 'a-secret-' + 'of-ours'); sys.exit(1)")
    with pytest.raises(BackendError, match=re.escape("['SOMETHING'] ***")) as caught:
        made(words, kept())
    assert "a-secret" not in json.dumps(caught.value.body())


def test_progress_comes_while_it_works_and_never_goes_back(tmp_path: Path, kept: type[Kept]) -> None:
    source = clip(tmp_path / "made.mp4", 8, fps=8, width=128, height=72)
    words = program(
        tmp_path,
        f"""
        import shutil
        for step in (1, 3, 2, 900, 4):
            print(json.dumps({{"step": step, "steps": 4}}))  # not flushed: it comes at once all the same
        for wrong in ("x", None, [], True, float("nan"), float("inf"), -3):
            print(json.dumps({{"step": wrong, "steps": wrong}}))
        shutil.copy({str(source)!r}, order["output"])
        """,
    )
    seen: list[Progress] = []
    made(words, kept(on_progress=seen.append)).close()
    steps = [(each.done, each.total) for each in seen if each.done]
    assert list(dict.fromkeys(steps)) == [(1, 4), (3, 4), (4, 4)]
    assert steps == sorted(steps)


# ---- it is stopped


def test_a_cancel_ends_the_program_and_what_it_started(tmp_path: Path, kept: type[Kept]) -> None:
    pids = tmp_path / "pids"
    words = program(
        tmp_path,
        f"""
        import subprocess
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
        open({str(tmp_path / "new")!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
        os.rename({str(tmp_path / "new")!r}, {str(pids)!r})
        time.sleep(120)
        """,
    )
    with pytest.raises(Cancelled):
        made(words, kept(cancel=pids.exists))
    assert all(is_gone(int(pid)) for pid in pids.read_text().split())


def test_a_child_that_ignores_the_signal_does_not_outlive_it(tmp_path: Path, kept: type[Kept]) -> None:
    ready = tmp_path / "ready"
    (tmp_path / "child.py").write_text(
        f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({str(ready)!r}, 'w').close(); time.sleep(120)"
    )
    words = program(
        tmp_path,
        f"""
        import subprocess
        child = subprocess.Popen([sys.executable, {str(tmp_path / "child.py")!r}])
        open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
        time.sleep(120)
        """,
    )
    with pytest.raises(Cancelled):
        made(words, kept(cancel=lambda: ready.exists() and (tmp_path / "pid").exists()))
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_a_program_that_ignores_the_signal_is_killed(tmp_path: Path, kept: type[Kept], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_GRACE_S", 0.3)
    ready = tmp_path / "ready"
    words = program(
        tmp_path,
        f"""
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open({str(tmp_path / "new")!r}, "w").write(str(os.getpid()))
        os.rename({str(tmp_path / "new")!r}, {str(ready)!r})
        time.sleep(120)
        """,
    )
    with pytest.raises(Cancelled):
        made(words, kept(cancel=ready.exists))
    assert is_gone(int(ready.read_text()))


def test_a_cancel_before_it_starts_starts_nothing(tmp_path: Path, kept: type[Kept]) -> None:
    words = program(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(Cancelled):
        made(words, kept(cancel=lambda: True))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("code", [0, 3])
def test_what_it_leaves_behind_does_not_keep_us_waiting(code: int, tmp_path: Path, kept: type[Kept]) -> None:
    """A process that goes on, and holds the output open, is ended when the program has ended."""
    source = clip(tmp_path / "made.mp4", 8, fps=8, width=128, height=72)
    words = program(
        tmp_path,
        f"""
        import shutil, subprocess
        left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
        open({str(tmp_path / "pid")!r}, "w").write(str(left.pid))
        shutil.copy({str(source)!r}, order["output"])
        print("that was all")
        sys.exit({code})
        """,
    )
    if code:
        with pytest.raises(BackendError, match="that was all"):
            made(words, kept())
    else:
        made(words, kept()).close()
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_it_may_close_its_output_and_work_on(tmp_path: Path, kept: type[Kept]) -> None:
    source = clip(tmp_path / "made.mp4", 8, fps=8, width=128, height=72)
    words = program(
        tmp_path, f"import shutil; os.close(1); os.close(2); time.sleep(0.5); shutil.copy({str(source)!r}, order['output'])"
    )
    with made(words, kept()) as video:
        assert len(list(video.frames)) == 8


# ---- it fails


def test_a_failure_gives_its_last_lines(tmp_path: Path, kept: type[Kept]) -> None:
    words = program(
        tmp_path, "for number in range(40): print('line', number)\nprint('CUDA error: no kernel', file=sys.stderr); sys.exit(3)"
    )
    with pytest.raises(BackendError, match=r"Outside ended with 3: line 38 line 39 CUDA error: no kernel$") as caught:
        made(words, kept())
    assert caught.value.code == "backend_failed"
    assert caught.value.details["last_lines"][0] == "line 21"
    assert len(caught.value.details["last_lines"]) == 20


@pytest.mark.parametrize("code", [0, 1])
def test_an_error_line_is_the_reason(code: int, tmp_path: Path, kept: type[Kept]) -> None:
    """Whatever its exit status, and whatever it says after that."""
    source = clip(tmp_path / "made.mp4", 8, fps=8, width=128, height=72)
    words = program(
        tmp_path,
        f"""
        import shutil; shutil.copy({str(source)!r}, order['output'])
        print(json.dumps({{"error": "the weights are not there"}}))
        print("Traceback and so on")
        sys.exit({code})
        """,
    )
    with pytest.raises(BackendError, match=r"the weights are not there$"):
        made(words, kept())


@pytest.mark.parametrize(
    ("body", "match"),
    [
        ("sys.exit(7)", "ended with 7: it said nothing"),
        ("os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        ("raise MemoryError('too large')", "MemoryError: too large"),
        ("print('half a line', end=''); sys.exit(1)", "half a line"),
        ("print('x' * 10_000_000, end=''); sys.exit(1)", "x{500}$"),
        ("sys.stdout.buffer.write(bytes(range(256)) * 400); sys.exit(1)", "ended with 1"),
        ("print('[' * 100_000); sys.exit(1)", "ended with 1"),
        ("print('5'); print('null'); print('[1]'); print('{\"a\": 1}'); sys.exit(1)", 'null \\[1\\] {"a": 1}$'),
    ],
)
def test_however_it_fails_it_is_told(body: str, match: str, tmp_path: Path, kept: type[Kept]) -> None:
    with pytest.raises(BackendError, match=match):
        made(program(tmp_path, body), kept())


def test_garbage_does_no_harm_if_the_film_is_there(tmp_path: Path, kept: type[Kept]) -> None:
    source = clip(tmp_path / "made.mp4", 8, fps=8, width=128, height=72)
    words = program(
        tmp_path,
        f"""
        import shutil
        sys.stdout.buffer.write(os.urandom(300_000))
        print("\\r 10%|#         | 1/10" * 1000)
        print('{{"step": ')
        shutil.copy({str(source)!r}, order["output"])
        """,
    )
    with made(words, kept()) as video:
        assert len(list(video.frames)) == 8


def test_a_program_that_reads_nothing_is_fine(tmp_path: Path, kept: type[Kept]) -> None:
    """A long order does not wait for someone to read it."""
    path = tmp_path / "deaf.py"
    path.write_text("import sys; print('I read nothing'); sys.exit(2)")
    with pytest.raises(BackendError, match="ended with 2: I read nothing"):
        made([sys.executable, str(path)], kept(), prompt="🦊" * 19_000)


def test_no_file_is_told(tmp_path: Path, kept: type[Kept]) -> None:
    with pytest.raises(BackendError, match="wrote no file") as caught:
        made(program(tmp_path, "pass"), kept())
    assert ".mp4" in caught.value.hint


def test_the_file_of_an_earlier_try_is_not_taken(tmp_path: Path, kept: type[Kept]) -> None:
    source = clip(tmp_path / "made.mp4", 8, fps=8, width=128, height=72)
    made(copying(tmp_path, source), kept()).close()
    with pytest.raises(BackendError, match="wrote no file"):
        made(program(tmp_path, "pass"), kept())


@pytest.mark.parametrize("content", [b"", b"this is text", bytes(4096)])
def test_a_file_that_is_no_video_is_told(content: bytes, tmp_path: Path, kept: type[Kept]) -> None:
    with pytest.raises(BackendError, match="no video"):
        made(program(tmp_path, f"open(order['output'], 'wb').write({content!r})"), kept())


def test_a_file_with_sound_alone_is_told(tmp_path: Path, kept: type[Kept]) -> None:
    with pytest.raises(BackendError, match="no pictures"):
        made(copying(tmp_path, wav(tmp_path / "sound.wav")), kept())


# ---- its file is not as asked


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"frames": 8, "fps": 8, "width": 256, "height": 256}, "8 frames of 256x256 at 8 a second, not 8 of 128x72 at 8"),
        ({"frames": 5, "fps": 8, "width": 128, "height": 72}, "5 frames of 128x72"),
        ({"frames": 30, "fps": 8, "width": 128, "height": 72}, "30 frames of 128x72"),
        ({"frames": 24, "fps": 24, "width": 128, "height": 72}, "at 24 a second, not 8 of 128x72 at 8"),
    ],
)
def test_another_size_rate_or_length_is_adapted_and_told(
    source: dict[str, int], told: str, tmp_path: Path, kept: type[Kept]
) -> None:
    run = kept()
    with made(copying(tmp_path, clip(tmp_path / "made.mp4", **source)), run) as video:
        spec, frames = video.spec, list(video.frames)
    assert (spec.width, spec.height, spec.fps, spec.frames) == (128, 72, Fraction(8), 8)
    assert [(frame.width, frame.height) for frame in frames] == [(128, 72)] * 8
    assert [note for note in run.notes if told in note], run.notes


def test_the_frames_that_were_asked_for_are_all_taken_whatever_rate_the_file_names(tmp_path: Path, kept: type[Kept]) -> None:
    """Programs write 16 frames for 8 a second into a file of 24 a second; each of them is meant."""
    source = clip(tmp_path / "made.mp4", 16, fps=24, width=128, height=72)
    run = kept()
    with made(copying(tmp_path, source), run, seconds=2) as video:
        lumas = [mean(frame) for frame in video.frames]
        assert (video.spec.fps, video.spec.frames) == (Fraction(8), 16)
    assert lumas == pytest.approx([mean(frame) for frame in frames_of(source)], abs=0.5)
    assert "at 24 a second" in run.notes[0]


def test_a_file_as_asked_needs_no_note(tmp_path: Path, kept: type[Kept]) -> None:
    run = kept()
    made(
        copying(tmp_path, clip(tmp_path / "made.mp4", 24, fps=Fraction(24000, 1001), width=128, height=72)), run, fps=23.976
    ).close()
    assert run.notes == []


@pytest.mark.parametrize("frequency", [None, 440.0])
def test_sound_is_there_if_the_card_says_so(frequency: float | None, tmp_path: Path, kept: type[Kept]) -> None:
    run = kept()
    source = clip(tmp_path / "made.mp4", 8, fps=8, width=128, height=72, frequency=frequency)
    with made(copying(tmp_path, source), run, {"audio": True}) as video:
        assert video.samples is not None
        samples = np.concatenate(list(video.samples))
    assert abs(len(samples) - video.spec.samples) < 10
    assert (float(np.abs(samples).max()) > 0.1) == (frequency is not None)
    assert run.notes == ([] if frequency else ["Outside made no sound."])


# ---- it is not there


@pytest.mark.parametrize("words", [["/no/such/program"], ["no-such-program-anywhere"], ["/"], ["with\0null"]])
def test_a_missing_program_is_told(words: list[str], kept: type[Kept]) -> None:
    with pytest.raises(Unavailable, match="cannot be started") as caught:
        made(words, kept())
    assert "command" in caught.value.hint
    assert not caught.value.retryable


@pytest.mark.parametrize("words", ["python worker.py", [], ["python", 3], {"a": 1}])
def test_a_command_that_is_no_list_of_words_is_refused(words: Any) -> None:
    with pytest.raises(Unsupported, match="not a list of words"):
        Command().check(card([], settings={"command": words}))


@pytest.mark.parametrize("content", SHIPPED, ids=lambda content: content["id"])
def test_a_shipped_card_without_a_command_says_what_to_do(content: dict[str, Any], kept: type[Kept]) -> None:
    """M4: what cannot run here names the steps to take."""
    shipped = card_from(content)
    with pytest.raises(Unavailable) as caught:
        Command().check(shipped)
    assert caught.value.body()["error"] == "unavailable"
    assert not caught.value.retryable
    steps = shipped.settings["steps_to_take"]
    assert [step for step in steps if step not in caught.value.hint] == []
    assert "docs/howto/models-in-their-own-environment.md" in caught.value.hint
    assert all(each in caught.value.hint for each in shipped.settings["also_served_by"])


def test_the_models_that_the_how_to_names_are_shipped() -> None:
    assert {"open-sora-2", "videocrafter2", "dynamicrafter", "seine", "show-1"} <= {content["id"] for content in SHIPPED}


def test_a_card_without_steps_names_the_how_to() -> None:
    with pytest.raises(Unavailable, match="models-in-their-own-environment"):
        Command().check(card([], settings={}))
