"""ComfyUI servers: ordered once, watched, stopped, taken up again, fetched (M11)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import pytest
from comfy_making import NOISE, REAL, backend_of, noise_card, shot_of
from comfy_standin import Comfy
from making import picture, wav

from reelwright import plugins
from reelwright.backends.comfy import client, faults, graphs
from reelwright.backends.comfyui import ComfyUI
from reelwright.catalog import Card, find
from reelwright.errors import (
    BackendError,
    Cancelled,
    OutOfMemory,
    ProviderFailed,
    ReelwrightError,
    RequestError,
    TimedOut,
    TooLarge,
    Unavailable,
    Unsupported,
)
from reelwright.media.encode import save
from reelwright.request import Input
from reelwright.run import LocalRun, Progress
from reelwright.testing import BackendContract
from reelwright.types import Frame, Role

TEMPLATES = (
    "comfy-ltx", "comfy-ltx-i2v", "comfy-wan-2.1", "comfy-wan-2.2", "comfy-wan-2.1-i2v", "comfy-wan-2.2-s2v",
    "comfy-hunyuan-video", "comfy-mochi", "comfy-svd-xt", "comfy-animatediff", "comfy-upscale",
)  # fmt: skip


class TestContract(BackendContract):
    """The whole contract, at the stand-in or at the real server."""

    prompt_matters = False
    where: str

    @pytest.fixture(autouse=True)
    def server(self, address: str) -> None:
        self.where = address

    def card(self) -> Card:
        return noise_card()

    def backend(self) -> ComfyUI:
        return backend_of(self.where)


def made(comfy: Comfy | str, run: LocalRun | None = None, **fields: Any) -> tuple[list[Frame], LocalRun]:
    run = run or LocalRun()
    where = comfy if isinstance(comfy, str) else comfy.address
    with backend_of(where).generate(shot_of(noise_card(), **fields), run) as video:
        return list(video.frames), run


def refused(comfy: Comfy, kind: type[ReelwrightError], card: Card | None = None, **settings: Any) -> ReelwrightError:
    """The error with which a shot ends."""
    with pytest.raises(kind) as caught:
        backend_of(comfy.address, **settings).generate(shot_of(card or noise_card()), LocalRun())
    return caught.value


@contextmanager
def busy(comfy: Comfy) -> Iterator[list[Any]]:
    """Somebody else's order is being sampled meanwhile; what came of it is in the list afterwards."""
    comfy.gate.clear()
    ends: list[Any] = []
    other = threading.Thread(target=lambda: ends.append(made(comfy, seed=99)[0]))
    other.start()
    assert comfy.sampling.wait(10)
    try:
        yield ends
    finally:
        comfy.gate.set()
        other.join(20)


def ids(run: LocalRun) -> list[dict[str, Any]]:
    return list(run.memory.get("comfyui", {}).values())


def called(comfy: Comfy, path: str) -> list[Any]:
    return [told for _, each, told in comfy.calls if each == path]


# ---- what is sent, and what comes back


def test_the_graph_is_filled_and_completed(comfy: Comfy) -> None:
    frames, run = made(comfy, prompt='a {red|blue} "boat"', options={"strength": 0.5})
    (post,) = comfy.posts
    graph = post["prompt"]
    assert graph["words"]["inputs"]["value"] == 'a {red|blue} "boat"'
    assert graph["plain"]["inputs"] == {"width": 128, "height": 72, "batch_size": 8, "color": 4000000}
    assert graph["noise"]["inputs"]["seed"] == 7
    assert graph["noise"]["inputs"]["strength"] == 0.5
    assert graph["save"]["inputs"]["filename_prefix"] == f"reelwright/{post['prompt_id']}"
    assert post["client_id"] == post["prompt_id"] == ids(run)[0]["prompt"]
    assert len(frames) == 8


def test_the_socket_is_open_before_the_order_and_says_what_it_understands(comfy: Comfy) -> None:
    made(comfy)
    paths = [path for kind, path, _ in comfy.calls if kind != "WS"]
    assert paths.index("/ws") < paths.index("/prompt")
    assert any(kind == "WS" for kind, _, _ in comfy.calls)


def test_the_file_carries_no_graph_on(address: str, tmp_path: Path) -> None:
    """ComfyUI writes prompts into its files; a copy of the result must not hold them."""
    with backend_of(address).generate(shot_of(noise_card(), prompt="a secret prompt"), LocalRun()) as video:
        save(video, tmp_path / "kept.mp4")
    with av.open(str(tmp_path / "kept.mp4")) as file:
        assert "comment" not in file.metadata
        assert "prompt" not in file.metadata
    assert b"a secret prompt" not in (tmp_path / "kept.mp4").read_bytes()


@pytest.mark.parametrize("key", ["images", "gifs", "videos"])
def test_a_film_is_found_under_any_name(comfy: Comfy, key: str) -> None:
    comfy.as_key = key
    assert len(made(comfy)[0]) == 8


def test_pictures_alone_are_no_film(comfy: Comfy) -> None:
    comfy.stills = True
    assert "Save Video" in refused(comfy, BackendError).hint


def test_a_result_that_is_too_large_is_not_taken(comfy: Comfy) -> None:
    refused(comfy, TooLarge, max_video_file_size=500)


@pytest.mark.parametrize("old", [False, True])
def test_progress_and_pictures_come_while_it_works(comfy: Comfy, old: bool) -> None:
    comfy.old_socket = old
    seen: list[Progress] = []
    shown: list[Frame] = []
    made(comfy, LocalRun(seen.append, shown.append))
    run = [each.done for each in seen if each.stage == "run"]
    assert run == sorted(run)
    assert len({done for done in run if 0 < done < 100}) >= 3
    assert (seen[-1].stage, seen[-1].done, seen[-1].total) == ("fetch", 1, 1)
    assert [(each.width, each.height) for each in shown] == [(34, 22)] * 4


def test_success_is_told_before_the_history_is_written(comfy: Comfy) -> None:
    comfy.race_s = 0.4
    assert len(made(comfy)[0]) == 8


def test_it_works_without_a_socket(comfy: Comfy) -> None:
    comfy.deaf = True
    assert len(made(comfy)[0]) == 8


def test_a_lost_socket_is_opened_again(comfy: Comfy) -> None:
    comfy.drop_at, comfy.steps, comfy.step_s = 2, 8, 0.08
    seen: list[Progress] = []
    made(comfy, LocalRun(seen.append))
    assert len([path for _, path, _ in comfy.calls if path == "/ws"]) >= 2
    assert any(each.stage == "run" and 50 < each.done < 100 for each in seen)
    assert len(comfy.ran) == 1


def test_a_server_that_makes_its_own_ids(comfy: Comfy) -> None:
    comfy.own_ids = True
    run = made(comfy)[1]
    assert ids(run)[0]["prompt"] == comfy.ran[0] != comfy.posts[0]["prompt_id"]


# ---- the templates


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_taken_by_a_server_with_its_models(comfy: Comfy, name: str, tmp_path: Path) -> None:
    """The stand-in holds it against the schema of each node, as a server does; no model runs here."""
    card = find(name)
    makers = {Role.SPEECH: lambda: wav(tmp_path / "speech.wav", 1), Role.SOURCE: lambda: _clip(tmp_path)}
    inputs = tuple(
        Input(role, str(makers.get(role, lambda: picture(tmp_path / "image.png"))())) for role in sorted(card.accepts[0])
    )
    shot = shot_of(card, inputs=inputs, width=256, height=256, seconds=1, negative="blurred")
    with backend_of(comfy.address).generate(shot, LocalRun()) as video:
        first = next(iter(video.frames))
        assert (first.width, first.height) == (shot.width, shot.height)
        assert video.spec.audio == card.audio
    graph = comfy.posts[0]["prompt"]
    text = json.dumps(graph)
    assert "{" not in text.replace('{"', "").replace(": {", "")
    assert len(comfy.uploads) == len(inputs)
    texts = [node["inputs"]["text"] for node in graph.values() if node["class_type"] == "CLIPTextEncode"]
    assert texts in ([], ["A boat at sea"], ["A boat at sea", "blurred"])


def _clip(folder: Path) -> Path:
    from making import clip

    return clip(folder / "source.mp4", 12)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_model_that_is_missing_is_named_with_where_to_get_it(comfy: Comfy, name: str, tmp_path: Path) -> None:
    card = find(name)
    for files in comfy.models.values():
        files.clear()
    with pytest.raises(Unavailable) as caught:
        backend_of(comfy.address).generate(shot_of(card, inputs=_any(card, tmp_path)), LocalRun())
    for model in card.settings["models"]:
        assert model["file"] in caught.value.message
        assert f"Download {model['file']} from {model['page']} into ComfyUI's models/{model['folder']}." in caught.value.hint
    assert not caught.value.retryable
    assert comfy.posts == []


def _any(card: Card, folder: Path) -> tuple[Input, ...]:
    path = picture(folder / "any.png")
    return tuple(Input(role, str(path)) for role in sorted(card.accepts[0]))


@pytest.mark.skipif(REAL is None, reason="REELWRIGHT_TEST_COMFYUI names no server")
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_holds_against_a_real_servers_schema(name: str) -> None:
    """Its nodes are there, and every input that it sets is one of theirs; models may be missing."""
    assert REAL is not None
    card = find(name)
    graph = graphs.filled(graphs.graph_of(card), card.settings["values"], ())
    schema = client.Server(REAL).schema(node["class_type"] for node in graph.values())
    lack = faults.lacks(graph, schema)
    assert [kind for kind in lack.nodes if not kind.startswith("ADE_")] == []
    assert lack.values == ()
    for node in graph.values():
        if known := schema.get(node["class_type"], {}).get("input"):
            able = {**(known.get("required") or {}), **(known.get("optional") or {})}
            assert set(node["inputs"]) <= set(able), node["class_type"]
            assert set(known.get("required") or {}) <= set(graphs.completed({"x": node}, schema)["x"]["inputs"])


def test_a_node_that_is_missing_is_named_with_its_pack(comfy: Comfy) -> None:
    comfy.without = ("ADE_AnimateDiffLoaderGen1",)
    error = refused(comfy, Unavailable, find("comfy-animatediff"))
    assert "ADE_AnimateDiffLoaderGen1" in error.message
    assert "github.com/Kosinkadink/ComfyUI-AnimateDiff-Evolved" in error.hint


def test_an_unset_input_is_a_fault_in_plain_words(comfy: Comfy, registered: Path) -> None:
    graph = json.loads(json.dumps(NOISE))
    graph["noise"]["inputs"]["seed"] = "many"
    (registered / "noise.json").write_text(json.dumps(graph))
    error = refused(comfy, BackendError)
    assert "node noise (ImageAddNoise): Failed to convert to INT, seed" in error.message
    assert not error.retryable


# ---- it fails


def test_an_error_in_a_node_is_told_with_its_place(comfy: Comfy) -> None:
    comfy.fail = ("RuntimeError", "shapes cannot be\nmultiplied")
    error = refused(comfy, BackendError)
    assert error.message == "Noise failed in node noise (ImageAddNoise): RuntimeError: shapes cannot be multiplied"
    assert error.details["last_lines"][-1] == "    raise it"


def test_out_of_memory_has_its_own_class(comfy: Comfy) -> None:
    comfy.fail = ("torch.OutOfMemoryError", "Allocation on device")
    assert "smaller size" in refused(comfy, OutOfMemory).hint


def test_somebody_else_may_interrupt_it(comfy: Comfy) -> None:
    comfy.gate.clear()
    threading.Thread(target=lambda: (comfy.sampling.wait(5), setattr(comfy.running, "interrupted", True))).start()
    assert refused(comfy, BackendError).retryable


def test_an_order_that_is_deleted_there_is_told(comfy: Comfy) -> None:
    def delete() -> None:
        while not comfy.pending:
            time.sleep(0.01)
        comfy.pending.clear()

    with busy(comfy):
        threading.Thread(target=delete).start()
        assert "took it from the queue" in refused(comfy, ProviderFailed).hint


def test_silence_ends_at_the_deadline_and_the_order_is_stopped(comfy: Comfy) -> None:
    comfy.gate.clear()
    refused(comfy, TimedOut, request_timeout=1.5)
    assert called(comfy, "/interrupt") == [{"prompt_id": comfy.ran[0]}]


def test_no_server(another: Callable[..., Comfy]) -> None:
    gone = another()
    gone.close()
    error = refused(gone, Unavailable)
    assert "COMFY_SERVERS" in error.hint
    assert error.retryable


# ---- it is stopped


def test_a_cancel_while_it_samples_interrupts_this_order_alone(comfy: Comfy) -> None:
    comfy.gate.clear()
    run = LocalRun(cancel=comfy.sampling.is_set)
    with pytest.raises(Cancelled):
        made(comfy, run)
    assert called(comfy, "/interrupt") == [{"prompt_id": comfy.ran[0]}]
    assert ids(run) == []
    comfy.gate.set()
    assert len(made(comfy)[0]) == 8


def test_a_cancel_in_the_queue_takes_it_out_and_disturbs_nobody(comfy: Comfy) -> None:
    seen: list[str] = []
    run = LocalRun(lambda each: seen.append(each.stage), cancel=lambda: "queue (number 2)" in seen)
    with busy(comfy) as others:
        with pytest.raises(Cancelled):
            made(comfy, run, seed=8)
        assert called(comfy, "/interrupt") == []
        assert comfy.pending == []
    assert len(others[0]) == 8


def test_work_that_is_only_put_down_goes_on(comfy: Comfy) -> None:
    comfy.gate.clear()
    run = LocalRun(cancel=comfy.sampling.is_set, leaving=lambda: True)
    with pytest.raises(Cancelled):
        made(comfy, run)
    assert called(comfy, "/interrupt") == []
    comfy.gate.set()
    made(comfy, LocalRun(memory=run.memory))
    assert len(comfy.ran) == 1


# ---- a crash


def test_a_program_that_was_killed_goes_on_with_its_order(comfy: Comfy) -> None:
    """Its run's memory went with it; a file has the order."""

    class Killed(BaseException):
        pass

    def killed(step: Progress) -> None:
        if step.stage == "run":
            raise Killed

    with pytest.raises(Killed):
        made(comfy, LocalRun(killed))
    made(comfy, LocalRun())
    assert len(comfy.ran) == 1


def test_a_password_in_an_address_is_not_told() -> None:
    for address in ("http://me:geheim@10.0.0.1", "ftp://me:geheim@10.0.0.1", "http://me:geheim@10.0.0.1:port"):
        with pytest.raises(RequestError) as caught:
            client.private(address)
        assert "geheim" not in json.dumps(caught.value.body())


class Crash(BaseException):
    """kill -9, at this line."""


class Crashing(LocalRun):
    """A run that dies at its n-th word."""

    left = 10_000

    def step(self, done: int, total: int, stage: str) -> None:
        self.tick()
        super().step(done, total, stage)

    def remember(self, **facts: Any) -> None:
        self.tick()
        super().remember(**facts)
        self.tick()

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Crash


def test_a_crash_at_any_moment_costs_one_order(comfy: Comfy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and after each call, each word to the run, and each thing that is kept."""
    comfy.step_s, small = 0.0, {"width": 64, "height": 64, "seconds": 0.25}
    sent = client.Server._sent
    dying: list[Crashing] = []

    def dies(self: Any, *given: Any) -> Any:
        dying[0].tick()
        answer = sent(self, *given)
        dying[0].tick()
        return answer

    monkeypatch.setattr(client.Server, "_sent", dies)
    for moment in range(1, 400):
        run = Crashing(memory={})
        run.left = moment
        dying[:] = [run]
        orders = len(comfy.posts)
        try:
            made(comfy, run, seed=moment, **small)
        except Crash:
            dying[:] = [Crashing()]
            frames, _ = made(comfy, LocalRun(memory=json.loads(json.dumps(run.memory))), seed=moment, **small)
            assert len(frames) == 2
            assert len(comfy.posts) == orders + 1, f"a crash at moment {moment} ordered {len(comfy.posts) - orders} times"
        else:
            break
    else:
        raise AssertionError("it never came to its end")
    assert moment > 25


def test_an_answer_that_never_comes_is_looked_up(comfy: Comfy) -> None:
    comfy.swallow = True
    assert len(made(comfy)[0]) == 8
    assert len(comfy.posts) == 1


def test_a_finished_order_is_fetched_from_the_history(address: str, comfy: Comfy) -> None:
    run = made(address)[1]
    frames, again = made(address, LocalRun(memory=run.memory))
    assert len(frames) == 8
    assert REAL or len(comfy.ran) == 1
    assert "asked before" in again.notes[0]


def test_a_server_that_was_started_anew_is_asked_again(comfy: Comfy) -> None:
    run = made(comfy)[1]
    comfy.close()
    comfy.start()
    again = made(comfy, LocalRun(memory=run.memory))[1]
    assert len(comfy.ran) == 2
    assert "no longer knows" in again.notes[0]


def test_a_server_that_goes_away_meanwhile_keeps_the_order(comfy: Comfy) -> None:
    comfy.gate.clear()
    run = LocalRun()
    threading.Thread(target=lambda: (comfy.sampling.wait(5), comfy.close())).start()
    with pytest.raises(ProviderFailed, match="away for"):
        made(comfy, run)
    assert ids(run)[0]["sent"]
    comfy.start()
    comfy.gate.set()
    assert len(made(comfy, LocalRun(memory=run.memory))[0]) == 8


# ---- several servers


def test_the_shortest_queue_is_taken_and_dead_servers_are_passed_over(another: Callable[..., Comfy]) -> None:
    full, dead, idle = another(), another(), another()
    dead.close()
    run = LocalRun()
    with busy(full), backend_of(full.address, dead.address, idle.address).generate(shot_of(noise_card()), run) as video:
        assert len(list(video.frames)) == 8
    assert (len(full.posts), len(idle.posts)) == (1, 1)
    assert ids(run)[0]["server"] == idle.address


def test_a_server_that_lacks_something_is_passed_over(another: Callable[..., Comfy]) -> None:
    poor, rich = another(without=("ImageAddNoise",)), another()
    with backend_of(poor.address, rich.address).generate(shot_of(noise_card()), LocalRun()):
        assert (len(poor.posts), len(rich.posts)) == (0, 1)


def test_a_crash_goes_on_at_the_same_server(another: Callable[..., Comfy]) -> None:
    first, second = another(), another()
    servers = backend_of(second.address, first.address)
    run = made(first)[1]
    with servers.generate(shot_of(noise_card()), LocalRun(memory=run.memory)):
        assert (len(first.ran), len(second.ran)) == (1, 0)
    first.close()
    with servers.generate(shot_of(noise_card()), again := LocalRun(memory=run.memory)):
        assert len(second.ran) == 1
    assert "is away; another one" in again.notes[0]


def test_an_address_that_is_no_longer_named_is_not_called(another: Callable[..., Comfy]) -> None:
    first, second = another(), another()
    run = made(first)[1]
    before = len(first.calls)
    again = made(second, LocalRun(memory=run.memory))[1]
    assert len(first.calls) == before
    assert "no longer named" in again.notes[0]


# ---- what is not called


@pytest.mark.parametrize(
    "address",
    ["http://8.8.8.8:8188", "http://0.0.0.0:8188", "ftp://127.0.0.1", "http://a:b@127.0.0.1", "127.0.0.1:8188", "http://"],
)
def test_other_addresses_are_not_called(address: str) -> None:
    with pytest.raises(RequestError):
        backend_of(address).check(noise_card())


@pytest.mark.parametrize(("found", "good"), [("192.168.1.4", True), ("10.0.0.1", True), ("::1", True), ("93.184.216.34", False)])
def test_a_name_is_held_against_what_it_stands_for(found: str, good: bool) -> None:
    try:
        assert client.private("http://gpu-box:8188/", lambda *_: [found]) == "http://gpu-box:8188"
    except RequestError:
        assert not good
    else:
        assert good


def test_a_foreign_origin_is_refused_and_ours_sends_none(comfy: Comfy) -> None:
    import httpx2

    assert httpx2.get(f"{comfy.address}/queue", headers={"Origin": "http://evil.example"}).status_code == 403
    assert len(made(comfy)[0]) == 8


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "C:\\x", "a/../b", "", "a\nb"])
def test_names_lead_nowhere_else(name: str, comfy: Comfy, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError):
        client.bare(name)


def test_it_is_found_by_the_name_that_cards_give() -> None:
    assert plugins.backend_class("comfyui") is ComfyUI
    for name in TEMPLATES:
        backend_of("http://127.0.0.1:1").check(find(name))


def test_a_card_needs_a_workflow_with_places_for_its_inputs() -> None:
    with pytest.raises(Unsupported, match="names no workflow"):
        backend_of("http://127.0.0.1:1").check(noise_card(settings={}))
    with pytest.raises(Unsupported, match="no workflow 'other'"):
        backend_of("http://127.0.0.1:1").check(noise_card(settings={"graph": "other"}))
    with pytest.raises(Unsupported, match="no place for first_frame"):
        backend_of("http://127.0.0.1:1").check(noise_card(accepts=[["first_frame"]]))
    with pytest.raises(Unsupported):
        backend_of("http://127.0.0.1:1").check(noise_card(settings={"graph": "../noise"}))


def test_an_upload_is_named_by_its_content(comfy: Comfy, tmp_path: Path) -> None:
    card = find("comfy-ltx-i2v")
    path = picture(tmp_path / "my holiday.png")
    shot = shot_of(card, inputs=(Input(Role.FIRST_FRAME, str(path)),), width=256, height=256, seconds=1)
    name = f"reel-{shot.inputs[0].digest[:24]}.png"
    comfy.uploads[name] = b"something else"
    backend_of(comfy.address).generate(shot, LocalRun()).close()
    assert comfy.posts[0]["prompt"]["image"]["inputs"]["image"] == f"{Path(name).stem} (1).png"
    assert comfy.uploads[f"{Path(name).stem} (1).png"] == path.read_bytes()
