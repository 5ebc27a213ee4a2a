"""Spaces: real Gradio apps behind a stand-in of the hub; waking, queue, progress, cancel, drift, quota, tokens (M8, M9)."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import pytest
from making import picture

from reelwright import settings, testing
from reelwright.backends import spaces
from reelwright.backends.space import binding, client, hub
from reelwright.backends.space.binding import Endpoint, Parameter
from reelwright.backends.spaces import Spaces, card_of_space
from reelwright.catalog import Card, Shot, card_from, resolve
from reelwright.catalog.shot import digest
from reelwright.errors import (
    BackendError,
    Cancelled,
    NotFound,
    RateLimited,
    Refused,
    RequestError,
    TimedOut,
    TooLarge,
    Unavailable,
    Unsupported,
)
from reelwright.request import GenerationRequest, Input
from reelwright.run import LocalRun, Progress
from reelwright.types import Role

TOKEN = "hf_planted_token_of_this_test"


@dataclass
class World:
    """The apps, and a hub that knows them as stand-in/NAME. `stages`: what it tells of a Space, the last one for ever."""

    apps: str
    record: Path
    hub: str = ""
    stages: list[dict[str, Any]] = field(default_factory=lambda: [{"stage": "RUNNING"}])
    place: str = "plain"
    """The app that stand-in/moving is."""
    asked: list[dict[str, str]] = field(default_factory=list)
    """Headers of each request to the hub."""

    def lines(self) -> list[dict[str, Any]]:
        """What the apps have seen."""
        return [json.loads(line) for line in self.record.read_text().splitlines()]

    def calls(self) -> list[dict[str, Any]]:
        """What the apps were asked to make."""
        return [line["call"] for line in self.lines() if "call" in line]

    def steps(self, words: str) -> int:
        """How many steps were made of a prompt."""
        return max((line["step"] for line in self.lines() if line.get("of") == words), default=0)


class Kept(LocalRun):
    """A run whose scratch folder stays as long as the test."""

    place: ClassVar[Path]

    @cached_property
    def scratch(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.place))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory, absent: Callable[[str], None]) -> Iterator[World]:
    if find_spec("gradio") is None or find_spec("gradio_client") is None:
        absent("gradio")
    folder, port = tmp_path_factory.mktemp("space"), free_port()
    record = folder / "record"
    record.touch()
    surroundings = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(folder), "TMPDIR": str(folder)}
    command = [sys.executable, str(Path(__file__).with_name("space_app.py")), str(port), str(record)]
    with (folder / "log").open("w") as log, subprocess.Popen(command, env=surroundings, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + 180
            while time.monotonic() < deadline:
                assert process.poll() is None, (folder / "log").read_text()
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.2)
            yield World(f"http://127.0.0.1:{port}", record)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture
def world(apps: World, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The apps with a hub of this test's own."""
    monkeypatch.setattr(Kept, "place", tmp_path_factory.mktemp("scratch"), raising=False)
    monkeypatch.setattr(testing, "LocalRun", Kept)
    made = World(apps.apps, apps.record)
    made.record.write_text("")

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append({name.lower(): value for name, value in self.headers.items()} | {"path": self.path})
            name = self.path.removeprefix("/api/spaces/stand-in/").removesuffix("/runtime")
            stage = made.stages.pop(0) if len(made.stages) > 1 else made.stages[0]
            told = {"host": f"{made.apps}/{made.place if name == 'moving' else name}", "sdk": "gradio", "runtime": stage}
            body = json.dumps(stage if self.path.endswith("/runtime") else told).encode()
            self.send_response(200 if name in ("plain", "extra", "renamed", "needy", "full", "astray", "moving") else 401)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    made.hub = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", made.hub)
    monkeypatch.setattr(hub, "_FIRST_S", 0.05)
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def known(**changes: Any) -> settings.Settings:
    return settings.load(allow_hosts=("127.0.0.1",), request_timeout=60.0, **changes)


def card(name: str = "plain", **changes: Any) -> Card:
    return card_from(
        {
            "id": "spaces/stand-in", "title": "Stand-in", "family": "test", "backend": "spaces", "licence": "MIT",
            "source": f"stand-in/{name}", "deterministic": True, "accepts": [[], ["first_frame"]],
            "sizes": {"native": [[128, 72]], "step": 8, "least": 64, "most": 1024},
            "frames": {"default": 4, "most": 64}, "fps": {"default": 8},
            "options": {"camera": {"type": "string", "enum": ["static", "zoom-in", "pan-left"]}},
            **changes,
        }
    )  # fmt: skip


def shot(of: Card, prompt: str = "A small boat", inputs: tuple[Input, ...] = (), **changes: Any) -> Shot:
    return resolve(GenerationRequest(prompt=prompt, inputs=inputs, **changes), of, lambda ref: digest(Path(ref)))[0]


def made(of: Shot, run: Kept | None = None, **changes: Any) -> tuple[int, int, int]:
    """The shot, read to its end: width, height, count of frames."""
    run = run or Kept()
    with Spaces(known(**changes)).generate(of, run) as video:
        return video.spec.width, video.spec.height, len(list(video.frames))


class TestContract(testing.BackendContract):
    @pytest.fixture(autouse=True)
    def _world(self, world: World) -> None:
        return

    def card(self) -> Card:
        return card()

    def backend(self) -> Spaces:
        return Spaces(known())


# ---- what is sent


def test_a_shot_reaches_the_parameters_by_their_names(world: World) -> None:
    asked = shot(card(), seed=41, width=160, height=96, negative="fog", options={"camera": "zoom-in"})
    assert made(asked) == (160, 96, 4)
    (call,) = world.calls()
    assert (call["prompt"], call["negative"], call["width"], call["height"], call["frames"]) == (
        "A small boat",
        "fog",
        160,
        96,
        4,
    )
    assert (call["seed"], call["randomize_seed"], call["camera"]) == (41, False, "Zoom In")
    assert call["steps"] == 20  # its own default


def test_a_picture_goes_to_the_endpoint_for_pictures(world: World, tmp_path: Path) -> None:
    given = Input(Role.FIRST_FRAME, str(picture(tmp_path / "boat.png")))
    made(shot(card(), inputs=(given,)))
    assert [call["picture"] for call in world.calls()] == [True]


def test_a_file_that_is_too_large_is_not_sent(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "_MOST_UPLOAD", 100)
    given = Input(Role.FIRST_FRAME, str(picture(tmp_path / "boat.png")))
    with pytest.raises(TooLarge):
        made(shot(card(), inputs=(given,)))
    assert not any("upload" in line.get("path", "") for line in world.lines())


def test_a_required_parameter_that_nobody_knows_is_named(world: World) -> None:
    with pytest.raises(Unsupported, match="more") as caught:
        made(shot(card("needy")))
    assert "[settings.bind]" in caught.value.hint
    assert caught.value.details["parameters"] == ["more"]
    assert world.calls() == []


def test_a_card_binds_what_nobody_knows(world: World) -> None:
    bind = {
        "prompt": "{prompt}",
        "num_frames": "{frames}",
        "seed": "{seed}",
        "randomize_seed": False,
        "more": "licence of {prompt}",
    }
    made(shot(card("needy", settings={"endpoint": "/text_to_video", "bind": bind})))
    assert len(world.calls()) == 1


# ---- what is heard


def test_progress_is_that_of_the_space(world: World) -> None:
    seen: list[Progress] = []
    made(shot(card(), "slow boat"), Kept(on_progress=seen.append))
    steps = [(each.done, each.total) for each in seen if each.stage == "denoising"]
    assert steps[-1][1] == 20
    assert len(set(steps)) > 3
    assert steps == sorted(steps)


def test_the_place_in_the_queue_is_told(world: World) -> None:
    with working(world, ("slow one", "slow two")):
        seen: list[Progress] = []
        made(shot(card(), "third"), Kept(on_progress=seen.append))
    assert any("in the queue" in each.stage for each in seen)


@contextlib.contextmanager
def working(world: World, prompts: tuple[str, ...], name: str = "plain") -> Iterator[None]:
    """While others' shots are in the queue of a Space, each of which was there before the next."""
    threads = []
    for count, prompt in enumerate(prompts):
        threads.append(threading.Thread(target=lambda words=prompt: made(shot(card(name), words))))
        threads[-1].start()
        until(lambda count=count: len(joins(world)) > count)
    until(lambda: world.calls() != [])
    yield
    for thread in threads:
        thread.join()


def joins(world: World) -> list[Any]:
    return [line for line in world.lines() if line.get("path", "").endswith("/queue/join")]


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def test_a_cancel_is_told_to_the_space_and_what_goes_on_there_to_the_person(world: World) -> None:
    stop = threading.Event()
    run = Kept(cancel=stop, on_progress=lambda each: stop.set() if each.stage == "denoising" else None)
    with pytest.raises(Cancelled):
        made(shot(card(), "slow cancel"), run)
    assert any("goes on to its end" in note for note in run.notes)
    until(lambda: any(line.get("path", "").endswith("/cancel") for line in world.lines()))
    until(lambda: world.steps("slow cancel") == 20)  # a plain function cannot be stopped
    made(shot(card(), "next"))


def test_a_cancel_stops_a_generator(world: World) -> None:
    stop = threading.Event()
    run = Kept(cancel=lambda: stop.is_set() or world.steps("many") > 2)
    talk = client.Talk("stand-in/plain", f"{world.apps}/plain/", None)
    try:
        with pytest.raises(Cancelled):
            talk.made("/stream", {"prompt": "many"}, run, time.monotonic() + 30)
    finally:
        talk.close()
    assert run.notes == []
    time.sleep(0.5)
    reached = world.steps("many")
    time.sleep(0.5)
    assert world.steps("many") == reached < 40


def test_the_deadline_ends_the_wait(world: World) -> None:
    with pytest.raises(TimedOut, match="in time"):
        Spaces(settings.load(request_timeout=1.5)).generate(shot(card(), "slow late"), Kept())
    until(lambda: world.steps("slow late") in (0, 20))


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        ("boom", BackendError, "The model fell over at step 3."),
        ("policy", Refused, "policy"),
        ("hidden", BackendError, "a reason that is kept"),
    ],
)
def test_what_a_space_says_of_its_failure_is_passed_on(world: World, words: str, kind: type[BackendError], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        made(shot(card(), words))
    assert not caught.value.retryable


def test_a_quota_is_told_with_the_time_to_wait(world: World) -> None:
    with pytest.raises(RateLimited, match=r"exceeded your GPU quota.*or sign up") as caught:
        made(shot(card(), "quota"))
    assert caught.value.retryable
    assert caught.value.details["after"] == 5400
    assert "REELWRIGHT_TRUSTED_SPACES" in caught.value.hint
    assert "<" not in caught.value.message


def test_a_full_queue_is_told(world: World) -> None:
    with working(world, ("slow one", "slow two"), "full"), pytest.raises(RateLimited, match="is full") as caught:
        made(shot(card("full"), "third"))
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("AppError", "No GPU was available for you after 60s", "rate_limited"),
        ("AppError", "The upstream Gradio app has raised an exception but has not enabled it.", "backend_failed"),
        ("TooManyRequestsError", "Too many requests to the API", "rate_limited"),
        ("AuthenticationError", "Could not load", "unsupported"),
        ("ConnectError", "refused", "provider_failed"),
        ("KeyError", "Could not find 'data' key", "provider_failed"),
    ],
)  # fmt: skip
def test_errors_of_the_client_have_codes(name: str, text: str, code: str) -> None:
    assert client.failure("a/b", type(name, (ValueError,), {})(text)).code == code


# ---- waking


def test_a_space_that_sleeps_is_woken(world: World) -> None:
    world.stages = [{"stage": stage} for stage in ("SLEEPING", "SLEEPING", "BUILDING", "APP_STARTING", "RUNNING")]
    seen: list[Progress] = []
    assert made(shot(card()), Kept(on_progress=seen.append))[2] == 4
    stages = list(dict.fromkeys(each.stage for each in seen))
    assert [stage for stage in stages if stage.startswith("waking")] == [
        f"waking stand-in/plain: {words}" for words in ("it sleeps", "it is being built", "it starts")
    ]
    first = next(line for line in world.lines() if "path" in line)
    assert first["path"] == "/plain/"  # the visit that wakes it


def test_a_space_that_does_not_wake_is_given_up(world: World) -> None:
    world.stages = [{"stage": "APP_STARTING"}]
    with pytest.raises(TimedOut, match="did not wake"):
        Spaces(settings.load(request_timeout=0.3)).generate(shot(card()), Kept())


def test_waking_hears_a_cancel(world: World) -> None:
    world.stages = [{"stage": "BUILDING"}]
    stop = threading.Event()
    with pytest.raises(Cancelled):
        made(shot(card()), Kept(cancel=stop, on_progress=lambda each: stop.set() if "waking" in each.stage else None))


def test_a_space_that_cannot_run_says_why(world: World) -> None:
    world.stages = [{"stage": "RUNTIME_ERROR", "errorMessage": "CUDA went away"}]
    with pytest.raises(Unavailable, match="CUDA went away") as caught:
        made(shot(card()))
    assert not caught.value.retryable


def test_a_space_that_is_not_there(world: World) -> None:
    with pytest.raises(NotFound, match="stand-in/nothing"):
        made(shot(card("nothing")))


# ---- drift


def test_a_change_elsewhere_is_told_once_and_a_change_of_what_is_bound_is_refused(world: World, tmp_path: Path) -> None:
    model, notes = card("moving", settings={"bind": BIND, "endpoint": "/text_to_video"}), []
    for place, told in (("plain", False), ("extra", True), ("extra", False)):
        world.place, run = place, Kept()
        made(shot(model), run)
        notes.append(any("has changed" in note for note in run.notes) == told)
    assert notes == [True, True, True]
    world.place = "renamed"
    with pytest.raises(Unavailable, match="has no parameter steps") as caught:
        made(shot(model))
    assert not caught.value.retryable
    assert "spaces/stand-in/moving" in caught.value.hint


BIND = {"prompt": "{prompt}", "seed": "{seed}", "steps": 3, "randomize_seed": False, "num_frames": "{frames}"}


def test_a_card_made_of_a_space_holds_its_binding(world: World) -> None:
    content = card_of_space("https://huggingface.co/spaces/stand-in/moving", known())
    model = card_from(content)
    assert model.id == "spaces/stand-in/moving"
    assert model.accepts == (frozenset(), frozenset({Role.FIRST_FRAME}))
    assert model.sizes.native == ((128, 72),)
    assert (model.frames.default, model.frames.most, model.options["steps"]["default"]) == (4, 64, 20)
    assert model.options["camera"]["enum"] == ["static", "pan-left", "zoom-in"]
    assert made(shot(model)) == (128, 72, 4)
    world.place = "renamed"
    with pytest.raises(Unavailable, match="moving"):
        made(shot(model), cache_folder=settings.config_folder() / "other")


def test_a_changed_choice_is_a_change() -> None:
    before, after = (
        Endpoint("/make", (Parameter("prompt", "Prompt", "Textbox", "string", True), choice(choices)), ("Video",))
        for choices in (("a", "b"), ("a", "c"))
    )
    assert before.bound({"prompt": "{prompt}"}) == after.bound({"prompt": "{prompt}"})
    assert before.bound({"camera": "{camera}"}) != after.bound({"camera": "{camera}"})
    assert before.schema != after.schema


def choice(choices: tuple[str, ...]) -> Parameter:
    return Parameter("camera", "Camera", "Dropdown", "string", False, "a", choices)


# ---- what is not let through


def test_the_token_goes_to_no_space_that_is_not_trusted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    made(shot(card()))
    assert TOKEN not in json.dumps(world.lines()) + json.dumps(world.asked)
    made(shot(card(), "again"), trusted_spaces=("someone-else",))
    assert TOKEN not in json.dumps(world.lines()) + json.dumps(world.asked)


def test_the_token_goes_to_a_space_that_is_trusted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    made(shot(card()), trusted_spaces=("Stand-In",))
    seen = [line["headers"].get("x-hf-authorization") for line in world.lines() if "headers" in line]
    assert f"Bearer {TOKEN}" in seen
    assert world.asked[0]["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("address", ["http://10.0.0.1/x.mp4", "http://169.254.169.254/latest", "https://example.org/x.mp4"])
def test_a_result_at_another_address_is_not_fetched(world: World, address: str) -> None:
    with pytest.raises(RequestError, match="not its own address"):
        made(shot(card(settings={"endpoint": "/elsewhere"}), address))


def test_a_space_in_a_private_network_is_not_fetched_from(world: World) -> None:
    with pytest.raises(RequestError, match="may not be called"):
        Spaces(settings.load()).generate(shot(card()), Kept())


def test_a_configuration_cannot_send_us_elsewhere(world: World) -> None:
    with pytest.raises(BackendError, match="not its own"):
        made(shot(card("astray")))
    assert not any("secret" in line.get("path", "") for line in world.lines())


def test_nothing_is_told_to_gradio(world: World) -> None:
    talk = client.Talk("stand-in/plain", f"{world.apps}/plain/", None)
    talk.close()
    assert talk._client.analytics_enabled is False


@pytest.mark.parametrize("name", ["plain", "a/b/c", "../x", "http://10.0.0.1/a/b", "a b/c", ""])
def test_only_names_of_spaces_are_taken(name: str) -> None:
    with pytest.raises(Unsupported):
        hub.named(name)


# ---- binding by name and label


def endpoint(*parameters: tuple[str, str, str], name: str = "/generate", returns: tuple[str, ...] = ("Video",)) -> Endpoint:
    kinds = {"Textbox": "string", "Slider": "number", "Number": "number", "Checkbox": "boolean"}
    made = (Parameter(each, label, part, kinds.get(part, "any"), part in binding.FILES) for each, label, part in parameters)
    return Endpoint(name, tuple(made), returns)


LTX = endpoint(
    ("prompt", "Prompt", "Textbox"), ("negative_prompt", "Negative", "Textbox"), ("input_image_filepath", "Image", "Image"),
    ("input_video_filepath", "Video", "Video"), ("height_ui", "Height", "Slider"), ("width_ui", "Width", "Slider"),
    ("mode", "Mode", "Textbox"), ("duration_ui", "Duration", "Slider"), ("ui_frames_to_use", "Frames to use", "Slider"),
    ("seed_ui", "Seed", "Number"), ("randomize_seed", "Randomize", "Checkbox"), ("ui_guidance_scale", "CFG", "Slider"),
    ("improve_texture_flag", "Texture", "Checkbox"),
)  # fmt: skip
COG = endpoint(
    ("prompt", "Prompt", "Textbox"), ("image_input", "Image", "Image"), ("video_input", "Video", "Video"),
    ("video_strength", "Strength", "Number"), ("seed_value", "Seed", "Number"), ("scale_status", "Upscale", "Checkbox"),
    ("rife_status", "Interpolate", "Checkbox"),
)  # fmt: skip
WAN = endpoint(
    ("input_image", "Image", "Image"), ("prompt", "Prompt", "Textbox"), ("steps", "Steps", "Slider"),
    ("negative_prompt", "Negative", "Textbox"), ("duration_seconds", "Duration", "Slider"),
    ("guidance_scale", "Guidance", "Slider"), ("guidance_scale_2", "Guidance 2", "Slider"), ("seed", "Seed", "Number"),
    ("randomize_seed", "Randomize", "Checkbox"), name="/generate_video",
)  # fmt: skip


@pytest.mark.parametrize(
    ("found", "bind"),
    [
        (LTX, {
            "prompt": "{prompt}", "negative_prompt": "{negative}", "input_image_filepath": "{first_frame}",
            "input_video_filepath": "{source}", "height_ui": "{height}", "width_ui": "{width}", "duration_ui": "{seconds}",
            "seed_ui": "{seed}", "randomize_seed": False, "ui_guidance_scale": "{guidance}",
        }),
        (COG, {"prompt": "{prompt}", "image_input": "{first_frame}", "video_input": "{source}", "seed_value": "{seed}"}),
        (WAN, {
            "input_image": "{first_frame}", "prompt": "{prompt}", "steps": "{steps}", "negative_prompt": "{negative}",
            "duration_seconds": "{seconds}", "guidance_scale": "{guidance}", "seed": "{seed}", "randomize_seed": False,
        }),
    ],
    ids=["ltx", "cogvideox", "wan"],
)  # fmt: skip
def test_the_parameters_of_known_spaces_are_found_by_name(found: Endpoint, bind: dict[str, Any]) -> None:
    assert binding.guessed(found) == bind


def test_labels_tell_where_names_do_not() -> None:
    found = endpoint(
        ("param_0", "Prompt", "Textbox"), ("param_1", "Number of frames", "Slider"), ("param_2", "Random seed", "Number")
    )
    assert binding.guessed(found) == {"param_0": "{prompt}", "param_1": "{frames}", "param_2": "{seed}"}


def test_an_endpoint_that_needs_a_picture_is_not_asked_without_one() -> None:
    picture = frozenset({Role.FIRST_FRAME})
    assert binding.best({"/generate_video": WAN}, frozenset()) is None
    assert binding.best({"/generate_video": WAN}, picture) is WAN
    assert binding.best({"/generate": COG}, frozenset()) is COG
    assert binding.best({"/generate": COG}, picture) is COG
    words = endpoint(("prompt", "Prompt", "Textbox"), returns=("Textbox",))
    assert binding.best({"/enhance": words}, frozenset()) is None


SHIPPED = {
    content["id"]: card_from(content)
    for entry in files("reelwright.catalog").joinpath("cards").iterdir()
    if entry.name.startswith("spaces-") and (content := tomllib.loads(entry.read_text("utf-8")))
}


@pytest.mark.parametrize(
    ("name", "found"), [("cogvideox-5b", COG), ("ltx-distilled", LTX), ("wan-2.2-fast", WAN)], ids=lambda each: str(each)[:20]
)
def test_the_bindings_of_shipped_cards_are_those_of_their_spaces(name: str, found: Endpoint, tmp_path: Path) -> None:
    model = SHIPPED[f"spaces/{name}"]
    named = model.settings["endpoint"]
    places = named if isinstance(named, dict) else {"+".join(sorted(roles)) or "prompt": named for roles in model.accepts}
    there = {place: Endpoint(place, found.parameters, found.returns) for place in places.values()}
    for roles in model.accepts:
        inputs = tuple(Input(role, str(picture(tmp_path / f"{role}.png"))) for role in roles)
        asked = shot(model, inputs=inputs)
        bound = binding.Bindings(model.source, tmp_path).of(model.settings, there, roles, print)
        sent = binding.arguments(bound, spaces.values(asked, {role.value: {"path": role.value} for role in roles}), print)
        assert sent["prompt"] == "A small boat"
        assert set(sent) <= {each.name for each in found.parameters}


def test_a_card_without_a_space_says_what_to_do() -> None:
    with pytest.raises(Unavailable, match="cannot be had") as caught:
        Spaces(known()).check(SHIPPED["spaces/hunyuan"])
    assert "spaces/OWNER/NAME" in caught.value.hint
    assert len(SHIPPED) == 5


def test_what_is_out_of_a_sliders_reach_is_told() -> None:
    told: list[str] = []
    slider = Parameter("width", "Width", "Slider", "integer", False, 512, (), 256, 768)
    bound = binding.Binding(Endpoint("/make", (slider,), ("Video",)), {"width": "{width}"})
    assert binding.arguments(bound, {"width": 1024}, told.append) == {"width": 768}
    assert told == ["The Space takes width from 256 to 768, not 1024."]


@pytest.mark.parametrize("text", ["", "/", "/gradio_api", "gradio_api/", "/a/b.c/"])
def test_a_prefix_is_a_path(text: str) -> None:
    assert client.is_prefix(text)


@pytest.mark.parametrize("text", ["http://x/", "//x", "/a?b", "a" * 201, "a" * 190 + "!", "/a/../b c"])
def test_what_is_no_prefix_is_told_quickly(text: str) -> None:
    began = time.monotonic()
    assert not client.is_prefix(text)
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize(("words", "ends"), [("between 1 and 2.5", (1, 2.5)), ("between 1.2.3 and 4", (None, None))])
def test_limits_are_numbers_or_none(words: str, ends: tuple[float | None, float | None]) -> None:
    made = binding._parameter({"parameter_name": "steps", "type": {"type": "number", "description": words}})
    assert (made.least, made.most) == ends
