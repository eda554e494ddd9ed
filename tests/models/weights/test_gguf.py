"""GGUF files: read right in every packing, kept packed, refused when they are broken or another model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from diffusers.quantizers.gguf.utils import dequantize_functions
from torch import Tensor

from tests.golden.make_tiny_weights import tiny_weights
from tests.models.gguf_support import blocks, packed_as, write_gguf, write_pair
from tests.models.packed_support import velocity
from tests.models.stock import GOLDEN_CONFIG, hidden_state, normal, rel
from zimage_app.domain.errors import ModelError
from zimage_app.domain.text import Text
from zimage_app.models.find.model_files import PartFiles
from zimage_app.models.load.loader import load_transformer
from zimage_app.models.networks.networks import TEXT_ENCODER, open_network
from zimage_app.models.tiny import TINY_TEXT
from zimage_app.models.weights.gguf_blocks import unpacked
from zimage_app.models.weights.packed_weights import GgufWeight, PackedEmbedding, packed_linears
from zimage_app.models.weights.packing import GGUF_BLOCKS
from zimage_app.models.weights.placement import MemoryPlan
from zimage_app.models.weights.weight_file import Reader, open_file

PLAN = MemoryPlan(torch.device("cpu"), torch.float32, Text("-", "-"))


@pytest.mark.parametrize("packing", GGUF_BLOCKS)
def test_blocks_are_unpacked_as_the_gguf_package_unpacks_them(packing: str) -> None:
    raw = blocks((6, 512), packing, seed=7)
    wanted = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[packing])
    found = unpacked(torch.from_numpy(raw), packing).reshape(6, 512)
    assert np.allclose(found.numpy(), wanted, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("packing", GGUF_BLOCKS)
def test_blocks_are_unpacked_to_the_bits_of_diffusers(packing: str) -> None:
    kind = gguf.GGMLQuantizationType[packing]
    numbers, size = gguf.GGML_QUANT_SIZES[kind]
    raw = torch.from_numpy(blocks((64, 2560), packing, seed=7))
    wanted = dequantize_functions[kind](raw.reshape(-1, size), numbers, size, dtype=torch.float32)
    assert torch.equal(unpacked(raw, packing), wanted.flatten())


def refused(*given: Any, **named: Any) -> Tensor:
    raise AssertionError((given, named))


@pytest.mark.parametrize("packing", GGUF_BLOCKS)
def test_unpacking_makes_no_tensors_of_python_numbers(packing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA the host would wait for each, and a graph couldn't be captured."""
    raw = torch.from_numpy(blocks((6, 512), packing, seed=7))
    weight = GgufWeight(raw, packing, (6, 512), torch.float32)
    for name in ("tensor", "as_tensor"):
        monkeypatch.setattr(torch, name, refused)
    assert weight.linear(torch.ones(2, 512)).shape == (2, 6)


def test_an_evaluation_of_packed_weights_makes_no_tensors_of_python_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = load_transformer(write_pair(tmp_path, "Q4_K")[0], GOLDEN_CONFIG, PLAN)
    evaluation = fast.evaluation((8, 6), [fast.prompt(normal(20, 64))], [0.5])
    x = normal(1, 16, 8, 6)
    for name in ("tensor", "as_tensor"):
        monkeypatch.setattr(torch, name, refused)
    assert evaluation(x, 0.5).isfinite().all()


@pytest.mark.parametrize("packing", ["Q4_0", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "F16", "BF16"])
def test_a_transformer_in_every_packing(tmp_path: Path, packing: str) -> None:
    packed, meant = write_pair(tmp_path, packing)
    fast, plain = (load_transformer(path, GOLDEN_CONFIG, PLAN) for path in (packed, meant))
    # The golden model's w2 has 682 inputs, which are no whole blocks: stored plain.
    assert len(packed_linears(fast.module)) == (6 * 8 if packing in GGUF_BLOCKS else 0)
    assert rel(velocity(fast), velocity(plain)) < 1e-5


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model."])
@pytest.mark.parametrize("others", ["Q8_0", "BF16", "F16"])
def test_padding_tokens_of_any_type_and_prefixes(tmp_path: Path, prefix: str, others: str) -> None:
    packed, meant = write_pair(tmp_path, "Q8_0", prefix, others)
    fast, plain = (load_transformer(path, GOLDEN_CONFIG, PLAN) for path in (packed, meant))
    assert rel(velocity(fast), velocity(plain)) < 1e-5


def test_weights_stay_packed_in_memory(tmp_path: Path) -> None:
    path, _ = write_pair(tmp_path, "Q4_0")
    fast = load_transformer(path, GOLDEN_CONFIG, PLAN)
    stored = open_file(path)
    assert all(isinstance(linear.weight, GgufWeight) for linear in packed_linears(fast.module).values())
    qkv = fast.module.layers[0].attention.to_q.weight.blocks
    assert qkv.shape == (3 * 256, 256 // 32 * 18)
    assert torch.equal(qkv.flatten(), Reader(stored)("layers.0.attention.qkv.weight"))


def test_the_content_tells_what_a_file_is(tmp_path: Path) -> None:
    for packed, meant in (("a.safetensors", "b.gguf"), ("a.GGUF", "b.SAFETENSORS")):
        files = write_pair(tmp_path, "Q8_0")
        renamed = [path.rename(tmp_path / name) for path, name in zip(files, (packed, meant), strict=True)]
        fast, plain = (load_transformer(path, GOLDEN_CONFIG, PLAN) for path in renamed)
        assert rel(velocity(fast), velocity(plain)) < 1e-5


def test_a_noted_shape_is_the_shape(tmp_path: Path) -> None:
    """ComfyUI's converter lays a matrix of few columns out in rows of 256 to pack it, and notes its shape."""
    packed, _ = write_pair(tmp_path, "Q8_0")
    reader = gguf.GGUFReader(packed)
    writer = gguf.GGUFWriter(tmp_path / "noted.gguf", "lumina2")
    writer.add_array("comfy.gguf.orig_shape.cap_embedder.1.weight", [256, 64])
    for tensor in reader.tensors:
        array = np.array(tensor.data)
        if tensor.name == "cap_embedder.1.weight":
            array = array.reshape(64, -1)
        writer.add_tensor(tensor.name, array, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    fast, noted = (load_transformer(path, GOLDEN_CONFIG, PLAN) for path in (packed, tmp_path / "noted.gguf"))
    assert torch.equal(velocity(noted), velocity(fast))


def llama_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' names of Qwen3's weights as llama.cpp's."""
    words = (
        ("embed_tokens", "token_embd"),
        ("layers.", "blk."),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("post_attention_layernorm", "ffn_norm"),
        ("input_layernorm", "attn_norm"),
    )
    named = {}
    for key, tensor in tensors.items():
        for ours, theirs in words:
            key = key.replace(ours, theirs)
        named["output_norm.weight" if key == "norm.weight" else key] = tensor
    return named


TEXT_CONFIG = TINY_TEXT | {"model_type": "qwen3", "head_dim": 128, "rms_norm_eps": 1e-6, "rope_theta": 1e6}


def write_text_model(path: Path, packing: str) -> None:
    """A Qwen3 as llama.cpp's converter writes it."""
    from transformers import Qwen3Config, Qwen3Model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = Qwen3Model(Qwen3Config(**TEXT_CONFIG))
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_block_count(TEXT_CONFIG["num_hidden_layers"])
    writer.add_context_length(TEXT_CONFIG["max_position_embeddings"])
    writer.add_embedding_length(TEXT_CONFIG["hidden_size"])
    writer.add_feed_forward_length(TEXT_CONFIG["intermediate_size"])
    writer.add_head_count(TEXT_CONFIG["num_attention_heads"])
    writer.add_head_count_kv(TEXT_CONFIG["num_key_value_heads"])
    writer.add_key_length(TEXT_CONFIG["head_dim"])
    writer.add_value_length(TEXT_CONFIG["head_dim"])
    writer.add_layer_norm_rms_eps(TEXT_CONFIG["rms_norm_eps"])
    writer.add_rope_freq_base(TEXT_CONFIG["rope_theta"])
    writer.add_vocab_size(TEXT_CONFIG["vocab_size"])
    for key, tensor in llama_names(model.state_dict()).items():
        array, kind, _ = packed_as(tensor.detach(), packing if tensor.ndim == 2 else "F32")
        raw = gguf.GGMLQuantizationType[kind] if array.dtype == np.uint8 else None
        writer.add_tensor(key, np.ascontiguousarray(array), raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("packing", ["Q8_0", "Q4_0", "F16"])
def test_a_text_encoder_is_read_as_transformers_reads_it(tmp_path: Path, packing: str) -> None:
    from transformers import Qwen3Model

    path = tmp_path / "text.gguf"
    write_text_model(path, packing)
    stock = Qwen3Model.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32)
    model = open_network(TEXT_ENCODER, PartFiles(open_file(path), TEXT_CONFIG, path)).fill(PLAN, lambda _: None)
    assert len(packed_linears(model)) == (0 if packing == "F16" else 2 * 7)
    assert isinstance(model.embed_tokens, PackedEmbedding) == (packing != "F16")
    ids = torch.tensor([[5, 77, 130, 258, 5, 0]])
    with torch.no_grad():
        wanted = stock(ids, output_hidden_states=True).hidden_states[-2]
        found = hidden_state(model, ids)
    assert rel(found, wanted) < 1e-5


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def cut_in_the_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


def no_gguf(path: Path) -> None:
    path.write_bytes(b"GGML" + path.read_bytes()[4:])


def too_deep(path: Path) -> None:
    """Lists in lists, as no writer makes them."""
    one_list = (9).to_bytes(4, "little") + (1).to_bytes(8, "little")
    counts = (0).to_bytes(8, "little") + (1).to_bytes(8, "little")
    key = (1).to_bytes(8, "little") + b"k" + (9).to_bytes(4, "little")
    path.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + counts + key + one_list * 5000)


def of_flux(path: Path) -> None:
    weight = np.zeros((4, 32), np.float32)
    write_gguf(path, {f"double_blocks.{number}.img_attn.qkv.weight": (weight, "F32") for number in range(9)}, "flux")


def of_a_language_model(path: Path) -> None:
    write_text_model(path, "Q8_0")


def of_a_stranger(path: Path) -> None:
    write_gguf(
        path, {f"stem.{number}.weight": (np.zeros((4, 32), np.float32), "F32") for number in range(9)}, "hidream"
    )


def of_unknown_blocks(path: Path) -> None:
    kind = gguf.GGMLQuantizationType.TQ1_0
    raw = np.zeros((256, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8)
    write_gguf(path, {"layers.0.attention.out.weight": (raw, "TQ1_0")})


def lacking(path: Path) -> None:
    tensors = {key: (tensor.float().numpy(), "F32") for key, tensor in tiny_weights().items()}
    del tensors["layers.3.feed_forward.w2.weight"]
    write_gguf(path, tensors)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (too_deep, ["packed.gguf", "damaged", "again"]),
        (cut_off, ["packed.gguf", "cut off", "again"]),
        (cut_in_the_header, ["packed.gguf", "damaged", "again"]),
        (no_gguf, ["packed.gguf", "not a GGUF file", "again"]),
        (of_flux, ["packed.gguf", "Flux", "right model"]),
        (of_a_language_model, ["packed.gguf", "language model", "right model"]),
        (of_a_stranger, ["packed.gguf", "hidream", "right model"]),
        (of_unknown_blocks, ["packed.gguf", "layers.0.attention.out.weight", "TQ1_0"]),
        (lacking, ["packed.gguf", "lacks 1 of", "layers.3.feed_forward.w2.weight", "again"]),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Callable[[Path], None], words: list[str]) -> None:
    path, _ = write_pair(tmp_path, "Q4_0")
    damage(path)
    with pytest.raises(ModelError) as caught:
        load_transformer(path, GOLDEN_CONFIG, PLAN)
    for word in words:
        assert word in caught.value.text.en
    assert caught.value.text.zh.endswith("。")
