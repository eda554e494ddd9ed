"""Bounds on a network's config, checked before a module is built from it: what a config may say of sizes and counts.

Building takes memory for every layer, and some for every position and channel, long before weights are looked at. A
wrong config within these bounds costs seconds; then its tensors do not fit the file's, which is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_MOST = {
    "n_layers": 256,
    "n_refiner_layers": 32,
    "num_hidden_layers": 256,
    "layers_per_block": 16,
    "dim": 2**15,
    "n_heads": 2**10,
    "n_kv_heads": 2**10,
    "axes_dims": 2**10,
    "axes_lens": 2**16,
    "cap_feat_dim": 2**15,
    "in_channels": 2**10,
    "out_channels": 2**10,
    "latent_channels": 2**10,
    "block_out_channels": 2**13,
    "norm_num_groups": 2**10,
    "hidden_size": 2**15,
    "intermediate_size": 2**17,
    "num_attention_heads": 2**10,
    "num_key_value_heads": 2**10,
    "head_dim": 2**10,
    "vocab_size": 2**20,
}
"""Each at least five times of what the published models have."""
_MAX_OF_ANY = 2**24
"""Any other whole number: token ids, positions, frequencies."""
_LONGEST = 256
"""Any list or text."""


def check_bounds(config: Mapping[str, Any]) -> None:
    """Compare a config with the bounds.

    Raises:
        ValueError: names the setting and what it may be at most.
    """
    for name, value in _values(config):
        if isinstance(value, str | list | dict) and len(value) > _LONGEST:
            raise ValueError(f"{name} has {len(value)} entries; at most {_LONGEST} are taken")
        most = _MOST.get(name, _MAX_OF_ANY)
        if isinstance(value, int | float) and abs(value) > most:
            raise ValueError(f"{name} is {value:g}; at most {most} is taken")


def _values(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every value by its name, a list's entries by the list's; none deeper than a config is."""
    waiting: list[tuple[str, Any]] = list(config.items())
    while waiting:
        name, value = waiting.pop()
        yield name, value
        if isinstance(value, Mapping):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(name, item) for item in value]
