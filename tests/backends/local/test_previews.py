"""Pictures of what is being made, from latents of any layout; they change nothing (M3, J3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tinies import FILTERS, Made, Tinies, differ

from reelwright.backends.local import previews, watching
from reelwright.backends.local.residency import RESIDENTS

pytestmark = FILTERS

SHOWN = [
    "wan_t2v", "wan_ti2v5b", "wan_i2v", "skyreels_t2v", "ltx_t2v", "ltx2_t2v", "mochi_t2v", "cogvideox_t2v", "cogvideox_15",
    "sd15", "sdxl", "animatediff", "t2vsd", "svd", "hunyuan_t2v", "kandinsky5_t2v", "latte", "sana_video",
]  # fmt: skip
"""Latents of every layout there is: (b, c, f, h, w), (b, f, c, h, w), (b, f, h, w, c), packed in rows, and of one picture."""


@pytest.fixture
def at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_SHOWN_S", 0.0)


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.usefixtures("at_every_step")
def test_previews_come_and_change_nothing(name: str, tiny: Tinies, make: Callable[..., Made]) -> None:
    wide = {"width": 96, "height": 64} if name.startswith("ltx") else {}  # of whose latents 32 px are one
    shot = tiny.shot(name, seed=4, **wide)
    film = make(shot, previews=True)
    assert len(film.previews) == 2
    for frame in film.previews:
        assert (frame.width, frame.height) == (shot.width, shot.height)
        assert frame.y.std() > 0, "a preview of one colour"
    assert not differ(make(shot), film)
    (held,) = RESIDENTS.loaded()
    assert held.state["colours"].shape[1] == 3


def test_previews_are_no_more_frequent_than_one_a_second(tiny: Tinies, make: Callable[..., Made]) -> None:
    film = make(tiny.shot("ltx_t2v", options={"steps": 8}), previews=True)
    assert len(film.previews) <= 2


@pytest.mark.usefixtures("at_every_step")
def test_nobody_looks_and_nothing_is_painted(tiny: Tinies, make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("painted for nobody")

    monkeypatch.setattr(previews, "fitted_map", fail)
    assert make(tiny.shot("ltx_t2v")).previews == []


@pytest.mark.usefixtures("at_every_step")
def test_a_large_shot_has_a_small_preview(tiny: Tinies, make: Callable[..., Made]) -> None:
    """512 px on its longer side, in the shot's shape."""
    card = tiny.card("sd15", sizes={"native": [[640, 320]], "step": 8, "least": 16})
    film = make(tiny.shot("sd15", card), previews=True)
    assert (film.previews[0].width, film.previews[0].height) == (512, 256)


@pytest.mark.usefixtures("at_every_step")
def test_a_preview_has_the_colours_of_the_film(tiny: Tinies) -> None:
    """The map finds colours again that the model's own encoder has seen, where that encoder keeps them apart."""
    import numpy as np
    import torch

    class Encoder(torch.nn.Module):
        """An encoder of four channels: red, green, blue and their mean, eight times smaller."""

        config = type("Config", (), {"scaling_factor": 0.5})()

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1, 1, 1, 1))

        def encode(self, given: torch.Tensor) -> object:
            small = torch.nn.functional.avg_pool2d(given, 8)
            found = torch.cat([small, small.mean(1, keepdim=True)], dim=1)
            return type("Output", (), {"latent": found})()

    pipe = type("Pipe", (), {"vae": Encoder()})()
    matrix = previews.fitted_map(pipe)
    shot = tiny.shot("sd15")
    wanted = np.array([0.9, 0.2, 0.4], np.float32)
    latents = torch.from_numpy(np.append(wanted, wanted.mean()) * 2 - 1).float()[None, :, None, None].repeat(1, 1, 8, 8) * 0.5
    frame = previews.Painter(pipe, shot, matrix).paint(latents)
    assert frame is not None
    assert np.abs(frame.rgb.reshape(-1, 3).mean(0) / 255 - wanted).max() < 0.03


@pytest.mark.usefixtures("at_every_step")
def test_a_tiny_decoder_paints_where_the_card_names_one(
    tiny: Tinies, make: Callable[..., Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TAESD and its like; one that is not to be had leaves the linear map in its place, and the film is the same anyhow."""
    from diffusers import AutoencoderTiny

    torch.manual_seed(1)
    small = AutoencoderTiny(encoder_block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8))
    small.save_pretrained(tmp_path / "small")
    films = []
    for source in (None, str(tmp_path / "small"), str(tmp_path / "nowhere")):
        card = tiny.card("sd15")
        extra = {} if source is None else {"preview_decoder": {"source": source}}
        card = dataclasses.replace(card, settings={**card.settings, **extra})
        films.append(make(tiny.shot("sd15", card, seed=4), previews=True))
        RESIDENTS.unload()
    plain, painted, without = films
    assert not differ(plain, painted)
    assert not differ(plain, without)
    assert (painted.previews[0].rgb != plain.previews[0].rgb).any(), "painted by the decoder"
    assert (without.previews[0].rgb == plain.previews[0].rgb).all(), "by the map, as without one"
    assert (painted.previews[0].width, painted.previews[0].height) == (plain.previews[0].width, plain.previews[0].height)
