"""Type on frames: colours, places, scripts, and what stays untouched."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelwright.errors import MediaError, RequestError
from reelwright.media import fonts
from reelwright.media.fonts import Fonts
from reelwright.media.letters import Counter, LetterStyle, Overlay, fade_opacity, set_type
from reelwright.types import Frame

W, H = 640, 360
PLAIN = LetterStyle(outline=0, shadow=0, size=0.1)


def need(text: str) -> None:
    if note := fonts.missing_note(fonts.missing(text)):
        if os.environ.get("CI"):
            pytest.fail(note)
        pytest.skip(note)


def noise(seed: int = 1, width: int = W, height: int = H) -> Frame:
    return Frame(np.random.default_rng(seed).integers(16, 235, (height * 3 // 2, width), dtype=np.uint8))


def drawn(text: str, style: LetterStyle = PLAIN, available: Fonts | None = None) -> Frame:
    frame = Frame.filled(W, H)
    set_type(text, W, H, style, available).draw(frame)
    return frame


def ink(frame: Frame) -> NDArray[np.intp]:
    return np.argwhere(frame.y > 60)


def test_white_on_black_is_legal_and_neutral() -> None:
    frame = drawn("HHH", LetterStyle(size=0.4, outline=0, shadow=0, position="center", weight="bold"))
    assert frame.y.max() == 235
    assert frame.y.min() == 16
    assert np.abs(frame.u.astype(int) - 128).max() <= 1
    assert np.abs(frame.v.astype(int) - 128).max() <= 1


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (18, 52, 86), (255, 255, 255), (0, 0, 0)])
def test_colours_are_those_of_a_converted_picture(colour: tuple[int, int, int]) -> None:
    picture = np.full((32, 32, 4), (*colour, 255), np.uint8)
    frame = noise(width=64, height=64)
    Overlay.of(picture, 16, 16).draw(frame)
    wanted = Frame.of(np.full((64, 64, 3), colour, np.uint8))
    assert np.abs(frame.y[16:48, 16:48].astype(int) - wanted.y[16:48, 16:48]).max() <= 1
    for got, want in ((frame.u, wanted.u), (frame.v, wanted.v)):
        assert np.abs(got[8:24, 9:24].astype(int) - want[8:24, 9:24]).max() <= 1


def test_half_alpha_is_half_way_and_opacity_multiplies_it() -> None:
    frame = Frame.filled(32, 32, 50, 100, 200)
    Overlay.of(np.full((32, 32, 4), (255, 255, 255, 128), np.uint8)).draw(frame)
    assert abs(int(frame.y[10, 10]) - (235 * 128 + 50 * 127) / 255) <= 1
    assert abs(int(frame.u[5, 0]) - (128 * 128 + 100 * 127) / 255) <= 1  # the frame's edge is no edge of the picture
    half = Frame.filled(32, 32, 50, 100, 200)
    Overlay.of(np.full((32, 32, 4), (255, 255, 255, 128), np.uint8)).draw(half, 0.5)
    assert abs(int(half.y[10, 10]) - (50 + frame.y[10, 10]) / 2) <= 1


def test_chroma_is_left_sited() -> None:
    frame = Frame.filled(32, 32)
    picture = np.zeros((32, 32, 4), np.uint8)
    picture[:, 11] = (255, 0, 0, 255)  # an odd column lies between chroma samples 5 and 6, a quarter in each
    Overlay.of(picture).draw(frame)
    red = int(Frame.of(np.full((2, 2, 3), (255, 0, 0), np.uint8)).v[0, 0]) - 128
    strength = (frame.v[8].astype(float) - 128) / red
    assert strength[4:8] == pytest.approx([0, 0.25, 0.25, 0], abs=0.02)


@settings(deadline=None, max_examples=40)
@given(st.integers(-50, 100), st.integers(-50, 100), st.integers(1, 40), st.integers(1, 40), st.sampled_from([1.0, 0.3]))
def test_only_the_box_changes_wherever_it_lies(x: int, y: int, width: int, height: int, opacity: float) -> None:
    frame = noise(width=64, height=48)
    before = frame.copy()
    overlay = Overlay.of(np.full((height, width, 4), 255, np.uint8), x, y)
    overlay.draw(frame, opacity)
    assert overlay.x % 2 == overlay.y % 2 == overlay.width % 2 == overlay.height % 2 == 0
    changed = np.argwhere(frame.y != before.y)
    inside = np.zeros((48, 64), bool)
    inside[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = True
    assert all(inside[row, column] for row, column in changed)
    if opacity == 1:
        assert (frame.y[inside] == 235).all()
    far = np.ones((24, 32), bool)
    far[max(y // 2, 0) : max((y + height + 1) // 2, 0), max(x // 2, 0) : max((x + width + 2) // 2, 0)] = False
    assert (frame.u[far] == before.u[far]).all()


def test_combined_overlays_draw_like_each_in_turn() -> None:
    parts = [
        set_type("Over all of it", W, H, LetterStyle(position="top-left")),
        Overlay.of(np.full((41, 33, 4), (200, 30, 30, 90), np.uint8), 35, 21),
        set_type("A caption below", W, H),
    ]
    one, each = noise(3), noise(3)
    combined = Overlay.combine(parts)
    combined.draw(one)
    for part in parts:
        part.draw(each)
    assert np.abs(one.buffer.astype(int) - each.buffer).max() <= 2
    assert len(combined._bands) == 2  # the empty middle is left alone
    assert Overlay.combine([]).width == 0


def test_an_empty_text_draws_nothing() -> None:
    for text in ("", "  \n ", "\u200b"):
        frame = noise()
        before = frame.copy()
        set_type(text, W, H, LetterStyle(box="#ff0000")).draw(frame)
        assert text == "\u200b" or (frame.buffer == before.buffer).all()


@pytest.mark.parametrize("position", ["top-left", "top", "left", "center", "bottom-right", "lower-third", "bottom"])
def test_letters_stand_where_asked_inside_the_safe_area(position: str) -> None:
    style = LetterStyle(position=position, outline=0, shadow=0, size=0.06)  # type: ignore[arg-type]  # each is a Position
    found = ink(drawn("Two lines that\nstand here, gladly", style))
    (top, left), (bottom, right) = found.min(0), found.max(0)
    assert top >= H * 0.05 - 1
    assert left >= W * 0.05 - 1
    assert bottom < H * 0.95 + 1
    assert right < W * 0.95 + 1
    middle = (top + bottom) / 2 / H
    assert {"t": middle < 0.3, "b": middle > 0.7, "c": 0.4 < middle < 0.6, "l": middle > 0.4}[position[0]]
    assert ("left" not in position) or left < W * 0.07
    assert ("right" not in position) or right > W * 0.93


def test_lines_are_wrapped_balanced_and_cut() -> None:
    words = "one two three four five six seven eight nine ten eleven twelve"
    whole = set_type(words, W, H, LetterStyle(size=0.08))
    assert whole.notes == ()
    assert whole.width <= W * 0.92
    one = set_type(f"{words} {words}", W, H, LetterStyle(size=0.08, max_lines=1))
    assert one.height < whole.height * 0.6
    assert "cut" in one.notes[0]
    assert "…" in one.notes[0]
    long = set_type("w" * 400, W, H, LetterStyle(size=0.08))
    assert long.width <= W * 0.92
    assert not long.notes
    film = set_type("and so on " * 2000, W, H, LetterStyle(size=0.08))
    assert film.height <= H * 0.92
    assert "cut" in film.notes[0]


def test_outline_and_shadow_set_letters_off() -> None:
    white = Frame.filled(W, H, 235)
    set_type("Readable", W, H, LetterStyle(size=0.15)).draw(white)
    assert white.y.min() < 40
    bare = Frame.filled(W, H, 235)
    set_type("Readable", W, H, LetterStyle(size=0.15, outline=0, shadow=0)).draw(bare)
    assert bare.y.min() >= 234
    boxed = Frame.filled(W, H, 235)
    set_type("Readable", W, H, LetterStyle(size=0.15, outline=0, shadow=0, box="#000000")).draw(boxed)
    assert (boxed.y == 16).sum() > 5000


def test_chinese_and_emoji_are_no_boxes() -> None:
    need("漢字😀")
    for text in ("漢", "字"):
        real = drawn(text)
        assert (real.y > 60).sum() > 50
        # A private character is set as .notdef, the box.
        assert (real.buffer != drawn("\U0010abcd").buffer).any()
    assert (drawn("漢").buffer != drawn("字").buffer).any()
    face = drawn("😀")
    assert face.u.min() < 90  # yellow, so it is the colour font
    assert set_type("漢字😀", W, H).notes == ()


def test_missing_characters_are_told() -> None:
    notes = set_type("ok \U0010abcd", W, H).notes
    assert len(notes) == 1
    assert "No font on this machine has these characters: U+10ABCD" in notes[0]
    bare = set_type("Reel 漢", W, H, PLAIN, Fonts([]))
    assert "fonts-noto-cjk" in bare.notes[0]
    assert "No font named Nope Sans" in set_type("x", W, H, LetterStyle(font="Nope Sans")).notes[0]
    with pytest.raises(MediaError):
        set_type("x", W, H, LetterStyle(font="/nowhere/x.ttf"))


def test_arabic_is_joined_and_runs_leftward() -> None:
    need("بشح")
    joined = set_type("ببب", W, H, PLAIN).width
    apart = set_type("ب\u200cب\u200cب", W, H, PLAIN).width  # a zero-width non-joiner keeps them isolated
    assert joined < apart * 0.9
    # Alef is a narrow upright stroke; written first, it stands at the right.
    letters = ink(drawn("اسسس"))
    tall = letters[letters[:, 0] < letters[:, 0].min() + 3]
    assert tall[:, 1].min() > (letters[:, 1].min() + letters[:, 1].max()) / 2


def test_lines_of_several_fonts_are_ordered_for_leftward_text() -> None:
    need("שלום😀")
    frame = drawn("שלום😀")
    yellow = np.argwhere(frame.u < 90)[:, 1] * 2
    assert yellow.max() < (ink(frame)[:, 1].min() + ink(frame)[:, 1].max()) / 2  # the emoji comes last, so it stands left
    rightward = drawn("abcd😀")
    columns = ink(rightward)[:, 1]
    assert (np.argwhere(rightward.u < 90)[:, 1] * 2).min() > (columns.min() + columns.max()) / 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": "#12"},
        {"outline_colour": "greenish"},
        {"box": "#zzz"},
        {"size": 0.0},
        {"margin": 0.5},
        {"outline": -1.0},
        {"max_lines": 0},
        {"position": "middle"},
        {"weight": "fat"},
        {"align": "justify"},
    ],
)
def test_bad_styles_raise_when_made(wrong: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        LetterStyle(**wrong)  # type: ignore[arg-type]  # that is the point


def test_fades_rise_hold_and_fall_alike() -> None:
    opacities = [fade_opacity(index, 60, 30) for index in range(60)]
    assert opacities == pytest.approx(opacities[::-1])
    assert opacities[:13] == sorted(opacities[:13])
    assert 0 < opacities[0] < 0.05
    assert opacities[12:48] == [1.0] * 36
    assert fade_opacity(0, 1, 24) > 0
    assert fade_opacity(0, 5, 24, 0) == 1


def test_a_counter_stands_still_and_shows_its_digits() -> None:
    counter = Counter("00:00", W, H, LetterStyle(position="center", size=0.2))
    frames = []
    for text in ("11:11", "11:18"):
        frame = Frame.filled(W, H)
        counter.draw(frame, text)
        frames.append(frame)
    changed = np.argwhere(frames[0].y != frames[1].y)
    everything = ink(frames[1])
    assert changed[:, 1].min() > everything[:, 1].min() + (np.ptp(everything[:, 1])) * 0.7
    assert frames[0].y.max() == 235
    with pytest.raises(RequestError):
        counter.draw(frames[0], "x")


def test_the_same_text_gives_the_same_pixels() -> None:
    fonts._open.cache_clear()
    first = set_type("Same film", W, H)
    fonts._open.cache_clear()
    again = set_type("Same film", W, H)
    assert (first.x, first.y) == (again.x, again.y)
    assert all((one == other).all() for one, other in zip(first.planes, again.planes, strict=True))


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60))
def test_any_text_can_be_set(text: str) -> None:
    overlay = set_type(text, W, H)
    overlay.draw(Frame.filled(W, H))
    assert overlay.width <= W + 40
