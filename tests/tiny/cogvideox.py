"""Tiny CogVideoX pipelines: the 2B, 5B and 1.5 kinds, text, image, video and control."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXFunControlPipeline,
    CogVideoXImageToVideoPipeline,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    CogVideoXVideoToVideoPipeline,
)

from tests.tiny.seeded import dezero, louder, seeded
from tests.tiny.text_t5 import t5_encoder, t5_tokenizer
from tests.tiny.variant import Variant

TEXT_WIDTH = 32
TOKENS = 226


def _vae(scaling: float, inverted: bool) -> AutoencoderKLCogVideoX:
    """The autoencoder: four blocks, so 8 times smaller in space, 4 times in time."""
    with seeded(31):
        vae = AutoencoderKLCogVideoX(
            block_out_channels=(8, 8, 12, 16),
            latent_channels=16,
            layers_per_block=1,
            norm_num_groups=2,
            temporal_compression_ratio=4,
            sample_height=48,
            sample_width=48,
            scaling_factor=scaling,
            invert_scale_latents=inverted,
        )
    return vae.eval()


def _transformer(**more: Any) -> CogVideoXTransformer3DModel:
    """The denoiser; `more` goes to its constructor. A latent of 32 x 32 px is 4 x 4, which is what it was made for."""
    with seeded(32):
        transformer = CogVideoXTransformer3DModel(
            num_attention_heads=3,
            attention_head_dim=16,
            time_embed_dim=12,
            text_embed_dim=TEXT_WIDTH,
            num_layers=2,
            sample_width=4,
            sample_height=4,
            sample_frames=9,
            temporal_compression_ratio=4,
            max_text_seq_length=TOKENS,
            **more,
        )
    # 226 text tokens, nearly all padding: without this a prompt is hardly heard.
    return louder(dezero(transformer), {"attn1.to_v": 2.0, "attn1.to_out.0.weight": 2.0}).eval()


def _builder(pipeline: type[Any], kind: str = "2b", **more: Any) -> Callable[[], Any]:
    """A builder of a `pipeline`; `kind` is "2b" (fixed positions), "5b" (rotary) or "15" (rotary, two frames a patch)."""

    def build() -> Any:
        tokenizer = t5_tokenizer()
        shape = dict(more)
        if kind != "2b":
            shape["use_rotary_positional_embeddings"] = True
        if kind == "15":
            shape |= {"patch_size_t": 2, "patch_bias": False}
        # The control pipeline has no call for the DPM solver's longer step.
        plain = kind == "2b" or pipeline is CogVideoXFunControlPipeline
        scheduler = CogVideoXDDIMScheduler if plain else CogVideoXDPMScheduler
        return pipeline(
            tokenizer=tokenizer,
            text_encoder=t5_encoder(TEXT_WIDTH, tokenizer),
            vae=_vae(1.15258426 if kind == "2b" else 0.7, inverted=kind == "15"),
            transformer=_transformer(**shape),
            scheduler=scheduler(
                beta_schedule="scaled_linear",
                beta_start=0.00085,
                beta_end=0.012,
                clip_sample=False,
                prediction_type="v_prediction",
                rescale_betas_zero_snr=True,
                set_alpha_to_one=True,
                snr_shift_scale=3.0 if kind == "2b" else 1.0,
                timestep_spacing="trailing",
            ),
        )

    return build


IMAGE = "CogVideoXImageToVideoPipeline"

VARIANTS: dict[str, Variant] = {
    "cogvideox_t2v": Variant(_builder(CogVideoXPipeline), "CogVideoXPipeline", loras=True),
    "cogvideox_5b": Variant(_builder(CogVideoXPipeline, "5b"), "CogVideoXPipeline", loras=True),
    "cogvideox_15": Variant(_builder(CogVideoXPipeline, "15"), "CogVideoXPipeline", step=8, loras=True),
    "cogvideox_i2v": Variant(
        # As the 5B model: the picture beside the noise, and a table of learned positions besides the rotary ones.
        _builder(CogVideoXImageToVideoPipeline, "5b", in_channels=32, use_learned_positional_embeddings=True),
        IMAGE,
        ("first_frame",),
        loras=True,
    ),
    "cogvideox_i2v15": Variant(
        _builder(CogVideoXImageToVideoPipeline, "15", in_channels=32, ofs_embed_dim=12),
        IMAGE,
        ("first_frame",),
        step=8,
        loras=True,
    ),
    "cogvideox_v2v": Variant(_builder(CogVideoXVideoToVideoPipeline), "CogVideoXVideoToVideoPipeline", ("source",), loras=True),
    "cogvideox_fun": Variant(
        _builder(CogVideoXFunControlPipeline, "5b", in_channels=32), "CogVideoXFunControlPipeline", ("control",), loras=True
    ),
}
