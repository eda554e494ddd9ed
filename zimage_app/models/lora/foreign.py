"""Guesses from its name why a LoRA key fits no module of Z-Image, by patterns of other models' keys.

Patterns are tried in order. The result is only likely, because it depends on the key alone, not on the file.
"""

from __future__ import annotations

import re

from zimage_app.domain.text import Text

TEXT_ENCODER = Text("text-encoder keys, which Z-Image does not use", "文本编码器的键，Z-Image 不使用")
PLAIN_WEIGHTS = Text("plain weights: this is a whole model, not a LoRA", "普通权重：这是完整模型，不是 LoRA")
PAD_TOKEN = Text("padding tokens, which ComfyUI leaves as they are too", "填充 token 的键，ComfyUI 也不会应用")
ADAPTER_BIAS = Text("biases of the adapter, which ComfyUI ignores too", "适配器偏置的键，ComfyUI 也会忽略")
NO_BIAS = Text("biases that the model does not have", "模型中并不存在的偏置")
ALPHA_ALONE = Text("an alpha without its factors", "只有 alpha 而没有对应的权重")
SECOND_SPELLING = Text(
    "a second entry for a module that the file patches already", "同一模块的重复条目，文件中已有一份生效"
)
UNKNOWN_PART = Text("parts of an adapter of a kind that is not known here", "无法识别的适配器类型的组成部分")
NO_RANK = Text("factors of rank 0, which change nothing", "秩为 0 的因子，不会产生任何改动")
REDUNDANT = Text(
    "the same attention once more, as fused qkv or as split q, k, v; ComfyUI's reading is kept",
    "同一注意力层以合并 qkv 与拆分 q/k/v 重复给出，按 ComfyUI 的方式只取其一",
)
NO_SUCH_LAYER = Text(
    "layers that this model does not have; the LoRA is likely for a larger one",
    "此模型没有的层；该 LoRA 多半用于更大的模型",
)
UNKNOWN_NAME = Text("names that are not Z-Image's", "不是 Z-Image 的名称")

_MARKS = (
    (r"(^|[._])(lora_)?te\d?[._]|text_encoder|text_model|clip_[lg]|t5xxl|qwen3_4b", TEXT_ENCODER),
    (r"pad_token", PAD_TOKEN),
    (
        r"control_(layers|noise_refiner|all_x_embedder)",
        Text("a Z-Image ControlNet's, not a LoRA's", "Z-Image ControlNet 的键，不是 LoRA"),
    ),
    (r"double_blocks|single_blocks|single_transformer_blocks", Text("a Flux LoRA's", "Flux LoRA 的键")),
    (r"joint_blocks|context_block", Text("a Stable Diffusion 3 LoRA's", "Stable Diffusion 3 LoRA 的键")),
    (
        r"transformer_blocks[._]\d+[._](img_|txt_|attn)",
        Text("a Qwen-Image, SD 3 or Flux LoRA's", "Qwen-Image、SD 3 或 Flux LoRA 的键"),
    ),
    (
        r"(input|output|down|up)_blocks|(middle|mid)_block",
        Text("a Stable Diffusion 1.5 or SDXL LoRA's", "Stable Diffusion 1.5 或 SDXL LoRA 的键"),
    ),
    (r"blocks[._]\d+[._](self_attn|cross_attn|ffn)", Text("a Wan LoRA's", "Wan LoRA 的键")),
    (r"first_stage_model|(^|[._])vae[._]", Text("a VAE's keys, which no LoRA patches here", "VAE 的键，这里不会应用")),
    (r"(layers|noise_refiner|context_refiner)[._]\d+[._](attention|feed_forward|adaLN|ffn_norm)", NO_SUCH_LAYER),
)
_COMPILED = tuple((re.compile(pattern), reason) for pattern, reason in _MARKS)


def likely_reason(key: str) -> Text:
    """Return the likely reason why a key has no effect."""
    return next((reason for pattern, reason in _COMPILED if pattern.search(key)), UNKNOWN_NAME)
