"""Tiny Wan 2.1, Wan 2.2 and SkyReels-V2 pipelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diffusers import (
    AutoencoderKLWan,
    SkyReelsV2DiffusionForcingPipeline,
    SkyReelsV2ImageToVideoPipeline,
    SkyReelsV2Pipeline,
    SkyReelsV2Transformer3DModel,
    UniPCMultistepScheduler,
    WanAnimatePipeline,
    WanAnimateTransformer3DModel,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
    WanVACEPipeline,
    WanVACETransformer3DModel,
    WanVideoToVideoPipeline,
)
from tests.tiny.seeded import dezero, louder, seeded
from tests.tiny.text_t5 import t5_tokenizer, umt5_encoder
from tests.tiny.variant import Variant
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel

TEXT_WIDTH = 32
IMAGE_WIDTH = 20
IMAGE_PATCHES = (28 // 14) ** 2
HEAD = {"num_attention_heads": 3, "attention_head_dim": 16, "freq_dim": 24, "ffn_dim": 56, "num_layers": 2}

LONG_TEXT: Mapping[str, Any] = {"max_sequence_length": 512}
"""The attention of Wan 2.1's image models counts 512 text tokens from the end; any other count mixes text and image."""


def wan_vae() -> AutoencoderKLWan:
    """The autoencoder of Wan 2.1: 16 channels, 8 times smaller in space, 4 times in time."""
    with seeded(21):
        vae = AutoencoderKLWan(
            base_dim=4, dim_mult=[1, 2, 2, 2], num_res_blocks=1, z_dim=16, temperal_downsample=[False, True, True]
        )
    # The middle attention ends in a zero layer in training; here it must pass what it reads.
    return dezero(vae).eval()


def wan_vae22() -> AutoencoderKLWan:
    """The autoencoder of Wan 2.2's 5B model: 48 channels, 16 times smaller in space, 4 times in time."""
    with seeded(22):
        vae = AutoencoderKLWan(
            base_dim=4,
            decoder_base_dim=6,
            dim_mult=[1, 2, 2, 2],
            num_res_blocks=1,
            z_dim=48,
            temperal_downsample=[False, True, True],
            is_residual=True,
            in_channels=12,
            out_channels=12,
            patch_size=2,
            scale_factor_spatial=16,
            scale_factor_temporal=4,
            latents_mean=[0.01 * channel for channel in range(48)],
            latents_std=[1.0 + 0.01 * channel for channel in range(48)],
        )
    return dezero(vae).eval()


def wan_scheduler(shift: float = 3.0) -> UniPCMultistepScheduler:
    """The solver that Wan is published with."""
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=shift
    )


def wan_transformer(seed: int = 23, kind: type[Any] = WanTransformer3DModel, **more: Any) -> Any:
    """A denoiser of Wan's kind; `more` goes to its constructor."""
    with seeded(seed):
        transformer = dezero(kind(text_dim=TEXT_WIDTH, cross_attn_norm=True, **HEAD, **more))
    # Of the 512 text tokens nearly all are padding: the attention must be sharp to find the prompt among them.
    return louder(transformer, {"attn2.norm_q": 4.0, "attn2.to_out.0.weight": 4.0}).eval()


def vision_encoder() -> CLIPVisionModel:
    """A CLIP vision tower that sees a picture as 2 x 2 patches and a summary."""
    with seeded(24):
        config = CLIPVisionConfig(
            hidden_size=IMAGE_WIDTH,
            intermediate_size=36,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
            # Sharp weights: with CLIP's own spread of 0.02 all pictures would look alike to so small a tower.
            initializer_range=0.5,
        )
        return CLIPVisionModel(config).eval()


def image_processor() -> CLIPImageProcessorPil:
    """Cuts pictures to the 28 px of `vision_encoder`."""
    return CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})


def _text() -> dict[str, Any]:
    """The parts that every pipeline of the family has for reading a prompt."""
    tokenizer = t5_tokenizer()
    return {"tokenizer": tokenizer, "text_encoder": umt5_encoder(TEXT_WIDTH, tokenizer)}


def _plain(pipeline: type[Any]) -> Callable[[], Any]:
    """A builder of a pipeline that needs only text, autoencoder, solver and one denoiser."""
    return lambda: pipeline(**_text(), vae=wan_vae(), scheduler=wan_scheduler(), transformer=wan_transformer())


def _t2v22() -> Any:
    """Wan 2.2 A14B: one denoiser for the noisy steps, another below 0.875 of the way."""
    return WanPipeline(
        **_text(),
        vae=wan_vae(),
        scheduler=wan_scheduler(),
        transformer=wan_transformer(),
        transformer_2=wan_transformer(seed=25),
        boundary_ratio=0.875,
    )


def _ti2v5b(pipeline: type[Any]) -> Callable[[], Any]:
    """A builder of Wan 2.2 TI2V-5B, which has a time step for each token."""
    return lambda: pipeline(
        **_text(),
        vae=wan_vae22(),
        scheduler=wan_scheduler(5.0),
        transformer=wan_transformer(in_channels=48, out_channels=48),
        expand_timesteps=True,
    )


def _looking(**more: Any) -> Callable[[], Any]:
    """A builder of Wan 2.1 image-to-video: the picture goes through CLIP and in beside the noise."""

    def build() -> Any:
        transformer = wan_transformer(in_channels=36, image_dim=IMAGE_WIDTH, added_kv_proj_dim=48, **more)
        return WanImageToVideoPipeline(
            **_text(),
            vae=wan_vae(),
            scheduler=wan_scheduler(),
            transformer=transformer,
            image_encoder=vision_encoder(),
            image_processor=image_processor(),
        )

    return build


def _i2v22() -> Any:
    """Wan 2.2 A14B image-to-video: two denoisers, no CLIP."""
    return WanImageToVideoPipeline(
        **_text(),
        vae=wan_vae(),
        scheduler=wan_scheduler(),
        transformer=wan_transformer(in_channels=36),
        transformer_2=wan_transformer(seed=25, in_channels=36),
        boundary_ratio=0.9,
    )


def _vace() -> Any:
    """Wan VACE: every second layer has a twin that reads the control video."""
    transformer = wan_transformer(kind=WanVACETransformer3DModel, vace_layers=[0], vace_in_channels=96)
    return WanVACEPipeline(**_text(), vae=wan_vae(), scheduler=wan_scheduler(), transformer=transformer)


def _animate() -> Any:
    """Wan-Animate: a portrait moves as a pose video and a face video say."""
    transformer = wan_transformer(
        kind=WanAnimateTransformer3DModel,
        in_channels=36,
        latent_channels=16,
        out_channels=16,
        image_dim=IMAGE_WIDTH,
        added_kv_proj_dim=48,
        motion_encoder_channel_sizes={"4": 8, "8": 8, "16": 8},
        motion_encoder_size=16,
        motion_style_dim=8,
        motion_dim=6,
        motion_encoder_dim=18,
        face_encoder_hidden_dim=24,
        face_encoder_num_heads=2,
        inject_face_latents_blocks=2,
    )
    return WanAnimatePipeline(
        **_text(),
        vae=wan_vae(),
        scheduler=wan_scheduler(5.0),
        transformer=transformer,
        image_encoder=vision_encoder(),
        image_processor=image_processor(),
    )


def _skyreels(pipeline: type[Any], **more: Any) -> Callable[[], Any]:
    """A builder of a SkyReels-V2 pipeline without pictures."""
    return lambda: pipeline(
        **_text(),
        vae=wan_vae(),
        scheduler=wan_scheduler(8.0),
        transformer=wan_transformer(kind=SkyReelsV2Transformer3DModel, **more),
    )


def _skyreels_i2v() -> Any:
    """SkyReels-V2 image-to-video, with CLIP as in Wan 2.1."""
    return SkyReelsV2ImageToVideoPipeline(
        **_text(),
        vae=wan_vae(),
        scheduler=wan_scheduler(5.0),
        transformer=wan_transformer(
            kind=SkyReelsV2Transformer3DModel, in_channels=36, image_dim=IMAGE_WIDTH, added_kv_proj_dim=48
        ),
        image_encoder=vision_encoder(),
        image_processor=image_processor(),
    )


FIRST = ("first_frame",)
BOTH = ("first_frame", "last_frame")

VARIANTS: dict[str, Variant] = {
    "wan_t2v": Variant(_plain(WanPipeline), "WanPipeline", loras=True),
    "wan_t2v22": Variant(_t2v22, "WanPipeline", loras=True),
    "wan_ti2v5b": Variant(_ti2v5b(WanPipeline), "WanPipeline", size_step=32, loras=True),
    "wan_ti2v5b_i2v": Variant(_ti2v5b(WanImageToVideoPipeline), "WanImageToVideoPipeline", FIRST, size_step=32, loras=True),
    "wan_i2v": Variant(_looking(), "WanImageToVideoPipeline", FIRST, call=LONG_TEXT, loras=True),
    "wan_i2v22": Variant(_i2v22, "WanImageToVideoPipeline", FIRST, loras=True),
    # Both pictures are read as one row of tokens, so the table of positions holds both.
    "wan_flf2v": Variant(
        _looking(pos_embed_seq_len=2 * (IMAGE_PATCHES + 1)), "WanImageToVideoPipeline", BOTH, call=LONG_TEXT, loras=True
    ),
    "wan_v2v": Variant(_plain(WanVideoToVideoPipeline), "WanVideoToVideoPipeline", ("source",), loras=True),
    "wan_vace": Variant(_vace, "WanVACEPipeline", loras=True),
    "wan_animate": Variant(_animate, "WanAnimatePipeline", ("portrait", "control", "driving"), call=LONG_TEXT, loras=True),
    "skyreels_t2v": Variant(_skyreels(SkyReelsV2Pipeline), "SkyReelsV2Pipeline", loras=True),
    "skyreels_df": Variant(
        _skyreels(SkyReelsV2DiffusionForcingPipeline, inject_sample_info=True, num_frame_per_block=1),
        "SkyReelsV2DiffusionForcingPipeline",
        loras=True,
    ),
    "skyreels_i2v": Variant(_skyreels_i2v, "SkyReelsV2ImageToVideoPipeline", FIRST, call=LONG_TEXT, loras=True),
}
