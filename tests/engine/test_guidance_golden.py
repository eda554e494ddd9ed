"""Guidance against the tools that have it: NAG, NegPiP, limits and ranges of CFG, seed variance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.golden.make_tiny_weights import tiny_weights
from tests.models.stock import golden_module, rel
from tests.tools.test_run_case import CONFIG
from tools.run_case import load_case, parse_case, request_of, run_case
from zimage_app.domain.negpip import subtracted
from zimage_app.domain.plan import make_plan
from zimage_app.domain.settings.guidance import CfgLimit
from zimage_app.engine.guidance.limit import LimitRule
from zimage_app.engine.guidance.nag import NagCombine, trimmed
from zimage_app.engine.guidance.rule import TextFeatures
from zimage_app.engine.guidance.variance import NOISES
from zimage_app.engine.run import sample
from zimage_app.engine.stage_memory import StageResult
from zimage_app.engine.start import to_vae_space
from zimage_app.models.components import AttentionGuidance, LatentFormat
from zimage_app.models.networks import attention
from zimage_app.models.networks.transformer import FastTransformer

GOLDEN = Path(__file__).parents[1] / "golden"
TOLERANCE = 1e-5
SEED = 905124181980574
SIGMA = 0.7145714163780212
SETS = {"A": NagCombine(3.0, 3.5, 0.5), "B": NagCombine(6.0, 1.5, 0.5)}
STAGE: dict[str, Any] = {
    "width": 176,
    "height": 224,
    "steps": 4,
    "sampler": "euler",
    "scheduler": "simple",
    "seed": SEED,
}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "guidance" / "rules.safetensors")


@pytest.fixture(scope="module")
def texts(golden: Mapping[str, Tensor]) -> dict[str, Tensor]:
    conds = load_file(GOLDEN / "conds.safetensors")
    positive, negative = conds["pos_4242"][0], conds["neg_4242"][0]
    span = golden["negpip/negative_span"][0]
    return {"pos": positive, "neg": negative, "cut": negative[:37].clone(), "span": span}


@pytest.fixture(scope="module")
def fast() -> FastTransformer:
    return FastTransformer(golden_module())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, texts: dict[str, Tensor]) -> Path:
    folder = tmp_path_factory.mktemp("guidance")
    save_file(tiny_weights(), folder / "tiny.safetensors")
    save_file(texts, folder / "texts.safetensors")
    return folder


def run(folder: Path, stage: Mapping[str, Any], negative: str = "neg", **text: Any) -> tuple[Tensor, dict[str, Any]]:
    """The latent of a run of four steps, in VAE space, and what it asked of the model."""
    latents, counts = run_case(case_of({**STAGE, **stage}, negative, **text), folder)
    return latents["stage1"], counts[0]


def case_of(stage: Mapping[str, Any], negative: str = "neg", **text: Any) -> dict[str, Any]:
    return {
        "transformer": {"file": "tiny.safetensors", "config": CONFIG},
        "text": {"file": "texts.safetensors", "positive": "pos", "negative": negative, **text},
        "threads": 1,
        "stages": [stage],
    }


def evaluated(fast: FastTransformer, x: Tensor, texts: tuple[Tensor, Tensor], combine: NagCombine, rule: str) -> Tensor:
    positive, negative = (TextFeatures("prompt", text) for text in texts)
    if rule == "nag_wangp":
        negative = trimmed(negative, positive.features.shape[0])
    guidance = AttentionGuidance(fast.prompt(negative.features), combine, captions=rule == "nag_wangp")
    return fast.evaluation((28, 22), [fast.prompt(positive.features)], [SIGMA], guidance)(x, SIGMA)


@pytest.mark.parametrize("letter", ["A", "B"])
@pytest.mark.parametrize(
    "case",
    [
        ("nag_wangp", "eval.{}.eq.v", "pos", "cut"),
        ("nag_wangp", "eval.{}.eq.v", "pos", "neg"),
        ("nag_wangp", "eval.{}.shortneg.v", "neg", "pos"),
        ("own", "nag.picture_rows.{}.longneg.v", "pos", "neg"),
        ("own", "nag.picture_rows.{}.shortneg.v", "neg", "pos"),
    ],
)
def test_one_evaluation_with_nag(
    letter: str,
    case: tuple[str, str, str, str],
    fast: FastTransformer,
    golden: dict[str, Tensor],
    texts: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rule, name, positive, negative = case
    x, wanted = golden["nag_wangp/eval.x"], golden[f"{rule}/{name.format(letter)}"]
    pair = (texts[positive], texts[negative])
    assert rel(evaluated(fast, x, pair, SETS[letter], rule), wanted) < TOLERANCE
    monkeypatch.setattr(attention, "_KERNELS", {})  # as on a device whose kernels keep their sums back
    assert rel(evaluated(fast, x, pair, SETS[letter], rule), wanted) < TOLERANCE


def test_a_run_with_nag(folder: Path, golden: dict[str, Tensor]) -> None:
    nag = {"scale": 3.0, "tau": 3.5, "alpha": 0.5, "rows": "all", "lengths": "trimmed"}
    found, counts = run(folder, {"nag": nag})
    assert rel(found, to_vae_space(golden["nag_wangp/run4.A.eq.x0"], LatentFormat())) < TOLERANCE
    assert counts["calls"] == 4


@pytest.mark.parametrize(
    ("name", "weights"), [("w0.3", [-0.3] * 17), ("w0.5", [-0.5] * 17), ("mixed", [-0.3] * 8 + [-0.5] * 9)]
)
def test_one_evaluation_with_subtracted_phrases(
    fast: FastTransformer, golden: dict[str, Tensor], texts: dict[str, Tensor], name: str, weights: list[float]
) -> None:
    features = torch.cat([texts["pos"][:32], texts["span"], texts["pos"][32:]])
    scale = torch.tensor([1.0] * 32 + weights + [1.0] * 5)
    found = fast.evaluation((28, 22), [fast.prompt(features, scale)], [SIGMA])(golden["negpip/eval.mixed.x"], SIGMA)
    assert rel(found, golden[f"negpip/eval.{name}.v"]) < TOLERANCE


@pytest.mark.parametrize(("cfg", "name"), [(1.0, "run4.w0.5"), (2.0, "run4.w0.5.cfg2")])
def test_a_run_with_subtracted_phrases(folder: Path, golden: dict[str, Tensor], cfg: float, name: str) -> None:
    found, _ = run(folder, {"cfg": cfg}, negpip=[{"features": "span", "weight": -0.5}])
    assert rel(found, golden[f"negpip/{name}.latent"]) < TOLERANCE


_OTHERWISE = {"a (big:1.2) cat", "a \\(tall\\) tree"}
"""The tool moves a space into a group, and refuses escaped brackets; here texts stay as they are."""


def test_texts_are_taken_apart_as_the_tool_does() -> None:
    cases = json.loads((GOLDEN / "guidance" / "negpip_texts.json").read_text(encoding="utf-8"))
    compared = 0
    for case in cases:
        if case["positive"] in _OTHERWISE or case["negative"] == "(a (b:0.5) c:0.4)":
            continue
        text, phrases = subtracted(case["positive"], case["negative"])
        assert text == case["text_left_for_the_encoder"]
        assert [[phrase.text, phrase.weight] for phrase in phrases] == case["spans"]
        compared += 1
    assert compared == 12


@pytest.mark.parametrize(
    ("stage", "name", "calls"),
    [
        ({"cfg": 5.0}, "cfg_official/diffusers.g4.x0", 8),
        ({"cfg": 4.0}, "cfg_official/diffusers.g3.x0", 8),
        ({"cfg": 5.0, "cfg_limit": {"of": "velocity", "most": 1.0}}, "cfg_official/diffusers.g4_norm1.x0", 8),
        ({"cfg": 5.0, "cfg_start": 0.2}, "cfg_official/diffusers.g0.x0", 4),
        ({"cfg": 4.0, "cfg_limit": {"of": "denoised", "most": 1.0}}, "cfg_renorm/run4.trunc100_renorm1.latent", 8),
        ({"cfg": 4.0}, "cfg_renorm/run4.trunc100_renorm0.latent", 8),
    ],
)
def test_a_run_with_limited_cfg(
    folder: Path, golden: dict[str, Tensor], stage: dict[str, Any], name: str, calls: int
) -> None:
    found, counts = run(folder, stage)
    wanted = golden[name] if name.endswith("latent") else to_vae_space(golden[name], LatentFormat())
    assert rel(found, wanted) < TOLERANCE
    assert counts["calls"] == calls


@pytest.mark.parametrize(("most", "name"), [(1.0, "trunc0.8_renorm1"), (0.7, "trunc100_renorm0.7")])
def test_the_limit_of_the_picture(golden: dict[str, Tensor], most: float, name: str) -> None:
    positive, negative = (golden[f"cfg_renorm/eval.denoised_{kind}"] for kind in ("positive", "negative"))
    rule = LimitRule(CfgLimit(of="denoised", most=most))
    found = rule.limited(negative + 4.0 * (positive - negative), positive, golden["cfg_renorm/eval.x"])
    assert rel(found, golden[f"cfg_renorm/eval.{name}.denoised"]) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "text", "numbers"),
    [
        ("invoke.default", "pos", (0.1, 0.5, SEED)),
        ("invoke.strong", "pos", (0.5, 0.3, 7)),
        ("invoke.default_neg", "neg", (0.1, 0.5, SEED)),
        ("sve.default", "pos", (20.0, 0.5, SEED)),
        ("sve.p30_s0.5", "pos", (0.5, 0.3, 7)),
        ("sve.negative_strength", "pos", (-20.0, 0.5, SEED)),
        ("sve.default_neg", "neg", (20.0, 0.5, SEED)),
    ],
)
def test_the_noise_of_seed_variance(
    golden: dict[str, Tensor], texts: dict[str, Tensor], name: str, text: str, numbers: tuple[float, float, int]
) -> None:
    features = texts[text]
    noise = NOISES["relative" if name.startswith("invoke") else "absolute"]
    found = features + noise(features, *numbers)
    assert torch.equal(found, golden[f"variance/{name}.noisy"].reshape(found.shape))


def test_a_run_with_seed_variance(folder: Path, golden: dict[str, Tensor]) -> None:
    variance = {"strength": 20.0, "share": 0.5, "end": 0.2, "noise": "absolute"}
    case = parse_case(case_of(STAGE | {"steps": 5, "variance": variance}))
    components = load_case(case, folder)
    plan = make_plan(request_of(case), components.card)
    levels = (1.0, 0.9545454382896423, 0.8999999761581421, 0.75, 0.5, 0.0)
    plan = replace(plan, stages=(replace(plan.stages[0], sigmas=levels),))
    (found,) = (item for item in sample(plan, components, lambda: False) if isinstance(item, StageResult))
    assert rel(found.latent, golden["variance/sve.run5.latent"]) < TOLERANCE


def test_outside_of_its_range_cfg_evaluates_the_prompt_alone(folder: Path) -> None:
    _, counts = run(folder, {"cfg": 5.0, "cfg_start": 0.9, "cfg_end": 0.75})  # sigmas 1, 0.9, 0.75, 0.5
    assert counts["calls"] == 1 + 2 + 2 + 1
