"""What a file must not be, key by key; and that nothing but our own error comes out of any file."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.models.lora_support import OUT, low_rank
from tests.models.stock import normal
from zimage_app.domain.errors import LoraError
from zimage_app.models.lora.names import Names, Shape
from zimage_app.models.lora.parsing import LoraFile, parse_lora
from zimage_app.models.lora.updates import Delta, Dora, Full, LowRank, Replacement

_SHAPES: dict[str, Shape] = {
    "x_pad_token": (1, 16),
    "all_x_embedder.2-1.weight": (16, 4),
    "all_x_embedder.2-1.bias": (16,),
    "all_final_layer.2-1.linear.weight": (4, 16),
    "t_embedder.mlp.0.weight": (12, 8),
    "t_embedder.mlp.0.bias": (12,),
    **{
        f"layers.{layer}.attention.to_{part}.weight": (16, 16)
        for layer in range(2)
        for part in ("q", "k", "v", "out.0")
    },
    **{f"layers.{layer}.attention.norm_q.weight": (8,) for layer in range(2)},
    **{f"layers.{layer}.feed_forward.w1.weight": (10, 16) for layer in range(2)},
    **{f"layers.{layer}.adaLN_modulation.0.weight": (12, 16) for layer in range(2)},
    **{f"layers.{layer}.adaLN_modulation.0.bias": (12,) for layer in range(2)},
}
_NAMES = Names(_SHAPES)
_KEY = f"diffusion_model.{OUT}"
_LORA = low_rank(_KEY, (16, 16))
_QKV = "layers.0.attention.qkv"


def _parse(tensors: dict[str, Tensor]) -> LoraFile:
    return parse_lora("ink.safetensors", tensors, _NAMES)


def _refusal(tensors: dict[str, Tensor]) -> str:
    """The English sentence; the Chinese one must name the same file and have no English reason in it."""
    with pytest.raises(LoraError) as caught:
        _parse(tensors)
    text = caught.value.text
    assert text.en.startswith("ink.safetensors: ")
    assert text.zh.startswith("ink.safetensors：")
    assert any("\u4e00" <= letter <= "\u9fff" for letter in text.zh)
    return text.en


def _loha() -> dict[str, Tensor]:
    shapes = {"hada_w1_a": (16, 2), "hada_w1_b": (2, 16), "hada_w2_a": (16, 2), "hada_w2_b": (2, 16)}
    return {f"{_KEY}.{role}": normal(*shape) for role, shape in shapes.items()}


def _lokr() -> dict[str, Tensor]:
    shapes = {"lokr_w1_a": (4, 2), "lokr_w1_b": (2, 4), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, 4)}
    return {f"{_KEY}.{role}": normal(*shape) for role, shape in shapes.items()}


@pytest.mark.parametrize("make", [lambda: dict(_LORA), _loha, _lokr], ids=["lora", "loha", "lokr"])
def test_every_missing_half_is_noticed(make: Callable[[], dict[str, Tensor]]) -> None:
    assert len(_parse(make()).patches) == 1
    for missing in make():
        rest = make()
        del rest[missing]
        sentence = _refusal(rest)
        assert "is missing" in sentence
        assert OUT in sentence
        assert any(key in sentence for key in rest)


def test_dora_lengths_without_factors() -> None:
    assert "is missing" in _refusal({f"{_KEY}.dora_scale": torch.ones(16, 1)})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e4, -3e4])
@pytest.mark.parametrize(
    ("role", "make"),
    [
        ("lora_A.weight", lambda: dict(_LORA)),
        ("lora_B.weight", lambda: dict(_LORA)),
        ("hada_w2_b", _loha),
        ("lokr_w1_a", _lokr),
        ("dora_scale", lambda: {**_LORA, f"{_KEY}.dora_scale": torch.ones(16, 1)}),
        ("diff", lambda: {f"{_KEY}.diff": torch.ones(16, 16)}),
        ("set_weight", lambda: {f"{_KEY}.set_weight": torch.ones(16, 16)}),
    ],
)
def test_one_impossible_number_is_enough(role: str, value: float, make: Callable[[], dict[str, Tensor]]) -> None:
    tensors = make()
    broken = tensors[f"{_KEY}.{role}"].clone()
    broken.view(-1)[3] = value
    sentence = _refusal({**tensors, f"{_KEY}.{role}": broken})
    assert f"{_KEY}.{role}" in sentence
    assert ("NaN" in sentence) == (abs(value) != 3e4)


@pytest.mark.parametrize("alpha", [torch.tensor(float("nan")), torch.tensor(1e9), torch.ones(2)])
def test_alpha_must_be_a_number(alpha: Tensor) -> None:
    assert f"{_KEY}.alpha is not a usable number" in _refusal({**_LORA, f"{_KEY}.alpha": alpha})


def test_alpha_of_full_factors_is_not_read() -> None:
    """Some tools write 9999999999 there."""
    tensors = {f"{_KEY}.lokr_w1": normal(4, 4), f"{_KEY}.lokr_w2": normal(4, 4), f"{_KEY}.alpha": torch.tensor(1e10)}
    update = _parse(tensors).patches[0].update
    assert isinstance(update, Delta)
    assert update.scale == 1.0


def test_second_low_rank_factors_rank_counts() -> None:
    tensors = _lokr() | {f"{_KEY}.lokr_w1_a": normal(4, 1), f"{_KEY}.lokr_w1_b": normal(1, 4)}
    update = _parse({**tensors, f"{_KEY}.alpha": torch.tensor(3.0)}).patches[0].update
    assert isinstance(update, Delta)
    assert update.scale == 1.5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lora_A.weight": normal(4, 24)}, "makes a 16×24 change"),
        ({"lora_B.weight": normal(24, 4)}, "makes a 24×16 change"),
        ({"lora_B.weight": normal(16, 3)}, "ranks differ"),
        ({"lora_A.weight": normal(4)}, "a factor is a matrix"),
        ({"lora_A.weight": torch.ones(())}, "a factor is a matrix"),
        ({"lora_A.weight": normal(0, 16), "lora_B.weight": normal(16, 0)}, "factors of rank 0"),
        ({"lora_A.weight": torch.ones(4, 16, dtype=torch.int8)}, "holds int8"),
        ({"lora_A.weight": normal(4, 16, 3, 3)}, "makes a 16×144 change"),
        ({"dora_scale": torch.ones(15, 1)}, "16×1 or 1×16 is needed"),
        ({"dora_scale": torch.ones(16, 16)}, "16×1 or 1×16 is needed"),
        ({"diff": torch.ones(16, 15)}, "makes a 16×15 change"),
        ({"set_weight": torch.ones(16)}, "makes a 16 change"),
        ({"lora_mid.weight": torch.ones(4, 4, 1, 1)}, "kind of adapter that is not supported"),
        ({"oft_blocks": torch.ones(4, 4, 4)}, "kind of adapter that is not supported"),
        ({"lokr_w1": torch.ones(4, 4)}, "LoKr and LoRA at once"),
        ({"lora_down.weight": torch.ones(4, 16)}, "says the same as"),
        ({"lora_A.other.weight": torch.ones(4, 16)}, "says the same as"),
    ],
)
def test_wrong_shapes_and_kinds(change: dict[str, Tensor], words: str) -> None:
    sentence = _refusal({**_LORA, **{f"{_KEY}.{role}": tensor for role, tensor in change.items()}})
    assert words in sentence
    assert OUT in sentence


def test_wrong_kronecker_shape() -> None:
    assert "makes a 16×12 change" in _refusal({f"{_KEY}.lokr_w1": normal(4, 4), f"{_KEY}.lokr_w2": normal(4, 3)})


def test_more_ranks_than_a_weight_can_use() -> None:
    many = {f"{_KEY}.lora_A.weight": torch.zeros(20_000, 16), f"{_KEY}.lora_B.weight": torch.zeros(16, 20_000)}
    assert "has rank 20000, and a weight of this size can use 1024 at most" in _refusal(many)
    assert _parse({f"{_KEY}.lora_A.weight": torch.zeros(1024, 16), f"{_KEY}.lora_B.weight": torch.zeros(16, 1024)})


def test_keys_are_shown_so_that_they_can_be_read() -> None:
    key = f"{_KEY}.lora_mid\x1b\u202e{'x' * 5000}"
    (warning,) = _parse({**_LORA, key: torch.zeros(1)}).warnings()
    assert len(warning.en) < 300
    assert warning.en.isprintable()
    assert "…xxx" in warning.zh


def test_a_second_adapter_of_a_module_names_both_keys() -> None:
    other = f"{_KEY}.lora_down.weight"
    said = _refusal({**_LORA, other: torch.zeros(4, 16)})
    assert f"{_KEY}.lora_A.weight says the same as {other}" in said


def test_low_rank_on_a_norm_is_refused() -> None:
    assert "this model is 8;" in _refusal(low_rank("layers.0.attention.q_norm", (8, 1)))


def test_linears_kept_as_1x1_convolutions() -> None:
    folded = {key: tensor[..., None, None] for key, tensor in _LORA.items()}
    update = _parse(folded).patches[0].update
    assert isinstance(update, Delta)
    assert isinstance(update.product, LowRank)
    assert torch.equal(update.product.down, _LORA[f"{_KEY}.lora_A.weight"])


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", "a Flux LoRA's"),
        ("transformer.single_transformer_blocks.3.attn.to_q.lora_A.weight", "a Flux LoRA's"),
        ("lora_unet_input_blocks_4_1_proj_in.lora_up.weight", "a Stable Diffusion 1.5 or SDXL LoRA's"),
        ("lora_unet_down_blocks_0_attentions_0_proj_in.alpha", "a Stable Diffusion 1.5 or SDXL LoRA's"),
        ("transformer.transformer_blocks.0.img_mod.1.lora_A.weight", "a Qwen-Image, SD 3 or Flux LoRA's"),
        ("diffusion_model.blocks.0.self_attn.q.lora_A.weight", "a Wan LoRA's"),
        ("diffusion_model.joint_blocks.0.x_block.attn.qkv.lora_A.weight", "a Stable Diffusion 3 LoRA's"),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "text-encoder keys"),
        ("text_encoders.qwen3_4b.transformer.model.layers.0.mlp.up_proj.lora_A.weight", "text-encoder keys"),
        ("text_encoder.layers.0.self_attn.q_proj.lora_A.weight", "text-encoder keys"),
        ("diffusion_model.layers.29.attention.qkv.lora_A.weight", "does not have"),
        ("lora_unet_layers_29_feed_forward_w1.lora_down.weight", "does not have"),
        ("control_layers.0.after_proj.weight", "ControlNet"),
        ("model.diffusion_model.layers.0.feed_forward.w1.weight", "a whole model, not a LoRA"),
        ("first_stage_model.encoder.conv_in.weight", "VAE"),
        ("something.else", "names that are not Z-Image's"),
    ],
)
def test_what_fits_nothing_is_named(key: str, reason: str) -> None:
    """Alone it is an error; beside keys that fit, a warning with the key in it."""
    sentence = _refusal({key: normal(2, 2)})
    assert "nothing in it fits Z-Image" in sentence
    assert reason in sentence
    assert key in sentence
    file = _parse({**_LORA, key: normal(2, 2)})
    assert len(file.patches) == 1
    assert [(item.keys, reason in item.reason.en) for item in file.unused] == [((key,), True)]
    assert [key in text.en and key in text.zh for text in file.warnings()] == [True]


def test_warnings_are_one_per_reason_and_hold_every_key() -> None:
    keys = {f"lora_te_text_model_{number}.alpha": torch.ones(()) for number in range(5)}
    file = _parse({**_LORA, **keys, "something.else": torch.ones(1)})
    assert sorted(len(item.keys) for item in file.unused) == [1, 5]
    texts = [text.en for text in file.warnings()]
    assert sum("5 keys have no effect" in text and "and 2 more" in text for text in texts) == 1


@pytest.mark.parametrize(
    ("role", "reason"),
    [
        ("diff_b", "biases that the model does not have"),
        ("b_norm", "biases that the model does not have"),
        ("lora_B.bias", "biases of the adapter"),
    ],
)
def test_biases_without_effect(role: str, reason: str) -> None:
    file = _parse({**_LORA, f"{_KEY}.{role}": torch.ones(16)})
    assert [(item.keys, reason in item.reason.en) for item in file.unused] == [((f"{_KEY}.{role}",), True)]


def test_an_alpha_alone_is_a_warning() -> None:
    alpha = "diffusion_model.layers.1.attention.out.alpha"
    file = _parse({**_LORA, alpha: torch.ones(())})
    assert [item.keys for item in file.unused] == [(alpha,)]
    assert "an alpha without its factors" in _refusal({alpha: torch.ones(())})


def test_diff_wins_over_the_adapter_of_its_module_and_set_weight_over_both() -> None:
    tensors = {**_LORA, f"{_KEY}.diff": torch.ones(16, 16)}
    file = _parse(tensors)
    assert [patch.update.product for patch in file.patches if isinstance(patch.update, Delta)] != []
    update = file.patches[0].update
    assert isinstance(update, Delta)
    assert isinstance(update.product, Full)
    assert [item.keys for item in file.unused] == [tuple(sorted(_LORA))]
    replaced = _parse({**tensors, f"{_KEY}.set_weight": torch.ones(16, 16)})
    assert [type(patch.update) for patch in replaced.patches] == [Replacement]


@pytest.mark.parametrize(
    ("weaker", "stronger"),
    [
        (f"base_model.model.{OUT}", f"diffusion_model.{OUT}"),
        ("lora_unet_layers_0_attention_out", f"diffusion_model.{OUT}"),
        (f"diffusion_model.{OUT}", "diffusion_model.layers.0.attention.to_out.0"),
        ("diffusion_model.layers.0.attention.to_out.0", "transformer.layers.0.attention.to_out.0"),
        ("transformer.layers.0.attention.to_out.0", "lycoris_layers_0_attention_to_out_0"),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_spellings_one_counts(weaker: str, stronger: str, swapped: bool) -> None:
    """Whatever their order in the file."""
    weak, strong = low_rank(weaker, (16, 16), seed=1), low_rank(stronger, (16, 16), seed=5)
    file = _parse({**strong, **weak} if swapped else {**weak, **strong})
    update = file.patches[0].update
    assert isinstance(update, Delta)
    assert isinstance(update.product, LowRank)
    assert torch.equal(update.product.down, strong[f"{stronger}.lora_A.weight"])
    assert [item.keys for item in file.unused] == [tuple(sorted(weak))]


def _fused_and_split(fused: str, split: str) -> list[tuple[bool, tuple[int, int]]]:
    """(is fused, rows) of what is kept when a file has both."""
    tensors = low_rank(f"{fused}{_QKV}", (48, 16))
    for letter in "qkv":
        tensors |= low_rank(f"{split}layers.0.attention.to_{letter}", (16, 16))
    return sorted((patch.target.fused, patch.target.rows) for patch in _parse(tensors).patches)


def test_fused_and_split_attention() -> None:
    """Both where ComfyUI reads both, else what it reads; a mere copy must not act twice."""
    whole, parts = [(True, (0, 48))], [(False, (0, 16)), (False, (16, 32)), (False, (32, 48))]
    assert _fused_and_split("diffusion_model.", "diffusion_model.") == parts + whole
    assert _fused_and_split("diffusion_model.", "transformer.") == parts + whole
    assert _fused_and_split("transformer.", "transformer.") == parts
    assert _fused_and_split("diffusion_model.", "") == whole
    assert _fused_and_split("", "") == parts


def test_fused_goes_before_split_whatever_the_order_in_the_file() -> None:
    split = low_rank("transformer.layers.0.attention.to_k", (16, 16))
    file = _parse({**split, **low_rank(f"diffusion_model.{_QKV}", (48, 16))})
    assert [patch.target.fused for patch in file.patches] == [True, False]


def test_dora_kinds() -> None:
    for role, shape, length_of in (
        ("dora_scale", (16, 1), "original"),
        ("dora_scale", (16,), "original"),
        ("lora_magnitude_vector", (16,), "sum"),
        ("lora_magnitude_vector.weight", (16,), "sum"),
        ("lora_magnitude_vector.default.weight", (16,), "sum"),
    ):
        update = _parse({**_LORA, f"{_KEY}.{role}": torch.ones(shape)}).patches[0].update
        assert isinstance(update, Dora)
        assert update.length_of == length_of
        assert update.magnitude.shape == (16, 1)


_PREFIXES = (
    "",
    "diffusion_model.",
    "transformer.",
    "lora_unet_",
    "lycoris_",
    "lora_te_",
    "nonsense.",
    "base_model.model.",
)
_MODULES = (
    OUT,
    _QKV,
    "layers_0_attention_to_k",
    "layers.1.feed_forward.w1",
    "t_embedder.mlp.0",
    "layers.0",
    "x_pad_token",
    "",
)
_SUFFIXES = (
    *(".lora_A.weight", ".lora_B.weight", ".lora_down.weight", ".lora_up.weight", ".alpha", ".dora_scale", ".diff"),
    *(".lokr_w1", ".lokr_w2_a", ".lokr_w2_b", ".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b", ".diff_b"),
    *(".set_weight", ".w_norm", ".lora_B.bias", ".weight", ".lora_A", "", ".lora_mid.weight", ".lora_magnitude_vector"),
)
_SIZES: tuple[Shape, ...] = (
    (),
    (1,),
    (16,),
    (2, 16),
    (16, 2),
    (16, 16),
    (48, 2),
    (10, 2),
    (4, 4),
    (0, 16),
    (2, 16, 1, 1),
)


@pytest.mark.parametrize("seed", range(40))
def test_any_file_gives_patches_or_our_own_error(seed: int) -> None:
    """Random keys and shapes: every patch fits its rows, what is listed as unused is, no other exception."""
    draw = random.Random(seed)
    applied = 0
    for _ in range(60):
        count = draw.randint(1, 4)
        base = draw.choice(_PREFIXES) + draw.choice(_MODULES)
        tensors = dict(_LORA) if draw.random() < 0.5 else {}
        tensors |= {base + draw.choice(_SUFFIXES): 0.1 * torch.ones(draw.choice(_SIZES)) for _ in range(count)}
        try:
            file = _parse(tensors)
        except LoraError:
            continue
        applied += 1
        for patch in file.patches:
            weight = torch.zeros(patch.target.shape)
            assert patch.update.patched(weight, 0.5).shape == weight.shape
        unused = {key for item in file.unused for key in item.keys}
        assert unused <= tensors.keys()
        again = _parse({key: tensor for key, tensor in tensors.items() if key not in unused})
        assert [patch.target for patch in again.patches] == [patch.target for patch in file.patches]
        assert again.unused == ()
    assert applied


def test_of_two_spellings_that_comfyui_ignores_the_first_counts() -> None:
    first, second = low_rank(OUT, (16, 16), seed=1), low_rank(f"base_model.model.{OUT}", (16, 16), seed=5)
    for strong, weak in ((first, second), (second, first)):
        assert [item.keys for item in _parse({**strong, **weak}).unused] == [tuple(sorted(weak))]
