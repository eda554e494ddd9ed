"""Benchmark of applying, changing and removing LoRAs at full width, and of steps with LoRAs applied.

A model with fewer blocks of real size is written to disk with random weights and loaded normally: in bfloat16, where
LoRAs are merged, and as GGUF, where they run beside the packed weights. Steps with 0, 1 and 3 LoRAs alternate, so that
other load slows all alike; with one CPU thread, that thread's CPU time is measured.

    python -m benchmarks.lora --quick
    python -m benchmarks.lora --layers 4 --rank 32
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.load import LAYOUTS, MemorySampler, load, shapes_of
from zimage_app.models.device import best_device, named_device
from zimage_app.models.find.model_files import CONFIGS
from zimage_app.models.lora import LoraManager, ResolvedLora
from zimage_app.models.networks.networks import TRANSFORMER
from zimage_app.models.networks.transformer import FastTransformer
from zimage_app.models.weights.placement import plan_for
from zimage_app.models.weights.weight_file import read_json

SIZE = (54, 42)
"""Latent (height, width) of the second stage."""
SIGMA = 0.7
BLOCKS = 34
"""Number of blocks of the published model: 30 main blocks, two in each refiner."""
COUNTS = (0, 1, 3)


@dataclass(frozen=True, slots=True)
class LoraResult:
    """Measurements of one layout. Seconds are for ``blocks`` blocks; ``full_s`` is extrapolated to all 34."""

    layout: str
    blocks: int
    put_on_s: float
    add_two_s: float
    change_one_s: float
    take_off_s: float
    full_s: float
    """Seconds to apply the first LoRA."""
    anon_gb: float
    """Anonymous memory taken by three LoRAs, including the files' contents."""
    step_s: tuple[float, ...]
    """Seconds of a step with 0, 1 and 3 LoRAs."""
    step_ratio: tuple[float, ...]
    """Median ratios to neighbouring steps without LoRAs."""


def lora_file(folder: Path, number: int, config: Mapping[str, Any], rank: int) -> Path:
    """Write a random LoRA for every linear of every block; return its path."""
    tensors: dict[str, Tensor] = {}
    for key, shape in shapes_of(TRANSFORMER, config).items():
        if TRANSFORMER.stays_packed.fullmatch(key):
            layer = f"transformer.{key.removesuffix('.weight')}"
            generator = torch.Generator().manual_seed(number + len(tensors))
            down, up = (rank, shape[1]), (shape[0], rank)
            tensors[f"{layer}.lora_A.weight"] = 0.01 * torch.randn(down, generator=generator).bfloat16()
            tensors[f"{layer}.lora_B.weight"] = 0.01 * torch.randn(up, generator=generator).bfloat16()
    path = folder / f"lora{number}.safetensors"
    save_file(tensors, path)
    return path


def clock() -> float:
    """Return the thread's CPU time if all work is in it, otherwise wall time after synchronising the device."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
        return time.perf_counter()
    return time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds(manager: LoraManager, uses: Sequence[ResolvedLora]) -> float:
    """Return the seconds to apply these LoRAs, without reading their files."""
    stack, _ = manager.read(uses)
    begin = clock()
    manager.switch(stack)
    return clock() - begin


@torch.inference_mode()
def step(fast: FastTransformer, config: Mapping[str, Any]) -> float:
    """Return the seconds of the second of two evaluations, because the first one after a change has cold caches."""
    generator = torch.Generator().manual_seed(0)
    prompt = fast.prompt(torch.randn(60, config["cap_feat_dim"], generator=generator))
    evaluation = fast.evaluation(SIZE, [prompt], [SIGMA])
    x = torch.randn(1, 16, *SIZE, generator=generator).to(fast.device, fast.dtype)
    evaluation(x, SIGMA)
    begin = clock()
    evaluation(x, SIGMA)
    return clock() - begin


def measure(layout: str, folder: Path, config: Mapping[str, Any], options: argparse.Namespace) -> LoraResult:
    """Measure one layout of the model."""
    device = best_device() if options.device is None else named_device(options.device)
    LAYOUTS[layout](folder / layout, config)
    fast = load(layout, folder / layout, config, plan_for(6 * 10**9, device))
    files = [lora_file(folder, number, config, options.rank) for number in range(max(COUNTS))]
    uses = [ResolvedLora(path, 0.7) for path in files]
    manager = LoraManager(fast)
    step(fast, config)
    memory = MemorySampler()
    put_on, add_two = seconds(manager, uses[:1]), seconds(manager, uses)
    anon = memory.peak
    change_one = seconds(manager, [*uses[:2], ResolvedLora(files[2], 0.4)])
    take_off = seconds(manager, [])
    times: dict[int, list[float]] = {count: [] for count in COUNTS}
    for _ in range(options.repeats):
        for count in COUNTS:
            manager.apply(uses[:count])
            times[count].append(step(fast, config))
    shutil.rmtree(folder / layout)
    blocks = config["n_layers"] + 2 * config["n_refiner_layers"]
    return LoraResult(
        layout=layout,
        blocks=blocks,
        put_on_s=round(put_on, 3),
        add_two_s=round(add_two, 3),
        change_one_s=round(change_one, 3),
        take_off_s=round(take_off, 3),
        full_s=round(put_on / blocks * BLOCKS, 3),
        anon_gb=anon,
        step_s=tuple(round(statistics.median(times[count]), 3) for count in COUNTS),
        step_ratio=tuple(
            round(statistics.median(a / b for a, b in zip(times[count], times[0], strict=True)), 3) for count in COUNTS
        ),
    )


def format_row(row: LoraResult) -> str:
    """Format a row as text."""
    times = " ".join(f"{value:>7.2f}" for value in row.step_s)
    ratios = " ".join(f"{value:>6.3f}" for value in row.step_ratio)
    return (
        f"{row.layout:<8} {row.blocks:>6} {row.put_on_s:>8.2f} {row.add_two_s:>8.2f} {row.change_one_s:>8.2f}"
        f" {row.take_off_s:>8.2f} {row.full_s:>10.1f} {row.anon_gb:>8.2f} {times} {ratios}\n"
    )


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-weights"), help="where to write the weights")
    parser.add_argument("--layouts", nargs="+", choices=sorted(LAYOUTS), default=["bf16", "Q8_0"])
    parser.add_argument("--layers", type=int, default=4, help="main blocks (default 4)")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--device", help="the accelerator by default, or the CPU")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--quick", action="store_true", help="a narrow model: about 20 s")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = arguments(words)
    torch.set_num_threads(options.threads)
    config = dict(read_json(CONFIGS / "transformer" / "config.json"))
    config |= {"n_layers": options.layers, "n_refiner_layers": 1}
    if options.quick:
        config |= {"dim": 768, "n_heads": 6, "n_kv_heads": 6, "cap_feat_dim": 256}
    folder = options.folder / "lora"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows = []
    sys.stdout.write(
        "layout   blocks put on s +2 more   change  all off 34 blocks  anon GB"
        " step: 0       1       3  1.000      1      3\n"
    )
    for layout in options.layouts:
        rows.append(measure(layout, folder, config, options))
        sys.stdout.write(format_row(rows[-1]))
        sys.stdout.flush()
    shutil.rmtree(folder)
    shown = {key: str(value) for key, value in vars(options).items() if value is not None}
    result = {"benchmark": "lora", "options": shown, "torch": torch.__version__}
    sys.stdout.write(json.dumps(result | {"rows": [asdict(row) for row in rows]}) + "\n")


if __name__ == "__main__":
    main()
