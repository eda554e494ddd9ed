"""Upscalers of the ESRGAN kind with few random weights, under the names that each training program gives them."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

GROWTH = 32
FEATURES = 4


def weights(doublings: int = 2, shuffle: int = 1, seed: int = 0) -> dict[str, Tensor]:
    """Of one block, by Real-ESRGAN's names; the same numbers everywhere."""
    draw = np.random.default_rng(seed)
    sizes = {"conv_first": (3 * shuffle**2, FEATURES)}
    for block in (1, 2, 3):
        for conv in (1, 2, 3, 4, 5):
            out = FEATURES if conv == 5 else GROWTH
            sizes[f"body.0.rdb{block}.conv{conv}"] = (FEATURES + (conv - 1) * GROWTH, out)
    sizes |= dict.fromkeys(("conv_body", *(f"conv_up{n + 1}" for n in range(doublings))), (FEATURES, FEATURES))
    sizes |= {"conv_hr": (FEATURES, FEATURES), "conv_last": (FEATURES, 3)}
    made: dict[str, Tensor] = {}
    for name, (inputs, outputs) in sizes.items():
        spread = 1.4 / (inputs * 9) ** 0.5
        made[f"{name}.weight"] = torch.from_numpy(draw.normal(0, spread, (outputs, inputs, 3, 3)).astype(np.float32))
        made[f"{name}.bias"] = torch.from_numpy(draw.normal(0, 0.1, outputs).astype(np.float32))
    return made


def bsrgan_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As BSRGAN and RealSR have them."""
    pairs = ((r"^body\.(\d+)\.rdb", r"RRDB_trunk.\1.RDB"), ("^conv_body", "trunk_conv"), ("^conv_up", "upconv"))
    return {_renamed(name, (*pairs, ("^conv_hr", "HRconv"))): tensor for name, tensor in tensors.items()}


def old_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As the first ESRGAN and most of what was trained after it have them: layers by their place."""
    doublings = sum(name.startswith("conv_up") for name in tensors) // 2
    places = {f"conv_up{number}": 3 * number for number in range(1, doublings + 1)}
    places |= {"conv_hr": 3 * doublings + 2, "conv_last": 3 * doublings + 4}
    pairs = [(r"^body\.(\d+)\.rdb(\d)\.conv(\d)", r"model.1.sub.\1.RDB\2.conv\3.0"), ("^conv_first", "model.0")]
    pairs += [("^conv_body", "model.1.sub.1"), *((f"^{name}", f"model.{place}") for name, place in places.items())]
    return {_renamed(name, pairs): tensor for name, tensor in tensors.items()}


def _renamed(name: str, pairs: object) -> str:
    for ours, theirs in pairs:  # type: ignore[attr-defined]
        name = re.sub(ours, theirs, name)
    return name
