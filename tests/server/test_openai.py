"""The real OpenAI SDK drives the server unchanged (J12)."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from making import frames_of, picture
from PIL import Image
from serving import served, working

from reelwright.jobs.worker import Worker
from reelwright.settings import load
from reelwright.workshop import Workshop

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import openai
    from openai import OpenAI

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
SMALL: dict[str, Any] = {"size": "160x90", "extra_body": {"fps": 24, "seed": 7}}


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(load(data_folder=tmp_path / "data", cache_folder=tmp_path / "cache", workers=1))


@pytest.fixture
def client(shop: Workshop) -> Iterator[OpenAI]:
    with served(shop) as address, OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as made:
        yield made


@pytest.fixture
def worker(shop: Workshop) -> Iterator[Worker]:
    with working(shop) as made:
        yield made


def bytes_of(client: OpenAI, video: str, **variant: Any) -> bytes:
    return client.videos.download_content(video, **variant).read()


def test_a_video_is_created_polled_and_fetched(client: OpenAI, worker: Worker, tmp_path: Path) -> None:
    made = client.videos.create_and_poll(prompt="A boat at sea at sunrise", seconds="4", poll_interval_ms=50, **SMALL)
    assert (made.object, made.status, made.progress, made.seconds, made.size) == ("video", "completed", 100, "4", "160x90")
    assert made.error is None
    assert made.completed_at is not None
    assert made.completed_at >= made.created_at
    (tmp_path / "a.mp4").write_bytes(bytes_of(client, made.id))
    assert len(frames_of(tmp_path / "a.mp4")) == 96
    for variant in ("thumbnail", "spritesheet"):
        Image.open(io.BytesIO(bytes_of(client, made.id, variant=variant))).verify()


def test_what_a_client_sends_by_habit_is_taken(client: OpenAI) -> None:
    made = client.videos.create(prompt="A boat", model="sora-2")
    assert (made.model, made.seconds, made.size, made.status) == ("sora-2", "4", "720x1280", "queued")
    assert any("sora-2 is not here" in warning for warning in made.warnings)  # type: ignore[attr-defined]  # our own key


def test_progress_is_true_and_the_first_answer_says_when_to_ask(client: OpenAI, shop: Workshop) -> None:
    raw = client.videos.with_raw_response.create(prompt="A boat", seconds="4", **SMALL)
    assert 500 <= int(raw.headers["openai-poll-after-ms"]) <= 10_000
    video = raw.parse()
    job = shop.store.claim("w", ["cpu"])
    assert job is not None
    shop.store.beat(job, {"stage": "render", "done": 30, "total": 120, "eta": 5.0, "elapsed": 1.0})
    seen = client.videos.retrieve(video.id)
    assert (seen.status, seen.progress) == ("in_progress", 25)
    assert seen.eta_seconds == 5.0  # type: ignore[attr-defined]  # our own key


def test_videos_are_listed_in_pages_and_deleted(client: OpenAI, shop: Workshop) -> None:
    made = [client.videos.create(prompt=f"A boat {number}", **SMALL).id for number in range(5)]
    assert [video.id for video in client.videos.list(limit=2)] == made[::-1]
    assert [video.id for video in client.videos.list(limit=2, order="asc")] == made
    page = client.videos.list(limit=2, after=made[3])
    assert ([video.id for video in page.data], page.has_more) == ([made[2], made[1]], True)
    gone = client.videos.delete(made[0])
    assert (gone.id, gone.object, gone.deleted) == (made[0], "video.deleted", True)
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(made[0])


def test_failed_and_cancelled_videos_are_answers_not_errors(client: OpenAI, shop: Workshop) -> None:
    cancelled, failed = (client.videos.create(prompt=text, **SMALL).id for text in ("a boat", "a sea"))
    shop.store.cancel("job_" + cancelled.removeprefix("video_"))
    job = shop.store.claim("w", ["cpu"])
    assert job is not None
    shop.store.fail(job, {"error": "out_of_memory", "message": "too large", "details": {}})
    for video, code in ((cancelled, "cancelled"), (failed, "out_of_memory")):
        found = client.videos.poll(video, poll_interval_ms=10)
        assert found.status == "failed"
        assert found.error is not None
        assert (found.error.code, isinstance(found.error.message, str)) == (code, True)
    with pytest.raises(openai.NotFoundError):
        client.videos.download_content(failed)


def test_a_picture_guides_a_video_however_it_is_sent(client: OpenAI, worker: Worker, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 160, 90)
    content = (tmp_path / "a.png").read_bytes()
    data = "data:image/png;base64," + base64.b64encode(content).decode()
    body = {"prompt": "The sea", "size": "160x90", "seconds": "1", "fps": 24}
    ways: list[Any] = [
        client.videos.create(prompt="The sea", input_reference=("a.png", content), size="160x90", seconds="1"),  # type: ignore[arg-type]  # any length
        client.videos.create(prompt="The sea", seconds="1", size="160x90", extra_body={"input_reference": {"image_url": data}}),  # type: ignore[arg-type]  # likewise
        client.post("/videos", body={**body, "input_reference": {"image_url": data}}, cast_to=dict),
        client.post("/videos", body={**body, "reference_url": data}, cast_to=dict),
    ]
    for made in ways:
        video = made["id"] if isinstance(made, dict) else made.id
        assert client.videos.poll(video, poll_interval_ms=20).status == "completed"
    with pytest.raises(openai.BadRequestError) as raised:
        client.post("/videos", body={**body, "reference_url": "http://127.0.0.1:22/x.png"}, cast_to=dict)
    assert "may not be called" in str(raised.value)


def test_a_video_is_remixed_and_extended(client: OpenAI, worker: Worker, tmp_path: Path) -> None:
    first = client.videos.create_and_poll(prompt="A boat at sea", seconds="4", poll_interval_ms=20, **SMALL)
    remix = client.videos.remix(first.id, prompt="A boat at sea in a storm")
    assert (remix.remixed_from_video_id, remix.size, remix.prompt) == (first.id, first.size, "A boat at sea in a storm")
    assert client.videos.poll(remix.id, poll_interval_ms=20).status == "completed"
    sent = {"prompt": "It lands", "seconds": "4", "video": {"id": first.id}}
    longer = client.post("/videos/extensions", body=sent, cast_to=dict)
    assert longer["seconds"] == "8"
    done = client.videos.poll(longer["id"], poll_interval_ms=20)
    assert done.status == "completed", done.error
    (tmp_path / "a.mp4").write_bytes(bytes_of(client, done.id))
    assert len(frames_of(tmp_path / "a.mp4")) == 192
    upload = client.videos.extend(prompt="It lands", seconds="4", video=("a.mp4", bytes_of(client, first.id)))
    assert upload.status == "queued"


def test_an_edit_needs_a_model_that_can(client: OpenAI, worker: Worker) -> None:
    first = client.videos.create_and_poll(prompt="A boat", seconds="4", poll_interval_ms=20, **SMALL)
    with pytest.raises(openai.BadRequestError) as raised:
        client.videos.edit(prompt="In snow", video=("a.mp4", bytes_of(client, first.id)))
    assert (raised.value.param, raised.value.code) == ("model", "unsupported")


def test_characters_are_kept(client: OpenAI, worker: Worker) -> None:
    first = client.videos.create_and_poll(prompt="A boat", seconds="4", poll_interval_ms=20, **SMALL)
    made = client.videos.create_character(name="Ann", video=("a.mp4", bytes_of(client, first.id)))
    assert made.id is not None
    assert client.videos.get_character(made.id).name == "Ann"
    with pytest.raises(openai.NotFoundError):
        client.videos.get_character("char_none")


def test_names_of_other_servers_and_brackets_are_understood(client: OpenAI, shop: Workshop) -> None:
    made = client.videos.create(
        prompt="A boat", model="placeholder",
        extra_body={"num_frames": 48, "fps": 24, "width": 160, "height": 90, "negative_prompt": "fog", "seed": 3, "steps": 20,
                    "extra_params": {"camera": "pan left"}},
    )  # fmt: skip
    job = shop.store.get("job_" + made.id.removeprefix("video_"))
    asked = job.content["request"]
    assert (asked["seconds"], asked["seed"], asked["negative"], asked["options"]) == (2.0, 3, "fog", {"camera": "pan left"})
    assert any("no steps" in warning for warning in made.warnings)  # type: ignore[attr-defined]  # our own key
    text = client.post("/videos", body={"prompt": "A boat", "extra_params": {"camera": "pan left"}}, cast_to=dict)
    assert text["status"] == "queued"


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({}, "prompt"),
        ({"prompt": "x", "output_path": "/tmp/x"}, "output_path"),
        ({"prompt": "x", "size": "large"}, "size"),
        ({"prompt": "x", "seconds": "-4"}, "seconds"),
        ({"prompt": "x", "n": 4}, "n"),
        ({"prompt": "x", "input_reference": {"path": "/etc/passwd"}}, "input_reference.path"),
    ],
)
def test_what_cannot_be_is_said_with_its_parameter(client: OpenAI, sent: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.post("/videos", body=sent, cast_to=dict)
    assert (raised.value.param, raised.value.type) == (param, "invalid_request_error")


def test_unknown_models_and_wrong_keys_are_the_sdks_own_errors(shop: Workshop) -> None:
    _, secret = shop.ledger.new_key("ann", ("write",))
    _, reader = shop.ledger.new_key("ann", ("read",))
    with served(shop, open_to_all=False) as address:
        for key, error in (("reel_wrong", openai.AuthenticationError), (reader, openai.PermissionDeniedError)):
            with OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0) as client, pytest.raises(error):
                client.videos.create(prompt="x")
        with OpenAI(base_url=f"{address}/v1", api_key=secret, max_retries=0) as client:
            assert client.videos.create(prompt="x").status == "queued"
            with pytest.raises(openai.NotFoundError) as raised:
                client.videos.create(prompt="x", model="nobody/none")
            assert raised.value.code == "model_not_found"
            assert "placeholder" in [model.id for model in client.models.list()]
            assert client.models.retrieve("placeholder").object == "model"


def test_the_same_call_makes_one_video(client: OpenAI) -> None:
    same = {"Idempotency-Key": "k"}
    first, second = (client.videos.create(prompt="A boat", extra_headers=same).id for _ in range(2))
    assert first == second


def test_a_video_is_made_while_the_caller_waits(client: OpenAI, worker: Worker, tmp_path: Path) -> None:
    sent = {"prompt": "A boat", "seconds": 1, "fps": 24, "size": "160x90"}
    answer = httpx2.post(f"{client.base_url}videos/sync", json=sent, timeout=60)
    assert (answer.headers["X-Model"], float(answer.headers["X-Inference-Time-S"]) > 0) == ("placeholder", True)
    (tmp_path / "a.mp4").write_bytes(answer.content)
    assert len(frames_of(tmp_path / "a.mp4")) == 24


def test_pictures_are_made_for_key_frames(client: OpenAI, worker: Worker) -> None:
    made = client.images.generate(prompt="A boat at sea", size="256x128", n=2)  # type: ignore[call-overload]  # any size
    first, second = (Image.open(io.BytesIO(base64.b64decode(each.b64_json))) for each in made.data)
    assert first.size == second.size == (256, 128)
    assert first.tobytes() != second.tobytes()
    (at,) = client.images.generate(prompt="A boat at sea", size="256x128", response_format="url").data  # type: ignore[call-overload]  # likewise
    assert Image.open(io.BytesIO(httpx2.get(at.url).content)).tobytes() == first.tobytes()
