"""The schema that the stand-in tells, in the words of /object_info: written from the nodes of ComfyUI 0.3.64 and newer.

A line is a class and its inputs: NAME:TYPE, NAME:INT=DEFAULT/STEP, NAME:[a,b] for a choice, with `?` if it is optional.
"""

from __future__ import annotations

from typing import Any

MODELS = {
    "checkpoints": ["ltx-video-2b-v0.9.5.safetensors", "svd_xt.safetensors", "v1-5-pruned-emaonly.safetensors"],
    "diffusion_models": [
        "wan2.1_t2v_1.3B_fp16.safetensors", "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors",
        "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors", "wan2.1_i2v_480p_14B_fp8_e4m3fn.safetensors",
        "wan2.2_s2v_14B_fp8_scaled.safetensors", "hunyuan_video_t2v_720p_bf16.safetensors", "mochi_preview_bf16.safetensors",
    ],
    "text_encoders": [
        "t5xxl_fp16.safetensors", "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "clip_l.safetensors",
        "llava_llama3_fp8_scaled.safetensors",
    ],
    "vae": ["wan_2.1_vae.safetensors", "hunyuan_video_vae_bf16.safetensors", "mochi_vae.safetensors"],
    "clip_vision": ["clip_vision_h.safetensors"],
    "audio_encoders": ["wav2vec2_large_english_fp16.safetensors"],
    "upscale_models": ["RealESRGAN_x4plus.safetensors"],
    "animatediff_models": ["mm_sd_v15_v2.ckpt"],
}  # fmt: skip
FOLDERS = {
    "CheckpointLoaderSimple": "checkpoints", "ImageOnlyCheckpointLoader": "checkpoints", "UNETLoader": "diffusion_models",
    "CLIPLoader": "text_encoders", "DualCLIPLoader": "text_encoders", "VAELoader": "vae", "CLIPVisionLoader": "clip_vision",
    "AudioEncoderLoader": "audio_encoders", "UpscaleModelLoader": "upscale_models",
    "ADE_AnimateDiffLoaderGen1": "animatediff_models",
}  # fmt: skip
_SAMPLERS = "[euler,uni_pc,dpmpp_2m]"
_SCHEDULERS = "[normal,karras,simple]"
_SIZE = "width:INT=512/16 height:INT=512/16"
LINES = f"""
CheckpointLoaderSimple ckpt_name:MODEL_FILE
ImageOnlyCheckpointLoader ckpt_name:MODEL_FILE
UNETLoader unet_name:MODEL_FILE weight_dtype:[default,fp8_e4m3fn]
CLIPLoader clip_name:MODEL_FILE type:[wan,ltxv,mochi,hunyuan_video] device:[default,cpu]?
DualCLIPLoader clip_name1:MODEL_FILE clip_name2:MODEL_FILE type:[sdxl,flux,hunyuan_video] device:[default,cpu]?
VAELoader vae_name:MODEL_FILE
CLIPVisionLoader clip_name:MODEL_FILE
CLIPVisionEncode clip_vision:CLIP_VISION image:IMAGE crop:[center,none]
AudioEncoderLoader audio_encoder_name:MODEL_FILE
AudioEncoderEncode audio_encoder:AUDIO_ENCODER audio:AUDIO
UpscaleModelLoader model_name:MODEL_FILE
ImageUpscaleWithModel upscale_model:UPSCALE_MODEL image:IMAGE
ImageScale image:IMAGE upscale_method:[nearest-exact,lanczos] {_SIZE} crop:[disabled,center]
CLIPTextEncode text:STRING clip:CLIP
ConditioningZeroOut conditioning:CONDITIONING
FluxGuidance conditioning:CONDITIONING guidance:FLOAT=3.5
ModelSamplingSD3 model:MODEL shift:FLOAT=3.0
VideoLinearCFGGuidance model:MODEL min_cfg:FLOAT=1.0
EmptyImage {_SIZE} batch_size:INT=1 color:INT=0
ImageAddNoise image:IMAGE seed:INT=0 strength:FLOAT=0.5
EmptyLatentImage {_SIZE} batch_size:INT=1
EmptyLTXVLatentVideo width:INT=768/32 height:INT=512/32 length:INT=97/8 batch_size:INT=1
EmptyHunyuanLatentVideo {_SIZE} length:INT=25/4 batch_size:INT=1
EmptyMochiLatentVideo {_SIZE} length:INT=25/6 batch_size:INT=1
LTXVImgToVideo positive:C negative:C vae:VAE image:IMAGE {_SIZE} length:INT=97/8 batch_size:INT=1 strength:FLOAT=1.0
LTXVConditioning positive:CONDITIONING negative:CONDITIONING frame_rate:FLOAT=25.0
LTXVScheduler steps:INT=20 max_shift:FLOAT=2.05 base_shift:FLOAT=0.95 stretch:BOOLEAN terminal:FLOAT=0.1 latent:LATENT?
WanImageToVideo positive:C negative:C vae:VAE {_SIZE} length:INT=81/4 batch_size:INT=1 clip_vision_output:X? start_image:IMAGE?
WanSoundImageToVideo positive:C negative:C vae:VAE {_SIZE} length:INT=77/4 batch_size:INT=1 \
audio_encoder_output:X? ref_image:IMAGE?
SVD_img2vid_Conditioning clip_vision:X init_image:IMAGE vae:VAE {_SIZE} video_frames:INT motion_bucket_id:INT fps:INT \
augmentation_level:FLOAT
KSampler model:MODEL seed:INT=0 steps:INT=20 cfg:FLOAT=8.0 sampler_name:{_SAMPLERS} scheduler:{_SCHEDULERS} positive:C \
negative:C latent_image:LATENT denoise:FLOAT=1.0
KSamplerAdvanced model:MODEL add_noise:[enable,disable] noise_seed:INT=0 steps:INT=20 cfg:FLOAT=8.0 sampler_name:{_SAMPLERS} \
scheduler:{_SCHEDULERS} positive:C negative:C latent_image:LATENT start_at_step:INT=0 end_at_step:INT=10000 \
return_with_leftover_noise:[disable,enable]
KSamplerSelect sampler_name:{_SAMPLERS}
BasicScheduler model:MODEL scheduler:{_SCHEDULERS} steps:INT=20 denoise:FLOAT=1.0
BasicGuider model:MODEL conditioning:CONDITIONING
RandomNoise noise_seed:INT=0
SamplerCustom model:MODEL add_noise:BOOLEAN noise_seed:INT=0 cfg:FLOAT=8.0 positive:C negative:C sampler:SAMPLER sigmas:SIGMAS \
latent_image:LATENT
SamplerCustomAdvanced noise:NOISE guider:GUIDER sampler:SAMPLER sigmas:SIGMAS latent_image:LATENT
VAEDecode samples:LATENT vae:VAE
VAEDecodeTiled samples:LATENT vae:VAE tile_size:INT=512 overlap:INT=64 temporal_size:INT=64 temporal_overlap:INT=8
ADE_StandardStaticContextOptions context_length:INT=16 context_overlap:INT=4 fuse_method:[pyramid,flat]? \
use_on_equal_length:BOOLEAN? start_percent:FLOAT=0.0? guarantee_steps:INT=1?
ADE_AnimateDiffLoaderGen1 model:MODEL model_name:MODEL_FILE beta_schedule:[autoselect,lcm] context_options:CONTEXT_OPTIONS?
LoadImage image:INPUT_FILE
LoadAudio audio:INPUT_FILE
LoadVideo file:INPUT_FILE
GetVideoComponents video:VIDEO
CreateVideo images:IMAGE fps:FLOAT=30.0 audio:AUDIO?
SaveVideo video:VIDEO filename_prefix:STRING=video/ComfyUI format:[auto,mp4] codec:[auto,h264]
PrimitiveString value:STRING
PrimitiveInt value:INT
SaveImage images:IMAGE filename_prefix:STRING=ComfyUI
"""


def schema(models: dict[str, list[str]], files: list[str]) -> dict[str, Any]:
    """All classes, as /object_info gives them."""
    made = {}
    for line in LINES.replace("\\\n", "").strip().splitlines():
        kind, *inputs = line.split()
        groups: dict[str, dict[str, Any]] = {"required": {}, "optional": {}}
        for each in inputs:
            name, _, what = each.partition(":")
            groups["optional" if what.endswith("?") else "required"][name] = _spec(kind, name, what.rstrip("?"), models, files)
        made[kind] = {
            "input": groups,
            "input_order": {group: list(each) for group, each in groups.items()},
            "output_node": kind.startswith("Save"),
        }
    return made


def _spec(kind: str, name: str, what: str, models: dict[str, list[str]], files: list[str]) -> list[Any]:
    if what == "MODEL_FILE":
        return [models[FOLDERS[kind]]]
    if what == "INPUT_FILE":
        return [files, {"image_upload": True}]
    if what.startswith("["):
        return [what.strip("[]").split(","), {}]
    word, _, default = what.partition("=")
    value, _, step = default.partition("/") if word == "INT" else (default, "", "")
    more: dict[str, Any] = {"step": int(step), "min": 1 if name in ("length", "video_frames") else 16} if step else {}
    if value:
        more["default"] = {"INT": int, "FLOAT": float}.get(word, str)(value)
    if name in ("seed", "noise_seed"):
        more["control_after_generate"] = True
    return [word, more]
