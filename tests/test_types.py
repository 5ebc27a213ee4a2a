"""Frames, specs, videos, and the bounds that are held where a value is made (rule 10 of the design)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

import annotated_types as at
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from reelwright.errors import RequestError
from reelwright.request import GenerationRequest, Input, Lora
from reelwright.storyboard import Scene, SoundTrack, Title, TransitionSpec
from reelwright.types import CHANNELS, SAMPLE_RATE, Frame, Role, Skips, Video, VideoSpec, hold


@settings(max_examples=50, deadline=None)
@given(st.integers(8, 40), st.integers(8, 40))
def test_a_frames_planes_are_views_into_one_buffer(half_width: int, half_height: int) -> None:
    """S5: writing to a plane writes to what the encoder takes."""
    frame = Frame.filled(half_width * 2, half_height * 2, y=50, u=60, v=70)
    frame.y[0, 0], frame.u[0, 0], frame.v[-1, -1] = 1, 2, 3
    assert frame.buffer[0, 0] == 1
    assert frame.buffer[frame.height].flat[0] == 2
    assert frame.buffer[-1, -1] == 3
    assert frame.y.shape == (half_height * 2, half_width * 2)
    assert frame.u.shape == frame.v.shape == (half_height, half_width)


@pytest.mark.parametrize("shape", [(24, 15), (25, 16), (12, 16, 3)])
def test_a_buffer_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"buffer|unpack"):
        Frame(np.zeros(shape, np.uint8))


def test_a_buffer_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="contiguous uint8"):
        Frame(np.zeros((24, 16), np.float32))  # type: ignore[arg-type]  # that is the test
    with pytest.raises(ValueError, match="contiguous uint8"):
        Frame(np.zeros((24, 32), np.uint8)[:, ::2])


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 30, 60), (20, 180, 90), (128, 128, 128)])
def test_colours_survive_the_way_to_planes_and_back(colour: tuple[int, int, int]) -> None:
    rgb = np.full((32, 48, 3), colour, np.uint8)
    assert np.abs(Frame.of(rgb).rgb.astype(int) - rgb).max() <= 3


def test_black_and_white_are_limited_range() -> None:
    assert Frame.of(np.zeros((16, 16, 3), np.uint8)).y.max() == 16
    assert Frame.of(np.full((16, 16, 3), 255, np.uint8)).y.min() == 235


def test_an_odd_last_row_and_column_are_repeated() -> None:
    rgb = np.zeros((17, 19, 3), np.uint8)
    rgb[-1] = rgb[:, -1] = 255
    frame = Frame.of(rgb)
    assert (frame.width, frame.height) == (20, 18)
    assert (frame.y[-1] == 235).all()
    assert (frame.y[:, -1] == 235).all()


def test_a_copy_has_memory_of_its_own() -> None:
    frame = Frame.filled(16, 16, y=80)
    other = frame.copy()
    frame.y[:] = 200
    assert (other.y == 80).all()
    assert repr(other) == "Frame(16x16)"


@pytest.mark.parametrize(
    ("width", "height", "fps", "frames", "named"),
    [(15, 16, 24, 1, "width"), (16, 17, 24, 1, "height"), (16386, 16, 24, 1, "width"), (16, 14, 24, 1, "height"),
     (16, 16, 0.5, 1, "fps"), (16, 16, 241, 1, "fps"), (16, 16, 24, 0, "frame")],
)  # fmt: skip
def test_a_spec_holds_its_bounds(width: int, height: int, fps: float, frames: int, named: str) -> None:
    """S5: sizes are even, rates and counts within their bounds."""
    with pytest.raises(RequestError, match=named):
        VideoSpec(width, height, Fraction(fps), frames)


def test_a_spec_is_exact_in_time() -> None:
    spec = VideoSpec(64, 64, Fraction(30000, 1001), 30000)
    assert spec.seconds == 1001
    assert spec.samples == 1001 * SAMPLE_RATE
    assert spec.but(frames=1).frames == 1
    assert isinstance(VideoSpec(64, 64, 24, 1).fps, Fraction)  # type: ignore[arg-type]  # an integer is fine too


def test_a_video_closes_once_and_everything_upstream() -> None:
    closed: list[str] = []

    class Frames:
        def __init__(self, name: str) -> None:
            self.name = name

        def __iter__(self) -> Frames:
            return self

        def __next__(self) -> Frame:
            raise StopIteration

        def close(self) -> None:
            closed.append(self.name)

    spec = VideoSpec(16, 16, Fraction(1), 1)
    below = Video(spec, Frames("below"))
    with Video(spec, Frames("above"), upstream=(below,)) as above:
        assert iter(above) is above.frames
    above.close()
    below.close()
    assert closed == ["above", "below"]


def test_sound_and_its_promise_agree() -> None:
    with pytest.raises(ValueError, match="disagree"):
        Video(VideoSpec(16, 16, Fraction(1), 1, audio=True), iter(()))
    with pytest.raises(ValueError, match="disagree"):
        Video(VideoSpec(16, 16, Fraction(1), 1), iter(()), iter([np.zeros((1, CHANNELS), np.float32)]))


def test_frames_that_can_skip_are_known_by_it() -> None:
    class Seeks:
        def skip(self, count: int) -> None:
            """Pass over."""

    assert isinstance(Seeks(), Skips)
    assert not isinstance(iter(()), Skips)


@dataclass(frozen=True)
class Bounded:
    least: Annotated[int, at.Ge(3)] = 3
    over: Annotated[float, at.Gt(0)] = 1.0
    most: Annotated[int, at.Le(9)] = 9
    under: Annotated[float, at.Lt(5)] = 1.0
    between: Annotated[float, at.Interval(ge=-1, lt=1)] = 0.0
    text: Annotated[str, at.Len(2, 4)] = "abc"
    maybe: Annotated[int, at.Ge(0)] | None = None

    def __post_init__(self) -> None:
        hold(self)


@settings(max_examples=50, deadline=None)
@given(st.fixed_dictionaries({}, optional={
    "least": st.integers(0, 6), "over": st.floats(-1, 1), "most": st.integers(7, 12), "under": st.floats(4, 6),
    "between": st.floats(-2, 2), "text": st.text(max_size=6), "maybe": st.none() | st.integers(-2, 2),
}))  # fmt: skip
def test_hold_refuses_what_pydantic_refuses_and_nothing_else(values: dict[str, Any]) -> None:
    """The edges and the inside have one rule: the same classes are held by both."""

    @dataclass(frozen=True)
    class Loose:
        least: Annotated[int, at.Ge(3)] = 3
        over: Annotated[float, at.Gt(0)] = 1.0
        most: Annotated[int, at.Le(9)] = 9
        under: Annotated[float, at.Lt(5)] = 1.0
        between: Annotated[float, at.Interval(ge=-1, lt=1)] = 0.0
        text: Annotated[str, at.Len(2, 4)] = "abc"
        maybe: Annotated[int, at.Ge(0)] | None = None

    try:
        TypeAdapter(Loose).validate_python(values)
        sound = True
    except ValidationError:
        sound = False
    try:
        Bounded(**values)
        held = True
    except RequestError as error:
        held = error.details["field"] not in values
    assert held == sound


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: GenerationRequest("a", width=15), "width"),
        (lambda: GenerationRequest("a", height=8193), "height"),
        (lambda: GenerationRequest("a", seconds=0), "seconds"),
        (lambda: GenerationRequest("a", seconds=float("nan")), "seconds"),
        (lambda: GenerationRequest("a", fps=241), "fps"),
        (lambda: GenerationRequest("a", seed=-1), "seed"),
        (lambda: GenerationRequest("a", seed=2**53), "seed"),
        (lambda: GenerationRequest("a" * 20_001), "prompt"),
        (lambda: GenerationRequest("a", model=""), "model"),
        (lambda: Input(Role.MASK, ""), "ref"),
        (lambda: Input(Role.MASK, "a", strength=1.1), "strength"),
        (lambda: Input(Role.MASK, "a", at=-1), "at"),
        (lambda: Input(Role.MASK, "a", at=float("inf")), "at"),
        (lambda: Lora("a", 5), "weight"),
        (lambda: Scene("a", seconds=-1), "seconds"),
        (lambda: Scene("a", start=float("inf")), "start"),
        (lambda: Title("", 1), "text"),
        (lambda: Title("a", 0), "seconds"),
        (lambda: SoundTrack(bed="calm", gain=25), "gain"),
        (lambda: SoundTrack(bed="calm", loudness=0), "loudness"),
        (lambda: TransitionSpec("fade", 31), "seconds"),
    ],
)
def test_every_bound_of_our_words_is_held_in_python_too(make: Any, field: str) -> None:
    """S5: a value made in Python is as sound as one from JSON."""
    with pytest.raises(RequestError) as caught:
        make()
    assert caught.value.details["field"] == field
    assert field in caught.value.message


def test_a_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(RequestError) as caught:
        Title("x" * 5000)
    assert len(caught.value.message) < 200
