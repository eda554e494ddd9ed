"""The same Components at toy size, with random weights of diffusers' and transformers' own classes, for tests.

``tiny_components`` builds them in memory, ``write_tiny_model`` as a model folder. The same seed gives the same weights
in both. Pictures are noise, but all code of the real models runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from zimage_app.domain.card import ModelCard
from zimage_app.domain.settings.stage import REFERENCE_STAGES, Stage
from zimage_app.domain.text import Text
from zimage_app.models.components import Components, LatentFormat
from zimage_app.models.load.loader import FLUX_PREVIEW
from zimage_app.models.networks.networks import TEXT_ENCODER, TRANSFORMER, VAE, NetworkKind
from zimage_app.models.networks.text_encoder import Qwen3TextEncoder, Tokenizer
from zimage_app.models.networks.transformer import FastTransformer
from zimage_app.models.networks.vae import VaeCodec
from zimage_app.models.weights.weight_file import Tensors

_CAPTION = 32
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_SIZES = ((64, 80), (96, 112), (128, 160))
"""Pixels (width, height) of the three stages."""
_STEPS = 3

TINY_TRANSFORMER: dict[str, Any] = {
    "dim": 64,
    "n_layers": 2,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 2,
    "cap_feat_dim": _CAPTION,
    "axes_dims": [8, 12, 12],
    "axes_lens": [640, 128, 128],
}
TINY_VAE: dict[str, Any] = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [8, 8, 8, 8],
    "layers_per_block": 1,
    "latent_channels": 16,
    "norm_num_groups": 1,
    "mid_block_add_attention": False,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
}
TINY_TEXT: dict[str, Any] = {
    "vocab_size": 256 + len(_SPECIAL),
    "hidden_size": _CAPTION,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 1024,
}


def tiny_card() -> ModelCard:
    """The reference workflow's stages, small and short."""
    return ModelCard(
        "tiny", Text("Tiny", "微型"), Text("Random weights, for tests.", "随机权重，仅供测试。"), _stages()
    )


def tiny_components(seed: int = 0) -> Components:
    """Components with random weights in float32 on the CPU."""
    transformer, vae, text = _modules(seed)
    encoder = _filled(TEXT_ENCODER, text.config.to_dict(), text.state_dict())
    fast = FastTransformer(_filled(TRANSFORMER, TINY_TRANSFORMER, transformer.state_dict()))
    return Components(
        card=tiny_card(),
        text=Qwen3TextEncoder(encoder, Tokenizer(_tokenizer()), fast.max_tokens, torch.device("cpu")),
        transformer=fast,
        codec=VaeCodec(_filled(VAE, TINY_VAE, vae.state_dict())),
        latent=LatentFormat(vae.config.scaling_factor, vae.config.shift_factor),
        preview=FLUX_PREVIEW,
    )


def _filled(kind: NetworkKind, config: Mapping[str, Any], weights: Tensors) -> Any:
    module = kind.build_empty(config)
    module.load_state_dict(kind.names(weights, config), strict=True, assign=True)
    return module.eval().requires_grad_(False)


def write_tiny_model(folder: Path, seed: int = 0) -> Path:
    """The same model as a diffusers folder with a card; gives the folder back."""
    transformer, vae, text = _modules(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "ZImagePipeline"}))
    transformer.save_pretrained(folder / "transformer")
    vae.save_pretrained(folder / "vae")
    text.save_pretrained(folder / "text_encoder")
    (folder / "tokenizer").mkdir()
    _tokenizer().save(str(folder / "tokenizer" / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "card.yaml").write_text(_card_text(), encoding="utf-8")
    return folder


def _stages() -> tuple[Stage, ...]:
    pairs = zip(REFERENCE_STAGES, _SIZES, strict=True)
    return tuple(
        stage.model_copy(update={"width": width, "height": height, "steps": _STEPS}) for stage, (width, height) in pairs
    )


def _card_text() -> str:
    card = tiny_card()
    sizes = "".join(f"  - {{width: {width}, height: {height}, steps: {_STEPS}}}\n" for width, height in _SIZES)
    words = "".join(
        f'{name}: {{en: "{text.en}", zh: "{text.zh}"}}\n'
        for name, text in (("title", card.title), ("description", card.description))
    )
    return f"{words}stages:\n{sizes}"


def _modules(seed: int) -> tuple[Any, Any, Any]:
    """Transformer, VAE and the full text model; the caller's random numbers are left alone."""
    from diffusers import AutoencoderKL, ZImageTransformer2DModel
    from transformers import Qwen3Config, Qwen3Model

    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = ZImageTransformer2DModel(**TINY_TRANSFORMER)
        vae = AutoencoderKL(**TINY_VAE)
        text = Qwen3Model(Qwen3Config(**TINY_TEXT))
        for token in (transformer.x_pad_token, transformer.cap_pad_token):
            # They begin as zeros, which would hide whether padding is attended to.
            torch.nn.init.normal_(token)
    return tuple(module.eval().requires_grad_(False) for module in (transformer, vae, text))


def _tokenizer() -> Any:
    """Every byte is a token."""
    from tokenizers import Tokenizer as Bytes
    from tokenizers import decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Bytes(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(_SPECIAL))
    return tokenizer
