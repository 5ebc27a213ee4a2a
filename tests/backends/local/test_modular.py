"""Modular pipelines: their components lie anywhere, and none of them is opened from a pickle (M3, S8)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import rooms

from reelwright.backends.local import loading, modular
from reelwright.errors import WeightsInvalid


def _index(place: str) -> dict[str, Any]:
    def entry(library: str, kind: str, folder: str) -> list[Any]:
        spec = {"pretrained_model_name_or_path": place, "subfolder": folder, "type_hint": [library, kind], "revision": None}
        return [None, None, spec]

    return {
        "_class_name": "WanModularPipeline",
        "_blocks_class_name": "WanBlocks",
        "vae": entry("diffusers", "AutoencoderKLWan", "vae"),
        "scheduler": entry("diffusers", "UniPCMultistepScheduler", "scheduler"),
    }


def test_pickled_components_are_refused(tmp_path: Path) -> None:
    model, place = rooms.copied("wan_t2v", tmp_path), tmp_path / "modular"
    place.mkdir()
    (place / "modular_model_index.json").write_text(json.dumps(_index(str(model))), "utf-8")
    known = rooms.settings(tmp_path)
    assert loading.locate(str(place), known).modular
    for path in (model / "vae").glob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
    with pytest.raises(WeightsInvalid, match=r"vae/.*pickle") as told:
        loading.locate(str(place), known)
    assert "reel models convert" in told.value.hint
    single = _index(str(next((model / "vae").glob("*.bin"))))
    single["vae"][2]["subfolder"] = None
    with pytest.raises(WeightsInvalid, match="pickle"):
        modular.hold(single)


def test_key_revision_and_safetensors_are_passed_on_and_a_lacking_component_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import diffusers

    seen: list[dict[str, Any]] = []

    class Pipe:
        vae: Any = object()

        @classmethod
        def from_pretrained(cls, _place: str, **given: Any) -> Pipe:
            seen.append(given)
            return cls()

        def load_components(self, **given: Any) -> None:
            seen.append(given)

    monkeypatch.setattr(diffusers, "ModularPipeline", Pipe)
    modular.load("a/b", _index("a/b"), "float32", "key", "v1")
    assert seen == [{"token": "key", "revision": "v1"}, {"dtype": "float32", "use_safetensors": {"vae": True}, "token": "key"}]
    Pipe.vae = None  # diffusers warns of a component that cannot be loaded, and goes on
    with pytest.raises(WeightsInvalid, match="vae of b cannot be loaded"):
        modular.load("a/b", _index("a/b"), "float32", None, None)
