"""Streamed blocks compute what they computed there, however early or late their copies are carried out."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, NamedTuple, TypeVar

import pytest
import torch
from torch import Tensor, nn

from tests.fake_gpu import GPU, MixUp, fake_gpu
from zimage_app.models import device as module
from zimage_app.models.device import Copies, host_memory
from zimage_app.models.networks import streaming
from zimage_app.models.networks.linears import Weight, linear
from zimage_app.models.networks.streaming import Blocks
from zimage_app.models.weights.packed_weights import Float8Weight, PackedLinear
from zimage_app.models.weights.placement import MemoryPlan, plan_for

CPU = torch.device("cpu")
Made = TypeVar("Made")


class Pair(NamedTuple):
    """A block of a plain matrix and one that is packed."""

    first: Tensor
    both: tuple[Weight, ...]


def pairs(count: int) -> list[Pair]:
    """Blocks of random weights, of different sizes."""
    torch.manual_seed(3)
    made = []
    for number in range(count):
        packed = Float8Weight(torch.randn(4, 4).to(torch.float8_e4m3fn), torch.rand(1), torch.float32)
        wide = nn.Parameter(torch.randn(4 + number % 3, 4), requires_grad=False)
        made.append(Pair(wide, (PackedLinear(packed, (0, 4)),)))
    return made


def through(blocks: Blocks[Pair], x: Tensor) -> Tensor:
    """Some arithmetic with every weight of every block."""
    for block in blocks:
        x = linear(x, block.both[0]) + linear(x, block.first)[:, :4]
    return x


class Late(Copies):
    """A device that carries copies out when they are waited for: what is read earlier is not there yet."""

    def __init__(self) -> None:
        self.open: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self.most = 0

    def begin(self, fill: Callable[[Callable[[Tensor, Tensor], None]], Made]) -> tuple[Made, object]:
        """See ``Copies``."""
        asked: list[tuple[Tensor, Tensor]] = []
        made = fill(lambda target, source: asked.append((target, source)))
        number = len(self.open)
        self.open[number] = asked
        self.most = max(self.most, sum(bool(each) for each in self.open.values()))
        return made, number

    def wait(self, event: object) -> None:
        """See ``Copies``."""
        assert isinstance(event, int)
        for target, source in self.open[event]:
            target.copy_(source)
        self.open[event] = []


class Logged(Copies):
    """Notes copies in the order of the calls, each with the number of blocks that it waits for."""

    def __init__(self) -> None:
        self.log: list[object] = []
        self.marked = 0

    def wait_for_compute(self) -> None:
        """See ``Copies``."""
        self.marked = sum(isinstance(each, int) for each in self.log)

    def begin(self, fill: Callable[[Callable[[Tensor, Tensor], None]], Made]) -> tuple[Made, object]:
        """See ``Copies``."""
        self.log.append(f"copy behind {self.marked}")
        return super().begin(fill)

    def wait(self, event: object) -> None:
        """See ``Copies``."""
        del event
        self.log.append("wait")


def partly_streamed(count: int, waiting: Container[int], logged: Logged) -> Blocks[Pair]:
    """Blocks of which some wait in the computer's memory, on a device without contents."""
    meta = torch.device("meta")
    own = pairs(count)
    for number, pair in enumerate(own):
        if number not in waiting:
            packed: Any = pair.both[0]
            packed.weight = packed.weight.moved(lambda tensor: tensor.to(meta))
            own[number] = pair._replace(first=pair.first.to(meta))
    return Blocks(own, meta, copies=logged)


@pytest.mark.parametrize(
    ("count", "waiting", "order"),
    [
        (4, range(4), ["copy behind 0", "copy behind 0", 0, 1, "copy behind 1", 2, "copy behind 2", 3]),
        (6, (2, 5), ["copy behind 0", "copy behind 0", *range(6)]),
        (6, (1, 3, 5), ["copy behind 0", "copy behind 0", 0, 1, 2, "copy behind 2", 3, 4, 5]),
    ],
)
def test_copies_are_begun_early_and_never_before_the_next_block(
    count: int, waiting: Container[int], order: list[object]
) -> None:
    """A copy from memory that isn't pinned holds the host up, and the device would wait for its next work."""
    logged = Logged()
    for number, _ in enumerate(partly_streamed(count, waiting, logged)):
        logged.log.append(number)
    assert [each for each in logged.log if each != "wait"] == order


def test_copies_that_nobody_needs_any_more_are_waited_for() -> None:
    logged = Logged()
    iterator: Any = iter(partly_streamed(6, (2, 5), logged))
    next(iterator)
    iterator.close()
    assert logged.log == ["copy behind 0", "copy behind 0", "wait", "wait"]


@pytest.mark.parametrize("streamed", [1, 2, 3, 7])
@pytest.mark.parametrize("copies", [Copies, Late])
def test_streamed_blocks_compute_as_resident_ones(streamed: int, copies: Callable[[], Copies]) -> None:
    x = torch.randn(3, 4)
    wanted = through(Blocks(pairs(7), CPU), x)
    blocks = Blocks(pairs(7), CPU, copies=copies())
    while blocks.streamed < streamed:
        assert blocks.offload()
    for _ in range(2):
        assert torch.equal(through(blocks, x), wanted)
    blocks.release()
    assert torch.equal(through(blocks, x), wanted)


def test_the_next_streamed_block_is_sent_for_while_one_computes_and_no_more() -> None:
    late = Late()
    blocks = Blocks(pairs(7), CPU, copies=late)
    while blocks.offload():
        pass
    assert blocks.streamed == 7
    assert not blocks.offload()
    through(blocks, torch.randn(3, 4))
    assert late.most == 2


def test_what_is_broken_off_can_be_begun_again() -> None:
    x = torch.randn(3, 4)
    wanted = through(Blocks(pairs(5), CPU), x)
    blocks = Blocks(pairs(5), CPU, copies=Late())
    blocks.offload()
    next(iter(blocks))
    assert torch.equal(through(blocks, x), wanted)


def test_a_block_that_the_computers_memory_has_no_room_for_is_still_there() -> None:
    x = torch.randn(3, 4)
    wanted = through(Blocks(pairs(4), CPU), x)
    blocks = Blocks(pairs(4), CPU)

    def full(tensor: Tensor) -> Tensor:
        raise RuntimeError(f"DefaultCPUAllocator: not enough memory for {tensor.nbytes} bytes")

    blocks._to_host = full
    with pytest.raises(RuntimeError, match="not enough memory"):
        blocks.offload()
    assert torch.equal(through(blocks, x), wanted)


def test_memory_of_joined_weights_is_given_back_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def join(pair: Pair) -> Pair:
        done.append("joined")
        return pair

    monkeypatch.setattr(streaming, "release_freed", lambda device: done.append(f"released on {device}"))
    Blocks(pairs(2), CPU, join)
    assert done == ["joined", "released on cpu"] * 2


def test_a_parameter_that_is_away_stays_the_same_object_and_may_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_gpu(monkeypatch):
        own = [Pair(pair.first, pair.both) for pair in pairs(4)]
        for pair in own:
            pair.first.data = pair.first.data.to(GPU)
            packed: Any = pair.both[0]
            packed.weight = packed.weight.moved(lambda tensor: tensor.to(GPU))
        blocks, x = Blocks(own, GPU), torch.randn(3, 4).to(GPU)
        before = through(blocks, x)
        assert blocks.offload()
        assert [pair.first.device == GPU for pair in own] == [False, True, False, True]
        assert torch.equal(through(blocks, x), before)
        own[0].first.mul_(2.0)
        assert not torch.equal(through(blocks, x), before)
        own[2].first.data = own[2].first.data.to(GPU)  # half of a block on either side
        with pytest.raises(MixUp):
            linear(x, own[0].first)


def test_weights_that_begin_on_the_host_are_streamed() -> None:
    assert Blocks(pairs(3), torch.device("meta")).streamed == 3
    assert Blocks(pairs(3), CPU).streamed == 0


@pytest.mark.parametrize(
    ("streamed", "waiting"), [(0, []), (1, [5]), (2, [2, 5]), (4, [1, 2, 4, 5]), (9, list(range(6)))]
)
def test_streamed_blocks_are_spread_evenly(streamed: int, waiting: list[int]) -> None:
    plan = plan_for(6_000_000_000, torch.device("xpu"))
    assert sorted(MemoryPlan(plan.device, plan.dtype, plan.reason, streamed=streamed).waiting(6)) == waiting


def test_home_is_the_computers_memory() -> None:
    tensor = torch.ones(2)
    assert host_memory(torch.device("xpu"))(tensor) is tensor


@pytest.mark.parametrize("started", [True, False], ids=["CUDA", "Apple, or ZeroGPU's parent"])
def test_pinned_memory_is_given_back_where_cuda_was_started(monkeypatch: pytest.MonkeyPatch, started: bool) -> None:
    """On Apple's devices the accelerator's own function crashes the process; without CUDA nothing is pinned."""
    emptied: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: started)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "empty_host_cache", lambda: emptied.append("accelerator"))
    monkeypatch.setattr(torch._C, "_host_emptyCache", lambda: emptied.append("CUDA"), raising=False)
    module.empty_cache()
    assert emptied == ["CUDA"] * started


def test_a_torch_that_cannot_give_pinned_memory_back_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.delattr(torch._C, "_host_emptyCache", raising=False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.delattr(torch.accelerator, "empty_host_cache", raising=False)
    module.empty_cache()


def test_memory_that_the_driver_refuses_to_pin_is_pageable(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*shape: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        if pin_memory:
            raise RuntimeError("CUDA error: out of memory")
        return empty(*shape, **options)

    empty = torch.empty
    monkeypatch.setattr(module, "is_asynchronous", lambda _: True)
    tensor, home = torch.arange(4.0), host_memory(CPU)
    monkeypatch.setattr(torch, "empty", refusing)
    assert torch.equal(home(tensor), tensor)
    assert torch.equal(module.fetch(tensor)(), tensor)
