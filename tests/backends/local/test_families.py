"""Every family of models through the one backend: what a card promises is what comes (M3, S5, S8, J3).

Each variant is a real Diffusers class with few random weights; none has code of its own in the backend.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from tinies import BY_FILE, FILTERS, VARIANTS, Made, Tinies, differ

from reelwright.backends.local import watching
from reelwright.errors import Cancelled
from reelwright.run import Progress

pytestmark = FILTERS

ONE_OF_EACH = [name for file, found in BY_FILE.items() for name in (found if file == "others" else list(found)[:1])]
"""One variant of each family; the file "others" holds families of one variant each."""
ONE_SIZE = {"allegro"}
"""Variants that can make one size only (notes, trap 13)."""
ONE_LENGTH = {"allegro", "latte", "sd15"}
"""Variants that can make one length only: whole tiles, a table of positions, a picture."""
ODD_LENGTH = {"helios"}
"""Variants that give less than their rule says: sections share a frame (notes, trap 7)."""


def test_there_are_variants_of_most_video_classes() -> None:
    """M3: the backend is tried on 45 pipeline classes or more."""
    assert len({variant.pipeline for variant in VARIANTS.values()}) >= 45


def rises(progress: list[Progress]) -> bool:
    """Whether each stage goes from its first step to its last, never back, and is complete at its end."""
    for stage in dict.fromkeys(each.stage for each in progress):
        told = [each for each in progress if each.stage == stage]
        done = [each.done for each in told]
        if done != sorted(done) or any(each.done > each.total for each in told) or told[-1].done != told[-1].total:
            return False
    return True


def at_load(each: Progress) -> bool:
    return each.stage == "load" and each.done == 0


def at_the_first_step(each: Progress) -> bool:
    return each.stage == "denoise" and each.done == 0


def in_the_middle(each: Progress) -> bool:
    return each.stage == "denoise" and 0 < each.done < each.total


def while_decoding(each: Progress) -> bool:
    return each.stage == "decode"


@pytest.mark.parametrize("name", VARIANTS)
def test_a_family_keeps_its_cards_promise(
    name: str, tiny: Tinies, make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """M3, S8: count, size, rate, sound, seed, prompt, progress, and a cancel anywhere that harms no later run.

    Runs that are held against the first one are looked at while they are made, which may not change them either.
    """
    monkeypatch.setattr(watching, "_SHOWN_S", 0.0)
    variant, card = VARIANTS[name], tiny.card(name)
    shot = tiny.shot(name, card)
    with pytest.raises(Cancelled):
        make(shot, stop=at_load)

    first = make(shot)
    assert (first.spec.width, first.spec.height) == (shot.width, shot.height) == card.sizes.native[0]
    assert first.spec.fps == Fraction(str(card.fps.default))
    assert first.spec.frames == len(first.frames) == variant.given
    assert not any("made" in note for note in first.notes), first.notes
    assert first.spec.audio == variant.audio
    assert first.samples == (first.spec.samples if variant.audio else 0)
    assert rises(first.progress), first.progress
    assert "resident, about" in first.stages[0], "what will happen is said before it does"
    assert first.stages[1] == "load"
    assert first.progress[-1].done == first.progress[-1].total

    for where in (at_the_first_step, in_the_middle, while_decoding):
        if not any(map(where, first.progress)):
            continue
        with pytest.raises(Cancelled):
            make(shot, stop=where)
        again = make(shot, previews=True)
        assert again.frames == first.frames, f"not the same after a cancel {where.__name__}"
        assert rises(again.progress)

    if variant.seed:
        assert differ(first, make(tiny.shot(name, card, seed=2)))
    if variant.prompt:
        assert differ(first, make(tiny.shot(name, card, prompt="blue boats on the sea at night")))


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_odd_sizes_and_lengths_are_adapted_and_told(name: str, tiny: Tinies, make: Callable[..., Made]) -> None:
    """S5: the nearest size and count that the model can make are made, and the person is told so."""
    variant, card = VARIANTS[name], tiny.card(name)
    wider = 0 if name in ONE_SIZE else 2 * variant.size_step
    longer = 0 if name in ONE_LENGTH else variant.step
    width, height, frames = variant.size[0] + wider, variant.size[1], variant.given + longer
    seconds = (frames + (variant.step != 1)) / Fraction(str(card.fps.default))
    shot, notes = tiny.resolved(name, card, width=width + 1, height=height + 1, seconds=float(seconds))
    assert (shot.width, shot.height, shot.frames) == (width, height, frames)
    assert f"{card.title} makes {width}x{height}, not {width + 1}x{height + 1}." in notes
    assert any(f"makes {frames} frames" in note for note in notes) == (variant.step != 1)
    film = make(shot)
    assert (film.spec.width, film.spec.height, film.spec.frames) == (width, height, frames)
    assert len(film.frames) == frames
    assert any("made" in note for note in film.notes) == (name in ODD_LENGTH), film.notes
