"""Makes the demo model from scratch: runs every stage in order.

    python -m tools.demo_model.make --out .work/demo_model

Finished stages are skipped, and the long ones (VAE and training) resume where they were interrupted, so the command can
be stopped and started again. The results are ``OUT/model`` and ``OUT/loras``; copy them to ``models/demo`` and
``loras`` by hand after checking the evaluation.
"""

import argparse
import logging
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tools.demo_model.lora import STEPS
from tools.demo_model.probes import FIT_SCENES

CARD = Path("models/demo/card.yaml")
PROMPTS = 200
STEADY_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
    "MALLOC_TRIM_THRESHOLD_": str(8 * 2**30),
    "MALLOC_TOP_PAD_": str(256 * 2**20),
}
"""Makes glibc keep the large buffers of one training step for the next: 20 % faster at 672x864."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MakeStep:
    """A stage: a module of this package and its arguments."""

    module: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Effort:
    """The amount of training and data."""

    steps: int
    vae_steps: int
    processes: int
    share: float
    """Share of scenes, steps and prompts to use; 0.01 tests the whole chain in minutes."""

    def of(self, count: int, least: int = 1) -> str:
        return str(max(least, round(count * self.share)))


def plan(out: Path, effort: Effort) -> list[MakeStep]:
    """Return the stages in order."""
    vae, latents, tokenizer = f"{out}/vae", f"{out}/latents", f"{out}/tokenizer"
    run, model, probe, evaluation = f"{out}/run", f"{out}/model", f"{out}/probe.pt", f"{out}/evaluation"
    training = ["--steps", effort.of(effort.steps), "--processes", str(effort.processes)]
    if effort.share < 0.1:
        training += ["--recipe", '{"compiled": false}']  # compiling would take longer than these few steps
    prompts = ("--count", effort.of(PROMPTS, 4))
    return [
        MakeStep("tokenizer", ("--out", tokenizer)),
        MakeStep("vae", ("--out", vae, "--steps", effort.of(effort.vae_steps))),
        MakeStep("latents", ("--vae", vae, "--out", latents, "--share", str(effort.share))),
        MakeStep("train", ("--latents", latents, "--tokenizer", tokenizer, "--out", run, *training)),
        MakeStep(
            "export", ("--vae", vae, "--checkpoint", f"{run}/checkpoint.pt", "--tokenizer", tokenizer, "--out", model)
        ),
        MakeStep("lora", ("--model", model, "--out", f"{out}/loras", "--steps", effort.of(STEPS))),
        MakeStep(
            "evaluate",
            (
                *("--model", model, "--probe", probe, "--out", evaluation),
                *("--probe-scenes", effort.of(FIT_SCENES, 640), *prompts),
                *("--processes", str(effort.processes)),
            ),
        ),
        MakeStep(
            "curve",
            (
                *("--run", run, "--vae", vae, "--tokenizer", tokenizer),
                *("--probe", probe, "--out", f"{out}/curve.json", *prompts),
            ),
        ),
    ]


def run_stage(stage: MakeStep, out: Path) -> int:
    """Run a stage unless its mark file says that it is done; return the exit status, 0 for success."""
    mark = out / "done" / stage.module
    wanted = " ".join(stage.arguments)
    if mark.exists() and mark.read_text(encoding="utf-8") == wanted:
        log.info("%s: done already", stage.module)
        return 0
    log.info("%s %s", stage.module, wanted)
    begin = time.monotonic()
    command = [sys.executable, "-m", f"tools.demo_model.{stage.module}", *stage.arguments]
    process = subprocess.Popen(command, env={**os.environ, **STEADY_MEMORY})
    try:
        status = process.wait()
    except KeyboardInterrupt:
        # The stage received the interrupt too; wait until it has saved its state.
        status = process.wait() or 1
    log.info("%s: %.1f minutes", stage.module, (time.monotonic() - begin) / 60)
    if status == 0:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(wanted, encoding="utf-8")
    return status


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for everything (10 GB)")
    parser.add_argument("--steps", type=int, default=16000, help="training steps")
    parser.add_argument("--vae-steps", type=int, default=10000, help="training steps of the VAE's decoder")
    parser.add_argument("--processes", type=int, default=1, help="processes that train side by side")
    parser.add_argument("--share", type=float, default=1.0, help="only this share of everything: 0.01 tries the chain")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    (args.out / "model").mkdir(parents=True, exist_ok=True)
    shutil.copy(CARD, args.out / "model")
    for stage in plan(args.out, Effort(args.steps, args.vae_steps, args.processes, args.share)):
        status = run_stage(stage, args.out)
        if status:
            log.error("%s is not done; start the same command again to go on from there", stage.module)
            sys.exit(status)


if __name__ == "__main__":
    main()
