"""A hub with a model in it, and nothing of the machine's own: no token, no cache, no proxy."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.hub.fake_hub import FakeHub, forget_this_machine, serve
from zimage_app.models.hub.retry_policy import RetryPolicy

REPO = "Tongyi-MAI/Z-Image-Turbo"
HASTY = RetryPolicy(first=10.0, answer=10.0, silence=10.0, attempts=3, pause=0.0, max_pause=0.01)
"""For tests: no pauses."""


INDEX = json.dumps(
    {"weight_map": {name: f"diffusion_pytorch_model-0000{name}-of-00002.safetensors" for name in "12"}}
).encode()


def big(seed: int, size: int = 300_000) -> bytes:
    """Bytes that are alike nowhere."""
    return random.Random(seed).randbytes(size)


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_this_machine(tmp_path, monkeypatch)


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    """Z-Image-Turbo as it is published, small, and with much that nobody needs."""
    files = {
        "README.md": b"# hello",
        "assets/teaser.jpg": big(1),
        "model_index.json": b'{"_class_name": "ZImagePipeline"}',
        "scheduler/scheduler_config.json": b"{}",
        "transformer/config.json": b'{"dim": 3840}',
        "transformer/diffusion_pytorch_model.safetensors.index.json": INDEX,
        "transformer/diffusion_pytorch_model-00001-of-00002.safetensors": big(2),
        "transformer/diffusion_pytorch_model-00002-of-00002.safetensors": big(3),
        "transformer/diffusion_pytorch_model.safetensors": big(4),
        "transformer/diffusion_pytorch_model.fp16.safetensors": big(5),
        "transformer/diffusion_pytorch_model.bin": big(6),
        "text_encoder/config.json": b"{}",
        "text_encoder/model.safetensors": big(7),
        "vae/config.json": b"{}",
        "vae/diffusion_pytorch_model.safetensors": big(8),
        "tokenizer/vocab.json": b"{}",
        "tokenizer/merges.txt": b"#version",
        "tokenizer/tokenizer_config.json": b"{}",
    }
    with serve(FakeHub({REPO: files})) as hub:
        yield hub


SHARDS = tuple(f"transformer/diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2))
NEEDED = {
    "model_index.json",
    "scheduler/scheduler_config.json",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors.index.json",
    *SHARDS,
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
}
