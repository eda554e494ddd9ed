"""Benchmark of loading a full-size transformer from every layout: time, memory, and one evaluation per stage size.

For each layout, random weights are written to disk, loaded in a separate process, and deleted. Anonymous memory is the
process's own; it excludes memory-mapped weights, which the system may drop and reread at any time.

    python -m benchmarks.load --quick
    python -m benchmarks.load --folder benchmark-weights --layouts bf16 int8_convrot Q4_K whole
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.evaluate import SIGMA, STAGES
from zimage_app.models.device import best_device, named_device
from zimage_app.models.find.card_file import plain_card
from zimage_app.models.find.model_files import CONFIGS, PartFiles
from zimage_app.models.find.model_source import diffusers_source
from zimage_app.models.load.loader import load_components
from zimage_app.models.networks.networks import TEXT_ENCODER, TRANSFORMER, VAE, NetworkKind, open_network
from zimage_app.models.networks.transformer import FastTransformer
from zimage_app.models.tiny import write_tiny_model
from zimage_app.models.weights.placement import MemoryPlan, plan_for
from zimage_app.models.weights.weight_file import open_file, open_folder, read_json

CAPTION = 60
_SHARD = 2 * 10**9
"""Maximum numbers per shard."""
_LEADING_SCALES = {"Q8_0": 1, "Q4_0": 1, "Q4_K": 2}
"""Packing -> number of float16 scales at the start of a block."""
_QUICK = {"n_layers": 2, "n_refiner_layers": 1, "dim": 768, "n_heads": 6, "n_kv_heads": 6, "cap_feat_dim": 256}


@dataclass(frozen=True, slots=True)
class LoadResult:
    """One line of the table."""

    layout: str
    file_gb: float
    load_s: float
    load_anon_gb: float
    """Peak anonymous memory of loading."""
    mapped_gb: float
    """Memory-mapped part of the file in memory after the last evaluation."""
    evaluation_s: tuple[float, ...]
    """Seconds of one evaluation at each stage's size."""
    evaluation_anon_gb: float
    """Peak anonymous memory of loading and evaluating."""
    device_gb: float | None
    """Peak memory on the accelerator."""


class MemorySampler:
    """Samples this process's memory in a background thread."""

    def __init__(self) -> None:
        self._base = _status("RssAnon")
        self._peak = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def peak(self) -> float:
        """Peak anonymous memory so far in GB, relative to that at construction."""
        self._sample()
        return round(self._peak, 3)

    def _watch(self) -> None:
        while True:
            self._sample()
            time.sleep(0.01)

    def _sample(self) -> None:
        self._peak = max(self._peak, _status("RssAnon") - self._base)


def _status(name: str) -> float:
    """Return a value of ``/proc/self/status`` in GB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e9
    raise LookupError(name)


def random_weights(shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Yield random weights of about the magnitude of trained ones: ones for norms, normal numbers for matrices."""
    generator = torch.Generator().manual_seed(0)
    for key, shape in shapes.items():
        if len(shape) == 1:
            yield key, torch.ones(shape, dtype=dtype)
        else:
            yield key, torch.empty(shape, dtype=dtype).normal_(std=0.5 * shape[-1] ** -0.5, generator=generator)


def shapes_of(kind: NetworkKind, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of a network's weights."""
    return {key: tuple(tensor.shape) for key, tensor in kind.build_empty(config).state_dict().items()}


def write_shards(folder: Path, kind: NetworkKind, config: Mapping[str, Any], dtype: torch.dtype) -> None:
    """Write one part of a diffusers folder: shards, index and config."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(dict(config)), encoding="utf-8")
    places: dict[str, str] = {}
    shard: dict[str, Tensor] = {}
    for key, tensor in random_weights(shapes_of(kind, config), dtype):
        if shard and sum(item.numel() for item in shard.values()) + tensor.numel() > _SHARD:
            _write_shard(folder, shard, places)
        shard[key] = tensor
    _write_shard(folder, shard, places)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _write_shard(folder: Path, shard: dict[str, Tensor], places: dict[str, str]) -> None:
    name = f"model-{len(set(places.values())) + 1:05}.safetensors"
    save_file(shard, folder / name)
    places |= dict.fromkeys(shard, name)
    shard.clear()


def write_int8(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the blocks' linears as ComfyUI's ``int8_tensorwise`` with ConvRot and row scales, the rest in bfloat16."""
    note = torch.tensor(list(b'{"format": "int8_tensorwise", "convrot": true}'), dtype=torch.uint8)
    stored: dict[str, Tensor] = {}
    for key, shape in shapes_of(TRANSFORMER, config).items():
        if TRANSFORMER.stays_packed.fullmatch(key):
            layer = key.removesuffix(".weight")
            stored[key] = torch.randint(-127, 128, shape, dtype=torch.int8)
            stored[f"{layer}.weight_scale"] = torch.full((shape[0], 1), 0.5 / 73.0 * shape[1] ** -0.5)
            stored[f"{layer}.comfy_quant"] = note.clone()
        else:
            stored |= dict(random_weights({key: shape}, torch.bfloat16))
    folder.mkdir(parents=True)
    save_file(stored, folder / "model.safetensors")


def write_gguf(folder: Path, config: Mapping[str, Any], packing: str) -> None:
    """Write the blocks' linears as GGUF blocks of random codes, the rest in float32."""
    folder.mkdir(parents=True)
    kind = gguf.GGMLQuantizationType[packing]
    numbers, size = gguf.GGML_QUANT_SIZES[kind]
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(folder / "model.gguf", "lumina2")
    for key, shape in shapes_of(TRANSFORMER, config).items():
        if TRANSFORMER.stays_packed.fullmatch(key):
            raw = random.integers(0, 256, (shape[0], shape[1] // numbers, size), dtype=np.uint8)
            scales = _LEADING_SCALES[packing]
            raw[..., : 2 * scales] = np.full(scales, 1e-4, np.float16).view(np.uint8)
            writer.add_tensor(key, raw.reshape(shape[0], -1), raw_dtype=kind)
        else:
            ((_, tensor),) = random_weights({key: shape}, torch.float32)
            writer.add_tensor(key, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_whole(folder: Path, config: Mapping[str, Any]) -> None:
    """Write a whole diffusers folder; only its tokenizer is that of the tiny model."""
    shutil.copytree(write_tiny_model(folder / "tiny") / "tokenizer", folder / "tokenizer")
    shutil.rmtree(folder / "tiny")
    (folder / "model_index.json").write_text('{"_class_name": "ZImagePipeline"}', encoding="utf-8")
    write_shards(folder / "transformer", TRANSFORMER, config, torch.bfloat16)
    write_shards(folder / "vae", VAE, read_json(CONFIGS / "vae" / "config.json"), torch.bfloat16)
    text = dict(read_json(CONFIGS / "text_encoder" / "config.json"))
    text |= {"hidden_size": config["cap_feat_dim"]}
    write_shards(folder / "text_encoder", TEXT_ENCODER, text, torch.bfloat16)


LAYOUTS: dict[str, Callable[[Path, Mapping[str, Any]], None]] = {
    "bf16": lambda folder, config: write_shards(folder, TRANSFORMER, config, torch.bfloat16),
    "float32": lambda folder, config: write_shards(folder, TRANSFORMER, config, torch.float32),
    "int8_convrot": write_int8,
    "Q8_0": lambda folder, config: write_gguf(folder, config, "Q8_0"),
    "Q4_0": lambda folder, config: write_gguf(folder, config, "Q4_0"),
    "Q4_K": lambda folder, config: write_gguf(folder, config, "Q4_K"),
    "whole": write_whole,
}
"""Layout -> function that writes it: a transformer in shards or one file; ``whole`` adds text encoder and VAE."""


def load(layout: str, folder: Path, config: Mapping[str, Any], plan: MemoryPlan) -> FastTransformer:
    """Load the transformer, alone or as part of a whole model."""
    if layout == "whole":
        source = diffusers_source(plain_card("full-size"), folder)
        transformer = load_components(source, plan).transformer
        assert isinstance(transformer, FastTransformer)
        return transformer
    files = list(folder.glob("model.*"))
    weights = open_folder(folder) if len(files) != 1 or files[0].suffix == ".json" else open_file(files[0])
    part = open_network(TRANSFORMER, PartFiles(weights, config, folder))
    return FastTransformer(part.fill(plan, lambda _: None), part.reader(plan).reread)


def measure(layout: str, folder: Path, config: Mapping[str, Any], options: argparse.Namespace) -> LoadResult:
    """Load and evaluate in this process."""
    torch.set_num_threads(options.threads)
    device = best_device() if options.device is None else named_device(options.device)
    plan = plan_for(6 * 10**9, device)
    # Imports on first use must not count as loading time.
    importlib.import_module("comfy_kitchen.tensor")
    importlib.import_module("gguf")
    TRANSFORMER.build_empty(config)
    TEXT_ENCODER.build_empty(read_json(CONFIGS / "text_encoder" / "config.json"))
    memory = MemorySampler()
    begin = time.perf_counter()
    fast = load(layout, folder, config, plan)
    seconds, load_anon = time.perf_counter() - begin, memory.peak
    times = tuple(round(_evaluate(fast, size, config), 2) for size in STAGES[: options.stages])
    on_cuda = device.type == "cuda"
    return LoadResult(
        layout,
        round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e9, 2),
        round(seconds, 2),
        load_anon,
        round(_status("RssFile"), 2),
        times,
        memory.peak,
        round(torch.cuda.max_memory_allocated(device) / 1e9, 2) if on_cuda else None,
    )


@torch.inference_mode()
def _evaluate(fast: FastTransformer, size: tuple[int, int], config: Mapping[str, Any]) -> float:
    """Return the seconds of one evaluation without its preparation; CPU time if there is a single CPU thread."""
    prompt = fast.prompt(torch.randn(CAPTION, config["cap_feat_dim"]))
    evaluation = fast.evaluation(size, [prompt], [SIGMA])
    x = torch.randn(1, 16, *size).to(fast.device, fast.dtype)
    clock = time.thread_time if fast.device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    begin = clock()
    finite = bool(torch.isfinite(evaluation(x, SIGMA)).all())
    if not finite:
        raise RuntimeError(f"numbers that are not finite at {size}")
    return clock() - begin


def in_own_process(layout: str, options: argparse.Namespace) -> LoadResult:
    """Write a layout, measure it in a new process, and delete it."""
    folder = options.folder / layout
    shutil.rmtree(folder, ignore_errors=True)
    LAYOUTS[layout](folder, config_of(options))
    try:
        words = ["--folder", str(options.folder), "--measure", layout]
        for name in ("threads", "layers", "stages"):
            words += [f"--{name}", str(getattr(options, name))]
        words += ["--device", options.device] if options.device else []
        words += ["--quick"] if options.quick else []
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.load", *words], check=True, stdout=subprocess.PIPE, text=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        return LoadResult(**found | {"evaluation_s": tuple(found["evaluation_s"])})
    finally:
        shutil.rmtree(folder)


def config_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the published transformer's config, or a small one."""
    config = dict(read_json(CONFIGS / "transformer" / "config.json")) | {"n_layers": options.layers}
    return config | _QUICK if options.quick else config


def line(row: LoadResult) -> str:
    """Format a row as text."""
    measured = [f"{seconds:.2f}" for seconds in row.evaluation_s]
    times = " ".join(f"{shown:>8}" for shown in measured + ["-"] * (len(STAGES) - len(measured)))
    device = "-" if row.device_gb is None else f"{row.device_gb:.2f}"
    return (
        f"{row.layout:<13} {row.file_gb:>8.2f} {row.load_s:>8.2f} {row.load_anon_gb:>9.2f} {row.mapped_gb:>9.2f}"
        f" {times} {row.evaluation_anon_gb:>9.2f} {device:>9}\n"
    )


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-weights"), help="where to write the weights")
    parser.add_argument("--layouts", nargs="+", choices=sorted(LAYOUTS), default=list(LAYOUTS))
    parser.add_argument("--device", help="the accelerator by default, or the CPU")
    parser.add_argument("--layers", type=int, default=30, help="main blocks (default 30, the published model's)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--stages", type=int, default=len(STAGES), help="evaluate only the first so many (default 3)")
    parser.add_argument("--quick", action="store_true", help="a small model: about a minute")
    parser.add_argument("--measure", choices=sorted(LAYOUTS), help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = arguments(words)
    if options.measure:
        row = measure(options.measure, options.folder / options.measure, config_of(options), options)
        sys.stdout.write(json.dumps(asdict(row)) + "\n")
        return
    rows = []
    sys.stdout.write(
        "layout         file GB   load s   anon GB mapped GB  stage 1  stage 2  stage 3 with eval device GB\n"
    )
    for layout in options.layouts:
        rows.append(in_own_process(layout, options))
        sys.stdout.write(line(rows[-1]))
        sys.stdout.flush()
    shown = {key: str(value) for key, value in vars(options).items() if value is not None}
    result = {"benchmark": "load", "options": shown, "torch": torch.__version__}
    sys.stdout.write(json.dumps(result | {"rows": [asdict(row) for row in rows]}) + "\n")


if __name__ == "__main__":
    main()
