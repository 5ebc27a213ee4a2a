"""Tiny Llama, Llava and Qwen parts: tokenizers trained on the pipelines' own templates, models of a few thousand weights.

The pipelines cut a fixed number of tokens, their template's, from the text: Llama 95 or 103, Qwen 108 or 128. A tokenizer
of single bytes would make the template several times as long and push the prompt out of the window, so that the output
would not depend on it. Trained on the templates, the tokenizers give each word of them one token, as the real ones do.
"""

from __future__ import annotations

import inspect
import json
from functools import cache
from typing import Any

from diffusers import HunyuanVideo15Pipeline, Kandinsky5T2VPipeline
from diffusers.pipelines.hunyuan_video import pipeline_hunyuan_video, pipeline_hunyuan_video_image2video
from tests.tiny.text_clip import clip_vision_config
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import ByteLevel as BytesDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import (
    LlamaConfig,
    LlamaModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLTextConfig,
    Qwen2_5_VLTextModel,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

BEGIN, END, PAD, IMAGE = "<|begin_of_text|>", "<|eot_id|>", "<pad>", "<image>"
LLAMA_MARKS = [PAD, BEGIN, "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", END, IMAGE]
QWEN_MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Qwen's models look for pictures and videos by the ids of these, which must not be those of words
QWEN_MEDIA = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
# How both families cut a text into words before they look for merges; they differ in how many digits stay together.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    # a text, or parts that have one
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def trained_words(texts: list[str], marks: list[str], digits: str) -> Tokenizer:
    """A tokenizer with one token for each byte and for each word of `texts`; `marks` come first and stay whole."""
    made = Tokenizer(BPE())
    words = Split(Regex(WORDS.format(digits=digits)), behavior="isolated")
    made.pre_tokenizer = Sequence([words, ByteLevel(add_prefix_space=False, use_regex=False)])
    made.decoder = BytesDecoder()
    # more than the merges of the templates need: training ends when every word is one token
    trainer = BpeTrainer(
        vocab_size=4000, special_tokens=marks, initial_alphabet=sorted(ByteLevel.alphabet()), show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    return made


@cache
def _llama_words() -> str:
    """The trained Llama tokenizer as JSON, so that each caller gets one of its own."""
    templates = [pipeline_hunyuan_video.DEFAULT_PROMPT_TEMPLATE, pipeline_hunyuan_video_image2video.DEFAULT_PROMPT_TEMPLATE]
    trained = trained_words([template["template"] for template in templates], LLAMA_MARKS, "{1,3}")
    begin = (BEGIN, trained.token_to_id(BEGIN))
    trained.post_processor = TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[begin])
    return trained.to_str()


@cache
def _qwen_words() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The vocabulary and the merges of the Qwen tokenizer."""
    asked = inspect.signature(HunyuanVideo15Pipeline._get_mllm_prompt_embeds).parameters["system_message"].default
    # The template is an attribute of an instance; without its parts the pipeline still has it.
    template = Kandinsky5T2VPipeline(**dict.fromkeys(inspect.signature(Kandinsky5T2VPipeline).parameters)).prompt_template
    # three words that the real tokenizer does not know whole either
    for begin, end in (("dynam", "ism"), ("scr", "en"), ("post", "processing")):
        template = template.replace(begin + end, f"{begin}\n{end}")
    trained = trained_words([asked, template, "system\nuser\nassistant\n"], QWEN_MARKS, "")
    model = json.loads(trained.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def llama_tokenizer() -> PreTrainedTokenizerFast:
    """A Llama tokenizer for which HunyuanVideo's templates are as long as for the real one."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_llama_words()),
        bos_token=BEGIN,
        eos_token="<|end_of_text|>",
        pad_token=PAD,
        padding_side="right",
        model_max_length=2048,
    )


def llama_config(width: int = 32) -> LlamaConfig:
    """A Llama for the ids of `llama_tokenizer`. The pipelines read the third hidden state from the end: three layers."""
    tokenizer = llama_tokenizer()
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 2,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def llama(width: int = 32) -> LlamaModel:
    """The text model of HunyuanVideo."""
    return LlamaModel(llama_config(width)).eval()


def llava(width: int = 32) -> LlavaForConditionalGeneration:
    """The text model of HunyuanVideo's image-to-video; a picture has to be 576 tokens, 24 x 24 patches."""
    tokenizer = llama_tokenizer()
    config = LlavaConfig(
        text_config=llama_config(width),
        vision_config=clip_vision_config(side=48, patch=2, width=16, projection=16),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=576,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlavaForConditionalGeneration(config).eval()


def qwen_tokenizer(padding_side: str = "right") -> Qwen2Tokenizer:
    """A Qwen2 tokenizer for which the pipelines' templates are as long as for the real one."""
    vocabulary, merges = _qwen_words()
    made = Qwen2Tokenizer(
        vocab=dict(vocabulary),
        merges=list(merges),
        extra_special_tokens=QWEN_MARKS[1:] + QWEN_MEDIA,
        padding_side=padding_side,
        model_max_length=2048,
    )
    made.chat_template = CHAT
    return made


def _qwen_sizes(width: int, heads: int = 2) -> dict[str, Any]:
    """What the text part of a Qwen-VL model for the ids of `qwen_tokenizer` is made of."""
    tokenizer, half = qwen_tokenizer(), width // heads // 2
    # the rotary positions: so many pairs for time, for height and for width
    sections = [half - 2 * (half // 3), half // 3, half // 3]
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": width * 2,
        "num_hidden_layers": 3,
        "num_attention_heads": heads,
        "num_key_value_heads": 1,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.convert_tokens_to_ids(QWEN_MARKS[2]),
        "rope_parameters": {"rope_type": "default", "mrope_section": sections, "rope_theta": 10000.0},
    }


def _media() -> dict[str, int]:
    """The ids by which Qwen-VL models know where a picture or a video is."""
    tokenizer = qwen_tokenizer()
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    return dict(zip(names, tokenizer.convert_tokens_to_ids(QWEN_MEDIA), strict=True))


def qwen_text(width: int = 32) -> Qwen2_5_VLTextModel:
    """The text part of Qwen2.5-VL alone, as HunyuanVideo-1.5 has it."""
    return Qwen2_5_VLTextModel(Qwen2_5_VLTextConfig(**_qwen_sizes(width))).eval()


def qwen(width: int = 32) -> Qwen2_5_VLForConditionalGeneration:
    """Qwen2.5-VL with its picture part, as Kandinsky has it."""
    eyes = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": width}
    config = Qwen2_5_VLConfig(text_config=_qwen_sizes(width), vision_config=eyes | {"fullatt_block_indexes": [0]}, **_media())
    return Qwen2_5_VLForConditionalGeneration(config).eval()


def qwen_first(width: int = 32) -> Qwen2VLForConditionalGeneration:
    """Qwen2-VL with its picture part, as EasyAnimate has it."""
    eyes = {"depth": 1, "embed_dim": 16, "hidden_size": width, "num_heads": 2, "mlp_ratio": 2}
    config = Qwen2VLConfig(text_config=_qwen_sizes(width), vision_config=eyes, **_media())
    return Qwen2VLForConditionalGeneration(config).eval()
