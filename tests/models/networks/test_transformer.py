"""The fast forward against diffusers' own, and against ComfyUI's numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.models.networks.choices import compiled_blocks
from tests.models.stock import golden_module, normal, rel, stock_velocity
from zimage_app.domain.errors import RequestError
from zimage_app.models.components import AttentionGuidance
from zimage_app.models.networks import transformer
from zimage_app.models.networks.transformer import FastTransformer, Prompt, _Layout

TOLERANCE = 1e-5
COMFYUIS = 2e-6
"""Of ComfyUI's own numbers, whose distance was 6e-7 to 8e-7 when this was written."""
FAR = 1e-3
"""What a mistake moves at the very least: a hundred times the tolerance."""
GOLDEN = Path(__file__).parents[2] / "golden"
STAGES = ((28, 22), (54, 42), (108, 84))
CAPTIONS = (1, 17, 32, 37, 60, 64, 300)


@pytest.fixture(scope="module")
def stock() -> Any:
    """diffusers' forward at the golden weights, left as it is."""
    return golden_module()


@pytest.fixture(scope="module")
def fast() -> FastTransformer:
    """The same weights behind the fast forward."""
    return FastTransformer(golden_module())


def captions(lengths: Sequence[int]) -> list[Tensor]:
    return [normal(length, 64, seed=length + 100 * row) for row, length in enumerate(lengths)]


def velocity(fast: FastTransformer, x: Tensor, sigma: float, features: Sequence[Tensor]) -> Tensor:
    prompts = [fast.prompt(item) for item in features]
    return fast.evaluation((x.shape[2], x.shape[3]), prompts, [sigma])(x, sigma)


@pytest.mark.parametrize("case", ["a", "b", "c", "d", "f"])
def test_comfyui_golden(fast: FastTransformer, case: str) -> None:
    numbers = load_file(GOLDEN / "forward.safetensors")
    manifest = json.loads((GOLDEN / "forward_manifest.json").read_text(encoding="utf-8"))
    sigma = manifest["cases"][case]["sigma"]
    v = velocity(fast, numbers[f"{case}.x"], sigma, [numbers[f"{case}.cap"][0]])
    assert rel(v, numbers[f"{case}.v"]) < COMFYUIS


@pytest.mark.parametrize("length", CAPTIONS)
@pytest.mark.parametrize("size", STAGES[:2])
def test_equals_stock(fast: FastTransformer, stock: Any, size: tuple[int, int], length: int) -> None:
    x, features = normal(1, 16, *size), captions([length])
    assert rel(velocity(fast, x, 0.7, features), stock_velocity(stock, x, 0.7, features)) < TOLERANCE


@pytest.mark.parametrize("length", [17, 300])
def test_equals_stock_at_the_last_stage(fast: FastTransformer, stock: Any, length: int) -> None:
    x, features = normal(1, 16, *STAGES[2]), captions([length])
    assert rel(velocity(fast, x, 0.9, features), stock_velocity(stock, x, 0.9, features)) < TOLERANCE


@pytest.mark.parametrize("lengths", [(60, 60), (60, 17), (17, 300), (300, 1), (32, 64), (37, 61, 5)])
def test_rows_with_their_own_captions(fast: FastTransformer, stock: Any, lengths: tuple[int, ...]) -> None:
    x, features = normal(len(lengths), 16, *STAGES[0]), captions(lengths)
    v = velocity(fast, x, 0.4, features)
    assert rel(v, stock_velocity(stock, x, 0.4, features)) < TOLERANCE
    for row, feature in enumerate(features):
        alone = stock_velocity(stock, x[row : row + 1], 0.4, [feature])
        assert rel(v[row : row + 1], alone) < TOLERANCE


@pytest.mark.parametrize("lengths", [(60,), (60, 17)])
def test_bfloat16_is_near_float32(stock: Any, lengths: tuple[int, ...]) -> None:
    fast = FastTransformer(golden_module(torch.bfloat16))
    x, features = normal(len(lengths), 16, *STAGES[0]).bfloat16(), captions(lengths)
    v = velocity(fast, x, 0.5, features)
    assert v.dtype == torch.bfloat16
    assert rel(v, stock_velocity(stock, x.float(), 0.5, features)) < 3e-2


def test_denoised_of_a_known_model() -> None:
    """With a zero last layer the net gives its bias b, and the velocity is -b at every noise level."""
    module = golden_module()
    final = module.all_final_layer["2-1"].linear
    final.weight.zero_()
    final.bias.copy_(torch.arange(64.0))
    v = velocity(FastTransformer(module), normal(1, 16, 8, 6), 0.3, captions([9]))
    cell = torch.arange(64.0).view(2, 2, 16).permute(2, 0, 1)  # a patch is (row, column, channel)
    assert torch.equal(v, -cell.repeat(1, 4, 3)[None])


def test_a_sigma_not_announced_is_worked_out(fast: FastTransformer) -> None:
    x, prompt = normal(1, 16, 8, 6), fast.prompt(captions([20])[0])
    announced = fast.evaluation((8, 6), [prompt], [1.0, 0.6, 0.3])
    other = fast.evaluation((8, 6), [prompt], [])
    for sigma in (0.3, 1.0, 0.6, 0.6):
        assert rel(other(x, sigma), announced(x, sigma)) < TOLERANCE


def test_prompts_serve_every_stage_and_runs_repeat(fast: FastTransformer) -> None:
    features = captions([20])
    prompt = fast.prompt(features[0])
    assert prompt.tokens == 20
    for size in ((8, 6), (16, 12)):
        x = normal(1, 16, *size)
        again = fast.evaluation(size, [prompt], [0.5])(x, 0.5)
        assert torch.equal(again, velocity(fast, x, 0.5, features))


def test_prompt_keeps_its_own_place_in_a_row(fast: FastTransformer) -> None:
    x, features = normal(1, 16, 28, 22).expand(2, -1, -1, -1).contiguous(), captions([60, 17])
    v = velocity(fast, x, 0.4, features)
    swapped = velocity(fast, x, 0.4, features[::-1])
    assert rel(swapped.flip(0), v) < TOLERANCE
    assert rel(swapped, v) > FAR


class _RopeOffByOne(FastTransformer):
    """Every token turned as its neighbour."""

    def _layout(self, size: tuple[int, int], prompts: Sequence[Prompt], guidance: AttentionGuidance | None) -> _Layout:
        layout = super()._layout(size, prompts, guidance)
        return replace(layout, rope=layout.rope.roll(1, 1))


class _ImageBesideCaption(FastTransformer):
    """The picture one place further along the first axis than it is."""

    def _rope(self, positions: Tensor) -> Tensor:
        moved = positions.clone()
        moved[:, 0] += (positions[:, 1] + positions[:, 2] > 0).long()
        return super()._rope(moved)


def _without(name: str) -> Callable[[], FastTransformer]:
    def build() -> FastTransformer:
        module = golden_module()
        getattr(module, name).zero_()
        return FastTransformer(module)

    return build


@pytest.mark.parametrize(
    "build",
    [
        lambda: _RopeOffByOne(golden_module()),
        lambda: _ImageBesideCaption(golden_module()),
        _without("x_pad_token"),
        _without("cap_pad_token"),
    ],
    ids=["rope off by one", "image place off by one", "image padding zero", "caption padding zero"],
)
def test_mistakes_show(build: Callable[[], FastTransformer], stock: Any) -> None:
    x, features = normal(1, 16, *STAGES[0]), captions([61])
    assert rel(velocity(build(), x, 0.7, features), stock_velocity(stock, x, 0.7, features)) > FAR


def test_the_wrong_noise_level_shows(fast: FastTransformer, stock: Any) -> None:
    x, features = normal(1, 16, *STAGES[0]), captions([61])
    assert rel(velocity(fast, x, 0.65, features), stock_velocity(stock, x, 0.7, features)) > FAR


def test_weights_written_in_place_act() -> None:
    fast, twin = FastTransformer(golden_module()), golden_module()
    x, features = normal(1, 16, *STAGES[0]), captions([40])
    before = velocity(fast, x, 0.5, features)
    with torch.no_grad():
        for module in (fast.module, twin):
            for name, parameter in module.named_parameters():
                parameter.copy_(parameter * 1.01 + 0.01 * normal(*parameter.shape, seed=len(name)))
    fast.weights_changed()
    after = velocity(fast, x, 0.5, features)
    assert rel(after, stock_velocity(twin, x, 0.5, features)) < TOLERANCE
    assert rel(after, before) > FAR


def test_a_large_model_on_a_cpu_is_not_copied(stock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Separate weights stay separate; those that lie below one another in memory are one already."""
    monkeypatch.setattr(transformer, "_COPIED_AT_MOST", 0)
    module = golden_module()
    feed, attn = module.layers[1].feed_forward, module.layers[1].attention
    attn.to_q.weight = torch.nn.Parameter(attn.to_q.weight.clone(), requires_grad=False)
    addresses = {name: parameter.data_ptr() for name, parameter in module.named_parameters()}
    fast = FastTransformer(module)
    weights = fast._main[1]
    assert all(one is other for one, other in zip(weights.w13, (feed.w1.weight, feed.w3.weight), strict=True))
    parts = (attn.to_q.weight, attn.to_k.weight, attn.to_v.weight)
    assert all(one is other for one, other in zip(weights.qkv, parts, strict=True))
    (whole,) = fast._main[0].qkv
    assert isinstance(whole, Tensor)
    assert whole.data_ptr() == module.layers[0].attention.to_q.weight.data_ptr()
    assert {name: parameter.data_ptr() for name, parameter in module.named_parameters()} == addresses
    x, features = normal(2, 16, *STAGES[0]), captions([60, 17])
    assert rel(velocity(fast, x, 0.7, features), stock_velocity(stock, x, 0.7, features)) < TOLERANCE


def test_what_was_prepared_before_a_change_is_refused() -> None:
    fast = FastTransformer(golden_module())
    prompt = fast.prompt(captions([5])[0])
    evaluation = fast.evaluation((8, 6), [prompt], [0.5])
    fast.weights_changed()
    with pytest.raises(ValueError, match="weights"):
        evaluation(normal(1, 16, 8, 6), 0.5)
    with pytest.raises(ValueError, match="weights"):
        fast.evaluation((8, 6), [prompt], [0.5])


def test_a_replaced_weight_is_noticed() -> None:
    fast = FastTransformer(golden_module())
    linear = fast.module.layers[1].attention.to_k
    linear.weight = torch.nn.Parameter(linear.weight.clone(), requires_grad=False)
    with pytest.raises(RuntimeError, match="in place"):
        fast.weights_changed()


def test_works_in_inference_mode_and_stays_writable(stock: Any) -> None:
    x, features = normal(1, 16, 8, 6), captions([12])
    module = golden_module()
    with torch.inference_mode():
        fast = FastTransformer(module)
        v = velocity(fast, x, 0.5, features)
    assert rel(v, stock_velocity(stock, x, 0.5, features)) < TOLERANCE
    fast.module.layers[0].attention.to_q.weight.copy_(fast.module.layers[0].attention.to_q.weight)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Names of all operations that run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("lengths", [(60,), (60, 17)])
def test_an_evaluation_never_waits_for_the_device(fast: FastTransformer, lengths: tuple[int, ...]) -> None:
    prompts = [fast.prompt(item) for item in captions(lengths)]
    evaluation, x = fast.evaluation((28, 22), prompts, [0.5]), normal(len(lengths), 16, 28, 22)
    with _Operations() as operations:
        evaluation(x, 0.5)
    assert "mm" in operations.names or "addmm" in operations.names
    assert not operations.names & {"_local_scalar_dense", "nonzero", "item", "arange", "tensor", "lift_fresh"}


def test_compiled_blocks_give_the_same(stock: Any) -> None:
    fast = FastTransformer(golden_module())
    fast.kernels = compiled_blocks()
    x, features = normal(2, 16, 12, 10), captions([20, 40])
    assert rel(velocity(fast, x, 0.5, features), stock_velocity(stock, x, 0.5, features)) < TOLERANCE


@pytest.mark.parametrize("size", [(27, 22), (28, 21)])
def test_odd_sizes_are_refused(fast: FastTransformer, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{size[0]} x {size[1]}"):
        fast.evaluation(size, [fast.prompt(captions([5])[0])], [0.5])


def test_another_shape_is_refused(fast: FastTransformer) -> None:
    evaluation = fast.evaluation((8, 6), [fast.prompt(captions([5])[0])], [0.5])
    with pytest.raises(ValueError, match=r"\(2, 16, 8, 6\)"):
        evaluation(normal(2, 16, 8, 6), 0.5)
    with pytest.raises(ValueError, match="prompt"):
        fast.evaluation((8, 6), [], [0.5])


def test_the_longest_caption(fast: FastTransformer, stock: Any) -> None:
    assert fast.max_tokens == 1504
    x, features = normal(1, 16, 8, 6), captions([1504])
    assert rel(velocity(fast, x, 0.5, features), stock_velocity(stock, x, 0.5, features)) < TOLERANCE
    with pytest.raises(RequestError, match=r"prompt: 1505 tokens.* 1504") as caught:
        fast.prompt(normal(1505, 64))
    assert "1505" in caught.value.text.zh


def test_the_largest_picture(fast: FastTransformer) -> None:
    with pytest.raises(RequestError, match=r"width: 8208 pixels.* 8192"):
        fast.evaluation((8, 1026), [fast.prompt(captions([5])[0])], [0.5])
