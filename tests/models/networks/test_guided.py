"""A second caption in the attention: in batches, compiled, with weights at home, after weights have changed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.models.networks.choices import compiled_blocks
from tests.models.stock import golden_module, normal, rel
from zimage_app.engine.guidance.nag import NagCombine
from zimage_app.models.components import AttentionGuidance
from zimage_app.models.networks.transformer import FastTransformer

COMBINE = NagCombine(6.0, 1.5, 0.5)
SCALE = torch.tensor([1.0] * 10 + [-0.7] * 5 + [1.0] * 5)
X = normal(1, 16, 12, 10)


@pytest.fixture(scope="module")
def fast() -> FastTransformer:
    return FastTransformer(golden_module())


def guided(
    fast: FastTransformer, negative: int = 40, *, captions: bool = False, others: tuple[int, ...] = ()
) -> Tensor:
    """A first row of 20 tokens, some of them subtracted, against a caption; behind it rows without guidance."""
    prompts = [
        fast.prompt(normal(20, 64, seed=1), SCALE),
        *(fast.prompt(normal(tokens, 64, seed=3)) for tokens in others),
    ]
    guidance = AttentionGuidance(fast.prompt(normal(negative, 64, seed=2)), COMBINE, captions)
    return fast.evaluation((12, 10), prompts, [0.5], guidance)(X.expand(len(prompts), -1, -1, -1), 0.5)


@pytest.mark.parametrize("others", [(20,), (60,), (20, 60)])
def test_guidance_changes_the_first_row_alone(fast: FastTransformer, others: tuple[int, ...]) -> None:
    rows = guided(fast, others=others)
    assert rel(rows[:1], guided(fast)) < 1e-6
    for row, tokens in zip(rows[1:], others, strict=True):
        alone = fast.evaluation((12, 10), [fast.prompt(normal(tokens, 64, seed=3))], [0.5])(X, 0.5)
        assert rel(row[None], alone) < 1e-6


@pytest.mark.parametrize("negative", [1, 20, 100])
@pytest.mark.parametrize("captions", [False, True])
def test_every_length_and_all_rows(fast: FastTransformer, negative: int, captions: bool) -> None:
    plain = fast.evaluation((12, 10), [fast.prompt(normal(20, 64, seed=1), SCALE)], [0.5])(X, 0.5)
    assert rel(guided(fast, negative, captions=captions), plain) > 0.01


def test_against_itself_nothing_changes(fast: FastTransformer) -> None:
    prompt = fast.prompt(normal(20, 64, seed=1))
    plain = fast.evaluation((12, 10), [prompt], [0.5])(X, 0.5)
    same = fast.evaluation((12, 10), [prompt], [0.5], AttentionGuidance(prompt, COMBINE, captions=True))(X, 0.5)
    assert rel(same, plain) < 1e-5


def test_factors_of_one_change_nothing_and_of_minus_one_something(fast: FastTransformer) -> None:
    plain, ones, negated = (
        fast.evaluation((12, 10), [fast.prompt(normal(20, 64, seed=1), scale)], [0.5])(X, 0.5)
        for scale in (None, torch.ones(20), -torch.ones(20))
    )
    assert torch.equal(plain, ones)
    assert rel(negated, plain) > 0.01


def test_compiled_and_with_weights_at_home_it_is_the_same(fast: FastTransformer) -> None:
    other = FastTransformer(golden_module())
    assert other.offload()
    other.kernels = compiled_blocks()
    assert rel(guided(other, others=(60,)), guided(fast, others=(60,))) < 1e-6


def test_a_caption_of_earlier_weights_is_refused() -> None:
    fast = FastTransformer(golden_module())
    old = AttentionGuidance(fast.prompt(normal(9, 64)), COMBINE, captions=False)
    fast.weights_changed()
    with pytest.raises(ValueError, match="before the weights changed"):
        fast.evaluation((12, 10), [fast.prompt(normal(20, 64))], [0.5], old)
