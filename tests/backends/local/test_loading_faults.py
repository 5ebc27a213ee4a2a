"""Models that cannot be loaded, or make no picture: each fault is found, named by its code, and says what to do (M3, M14, J4)."""

from __future__ import annotations

import errno
import http.server
import json
import os
import pickle
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import rooms
import torch
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from reelwright.backends.local import loading, weights
from reelwright.backends.local.residency import RESIDENTS
from reelwright.catalog import Card, card_from
from reelwright.catalog.fit import Plan
from reelwright.errors import (
    BackendError,
    BadOutput,
    DiskFull,
    MissingExtra,
    ReelwrightError,
    Unavailable,
    UnknownModel,
    Unsupported,
    WeightsInvalid,
)

TINY = "ltx_t2v"
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with rooms.alone():
        yield


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tiny model of this test's own."""
    return rooms.copied(TINY, tmp_path)


def _told(error: ReelwrightError, code: str, exit_code: int, *, hint: str) -> None:
    """Every error has a code, a message, a hint, an exit code, and is JSON."""
    assert error.code == code
    assert error.exit_code == exit_code
    assert error.message
    assert len(error.message) < 600
    assert "Traceback" not in error.message
    assert hint in error.hint
    body = json.loads(json.dumps(error.body()))
    assert body["error"] == code
    assert body["message"] == error.message


def _located(place: Path | str, **more: Any) -> ReelwrightError:
    """What finding a model raises."""
    with pytest.raises(ReelwrightError) as caught:
        loading.locate(str(place), rooms.Settings(**more))
    return caught.value


def _made(model: Path, tmp_path: Path, name: str = TINY) -> ReelwrightError:
    """What a shot raises whose card was made while the model was whole."""
    known = rooms.settings(tmp_path)
    whole = rooms.card(name, known)
    card = card_from({**_content(whole), "source": str(model)})
    with pytest.raises(ReelwrightError) as caught:
        rooms.make(rooms.shot(card, name), known)
    assert not RESIDENTS.loaded()
    return caught.value


def _content(card: Card) -> dict[str, Any]:
    return {each.name: getattr(card, each.name) for each in fields(card)}


# ---- folders


def test_a_missing_folder_is_no_model(tmp_path: Path) -> None:
    _told(_located(tmp_path / "nothing"), "model_not_found", 2, hint="hub id")


def test_a_folder_without_an_index_is_no_pipeline(model: Path) -> None:
    (model / "model_index.json").unlink()
    error = _located(model)
    assert isinstance(error, UnknownModel)
    _told(error, "model_not_found", 2, hint="save_pretrained")


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"{}", b'"text"', b"\xff\xfe\x00", b'{"_class_name": ""}'])
def test_a_broken_index_is_said_to_be_broken(content: bytes, model: Path) -> None:
    (model / "model_index.json").write_bytes(content)
    error = _located(model)
    _told(error, "weights_invalid", 4, hint="Fetch the model again.")
    assert "model_index.json" in error.message


def test_an_unknown_class_names_the_version_that_lacks_it(model: Path, tmp_path: Path) -> None:
    known = rooms.settings(tmp_path)
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps({**index, "_class_name": "DreamPipeline"}))
    content = _content(rooms.card(TINY, known))
    content["settings"] = {name: value for name, value in content["settings"].items() if name != "pipeline"}
    card = card_from({**content, "source": str(model)})
    with pytest.raises(WeightsInvalid) as caught:
        rooms.make(rooms.shot(card, TINY), known)
    _told(caught.value, "weights_invalid", 4, hint="Update diffusers")
    assert "DreamPipeline" in caught.value.message


def test_a_missing_component_is_named(model: Path) -> None:
    shutil.rmtree(model / "vae")
    error = _located(model)
    _told(error, "weights_invalid", 4, hint="Fetch the model again.")
    assert "vae" in error.message


def test_missing_weights_are_named(model: Path) -> None:
    (model / WEIGHTS).unlink()
    error = _located(model)
    _told(error, "weights_invalid", 4, hint="Fetch the model again.")
    assert "transformer has no weights" in error.message


def test_a_missing_part_of_several_is_named(model: Path) -> None:
    part = model / "transformer"
    tensors = load_file(model / WEIGHTS)
    (model / WEIGHTS).unlink()
    names = {name: f"diffusion_pytorch_model-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(tensors)}
    index = {"metadata": {}, "weight_map": names}
    (part / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    for file in sorted(set(names.values())):
        save_file({name: each for name, each in tensors.items() if names[name] == file}, part / file)
    assert loading.locate(str(model), rooms.Settings()).pipeline == "LTXPipeline"
    (part / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()
    error = _located(model)
    _told(error, "weights_invalid", 4, hint="Fetch the model again.")
    assert "00002-of-00002" in error.message
    (part / "diffusion_pytorch_model.safetensors.index.json").write_text("{}")
    _told(_located(model), "weights_invalid", 4, hint="fetch it again")


@pytest.mark.parametrize("keep", [0, 5, 8, 40, -1])
def test_truncated_weights_are_found_before_anything_is_loaded(keep: int, model: Path, tmp_path: Path) -> None:
    path = model / WEIGHTS
    path.write_bytes(path.read_bytes()[:keep])
    error = _made(model, tmp_path)
    assert isinstance(error, WeightsInvalid)
    _told(error, "weights_invalid", 4, hint="fetch it again")
    assert "transformer/diffusion_pytorch_model.safetensors is damaged" in error.message


def _with_header(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content + b"\0" * 64


@effort(max_examples=80, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=60).map(_with_header),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=6,
        ).map(lambda value: _with_header(json.dumps(value).encode())),
        st.dictionaries(
            st.sampled_from(["dtype", "shape", "data_offsets", "other"]),
            st.none()
            | st.text(max_size=3)
            | st.integers()
            | st.lists(st.none() | st.integers() | st.text(max_size=2), max_size=3),
        ).map(lambda value: _with_header(json.dumps({"tensor": value}).encode())),
    )
)
def test_a_header_of_garbage_is_damage_and_nothing_else(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.safetensors"
    path.write_bytes(content)
    try:
        weights.measured(path)
    except WeightsInvalid as error:
        _told(error, "weights_invalid", 4, hint="fetch it again")


def test_a_header_as_deep_as_it_is_long_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "deep.safetensors"
    path.write_bytes(_with_header(b"[" * 200_000))
    with pytest.raises(WeightsInvalid) as caught:
        weights.header(path)
    _told(caught.value, "weights_invalid", 4, hint="fetch it again")


def test_weights_of_another_shape_do_not_belong_to_the_configuration(model: Path, tmp_path: Path) -> None:
    tensors = load_file(model / WEIGHTS)
    name = "proj_in.weight"
    save_file({**tensors, name: tensors[name][:, :5].contiguous()}, model / WEIGHTS, metadata={"format": "pt"})
    error = _made(model, tmp_path)
    assert isinstance(error, WeightsInvalid)
    _told(error, "weights_invalid", 4, hint="do not belong together")


def test_a_configuration_that_cannot_be_read_is_a_fault_of_the_files(model: Path, tmp_path: Path) -> None:
    (model / "transformer" / "config.json").write_text("{")
    _told(_made(model, tmp_path), "weights_invalid", 4, hint="do not belong together")


def test_weights_without_some_tensors_make_no_film_of_noise(model: Path, tmp_path: Path) -> None:
    """Diffusers fills what is missing with random values, or leaves it without any, and only warns."""
    tensors = load_file(model / WEIGHTS)
    kept = {name: each for name, each in tensors.items() if "transformer_blocks.1" not in name}
    assert kept.keys() != tensors.keys()
    save_file(kept, model / WEIGHTS, metadata={"format": "pt"})
    error = _made(model, tmp_path)
    assert isinstance(error, BackendError)


# ---- pickle


class _Evil:
    """What a malicious file holds: a command that is run when it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.mark}",))


def test_only_pickled_weights_are_refused_with_the_command_that_converts_them(model: Path, tmp_path: Path) -> None:
    pickled = model / "transformer" / "diffusion_pytorch_model.bin"
    torch.save(load_file(model / WEIGHTS), pickled)
    (model / WEIGHTS).unlink()
    error = _located(model)
    _told(error, "weights_invalid", 4, hint=f"reel models convert {pickled}")

    made = weights.convert(pickled)
    assert made == model / WEIGHTS
    known = rooms.settings(tmp_path)
    converted = rooms.make(rooms.shot(rooms.card(TINY, known, model), TINY), known)
    RESIDENTS.unload()
    assert (converted.frames == rooms.make(rooms.shot(rooms.card(TINY, known), TINY), known).frames).all()


@pytest.mark.parametrize("ending", [".pt", ".ckpt", ".bin", ".pth", ".pkl"])
def test_a_pickled_file_as_a_model_is_refused_unopened(ending: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / f"model{ending}"
    path.write_bytes(pickle.dumps(_Evil(mark)))
    error = _located(path)
    _told(error, "weights_invalid", 4, hint=f"reel models convert {path}")
    assert not mark.exists()


@pytest.mark.parametrize("how", ["pickle", "torch", "torch, old", "among tensors"])
def test_converting_a_malicious_pickle_runs_nothing(how: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "model.bin"
    if how == "pickle":
        path.write_bytes(pickle.dumps(_Evil(mark)))
    else:
        content = {"weight": torch.ones(2), "evil": _Evil(mark)} if how == "among tensors" else _Evil(mark)
        torch.save(content, path, _use_new_zipfile_serialization=how != "torch, old")
    with pytest.raises(WeightsInvalid) as caught:
        weights.convert(path)
    _told(caught.value, "weights_invalid", 4, hint="")
    assert not mark.exists()
    assert not path.with_suffix(".safetensors").exists()


def test_converting_takes_tensors_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    shared = torch.arange(6.0).reshape(2, 3)
    torch.save({"state_dict": {"a": shared, "b": shared, "c": shared.t()}, "epoch": 3}, path)
    made = weights.convert(path)
    assert made.name == "model.safetensors"
    found = load_file(made)
    assert torch.equal(found["a"], shared)
    assert torch.equal(found["c"], shared.t())
    for content in ({"epoch": 3}, [1, 2], "text"):
        torch.save(content, tmp_path / "none.pt")
        with pytest.raises(WeightsInvalid):
            weights.convert(tmp_path / "none.pt")
    (tmp_path / "noise.pt").write_bytes(os.urandom(100))
    with pytest.raises(WeightsInvalid, match="is not opened"):
        weights.convert(tmp_path / "noise.pt")


# ---- code of its own


def test_a_model_with_code_of_its_own_is_refused_unless_the_settings_name_it(model: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (model / "own.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    index = json.loads((model / "model_index.json").read_text())
    for changed in ({"_class_name": ["own", "OwnPipeline"]}, {"auto_map": {"": "own.OwnPipeline"}}):
        (model / "model_index.json").write_text(json.dumps({**index, **changed}))
        error = _located(model)
        assert isinstance(error, Unsupported)
        _told(error, "unsupported", 2, hint=f"REELWRIGHT_TRUST_CODE={model}")
        assert _located(model, trust_code=("another/model",)).code == "unsupported"
        assert loading.locate(str(model), rooms.Settings(trust_code=(str(model),))).folder == model
    assert not mark.exists()


def test_a_trusted_model_runs_its_own_pipeline(model: Path, tmp_path: Path) -> None:
    (model / "own.py").write_text("from diffusers import LTXPipeline\n\n\nclass OwnPipeline(LTXPipeline):\n    own = True\n")
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps({**index, "_class_name": ["own", "OwnPipeline"]}))
    known = rooms.settings(tmp_path, trust_code=(str(model),))
    card = card_from({**_content(rooms.card(TINY, known)), "source": str(model)})
    made = rooms.make(rooms.shot(card, TINY), known)
    assert RESIDENTS.loaded()[0].pipe.own
    assert made.plan == "resident"


def test_code_in_a_component_is_not_run(model: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (model / "transformer" / "evil.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps({**index, "transformer": ["evil", "Evil"]}))
    error = _made(model, tmp_path)
    assert error.exit_code in (2, 4)
    assert not mark.exists()


# ---- the hub


class _Hub(http.server.BaseHTTPRequestHandler):
    """A hub that answers as its address says."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        kind = self.path.split("/")[1] if not self.path.startswith("/api") else self.path.split("/")[3]
        status, code = {
            "gated": (403, "GatedRepo"), "nowhere": (404, "RepoNotFound"), "private": (401, "RepoNotFound"),
            "empty": (404, "EntryNotFound"), "revision": (404, "RevisionNotFound"), "broken": (503, ""),
        }.get(kind, (200, ""))  # fmt: skip
        body = b'{"_class_name": "LTXPipeline"}' if status == 200 else b'{"error": "no"}'
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", f"Cannot access {kind} repo")
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", '"abc"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""


@contextmanager
def _hub(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[None]:
    """The library asks a stand-in on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    _point(monkeypatch, f"http://127.0.0.1:{server.server_port}", cache)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _point(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path, *, offline: bool = False) -> None:
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    real = huggingface_hub.hf_hub_download
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *given, **more: real(*given, cache_dir=str(cache), endpoint=address, **more)
    )


@pytest.mark.parametrize(
    ("name", "kind", "code", "hint"),
    [
        ("gated/model", Unavailable, "unavailable", "HF_TOKEN"),
        ("nowhere/model", UnknownModel, "model_not_found", "Check the name"),
        ("private/model", UnknownModel, "model_not_found", "HF_TOKEN"),
        ("revision/model", UnknownModel, "model_not_found", "Check the name"),
        ("empty/model", UnknownModel, "model_not_found", ""),
    ],
)
def test_what_the_hub_refuses_is_said_in_our_words(
    name: str, kind: type[ReelwrightError], code: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _hub(monkeypatch, tmp_path):
        error = _located(name)
    assert isinstance(error, kind)
    _told(error, code, kind.exit_code, hint=hint)
    assert name in error.message
    if code == "unavailable":
        assert not error.retryable, "waiting does not help"


def test_of_a_hub_id_only_the_index_is_fetched_to_know_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _hub(monkeypatch, tmp_path):
        found = loading.locate("someone/model", rooms.Settings())
    assert found.pipeline == "LTXPipeline"
    assert found.folder is None
    assert [each.name for each in tmp_path.rglob("*.json")] == ["model_index.json"]


def test_offline_an_unknown_hub_id_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _point(monkeypatch, "http://127.0.0.1:9", tmp_path, offline=True)
    error = _located("someone/model")
    assert isinstance(error, Unavailable)
    assert error.retryable
    _told(error, "unavailable", 3, hint="Go online once")


def test_a_hub_that_cannot_be_reached_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _seconds: None)  # it tries again, later each time
    _point(monkeypatch, "http://127.0.0.1:9", tmp_path)
    _told(_located("someone/model"), "unavailable", 3, hint="Go online once")


def test_a_disk_that_fills_up_while_downloading_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", full)
    error = _located("someone/model")
    assert isinstance(error, DiskFull)
    _told(error, "disk_full", 3, hint="Free some space")


def test_a_download_that_cannot_fit_is_refused_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    known = rooms.settings(tmp_path)
    card = card_from({**_content(rooms.card(TINY, known)), "source": "someone/model", "disk_gb": 1e9})
    source = loading.Source("someone/model", None, {"_class_name": "LTXPipeline"})
    with pytest.raises(DiskFull) as caught:
        loading.load(card, source, "LTXPipeline", Plan(), "cpu", known)
    _told(caught.value, "disk_full", 3, hint="HF_HOME")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("skip_connection: expected shape (3, 4), got (4, 4)"), WeightsInvalid),
        (KeyError("network_alphas"), WeightsInvalid),
        (ImportError("No module named 'sentencepiece'"), MissingExtra),
        (OSError("Connection reset by peer"), Unavailable),
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError),
        (OSError(""), WeightsInvalid),
    ],
)
def test_what_libraries_raise_is_told_by_what_it_is(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind), loading._told("someone/model"):
        raise error


# ---- what comes out


def _spoilt(model: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None], part: str = "vae") -> Any:
    path = model / part / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})
    known = rooms.settings(tmp_path)
    return rooms.shot(rooms.card(TINY, known, model), TINY), known


@pytest.mark.parametrize("part", ["vae", "transformer"])
def test_values_that_are_not_numbers_are_bad_output(part: str, model: Path, tmp_path: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        name = "decoder.conv_out.conv.bias" if part == "vae" else "proj_out.bias"
        tensors[name] = torch.full_like(tensors[name], float("nan"))

    shot, known = _spoilt(model, tmp_path, change, part)
    with pytest.raises(BadOutput) as caught:
        rooms.make(shot, known)
    _told(caught.value, "bad_output", 4, hint="dtype")


@pytest.mark.parametrize(("value", "words"), [(-9.0, "black clip"), (0.0, "clip of one colour")])
def test_an_empty_picture_is_told_in_a_note(value: float, words: str, model: Path, tmp_path: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name in ("decoder.conv_out.conv.weight", "decoder.conv_out.conv.bias"):
            tensors[name] = torch.full_like(tensors[name], value if name.endswith("bias") else 0.0)

    shot, known = _spoilt(model, tmp_path, change)
    made = rooms.make(shot, known)
    assert any(words in note for note in made.notes)
    assert made.frames.shape == (9, 32, 32, 3)
