"""Benchmark of the fast transformer against diffusers' own forward, at the sizes of the three stages.

Both run alternately on the same random weights, so that other load slows both alike; the result is the median of the
ratios of neighbouring runs. With one CPU thread, that thread's CPU time is measured, which other processes affect less.

    python -m benchmarks.evaluate --quick
    python -m benchmarks.evaluate --dim 768 --layers 8 --dtype bfloat16 --device cuda --kernels
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from zimage_app.models.networks.candidates import CANDIDATES
from zimage_app.models.networks.kernels import KernelChoice
from zimage_app.models.networks.transformer import FastTransformer

STAGES = ((28, 22), (54, 42), (108, 84))
"""Latent (height, width) of the reference workflow's stages."""
CAPTIONS = ((60,), (300,), (60, 17), (300, 17))
"""Numbers of tokens of the prompts; two prompts mean a step with CFG."""
SIGMA = 0.7
_CAPTION_CHANNELS = 256
_TOLERANCE = {"float32": 1e-5, "bfloat16": 3e-2}
_HEAD = {64: [16, 24, 24], 128: [32, 48, 48]}
"""Head width -> rotary channels per axis."""

Forward = Callable[[], Tensor]


class EmptyChoiceCache:
    """A cache of kernel choices that is always empty, so that every run measures."""

    def get(self, key: str) -> Mapping[str, str]:
        """Return nothing."""
        del key
        return {}

    def put(self, key: str, names: Mapping[str, str]) -> None:
        """Forget the choice."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of the table; times are medians in milliseconds."""

    height: int
    width: int
    captions: tuple[int, ...]
    stock_ms: float
    fast_ms: float
    ratio: float
    chosen_ms: float | None
    chosen_ratio: float | None
    error: float
    """Relative L2 distance of the fast result from the stock one."""


def build(options: argparse.Namespace) -> Any:
    """Build a diffusers transformer with random weights."""
    from diffusers import ZImageTransformer2DModel

    heads = options.dim // options.head
    torch.manual_seed(0)
    with torch.device(options.device):
        module = ZImageTransformer2DModel(
            dim=options.dim,
            n_layers=options.layers,
            n_refiner_layers=2 if options.layers > 4 else 1,
            n_heads=heads,
            n_kv_heads=heads,
            cap_feat_dim=_CAPTION_CHANNELS,
            axes_dims=_HEAD[options.head],
            axes_lens=[1536, 512, 512],
        )
    # Not module.to, because diffusers warns about casting layers that it keeps in float32; this model has none.
    for parameter in module.parameters():
        parameter.data = parameter.data.to(getattr(torch, options.dtype))
    for block in (*module.noise_refiner, *module.context_refiner, *module.layers):
        block.attention.norm_q.eps = block.attention.norm_k.eps = torch.finfo(torch.float32).eps  # as ComfyUI has it
    return module.eval().requires_grad_(False)


def stock_forward(module: Any, x: Tensor, captions: Sequence[Tensor]) -> Forward:
    """Return diffusers' forward, called as its pipeline calls it."""
    time_ = torch.full((x.shape[0],), 1.0 - SIGMA, device=x.device)

    def run() -> Tensor:
        out = module(list(x.unsqueeze(2).unbind(0)), time_, list(captions), return_dict=False)[0]
        return -torch.stack([row[:, 0] for row in out])

    return run


def fast_forward(fast: FastTransformer, x: Tensor, captions: Sequence[Tensor]) -> Forward:
    """Return the fast transformer's prepared evaluation."""
    prompts = [fast.prompt(item) for item in captions]
    evaluation = fast.evaluation((x.shape[2], x.shape[3]), prompts, [SIGMA])
    return lambda: evaluation(x, SIGMA)


def measure(forwards: Sequence[Forward], repeats: int, threads: int) -> list[list[float]]:
    """Run the forwards alternately; return the milliseconds of each, without a warm-up round."""
    on_cpu = forwards[0]().device.type == "cpu"
    clock = time.thread_time if on_cpu and threads == 1 else time.perf_counter
    times: list[list[float]] = [[] for _ in forwards]
    for number in range(repeats + 1):
        for forward, found in zip(forwards, times, strict=True):
            begin = clock()
            forward()
            if not on_cpu:
                torch.accelerator.synchronize()
            if number > 0:
                found.append((clock() - begin) * 1e3)
    return times


def compare(
    size: tuple[int, int], lengths: tuple[int, ...], models: Sequence[Any], options: argparse.Namespace
) -> Comparison:
    """Time the models ``(stock, fast[, with chosen kernels])`` at one size; raises RuntimeError if results differ."""
    stock, *others = models
    dtype = getattr(torch, options.dtype)
    x = torch.randn(len(lengths), 16, *size, dtype=dtype, device=options.device)
    captions = [torch.randn(length, _CAPTION_CHANNELS, dtype=dtype, device=options.device) for length in lengths]
    forwards = [stock_forward(stock, x, captions), *(fast_forward(model, x, captions) for model in others)]
    wanted = forwards[0]().float()
    error = max(float((forward().float() - wanted).norm() / wanted.norm()) for forward in forwards[1:])
    if error > _TOLERANCE[options.dtype]:
        raise RuntimeError(f"results differ at {size}, captions {lengths}: {error:.2e}")
    stock_ms, *fast_ms = measure(forwards, options.repeats, options.threads)
    ratios = [statistics.median(a / b for a, b in zip(stock_ms, found, strict=True)) for found in fast_ms]
    medians = [statistics.median(found) for found in fast_ms]
    chosen = len(fast_ms) > 1
    return Comparison(
        *size,
        captions=lengths,
        stock_ms=round(statistics.median(stock_ms), 2),
        fast_ms=round(medians[0], 2),
        ratio=round(ratios[0], 3),
        chosen_ms=round(medians[1], 2) if chosen else None,
        chosen_ratio=round(ratios[1], 3) if chosen else None,
        error=error,
    )


def format_row(row: Comparison) -> str:
    """Format a row as text."""
    chosen = ("-", "-") if row.chosen_ms is None else (f"{row.chosen_ms:.1f}", f"{row.chosen_ratio:.2f}")
    captions = "+".join(str(length) for length in row.captions)
    return (
        f"{row.height:>3}x{row.width:<4} {captions:>8} {row.stock_ms:>9.1f} {row.fast_ms:>9.1f} {row.ratio:>11.2f}"
        f" {chosen[0]:>12} {chosen[1]:>15} {row.error:>7.1e}\n"
    )


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=768, help="width of the model (default 768)")
    parser.add_argument("--head", type=int, default=128, choices=sorted(_HEAD), help="width of a head (default 128)")
    parser.add_argument("--layers", type=int, default=8, help="main blocks (default 8)")
    parser.add_argument("--dtype", default="bfloat16", choices=sorted(_TOLERANCE))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds that count (default 7)")
    parser.add_argument("--kernels", action="store_true", help="also time it with the kernels that are quicker here")
    parser.add_argument("--quick", action="store_true", help="a small model and few rounds: about 20 s")
    options = parser.parse_args(words)
    if options.quick:
        options.dim, options.layers, options.repeats = 256, 2, 3
    return options


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = arguments(words)
    torch.set_num_threads(options.threads)
    fast = FastTransformer(build(options))
    models = [build(options), fast]
    if options.kernels:
        chosen = FastTransformer(build(options))
        chosen.kernels = KernelChoice(chosen.device, chosen.dtype, EmptyChoiceCache(), CANDIDATES)
        models.append(chosen)
    rows = []
    sys.stdout.write("latent   captions  stock ms   fast ms  stock/fast    chosen ms    stock/chosen   error\n")
    with torch.inference_mode():
        for size in STAGES:
            for lengths in CAPTIONS:
                rows.append(compare(size, lengths, models, options))
                sys.stdout.write(format_row(rows[-1]))
                sys.stdout.flush()
    result = {"benchmark": "evaluate", "options": vars(options), "torch": torch.__version__}
    sys.stdout.write(json.dumps(result | {"rows": [asdict(row) for row in rows]}) + "\n")


if __name__ == "__main__":
    main()
