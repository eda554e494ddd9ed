"""Packed weights: unpacked right, multiplied right, held as the device wants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.models.packed_support import PACKERS, WIDE_CONFIG, kitchen, velocity, wide_weights, write_packed
from tests.models.stock import hidden_state, rel
from zimage_app.domain.errors import ModelError
from zimage_app.domain.text import Text
from zimage_app.models.find.model_files import PartFiles
from zimage_app.models.load.loader import load_transformer
from zimage_app.models.networks.networks import TEXT_ENCODER, TRANSFORMER, open_network
from zimage_app.models.networks.transformer import FastTransformer
from zimage_app.models.tiny import TINY_TEXT
from zimage_app.models.weights.packed_weights import Float8Weight, packed_linears
from zimage_app.models.weights.placement import MemoryPlan, PackedMode
from zimage_app.models.weights.weight_file import open_file

CPU = torch.device("cpu")
PLAN = MemoryPlan(CPU, torch.float32, Text("-", "-"))
OLD_GPU = MemoryPlan(CPU, torch.float32, Text("-", "-"), capability=(7, 0))
"""Of a device that keeps weights packed and multiplies none of them as they are."""
NEW_GPU = MemoryPlan(CPU, torch.float32, Text("-", "-"), capability=(12, 0))


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> FastTransformer:
    """The transformer before packing."""
    path = tmp_path_factory.mktemp("wide") / "plain.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in wide_weights().items()}, path)
    return load_transformer(path, WIDE_CONFIG, PLAN)


@pytest.mark.parametrize("name", PACKERS)
def test_weights_come_out_of_every_packing(tmp_path: Path, name: str, exact: FastTransformer) -> None:
    pack, error = PACKERS[name]
    path = tmp_path / "packed.safetensors"
    write_packed(path, pack, "model.diffusion_model.")
    unpacked = load_transformer(path, WIDE_CONFIG, PLAN)
    wanted = dict(exact.module.named_parameters())
    for key, parameter in unpacked.module.named_parameters():
        moved = rel(parameter, wanted[key])
        assert 1e-4 < moved < error if TRANSFORMER.stays_packed.fullmatch(key) else moved == 0.0
    packed = load_transformer(path, WIDE_CONFIG, OLD_GPU)
    assert len(packed_linears(packed.module)) == 7 * 4
    assert rel(velocity(packed), velocity(unpacked)) < 1e-5


@pytest.mark.parametrize(
    ("name", "difference"),
    [("fp8", 0.08), ("int8", 0.04), ("int8 by row", 0.03), ("int8 convrot", 0.03), ("w4a8", 0.03), ("svdquant", 0.3)],
)
def test_packed_weights_are_multiplied_as_they_are(tmp_path: Path, name: str, difference: float) -> None:
    """comfy-kitchen's own arithmetic, here in its portable form: inputs are rounded to 8 or 4 bits too."""
    path = tmp_path / "packed.safetensors"
    write_packed(path, PACKERS[name][0])
    native, unpacked = (load_transformer(path, WIDE_CONFIG, plan) for plan in (NEW_GPU, OLD_GPU))
    found = velocity(native)
    assert 1e-5 < rel(found, velocity(unpacked)) < difference
    with torch.inference_mode():
        assert torch.equal(velocity(native), found)


@pytest.mark.parametrize("name", PACKERS)
def test_blocks_of_packed_weights_are_streamed_as_they_are(tmp_path: Path, name: str) -> None:
    path = tmp_path / "packed.safetensors"
    write_packed(path, PACKERS[name][0])
    fast = load_transformer(path, WIDE_CONFIG, OLD_GPU)
    before = velocity(fast)
    while fast.offload():
        pass
    assert fast.streamed == WIDE_CONFIG["n_layers"]
    assert torch.equal(velocity(fast), before)


@pytest.mark.parametrize(
    ("packing", "capability", "packed_mode"),
    [
        ("int8_tensorwise", None, PackedMode.UNPACKED),
        ("int8_tensorwise", (7, 0), PackedMode.AT_USE),
        ("int8_tensorwise", (7, 5), PackedMode.NATIVE),
        ("float8_e4m3fn", (8, 6), PackedMode.AT_USE),
        ("float8_e4m3fn", (8, 9), PackedMode.NATIVE),
        ("float8_e5m2", (12, 0), PackedMode.AT_USE),
        ("nvfp4", (9, 0), PackedMode.AT_USE),
        ("nvfp4", (10, 0), PackedMode.NATIVE),
        ("Q4_K", None, PackedMode.AT_USE),
        ("Q4_K", (12, 0), PackedMode.AT_USE),
    ],
)
def test_the_device_decides_how_weights_are_held(
    packing: str, capability: tuple[int, int] | None, packed_mode: PackedMode
) -> None:
    assert MemoryPlan(CPU, torch.float32, Text("-", "-"), capability).packed_mode(packing) is packed_mode


def test_a_text_encoder_is_unpacked_at_use_as_in_comfyui() -> None:
    plan = MemoryPlan(CPU, torch.bfloat16, Text("-", "-"), (10, 0))
    assert plan.packed_mode("nvfp4") is PackedMode.NATIVE
    assert plan.for_text.packed_mode("nvfp4") is PackedMode.AT_USE
    assert MemoryPlan(CPU, torch.bfloat16, Text("-", "-")).for_text.packed_mode("nvfp4") is PackedMode.UNPACKED


def test_packed_weights_compute_in_the_plans_dtype(tmp_path: Path, exact: FastTransformer) -> None:
    path = tmp_path / "packed.safetensors"
    write_packed(path, PACKERS["int8 convrot"][0])
    for capability in (None, (7, 0), (12, 0)):
        plan = MemoryPlan(CPU, torch.bfloat16, Text("-", "-"), capability)
        fast = load_transformer(path, WIDE_CONFIG, plan)
        assert fast.dtype == torch.bfloat16
        assert rel(velocity(fast), velocity(exact)) < 5e-2


def test_a_note_in_the_header_says_the_same_as_one_beside_the_weight(tmp_path: Path) -> None:
    path = tmp_path / "packed.safetensors"
    write_packed(path, PACKERS["int8 convrot"][0], "model.diffusion_model.")
    tensors = load_file(path)
    notes = {key: bytes(tensors.pop(key).tolist()) for key in list(tensors) if key.endswith(".comfy_quant")}
    layers = {key.removesuffix(".comfy_quant"): json.loads(note) for key, note in notes.items()}
    beside = velocity(load_transformer(path, WIDE_CONFIG, PLAN))
    save_file(tensors, path, {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})})
    assert torch.equal(velocity(load_transformer(path, WIDE_CONFIG, PLAN)), beside)
    # Without the word on its rotation, the same file is noise.
    save_file(tensors, path)
    assert rel(velocity(load_transformer(path, WIDE_CONFIG, PLAN)), beside) > 0.3


TEXT_CONFIG = TINY_TEXT | {"model_type": "qwen3"}


@pytest.mark.parametrize("plan", [PLAN, OLD_GPU, NEW_GPU], ids=["unpacked", "at use", "native"])
def test_a_text_encoder_of_mixed_packings(tmp_path: Path, plan: MemoryPlan) -> None:
    """Some linears in 8-bit floats with notes, the rest as it was: ``qwen_3_4b_fp8_mixed``."""
    from transformers import Qwen3Config, Qwen3Model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        stock = Qwen3Model(Qwen3Config(**TEXT_CONFIG)).eval()
    pack = kitchen("TensorCoreFP8Layout", {"format": "float8_e4m3fn", "full_precision_matrix_mult": True})
    stored: dict[str, Tensor] = {}
    for key, tensor in stock.state_dict().items():
        mixed = ".mlp." in key and "layers.1." not in key
        tensors = pack(key.removesuffix(".weight"), tensor) if mixed else {key: tensor}
        stored |= {f"model.{name}": value for name, value in tensors.items()}
        if mixed:
            packed = tensors[key].float() * tensors[key.replace(".weight", ".weight_scale")]
            tensor.copy_(packed)
    path = tmp_path / "text.safetensors"
    save_file(stored, path)
    model = open_network(TEXT_ENCODER, PartFiles(open_file(path), TEXT_CONFIG, path)).fill(plan, lambda _: None)
    assert len(packed_linears(model)) == (0 if plan is PLAN else 3)
    ids = torch.tensor([[5, 77, 130, 258, 5, 0]])
    with torch.no_grad():
        wanted = stock(ids, output_hidden_states=True).hidden_states[-2]
        assert rel(hidden_state(model, ids), wanted) < 1e-6


@pytest.mark.parametrize(
    ("plan", "words"),
    [(PLAN, "unpacked to float32"), (OLD_GPU, "stay packed and are unpacked"), (NEW_GPU, "multiplied as they are")],
)
def test_how_weights_are_held_is_said(tmp_path: Path, plan: MemoryPlan, words: str) -> None:
    path = tmp_path / "packed.safetensors"
    write_packed(path, PACKERS["int8 convrot"][0])
    part = open_network(TRANSFORMER, PartFiles(open_file(path), WIDE_CONFIG, path))
    (note,) = part.notes(plan)
    assert "transformer's int8_tensorwise weights" in note.en
    assert words in note.en
    assert "int8_tensorwise" in note.zh


@pytest.mark.parametrize(
    ("numbers", "packed_mode"), [(0, PackedMode.NATIVE), (1, PackedMode.NATIVE), (2, PackedMode.AT_USE)]
)
def test_the_old_mark_of_two_numbers_asks_for_full_precision(
    tmp_path: Path, numbers: int, packed_mode: PackedMode
) -> None:
    path = tmp_path / "packed.safetensors"
    write_packed(path, PACKERS["fp8"][0])
    tensors = {key.replace("weight_scale", "scale_weight"): value for key, value in load_file(path).items()}
    plain = {key: value for key, value in tensors.items() if not key.endswith(".comfy_quant")}
    save_file(plain | {"scaled_fp8": torch.zeros(numbers, dtype=torch.float8_e4m3fn)}, path)
    part = open_network(TRANSFORMER, PartFiles(open_file(path), WIDE_CONFIG, path))
    assert part.reader(NEW_GPU).packed_mode("layers.0.feed_forward.w1.weight") is packed_mode


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("w4a8", {".comfy_quant": torch.tensor(list(b'{"format": "asym_w4a8_int8", "group_size": "x"}'))}),
        ("w4a8", {".weight_s_rel": torch.tensor(1.0)}),
        ("svdquant", {".weight_smooth_factor": torch.tensor(1.0)}),
        (
            "int8 convrot",
            {".comfy_quant": torch.tensor(list(b'{"format": "int8_convrot", "convrot_groupsize": null}'))},
        ),
    ],
)
def test_notes_that_make_no_sense_are_refused(tmp_path: Path, name: str, change: dict[str, Tensor]) -> None:
    path = tmp_path / "odd.safetensors"
    write_packed(path, PACKERS[name][0])
    (role, value), tensors = next(iter(change.items())), load_file(path)
    odd = {key: value.to(tensors[key].dtype) for key in tensors if key.endswith(role)}
    assert odd
    save_file(tensors | odd, path)
    with pytest.raises(ModelError, match=r"odd\.safetensors (has an unreadable note|could not be read)"):
        load_transformer(path, WIDE_CONFIG, PLAN)


@pytest.mark.parametrize(("scales", "words"), [(1, "multiplied as they are"), (2, "unpacked to"), (0, "unpacked to")])
def test_floats_of_8_bits_need_one_scale_to_be_multiplied(tmp_path: Path, scales: int, words: str) -> None:
    path = tmp_path / "fp8.safetensors"
    write_packed(path, PACKERS["fp8"][0])
    tensors = {key: tensor for key, tensor in load_file(path).items() if not key.endswith((".comfy_quant", "_scale"))}
    packed = [key for key, tensor in tensors.items() if tensor.dtype == torch.float8_e4m3fn]
    rows = {key: {1: 1, 2: tensors[key].shape[0]}.get(scales, 0) for key in packed}
    save_file(tensors | {f"{key}_scale": torch.ones(count) for key, count in rows.items() if count}, path)
    part = open_network(TRANSFORMER, PartFiles(open_file(path), WIDE_CONFIG, path))
    (note,) = part.notes(NEW_GPU)
    assert words in note.en


class Written(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the dtype of everything that is computed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtypes: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.dtypes.append(made.dtype)
        return made


@pytest.mark.parametrize("stored", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_floats_without_a_scale_are_cast_at_once(stored: torch.dtype) -> None:
    """By way of float32 it would take three times the memory, for the same bits."""
    every = torch.arange(256, dtype=torch.uint8).view(stored).reshape(16, 16)
    with Written() as written:
        found = Float8Weight(every, None, torch.bfloat16).dense()
    assert torch.float32 not in written.dtypes
    torch.testing.assert_close(found, every.float().to(torch.bfloat16), rtol=0, atol=0, equal_nan=True)


def test_scaled_floats_are_multiplied_in_float32() -> None:
    every = torch.arange(126, dtype=torch.uint8).view(torch.float8_e4m3fn).reshape(2, 63)
    for scale in (torch.tensor(0.37), torch.tensor([0.37, 1.9])):
        wanted = (every.float() * scale.reshape(-1, 1)).to(torch.bfloat16)
        assert torch.equal(Float8Weight(every, scale, torch.bfloat16).dense(), wanted)
