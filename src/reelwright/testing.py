"""Contract tests for people who write backends: subclass, name a card, and be told what is wrong.

    from reelwright.testing import BackendContract

    class TestMine(BackendContract):
        card_id = "mine"

pytest is needed to run them, nothing else.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from reelwright import plugins
from reelwright.catalog import Card, Shot, find, resolve
from reelwright.catalog.shot import digest
from reelwright.errors import Cancelled, ReelwrightError
from reelwright.request import GenerationRequest, Input
from reelwright.run import LocalRun, Progress
from reelwright.types import SAMPLE_RATE, Role, Video


class BackendContract:
    """What every backend must keep, whatever it makes. Small and short shots are asked for, so that it runs anywhere."""

    card_id: ClassVar[str] = ""
    """The card to test; its backend is loaded by its entry point."""
    prompt: ClassVar[str] = "A small boat crosses a calm lake at sunrise, wide shot"
    seconds: ClassVar[float] = 0.5
    width: ClassVar[int] = 128
    height: ClassVar[int] = 72
    prompt_matters: ClassVar[bool] = True
    """False for models that do not read the prompt."""

    def card(self) -> Card:
        """The card under test."""
        return find(self.card_id)

    def backend(self) -> Any:
        """A new backend; override to hand in settings."""
        return plugins.backend_class(self.card().backend)()

    def shot(self, inputs: tuple[Input, ...] = (), **changes: Any) -> Shot:
        """A small shot of the card; `changes` are fields of GenerationRequest."""
        fields = {
            "prompt": self.prompt,
            "width": self.width,
            "height": self.height,
            "seconds": self.seconds,
            "seed": 7,
            **changes,
        }
        return resolve(GenerationRequest(inputs=inputs, **fields), self.card(), lambda ref: digest(Path(ref)))[0]

    def inputs(self, folder: Path) -> tuple[Input, ...]:
        """Inputs for the first set of roles that the card accepts, made on the spot; override for other roles."""
        from PIL import Image

        roles = sorted(min(self.card().accepts, key=lambda roles: len(frozenset(roles))))
        made = []
        for role in roles:
            assert role in (Role.FIRST_FRAME, Role.LAST_FRAME, Role.REFERENCE, Role.PORTRAIT), f"override inputs() for {role}"
            y, x = np.mgrid[0 : self.height, 0 : self.width].astype(np.uint8)
            path = folder / f"{role}.png"
            Image.fromarray(np.stack([x * 2, y * 3, 255 - x], axis=-1).astype(np.uint8)).save(path)
            made.append(Input(role, str(path)))
        return tuple(made)

    # ---- the contract

    def test_the_card_is_one_that_the_backend_can_serve(self) -> None:
        backend = self.backend()
        try:
            backend.check(self.card())
        finally:
            backend.close()

    def test_frames_are_what_the_shot_says(self, tmp_path: Path) -> None:
        shot = self.shot(self.inputs(tmp_path))
        with self.made(shot) as video:
            spec = video.spec
            assert (spec.width, spec.height) == (shot.width, shot.height), "the video's size is not the shot's"
            assert spec.fps == shot.fps, "the video's rate is not the shot's"
            assert spec.frames == shot.frames, "the video's length is not the shot's"
            frames = list(video.frames)
        assert len(frames) == shot.frames, f"{len(frames)} frames came, {shot.frames} were promised"
        for frame in frames:
            assert (frame.width, frame.height) == (shot.width, shot.height), "a frame has another size than the video"
            assert frame.y.min() >= 1, "luma below what limited range allows"
            assert frame.y.max() <= 254, "luma above what limited range allows"

    def test_sound_is_there_exactly_if_the_card_says_so(self, tmp_path: Path) -> None:
        shot = self.shot(self.inputs(tmp_path))
        with self.made(shot) as video:
            assert video.spec.audio == self.card().audio
            if video.samples is not None:
                count = sum(len(chunk) for chunk in video.samples)
                assert abs(count - video.spec.samples) <= SAMPLE_RATE // 20, "sound and pictures differ in length"

    def test_frames_are_not_all_the_same_nor_black(self, tmp_path: Path) -> None:
        with self.made(self.shot(self.inputs(tmp_path))) as video:
            frames = list(video.frames)
        assert max(float(frame.y.std()) for frame in frames) > 1, "every frame is of one brightness"

    def test_a_frame_belongs_to_its_reader(self, tmp_path: Path) -> None:
        shot = self.shot(self.inputs(tmp_path))
        with self.made(shot) as untouched, self.made(shot) as drawn_on:
            for kept, spoiled in zip(untouched.frames, drawn_on.frames, strict=True):
                if self.card().deterministic:
                    assert np.array_equal(kept.buffer, spoiled.buffer), "drawing on a frame changed a later one"
                spoiled.buffer[:] = 16

    def test_the_same_shot_gives_the_same_pixels(self, tmp_path: Path) -> None:
        if self.card().deterministic:
            shot = self.shot(self.inputs(tmp_path))
            assert self.hashed(shot) == self.hashed(shot)

    def test_the_seed_matters(self, tmp_path: Path) -> None:
        if not self.inputs(tmp_path):
            assert self.hashed(self.shot(seed=1)) != self.hashed(self.shot(seed=2)), "two seeds gave the same pixels"

    def test_the_prompt_matters(self, tmp_path: Path) -> None:
        if self.prompt_matters and not self.inputs(tmp_path):
            other = self.shot(prompt="A crowded night market in the rain, neon signs, handheld camera")
            assert self.hashed(self.shot()) != self.hashed(other), "two prompts gave the same pixels"

    def test_progress_rises_and_ends_complete(self, tmp_path: Path) -> None:
        seen: list[Progress] = []
        with self.made(self.shot(self.inputs(tmp_path)), LocalRun(on_progress=seen.append)) as video:
            for _ in video.frames:
                pass
        assert seen, "run.step() was never called: progress cannot be shown and the work cannot be cancelled"
        for stage in dict.fromkeys(each.stage for each in seen):
            steps = [each.done for each in seen if each.stage == stage]
            assert steps == sorted(steps), f"progress of {stage!r} goes back"
        assert seen[-1].done == seen[-1].total, "progress does not end complete"

    def test_cancel_stops_at_the_next_step_and_the_next_run_is_unharmed(self, tmp_path: Path) -> None:
        shot = self.shot(self.inputs(tmp_path))
        stop = threading.Event()
        backend = self.backend()
        try:
            after = 0

            def count(_progress: Progress) -> None:
                nonlocal after
                after += stop.is_set()
                stop.set()

            try:
                with backend.generate(shot, LocalRun(on_progress=count, cancel=stop)) as video:
                    for _ in video.frames:
                        pass
            except Cancelled:
                pass
            else:
                raise AssertionError("cancel was set and the work went on to its end")
            assert after == 0, "progress was reported after the cancel"
            again = self.read(backend, shot)
            assert len(again) == shot.frames, "after a cancel the next run is short"
            if self.card().deterministic:
                assert again == self.hashed(shot), "after a cancel the next run gives other pixels"
        finally:
            backend.close()

    def test_closing_early_is_clean(self, tmp_path: Path) -> None:
        video = self.made(self.shot(self.inputs(tmp_path)))
        list(islice(video.frames, 2))
        video.close()
        video.close()
        assert next(iter(video.frames), None) is None, "a closed video still gives frames"

    def test_one_backend_makes_two_shots_at_once(self, tmp_path: Path) -> None:
        if not self.card().instant:
            return
        shots = [self.shot(self.inputs(tmp_path), seed=seed) for seed in (1, 2)]
        alone = [self.hashed(shot) for shot in shots]
        backend, together = self.backend(), [[], []]  # type: tuple[Any, list[list[str]]]
        with backend.generate(shots[0], LocalRun()) as a, backend.generate(shots[1], LocalRun()) as b:
            for first, second in zip(a.frames, b.frames, strict=True):
                together[0].append(_hash(first.buffer))
                together[1].append(_hash(second.buffer))
        backend.close()
        assert together == alone, "two shots at once disturb each other"

    def test_skipping_equals_reading(self, tmp_path: Path) -> None:
        shot = self.shot(self.inputs(tmp_path))
        with self.made(shot) as video:
            if not self.card().instant or shot.frames < 4:
                return
            video.frames.skip(shot.frames // 2)  # type: ignore[attr-defined]  # what `instant` promises
            rest = [_hash(frame.buffer) for frame in video.frames]
        assert rest == self.hashed(shot)[shot.frames // 2 :], "skipped frames are not those that reading gives"

    def test_wrong_values_are_refused_before_any_work(self) -> None:
        for changes in ({"width": 8}, {"seconds": -1}, {"fps": 1000}, {"options": {"no-such-option": 1}}):
            self._refused(lambda changes=changes: self.shot(**changes))  # type: ignore[misc]  # bound at once

    def _refused(self, attempt: Callable[[], Any]) -> None:
        try:
            attempt()
        except ReelwrightError as error:
            refusal = error
        else:
            raise AssertionError("a wrong value was taken")
        assert refusal.message, "an error without a message"

    # ---- how it asks

    def made(self, shot: Shot, run: LocalRun | None = None) -> Video:
        """The shot's video, from a new backend that closes with it."""
        run = run or LocalRun()
        self.__dict__.setdefault("runs", []).append(run)  # its scratch folder has to outlive the frames that are read from it
        video: Video = self.backend().generate(shot, run)
        return video

    def read(self, backend: Any, shot: Shot) -> list[str]:
        """A hash of each frame."""
        with backend.generate(shot, LocalRun()) as video:
            return [_hash(frame.buffer) for frame in video.frames]

    def hashed(self, shot: Shot) -> list[str]:
        """A hash of each frame of the shot, from a new backend."""
        backend = self.backend()
        try:
            return self.read(backend, shot)
        finally:
            backend.close()


def _hash(buffer: Any) -> str:
    return hashlib.sha256(buffer.tobytes()).hexdigest()
