"""Measures the effect and cost of guidance over whole runs of the demo model at CFG 1.

    python -m tools.demo_model.guidance --out WORK/guidance

Measures NAG's additional CPU time, in alternating pairs of runs, and the distance between eight seeds' pictures with
and without seed variance. Draws a sheet with plain, NAG, NegPiP and seed variance side by side, one prompt per row.
Writes ``table.md`` and ``guidance.jpg``.
"""

import argparse
import itertools
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tools.demo_model.evaluate import contact_sheet
from zimage_app import GenerationRequest, Generator, Stage, load_generator
from zimage_app.domain.settings.guidance import Nag, NegPip, Variance

SEEDS = range(1, 9)
SEEN = (84, 108)
"""Size in pixels of the small copies that are compared."""
PROMPTS = ("湖", "a blue boat on the sea", "草地上的一座红色小房子")
STRENGTHS = (0.1, 1.0)
"""Strengths of seed variance; the first is its default."""
SHOWN = (("湖", "鸟", 0), ("草地上的一座红色小房子", "太阳", 0), ("a lake by day", "birds", 0))
"""Prompt, negative prompt and seed of each row of the sheet."""
COLUMNS: tuple[dict[str, Any], ...] = ({}, {"nag": Nag()}, {"negpip": NegPip()}, {"variance": Variance(strength=1.0)})
WIDTH = 176


class CfgOneRuns:
    """A model that runs at CFG 1 in all stages."""

    def __init__(self, generator: Generator, stages: tuple[Stage, ...]) -> None:
        self._generator = generator
        self._stages = tuple(stage.model_copy(update={"cfg": 1.0}) for stage in stages)

    def picture(self, prompt: str, seed: int, negative: str = "", **settings: Any) -> Image.Image:
        """Generate a picture with ``settings`` in all stages."""
        stages = tuple(stage.model_copy(update=settings) for stage in self._stages)
        request = GenerationRequest(prompt=prompt, seed=seed, negative=negative, stages=stages)
        return self._generator.generate(request).image

    def seconds(self, prompt: str, seed: int, **settings: Any) -> float:
        """Return the CPU time in seconds of a picture with a negative prompt."""
        begun = time.process_time()
        self.picture(prompt, seed, "云, 鸟", **settings)
        return time.process_time() - begun

    def apart(self, prompt: str, **settings: Any) -> float:
        """Return the RMS difference of small copies in grey levels (0..255), averaged over all pairs of seeds."""
        seen = [np.asarray(self.picture(prompt, seed, **settings).resize(SEEN), np.float64) for seed in SEEDS]
        return statistics.mean(float(np.sqrt(np.mean((a - b) ** 2))) for a, b in itertools.combinations(seen, 2))


def cost(runs: CfgOneRuns, pairs: int) -> str:
    """Compare CPU times with and without NAG in alternating pairs; return a line of text."""
    runs.seconds("湖", 0)
    taken = [[runs.seconds("湖", seed, **settings) for settings in ({}, {"nag": Nag()})] for seed in range(pairs)]
    ratios = sorted(100 * (nag / plain - 1) for plain, nag in taken)
    plain = statistics.median(each for each, _ in taken)
    summary = f"median {statistics.median(ratios):+.0f} %, from {ratios[0]:+.0f} % to {ratios[-1]:+.0f} %"
    return f"NAG, {pairs} pairs of whole runs: {summary}; a plain run takes {plain:.1f} s.\n"


def distances(runs: CfgOneRuns) -> str:
    """Return a Markdown table of the distances with and without seed variance."""
    lines = ["| seed variance | " + " | ".join(PROMPTS) + " | mean |", "|---" * (len(PROMPTS) + 2) + "|"]
    for strength in (0.0, *STRENGTHS):
        found = [runs.apart(prompt, variance=Variance(strength=strength)) for prompt in PROMPTS]
        cells = " | ".join(f"{each:.1f}" for each in (*found, statistics.mean(found)))
        lines.append(f"| {strength or 'none'} | {cells} |")
    return "\n".join(lines) + "\n"


def sheet(runs: CfgOneRuns) -> Image.Image:
    """Draw the sheet: a row for each of ``SHOWN``, a column for each of ``COLUMNS``."""
    cells = itertools.product(SHOWN, COLUMNS)
    images = [runs.picture(prompt, seed, negative, **settings) for (prompt, negative, seed), settings in cells]
    return contact_sheet(images, len(COLUMNS), WIDTH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models/demo", help="folder of the model")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table and the sheet")
    parser.add_argument("--pairs", type=int, default=4, help="whole runs with and without NAG that are timed")
    parser.add_argument("--stages", type=int, default=1, help="of the first stages, for distances and the sheet")
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator = load_generator(args.model)
    first = CfgOneRuns(generator, generator.card.stages[: args.stages])
    args.out.mkdir(parents=True, exist_ok=True)
    sheet(first).save(args.out / "guidance.jpg", quality=82)
    text = "\n".join([distances(first), cost(CfgOneRuns(generator, generator.card.stages), args.pairs)])
    (args.out / "table.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
