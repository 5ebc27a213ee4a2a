"""What single providers and the loop do beyond the contract: traps of the protocols, keys, addresses, what is remembered."""

from __future__ import annotations

import base64
import dataclasses
import hmac
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import standins

from reelwright import logs
from reelwright.backends.hosted import loop, orders, wire
from reelwright.backends.hosted.arguments import Given
from reelwright.backends.hosted.call import Answer, Call, Failed, Finished, Pending
from reelwright.backends.hosted.fal import Fal
from reelwright.backends.hosted.google import Google
from reelwright.backends.hosted.kling import Kling, token
from reelwright.backends.hosted.luma import Luma
from reelwright.backends.hosted.openai import OpenAI
from reelwright.backends.hosted.refusals import refusal, waiting
from reelwright.backends.hosted.replicate import Replicate
from reelwright.backends.hosted.runway import Runway
from reelwright.backends.hosted.wire import Breaker, NotSent, Wire
from reelwright.catalog import Card, FrameRule, RateRule, Shot, ShotInput, SizeRule, find, resolve
from reelwright.errors import (
    BackendError,
    Cancelled,
    MissingKey,
    ProviderFailed,
    QuotaExceeded,
    RateLimited,
    Refused,
    RequestError,
    TimedOut,
    TooLarge,
    Unavailable,
    Unsupported,
)
from reelwright.fetching import Fetcher
from reelwright.request import GenerationRequest
from reelwright.run import LocalRun
from reelwright.settings import Settings
from reelwright.standin import FPS, FRAMES, SIZE, Received, Said, StandIn
from reelwright.types import Role

KEY = "planted-key-0123456789abcdef"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for place in (loop, wire):
        monkeypatch.setattr(place, "paused", lambda *_, **__: 0.01)
    yield
    loop._BREAKERS.clear()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Start a stand-in and lead the provider to it."""
    servers: list[StandIn] = []

    def start(stand_in: type[StandIn], name: str, path: str = "") -> Any:
        servers.append(stand_in(KEY))
        monkeypatch.setenv(f"REELWRIGHT_BASE_{name.upper()}", servers[-1].address + path)
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def run() -> Iterator[LocalRun]:
    made = LocalRun()
    yield made
    made.close()


def known(folder: Path, **given: Any) -> Settings:
    return Settings(
        _env_file=None,
        allow_hosts=("127.0.0.1",),
        data_folder=folder / "data",
        cache_folder=folder / "cache",
        request_timeout=30,
        **given,
    )


def small(name: str) -> Card:
    return dataclasses.replace(find(name), sizes=SizeRule(((SIZE, SIZE),), 2, 16), frames=FrameRule(FRAMES), fps=RateRule(FPS))


def shot(name: str, **changes: Any) -> Shot:
    return resolve(GenerationRequest(prompt="A boat", seed=3), dataclasses.replace(small(name), **changes), lambda ref: ref)[0]


def answer(status: int, content: Any = None, **headers: str) -> Answer:
    return Answer(status, headers, content, json.dumps(content).encode())


# ---- traps of single protocols


def test_replicate_aborted_is_an_end(tmp_path: Path) -> None:
    """The SDK cannot read that state at all."""
    told = Replicate(known(tmp_path)).polled(answer(200, {"status": "aborted"}), "op", shot("replicate/wan-2.2-fast"))
    assert isinstance(told, Failed)


def test_runway_throttled_is_a_queue_and_cancelled_an_end(tmp_path: Path) -> None:
    runway, asked = Runway(known(tmp_path)), shot("runway/gen4.5")
    told = runway.polled(answer(200, {"status": "THROTTLED"}), "op", asked)
    assert isinstance(told, Pending)
    assert told.stage.startswith("queue")
    assert isinstance(runway.polled(answer(200, {"status": "CANCELLED"}), "op", asked), Failed)


def test_runway_says_what_it_cost(tmp_path: Path, serve: Any, run: LocalRun) -> None:
    serve(standins.RunwayStandIn, "runway", "/v1")
    Runway(known(tmp_path, runwayml_api_secret=KEY)).generate(shot("runway/gen4.5"), run).close()
    cost = next(iter(run.memory["cost"].values()))
    assert cost["usd"] == pytest.approx(0.30)
    assert cost["estimated_usd"] == pytest.approx(0.12)
    assert "Runway Gen-4.5: 0.30 USD." in run.notes


def test_kling_signs_as_the_standard_says() -> None:
    """HS256 over the header and the claims, as in RFC 7515; nothing of the secret is in it."""
    head, claims, mark = token("who", "secret", 1_700_000_000).split(".")
    assert json.loads(base64.urlsafe_b64decode(head + "==")) == {"alg": "HS256", "typ": "JWT"}
    assert json.loads(base64.urlsafe_b64decode(claims + "==")) == {"iss": "who", "exp": 1_700_001_800, "nbf": 1_699_999_995}
    signed = hmac.digest(b"secret", f"{head}.{claims}".encode(), "sha256")
    assert base64.urlsafe_b64decode(mark + "=") == signed


def test_what_kling_is_sent_stays_out_of_logs(tmp_path: Path) -> None:
    provider = Kling(known(tmp_path, kling_access_key="an-access-key", kling_secret_key="a-secret-key"))
    signed = provider.headers("an-access-key")["Authorization"].removeprefix("Bearer ")
    assert logs.clean(f"sent {signed} by a-secret-key") == "sent *** by ***"
    assert provider.headers("an-access-key")["Authorization"].endswith(signed)


def test_luma_takes_no_files_and_names_who_does(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="fal/luma-ray-2"):
        Luma(known(tmp_path)).given(tmp_path / "x.png", Wire("Luma", "http://x", dict, Breaker("Luma")))


def test_replicate_uploads_what_is_large(tmp_path: Path, serve: Any) -> None:
    server = serve(standins.ReplicateStandIn, "replicate", "/v1")
    (tmp_path / "large.bin").write_bytes(b"x" * 300_000)
    provider = Replicate(known(tmp_path, replicate_api_token=KEY))
    given = provider.given(tmp_path / "large.bin", provider._wire(find("replicate/wan-2.2-fast")))
    assert given == f"{server.address}/v1/files/file-1"
    assert b'filename="large.bin"' in server.calls[0].body


def test_runway_uploads_without_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form goes to another server; the key does not."""

    class Store(StandIn):
        def authorised(self, call: Received) -> bool:
            return "authorization" not in call.headers

        def answer(self, call: Received) -> Any:
            return Said(204, b"")

    class Uploads(standins.RunwayStandIn):
        def answer(self, call: Received) -> Any:
            if call.path == "/v1/uploads":
                return {"uploadUrl": self.elsewhere, "fields": {"policy": "p"}, "runwayUri": "runway://x"}
            return super().answer(call)

    store, server = Store(KEY), Uploads(KEY)
    server.elsewhere = f"{store.address}/bucket"
    monkeypatch.setenv("REELWRIGHT_BASE_RUNWAY", f"{server.address}/v1")
    (tmp_path / "large.mp4").write_bytes(b"x" * (4 * 1024**2))
    provider = Runway(known(tmp_path, runwayml_api_secret=KEY))
    try:
        assert provider.given(tmp_path / "large.mp4", provider._wire(find("runway/aleph"))) == "runway://x"
    finally:
        store.close()
        server.close()
    assert store.calls[0].path == "/bucket"
    assert b'name="policy"' in store.calls[0].body
    assert len(store.calls[0].body) > 4 * 1024**2


def test_google_files_elsewhere_are_fetched_without_the_key(tmp_path: Path) -> None:
    part = {"type": "video", "uri": "https://example.com/film.mp4"}
    asked = shot("google/gemini-omni")
    told = Google(known(tmp_path)).polled(answer(200, {"status": "completed", "outputs": [part]}), "op", asked)
    assert isinstance(told, Finished)
    assert (told.url, told.call) == ("https://example.com/film.mp4", None)


def test_fal_a_result_that_is_an_error_is_a_refusal_with_its_words(tmp_path: Path, serve: Any, run: LocalRun) -> None:
    class Late(standins.FalStandIn):
        def answer(self, call: Received) -> Any:
            if call.method == "GET" and call.path.endswith("op-1"):
                return Said(422, {"detail": [{"msg": "The content could not be processed: content_policy_violation"}]})
            return super().answer(call)

    serve(Late, "fal")
    with pytest.raises(Refused, match="content_policy_violation"):
        Fal(known(tmp_path, fal_key=KEY)).generate(shot("fal/kling-2.5-turbo"), run)


def test_openai_sends_a_form_with_the_picture_as_a_file(
    tmp_path: Path, serve: Any, run: LocalRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.setenv("OPENAI_COMPATIBLE_KEY", KEY)
    server = serve(standins.OpenAIStandIn, "openai_compatible", "/v1")
    path = tmp_path / "first.png"
    Image.new("RGB", (SIZE, SIZE)).save(path)
    asked = dataclasses.replace(shot("openai-video"), inputs=(ShotInput(Role.FIRST_FRAME, str(path), "digest"),))
    OpenAI(known(tmp_path)).generate(asked, run).close()
    order = server.orders[0]
    assert order.headers["content-type"].startswith("multipart/form-data")
    assert order.headers["idempotency-key"]
    assert b'name="input_reference"; filename="input.png"' in order.body
    assert b'name="seconds"\r\n\r\n1\r\n' in order.body


# ---- keys and addresses


def test_a_card_with_an_address_of_its_own_does_not_get_the_providers_key(tmp_path: Path) -> None:
    provider = OpenAI(known(tmp_path, openai_api_key=KEY))
    card = small("openai-video")
    own = dataclasses.replace(card, settings={**card.settings, "base": "http://127.0.0.1:9/v1"})
    assert provider._wire(own).credentials() == {}
    named = dataclasses.replace(own, settings={**own.settings, "key": "openai_api_key"})
    assert provider._wire(named).credentials() == {"Authorization": f"Bearer {KEY}"}


def test_the_key_of_openai_goes_to_no_other_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELWRIGHT_BASE_OPENAI_COMPATIBLE", "http://127.0.0.1:9/v1")
    provider = OpenAI(known(tmp_path, openai_api_key=KEY))
    assert provider._wire(find("openai-video")).credentials() == {}
    assert provider._wire(find("gpt-image")).base == OpenAI.base
    monkeypatch.setenv("OPENAI_COMPATIBLE_KEY", "the-key-of-the-other")
    assert provider._wire(find("openai-video")).credentials() == {"Authorization": "Bearer the-key-of-the-other"}
    assert logs.clean("it is the-key-of-the-other") == "it is ***"


def test_videos_of_openai_itself_are_told_to_be_gone(tmp_path: Path) -> None:
    provider = OpenAI(known(tmp_path, openai_api_key=KEY))
    with pytest.raises(Unsupported, match="no other server is named"):
        provider.check(find("openai-video"))
    with pytest.raises(Unsupported, match="no longer served"):
        provider.check(find("sora-2"))


def test_an_address_of_another_server_is_not_asked() -> None:
    wired = Wire("fal", "http://127.0.0.1:9", lambda: {"Authorization": KEY}, Breaker("fal"))
    for path in ("http://127.0.0.2:9/x", "https://127.0.0.1:9/x", "http://127.0.0.1:10/x", "http://fal@127.0.0.1:9/x"):
        with pytest.raises(RequestError, match="not its own address"):
            wired.send(Call("GET", path))


@pytest.mark.parametrize("name", ["", "../../account", "a b", "x?y=1", "http://x/y", "x" * 400, "a#b", "ä"])
def test_an_id_that_would_bend_the_address_is_refused(name: str) -> None:
    with pytest.raises(BackendError, match="under which name"):
        orders.plain(name, "fal")


@pytest.mark.parametrize("key", ["geheim-ü", "two\nlines"])
def test_a_key_that_is_none_is_told_without_it(tmp_path: Path, key: str) -> None:
    with pytest.raises(MissingKey) as caught:
        Fal(known(tmp_path, fal_key=key)).check(find("fal/kling-2.5-turbo"))
    assert key not in str(caught.value)


# ---- the loop


def test_a_broken_connection_at_the_order_is_not_ordered_again(tmp_path: Path, serve: Any) -> None:
    """The answer is lost on its way: nobody knows whether it was taken, so nothing is sent again."""

    class Breaks(standins.FalStandIn):
        def answer(self, call: Received) -> Any:
            made = super().answer(call)
            if call.method == "POST":
                raise ConnectionError
            return made

    server, run = serve(Breaks, "fal"), LocalRun()
    provider = Fal(known(tmp_path, fal_key=KEY))
    with pytest.raises(ProviderFailed, match="broke off"):
        provider.generate(shot("fal/kling-2.5-turbo"), run)
    with pytest.raises(BackendError, match="may have taken"):
        provider.generate(shot("fal/kling-2.5-turbo"), run)
    assert len(server.orders) == 1


def test_an_answer_without_an_id_is_not_ordered_again(tmp_path: Path, serve: Any) -> None:
    class Silent(standins.FalStandIn):
        def answer(self, call: Received) -> Any:
            super().answer(call)
            return ["what?"]

    server, run = serve(Silent, "fal"), LocalRun()
    provider = Fal(known(tmp_path, fal_key=KEY))
    with pytest.raises(BackendError, match="under which name"):
        provider.generate(shot("fal/kling-2.5-turbo"), run)
    with pytest.raises(BackendError, match="may have taken"):
        provider.generate(shot("fal/kling-2.5-turbo"), run)
    assert len(server.orders) == 1


def test_no_connection_orders_nothing_and_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELWRIGHT_BASE_RUNWAY", "http://127.0.0.1:9")
    run, provider = LocalRun(), Runway(known(tmp_path, runwayml_api_secret=KEY, budget_usd_day=0.2))
    for _ in range(3):  # 0.12 USD each: were one of them held against the budget, the next would be refused
        with pytest.raises((NotSent, Unavailable)):
            provider.generate(shot("runway/gen4.5"), run)
        assert not run.memory.get("hosted")


def test_a_budget_is_held_before_anything_is_sent(tmp_path: Path, serve: Any) -> None:
    server = serve(standins.RunwayStandIn, "runway", "/v1")
    provider, run = Runway(known(tmp_path, runwayml_api_secret=KEY, budget_usd_day=0.05)), LocalRun()
    with pytest.raises(QuotaExceeded, match="USD"):
        provider.generate(shot("runway/gen4.5"), run)
    assert server.calls == []
    assert not run.memory.get("hosted")
    fal = Fal(known(tmp_path, fal_key=KEY, budget_usd_day=5))
    with pytest.raises(QuotaExceeded, match="not known"):
        fal.generate(shot("fal/kling-2.5-turbo"), run)


def test_a_large_result_does_not_fill_the_disk(
    tmp_path: Path, serve: Any, run: LocalRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too large is left before it is on the disk."""

    class Endless(standins.OpenAIStandIn):
        def answer(self, call: Received) -> Any:
            if call.path.endswith("/content"):
                return Said(200, b"x" * 3_000_000)
            return super().answer(call)

    monkeypatch.setenv("OPENAI_COMPATIBLE_KEY", KEY)
    serve(Endless, "openai_compatible", "/v1")
    with pytest.raises(TooLarge):
        OpenAI(known(tmp_path, openai_api_key=KEY, max_video_file_size=1_000_000)).generate(shot("openai-video"), run)
    assert sum(path.stat().st_size for path in run.scratch.iterdir()) == 0


def test_a_new_order_that_is_not_everywhere_yet_is_waited_for(tmp_path: Path, serve: Any, run: LocalRun) -> None:
    class Slow(standins.FalStandIn):
        unknown = 2

        def answer(self, call: Received) -> Any:
            if call.method == "GET" and call.path.endswith("/status") and self.unknown:
                self.unknown -= 1
                return Said(404, {"detail": "not found"})
            return super().answer(call)

    serve(Slow, "fal")
    Fal(known(tmp_path, fal_key=KEY)).generate(shot("fal/kling-2.5-turbo"), run).close()


# ---- errors


@pytest.mark.parametrize(
    ("status", "content", "headers", "kind", "retryable"),
    [
        (401, {"error": "no"}, {}, MissingKey, False),
        (403, {"error": "no"}, {}, MissingKey, False),
        (403, {"error": "blocked by moderation"}, {}, Refused, False),
        (402, {"title": "Insufficient credit"}, {}, RateLimited, False),
        (429, {"message": "Account balance not enough"}, {}, RateLimited, True),
        (429, {"message": "over your per-minute quota"}, {"retry-after": "3"}, RateLimited, True),
        (400, {"error": {"message": "blocked: moderation"}}, {}, Refused, False),
        (400, {"detail": [{"msg": "seconds must be 4"}]}, {}, BackendError, False),
        (503, {}, {}, ProviderFailed, True),
    ],
)
def test_answers_become_our_errors(status: int, content: Any, headers: dict[str, str], kind: type, retryable: bool) -> None:
    error = refusal("X", answer(status, content, **headers))
    assert type(error) is kind
    assert error.retryable is retryable


def test_retry_after_is_seconds_or_a_date() -> None:
    from email.utils import formatdate

    assert waiting(answer(429, **{"retry-after": "7"})) == 7
    assert waiting(answer(429, **{"retry-after": formatdate(time.time() + 30, usegmt=True)})) == pytest.approx(30, abs=2)
    assert waiting(answer(429)) is None
    assert waiting(answer(429, **{"retry-after": "soon"})) is None


def test_a_breaker_leaves_a_provider_alone_and_tries_again_later() -> None:
    now = [0.0]
    breaker = Breaker("fal", lambda: now[0])
    for _ in range(4):
        breaker.told(False)
    breaker.hold()
    breaker.told(True)
    for _ in range(5):
        breaker.told(False)
    with pytest.raises(Unavailable, match="left alone for 60 s") as caught:
        breaker.hold()
    assert caught.value.retryable
    now[0] = 61
    breaker.hold()


def test_a_provider_that_is_left_alone_is_not_asked_and_nothing_is_remembered(tmp_path: Path, serve: Any) -> None:
    server, run = serve(standins.FalStandIn, "fal"), LocalRun()
    provider = Fal(known(tmp_path, fal_key=KEY))
    breaker = provider._wire(find("fal/kling-2.5-turbo")).breaker
    for _ in range(5):
        breaker.told(False)
    with pytest.raises(Unavailable, match="left alone"):
        provider.generate(shot("fal/kling-2.5-turbo"), run)
    assert server.calls == []
    assert not run.memory.get("hosted")


def test_an_input_is_told_by_its_bytes_and_held_to_a_size(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "0f3a")
    assert loop.data_uri(tmp_path / "0f3a").startswith("data:image/png;base64,iVBOR")
    with pytest.raises(TooLarge, match="0f3a"):
        loop.data_uri(tmp_path / "0f3a", most=10)


# ---- inputs


def listed(name: str, paths: list[Path], **arguments: Any) -> Shot:
    asked = shot(name)
    card = dataclasses.replace(asked.card, settings={**asked.card.settings, "arguments": {"prompt": "{prompt}", **arguments}})
    given = tuple(ShotInput(Role.REFERENCE, str(path), "digest") for path in paths)
    return dataclasses.replace(asked, card=card, inputs=given)


def test_a_prompt_is_never_a_file(tmp_path: Path, serve: Any, run: LocalRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_COMPATIBLE_KEY", KEY)
    server, words = serve(standins.OpenAIStandIn, "openai_compatible", "/v1"), "data:image/png;base64,iVBOR"
    OpenAI(known(tmp_path)).generate(dataclasses.replace(shot("openai-video"), prompt=words), run).close()
    assert b'name="prompt"\r\n\r\ndata:image/png;base64,iVBOR' in server.orders[0].body
    call = Google(known(tmp_path)).start(shot("google/gemini-omni"), {"input": [words, Given(words)]}, "x")
    assert [part["type"] for part in (call.json or {})["input"]] == ["text", "image"]


def test_inputs_of_one_role_fill_a_list_or_are_refused(tmp_path: Path, serve: Any, run: LocalRun) -> None:
    from PIL import Image

    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        Image.new("RGB", (SIZE, SIZE), (number * 90, 0, 0)).save(path)
    server, provider = serve(standins.FalStandIn, "fal"), Fal(known(tmp_path, fal_key=KEY))
    with pytest.raises(Unsupported, match="takes one reference, not 3"):
        provider.generate(listed("fal/kling-2.5-turbo", paths, image="{reference}"), run)
    assert server.calls == []
    tables = [{"type": "picture", "url": "{reference}"}]
    provider.generate(listed("fal/kling-2.5-turbo", paths, images=["{reference}"], tables=tables), run).close()
    sent = server.orders[0].json
    assert sent["images"] == [loop.data_uri(path) for path in paths]
    assert [each["url"] for each in sent["tables"]] == sent["images"]


def test_an_input_that_is_too_large_is_not_read(
    tmp_path: Path, serve: Any, run: LocalRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(101_000_000)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it was read"))
    server = serve(standins.ReplicateStandIn, "replicate", "/v1")
    with pytest.raises(TooLarge, match="101 MB"):
        Replicate(known(tmp_path, replicate_api_token=KEY)).generate(
            listed("replicate/wan-2.2-fast", [tmp_path / "large"], image="{reference}"), run
        )
    assert server.calls == []


# ---- transfers


class Drips(StandIn):
    """A file that comes in drops, and has no end."""

    def answer(self, call: Received) -> Any:
        return Said(200, b"x" * 20_000_000)


@pytest.mark.parametrize("by", ["wire", "fetcher"])
def test_a_transfer_has_an_end_and_hears_a_cancel(by: str, tmp_path: Path) -> None:
    server, asked = Drips(""), []
    wired = Wire("X", server.address, dict, Breaker("X"))

    def get(seconds: float, still_wanted: Callable[[], object]) -> None:
        if by == "wire":
            wired.save(Call("GET", "file"), tmp_path / "x", 10**9, seconds=seconds, still_wanted=still_wanted)
        else:
            Fetcher(("127.0.0.1",)).fetch(
                f"{server.address}/file", tmp_path / "x", most=10**9, seconds=seconds, still_wanted=still_wanted
            )

    def cancelled() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Cancelled

    try:
        with pytest.raises(Cancelled):
            get(60, cancelled)
        with pytest.raises(TimedOut):
            get(0.05, lambda: time.sleep(0.1))
    finally:
        server.close()
