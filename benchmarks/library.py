"""Benchmark of a large LoRA library: first scan, later start, refresh, lookup by name, and the data sent to the page.

    python -m benchmarks.library
    python -m benchmarks.library --files 10000

The files are small, but their headers are realistic (420 keys, training metadata), and half have a Civitai info file
beside them. They are written to a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.library.loras.library import CACHE_FILE
from zimage_app.ui.loras.lora_picker import entry_data

_LAYERS = 30
_MODULES = (
    *(f"attention.{part}" for part in ("to_q", "to_k", "to_v", "to_out.0")),
    *(f"feed_forward.w{n}" for n in "123"),
)
_TAGS = {f"tag {number}": 1000 - number for number in range(1000)}
_CIVITAI = {"trainedWords": ["水墨", "ink wash"], "baseModel": "ZImageTurbo", "images": [{"prompt": "x" * 1000}] * 20}


def write_files(folder: Path, count: int) -> None:
    """Write ``count`` LoRAs in subfolders of a hundred."""
    tensors = {
        f"diffusion_model.layers.{layer}.{module}.lora_{side}.weight": np.zeros((1, 2), np.float16)
        for layer in range(_LAYERS)
        for module in _MODULES
        for side in "AB"
    }
    data = save(tensors, {"ss_tag_frequency": json.dumps({"10_style": _TAGS}), "modelspec.title": "A style"})
    info = json.dumps(_CIVITAI, ensure_ascii=False)
    for number in range(count):
        path = folder / f"group {number // 100:02}" / f"style {number:05}.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        if number % 2:
            path.with_suffix(".civitai.info").write_text(info, encoding="utf-8")


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of ``repeats`` runs in milliseconds."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append((time.perf_counter() - begin) * 1e3)
    return round(statistics.median(times), 2)


def measure(folder: Path, repeats: int) -> dict[str, float]:
    """Return the times in milliseconds, and the sizes of cache and page data in megabytes."""
    library = LoraLibrary(folder)

    def first_look() -> None:
        (folder / CACHE_FILE).unlink(missing_ok=True)
        LoraLibrary(folder).entries()

    results = {"first look": milliseconds(first_look, min(repeats, 3))}
    results["later start"] = milliseconds(lambda: LoraLibrary(folder).entries(), repeats)
    results["refresh"] = milliseconds(lambda: library.entries(refresh=True), repeats)
    results["a name"] = milliseconds(lambda: library.find("style 00042"), repeats)

    def page() -> str:
        entries = library.entries()
        return json.dumps(
            [entry_data(each, 3840, "zh", library.known_sha256(each), lambda text: text) for each in entries]
        )

    results["what the page is sent"] = milliseconds(page, repeats)
    results["its megabytes"] = round(len(page().encode()) / 1e6, 2)
    results["megabytes of cache"] = round((folder / CACHE_FILE).stat().st_size / 1e6, 2)
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), options.files)
        results = measure(Path(folder), options.repeats)
    sys.stdout.write("".join(f"{name:<24}{value:>10.2f}\n" for name, value in results.items()))
    sys.stdout.write(json.dumps({"files": options.files} | results) + "\n")


if __name__ == "__main__":
    main()
