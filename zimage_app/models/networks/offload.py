"""Layers that stay in the computer's memory and visit the device one by one, for networks that don't fit beside others.

What a layer computes does not change. Knows modules, plain and packed; no files, and not what a layer is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from zimage_app.models.weights.packed_weights import PackedLinear


class StreamedLayer(nn.Module):
    """A layer whose weights are on the device only while it computes."""

    def __init__(self, layer: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.layer = layer
        self.device = device

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """As the layer itself, with inputs that are on the device."""
        with visiting(self.layer, self.device):
            return self.layer(*inputs, **options)


@contextmanager
def visiting(module: nn.Module, device: torch.device) -> Iterator[None]:
    """All weights of a module on ``device`` while the context lasts; afterwards the very tensors that it had before."""
    homes: list[tuple[nn.Module, dict[str, Any], dict[str, Any], Any]] = []
    try:
        for item in module.modules():
            packed = item.weight if isinstance(item, PackedLinear) else None
            homes.append((item, dict(item._parameters), dict(item._buffers), packed))
            for name, parameter in item.named_parameters(recurse=False):
                item._parameters[name] = nn.Parameter(parameter.detach().to(device), requires_grad=False)
            for name, buffer in item.named_buffers(recurse=False):
                item._buffers[name] = buffer.to(device)
            if isinstance(item, PackedLinear):
                item.weight = item.weight.to(device)
        yield
    finally:
        for item, parameters, buffers, packed in homes:
            item._parameters.update(parameters)
            item._buffers.update(buffers)
            if packed is not None:
                item.weight = packed
