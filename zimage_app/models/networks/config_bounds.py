"""Upper bounds of the sizes and counts in a network's config, checked before a module is built from it.

Building a module takes time and memory that grow with the config's values, before any weights are checked. A wrong
config within the bounds costs seconds; then its tensors don't match the file, which is reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_LIMITS = {
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
"""Setting -> maximum, at least five times the published models' value."""
_MAX_OF_ANY = 2**24
"""Maximum of all other numbers, such as token ids, positions and frequencies."""
_MAX_ENTRIES = 256
"""Maximum length of lists, mappings and texts."""


def check_bounds(config: Mapping[str, Any]) -> None:
    """Check a config against the bounds.

    Raises:
        ValueError: names the setting and its maximum.
    """
    for name, value in _values(config):
        if isinstance(value, str | list | dict) and len(value) > _MAX_ENTRIES:
            raise ValueError(f"{name} has {len(value)} entries; at most {_MAX_ENTRIES} are taken")
        limit = _LIMITS.get(name, _MAX_OF_ANY)
        if isinstance(value, int | float) and abs(value) > limit:
            raise ValueError(f"{name} is {value:g}; at most {limit} is taken")


def _values(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every setting's name and value, including nested ones; entries of a list have the list's name."""
    waiting: list[tuple[str, Any]] = list(config.items())
    while waiting:
        name, value = waiting.pop()
        yield name, value
        if isinstance(value, Mapping):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(name, item) for item in value]
