"""Measures how the model improved during training: evaluates each snapshot's pictures after stage 1.

    python -m tools.demo_model.curve --run WORK/run --vae WORK/vae --tokenizer WORK/tokenizer --probe WORK/probe.pt \
        --out WORK/curve.json

Stage 1 determines a picture's content, and is fast. For every snapshot: percent right by attribute, and the Fréchet
distance to drawn scenes on the probe's features, both as in :mod:`tools.demo_model.evaluate`.
"""

import argparse
import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from tools.demo_model.evaluate import PROMPTS, ModelEvaluation, shares
from tools.demo_model.export import export
from tools.demo_model.make import CARD
from tools.demo_model.probes import Probe, load_or_fit
from tools.demo_model.prompts import PromptCase, read_prompts
from zimage_app import load_generator

log = logging.getLogger(__name__)


def snapshots(run: Path) -> list[Path]:
    """Return the snapshot files in order of their steps."""
    return sorted(run.glob("average_*.pt"))


def judge_snapshot(path: Path, vae: Path, tokenizer: Path, probe: Probe, prompts: list[PromptCase]) -> dict[str, Any]:
    """Evaluate a snapshot; return its row of the curve."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "demo"
        model.mkdir()
        shutil.copy(CARD, model)
        export(vae, path, tokenizer, model)
        generator = load_generator(str(model))
        stages = (generator.card.stages or ())[:1]
        evaluation = ModelEvaluation(generator, stages, probe)
        checked = evaluation.run(prompts)
        saved = torch.load(path, weights_only=True, map_location="cpu")
        return {
            "step": saved["step"],
            "samples": saved["samples"],
            "right": shares(one.verdicts for one in checked),
            "frechet": evaluation.distance([one.image for one in checked]),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of the training, with its snapshots")
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--probe", type=Path, required=True, help="file of the probe; made when it is not there")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the curve")
    parser.add_argument("--count", type=int, help="take only so many of the prompts")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    probe, prompts = load_or_fit(args.probe), read_prompts(PROMPTS)[: args.count]
    rows: list[dict[str, Any]] = []
    for path in snapshots(args.run):
        rows.append(judge_snapshot(path, args.vae, args.tokenizer, probe, prompts))
        log.info("%s", rows[-1])
        args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
