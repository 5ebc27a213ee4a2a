"""The client against a real server: the library's calls done elsewhere (J11, J12)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from making import frames_of, picture
from serving import served, working

import reelwright
from reelwright import Cancelled, Client, GenerationRequest, Scene, Storyboard
from reelwright.errors import BadStoryboard, Conflict, NotFound, Unauthorized, Unavailable, UnknownModel
from reelwright.run import Progress
from reelwright.settings import load
from reelwright.workshop import Workshop

BOARD = Storyboard((Scene("A boat at sea at sunrise", seconds=0.5), Scene("A night city", seconds=0.5)), size="160x90", fps=24)


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(load(data_folder=tmp_path / "data", cache_folder=tmp_path / "cache"))


@pytest.fixture
def client(shop: Workshop) -> Iterator[Client]:
    with working(shop), served(shop) as address, Client(address) as made:
        yield made


@pytest.fixture
def idle(shop: Workshop) -> Iterator[Client]:
    """A server without workers."""
    with served(shop) as address, Client(address) as made:
        yield made


def test_the_librarys_calls_give_the_same_pictures_here_and_there(client: Client, tmp_path: Path) -> None:
    asked = {"seconds": 0.5, "width": 160, "height": 90, "fps": 24, "seed": 7}
    there = client.generate("A boat at sea at sunrise", tmp_path / "there.mp4", **asked)
    here = reelwright.generate("A boat at sea at sunrise", tmp_path / "here.mp4", **asked)
    assert there.spec == here.spec
    for one, other in zip(frames_of(there.path), frames_of(here.path), strict=True):
        assert (one.y == other.y).all()
    assert there.manifest["request"] == here.manifest["request"]


def test_a_storyboard_is_rendered_there_with_progress(client: Client, tmp_path: Path) -> None:
    seen: list[Progress] = []
    made = client.render(BOARD, tmp_path / "film.mp4", on_progress=seen.append)
    assert len(frames_of(made.path)) == made.spec.frames == reelwright.render(BOARD, tmp_path / "here.mp4").spec.frames
    assert seen
    assert all(0 <= progress.fraction <= 1 for progress in seen)


def test_files_are_written_as_their_ending_says(client: Client, tmp_path: Path) -> None:
    made = client.render(BOARD, tmp_path / "film.webm")
    assert made.path.read_bytes()[:4] == b"\x1aE\xdf\xa3"
    assert len(frames_of(made.path)) == made.spec.frames


def test_a_cancel_here_stops_the_job_there(idle: Client, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        idle.render(BOARD, tmp_path / "film.mp4", cancel=stop)
    assert {job.state for job in idle.jobs()} == {"cancelled"}
    assert not (tmp_path / "film.mp4").exists()


def test_the_servers_errors_are_the_librarys(idle: Client, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="nobody/none"):
        idle.generate("The sea", tmp_path / "a.mp4", model="nobody/none")
    with pytest.raises(BadStoryboard):
        idle.submit(Storyboard((Scene("The sea", model="nobody/none"),)))
    with pytest.raises(Conflict):
        idle.fetch(idle.submit(BOARD).id, tmp_path / "a.mp4")


def test_a_key_is_sent_and_a_server_that_is_away_is_an_error(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    _, secret = shop.ledger.new_key("ann", ("write",))
    with served(shop, open_to_all=False) as address:
        with Client(address, secret) as client:
            assert client.jobs() == []
            assert secret not in repr(client)
        with Client(address) as client, pytest.raises(Unauthorized):
            client.jobs()
    monkeypatch.setattr("reelwright.wire._PAUSE_S", 0.01)
    with Client(address) as client, pytest.raises(Unavailable, match="does not answer"):
        client.jobs()


def test_a_server_may_be_restarted_while_a_client_waits(shop: Workshop, tmp_path: Path) -> None:
    with served(shop) as address:
        client = Client(address)
        job = client.submit(BOARD).id
    port = int(address.rpartition(":")[2])
    done: list[str] = []
    thread = threading.Thread(target=lambda: done.append(client.wait(job).state))
    thread.start()
    with working(shop), served(shop, port):
        thread.join(30)
    client.close()
    assert done == ["done"]


def test_pictures_are_uploaded(client: Client, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 160, 90)
    board = Storyboard((Scene("The sea", image="a.png", seconds=0.5),), size="160x90", fps=24)
    assert len(frames_of(client.render(board, tmp_path / "film.mp4", folder=tmp_path).path)) == 12
    clip = client.generate("The sea", tmp_path / "clip.mp4", image=tmp_path / "a.png", seconds=0.5, fps=24)
    assert len(frames_of(clip.path)) == 12


def test_the_guides_call_works_there_too(client: Client, tmp_path: Path) -> None:
    made = client.generate_video(
        ["A boat at sea", "A night city"], quality="draft", duration_per_frame=0.5, guidance_scale=7.5, output=tmp_path / "a.mp4"
    )
    assert (made["num_scenes"], made["resolution"], made["quality"]) == (2, "854x480", "draft")
    assert any("no guidance" in note for note in made["notes"])
    assert Path(made["file_path"]).stat().st_size == made["file_size"]


def test_jobs_are_listed_held_ordered_cancelled_and_deleted(idle: Client) -> None:
    jobs = [idle.start(GenerationRequest(f"A boat {number}", seconds=1)) for number in range(3)]
    assert [job.id for job in idle.jobs()] == [job.id for job in reversed(jobs)]
    assert idle.hold(jobs[0].id).held is True
    assert idle.hold(jobs[0].id, False).held is False
    assert idle.prioritise(jobs[2].id, 5).priority == 5
    assert idle.job(jobs[2].id).queue_position == 0
    assert idle.cancel(jobs[1].id).state == "cancelled"
    assert idle.retry(jobs[1].id).state == "queued"
    idle.cancel(jobs[1].id)
    assert [event["what"] for event in idle.events(jobs[1].id)][:2] == ["submitted", "queued"]
    idle.delete(jobs[1].id)
    with pytest.raises(NotFound):
        idle.job(jobs[1].id)
    with pytest.raises(Conflict):
        idle.delete(jobs[0].id)
