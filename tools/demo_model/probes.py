"""A classifier of what a picture shows, to measure whether sampled pictures match their prompts.

A small convolutional network with one output per attribute, trained on drawn scenes that are blurred, shifted and made
noisy, because sampled pictures are less exact than drawn ones. Independent of prompts and models. A probe judges
pictures of one shape, the one it was trained on; other shapes are squeezed into the same input.
"""

import itertools
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from tools.demo_model.render import SHAPES, render
from tools.demo_model.scene import COLOURS, GROUNDS, KINDS, TIMES, Scene, sample_scene

SIZE = (112, 144)
"""Width and height in pixels of the probe's input."""
FIT_SCENES = 10000
FIT_SEED = 77
EPOCHS = 6
BATCH = 64
SIDES = ("left", "center", "right")
ANSWERS: dict[str, tuple[str, ...]] = {
    "time": TIMES,
    "ground": GROUNDS,
    "kind": (*KINDS, "none"),
    "colour": COLOURS,
    "side": SIDES,
    "celestial": ("sun", "full moon", "crescent moon", "none"),
    "celestial_side": SIDES,
    "celestial_colour": ("red", "yellow", "white"),
    "clouds": ("no", "yes"),
    "birds": ("no", "yes"),
    "stars": ("none", "some", "many"),
    "mountains": ("snowy", "green", "purple", "none"),
    "tree": ("pine", "cherry", "palm", "maple", "none"),
    "tree_side": ("left", "right"),
    "tree_count": ("1", "2", "3"),
}
"""Attribute -> its classes."""
UNKNOWN = -1

log = logging.getLogger(__name__)


def truth(scene: Scene) -> dict[str, str | None]:
    """Return the right classes for a drawn scene; None for attributes that don't apply."""
    return {
        "time": scene.time,
        "ground": scene.ground,
        "kind": scene.kind or "none",
        "colour": scene.colour if scene.kind else None,
        "side": scene.side if scene.kind else None,
        "celestial": scene.celestial or "none",
        "celestial_side": scene.celestial_side if scene.celestial else None,
        "celestial_colour": scene.celestial_colour if scene.celestial else None,
        "clouds": "yes" if scene.clouds else "no",
        "birds": "yes" if scene.birds else "no",
        "stars": scene.stars,
        "mountains": scene.mountains or "none",
        "tree": scene.tree or "none",
        "tree_side": scene.tree_side if scene.tree else None,
        "tree_count": str(scene.tree_count) if scene.tree else None,
    }


def small(image: Image.Image) -> Image.Image:
    """Scale a picture to the probe's size, whatever its shape."""
    return image.convert("RGB").resize(SIZE, Image.Resampling.BOX)


def pixels(image: Image.Image) -> Tensor:
    """Convert a picture to the probe's input, (3, 144, 112) in -1..1."""
    return torch.from_numpy(np.asarray(small(image)).copy()).permute(2, 0, 1).float() / 127.5 - 1


class Probe(nn.Module):
    """Four convolutions, one hidden layer, and a linear head per attribute."""

    def __init__(self) -> None:
        super().__init__()
        channels, hidden = (24, 48, 80, 96), 160
        convolutions: list[nn.Module] = []
        for before, after in itertools.pairwise((3, *channels)):
            convolutions += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
        self.look = nn.Sequential(*convolutions)
        self.hidden = nn.Linear(channels[-1] * 9 * 7, hidden)
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, len(values)) for name, values in ANSWERS.items()})

    def features(self, pictures: Tensor) -> Tensor:
        """Return the hidden features (count, hidden) of pictures (count, 3, 144, 112) in -1..1."""
        return F.silu(self.hidden(self.look(pictures).flatten(1)))

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Return the scores of every attribute's classes, each (count, classes)."""
        seen = F.dropout(self.features(pictures), 0.2, self.training)
        return {name: head(seen) for name, head in self.heads.items()}

    @torch.no_grad()
    def answers(self, image: Image.Image) -> dict[str, str]:
        """Classify one picture; return attribute -> class."""
        scores = self(pixels(image)[None])
        return {name: ANSWERS[name][int(value.argmax())] for name, value in scores.items()}


@dataclass(frozen=True, slots=True)
class Drawn:
    """Drawn scenes as training data of the probe."""

    pictures: Tensor
    """(count, 3, 144, 112), uint8."""
    labels: dict[str, Tensor]
    """Attribute -> index of the right class (count,); UNKNOWN if the attribute doesn't apply."""


def draw(count: int, seed: int, ratio: str) -> Drawn:
    """Draw random scenes of this shape, including held-out combinations, with their right classes."""
    rng = random.Random(seed)
    scenes = [sample_scene(rng, held_out=i % 8 == 0) for i in range(count)]
    size = SHAPES[ratio][0]
    pictures = [np.asarray(small(render(scene, seed * 100000 + i, size))) for i, scene in enumerate(scenes)]
    truths = [truth(scene) for scene in scenes]

    def number(name: str, value: str | None) -> int:
        return UNKNOWN if value is None else ANSWERS[name].index(value)

    labels = {name: torch.tensor([number(name, one[name]) for one in truths]) for name in ANSWERS}
    return Drawn(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous(), labels)


def disturb(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Shift pictures by up to 3 pixels, blur, tint and add noise; amounts other than the shift differ per picture."""
    shift = torch.randint(0, 7, (2,), generator=generator).tolist()
    padded = F.pad(pictures, (3, 3, 3, 3), mode="replicate")
    moved = padded[:, :, shift[0] : shift[0] + SIZE[1], shift[1] : shift[1] + SIZE[0]]
    blurred = F.avg_pool2d(F.pad(moved, (1, 1, 1, 1), mode="replicate"), 3, stride=1)

    def amounts(channels: int = 1) -> Tensor:
        return torch.rand(len(pictures), channels, 1, 1, generator=generator)

    soft = torch.lerp(moved, blurred, amounts())
    tinted = soft * (0.92 + 0.16 * amounts()) + 0.12 * (amounts(3) - 0.5)
    return tinted + 0.1 * amounts() * torch.randn(tinted.shape, generator=generator)


def batches(drawn: Drawn, generator: torch.Generator) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    order = torch.randperm(len(drawn.pictures), generator=generator)
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        clean = drawn.pictures[chosen].float() / 127.5 - 1
        yield disturb(clean, generator), {name: labels[chosen] for name, labels in drawn.labels.items()}


def fit_probe(ratio: str, count: int = FIT_SCENES, epochs: int = EPOCHS) -> Probe:
    """Train a probe on drawn scenes of this shape; takes about four minutes on one core."""
    torch.manual_seed(FIT_SEED)
    generator = torch.Generator().manual_seed(FIT_SEED)
    drawn, probe = draw(count, FIT_SEED, ratio), Probe()
    steps = epochs * -(-count // BATCH)
    optimiser = torch.optim.AdamW(probe.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        for pictures, labels in batches(drawn, generator):
            scores = probe(pictures)
            losses = [
                F.cross_entropy(scores[name], wanted, ignore_index=UNKNOWN)
                for name, wanted in labels.items()
                if (wanted != UNKNOWN).any()
            ]
            loss = torch.stack(losses).sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.item()
        log.info("probe: epoch %d of %d, loss %.3f", epoch + 1, epochs, total / (steps / epochs))
    return probe.eval()


def load_or_fit(path: Path, ratio: str = "7:9", scenes: int = FIT_SCENES) -> Probe:
    """Load the probe from ``path``; if there is none, train one on ``scenes`` scenes of this shape and save it."""
    if path.exists():
        probe = Probe()
        probe.load_state_dict(torch.load(path, weights_only=True))
        return probe.eval()
    probe = fit_probe(ratio, scenes)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(probe.state_dict(), path)
    return probe


@torch.no_grad()
def accuracy(probe: Probe, drawn: Drawn) -> dict[str, float]:
    """Return attribute -> share of right answers among the drawn scenes that the attribute applies to."""
    right: dict[str, float] = {}
    starts = range(0, len(drawn.pictures), BATCH)
    parts = [probe(drawn.pictures[start : start + BATCH].float() / 127.5 - 1) for start in starts]
    for name, labels in drawn.labels.items():
        found = torch.cat([part[name] for part in parts]).argmax(1)
        known = labels != UNKNOWN
        right[name] = (found == labels)[known].float().mean().item()
    return right


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Return the Fréchet distance between two sets of features (count, dim), taken as normal distributions.

    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", 2017, equation 6; here on the probe's features.
    """
    difference = first.double().mean(0) - second.double().mean(0)
    a, b = (np.atleast_2d(np.cov(rows.double().numpy(), rowvar=False)) for rows in (first, second))
    # The trace of the root of a @ b, from the eigenvalues of the product, which are real and not negative.
    roots = np.sqrt(np.linalg.eigvals(a @ b).real.clip(0))
    return float(difference @ difference + np.trace(a) + np.trace(b) - 2 * roots.sum())
