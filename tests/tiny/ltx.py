"""Tiny LTX-Video pipelines: 0.9.0 and 0.9.5 kinds, conditions, latent upscaling, long videos."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffusers import (
    AutoencoderKLLTXVideo,
    FlowMatchEulerDiscreteScheduler,
    LTXConditionPipeline,
    LTXI2VLongMultiPromptPipeline,
    LTXImageToVideoPipeline,
    LTXLatentUpsamplePipeline,
    LTXPipeline,
    LTXVideoTransformer3DModel,
)
from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel
from tests.tiny.seeded import dezero, louder, seeded
from tests.tiny.text_t5 import t5_encoder, t5_tokenizer
from tests.tiny.variant import Variant

TEXT_WIDTH = 32
LATENT = 24


def _vae() -> AutoencoderKLLTXVideo:
    """The autoencoder of 0.9.0: three halvings after patches of 4 px, so 32 times smaller in space, 8 times in time."""
    with seeded(51):
        vae = AutoencoderKLLTXVideo(
            latent_channels=LATENT,
            block_out_channels=(8, 12, 16, 16),
            decoder_block_out_channels=(8, 12, 16, 16),
            layers_per_block=(1, 1, 1, 1, 1),
            decoder_layers_per_block=(1, 1, 1, 1, 1),
            spatio_temporal_scaling=(True, True, True, False),
            decoder_spatio_temporal_scaling=(True, True, True, False),
            patch_size=4,
        )
    return vae.eval()


def _vae095() -> AutoencoderKLLTXVideo:
    """The autoencoder of 0.9.5 and later: a decoder that knows the time step, halvings in space and time apart."""
    with seeded(52):
        vae = AutoencoderKLLTXVideo(
            latent_channels=LATENT,
            down_block_types=("LTXVideo095DownBlock3D",) * 4,
            block_out_channels=(8, 8, 16, 32, 32),
            decoder_block_out_channels=(8, 16, 32),
            layers_per_block=(1, 1, 1, 1, 1),
            decoder_layers_per_block=(1, 1, 1, 1),
            spatio_temporal_scaling=(True, True, True, True),
            decoder_spatio_temporal_scaling=(True, True, True),
            decoder_inject_noise=(False, False, False, False),
            downsample_type=("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
            upsample_residual=(True, True, True),
            upsample_factor=(2, 2, 2),
            timestep_conditioning=True,
            patch_size=4,
            decoder_causal=False,
            spatial_compression_ratio=32,
            temporal_compression_ratio=8,
        )
    return vae.eval()


def _transformer() -> LTXVideoTransformer3DModel:
    """The denoiser."""
    with seeded(53):
        transformer = LTXVideoTransformer3DModel(
            in_channels=LATENT,
            out_channels=LATENT,
            num_attention_heads=3,
            attention_head_dim=16,
            cross_attention_dim=48,
            num_layers=2,
            caption_channels=TEXT_WIDTH,
        )
    return louder(dezero(transformer), {"attn2.to_out.0.weight": 4.0}).eval()


def _scheduler(shifting: bool) -> FlowMatchEulerDiscreteScheduler:
    """The published solver; up to 0.9.1 its shift depends on the size, later it does not."""
    return FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=shifting,
        base_shift=0.95,
        max_shift=2.05,
        base_image_seq_len=1024,
        max_image_seq_len=4096,
        shift_terminal=0.1,
    )


def _builder(pipeline: type[Any], later: bool) -> Callable[[], Any]:
    """A builder of a `pipeline` as of 0.9.0, or 0.9.5 if `later`."""

    def build() -> Any:
        tokenizer = t5_tokenizer()
        return pipeline(
            tokenizer=tokenizer,
            text_encoder=t5_encoder(TEXT_WIDTH, tokenizer),
            vae=_vae095() if later else _vae(),
            transformer=_transformer(),
            scheduler=_scheduler(not later),
        )

    return build


def _upsample() -> LTXLatentUpsamplePipeline:
    """The latent upscaler of 0.9.7: twice as wide and high. Its norms have 32 groups, so no fewer channels."""
    with seeded(54):
        upsampler = LTXLatentUpsamplerModel(in_channels=LATENT, mid_channels=32, num_blocks_per_stage=1, dims=3)
    return LTXLatentUpsamplePipeline(vae=_vae095(), latent_upsampler=dezero(upsampler).eval())


CONDITION = _builder(LTXConditionPipeline, later=True)

VARIANTS: dict[str, Variant] = {
    "ltx_t2v": Variant(_builder(LTXPipeline, later=False), "LTXPipeline", step=8, size_step=32, loras=True),
    "ltx_t2v095": Variant(_builder(LTXPipeline, later=True), "LTXPipeline", step=8, size_step=32, loras=True),
    "ltx_i2v": Variant(
        _builder(LTXImageToVideoPipeline, later=False),
        "LTXImageToVideoPipeline",
        ("first_frame",),
        step=8,
        size_step=32,
        loras=True,
    ),
    "ltx_condition": Variant(CONDITION, "LTXConditionPipeline", ("first_frame",), step=8, size_step=32, loras=True),
    "ltx_condition_v2v": Variant(
        CONDITION,
        "LTXConditionPipeline",
        ("source",),
        step=8,
        size_step=32,
        # At full strength the source stays as it is, whatever the prompt says.
        call={"strength": 0.5},
        loras=True,
    ),
    "ltx_upsample": Variant(
        _upsample, "LTXLatentUpsamplePipeline", ("source",), size=(64, 64), step=8, size_step=32, prompt=False
    ),
    "ltx_long_i2v": Variant(
        _builder(LTXI2VLongMultiPromptPipeline, later=True),
        "LTXI2VLongMultiPromptPipeline",
        ("first_frame",),
        # It divides by the spread of a latent frame, which must therefore have more than one element.
        size=(64, 64),
        frames=25,
        given=25,
        step=8,
        size_step=32,
        # Windows shorter than the video, so that they are joined. Its decoding tiles overlap by 3 latents, too many here.
        call={
            "temporal_tile_size": 16,
            "temporal_overlap": 8,
            "decode_horizontal_tiles": 1,
            "decode_vertical_tiles": 1,
        },
        loras=True,
    ),
}
