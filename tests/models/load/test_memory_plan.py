"""Device and dtype for a model, and what of it waits elsewhere: from its files' headers alone."""

from __future__ import annotations

import json
import math
import platform
import struct
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.errors import ModelError
from zimage_app.models.device import (
    BFLOAT16_CAPABILITY,
    DeviceUse,
    device_names,
    device_use,
    free_memory,
    keep_to_own_memory,
    named_device,
)
from zimage_app.models.find.catalogue import find_model
from zimage_app.models.find.model_files import ModelFiles, PartFiles, model_files
from zimage_app.models.find.sizes import BFLOAT16_CAPABILITY as WITHOUT_TORCH
from zimage_app.models.find.sizes import PUBLISHED, ModelSizes, free_of, published_sizes, suggested
from zimage_app.models.load.loader import load_components
from zimage_app.models.load.memory_plan import fitted, needed, plan_memory, sizes_of
from zimage_app.models.networks.networks import TEXT_ENCODER, TRANSFORMER, VAE, NetworkKind
from zimage_app.models.weights.placement import MemoryPlan, plan_for
from zimage_app.models.weights.weight_file import open_file, read_json

CPU = torch.device("cpu")
CARD = MemoryPlan(torch.device("cuda"), torch.bfloat16, plan_for(1, CPU).reason, (8, 9))
CONFIGS = Path(__file__).parents[3] / "zimage_app" / "models" / "configs"


@pytest.mark.parametrize(
    ("parameters", "device", "dtype"),
    [
        (6_000_000, "cpu", torch.float32),
        (999_999_999, "cpu", torch.float32),
        (1_000_000_000, "cpu", torch.bfloat16),
        (6_000_000, "cuda", torch.bfloat16),
        (10_000_000_000, "mps", torch.bfloat16),
    ],
)
def test_plan(parameters: int, device: str, dtype: torch.dtype) -> None:
    plan = plan_for(parameters, torch.device(device))
    assert (plan.device.type, plan.dtype) == (device, dtype)
    assert str(dtype).removeprefix("torch.") in plan.reason.en
    assert str(dtype).removeprefix("torch.") in plan.reason.zh


def test_plan_of_a_folder(tiny_folder: Path) -> None:
    plan = plan_memory(find_model(str(tiny_folder), tiny_folder.parent), "cpu")
    assert (plan.device, plan.dtype, plan.stream_text, plan.streamed) == (CPU, torch.float32, False, 0)


def test_devices_are_named_as_torch_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_names()["cpu"] == "CPU"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")
    assert list(device_names().items())[:2] == [("cuda:0", "Card 0"), ("cuda:1", "Card 1")]
    assert named_device("cuda") == torch.device("cuda")
    assert named_device("cuda:1").index == 1
    with pytest.raises(ModelError, match=r"'cuda:2'.*cuda:0, cuda:1"):
        named_device("cuda:2")


def test_intel_gpus_that_do_not_tell_their_free_memory_are_planned_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(device: object) -> tuple[int, int]:
        raise RuntimeError(f"The device {device} doesn't support querying the available free memory.")

    intel = SimpleNamespace(total_memory=16 * 10**9)
    for name, found in {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "mem_get_info": refusing,
        "get_device_properties": lambda _: intel,
        "get_device_name": lambda: "Arc 140V",
        "memory_reserved": lambda _: 3 * 10**9,
    }.items():
        monkeypatch.setattr(torch.xpu, name, found)
    assert free_memory(torch.device("xpu")) == 13 * 10**9
    assert device_use() == DeviceUse("XPU Arc 140V", 3 * 10**9, 16 * 10**9)


def test_macs_are_planned_for_by_what_the_system_recommends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 12 * 10**9)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 2 * 10**9)
    assert free_memory(torch.device("mps")) == 10 * 10**9


@pytest.mark.parametrize(
    ("system", "free", "held", "fractions"),
    [
        ("Windows", 11.0, 0.0, [10.7 / 12]),
        ("Windows", 3.0, 8.0, [10.7 / 12]),  # an earlier load's limit has to make no difference
        ("Windows", 12.0, 1.0, [1.0]),
        ("Windows", 0.1, 0.0, [0.0]),
        ("Linux", 11.0, 0.0, []),
    ],
)
def test_on_windows_allocations_end_with_the_cards_own_memory(
    monkeypatch: pytest.MonkeyPatch, system: str, free: float, held: float, fractions: list[float]
) -> None:
    found: list[float] = []
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int(free * 1e9), 12 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: int(held * 1e9))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda fraction, _: found.append(fraction))
    keep_to_own_memory(torch.device("cuda"))
    assert found == pytest.approx(fractions)
    keep_to_own_memory(CPU)
    assert len(found) == len(fractions)


def test_an_absent_device_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(ModelError, match=r"'xla'.*cpu"):
        plan_memory(find_model(str(tiny_folder), tiny_folder.parent), "xla")


def header_only(path: Path, kind: NetworkKind, config: Mapping[str, Any], int8: bool) -> PartFiles:
    """A weight file of full size without contents: a header, and a hole of the right length."""
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in kind.build_empty(config).state_dict().items():
        packed = int8 and kind.stays_packed.fullmatch(name) is not None and "embed" not in name
        begin, end = end, end + tensor.numel() * (1 if packed else 2)
        header[name] = {"dtype": "I8" if packed else "BF16", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return PartFiles(open_file(path), config, path)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelSizes]:
    """The published model in bfloat16 and in 8 bits, as far as headers tell."""
    folder, kinds = (
        tmp_path_factory.mktemp("full"),
        (("transformer", TRANSFORMER), ("vae", VAE), ("text_encoder", TEXT_ENCODER)),
    )
    sizes = {}
    for name, int8 in (("z-image-turbo-bf16", False), ("z-image-turbo-int8", True)):
        parts: dict[str, Any] = {
            part: header_only(
                folder / f"{part}-{name}.safetensors", kind, read_json(CONFIGS / part / "config.json"), int8
            )
            for part, kind in kinds
        }
        sizes[name] = sizes_of(ModelFiles(**parts, tokenizer=folder), CARD)
    return sizes


@pytest.mark.parametrize(
    ("gigabytes", "name", "streams", "streamed"),
    [
        (24, "z-image-turbo-bf16", False, 0),
        (16, "z-image-turbo-bf16", True, 0),
        (12, "z-image-turbo-bf16", True, 7),
        (8, "z-image-turbo-bf16", True, 19),
        (6, "z-image-turbo-bf16", True, 25),
        (16, "z-image-turbo-int8", False, 0),
        (12, "z-image-turbo-int8", False, 0),
        (8, "z-image-turbo-int8", True, 0),
        (6, "z-image-turbo-int8", True, 14),
    ],
)
def test_plans_for_cards(full: dict[str, ModelSizes], gigabytes: int, name: str, streams: bool, streamed: int) -> None:
    sizes, free = full[name], free_of(gigabytes * 2**30)
    plan = fitted(CARD, sizes, free, Z_IMAGE_TURBO)
    assert (plan.stream_text, plan.streamed) == (streams, streamed)
    assert needed(plan, sizes) <= free
    words = {"layer by layer": streams, f"{streamed} of 30 blocks": bool(streamed), "per evaluation": bool(streamed)}
    assert {word: word in plan.reason.en for word in words} == words
    assert ("逐层调入" in plan.reason.zh) == streams
    if streamed:
        fewer = MemoryPlan(CARD.device, CARD.dtype, CARD.reason, stream_text=True, streamed=streamed - 1)
        assert needed(fewer, sizes) > free, "no block waits without need"


def test_headers_and_the_table_of_published_sizes_agree(full: dict[str, ModelSizes]) -> None:
    for name, sizes in full.items():
        known = published_sizes(name)
        assert len(known.blocks) == len(sizes.blocks) == 30
        assert abs(known.resident - sizes.resident) < 5e7
        assert abs(known.text - sizes.text) < 3e8


def test_the_file_that_suits_a_card() -> None:
    found = {gigabytes: suggested(gigabytes * 2**30) for gigabytes in (6, 8, 12, 16, 24)}
    bf16, int8, q4 = PUBLISHED
    assert found == {6: q4, 8: int8, 12: int8, 16: bf16, 24: bf16}
    assert [suggested(24 * 2**30, capability) for capability in ((7, 5), (8, 0))] == [int8, bf16]
    assert suggested(6 * 2**30, (7, 5)) == q4
    assert WITHOUT_TORCH == BFLOAT16_CAPABILITY


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)])
def test_cards_without_convolutions_in_bfloat16_hold_the_vae_in_float32(
    tiny_folder: Path, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    plan = MemoryPlan(CPU, torch.bfloat16, CARD.reason, capability)
    source = find_model(str(tiny_folder), tiny_folder.parent)
    components: Any = load_components(source, plan)
    assert next(components.codec.module.parameters()).dtype == dtype
    assert components.transformer.dtype == torch.bfloat16
    files = model_files(source)
    numbers = sum(math.prod(entry.shape) for entry in files.vae.weights.entries.values())
    usual = sizes_of(files, MemoryPlan(CPU, torch.bfloat16, CARD.reason)).rest
    assert sizes_of(files, plan).rest - usual == (2 * numbers if dtype == torch.float32 else 0)


def test_too_small_a_card_is_told(full: dict[str, ModelSizes]) -> None:
    sizes = full["z-image-turbo-bf16"]
    plan = fitted(CARD, sizes, 2 * 10**9, Z_IMAGE_TURBO)
    assert plan.streamed == 30
    assert "smaller copy" in plan.reason.en
    assert "更小的版本" in plan.reason.zh
    assert fitted(CARD, sizes, None, Z_IMAGE_TURBO) == CARD, "a device that shares the computer's memory"


def test_what_may_be_taken_can_be_limited(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a device of plenty of memory, of which little is to be used."""
    monkeypatch.setattr("zimage_app.models.load.memory_plan.named_device", torch.device)
    monkeypatch.setattr("zimage_app.models.load.memory_plan.free_memory", lambda _: 24 * 10**9)
    source = find_model(str(tiny_folder), tiny_folder.parent)
    sizes = sizes_of(model_files(source), plan_for(1, torch.device("xpu")))
    assert not plan_memory(source, "xpu").stream_text
    assert plan_memory(source, "xpu", sizes.resident).stream_text
    assert plan_memory(source, "xpu", sizes.resident - 1).streamed > 0
    assert plan_memory(source, "cpu", 1).streamed == 0
