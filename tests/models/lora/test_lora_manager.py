"""On and off: bits, addresses, histories and failures in the middle."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.models.lora_support import GOLDEN, OUT, changed, low_rank, patchable, state, write
from tests.models.stock import golden_module, normal
from zimage_app.domain.errors import LoraError
from zimage_app.models.lora import LoraManager, ResolvedLora
from zimage_app.models.networks.transformer import FastTransformer

_COMFY = GOLDEN / "tiny_lora_comfy.safetensors"
_TO_OUT = "layers.0.attention.to_out.0.weight"


class Fragile(nn.Module):
    """Three linears with names of Z-Image's, small and quick."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleDict({"feed_forward": _FeedForward(seed)}) for seed in range(3))


class _FeedForward(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(8, 6, bias=False, dtype=torch.bfloat16)
        with torch.no_grad():
            self.w1.weight.copy_(normal(6, 8, seed=seed))


@pytest.fixture(scope="module")
def fast() -> FastTransformer:
    module = golden_module(torch.bfloat16)
    return FastTransformer(module, origin=state(module).__getitem__)


@pytest.fixture(scope="module")
def pristine(fast: FastTransformer) -> dict[str, Tensor]:
    return state(fast.module)


@pytest.fixture
def manager(fast: FastTransformer, pristine: dict[str, Tensor]) -> Iterator[LoraManager]:
    manager = LoraManager(fast)
    yield manager
    manager.apply([])
    assert changed(pristine, fast.module) == set()


def _file(folder: Path, layers: tuple[int, ...], name: str, *, size: float = 1.0) -> ResolvedLora:
    tensors: dict[str, Tensor] = {}
    for layer in layers:
        tensors |= low_rank(f"layers.{layer}.feed_forward.w1", (6, 8), rank=2, seed=10 * layer)
    return ResolvedLora(write(folder, {key: size * value for key, value in tensors.items()}, name), 1.0)


def test_merge_is_rounded_once(fast: FastTransformer, manager: LoraManager, pristine: dict[str, Tensor]) -> None:
    """Two LoRAs in bfloat16: the sum in float32, rounded at the end, is what stands in the weight, bit for bit."""
    manager.apply([ResolvedLora(_COMFY, 0.7), ResolvedLora(_COMFY, 0.4)])
    from safetensors.torch import load_file

    file = load_file(_COMFY)
    key = f"diffusion_model.{OUT}"
    up, down = file[f"{key}.lora_B.weight"], file[f"{key}.lora_A.weight"]
    scale = float(file[f"{key}.alpha"]) / down.shape[0]
    weight = pristine[_TO_OUT].float()
    for strength in (0.7, 0.4):
        weight = weight + (strength * scale) * (up @ down)
    assert torch.equal(dict(fast.module.named_parameters())[_TO_OUT], weight.bfloat16())


def test_off_is_bit_identical_after_100_swaps(
    fast: FastTransformer, manager: LoraManager, pristine: dict[str, Tensor], tmp_path: Path
) -> None:
    key = "transformer.layers.1.feed_forward.w2"
    other = write(tmp_path, {**low_rank(key, (256, 682)), f"{key}.dora_scale": 1 + 0.1 * normal(256, 1)})
    files = (_COMFY, GOLDEN / "tiny_lora_diffusers.safetensors", other)
    draw = random.Random(7)
    for _ in range(100):
        few = draw.sample(files, draw.randint(0, 2))
        manager.apply([ResolvedLora(path, draw.choice((-1.3, 0.0, 0.35, 1.0))) for path in few])
    manager.apply([ResolvedLora(_COMFY, 0.8)])
    history = state(fast.module)
    manager.apply([])
    assert changed(pristine, fast.module) == set()
    manager.apply([ResolvedLora(_COMFY, 0.8)])
    assert changed(history, fast.module) == set()
    assert len(changed(pristine, fast.module)) == 24


def test_addresses_and_shared_storage_stay(fast: FastTransformer, manager: LoraManager) -> None:
    parameters = dict(fast.module.named_parameters())
    before = {name: parameter.data_ptr() for name, parameter in parameters.items()}
    manager.apply([ResolvedLora(_COMFY, 1.0)])
    assert {name: parameter.data_ptr() for name, parameter in fast.module.named_parameters()} == before
    block = fast.module.layers[0].attention
    storages = {block.get_submodule(name).weight.untyped_storage().data_ptr() for name in ("to_q", "to_k", "to_v")}
    assert len(storages) == 1


def test_derived_values_are_updated_once_per_change(tmp_path: Path) -> None:
    observed = patchable(Fragile())
    manager, lora = LoraManager(observed), _file(tmp_path, (0, 1), "a")
    for uses, count in (([lora], 1), ([lora], 1), ([ResolvedLora(lora.path, 0.5)], 2), ([], 3), ([], 3)):
        manager.apply(uses)
        assert observed.changes == count


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    module = Fragile()
    manager = LoraManager(patchable(module))
    one, two = _file(tmp_path, (0, 1), "one"), _file(tmp_path, (1, 2), "two")
    manager.apply([one])
    versions = [layer["feed_forward"].w1.weight for layer in module.layers]  # type: ignore[index]
    with torch.no_grad():
        versions[0].add_(1.0)  # a mark that a rewrite would wipe out
    marked = versions[0].detach().clone()
    manager.apply([one, two])
    assert torch.equal(versions[0], marked)
    manager.apply([two])
    assert not torch.equal(versions[0], marked)


def test_strength_zero_is_off_and_is_not_even_read(tmp_path: Path) -> None:
    module = Fragile()
    before = state(module)
    manager = LoraManager(patchable(module))
    assert manager.apply([ResolvedLora(tmp_path / "missing.safetensors", 0.0)]) == []
    assert changed(before, module) == set()
    assert manager._stack == ()


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    module = Fragile()
    manager, lora = LoraManager(patchable(module)), _file(tmp_path, (0,), "a")
    manager.apply([lora])
    before = state(module)
    _file(tmp_path, (0,), "a", size=2.0)
    stamp = lora.path.stat().st_mtime_ns + 1_000_000_000
    import os

    os.utime(lora.path, ns=(stamp, stamp))
    manager.apply([lora])
    assert changed(before, module) == {"layers.0.feed_forward.w1.weight"}


@pytest.mark.parametrize("on", [False, True])
def test_a_bad_file_changes_nothing(on: bool, tmp_path: Path) -> None:
    """The good one before it in the stack isn't put on either."""
    module = Fragile()
    manager, good, kept = (
        LoraManager(patchable(module)),
        _file(tmp_path, (0, 1), "good"),
        _file(tmp_path, (1, 2), "kept"),
    )
    if on:
        manager.apply([kept])
    before, stack = state(module), manager._stack
    bad = write(tmp_path, {"layers.2.feed_forward.w1.lora_A.weight": normal(2, 8)}, "bad")
    with pytest.raises(LoraError, match=r"bad\.safetensors"):
        manager.apply([good, ResolvedLora(bad, 1.0)])
    assert changed(before, module) == set()
    assert manager._stack == stack
    manager.apply([good, kept])
    manager.apply([kept] if on else [])
    assert changed(before, module) == set()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_failure_in_the_middle_undoes_all(
    stop: type[BaseException], after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever weight the failure meets, what was on before is on again."""
    observed = patchable(Fragile())
    manager, three, kept = LoraManager(observed), _file(tmp_path, (0, 1, 2), "three"), _file(tmp_path, (0,), "kept")
    manager.apply([kept])
    before, count = state(observed.module), observed.changes
    with monkeypatch.context() as patch:
        patch.setattr(torch, "isfinite", _fails_once(after, stop, torch.isfinite))
        with pytest.raises(stop):
            manager.apply([three, kept])
    assert changed(before, observed.module) == set()
    assert [(use.identity[0], use.strength) for use in manager._stack] == [(kept.path, kept.strength)]
    assert observed.changes > count
    manager.apply([])
    assert changed(state(Fragile()), observed.module) == set()


def _fails_once(after: int, stop: type[BaseException], real: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    calls = iter(range(1, 1000))

    def isfinite(tensor: Tensor) -> Tensor:
        if next(calls) == after:
            raise stop
        return real(tensor)

    return isfinite


def test_overflow_names_the_file(tmp_path: Path) -> None:
    """float16 ends at 65504."""
    module = Fragile().to(torch.float16)
    before = state(module)
    key = "layers.1.feed_forward.w1"
    huge = {f"{key}.lora_A.weight": torch.full((2, 8), 900.0), f"{key}.lora_B.weight": torch.full((6, 2), 900.0)}
    with pytest.raises(LoraError, match=r"huge\.safetensors: layers\.1.*no longer finite"):
        LoraManager(patchable(module)).apply([ResolvedLora(write(tmp_path, huge, "huge"))])
    assert changed(before, module) == set()


def test_strength_must_be_a_number(tmp_path: Path) -> None:
    lora = _file(tmp_path, (0,), "a")
    with pytest.raises(LoraError, match="strength nan"):
        LoraManager(patchable(Fragile())).apply([ResolvedLora(lora.path, float("nan"))])


def test_order_counts_for_dora(tmp_path: Path) -> None:
    plain, key = _file(tmp_path, (0,), "plain"), "layers.0.feed_forward.w1"
    dora = {**low_rank(key, (6, 8), rank=2, seed=3), f"{key}.dora_scale": 2 + normal(6, 1).abs()}
    other = ResolvedLora(write(tmp_path, dora, "dora"), 0.9)
    module = Fragile()
    manager = LoraManager(patchable(module))
    manager.apply([plain, other])
    first = state(module)
    manager.apply([other, plain])
    assert changed(first, module) == {f"{key}.weight"}


def test_weights_made_in_inference_mode_can_be_patched(tmp_path: Path) -> None:
    """A loader may have run inside a generation."""
    with torch.inference_mode():
        module = Fragile()
    before = state(module)
    manager = LoraManager(patchable(module))
    manager.apply([_file(tmp_path, (0,), "a")])
    assert changed(before, module) == {"layers.0.feed_forward.w1.weight"}
    manager.apply([])
    assert changed(before, module) == set()
