"""Workflows of a person's own: from the editor's form to API form, their places, their cards, and `reel comfy` (M11)."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy_schema
import pytest
from comfy_making import NOISE, backend_of, shot_of
from comfy_standin import Comfy
from making import picture

from reelwright import catalog, cli, settings
from reelwright.backends.comfy import faults, graphs, slots
from reelwright.backends.comfy.register import graph_from, register
from reelwright.backends.comfy.workflow import Drawing
from reelwright.errors import Conflict, RequestError, Unavailable
from reelwright.request import Input
from reelwright.run import LocalRun
from reelwright.types import Role

SCHEMA = comfy_schema.schema(comfy_schema.MODELS, ["boat.png"])
CHECKPOINT = "ltx-video-2b-v0.9.5.safetensors"


def node(number: int, kind: str, values: Any = (), inputs: Any = (), outputs: Any = (), **more: Any) -> dict[str, Any]:
    """A node as the editor saves it; `inputs` are (name, type, link), `outputs` types."""
    return {
        "id": number,
        "type": kind,
        "widgets_values": list(values) if isinstance(values, tuple | list) else values,
        "inputs": [{"name": name, "type": what, "link": link} for name, what, link in inputs],
        "outputs": [{"name": what, "type": what, "links": []} for what in outputs],
        **more,
    }


def drawing() -> dict[str, Any]:
    """Text to picture to video: a reroute for the model, a primitive for the width, a note, a bypassed and a muted node."""
    return {
        "version": 0.4,
        "nodes": [
            node(4, "CheckpointLoaderSimple", [CHECKPOINT], outputs=["MODEL", "CLIP", "VAE"]),
            node(6, "CLIPTextEncode", ["a boat"], [("clip", "CLIP", 1)], ["CONDITIONING"]),
            node(7, "CLIPTextEncode", ["blurred"], [("clip", "CLIP", 2)], ["CONDITIONING"]),
            node(5, "EmptyHunyuanLatentVideo", [640, 368, 33, 1], [("width", "INT", 11)], ["LATENT"]),
            node(20, "PrimitiveNode", [832, "fixed"], outputs=["INT"]),
            node(21, "Reroute", inputs=[("", "*", 3)], outputs=["MODEL"]),
            node(22, "ModelSamplingSD3", [5.0], [("model", "MODEL", 4)], ["MODEL"], mode=4),
            node(23, "Note", ["mind the step"]),
            node(
                3,
                "KSampler",
                [42, "randomize", 25, 6.5, "euler", "simple", 1],
                [("model", "MODEL", 5), ("positive", "C", 6), ("negative", "C", 7), ("latent_image", "LATENT", 8)],
                ["LATENT"],
            ),
            node(8, "VAEDecode", inputs=[("samples", "LATENT", 9), ("vae", "VAE", 10)], outputs=["IMAGE"]),
            node(9, "CreateVideo", [16], [("images", "IMAGE", 12), ("audio", "AUDIO", 14)], ["VIDEO"]),
            node(10, "SaveVideo", ["video/mine", "auto", "auto"], [("video", "VIDEO", 13)]),
            node(24, "SaveImage", ["x"], [("images", "IMAGE", 15)], mode=2),
            node(25, "LoadAudio", ["boat.png"], outputs=["AUDIO"], mode=2),
        ],
        "links": [
            [1, 4, 1, 6, 0, "CLIP"], [2, 4, 1, 7, 0, "CLIP"], [3, 4, 0, 21, 0, "MODEL"], [4, 21, 0, 22, 0, "MODEL"],
            [5, 22, 0, 3, 0, "MODEL"], [6, 6, 0, 3, 1, "CONDITIONING"], [7, 7, 0, 3, 2, "CONDITIONING"],
            [8, 5, 0, 3, 3, "LATENT"], [9, 3, 0, 8, 0, "LATENT"], [10, 4, 2, 8, 1, "VAE"], [11, 20, 0, 5, 0, "INT"],
            [12, 8, 0, 9, 0, "IMAGE"], [13, 9, 0, 10, 0, "VIDEO"], [14, 25, 0, 9, 1, "AUDIO"], [15, 8, 0, 24, 0, "IMAGE"],
        ],
    }  # fmt: skip


def plain() -> dict[str, Any]:
    """The same in API form."""
    return {
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a boat", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurred", "clip": ["4", 1]}},
        "5": {"class_type": "EmptyHunyuanLatentVideo", "inputs": {"width": 832, "height": 368, "length": 33, "batch_size": 1}},
        "3": {
            "class_type": "KSampler",
            "inputs": {
                "seed": 42, "steps": 25, "cfg": 6.5, "sampler_name": "euler", "scheduler": "simple", "denoise": 1,
                "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0],
            },
        },
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "CreateVideo", "inputs": {"fps": 16, "images": ["8", 0]}},
        "10": {
            "class_type": "SaveVideo",
            "inputs": {"filename_prefix": "video/mine", "format": "auto", "codec": "auto", "video": ["9", 0]},
        },
    }  # fmt: skip


# ---- the editor's form


def test_a_drawing_becomes_the_graph_that_the_editor_would_queue() -> None:
    assert Drawing(drawing(), SCHEMA).graph() == plain()


def test_links_may_be_objects_and_values_may_be_named() -> None:
    content = drawing()
    content["links"] = [
        {
            "id": each[0],
            "origin_id": each[1],
            "origin_slot": each[2],
            "target_id": each[3],
            "target_slot": each[4],
            "type": each[5],
        }
        for each in content["links"]
    ]
    for each in content["nodes"]:
        if each["type"] == "SaveVideo":
            each["widgets_values"] = {
                "filename_prefix": "video/mine",
                "format": "auto",
                "codec": "auto",
                "preview": {"hidden": 1},
            }
    assert Drawing(content, SCHEMA).graph() == plain()


def test_values_given_by_name_are_found_by_name() -> None:
    content = {
        "nodes": [
            node(1, "LoadImage", ["boat.png", "image"], outputs=["IMAGE", "MASK"]),
            node(2, "SetNode", ["picture"], [("IMAGE", "IMAGE", 1)], ["IMAGE"]),
            node(3, "GetNode", ["picture"], outputs=["IMAGE"]),
            node(4, "SaveImage", ["x"], [("images", "IMAGE", 2)]),
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 3, 0, 4, 0, "IMAGE"]],
    }
    graph = Drawing(content, SCHEMA).graph()
    assert graph["4"]["inputs"] == {"filename_prefix": "x", "images": ["1", 0]}
    assert graph["1"]["inputs"] == {"image": "boat.png"}


def test_subgraphs_are_refused_with_what_to_do() -> None:
    content = {**drawing(), "definitions": {"subgraphs": [{"id": "a-b-c", "nodes": []}]}}
    content["nodes"].append(node(30, "a-b-c", title="My sampler"))
    with pytest.raises(RequestError, match="My sampler") as caught:
        Drawing(content, SCHEMA)
    assert "Export (API)" in caught.value.hint


def test_nodes_that_the_server_lacks_are_named() -> None:
    known = {name: each for name, each in SCHEMA.items() if name not in ("KSampler", "SaveVideo")}
    with pytest.raises(Unavailable, match="KSampler, SaveVideo"):
        Drawing(drawing(), known).graph()


def test_circles_end() -> None:
    content = {
        "nodes": [
            node(1, "Reroute", inputs=[("", "*", 2)], outputs=["IMAGE"]),
            node(2, "Reroute", inputs=[("", "*", 1)], outputs=["IMAGE"]),
            node(3, "SaveImage", ["x"], [("images", "IMAGE", 1)]),
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 1, 0, "IMAGE"]],
    }
    with pytest.raises(RequestError, match="circles"):
        Drawing(content, SCHEMA).graph()


def test_a_choice_that_brings_inputs_of_its_own() -> None:
    """As SaveVideo's format in newer servers (read there, not run)."""
    codec = ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "auto", "inputs": {}}, {"key": "h264", "inputs": {}}]}]
    options = [{"key": "mp4", "inputs": {"required": {"codec": codec}}}]
    known = {"SaveVideo": {"input": {"required": {"format": ["COMFY_DYNAMICCOMBO_V3", {"options": options}]}}}}
    content = {"nodes": [node(1, "SaveVideo", ["mp4", "h264"])], "links": []}
    assert Drawing(content, known).graph()["1"]["inputs"] == {"format": "mp4", "format.codec": "h264"}
    graph = {"1": {"class_type": "SaveVideo", "inputs": {"format": "mp4"}}}
    assert graphs.completed(graph, known)["1"]["inputs"] == {"format": "mp4", "format.codec": "auto"}


@pytest.mark.parametrize(
    "content",
    [[], {}, {"a": 1}, {"1": {"class_type": "X"}}, {"1": {"class_type": "X", "inputs": {"a": ["2", 0]}}}, "x"],
)
def test_what_is_no_workflow_is_refused(content: Any) -> None:
    with pytest.raises(RequestError):
        graph_from(content, {}, "mine.json")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/shadow", "..\\x"])
def test_a_workflow_that_opens_files_elsewhere_is_refused(name: str) -> None:
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": name}}}
    with pytest.raises(RequestError, match="own folders"):
        graph_from(graph, {}, "mine.json")


# ---- places


def test_places_are_found_through_the_samplers_links() -> None:
    assert slots.found(plain()) == {
        "prompt": [("6", "text")], "negative": [("7", "text")], "seed": [("3", "seed")], "steps": [("3", "steps")],
        "guidance": [("3", "cfg")], "width": [("5", "width")], "height": [("5", "height")], "frames": [("5", "length")],
        "fps": [("9", "fps")], "file": [("10", "filename_prefix")],
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["ltx-i2v", "wan-2.2-t2v", "wan-i2v", "wan-s2v", "hunyuan-t2v", "mochi-t2v", "svd", "animatediff"]
)
def test_the_places_of_our_own_templates_are_found_too(name: str) -> None:
    """Each template with plain values in it: the same places come out."""
    template = graphs._ours(name)
    values = {"prompt": "a", "negative": "b", "file": "c", **{role.value: "x.png" for role in Role}}
    numbers = {
        "width": 64,
        "height": 64,
        "frames": 9,
        "seed": 1,
        "fps": 8.0,
        "steps": 4,
        "guidance": 3.0,
        "steps_half": 2,
        "motion": 9,
    }
    wanted = {(node, key): place for node, key, place in graphs.places(template)}
    plain = graphs.filled(template, {**values, **numbers}, ())
    found = {spot: place for place, spots in slots.found(plain).items() for spot in spots}
    models = {
        "checkpoint",
        "model",
        "model_high",
        "model_low",
        "clip",
        "text_encoder",
        "vae",
        "clip_vision",
        "audio_encoder",
        "motion_model",
    }
    missed = {spot: place for spot, place in wanted.items() if found.get(spot) != place and place not in models}
    assert set(missed.values()) <= {"steps_half", "motion", "guidance"}
    assert not {spot: place for spot, place in found.items() if spot not in wanted}


def test_texts_are_followed_through_nodes_that_change_them() -> None:
    graph = plain()
    graph["6"]["inputs"]["text"] = ["30", 0]
    graph["30"] = {"class_type": "PrimitiveString", "inputs": {"value": "a boat"}}
    graph["31"] = {"class_type": "FluxGuidance", "inputs": {"conditioning": ["6", 0], "guidance": 3.5}}
    graph["3"]["inputs"]["positive"] = ["31", 0]
    graph["32"] = {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["6", 0]}}
    graph["3"]["inputs"]["negative"] = ["32", 0]
    found = slots.found(graph)
    assert found["prompt"] == [("30", "value")]
    assert "negative" not in found


@pytest.mark.parametrize("told", ["prompt", "prompt=6", "prompt=6.no", "prompt=99.text", "Prompt=6.text", "first_frame=6.text"])
def test_places_that_are_named_wrongly_are_refused(told: str) -> None:
    with pytest.raises(RequestError):
        slots.named(plain(), [told])


# ---- cards


@pytest.fixture
def installed(comfy: Comfy, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`reel` with this server."""
    monkeypatch.setenv("REELWRIGHT_COMFY_SERVERS", comfy.address)

    def run(*words: str) -> int:
        settings.current.cache_clear()
        catalog.card.cards.cache_clear()
        with pytest.raises(SystemExit) as end:
            cli.main(list(words))
        catalog.card.cards.cache_clear()
        return int(end.value.code or 0)

    return run


def test_a_workflow_becomes_a_model_that_runs(
    comfy: Comfy, installed: Callable[..., int], tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(drawing()))
    assert installed("comfy", "add", str(tmp_path / "mine.json"), "--id", "my-boat", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["places"]["prompt"] == ["6.text"]
    content = tomllib.loads((home / "cards" / "my-boat.toml").read_text())
    assert content["sizes"] == {"native": [[832, 368]], "step": 16, "least": 16}
    assert content["frames"] == {"default": 33, "step": 4, "offset": 1, "least": 1}
    assert content["options"]["steps"]["default"] == 25
    card = catalog.find("my-boat")
    shot = shot_of(card, prompt="a ship", width=128, height=128, seconds=0.5, options={"guidance": 2.5})
    with backend_of(comfy.address).generate(shot, LocalRun()) as video:
        assert (video.spec.width, video.spec.frames) == (128, 9)
    graph = comfy.posts[0]["prompt"]
    assert graph["6"]["inputs"]["text"] == "a ship"
    assert graph["7"]["inputs"]["text"] == ""
    assert graph["3"]["inputs"]["cfg"] == 2.5
    assert graph["9"]["inputs"]["fps"] == 16.0
    assert installed("comfy", "add", str(tmp_path / "mine.json"), "--id", "my-boat") == Conflict.exit_code


def test_places_may_be_named_and_pictures_are_handed_in(comfy: Comfy, tmp_path: Path) -> None:
    graph = {
        **plain(),
        "40": {"class_type": "LoadImage", "inputs": {"image": "boat.png"}},
        "41": {"class_type": "SaveImage", "inputs": {"images": ["40", 0], "filename_prefix": "x"}},
    }
    made = register(graph, "framed", told=["last_frame=40.image", "sampler=3.sampler_name"], schema=SCHEMA, origin="mine.json")
    assert made.places["last_frame"] == ["40.image"]
    catalog.card.cards.cache_clear()
    card = catalog.find("framed")
    assert card.accepts == (frozenset({Role.LAST_FRAME}),)
    assert card.options["sampler"]["default"] == "euler"
    shot = shot_of(
        card, inputs=(Input(Role.LAST_FRAME, str(picture(tmp_path / "a.png"))),), width=128, height=128, seconds=0.5,
        options={"sampler": "uni_pc"},
    )  # fmt: skip
    backend_of(comfy.address).generate(shot, LocalRun()).close()
    sent = comfy.posts[0]["prompt"]
    assert sent["40"]["inputs"]["image"] in comfy.uploads
    assert sent["3"]["inputs"]["sampler_name"] == "uni_pc"


def test_places_written_into_the_workflow_itself_are_taken() -> None:
    made = register(graphs.as_graph(NOISE, "noise"), "noisy", told=[], schema=SCHEMA, origin="noise.json")
    assert {"prompt", "seed", "strength", "width", "file"} <= set(made.places)


def test_without_a_server_api_form_goes_and_the_editors_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REELWRIGHT_COMFY_SERVERS", "http://127.0.0.1:9")
    settings.current.cache_clear()
    for name, content, code in (("api", plain(), 0), ("drawn", drawing(), Unavailable.exit_code)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        with pytest.raises(SystemExit) as end:
            cli.main(["comfy", "add", str(tmp_path / f"{name}.json"), "--id", name])
        assert int(end.value.code or 0) == code
    assert "Export (API)" in capsys.readouterr().err
    assert [path.name for path in (home / "cards").iterdir()] == ["api.toml"]


@pytest.mark.parametrize("name", ["../x", "", "A B", "x/y"])
def test_an_id_is_no_path(name: str) -> None:
    with pytest.raises(RequestError):
        register(plain(), name, told=[], schema={}, origin="mine.json")


def test_a_workflow_without_places_is_refused() -> None:
    graph = {"1": {"class_type": "SaveVideo", "inputs": {"filename_prefix": "x"}}}
    with pytest.raises(RequestError, match="nothing in mine"):
        register(graph, "bare", told=[], schema={}, origin="mine.json")


def test_the_servers_are_listed_with_what_they_lack(
    comfy: Comfy, another: Callable[..., Comfy], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    comfy.models["vae"].remove("mochi_vae.safetensors")
    comfy.without = ("ADE_AnimateDiffLoaderGen1",)
    monkeypatch.setenv("REELWRIGHT_COMFY_SERVERS", f"{comfy.address},http://127.0.0.1:9")
    settings.current.cache_clear()
    with pytest.raises(SystemExit):
        cli.main(["comfy", "servers", "--json"])
    told = json.loads(capsys.readouterr().out)
    rows = told if isinstance(told, list) else next(iter(told.values()))
    up, away = rows
    assert (up["version"], up["queue"]) == ("0.3.64", 0)
    assert "comfy-wan-2.1" in up["ready"]
    assert "comfy-mochi: mochi_vae.safetensors" in up["lacks"]
    assert "comfy-animatediff: ADE_AnimateDiffLoaderGen1" in up["lacks"]
    assert away["state"].startswith("away")


def test_what_a_server_lacks_is_told_apart() -> None:
    graph = {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "gone.safetensors", "weight_dtype": "fp4"}},
        "2": {"class_type": "Nowhere", "inputs": {}},
    }
    found = faults.lacks(graph, SCHEMA)
    assert found.nodes == ("Nowhere",)
    assert found.models == (("gone.safetensors", "unet_name"),)
    assert "weight_dtype 'fp4'" in found.values[0]
