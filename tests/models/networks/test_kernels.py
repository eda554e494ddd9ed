"""Candidates on a played clock: only one that is right and quicker is taken, and what was found is cached."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.torch_version import TorchVersion

from tests.models.networks.choices import InMemory
from tests.models.stock import golden_module, normal, rel
from zimage_app.models import device
from zimage_app.models.networks import candidates
from zimage_app.models.networks.block import block
from zimage_app.models.networks.candidates import CANDIDATES, captured, kitchen_norm_rope
from zimage_app.models.networks.kernels import DEFAULT, STEP, Candidate, KernelChoice, Kernels, Step
from zimage_app.models.networks.transformer import FastTransformer

CPU = torch.device("cpu")


class Played:
    """Candidates for one part, and how long a trial with each is said to take."""

    def __init__(self, seconds: Mapping[str, float], makers: Mapping[str, Callable[..., Tensor]]) -> None:
        self.asked: list[str] = []
        self._seconds = seconds
        self._makers = makers
        self.last = "plain"

    def candidates(self) -> Iterator[Candidate]:
        """In the table's form."""
        for name in self._makers:
            yield Candidate("gate", name, lambda *_: True, partial(self._noted, name))

    def _noted(self, name: str) -> Callable[..., Tensor]:
        def gate(*given: Tensor) -> Tensor:
            self.asked.append(name)
            self.last = name
            return self._makers[name](*given)

        return gate

    def clock(self, work: Callable[[], object]) -> float:
        """The played time of what ran in ``work``."""
        self.last = "plain"
        work()
        return self._seconds[self.last]


def wrong(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up * 1.1


def failing(*given: Tensor) -> Tensor:
    raise RuntimeError(f"no kernel image is available for execution on the device ({len(given)})")


def nan(gate: Tensor, up: Tensor) -> Tensor:
    return gate * up * float("nan")


def right(gate: Tensor, up: Tensor) -> Tensor:
    return up * F.silu(gate)


def trial(kernels: Kernels) -> Tensor:
    return kernels.gate(normal(4, 8), normal(4, 8, seed=1))


def chosen(played: Played, cache: InMemory) -> KernelChoice:
    return KernelChoice(CPU, torch.float32, cache, list(played.candidates()), played.clock)


@pytest.mark.parametrize(
    ("name", "maker", "seconds", "taken", "told"),
    [
        ("good", right, 0.8, True, ""),
        ("hardly quicker", right, 0.98, False, ""),
        ("slower", right, 1.5, False, ""),
        ("wrong", wrong, 0.1, False, "gate by wrong is wrong here"),
        ("not a number", nan, 0.1, False, "is wrong here"),
        ("failing", failing, 0.1, False, "no kernel image"),
    ],
)
def test_a_candidate_must_be_right_and_quicker(
    name: str, maker: Callable[..., Tensor], seconds: float, taken: bool, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    played, cache = Played({"plain": 1.0, name: seconds}, {name: maker}), InMemory()
    choice = chosen(played, cache)
    with caplog.at_level(logging.WARNING):
        kernels = choice.kernels("672 x 864", trial)
    assert cache.kept == {"672 x 864": {"gate": name if taken else "plain"}}
    assert [record.message for record in caplog.records if told and told in record.message] or not told
    assert bool(caplog.records) == bool(told)
    played.asked.clear()
    assert torch.equal(trial(kernels), trial(DEFAULT))
    assert played.asked == ([name] if taken else [])
    assert [("SwiGLU by good" in note.en, "good" in note.zh) for note in choice.notes] == (
        [(True, True)] if taken else []
    )


def test_choices_of_a_version_with_other_parts_are_measured_anew() -> None:
    cache, measured = InMemory(), []

    def seconds(work: Callable[[], object]) -> float:
        work()
        measured.append(work)
        return 1.0

    cache.put("a", {"turn": "fused"})
    candidates = [Candidate("norm_rope", "fused", lambda *_: True, lambda: DEFAULT.norm_rope)]
    KernelChoice(CPU, torch.float32, cache, candidates, seconds).kernels("a", trial)
    assert measured
    assert cache.kept["a"] == {"norm_rope": "plain"}
    measured.clear()
    KernelChoice(CPU, torch.float32, cache, candidates, seconds).kernels("a", trial)
    assert not measured, "what is known is not measured again"


def test_the_quickest_of_several_is_taken_once_per_shape_and_remembered() -> None:
    makers: dict[str, Callable[..., Tensor]] = {"one": right, "two": right, "three": failing}
    played, cache = Played({"plain": 1.0, "one": 0.9, "two": 0.7, "three": 0.1}, makers), InMemory()
    choice = chosen(played, cache)
    choice.kernels("a", trial)
    tried = len(played.asked)
    choice.kernels("a", trial)
    assert len(played.asked) == tried
    choice.kernels("b", trial)
    assert len(played.asked) > tried
    assert cache.kept == {"a": {"gate": "two"}, "b": {"gate": "two"}}
    played.asked.clear()
    again = chosen(played, cache).kernels("a", trial)
    assert played.asked == [], "what is known is not tried again"
    trial(again)
    assert played.asked == ["two"]


def test_on_a_cpu_nothing_is_tried() -> None:
    def never(kernels: Kernels) -> Tensor:
        raise AssertionError(kernels)

    assert KernelChoice(CPU, torch.float32, InMemory(), CANDIDATES).kernels("a", never) is DEFAULT


def test_the_table_is_sound() -> None:
    assert {each.part for each in CANDIDATES} == {*Kernels._fields, STEP}
    assert len({(each.part, each.name) for each in CANDIDATES}) == len(CANDIDATES)
    cuda = torch.device("cuda")
    assert any(each.fits(cuda, torch.bfloat16) for each in CANDIDATES)
    assert not any(each.fits(cuda, torch.float32) for each in CANDIDATES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_comfy_kitchens_norm_and_rotation_are_ours(dtype: torch.dtype) -> None:
    """Here in its portable form; the fused one is compared on the device."""
    x, weight = normal(2, 40, 3, 16).to(dtype), normal(16, seed=1).to(dtype)
    angle = normal(2, 40, 1, 8, seed=2)
    rope = torch.stack((angle.cos(), angle.sin()), -1)
    found = kitchen_norm_rope()(x, weight, rope, 1e-6)
    assert found.dtype == dtype
    assert rel(found, DEFAULT.norm_rope(x, weight, rope, 1e-6)) < (1e-6 if dtype == torch.float32 else 1e-2)


def test_a_stage_computes_with_what_was_chosen_for_its_shape() -> None:
    fast = FastTransformer(golden_module())
    played = Played({"plain": 1.0, "good": 0.5}, {"good": right})
    cache = InMemory()
    features, x = normal(20, 64), normal(1, 16, 8, 6)

    def velocity() -> Tensor:
        return fast.evaluation((8, 6), [fast.prompt(features)], [0.5])(x, 0.5)

    wanted = velocity()
    fast.kernels = chosen(played, cache)
    found = velocity()
    assert cache.kept == {"48 x 64": {"gate": "good"}}
    assert rel(found, wanted) < 1e-6
    played.asked.clear()
    velocity()
    assert len(played.asked) == len(fast.module.noise_refiner) + len(fast.module.layers)


def test_a_wide_stage_is_another_shape() -> None:
    fast = FastTransformer(golden_module())
    fast.kernels = chosen(Played({"plain": 1.0, "good": 0.5}, {"good": right}), cache := InMemory())
    prompts: Any = [fast.prompt(normal(length, 64)) for length in (20, 60)]
    fast.evaluation((8, 6), prompts, [0.5])
    assert list(cache.kept) == ["48 x 64 x 2, packed"]


def test_each_part_is_chosen_beside_what_was_chosen_before() -> None:
    """A compiled block has to be faster than the block with the fast parts, not than the plain one."""
    used: list[str] = []

    def fast(name: str) -> Callable[..., Tensor]:
        def run(gate: Tensor, up: Tensor) -> Tensor:
            used.append(name)
            return right(gate, up)

        return run

    def seconds(work: Callable[[], object]) -> float:
        used.clear()
        work()
        return {"": 1.0, "gate": 0.5, "block": 0.7}[used[0] if used else ""]

    def trial(kernels: Kernels) -> Tensor:
        return (kernels.block or kernels.gate)(normal(4, 8), normal(4, 8, seed=1))

    candidates = [
        Candidate("gate", "fast", lambda *_: True, lambda: fast("gate")),
        Candidate("block", "compiled", lambda *_: True, lambda: fast("block")),
    ]
    cache = InMemory()
    KernelChoice(CPU, torch.float32, cache, candidates, seconds).kernels("a", trial)
    KernelChoice(CPU, torch.float32, cache, candidates[1:], seconds).kernels("b", trial)
    assert cache.kept == {"a": {"gate": "fast", "block": "plain"}, "b": {"block": "compiled"}}


def test_a_compiled_block_computes_the_stage() -> None:
    torch._dynamo.reset()  # other tests compile the block too, and the compiler counts
    fast = FastTransformer(golden_module())
    features, x = normal(20, 64), normal(1, 16, 8, 6)
    wanted = fast.evaluation((8, 6), [fast.prompt(features)], [0.5])(x, 0.5)
    compiled = torch.compile(block, backend="eager", fullgraph=True)
    calls: list[int] = []

    def counted(*inputs: Any) -> Tensor:
        calls.append(1)
        return compiled(*inputs)

    candidate = Candidate("block", "compiled", lambda *_: True, lambda: counted)

    def seconds(work: Callable[[], object]) -> float:
        before = len(calls)
        work()
        return 2.0 if len(calls) == before else 1.0

    fast.kernels = KernelChoice(CPU, torch.float32, InMemory(), [candidate], seconds)
    evaluation = fast.evaluation((8, 6), [fast.prompt(features)], [0.5])
    calls.clear()
    assert rel(evaluation(x, 0.5), wanted) < 1e-6
    assert len(calls) == len(fast.module.noise_refiner) + len(fast.module.layers)


class Recorded:
    """Plays a CUDA graph: replays a step on the tensors that it was captured with."""

    def __init__(self, seconds: float = 0.5, fails: bool = False) -> None:
        self.captures = self.replays = 0
        self.fails = fails
        self._seconds = seconds
        self._replayed = False

    def make(self, plain: Step, inputs: tuple[Tensor, ...]) -> Step:
        """Capture the step."""
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.captures += 1
        static = [each.clone() for each in inputs]

        def replay(*new: Tensor) -> Tensor:
            for place, value in zip(static, new, strict=True):
                place.copy_(value)
            self.replays += 1
            self._replayed = True
            return plain(*static)

        return replay

    def clock(self, work: Callable[[], object]) -> float:
        """The played time of a step."""
        self._replayed = False
        work()
        return self._seconds if self._replayed else 1.0

    def choice(self, cache: InMemory) -> KernelChoice:
        """A choice between the plain step and this."""
        candidate = Candidate(STEP, "graph", lambda *_: True, self.make, gain=1.15)
        return KernelChoice(CPU, torch.float32, cache, [candidate], self.clock)


def stage_of(fast: FastTransformer, x: Tensor, sigmas: tuple[float, ...]) -> list[Tensor]:
    """Evaluate a stage at these noise levels."""
    evaluation = fast.evaluation((8, 6), [fast.prompt(normal(20, 64))], sigmas)
    return [evaluation(x * sigma, sigma) for sigma in sigmas]


def test_a_graph_replays_the_evaluations_after_the_first() -> None:
    fast, sigmas, x = FastTransformer(golden_module()), (0.9, 0.6, 0.3, 0.1), normal(1, 16, 8, 6)
    wanted = stage_of(fast, x, sigmas)
    recorded, cache = Recorded(), InMemory()
    fast.kernels = recorded.choice(cache)
    assert all(torch.equal(*pair) for pair in zip(stage_of(fast, x, sigmas), wanted, strict=True))
    assert cache.kept == {"48 x 64": {STEP: "graph"}}
    assert "whole evaluations by graph" in fast.kernels.notes[0].en
    recorded.captures = recorded.replays = 0
    fast.kernels = recorded.choice(cache)
    assert all(torch.equal(*pair) for pair in zip(stage_of(fast, x, sigmas), wanted, strict=True))
    assert (recorded.captures, recorded.replays) == (1, 3), "what is known is not measured again"


def test_a_graph_must_gain_what_its_capture_costs() -> None:
    fast, cache = FastTransformer(golden_module()), InMemory()
    fast.kernels = Recorded(seconds=0.9).choice(cache)
    stage_of(fast, normal(1, 16, 8, 6), (0.9, 0.6))
    assert cache.kept == {"48 x 64": {STEP: "plain"}}


def test_a_stage_whose_graph_fails_is_computed_plainly(caplog: pytest.LogCaptureFixture) -> None:
    """One that was measured on another day may fail now, for want of memory."""
    fast, cache, x = FastTransformer(golden_module()), InMemory(), normal(1, 16, 8, 6)
    wanted = stage_of(fast, x, (0.9, 0.6))
    cache.put("48 x 64", {STEP: "graph"})
    fast.kernels = Recorded(fails=True).choice(cache)
    with caplog.at_level(logging.WARNING):
        found = stage_of(fast, x, (0.9, 0.6))
    assert torch.equal(found[1], wanted[1])
    assert "graph fails and is not used again until restart: operation not permitted" in caplog.text


def test_a_graph_is_dropped_when_weights_leave_the_device() -> None:
    """It would read the memory where they were."""
    fast, recorded, x = FastTransformer(golden_module()), Recorded(), normal(1, 16, 8, 6)
    fast.kernels = recorded.choice(InMemory())
    evaluation = fast.evaluation((8, 6), [fast.prompt(normal(20, 64))], [0.9])
    before = [evaluation(x, 0.9) for _ in range(3)]
    recorded.replays = 0
    assert fast.offload()
    assert rel(evaluation(x, 0.9), before[0]) < 1e-6
    assert rel(evaluation(x, 0.9), before[0]) < 1e-6
    assert recorded.replays == 0


def test_a_graph_that_only_repeats_its_first_result_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    """As an empty one does, whose work went to another GPU than the one that was captured."""

    def make(plain: Step, inputs: tuple[Tensor, ...]) -> Step:
        first = plain(*inputs)
        return lambda *_: first

    fast, cache, x = FastTransformer(golden_module()), InMemory(), normal(1, 16, 8, 6)
    wanted = stage_of(fast, x, (0.9, 0.6, 0.3))
    fast.kernels = KernelChoice(
        CPU, torch.float32, cache, [Candidate(STEP, "graph", lambda *_: True, make)], lambda _: 1.0
    )
    with caplog.at_level(logging.WARNING):
        assert all(torch.equal(*pair) for pair in zip(stage_of(fast, x, (0.9, 0.6, 0.3)), wanted, strict=True))
    assert cache.kept == {"48 x 64": {STEP: "plain"}}
    assert "step by graph is wrong here" in caplog.text


def test_a_graph_that_fails_is_tried_once_per_start() -> None:
    """Torch keeps the memory of a capture that failed, so each further one would take more."""
    fast, cache, x = FastTransformer(golden_module()), InMemory(), normal(1, 16, 8, 6)
    cache.put("48 x 64", {STEP: "graph"})
    tried = 0

    def make(plain: Step, inputs: tuple[Tensor, ...]) -> Step:
        nonlocal tried
        tried += 1
        raise RuntimeError(f"operation not permitted when stream is capturing ({plain}, {len(inputs)})")

    fast.kernels = KernelChoice(CPU, torch.float32, cache, [Candidate(STEP, "graph", lambda *_: True, make)])
    for _ in range(3):
        stage_of(fast, x, (0.9, 0.6))
    assert tried == 1
    assert cache.kept == {"48 x 64": {STEP: "graph"}}, "it may do after a restart"


@pytest.mark.parametrize("error", [RuntimeError("No valid execution plans built"), torch.OutOfMemoryError("CUDA")])
def test_a_kernel_that_refuses_another_caption_later_is_replaced_by_the_plain_one(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    refused: list[int] = []

    def gate(first: Tensor, second: Tensor) -> Tensor:
        if first.shape[1] > 64:  # the picture's 32 tokens and more than 32 of a caption
            refused.append(first.shape[1])
            raise error
        return right(first, second)

    def velocity(tokens: int) -> Tensor:
        return fast.evaluation((8, 6), [fast.prompt(normal(tokens, 64))], [0.5])(x, 0.5)

    fast, x = FastTransformer(golden_module()), normal(1, 16, 8, 6)
    wanted = velocity(60)
    fast.kernels = chosen(Played({"plain": 1.0, "good": 0.5}, {"good": gate}), InMemory())
    velocity(20)
    assert fast.kernels.notes
    if isinstance(error, torch.OutOfMemoryError):
        with pytest.raises(torch.OutOfMemoryError):
            velocity(60)
        return
    with caplog.at_level(logging.WARNING):
        assert torch.equal(velocity(60), wanted)
        assert torch.equal(velocity(60), wanted)
    assert len(refused) == 1, "it is not asked again"
    assert "No valid execution plans built" in caplog.text
    assert fast.kernels.notes == ()


@pytest.mark.parametrize("part", ["gate", STEP])
def test_memory_that_runs_out_while_measuring_decides_nothing_for_later(part: str) -> None:
    def make(*_: Any) -> Callable[..., Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    fast, cache, x = FastTransformer(golden_module()), InMemory(), normal(1, 16, 8, 6)
    fast.kernels = KernelChoice(CPU, torch.float32, cache, [Candidate(part, "fast", lambda *_: True, make)])
    stage_of(fast, x, (0.9, 0.6))
    assert {} in (cache.kept, *cache.kept.values()), "nothing about this part is kept on the disk"
    assert fast.kernels.notes == ()


@pytest.mark.parametrize("name", ["cuDNN", "flash", "memory-efficient"])
def test_attention_by_name_leaves_torchs_switches_alone(name: str) -> None:
    """They belong to the whole process, in which another thread may compute on another device."""
    attend = next(each for each in CANDIDATES if each.name == name).make()
    made = torch.device("meta")
    q, k, v = (torch.empty(1, 2, 64, 64, dtype=torch.bfloat16, device=made) for _ in "qkv")
    switches: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for switch in ("enable_cudnn_sdp", "enable_flash_sdp", "enable_mem_efficient_sdp", "enable_math_sdp"):
            patch.setattr(torch.backends.cuda, switch, lambda _, name=switch: switches.append(name))
        assert attend(q, k, v).shape == q.shape
    assert switches == []


@pytest.mark.parametrize(
    ("capability", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16), (None, torch.bfloat16)]
)
def test_attention_is_computed_in_what_the_card_has_kernels_for(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int] | None, dtype: torch.dtype
) -> None:
    """In bfloat16, older cards would need the whole matrix of scores."""
    computed: list[torch.dtype] = []

    def watched(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        computed.append(q.dtype)
        return attention(q, k, v)

    attention = F.scaled_dot_product_attention
    monkeypatch.setattr(device, "cuda_capability", lambda _: capability)
    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    q, k, v = (normal(1, 2, 24, 8, seed=seed) for seed in range(3))
    found = DEFAULT.attend(*(each.bfloat16() for each in (q, k, v)))
    assert (found.dtype, computed) == (torch.bfloat16, [dtype])
    assert rel(found.float(), attention(q, k, v)) < 1e-2
    DEFAULT.attend(q, k, v)
    assert computed[-1] == torch.float32


class PlayedCuda:
    """Plays torch's streams and captures; notes on which device and stream each thing happened."""

    def __init__(self, patch: pytest.MonkeyPatch, free: int) -> None:
        self.entered: list[Any] = []
        self.released: list[Any] = []
        self.ended = False
        patch.setattr(candidates, "free_memory", lambda _: free)
        patch.setattr(torch.cuda, "empty_cache", lambda: None)
        patch.setattr(torch.cuda, "Stream", lambda device: ("stream of", device))
        patch.setattr(torch.cuda, "CUDAGraph", lambda: self)
        patch.setattr(torch.cuda, "device", self._context("device"))
        patch.setattr(torch.cuda, "stream", self._context("stream"))
        patch.setattr(torch.cuda, "graph", lambda _graph, stream, **_options: self._context("graph")(stream))
        patch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 7))
        patch.setattr(torch.cuda, "current_device", lambda: 1)
        for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
            patch.setattr(torch._C, name, partial(self._release, name))

    def _release(self, name: str, device: int, pool: tuple[int, int]) -> None:
        self.released.append((name, device, pool))
        if "end" in name:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")

    def pool(self) -> tuple[int, int]:
        """The graph's pool, as torch's graph tells it."""
        if not self.ended:
            raise RuntimeError("Called CUDAGraph::pool() without a preceding successful capture.")
        return 0, 7

    def _context(self, name: str) -> Callable[[Any], Any]:
        @contextmanager
        def entered(which: Any) -> Iterator[None]:
            self.entered.append((name, which))
            yield

        return entered

    def replay(self) -> None:
        """Replay the graph."""
        self.entered.append("replay")


def test_a_graph_is_captured_on_the_models_device(monkeypatch: pytest.MonkeyPatch) -> None:
    played, meta = PlayedCuda(monkeypatch, free=2**31), torch.device("meta")
    x = torch.ones(3, device=meta)
    step = captured(lambda each: each + 1, (x,))
    assert played.entered == [("device", meta), ("stream", ("stream of", meta)), ("graph", ("stream of", meta))]
    assert step(x).shape == x.shape
    assert played.entered[-1] == "replay"


def out_of_memory(x: Tensor) -> Tensor:
    raise torch.OutOfMemoryError(f"CUDA out of memory for {x.shape}")


@pytest.mark.parametrize(
    ("version", "hip", "ended", "calls"),
    [
        ("2.13.0", None, False, 2),
        ("2.13.0", None, True, 0),  # what fails is the graph's making, behind its capture
        ("2.14.0", None, False, 0),
        ("2.13.0", "7.1", False, 0),
    ],
)
def test_the_memory_of_a_capture_that_fails_is_released_once(
    monkeypatch: pytest.MonkeyPatch, version: str, hip: str | None, ended: bool, calls: int
) -> None:
    played = PlayedCuda(monkeypatch, free=2**31)
    played.ended = ended
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    monkeypatch.setattr(torch.version, "hip", hip)
    with pytest.raises(torch.OutOfMemoryError):
        captured(out_of_memory, (torch.ones(3),))
    both = [(name, 1, (0, 7)) for name in ("_cuda_endAllocateToPool", "_cuda_releasePool")]
    assert played.released == both[:calls]


def test_the_memory_of_a_graph_stays_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    played = PlayedCuda(monkeypatch, free=2**31)
    captured(lambda each: each + 1, (torch.ones(3),))
    assert played.released == []


def test_graphs_of_a_device_are_captured_on_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    PlayedCuda(monkeypatch, free=2**31)
    made: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "Stream", made.append)
    candidates._capture_stream.cache_clear()
    for _ in range(2):
        captured(lambda each: each + 1, (torch.ones(3),))
    assert made == [torch.device("cpu")]
    candidates._capture_stream.cache_clear()


def test_a_graph_is_not_begun_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    played = PlayedCuda(monkeypatch, free=2**20)
    with pytest.raises(torch.OutOfMemoryError):
        captured(lambda each: each + 1, (torch.ones(3),))
    assert played.entered == []
