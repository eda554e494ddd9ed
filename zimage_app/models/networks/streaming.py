"""Streams blocks of a network: they stay in the computer's memory and are copied to the device when they are used.

Works for all networks and packings. Two buffers on the device serve any number of streamed blocks: while one block
computes, the next one is copied into the other buffer.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, islice
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from zimage_app.models.device import Copies, aligned, copies_to, host_memory, release_freed
from zimage_app.models.weights.packed_weights import PackedLinear, PackedWeight

Block = TypeVar("Block", bound=tuple[Any, ...])
Move = Callable[[Tensor], Tensor]

_BUFFERS = 2


def _as_it_is(block: Block) -> Block:
    return block


class Blocks(Generic[Block]):
    """The weights of a network's blocks, in order. Iterating yields each on the device, valid until the next one.

    Args:
        blocks: named tuples of tensors, packed linears and tuples of these, which belong to the network's module.
            Blocks whose tensors are in the computer's memory are streamed, unless the device is the CPU.
        device: the device that computes.
        join: converts a block on the device to the form used for computation, such as with fused matrices.
        copies: copies the streamed blocks; by default chosen for the device.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        device: torch.device,
        join: Callable[[Block], Block] = _as_it_is,
        copies: Copies | None = None,
    ) -> None:
        self._blocks = list(blocks)
        self._join = join
        self._device = device
        self._copies = copies
        self._to_host = host_memory(device)
        self._streamed = {number for number, block in enumerate(blocks) if _waits(block, device)}
        self._ready: dict[int, Block] = {}
        for number, block in enumerate(blocks):
            if number not in self._streamed:
                self._ready[number] = join(block)
                release_freed(device)  # a joined matrix is a copy, too large for the memory that its parts leave
        self._buffers: list[Tensor] = []
        for number in self._streamed:
            _offload(self._blocks[number], self._to_host)

    @property
    def streamed(self) -> int:
        """Number of streamed blocks."""
        return len(self._streamed)

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, number: int) -> Block:
        """Return a block that stays on the device; raises KeyError for a streamed one."""
        return self._ready[number]

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks, whose computation is queued between one and the next.

        The first copies are begun before the first block. When a streamed block's computation is queued, its buffer is
        filled anew once that of the next block is queued, too: copies from pageable memory hold the host up, which
        must not keep the device waiting.
        """
        if not self._streamed:
            yield from (self._ready[number] for number in range(len(self._blocks)))
            return
        if self._copies is None:  # not earlier, because on ZeroGPU the device may not exist yet at construction
            self._copies = copies_to(self._device)
        copies, begun = self._copies, self._begun(self._copies)
        copies.wait_for_compute()
        coming = deque(islice(begun, _BUFFERS))
        free = False
        try:
            for number in range(len(self._blocks)):
                streamed = number in self._streamed
                if streamed:
                    block, event = coming.popleft()
                    copies.wait(event)
                    yield self._join(block)
                else:
                    yield self._ready[number]
                if free:
                    coming.extend(islice(begun, 1))
                if streamed:
                    copies.wait_for_compute()
                free = streamed
        finally:
            for _, event in coming:  # after an early stop, the buffers may only be reused once these copies are done
                copies.wait(event)

    def _begun(self, copies: Copies) -> Iterator[tuple[Block, object]]:
        """Begin copying one streamed block after another into the buffers in turn; yield each and its copies' event."""
        for number, buffer in zip(sorted(self._streamed), cycle(self._ready_buffers()), strict=False):
            yield self._begin(copies, self._blocks[number], buffer)

    def _begin(self, copies: Copies, block: Block, buffer: Tensor) -> tuple[Block, object]:
        writer = partial(_BufferWriter, buffer)
        with torch.inference_mode(False), torch.no_grad():
            return copies.begin(lambda copy: _moved(block, writer(copy)))

    def offload(self) -> bool:
        """Stream every other block that is still on the device from now on; return whether there was one."""
        leaving = sorted(self._ready)[::2]
        for number in leaving:
            # First, because a block can be streamed even if the computer's memory has no room for all of its weights.
            self._streamed.add(number)
            del self._ready[number]
            _offload(self._blocks[number], self._to_host)
        self.release()
        return bool(leaving)

    def release(self) -> None:
        """Free the buffers on the device; the next iteration allocates new ones."""
        self._buffers = []

    def _ready_buffers(self) -> list[Tensor]:
        """Return buffers that are large enough for any streamed block."""
        needed = max(_size(self._blocks[number]) for number in self._streamed)
        if not self._buffers or self._buffers[0].nbytes < needed:
            self._buffers = []  # frees the old buffers before the new ones are allocated
            with torch.inference_mode(False):
                self._buffers = [torch.empty(needed, dtype=torch.uint8, device=self._device) for _ in range(_BUFFERS)]
        return self._buffers


class _BufferWriter:
    """Copies tensors one after another into a buffer, using ``copy(target, source)``."""

    def __init__(self, buffer: Tensor, copy: Callable[[Tensor, Tensor], None]) -> None:
        self._buffer = buffer
        self._copy = copy
        self._end = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        begin, self._end = self._end, self._end + aligned(tensor.nbytes)
        target = self._buffer[begin : begin + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        self._copy(target, tensor.detach())
        return target


def _leaves(item: Any) -> Iterator[Tensor | PackedLinear]:
    if isinstance(item, tuple):
        for part in item:
            yield from _leaves(part)
    else:
        yield item


def _packed(item: Any) -> dict[int, PackedWeight]:
    """Return the packed weights of a block by id; linears that share a weight yield it only once."""
    return {id(leaf.weight): leaf.weight for leaf in _leaves(item) if isinstance(leaf, PackedLinear)}


def _size(block: tuple[Any, ...]) -> int:
    """Return the bytes of buffer that a block needs."""
    sizes: list[int] = [aligned(leaf.nbytes) for leaf in _leaves(block) if isinstance(leaf, Tensor)]

    def measured(tensor: Tensor) -> Tensor:
        sizes.append(aligned(tensor.nbytes))
        return tensor

    for weight in _packed(block).values():
        weight.moved(measured)
    return sum(sizes)


def _waits(block: tuple[Any, ...], device: torch.device) -> bool:
    """Return whether a block's weights are in the computer's memory, but used on another device."""
    places = {leaf.device.type if isinstance(leaf, Tensor) else leaf.weight.device.type for leaf in _leaves(block)}
    return device.type != "cpu" and "cpu" in places


def _moved(item: Any, move: Move) -> Any:
    """Return a copy of a block with ``move`` applied to its tensors; the block itself is unchanged."""
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


def _offload(block: tuple[Any, ...], to_host: Move) -> None:
    """Move a block's tensors to the computer's memory in place; parameters stay the same objects."""
    with torch.inference_mode(False), torch.no_grad():
        shared = {key: weight.moved(to_host) for key, weight in _packed(block).items()}
        for leaf in _leaves(block):
            if isinstance(leaf, PackedLinear):
                leaf.weight = shared[id(leaf.weight)]
            else:
                leaf.data = to_host(leaf.data)
