"""Tells time of day and ground from a picture's colours, to measure whether a sampled picture shows what was asked.

A linear discriminant over the colours and the roughness of horizontal strips, fitted on drawn scenes. It knows
nothing of main things: those are judged by looking.
"""

import random
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from tools.demo_model.render import SIZES, render
from tools.demo_model.scene import GROUNDS, TIMES, Ground, Scene, Time, sample_scene

STRIPS = 14
FIT_SCENES = 1200
FIT_SEED = 77
RIDGE = 2.0
"""Grey levels squared added to every feature's variance: sampled pictures are less exact than drawn ones."""

Array = npt.NDArray[np.float64]
Answer = tuple[Time, Ground]


def features(image: Image.Image) -> Array:
    """Median colour and mean local contrast of horizontal strips, (STRIPS * 4,), in grey levels."""
    pixels = np.asarray(image.convert("RGB").resize(SIZES[0], Image.Resampling.BOX), dtype=np.float64)
    strips = np.array_split(pixels, STRIPS)
    colours = [np.median(strip.reshape(-1, 3), axis=0) for strip in strips]
    contrast = [np.abs(np.diff(strip.mean(-1), axis=0)).mean() for strip in strips]
    return np.concatenate([*colours, np.array(contrast) * 4])


@dataclass(frozen=True, slots=True)
class Probe:
    """A linear score for every pair of time and ground."""

    weights: Array
    """(features, answers)."""
    bias: Array
    answers: tuple[Answer, ...]

    def __call__(self, image: Image.Image) -> Answer:
        return self.answers[int(np.argmax(features(image) @ self.weights + self.bias))]


def draw(count: int, seed: int) -> list[tuple[Scene, Image.Image]]:
    """Random scenes and their pictures at the smallest size."""
    rng = random.Random(seed)
    scenes = [sample_scene(rng) for _ in range(count)]
    return [(scene, render(scene, seed * 100000 + i, SIZES[0])) for i, scene in enumerate(scenes)]


def fit_probe(count: int = FIT_SCENES, seed: int = FIT_SEED) -> Probe:
    """Fit on drawn scenes: class means under one shared covariance."""
    drawn = draw(count, seed)
    rows = np.stack([features(image) for _, image in drawn])
    answers = tuple((time, ground) for time in TIMES for ground in GROUNDS)
    labels = np.array([answers.index((scene.time, scene.ground)) for scene, _ in drawn])
    means = np.stack([rows[labels == i].mean(0) for i in range(len(answers))])
    residuals = rows - means[labels]
    covariance = residuals.T @ residuals / len(rows) + RIDGE * np.eye(rows.shape[1])
    weights = np.linalg.solve(covariance, means.T)
    return Probe(weights, -0.5 * (means.T * weights).sum(0), answers)


def accuracy(probe: Probe, count: int = 100, seed: int = FIT_SEED + 1) -> tuple[float, float]:
    """Share of freshly drawn scenes whose time, and whose ground, the probe gets right."""
    found = [(scene, probe(image)) for scene, image in draw(count, seed)]
    right_time = sum(scene.time == time for scene, (time, _) in found)
    right_ground = sum(scene.ground == ground for scene, (_, ground) in found)
    return right_time / count, right_ground / count
