"""A whole picture of the demo model's preset, by this app and by diffusers' own transformer and autoencoder.

Both make the same picture with the same plan, samplers and text encoder; only the two networks that take the time are
exchanged. Each runs in a process of its own, because the app tells the C library to keep freed memory. They run in
turns, so that a busy machine slows both alike; the median of the ratios counts.

    python -m benchmarks.whole_run
    python -m benchmarks.whole_run --threads 1 --rounds 5 --reference
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import REFERENCE_STAGES
from zimage_app.models.components import AttentionGuidance, PreparedPrompt
from zimage_app.models.find.catalogue import find_model
from zimage_app.models.heap import keep_freed_memory
from zimage_app.models.load.loader import load_components
from zimage_app.models.load.memory_plan import plan_memory
from zimage_app.service.generation.generator import Generator
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.pictures.comparison import psnr

DEMO = Path(__file__).parents[1] / "models" / "demo"
PROMPT = "a red boat on a calm lake at sunset, snowy mountains"
SEED = 42


@dataclass(frozen=True)
class StockPrompt:
    """Text features (tokens, channels) as the text encoder gives them: diffusers refines them in each evaluation."""

    features: Tensor

    @property
    def tokens(self) -> int:
        """Number of tokens, without padding."""
        return self.features.shape[0]


@dataclass(frozen=True)
class StockTransformer:
    """diffusers' transformer behind the app's Transformer protocol, called as its pipeline calls it."""

    module: Any

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of computation."""
        dtype: torch.dtype = self.module.dtype
        return dtype

    @property
    def device(self) -> torch.device:
        """The device that computes."""
        device: torch.device = self.module.device
        return device

    def prompt(self, features: Tensor, value_scale: Tensor | None = None) -> PreparedPrompt:
        """Return a prompt for ``evaluation``; nothing is prepared."""
        assert value_scale is None
        return StockPrompt(features)

    def evaluation(
        self,
        size: tuple[int, int],
        prompts: Sequence[Any],
        sigmas: Sequence[float],
        guidance: AttentionGuidance | None = None,
    ) -> Callable[[Tensor, float], Tensor]:
        """Return the evaluation of a stage; nothing is prepared."""
        del size, sigmas
        assert guidance is None
        captions = [prompt.features for prompt in prompts]

        @torch.no_grad()
        def evaluate(x: Tensor, sigma: float) -> Tensor:
            when = torch.full((x.shape[0],), 1.0 - sigma, device=x.device)
            out = self.module(list(x.unsqueeze(2).unbind(0)), when, captions, return_dict=False)[0]
            return -torch.stack([row[:, 0] for row in out])

        return evaluate


@dataclass(frozen=True)
class StockCodec:
    """diffusers' autoencoder behind the app's Codec protocol."""

    module: Any

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Latent in VAE space (1, 16, h, w) -> picture (8h, 8w, 3), 0…1."""
        pixels = self.module.decode(latent, return_dict=False)[0]
        picture: Tensor = ((pixels[0] + 1.0) / 2.0).clamp(0.0, 1.0).permute(1, 2, 0).contiguous()
        return picture


def own_generator() -> Generator:
    """Return the demo model with the app's own networks, in a process that is set up as the app's."""
    keep_freed_memory()
    source = find_model("demo", DEMO.parent)
    components = load_components(source, plan_memory(source, "cpu"))
    return Generator(components, LoraLibrary(DEMO.parents[1] / "loras"))


def stock_generator() -> Generator:
    """Return the demo model with diffusers' networks."""
    from diffusers import AutoencoderKL, ZImageTransformer2DModel

    source = find_model("demo", DEMO.parent)
    module = ZImageTransformer2DModel.from_pretrained(DEMO / "transformer", torch_dtype=torch.float32)
    for block in (*module.noise_refiner, *module.context_refiner, *module.layers):
        block.attention.norm_q.eps = block.attention.norm_k.eps = torch.finfo(torch.float32).eps  # as ComfyUI has it
    codec = AutoencoderKL.from_pretrained(DEMO / "vae", torch_dtype=torch.float32)
    stock_transformer: Any = StockTransformer(module.eval().requires_grad_(False))
    stock_codec: Any = StockCodec(codec.eval().requires_grad_(False))
    components = load_components(source, plan_memory(source, "cpu"))
    components = replace(components, transformer=stock_transformer, codec=stock_codec)
    return Generator(components, LoraLibrary(DEMO.parents[1] / "loras"))


GENERATORS = {"stock": stock_generator, "ours": own_generator}


@cache
def generator(kind: str) -> Generator:
    """Return one of ``GENERATORS``, loaded once in a process."""
    return GENERATORS[kind]()


def picture(kind: str, threads: int, reference: bool) -> tuple[float, Any]:
    """Make a picture; return the seconds that it took, and its pixels."""
    torch.set_num_threads(threads)
    maker = generator(kind)
    stages = REFERENCE_STAGES if reference else maker.card.stages or REFERENCE_STAGES
    request = GenerationRequest(prompt=PROMPT, seed=SEED, stages=stages)
    begin = time.perf_counter()
    image = maker.generate(request).image
    return time.perf_counter() - begin, np.asarray(image)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="timed pictures of each, after one that warms up")
    parser.add_argument("--reference", action="store_true", help="the reference workflow instead of the demo's preset")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {kind: [] for kind in GENERATORS}
    pictures: dict[str, Any] = {}
    with ExitStack() as stack:
        spawn = multiprocessing.get_context("spawn")
        workers = {kind: stack.enter_context(ProcessPoolExecutor(1, spawn)) for kind in GENERATORS}
        for number in range(options.rounds + 1):
            for kind, worker in workers.items():
                took, pictures[kind] = worker.submit(picture, kind, options.threads, options.reference).result()
                if number > 0:
                    seconds[kind].append(took)
    stock, ours = (statistics.median(seconds[kind]) for kind in GENERATORS)
    ratio = statistics.median(a / b for a, b in zip(*seconds.values(), strict=True))
    alike = psnr(*pictures.values())
    sys.stdout.write(f"diffusers {stock:.2f} s, ours {ours:.2f} s, ratio {ratio:.2f}; pictures {alike:.1f} dB alike\n")
    result = {"benchmark": "whole_run", "threads": options.threads, "reference": options.reference}
    result |= {"stock_s": round(stock, 2), "ours_s": round(ours, 2), "ratio": round(ratio, 3), "psnr": round(alike, 1)}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
