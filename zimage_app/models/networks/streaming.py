"""The blocks of a network, of which some wait in the computer's memory and visit the device while they are used.

One mechanism for all networks and packings. Two places on the device are enough for any number of visitors: while one
block computes, the next one is copied into the other place. Knows weights, plain and packed; not what a block is for.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from zimage_app.models.device import Copies, aligned, copies_to, home_memory
from zimage_app.models.weights.packed_weights import PackedLinear, PackedWeight

Block = TypeVar("Block", bound=tuple[Any, ...])
Move = Callable[[Tensor], Tensor]

_PLACES = 2


def _as_it_is(block: Block) -> Block:
    return block


class Blocks(Generic[Block]):
    """Weights of a network's blocks in their order; iterating gives each on the device while it is used.

    Args:
        blocks: named tuples of tensors, packed linears and tuples of these, as the network's module has them. Those
            whose tensors are in the computer's memory are visitors.
        device: where they are used.
        join: makes of a block on the device what is computed with.
        copies: how visitors are copied; left out, as suits the device.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        device: torch.device,
        join: Callable[[Block], Block] = _as_it_is,
        copies: Copies | None = None,
    ) -> None:
        self._own = list(blocks)
        self._join = join
        self._device = device
        self._copies = copies
        self._keep = home_memory(device)
        self._away = {number for number, block in enumerate(blocks) if _waits(block, device)}
        self._ready = {n: join(block) for n, block in enumerate(blocks) if n not in self._away}
        self._places: list[Tensor] = []
        for number in self._away:
            _take_home(self._own[number], self._keep)

    @property
    def visitors(self) -> int:
        """How many blocks wait in the computer's memory."""
        return len(self._away)

    def __len__(self) -> int:
        return len(self._own)

    def __getitem__(self, number: int) -> Block:
        """A block that stays on the device; KeyError for a visitor."""
        return self._ready[number]

    def __iter__(self) -> Iterator[Block]:
        visits = self._visits(sorted(self._away)) if self._away else iter(())
        for number in range(len(self._own)):
            if number in self._away:
                yield next(visits)
            else:
                yield self._ready[number]

    def offload(self) -> bool:
        """Every other block that is still on the device leaves it; says whether there was one."""
        leaving = sorted(self._ready)[::2]
        for number in leaving:
            del self._ready[number]
            _take_home(self._own[number], self._keep)
            self._away.add(number)
        self.release()
        return bool(leaving)

    def release(self) -> None:
        """Give the visitors' places on the device back; the next visit takes new ones."""
        self._places = []

    def _visits(self, waiting: Sequence[int]) -> Iterator[Block]:
        """The visitors in turn. The one after the next is sent for when a block is done with, into its place."""
        if self._copies is None:  # not sooner: a device may be promised and not be there yet (ZeroGPU)
            self._copies = copies_to(self._device)
        copies, places = self._copies, self._ready_places()

        def sent(turn: int) -> tuple[Block, object]:
            """A block that is being copied into its place, and what its arrival is known by."""
            filling = partial(_Filling, places[turn % _PLACES])
            with torch.inference_mode(False), torch.no_grad():
                return copies.begin(lambda copy: _moved(self._own[waiting[turn]], filling(copy)))

        copies.may_write()
        coming = deque(sent(turn) for turn in range(min(_PLACES, len(waiting))))
        try:
            for turn in range(len(waiting)):
                block, arrival = coming.popleft()
                copies.wait(arrival)
                yield self._join(block)
                if turn + _PLACES < len(waiting):
                    copies.may_write()
                    coming.append(sent(turn + _PLACES))
        finally:
            for _, arrival in coming:  # broken off: the places may be given back, and must not be written to then
                copies.wait(arrival)

    def _ready_places(self) -> list[Tensor]:
        """Places that are large enough for any visitor."""
        needed = max(_size(self._own[number]) for number in self._away)
        if not self._places or self._places[0].nbytes < needed:
            self._places = []  # the old ones are free before the new ones are asked for
            with torch.inference_mode(False):
                self._places = [torch.empty(needed, dtype=torch.uint8, device=self._device) for _ in range(_PLACES)]
        return self._places


class _Filling:
    """Puts tensors one behind the other into a place, by ``copy(target, source)``."""

    def __init__(self, place: Tensor, copy: Callable[[Tensor, Tensor], None]) -> None:
        self._place = place
        self._copy = copy
        self._end = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        begin, self._end = self._end, self._end + aligned(tensor.nbytes)
        target = self._place[begin : begin + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        self._copy(target, tensor.detach())
        return target


def _leaves(item: Any) -> Iterator[Tensor | PackedLinear]:
    if isinstance(item, tuple):
        for part in item:
            yield from _leaves(part)
    else:
        yield item


def _packed(item: Any) -> dict[int, PackedWeight]:
    """The packed weights of a block, each once: several linears may share one."""
    return {id(leaf.weight): leaf.weight for leaf in _leaves(item) if isinstance(leaf, PackedLinear)}


def _size(block: tuple[Any, ...]) -> int:
    """Bytes of a place that it needs."""
    sizes: list[int] = [aligned(leaf.nbytes) for leaf in _leaves(block) if isinstance(leaf, Tensor)]

    def measured(tensor: Tensor) -> Tensor:
        sizes.append(aligned(tensor.nbytes))
        return tensor

    for weight in _packed(block).values():
        weight.moved(measured)
    return sum(sizes)


def _waits(block: tuple[Any, ...], device: torch.device) -> bool:
    """Whether a block's weights are in the computer's memory, and are used elsewhere."""
    places = {leaf.device.type if isinstance(leaf, Tensor) else leaf.weight.device.type for leaf in _leaves(block)}
    return device.type != "cpu" and "cpu" in places


def _moved(item: Any, move: Move) -> Any:
    """A block whose tensors have been through ``move``; the block itself stays as it is."""
    shared = {key: weight.moved(move) for key, weight in _packed(item).items()}

    def again(item: Any) -> Any:
        if isinstance(item, tuple):
            parts = [again(part) for part in item]
            return type(item)(*parts) if hasattr(item, "_fields") else tuple(parts)
        if isinstance(item, PackedLinear):
            twin = copy.copy(item)
            twin.weight = shared[id(item.weight)]
            return twin
        return move(item)

    return again(item)


def _take_home(block: tuple[Any, ...], keep: Move) -> None:
    """Bring a block's own tensors into the computer's memory; parameters stay the same objects."""
    with torch.inference_mode(False), torch.no_grad():
        shared = {key: weight.moved(keep) for key, weight in _packed(block).items()}
        for leaf in _leaves(block):
            if isinstance(leaf, PackedLinear):
                leaf.weight = shared[id(leaf.weight)]
            else:
                leaf.data = keep(leaf.data)
