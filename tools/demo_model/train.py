"""Trains transformer and text encoder jointly on the latents, at all three sizes and in all shapes.

    python -m tools.demo_model.train --latents WORK/latents --tokenizer WORK/tokenizer --out WORK/run --steps 16000

When interrupted, it saves a checkpoint with its whole state and resumes from it at the next start. The result depends
only on the seed and the numbers of steps and processes.

With ``--processes N``, N processes with one thread each train in parallel on their own batches and average their
gradients; on few cores that is faster than one process with many threads.

Stage 1 learns to denoise pure noise. Stages 2 and 3 learn this too, but half of their batches start from their real
input, the enlarged and re-noised latent of the previous stage (see :func:`handover`), made as imperfect as a sampled
picture (see :meth:`Trainer.soften`).

A batch has pictures of one shape. Its size is called by the width that a 7:9 picture has there: 176, 336 or 672.

Large pictures are expensive because every token attends to all others. Many of their batches therefore show the network
only a quarter of the tokens (see :func:`sparse_tokens`) at high noise, where shapes and positions are determined: four
pictures cost less than one whole picture.
"""

import argparse
import bisect
import json
import logging
import os
import random
import signal
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessExitedException, start_processes
from transformers import AutoTokenizer, Qwen3Model

from tools.demo_model.captions import (
    caption,
    chatty_caption,
    listed_caption,
    long_caption,
    unwanted_caption,
)
from tools.demo_model.latents import HELD_OUT, Latents, load, training_scenes
from tools.demo_model.model import (
    build_text_encoder,
    build_transformer,
    caption_ids,
    deepened,
    encode_captions,
    pad_captions,
    patchify,
    predict,
    predict_tokens,
)
from tools.demo_model.scene import Kind, Scene

CHECKPOINT_STEPS = 500
SNAPSHOT_STEPS = 1000
"""Steps between snapshots of the running average, which show later how the model improved."""
LOG_STEPS = 100
SMALL = 0.25
"""Share of stage 1's scenes chosen for what is easily forgotten: birds, or clouds beside a sun, moon or mountains."""
HARD_KINDS: frozenset[Kind] = frozenset({"bridge", "pagoda"})
SMALLER = {336: 176, 672: 336}
CAPTION_LENGTHS = {32: 0.42, 64: 0.53, 96: 0.05}
"""Caption length in tokens -> share; the last one is for long prompts."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recipe:
    """All parameters of a run except the data."""

    steps: int
    seed: int = 0
    learning_rate: float = 2e-3
    warm_up: int = 80
    decay_from: float = 0.55
    """Share of the steps after which the learning rate decays to 1/50."""
    ema: float = 0.998
    batch: dict[int, int] = field(default_factory=lambda: {176: 16, 336: 4, 672: 1})
    weight: dict[int, float] = field(default_factory=lambda: {176: 1.0, 336: 0.7, 672: 0.4})
    """Width -> weight of its loss in the sum."""
    often: dict[int, float] = field(default_factory=lambda: {176: 1.0, 336: 0.6, 672: 0.4})
    """Width -> share of the steps with a batch of it; takes about 46, 25 and 29 % of the time."""
    late: dict[int, float] = field(default_factory=lambda: {176: 0.6, 336: 0.6, 672: 0.9})
    """The same shares once compositions are learnt; takes about 24, 20 and 56 % of the time."""
    late_from: float = 0.45
    """Share of the steps after which ``late`` replaces ``often``."""
    sparse: dict[int, float] = field(default_factory=lambda: {336: 0.4, 672: 0.6})
    """Width -> share of its batches that show a quarter of the tokens of four times as many pictures."""
    late_sparse: dict[int, float] = field(default_factory=lambda: {336: 0.2, 672: 0.3})
    """The same shares at the end, when the network has to get used to whole pictures again."""
    late_sparse_from: float = 0.7
    compiled: bool = True
    layers: int = 8
    """Number of main blocks of the transformer."""
    hard: float = 0.15
    """Share of all scenes that are chosen for a main thing that is hard to draw (``HARD_KINDS``)."""
    shapes: dict[str, float] = field(
        default_factory=lambda: {"7:9": 0.5, "9:7": 0.2, "1:1": 0.14, "16:9": 0.08, "9:16": 0.08}
    )
    """Ratio -> share of the batches with pictures of this shape."""
    muon: bool = True
    """Whether hidden matrices are trained by Muon, else by AdamW, which costs less on CPUs without bfloat16."""
    muon_steps: int = 5
    """Newton-Schulz iterations of the Muon optimiser, which always run in bfloat16."""
    bfloat16: bool = True
    """Whether matrix products use bfloat16; on a CPU without bfloat16 arithmetic, float32 is faster."""

    def rate(self, step: int) -> float:
        fall = max(0.02, (1 - step / self.steps) / (1 - self.decay_from))
        return self.learning_rate * min(1.0, (step + 1) / self.warm_up, fall)

    def widths(self, step: int) -> list[int]:
        """Return the widths trained at this step; they are evenly spaced instead of random, for reproducibility."""
        shares = self.often if step < self.late_from * self.steps else self.late
        return [width for width, share in shares.items() if int((step + 1) * share) > int(step * share)]

    def is_sparse(self, step: int, width: int) -> bool:
        """Whether this batch is sparse; the same in all processes, so that none waits for another."""
        shares = self.sparse if step < self.late_sparse_from * self.steps else self.late_sparse
        return random.Random(f"{self.seed} {step} {width}").random() < shares.get(width, 0.0)


@dataclass(frozen=True, slots=True)
class Batch:
    indices: list[int]
    ids: Tensor
    """(batch, length) token ids."""
    real: Tensor
    """(batch, length) mask of tokens that aren't padding."""
    ratio: str
    """Shape of the pictures."""


class Corpus:
    """Scenes, their latents at three sizes in every shape, and captions generated for each batch."""

    def __init__(
        self, latents: dict[int, dict[str, Latents]], scenes: list[Scene], tokenizer: Any, hard: float = 0.15
    ) -> None:
        """Take the share of hard scenes from ``hard`` (:attr:`Recipe.hard`)."""
        self.latents = latents
        self.scenes = scenes
        self.tokenizer = tokenizer
        self.hard_share = hard
        trained = list(enumerate(scenes))[HELD_OUT:]
        self.small = [
            i for i, scene in trained if scene.birds or (scene.clouds and (scene.celestial or scene.mountains))
        ]
        self.hard = [i for i, scene in trained if scene.kind in HARD_KINDS]

    def _index(self, width: int, ratio: str, rng: random.Random) -> int:
        """Choose a scene to train on; those with hard main things and, in stage 1, with clouds or birds more often."""
        count = len(self.latents[width][ratio])
        chance = rng.random()
        preferred: list[int] = []
        if chance < self.hard_share:
            preferred = self.hard
        elif width not in SMALLER and chance < self.hard_share + SMALL:
            preferred = self.small
        among = bisect.bisect_left(preferred, count)
        return preferred[rng.randrange(among)] if among else rng.randrange(HELD_OUT, count)

    def latent(self, width: int, batch: Batch) -> Tensor:
        """Return the batch's latents (batch, 16, rows, columns) at this size, float32."""
        latents = self.latents[width][batch.ratio]
        return torch.stack([torch.from_numpy(latents[i].astype("float32")) for i in batch.indices])

    def _wording(self, length: int) -> Callable[[Scene, random.Random], str]:
        def short(scene: Scene, rng: random.Random) -> str:
            # A fifth of the short captions are empty or without information, for classifier-free guidance.
            if length == 32 and rng.random() < 0.2:
                return "" if rng.random() < 0.7 else unwanted_caption(rng)
            wording = rng.choices((caption, chatty_caption, listed_caption), weights=(74, 16, 10))[0]
            return wording(scene, rng)

        return long_caption if length > 64 else short

    def batch(self, width: int, ratio: str, size: int, rng: random.Random) -> Batch:
        """Return random scenes with captions of the same number of tokens, rounded up to a multiple of 32."""
        length = rng.choices(list(CAPTION_LENGTHS), weights=list(CAPTION_LENGTHS.values()))[0]
        wording = self._wording(length)
        indices: list[int] = []
        captions: list[list[int]] = []
        while len(indices) < size:
            i = self._index(width, ratio, rng)
            ids = caption_ids(self.tokenizer, wording(self.scenes[i], rng))
            if length - 32 < len(ids) <= length:
                indices.append(i)
                captions.append(ids)
        return Batch(indices, *pad_captions(captions, length), ratio)


def broadcastable(values: Tensor) -> Tensor:
    """Reshape (batch,) to (batch, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def uniform(size: int, low: float, high: float) -> Tensor:
    return low + torch.rand(size) * (high - low)


def stage_one_sigmas(size: int) -> Tensor:
    """Sample sigmas, logit-normal around 0.6, and 15 % uniform so that no noise level is neglected."""
    normal = torch.sigmoid(torch.randn(size) * 1.1 + 0.4)
    return torch.where(torch.rand(size) < 0.15, torch.rand(size), normal)


def sparse_tokens(rows: int, columns: int) -> Tensor:
    """Choose a quarter of a picture's tokens; return their indices in order, (rows * columns // 4,).

    In half of the cases a third of them form one contiguous window, as in whole pictures, and the rest are scattered
    around it; otherwise all are scattered.
    """
    count = rows * columns // 4
    order = torch.rand(rows, columns)
    if torch.rand(()) < 0.5:
        side = int((count / 3) ** 0.5)
        top, left = (int(torch.randint(0, extent - side + 1, ())) for extent in (rows, columns))
        order[top : top + side, left : left + side] -= 1
    return order.flatten().argsort()[:count].sort().values


def later_stage_sigmas(size: int, width: int, sparse: bool = False) -> Tensor:
    """Sample sigmas for pictures of stages 2 and 3.

    The reference workflow's third stage starts at sigma 0.93 with a sampler that adds noise again. Shapes are
    determined there, so most of the training is there. Sparse batches use high sigmas only, since nothing is learnt
    from few clean tokens.
    """
    if sparse:
        return uniform(size, 0.5, 1.0)
    if width == 672:
        return torch.where(torch.rand(size) < 0.5, uniform(size, 0.6, 0.97), uniform(size, 0.02, 0.6))
    return uniform(size, 0.02, 0.96)


def handover_starts(size: int, width: int, sparse: bool = False) -> Tensor:
    """Sample the starting sigmas of stages 2 and 3; for stage 3 mostly near the reference workflow's."""
    if sparse and width != 672:
        return uniform(size, 0.6, 0.92)
    if width == 672:
        return torch.where(torch.rand(size) < 0.6, uniform(size, 0.85, 0.96), uniform(size, 0.35, 0.85))
    return uniform(size, 0.35, 0.92)


def plain(clean: Tensor, noise: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (noisy latent, sigma, target) as in flow matching."""
    s = broadcastable(sigma)
    return (1 - s) * clean + s * noise, sigma, clean - noise


def handover(clean: Tensor, low: Tensor, noise: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (x, sigma, target) on the line from the previous stage's re-noised latent to the clean latent.

    Sampling starts at ``x_S = (1 - S) * low + S * noise`` and should end at ``clean``; on the straight line between
    them the velocity is constant. A third of the batch is the start itself, the rest anywhere on the line.
    """
    size = len(clean)
    share = torch.where(torch.rand(size) < 0.35, torch.ones(size), torch.rand(size))
    sigma = (start * share).clamp_min(0.02)
    begin = (1 - broadcastable(start)) * low + broadcastable(start) * noise
    on_the_way = broadcastable(sigma / start)
    return on_the_way * begin + (1 - on_the_way) * clean, sigma, (clean - begin) / broadcastable(start)


@dataclass(frozen=True, slots=True)
class Peers:
    """The processes that train in parallel; a single one needs no communication."""

    rank: int = 0
    count: int = 1

    def average(self, tensors: list[Tensor], stop: bool) -> bool:
        """Replace the tensors by their means over all processes; return whether any process wants to stop."""
        if self.count == 1:
            return stop
        flat = torch.cat([*(tensor.flatten() for tensor in tensors), torch.tensor([float(stop)])])
        torch.distributed.all_reduce(flat)
        flat /= self.count
        for tensor, mean in zip(tensors, torch.split(flat[:-1], [t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))
        return bool(flat[-1] > 0)

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in order of rank."""
        values: list[Any] = [value] * self.count
        if self.count > 1:
            torch.distributed.all_gather_object(values, value)
        return values


class Trainer:
    """The networks, their running average, the optimisers and random states of one run."""

    def __init__(self, corpus: Corpus, recipe: Recipe, out: Path, peers: Peers | None = None) -> None:
        self.corpus, self.recipe, self.out, self.peers = corpus, recipe, out, peers or Peers()
        torch.manual_seed(recipe.seed)
        self.rng = random.Random(recipe.seed + self.peers.rank)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.transformer = build_transformer(recipe.layers).to(self.device)
        self.text_encoder = cast("nn.Module", build_text_encoder(len(corpus.tokenizer))).to(self.device)
        self.parameters: dict[str, Tensor] = {
            f"{prefix}.{name}": parameter
            for prefix, model in (("transformer", self.transformer), ("text_encoder", self.text_encoder))
            for name, parameter in model.named_parameters()
        }
        self.average = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.optimisers = self._optimisers()
        torch.manual_seed(recipe.seed + self.peers.rank)
        self.stopping = False
        self.step = 0
        self.samples: dict[int, int] = defaultdict(int)
        self.losses: dict[str, list[float]] = defaultdict(list)

    def _optimisers(self) -> list[torch.optim.Optimizer]:
        """Create Muon for the hidden matrices, and AdamW for embeddings, norms, modulations and the output."""

        def hidden(name: str, parameter: Tensor) -> bool:
            outer = any(part in name for part in ("embed", "adaLN", "final", "pad"))
            return self.recipe.muon and parameter.ndim == 2 and min(parameter.shape) > 1 and not outer

        inner = [p for name, p in self.parameters.items() if hidden(name, p)]
        outer = [p for name, p in self.parameters.items() if not hidden(name, p)]
        rate = self.recipe.learning_rate
        adamw = torch.optim.AdamW(outer, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
        if not inner:
            return [adamw]
        muon = torch.optim.Muon(
            inner,
            lr=rate,
            weight_decay=0.02,
            momentum=0.95,
            adjust_lr_fn="match_rms_adamw",
            ns_steps=self.recipe.muon_steps,
        )
        return [muon, adamw]

    # -------------------------------------------------------------------------------------------------- one step

    def _predict(self, x: Tensor, sigma: Tensor, batch: Batch, keep: Tensor | None = None) -> Tensor:
        x, sigma, ids, real = (part.to(self.device) for part in (x, sigma, batch.ids, batch.real))
        compiled = self.recipe.compiled
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bfloat16):
            caption = encode_captions(cast("Qwen3Model", self.text_encoder), ids), real
            if keep is None:
                out = predict(self.transformer, x, sigma, caption, compiled)
            else:
                out = predict_tokens(self.transformer, x, keep, sigma, caption, compiled)
        return out.float().cpu()

    @torch.no_grad()
    def soften(self, low: Tensor, batch: Batch, sparse: bool) -> Tensor:
        """Make a clean latent as imperfect as a latent handed over by the previous stage.

        Half of the batches use the network's own prediction from a noisy latent, a quarter blur and noise. Sparse
        batches, whose noise hides most of it, skip the prediction, which would cost as much as the step.
        """
        kind = self.rng.random()
        if kind < 0.5 and not sparse:
            sigma = uniform(len(low), 0.15, 0.75)
            x = (1 - broadcastable(sigma)) * low + broadcastable(sigma) * torch.randn_like(low)
            return x + broadcastable(sigma) * self._predict(x, sigma, batch)
        if sparse or kind < 0.75:
            blurred = F.avg_pool2d(F.pad(low, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
            mixed = torch.lerp(low, blurred, broadcastable(torch.rand(len(low))))
            return mixed + broadcastable(uniform(len(low), 0, 0.15)) * torch.randn_like(low)
        return low

    def _example(self, width: int, batch: Batch, sparse: bool) -> tuple[Tensor, Tensor, Tensor, str]:
        """Return noisy latents, sigmas, targets, and the name under which the loss is reported."""
        clean = self.corpus.latent(width, batch)
        noise = torch.randn_like(clean)
        size = len(clean)
        if width not in SMALLER:
            return *plain(clean, noise, stage_one_sigmas(size)), str(width)
        name = f"{width} sparse" if sparse else f"{width}"
        if self.rng.random() < 0.5:
            return *plain(clean, noise, later_stage_sigmas(size, width, sparse)), name
        low = self.soften(self.corpus.latent(SMALLER[width], batch), batch, sparse)
        low = F.interpolate(low, size=clean.shape[-2:], mode="nearest-exact")
        return *handover(clean, low, noise, handover_starts(size, width, sparse)), f"{name} handover"

    def _loss(self, width: int) -> Tensor:
        sparse = self.recipe.is_sparse(self.step, width)
        ratio = self.rng.choices(list(self.recipe.shapes), weights=list(self.recipe.shapes.values()))[0]
        batch = self.corpus.batch(width, ratio, self.recipe.batch[width] * (4 if sparse else 1), self.rng)
        x, sigma, target, name = self._example(width, batch, sparse)
        keep = None
        if sparse:
            keep = sparse_tokens(x.shape[-2] // 2, x.shape[-1] // 2)
            target = patchify(target)[:, keep]
        loss = (self._predict(x, sigma, batch, keep) - target).pow(2).mean()
        self.losses[name].append(loss.item())
        self.samples[width] += len(batch.indices)
        return loss

    def train_step(self) -> None:
        rate = self.recipe.rate(self.step)
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                group["lr"] = rate
        for width in self.recipe.widths(self.step):
            (self.recipe.weight[width] * self._loss(width)).backward()  # type: ignore[no-untyped-call]
        # Pictures without padding give the padding's token no gradient, but all processes must send the same tensors.
        gradients: list[Tensor] = []
        for parameter in self.parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        self.stopping = self.peers.average(gradients, self.stopping)
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        keep = min(self.recipe.ema, (self.step + 1) / (self.step + 20))
        current = [parameter.detach() for parameter in self.parameters.values()]
        torch._foreach_lerp_(list(self.average.values()), current, 1 - keep)

    # ----------------------------------------------------------------------------------------------- checkpoints

    @property
    def checkpoint_path(self) -> Path:
        return self.out / "checkpoint.pt"

    def save(self) -> None:
        """Save the whole state atomically."""
        sums = self.peers.gather(sum(parameter.double().sum().item() for parameter in self.parameters.values()))
        if len(set(sums)) > 1:
            raise RuntimeError(f"the processes' weights have drifted apart: their sums are {sums}")
        random_states = self.peers.gather((self.rng.getstate(), torch.get_rng_state()))
        if self.peers.rank != 0:
            return
        state = {
            "parameters": {name: parameter.detach() for name, parameter in self.parameters.items()},
            "average": self.average,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "step": self.step,
            "samples": dict(self.samples),
            "random": random_states,
        }
        self.out.mkdir(parents=True, exist_ok=True)
        part = self.checkpoint_path.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.checkpoint_path)

    def keep_average(self) -> None:
        """Save a snapshot of the running average, for :mod:`tools.demo_model.curve`."""
        if self.peers.rank == 0:
            self.out.mkdir(parents=True, exist_ok=True)
            snapshot = {"average": self.average, "step": self.step, "samples": self.all_samples}
            torch.save(snapshot, self.out / f"average_{self.step:06d}.pt")

    @property
    def all_samples(self) -> dict[int, int]:
        """Width -> number of pictures seen so far by all processes together."""
        return {width: self.samples[width] * self.peers.count for width in self.recipe.batch}

    def load(self, path: Path) -> None:
        """Resume exactly from the checkpoint's state."""
        state = torch.load(path, weights_only=False, map_location="cpu")
        self.load_weights(state["parameters"])
        for name, value in state["average"].items():
            self.average[name].copy_(value)
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.step = state["step"]
        self.samples = defaultdict(int, state["samples"])
        if len(state["random"]) != self.peers.count:
            raise ValueError(
                f"this run was begun with {len(state['random'])} processes; go on with as many, not {self.peers.count}"
            )
        python_state, torch_state = state["random"][self.peers.rank]
        self.rng.setstate(python_state)
        torch.set_rng_state(torch_state)

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Start from these weights; their names must be the networks' own, but they may have fewer main blocks."""
        weights = deepened(weights, self.recipe.layers)
        if weights.keys() != self.parameters.keys():
            raise ValueError(
                f"these are other networks' weights: {sorted(weights.keys() ^ self.parameters.keys())[:4]}"
            )
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])
                self.average[name].copy_(weights[name])

    def report(self, seconds: float) -> None:
        means = [f"{name} {sum(v[-200:]) / len(v[-200:]):.4f}" for name, v in sorted(self.losses.items())]
        counts = "/".join(str(count) for count in self.all_samples.values())
        log.info("step %d  %.1f min  samples %s  loss %s", self.step, seconds / 60, counts, "  ".join(means))

    def run(self) -> None:
        """Train to the last step, or to the end of the step in which the process is interrupted."""
        begin = time.monotonic()

        def stop(*_: object) -> None:
            self.stopping = True

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        while self.step < self.recipe.steps and not self.stopping:
            self.train_step()
            if self.step % LOG_STEPS == 0 and self.peers.rank == 0:
                self.report(time.monotonic() - begin)
            if self.step % CHECKPOINT_STEPS == 0:
                self.save()
            if self.step % SNAPSHOT_STEPS == 0 or self.step == self.recipe.steps:
                self.keep_average()
        self.save()


def weights_of(path: Path) -> dict[str, Tensor]:
    """Return the running average in a checkpoint, or the weights of a model folder, in float32."""
    if path.is_file():
        return cast("dict[str, Tensor]", torch.load(path, weights_only=False)["average"])
    return {
        f"{part}.{name.removeprefix('model.')}": value.float()
        for part in ("transformer", "text_encoder")
        for file in sorted((path / part).glob("*.safetensors"))
        for name, value in load_file(file).items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latents", type=Path, required=True, help="folder made by tools.demo_model.latents")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder made by tools.demo_model.tokenizer")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint; an old one is resumed")
    parser.add_argument("--steps", type=int, default=16000, help="last step of the run (about 0.7 s each)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--start-from", type=Path, help="checkpoint of another run, or model folder, with the initial weights"
    )
    parser.add_argument("--recipe", default="{}", help="JSON object with other fields of Recipe")
    parser.add_argument("--processes", type=int, default=1, help="number of parallel processes, one thread each")
    args = parser.parse_args()
    if args.processes == 1:
        train(0, args, 0)
    else:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        context = start_processes(train, (args, port), args.processes, join=False)  # type: ignore[no-untyped-call]

        def pass_on(received: int, _: object) -> None:
            for pid in context.pids():
                os.kill(pid, received)

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, pass_on)
        try:
            while not context.join():
                pass
        except ProcessExitedException as error:
            sys.exit(error.exit_code)


def train(rank: int, args: argparse.Namespace, port: int) -> None:
    """Train in one process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    peers = Peers(rank, args.processes)
    if peers.count > 1:
        if torch.cuda.is_available():
            sys.exit(f"--processes {peers.count} is for processors; with a GPU leave it out")
        torch.distributed.init_process_group(
            "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=peers.count
        )
    latents = load(args.latents)
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer, trust_remote_code=False)
    recipe = Recipe(steps=args.steps, seed=args.seed, **json.loads(args.recipe, object_hook=_numbered))
    corpus = Corpus(latents, training_scenes(len(latents[176]["7:9"])), tokenizer, recipe.hard)
    trainer = Trainer(corpus, recipe, args.out, peers)
    if trainer.checkpoint_path.exists():
        trainer.load(trainer.checkpoint_path)
    elif args.start_from is not None:
        trainer.load_weights(weights_of(args.start_from))
    trainer.run()
    if peers.count > 1:
        torch.distributed.destroy_process_group()
    if trainer.step < args.steps and rank == 0:
        sys.exit(f"stopped at step {trainer.step} of {args.steps}; start again to go on")


def _numbered(mapping: dict[str, Any]) -> dict[Any, Any]:
    """Convert the keys of a recipe's JSON tables, which are widths, to int."""
    return {int(key) if key.isdigit() else key: value for key, value in mapping.items()}


if __name__ == "__main__":
    main()
