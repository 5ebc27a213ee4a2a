"""Pipelines of published architectures with random weights, saved as folders: what they cost is real, what they show is noise.

The networks have every layer, width and buffer of the published ones (configurations: diffusers' own conversion scripts).
Their parameters are made on the device in the type that they are kept in, so that no float32 copy is ever needed. Text
encoders are one narrow layer of the right width, unless real sizes are asked for: a UMT5-XXL alone takes 11 GB of disk.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reelwright.catalog import Card, find

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

_TEXT = {"d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}
_SHORT_TEXT = {"d_kv": 64, "d_ff": 64, "num_layers": 1, "num_heads": 1}


@dataclass(frozen=True)
class Model:
    """A published model: the `card` that serves it, how its parts are built, and what is left of them with `small`."""

    card: str
    pipeline: str
    transformer: tuple[str, Mapping[str, Any], Mapping[str, Any]]
    vae: tuple[str, Mapping[str, Any], Mapping[str, Any]]
    scheduler: tuple[str, Mapping[str, Any]]
    text: str
    vocabulary: int
    text_width: int = 4096
    small_text_width: int = 64
    more: Mapping[str, Any] | None = None


_WAN_BLOCKS = {
    "patch_size": (1, 2, 2), "attention_head_dim": 128, "text_dim": 4096, "freq_dim": 256, "num_layers": 30, "eps": 1e-6,
    "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads",
}  # fmt: skip
_WAN_SMALL = {"num_attention_heads": 2, "attention_head_dim": 24, "ffn_dim": 96, "num_layers": 3, "text_dim": 64, "freq_dim": 32}
_WAN_SOLVER = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "num_train_timesteps": 1000}
_WAN_VAE = {"dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "temperal_downsample": [False, True, True]}
_LTX_STEPS = {
    "use_dynamic_shifting": True, "base_shift": 0.95, "max_shift": 2.05, "base_image_seq_len": 1024, "max_image_seq_len": 4096,
    "shift_terminal": 0.1,
}  # fmt: skip

MODELS: dict[str, Model] = {
    "ltx-2b": Model(
        "ltx-video-2b-0.9",
        "LTXPipeline",
        ("LTXVideoTransformer3DModel", {}, {
            "num_attention_heads": 3, "attention_head_dim": 16, "cross_attention_dim": 48, "num_layers": 3,
            "caption_channels": 64,
        }),
        ("AutoencoderKLLTXVideo", {}, {
            "block_out_channels": (8, 12, 16, 16), "decoder_block_out_channels": (8, 12, 16, 16),
            "layers_per_block": (1, 1, 1, 1, 1), "decoder_layers_per_block": (1, 1, 1, 1, 1),
        }),
        ("FlowMatchEulerDiscreteScheduler", _LTX_STEPS),
        "T5",
        32128,
    ),
    "wan-1.3b": Model(
        "wan-2.1-1.3b",
        "WanPipeline",
        ("WanTransformer3DModel", {**_WAN_BLOCKS, "num_attention_heads": 12, "ffn_dim": 8960}, _WAN_SMALL),
        ("AutoencoderKLWan", {**_WAN_VAE, "base_dim": 96, "z_dim": 16}, {
            "base_dim": 4, "dim_mult": [1, 2, 2, 2], "num_res_blocks": 1,
        }),
        ("UniPCMultistepScheduler", {**_WAN_SOLVER, "flow_shift": 3.0}),
        "UMT5",
        256384,
    ),
    "wan-5b": Model(
        "wan-2.2-ti2v-5b",
        "WanPipeline",
        ("WanTransformer3DModel",
         {**_WAN_BLOCKS, "num_attention_heads": 24, "ffn_dim": 14336, "in_channels": 48, "out_channels": 48}, _WAN_SMALL),
        ("AutoencoderKLWan", {
            **_WAN_VAE, "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "is_residual": True, "in_channels": 12,
            "out_channels": 12, "patch_size": 2, "scale_factor_spatial": 16, "scale_factor_temporal": 4,
            "latents_mean": [0.0] * 48, "latents_std": [1.0] * 48,
        }, {"base_dim": 4, "decoder_base_dim": 6, "dim_mult": [1, 2, 2, 2], "num_res_blocks": 1}),
        ("UniPCMultistepScheduler", {**_WAN_SOLVER, "flow_shift": 5.0}),
        "UMT5",
        256384,
        more={"expand_timesteps": True},
    ),
}  # fmt: skip
"""What can be built, by a short name."""


def large_ltx(layers: int = 10) -> Model:
    """LTX-2B with fewer layers of its full width and with a narrow decoder: a denoiser's weight that two cores can move."""
    model = MODELS["ltx-2b"]
    kind, _, _ = model.transformer
    vae, _, narrow = model.vae
    return replace(model, transformer=(kind, {"num_layers": layers}, {}), vae=(vae, {**narrow, "latent_channels": 128}, {}))


def save(model: Model, folder: Path, *, device: str = "cpu", small: bool = False, text: bool = False) -> Path:
    """Build a model and write it to `folder`, which is returned; `text`: with a text encoder of real size."""
    import diffusers
    import torch

    def part(known: tuple[str, Mapping[str, Any], Mapping[str, Any]], dtype: Any) -> Any:
        name, whole, less = known
        cls = getattr(diffusers, name)
        return filled(lambda: cls(**{**whole, **(less if small else {})}), device, dtype)

    kind, about = model.scheduler
    full = find(model.card).settings.get("full", ())
    vae = part(model.vae, torch.float32 if "vae" in full else torch.bfloat16)
    cls: Any = getattr(diffusers, model.pipeline)
    tokenizer, encoder = _texts(model, device, small=small, text=text)
    pipe = cls(
        tokenizer=tokenizer, text_encoder=encoder, vae=vae, transformer=part(model.transformer, torch.bfloat16),
        scheduler=getattr(diffusers, kind)(**about), **(model.more or {}),
    )  # fmt: skip
    pipe.save_pretrained(folder)
    return folder


def _texts(model: Model, device: str, *, small: bool, text: bool) -> tuple[Any, Any]:
    import torch
    import transformers
    from tests.tiny.text_t5 import t5_tokenizer

    tokenizer = t5_tokenizer()
    shape = {**(_TEXT if text else _SHORT_TEXT), "d_model": model.small_text_width if small else model.text_width}
    config = getattr(transformers, f"{model.text}Config")(
        vocab_size=model.vocabulary if text else len(tokenizer), feed_forward_proj="gated-gelu", dropout_rate=0.0, **shape
    )
    return tokenizer, filled(lambda: getattr(transformers, f"{model.text}EncoderModel")(config), device, torch.bfloat16)


def filled(build: Callable[[], Any], device: str, dtype: Any, seed: int = 7) -> Any:
    """A module whose parameters are made on `device` in `dtype`; buffers, such as tables of positions, are its own.

    Matrices are drawn with a spread of 0.02, norms are one, biases zero: activations stay finite through every layer.
    What a class keeps in float32 stays so.
    """
    import torch
    from accelerate import init_empty_weights

    with init_empty_weights():
        module = build()
    kept = tuple(getattr(module, "_keep_in_fp32_modules", None) or ())
    generator = torch.Generator(device).manual_seed(seed)
    for name, empty in list(module.named_parameters()):
        kind = torch.float32 if any(part in name.split(".") for part in kept) else dtype
        values = torch.empty(empty.shape, device=device, dtype=kind)
        if empty.ndim > 1 and "norm" not in name.rsplit(".", 2)[-2:][0]:
            values.normal_(0.0, 0.02, generator=generator)
        else:
            values.fill_(0.0 if name.endswith("bias") else 1.0)
        parent, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(parent), leaf, torch.nn.Parameter(values, requires_grad=False))
    if hasattr(module, "tie_weights"):
        module.tie_weights()
    return module.eval()


def served(model: Model, folder: Path, *, small: bool = False) -> Card:
    """The model's own card, for the folder; with `small`, for pictures and a network as small as they are there."""
    card = replace(find(model.card), id=f"bench-{model.card}", source=str(folder))
    if not small:
        return card
    kind = model.transformer[2]
    width = kind["num_attention_heads"] * kind["attention_head_dim"]
    denoiser = {**card.settings["denoiser"], "width": width, "layers": kind["num_layers"]}
    return replace(
        card,
        sizes=replace(card.sizes, native=((64, 64),), least=32),
        settings={**card.settings, "denoiser": denoiser},
    )
