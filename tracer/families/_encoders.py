"""Text and image encoders that several families share, with the layouts of their tokenizers.

Parameters are counted on the meta device.
"""

from __future__ import annotations

from tracer.components import Layout, Part, Picture

_T5_XXL = {
    "vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}  # fmt: skip
T5_XXL = Part(
    "T5EncoderModel", _T5_XXL, "text_encoder/config.json of THUDM/CogVideoX-2b, saved from google/t5-v1_1-xxl",
    "verified", 4_762_310_656,
)  # fmt: skip
T5_TOKENS = Layout(after=((1, 1),), longest=512)

UMT5_XXL = Part(
    "UMT5EncoderModel", {**_T5_XXL, "vocab_size": 256384},
    "text_encoder/config.json of wavespeed/Wan2.1-T2V-14B-Diffusers-fp16, saved from Wan-AI/Wan2.1-T2V-14B-Diffusers",
    "verified", 5_680_910_336,
)  # fmt: skip

_LLAMA_3 = {
    "vocab_size": 128320, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}, "bos_token_id": 128000,
    "eos_token_id": 128001,
}  # fmt: skip
_LLAVA = (
    "config.json of asadfgglie/banban-vision-8b-v1-pretrain-zh, saved from xtuner/llava-llama-3-8b-v1_1-transformers"
)
LLAMA_3_8B = Part("LlamaModel", _LLAMA_3, f"text_config of {_LLAVA}", "derived", 7_505_186_816)
LLAVA_8B = Part(
    "LlavaForConditionalGeneration",
    {
        "text_config": {**_LLAMA_3, "model_type": "llama"},
        "vision_config": {
            "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "image_size": 336,
            "patch_size": 14, "num_attention_heads": 16, "num_hidden_layers": 24, "projection_dim": 768,
        },
        "image_token_index": 128257, "pad_token_id": 128258, "image_seq_length": 576, "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default", "projector_hidden_act": "gelu",
    },
    _LLAVA, "derived", 8_355_272_704,
)  # fmt: skip

# Llama 3's chat template: <|start_header_id|> role <|end_header_id|> and an empty line before a turn, <|eot_id|> after
_BOS, _START, _END, _BREAK, _EOT = ((number, 1) for number in (128000, 128006, 128007, 271, 128009))
_SYSTEM, _USER, _ASSISTANT, _IMAGE = ((number, 1) for number in (9125, 882, 78191, 128257))
_HEADER, _TURN = (_BOS, _START, _SYSTEM, _END, _BREAK), (_EOT, _START, _USER, _END, _BREAK)
_WORD = 1000


def _filled(start: tuple[tuple[int, int], ...], length: int) -> tuple[tuple[int, int], ...]:
    """The template before the prompt, with so many words in its middle that it has this length."""
    return (*start, (_WORD, length - len(start) - len(_TURN)), *_TURN)


LLAMA_TOKENS = Layout(_filled(_HEADER, 95), (_EOT,), pad=128258, keeps_end=False)
LLAVA_TOKENS = Layout(
    _filled((*_HEADER, _IMAGE), 103), (_EOT, _START, _ASSISTANT, _END, _BREAK), pad=128258, keeps_end=False,
    special={"<|end_header_id|>": 128007},
)  # fmt: skip

CLIP_L = Part(
    "CLIPTextModel",
    {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12,
     "projection_dim": 768},
    "text_config of openai/clip-vit-large-patch14", "verified", 123_060_480,
)  # fmt: skip
CLIP_TOKENS = Layout(((49406, 1),), ((49407, 1),), pad=49407, longest=77)

CLIP_H_VISION = Part(
    "CLIPVisionModel",
    {"hidden_size": 1280, "intermediate_size": 5120, "image_size": 224, "patch_size": 14, "num_attention_heads": 16,
     "num_hidden_layers": 32, "projection_dim": 1024, "hidden_act": "gelu"},
    "image_encoder/config.json of ypyp/wan2.1_i2v, a copy of Wan-AI's", "derived", 630_766_080, "float32",
)  # fmt: skip
CLIP_H_PICTURE = Picture(224)

SIGLIP = Part(
    "SiglipVisionModel",
    {"hidden_size": 1152, "intermediate_size": 4304, "image_size": 384, "patch_size": 14, "num_attention_heads": 16,
     "num_hidden_layers": 27},
    "vision_config of google/siglip-so400m-patch14-384", "verified", 428_225_600,
)  # fmt: skip
SIGLIP_PICTURE = Picture(384)

QWEN_2_5_VL_TEXT = Part(
    "Qwen2_5_VLTextModel",
    {"vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
     "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 128000, "rms_norm_eps": 1e-6,
     "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default", "mrope_section": [16, 24, 24]}},
    "config.json of Qwen/Qwen2.5-VL-7B-Instruct-AWQ, saved from Qwen/Qwen2.5-VL-7B-Instruct", "derived",
    7_070_619_136,
)  # fmt: skip
QWEN_TOKENS = Layout(((_WORD, 108),), ((151645, 1), (198, 1), (151644, 1), (77091, 1), (198, 1)), pad=151643,
                     keeps_end=False)  # fmt: skip

BYT5_SMALL = Part(
    "T5EncoderModel",
    {"vocab_size": 384, "d_model": 1472, "d_kv": 64, "d_ff": 3584, "num_layers": 12, "num_heads": 6,
     "feed_forward_proj": "gated-gelu"},
    "config.json of google/byt5-small; the glyph model adds color and font tokens of a number that was not seen",
    "derived", 217_657_472,
)  # fmt: skip
BYT5_TOKENS = Layout(after=((1, 1),), word=100, longest=256)
