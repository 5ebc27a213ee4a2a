"""What a server lacks for a workflow, and what it says went wrong, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reelwright.backends.comfy.client import Answer, table
from reelwright.backends.comfy.graphs import FILES, Graph, choices
from reelwright.catalog import Card
from reelwright.errors import BackendError, OutOfMemory, ProviderFailed, ReelwrightError, Unavailable

_WEIGHTS = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx")
_FOLDERS = {
    "ckpt_name": "checkpoints", "unet_name": "diffusion_models", "clip_name": "text_encoders", "clip_name1": "text_encoders",
    "clip_name2": "text_encoders", "vae_name": "vae", "lora_name": "loras", "model_name": "upscale_models",
    "control_net_name": "controlnet", "audio_encoder_name": "audio_encoders", "style_model_name": "style_models",
}  # fmt: skip
"""Where ComfyUI looks for a file that is named by an input of this name."""


@dataclass(frozen=True)
class Lack:
    """What a server has not: classes of nodes, files of models (with the input that names each), values that it does not know."""

    nodes: tuple[str, ...] = ()
    models: tuple[tuple[str, str], ...] = ()
    values: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.nodes or self.models or self.values)


def lacks(graph: Graph, schema: Mapping[str, Any]) -> Lack:
    """What a server with this schema lacks for a graph. Places that are not set, and uploaded files, are not looked at."""
    nodes, models, values = [], [], []
    for name, node in graph.items():
        kind = node["class_type"]
        if kind not in schema:
            nodes.append(kind)
            continue
        inputs = schema[kind].get("input", {})
        for key, spec in {**(inputs.get("required") or {}), **(inputs.get("optional") or {})}.items():
            value, able = node["inputs"].get(key), choices(spec)
            if able is None or isinstance(value, list) or value is None or key == FILES.get(kind) or _is_place(value):
                continue
            if value in able:
                continue
            if str(value).lower().endswith(_WEIGHTS):
                models.append((str(value), key))
            else:
                values.append(f"{key} {value!r} of node {name} ({kind})")
    return Lack(tuple(dict.fromkeys(nodes)), tuple(dict.fromkeys(models)), tuple(values))


def _is_place(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("{") and value.endswith("}")


def lacking(card: Card, address: str, lack: Lack) -> Unavailable:
    """The error that says what a server lacks for a card, and where it is had."""
    known = {each["file"]: each for each in card.settings.get("models", ())}
    packs = card.settings.get("packs", ())
    parts, steps, files = [], [], []
    if lack.models:
        parts.append(f"the model file{'s' * (len(lack.models) > 1)} {', '.join(file for file, _ in lack.models)}")
    for file, key in lack.models:
        folder = known.get(file, {}).get("folder") or _FOLDERS.get(key, "...")
        page = known.get(file, {}).get("page", "")
        files.append({"file": file, "folder": folder, "page": page})
        steps.append(f"Download {file}{f' from {page}' if page else ''} into ComfyUI's models/{folder}.")
    if lack.nodes:
        parts.append(f"the node{'s' * (len(lack.nodes) > 1)} {', '.join(lack.nodes)}")
        own = [pack for pack in packs if set(pack.get("nodes", ())) & set(lack.nodes)]
        steps += [f"Install {pack['name']} ({pack['page']}) there." for pack in own]
        if not own:
            steps.append("Update ComfyUI, or install the custom nodes that the workflow uses.")
    if lack.values:
        parts.append(f"the value {'; '.join(lack.values)}")
    return Unavailable(
        f"the ComfyUI server at {address} lacks {' and '.join(parts)} for {card.title}",
        hint=" ".join(steps),
        retryable=False,
        model=card.id,
        models=files,
        nodes=list(lack.nodes),
    )


def refused(card: Card, address: str, answer: Answer) -> ReelwrightError:
    """An order that was not taken."""
    told = table(answer.json)
    error = table(told.get("error"))
    if missing := table(error.get("extra_info")).get("class_type"):
        return lacking(card, address, Lack(nodes=(str(missing),)))
    models, reasons = [], []
    for name, node in (told.get("node_errors") or {}).items():
        for fault in node.get("errors") or ():
            about = fault.get("extra_info") or {}
            value = str(about.get("received_value", ""))
            if fault.get("type") == "value_not_in_list" and value.lower().endswith(_WEIGHTS):
                models.append((value, str(about.get("input_name", ""))))
            else:
                where = f"node {name} ({node.get('class_type', '?')})"
                reasons.append(f"{where}: {fault.get('message', '?')}, {fault.get('details', '')}")
    if models:
        return lacking(card, address, Lack(models=tuple(dict.fromkeys(models))))
    if answer.status == 403:
        why = f"{address} refuses to be asked by this program (403)"
        return ProviderFailed(why, hint="Look at what stands in front of it.", retryable=False)
    if answer.status >= 500:
        return ProviderFailed(f"{address} has a fault ({answer.status}): {answer.text}")
    why = "; ".join(reasons) or str(error.get("message") or answer.text or answer.status)
    return BackendError(f"ComfyUI does not take the workflow of {card.title}: {why}", model=card.id, server=address)


def failure(card: Card, address: str, entry: Mapping[str, Any]) -> ReelwrightError | None:
    """What went wrong, from an entry of the history; None if nothing did."""
    status = table(entry.get("status"))
    if status.get("status_str") != "error" and status.get("completed") is not False:
        return None
    told = {message[0]: message[1] for message in status.get("messages") or () if isinstance(message, list) and len(message) == 2}
    if "execution_error" not in told:
        return BackendError(f"{card.title} was interrupted on the ComfyUI server at {address}", retryable=True, model=card.id)
    fault = told["execution_error"]
    kind = str(fault.get("exception_type", "")).rsplit(".", 1)[-1]
    said = " ".join(str(fault.get("exception_message", "")).split())[:500]
    where = f"node {fault.get('node_id')} ({fault.get('node_type')})"
    if kind == "OutOfMemoryError" or "out of memory" in said.lower():
        return OutOfMemory(
            f"the ComfyUI server at {address} ran out of memory in {where}",
            hint="Ask for a smaller size or fewer frames, or free its memory.",
            model=card.id,
        )
    trace = fault.get("traceback")
    lines = [str(line).rstrip() for line in trace][-8:] if isinstance(trace, list) else []
    return BackendError(f"{card.title} failed in {where}: {kind}: {said}", model=card.id, server=address, last_lines=lines)
