"""What configs may say of sizes, before anything is built from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zimage_app.models.networks.config_bounds import check_bounds

ROOT = Path(__file__).parents[3]
CONFIGS = [*(ROOT / "zimage_app/models/configs").glob("*/config.json"), *(ROOT / "models/demo").glob("*/config.json")]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: "-".join(path.parts[-3:-1]))
def test_published_configs_lie_well_within(path: Path) -> None:
    check_bounds(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"n_layers": 10**8}, r"n_layers is 1e\+08; at most 256"),
        ({"num_hidden_layers": 257}, "num_hidden_layers is 257"),
        ({"axes_lens": [64, 10**9]}, "axes_lens is"),
        ({"head_dim": 10**10}, "head_dim is"),
        ({"rope": {"deep": [{"factor": 1e30}]}}, "factor is"),
        ({"down_block_types": ["x"] * 300}, "down_block_types has 300 entries"),
        ({"n_layers": -(10**9)}, "n_layers is"),
    ],
)
def test_sizes_out_of_bounds_are_named(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_bounds(config)
