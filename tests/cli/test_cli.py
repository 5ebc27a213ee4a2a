"""The command line: every command for people and for machines, errors with the exit code of their class (rule 11, J9)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from making import clip, frames_of, litter, mean, picture, wav

from reelwright import cli, settings
from reelwright.cli import report

BOARD = """\
title: Two
size: 160x90
fps: 24
scenes:
- {prompt: A boat at sea at sunrise, seconds: 0.5}
- {prompt: A night city, seconds: 0.5}
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A working folder and a home of its own."""
    for name in [name for name in os.environ if name.startswith(("REELWRIGHT_", "DEFAULT_", "VIDEO_", "MAX_VIDEO"))]:
        monkeypatch.delenv(name)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("REELWRIGHT_HOME", str(tmp_path / "home"))
    settings.current.cache_clear()
    yield tmp_path / "work"
    settings.current.cache_clear()
    report.as_json = False


class Answer:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def reel(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Run a command in this process, as the console command does."""
    import signal

    monkeypatch.setattr(signal, "signal", lambda *_given: None)

    def run(*words: object) -> Answer:
        with pytest.raises(SystemExit) as end:
            cli.main([str(word) for word in words])
        caught = capsys.readouterr()
        return Answer(int(end.value.code or 0), caught.out, caught.err)

    return run


def process(*words: object, **given: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "reelwright", *map(str, words)]
    if not (Path(cli.__file__).parent.parent / "__main__.py").exists():
        command = [sys.executable, "-c", "from reelwright.cli import main; main()", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **given)


def made_board(place: Path, text: str = BOARD) -> Path:
    (place / "film.yaml").write_text(text, "utf-8")
    return place / "film.yaml"


# ---- making


def test_new_check_plan_render_again(reel: Any, place: Path) -> None:
    """S1: from nothing to a film and back."""
    answer = reel("new", "a.yaml", "--title", 'My: "film" # 1 \\ {x}')
    assert answer.code == 0
    assert "reel render a.yaml" in answer.out
    assert reel("check", "a.yaml").out.strip().endswith("3 scenes, no problems.")
    assert 'My: "film" # 1 \\ {x}' in reel("plan", "a.yaml").out
    board = made_board(place)
    answer = reel("render", board)
    assert answer.code == 0
    assert "film.mp4" in answer.out
    assert re.search(r"Rendering: render \d+/24", answer.err)
    assert len(frames_of(place / "film.mp4")) == 24
    assert "1 of 1 parts from before" in reel("render", board).out
    assert "1 of 1 parts" in reel("plan", board).out
    assert reel("again", "film.mp4").code == 0
    assert (place / "film.mp4").read_bytes() == (place / "film-again.mp4").read_bytes()


def test_the_same_in_json(reel: Any, place: Path) -> None:
    board = made_board(place)
    assert reel("new", "b.yaml", "--json").json == {"path": "b.yaml"}
    checked = reel("check", board, "--json").json
    assert (checked["scenes"], checked["problems"]) == (2, [])
    assert len(checked["warnings"]) == 1
    planned = reel("--json", "plan", board).json
    assert (planned["segments"], planned["reused"], planned["spec"]["frames"]) == (1, 0, 24)
    answer = reel("render", board, "-o", "x.mp4", "--json")
    assert answer.err == ""
    assert answer.json["path"] == "x.mp4"
    assert (answer.json["frames"], answer.json["made"], answer.json["reused"]) == (24, 1, 0)
    assert reel("again", "x.mp4", "-o", "y.mp4", "--json").json["reused"] == 1


def test_generate(reel: Any, place: Path) -> None:
    """S5."""
    answer = reel("generate", "A boat", "--seconds", 0.5, "--size", "160x90", "--camera", "dolly in", "--effect", "noir",
                  "--effect", "vignette", "--seed", 3, "--fps", 24, "--option", "labels=off", "-o", "a.mp4")  # fmt: skip
    assert answer.code == 0
    assert "vague" in answer.out
    assert "160x90, 24 fps, 0.5 s" in answer.out
    picture(place / "p.png")
    answer = reel("generate", "--image", "p.png", "--seconds", 0.5, "--size", "160x90", "--json")
    assert answer.json["frames"] == 15
    assert Path(answer.json["path"]).is_file()


def test_export(reel: Any, place: Path) -> None:
    board = made_board(place)
    files = reel("export", board, "--to", "out", "--json").json["files"]
    assert "out/film.mp4" in files
    assert all(Path(file).is_file() for file in files)
    assert reel("export", board, "--to", "sheet.png").out.strip() == "sheet.png"


def test_new_does_not_overwrite(reel: Any, place: Path) -> None:
    made_board(place)
    answer = reel("new", "film.yaml")
    assert answer.code == 2
    assert (place / "film.yaml").read_text() == BOARD
    assert reel("new", "film.toml").code == 2


# ---- editing


def test_editing_commands(reel: Any, place: Path) -> None:
    """S6: combine, trim and join; sound; captions."""
    clip(place / "a.mp4", 48, frequency=500)
    clip(place / "b.mp4", 24, width=80, height=80)
    wav(place / "s.wav", 1, 800)
    (place / "t.srt").write_text("1\n00:00:00,200 --> 00:00:00,800\nHello\n")
    for words, frames in (
        (("join", "a.mp4", "b.mp4", "-o", "o.mp4", "--transition", "fade", "--seconds", "0.5"), 60),
        (("trim", "a.mp4", "-o", "o.mp4", "--from", "0.5", "--to", "1.5"), 24),
        (("resize", "a.mp4", "-o", "o.mp4", "--size", "80x60", "--fit", "cover"), 48),
        (("retime", "a.mp4", "-o", "o.mp4", "--pace", "2"), 24),
        (("sound", "a.mp4", "-o", "o.mp4", "--track", "s.wav"), 48),
        (("sound", "a.mp4", "-o", "o.mp4", "--track", "s.wav", "--mix", "--gain", "-6"), 48),
        (("captions", "a.mp4", "-o", "o.mp4", "--subtitles", "t.srt"), 48),
        (("convert", "a.mp4", "-o", "o.webm"), 48),
        (("convert", "a.mp4", "-o", "o.gif"), 48),
    ):
        plain = reel(*words)
        assert plain.code == 0, plain.err
        assert str(words[words.index("-o") + 1]) in plain.out
        given = reel(*words, "--json").json
        assert given["frames"] == frames, words
        if not given["path"].endswith(".gif"):  # its clock has hundredths of seconds only
            assert len(frames_of(Path(given["path"]))) == frames, words
    assert litter(place) == []


def test_pictures_of_a_video(reel: Any, place: Path) -> None:
    clip(place / "a.mp4", 48, frequency=500)
    files = reel("stills", "a.mp4", "-o", "pics", "--count", 3, "--json").json["files"]
    assert len(files) == 3
    assert reel("stills", "a.mp4", "-o", "pics", "--count", 3).out.count(".png") == 3
    for words in (("sheet", "a.mp4", "-o", "s.png"), ("waveform", "a.mp4", "-o", "w.png")):
        assert reel(*words).code == 0
        assert Path(reel(*words, "--json").json["path"]).stat().st_size > 500
    (place / "file").write_text("")
    assert reel("stills", "a.mp4", "-o", "file").code == 2


# ---- looking


@pytest.mark.parametrize("command", ["models", "moves", "effects", "transitions", "doctor"])
def test_tables_for_people_and_for_machines(reel: Any, command: str) -> None:
    """M12: the comparison tables can be printed."""
    rows = reel(command, "--json").json
    assert rows
    shown = reel(command).out
    first = str(next(iter(rows[0].values())))
    assert first in shown
    assert max(map(len, shown.splitlines())) <= 200


def test_one_model(reel: Any) -> None:
    assert reel("models", "placeholder", "--json").json["id"] == "placeholder"
    assert "licence: Apache-2.0" in reel("models", "show", "placeholder").out
    assert reel("models", "--task", "none-such", "--json").json == []


def test_probe_schema_clean(reel: Any, place: Path) -> None:
    clip(place / "a.mp4", 24, frequency=300)
    facts = reel("probe", "a.mp4", "--json").json
    assert (facts["width"], facts["height"], facts["fps"], facts["audio_codec"]) == (160, 90, "24", "aac")
    assert "width: 160" in reel("probe", "a.mp4").out
    assert reel("schema", "--json").json == json.loads(reel("schema").out)
    reel("render", made_board(place))
    assert "1 results would be removed" in reel("clean", "--all", "--dry-run").out
    assert len(reel("clean", "--all", "--json").json["removed"]) == 1
    assert reel("clean", "--json").json["kept"] == 0


# ---- errors


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (("models", "nobody"), 2, "model_not_found"),
        (("render", "gone.yaml"), 2, "asset_not_found"),
        (("render", "bad.yaml"), 2, "bad_storyboard"),
        (("check", "unmade.yaml"), 2, "bad_storyboard"),
        (("probe", "text.mp4"), 5, "bad_media"),
        (("trim", "text.mp4", "-o", "o.mp4"), 5, "bad_media"),
        (("generate", "a boat", "-o", "a.txt"), 2, "unsupported"),
        (("generate", "a boat", "--size", "huge"), 2, "invalid_request"),
        (("generate", ""), 2, "invalid_request"),
        (("generate", "a boat", "--option", "labels"), 2, "invalid_request"),
        (("generate", "a boat", "--option", "sparkle=1"), 2, "unsupported"),
        (("generate", "a boat", "-o", "gone/a.mp4"), 2, "invalid_request"),
        (("again", "text.mp4"), 5, "bad_media"),
        (("render", "bad.yaml", "--frobnicate"), 2, "usage"),
        (("render",), 2, "usage"),
        (("frobnicate",), 2, "usage"),
        (("trim", "text.mp4", "-o", "o.mp4", "--from", "soon"), 2, "usage"),
        (("resize", "text.mp4", "-o", "o.mp4", "--size", "80x60", "--fit", "somehow"), 2, "invalid_request"),
    ],
)
def test_errors_have_the_exit_code_of_their_class(reel: Any, place: Path, words: tuple[str, ...], code: int, error: str) -> None:
    """J9: as a sentence for people, as JSON on standard error for machines."""
    (place / "text.mp4").write_text("I am a text")
    (place / "bad.yaml").write_text("scenes: [{promt: x}]")
    (place / "unmade.yaml").write_text("scenes: [{clip: gone.mp4}]")
    plain = reel(*words)
    assert plain.code == code
    assert plain.err.strip()
    assert "Traceback" not in plain.err
    machine = reel(*words, "--json")
    assert machine.code == code
    assert machine.out == ""
    body = json.loads(machine.err)
    assert body["error"] == error
    assert body["message"]
    assert error == "usage" or set(body) == {"error", "message", "details", "timestamp"}


def test_every_problem_is_in_the_message(reel: Any, place: Path) -> None:
    (place / "bad.yaml").write_text("titel: x\nscenes:\n- {promt: x}\n- {prompt: y, camera: wobble}\n")
    answer = reel("check", "bad.yaml")
    assert "line 1: titel" in answer.err
    assert "line 3: scenes[1].promt" in answer.err
    assert "line 4: scenes[2].camera" in answer.err


@pytest.mark.parametrize(("kind", "code", "error"), [("provider", 4, "provider_failed"), ("memory", 3, "out_of_memory")])
def test_a_models_failure_and_a_machines_limit(
    reel: Any, monkeypatch: pytest.MonkeyPatch, kind: str, code: int, error: str
) -> None:
    from making import CARDS

    from reelwright import catalog

    broken = next(card for card in CARDS if card.get("settings") == {"fails": kind})
    from importlib.metadata import EntryPoint

    from reelwright import plugins

    monkeypatch.setattr(
        plugins, "backends", lambda: {"counting": EntryPoint("counting", "making:Counting", "reelwright.backends")}
    )
    monkeypatch.setattr(plugins, "card_files", lambda: iter([("test", broken)]))
    catalog.card.cards.cache_clear()
    try:
        answer = reel("generate", "a boat", "-m", broken["id"], "-o", "a.mp4", "--json")
    finally:
        catalog.card.cards.cache_clear()
    assert answer.code == code
    assert json.loads(answer.err)["error"] == error


def test_a_path_that_cannot_be_used_is_no_traceback(reel: Any, place: Path) -> None:
    (place / "file").write_text("")
    answer = reel("new", "file/x.yaml", "--json")
    assert answer.code == 2
    assert json.loads(answer.err)["error"] == "invalid_request"


def test_wrong_settings_are_said_plainly(reel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEO_FRAME_RATE", "fast")
    settings.current.cache_clear()
    answer = reel("generate", "a boat")
    assert answer.code == 2
    assert "video_frame_rate" in answer.err.lower()


# ---- as a process


def test_help_and_version() -> None:
    shown = process("--help")
    assert shown.returncode == 0
    for command in (
        "generate",
        "render",
        "check",
        "plan",
        "again",
        "export",
        "join",
        "trim",
        "models",
        "probe",
        "doctor",
        "clean",
    ):
        assert command in shown.stdout
    assert re.fullmatch(r"reelwright \d+\.\d+\.\d+\n", process("--version").stdout)
    bare = process()
    assert "Usage" in bare.stdout + bare.stderr
    assert "See `" not in bare.stderr
    assert "See `reel render --help`." in process("render", "--nope").stderr
    assert "See `reel --help`." in process("nope").stderr


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell")
@pytest.mark.parametrize(
    "command",
    [
        "reel models | head -1",
        "reel schema | head -c 10",
        "reel effects --json | true",
        "reel --help | head -1",
        "reel --help >&-",
        "reel models >&-",
    ],
)
def test_a_reader_that_leaves_early_is_no_error(command: str) -> None:
    runner = f'reel() {{ "{sys.executable}" -c "from reelwright.cli import main; main()" "$@"; }}; '
    made = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {runner}{command}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert made.stderr == ""
    assert made.returncode in (0, 1)


def test_a_film_in_a_real_process(place: Path) -> None:
    made_board(place)
    made = process("render", "film.yaml", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["frames"] == 24
    assert made.stderr == ""
    assert mean(frames_of(place / "film.mp4")[0]) > 16


def test_a_terminal_gets_a_bar(place: Path) -> None:
    """rich progress on a terminal, plain lines when piped."""
    pty = pytest.importorskip("pty")
    made_board(place)
    leader, follower = pty.openpty()
    words = [sys.executable, "-c", "from reelwright.cli import main; main()", "render", "film.yaml"]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=follower, text=True)
    os.close(follower)
    shown = b""
    try:
        while piece := os.read(leader, 4096):
            shown += piece
    except OSError:  # the other side closed
        pass
    os.close(leader)
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert "film.mp4" in out
    assert b"Rendering" in shown
    assert b"\x1b[" in shown
