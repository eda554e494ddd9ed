"""Checks for slowdowns: time of diffusers' and transformers' code divided by the time of this app's code.

Both run alternately, so that other load slows both alike. The check fails if a ratio is more than a quarter below the
stored one in ``ratios.json``; ``--keep`` stores the new ratios there and in ``LOG.md``.

    python -m benchmarks.guard
    python -m benchmarks.guard --keep "why they changed"
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.evaluate import STAGES, build, compare, measure
from zimage_app.models.find.catalogue import find_model
from zimage_app.models.find.model_source import ModelSource
from zimage_app.models.load.loader import load_components
from zimage_app.models.load.memory_plan import plan_memory
from zimage_app.models.networks.transformer import FastTransformer

FOLDER = Path(__file__).parent
DEMO = FOLDER.parent / "models" / "demo"
KEPT = FOLDER / "ratios.json"
LOG = FOLDER / "LOG.md"
ALLOWED = 0.75
"""Minimum ratio, as a fraction of the stored one."""
_ROUNDS = 7
_CAPTION = (60,)
_PROMPT = "a small red boat on a quiet lake at dawn, mist over the water " * 4
_PACKAGES = ("torch", "diffusers", "transformers")


def evaluations() -> Iterator[tuple[str, float]]:
    """One evaluation of the transformer at the demo model's size, at each stage."""
    options = Namespace(dim=192, head=64, layers=5, dtype="float32", device="cpu", threads=1, repeats=_ROUNDS)
    stock, fast = build(options), FastTransformer(build(options))
    for size in STAGES:
        yield f"evaluation {size[0]}x{size[1]}", compare(size, _CAPTION, (stock, fast), options).ratio


def _demo() -> ModelSource:
    return find_model("demo", DEMO.parent)


def decoding() -> Iterator[tuple[str, float]]:
    """The demo model's VAE at the last stage's size."""
    from diffusers import AutoencoderKL

    source = _demo()
    codec: Any = load_components(source, plan_memory(source, "cpu")).codec
    stock = AutoencoderKL.from_pretrained(DEMO / "vae").eval().requires_grad_(False)
    stock.decoder.to(memory_format=torch.channels_last)  # as ours, so that only the forward is compared
    latent = torch.randn(1, 16, *STAGES[-1])
    yield "decoding", _ratio(lambda: stock.decode(latent, return_dict=False)[0], lambda: codec.decode(latent))


def reading() -> Iterator[tuple[str, float]]:
    """The demo model's text encoder."""
    from transformers import Qwen3Model

    source = _demo()
    text: Any = load_components(source, plan_memory(source, "cpu")).text
    stock = Qwen3Model.from_pretrained(DEMO / "text_encoder", dtype=torch.float32).eval().requires_grad_(False)
    ids = torch.tensor([text._tokenizer.ids(_PROMPT)])
    yield (
        "reading a prompt",
        _ratio(lambda: stock(ids, use_cache=False).last_hidden_state, lambda: text._encode(_PROMPT)),
    )


def _ratio(stock: Callable[[], Tensor], ours: Callable[[], Tensor]) -> float:
    times = measure((stock, ours), _ROUNDS, 1)
    stock_ms, our_ms = times
    return statistics.median(a / b for a, b in zip(stock_ms, our_ms, strict=True))


def fallen(found: Mapping[str, float], kept: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Return the ratios below the minimum, as (found, stored); a ratio that is no longer measured counts as 0."""
    now = {name: found.get(name, 0.0) for name in kept}
    return {name: (now[name], kept[name]) for name in kept if now[name] < ALLOWED * kept[name]}


def surroundings() -> dict[str, Any]:
    """Machine and versions."""
    versions = {package: metadata.version(package) for package in _PACKAGES}
    return {"machine": f"{platform.machine()}, {torch.get_num_threads()} thread"} | versions


def keep(found: Mapping[str, float], why: str) -> None:
    """Store these ratios as the reference, and add a line to the log."""
    KEPT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    place = ", ".join(f"{name} {value}" for name, value in surroundings().items())
    ratios = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    line = f"- {datetime.now(UTC).date().isoformat()}, {place}. {why}: {ratios}.\n"
    LOG.write_text(LOG.read_text(encoding="utf-8") + line, encoding="utf-8")


def main(words: list[str] | None = None) -> int:
    """Measure and print; return 1 if a ratio is too low."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", metavar="WHY", help="store the new ratios, with this reason in the log")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    found: dict[str, float] = {}
    with torch.inference_mode():
        for part in (evaluations, decoding, reading):
            for name, ratio in part():
                found[name] = round(ratio, 3)
                sys.stdout.write(f"{name:<24}{ratio:>7.2f}\n")
                sys.stdout.flush()
    low = {} if options.keep else fallen(found, json.loads(KEPT.read_text(encoding="utf-8")))
    for name, (now, before) in low.items():
        sys.stdout.write(f"{name} has fallen from {before:.2f} to {now:.2f}\n")
    if options.keep:
        keep(found, options.keep)
    sys.stdout.write(json.dumps({"benchmark": "guard", "ratios": found, "fallen": list(low)} | surroundings()) + "\n")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
