"""Drawing for a whole request: in its plan, its record, and back to what was typed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.service.records import a_record
from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.errors import RequestError
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.prompt_syntax import unread_syntax
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.request import GenerationRequest, Template
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.wildcard_expansion import no_wildcards, with_literal_template


def lines(name: str) -> Sequence[str]:
    return {"time": ["dawn", "noon", "dusk"], "long": ["a" * 5000]}[name]


def plan_of(request: GenerationRequest) -> GenerationPlan:
    return make_plan(request, Z_IMAGE_TURBO, wildcard=lines)


REQUEST = GenerationRequest(
    prompt="a {red|blue} boat at __time__ <lora:{ink|oil}:0.5>",
    negative="{fog|rain}",
    triggers=("{soft|hard} light", "{|}", "x"),
    loras=(LoraUse(name="own", triggers=("{wet|dry} ink",)),),
    seed=5,
)


def test_a_plan_holds_what_was_drawn_and_what_was_typed() -> None:
    plan = plan_of(REQUEST)
    drawn = plan.request
    assert drawn.prompt in {f"a {colour} boat at {time}" for colour in ("red", "blue") for time in lines("time")}
    assert drawn.negative in ("fog", "rain")
    assert drawn.triggers in (("soft light", "x"), ("hard light", "x"))
    assert [use.name for use in drawn.loras] in (["own", "ink"], ["own", "oil"])
    assert drawn.loras[0].triggers in (("wet ink",), ("dry ink",))
    assert drawn.template == Template(
        prompt=REQUEST.prompt, negative=REQUEST.negative, triggers=REQUEST.triggers, loras=REQUEST.loras
    )
    assert drawn.typed == REQUEST.model_copy(update={"stages": drawn.stages})
    assert plan_of(REQUEST) == plan


def test_a_drawn_request_is_drawn_no_more_even_when_lists_have_changed() -> None:
    drawn = plan_of(REQUEST).request
    assert make_plan(drawn, Z_IMAGE_TURBO, wildcard=no_wildcards).request == drawn
    literal = GenerationRequest(prompt="{a|b} __c__", template=Template(prompt="x"), seed=1)
    assert make_plan(literal, Z_IMAGE_TURBO).request.prompt == "{a|b} __c__"


def test_every_text_has_draws_of_its_own() -> None:
    many = "{a|b}{c|d}{e|f}{g|h}{i|j}{k|l}{m|n}{o|p}"
    request = GenerationRequest(prompt=many, negative=many, triggers=(many, many), seed=9)
    drawn = plan_of(request).request
    assert len({drawn.prompt, drawn.negative, *drawn.triggers}) == 4
    fewer = plan_of(request.model_copy(update={"negative": ""})).request
    assert (fewer.prompt, fewer.triggers) == (drawn.prompt, drawn.triggers)


def test_plain_requests_have_no_template() -> None:
    plain = GenerationRequest(prompt='{"a": 1} (b) _c_', seed=1)
    assert plan_of(plain).request.template is None
    assert plain.typed is plain


@pytest.mark.parametrize(
    ("request_", "field", "sentence"),
    [
        (GenerationRequest(prompt="{|}"), "prompt", "comes out empty"),
        (GenerationRequest(prompt="x", negative="{a|"), "negative", "not closed"),
        (GenerationRequest(prompt="x", triggers=("{a|",)), "triggers", "not closed"),
        (
            GenerationRequest(prompt="x", loras=(LoraUse(name="a", triggers=("{a|",)),)),
            "loras.0.triggers",
            "not closed",
        ),
        (GenerationRequest(prompt="__long__ __long__"), "prompt", "at most 8000"),
    ],
)
def test_refusals_name_the_field(request_: GenerationRequest, field: str, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence) as refused:
        plan_of(request_)
    assert refused.value.field == field


def test_a_record_keeps_both_and_old_ones_are_taken_literally() -> None:
    drawn = plan_of(REQUEST).request
    record = a_record().model_copy(update={"request": drawn})
    assert ImageRecord.from_json(record.to_json()) == record
    assert record.parameters_text.startswith(drawn.full_prompt)
    assert 'Template: "a {red|blue} boat' in record.parameters_text
    braces = a_record().request.model_copy(update={"prompt": "{a|b}"})
    old = a_record().model_copy(update={"request": braces}).to_json()
    request = ImageRecord.from_json(old).request
    assert make_plan(request, Z_IMAGE_TURBO).request.prompt == "{a|b}"
    assert request.typed.prompt == "{a|b}"
    assert with_literal_template(GenerationRequest(prompt="plain")).template is None


def test_what_comfyui_makes_of_an_embedding_is_told() -> None:
    (told,) = unread_syntax("a cat embedding:foo bar", "prompt")
    assert "ComfyUI leaves the name out" in told.en


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a (red:1.3) boat", "(red:1.3)"),
        ("(红色：1.2)", "(红色：1.2)"),
        ("[day:night:0.5]", "[day:night:0.5]"),
        ("x, embedding:neg", "embedding:neg"),
        ("a BREAK b", "BREAK"),
        ("(16:9) [a] (b) breakfast: (see: here) \\(red:1.3\\)", ""),
    ],
)
def test_syntax_that_the_model_reads_as_text_is_told(text: str, found: str) -> None:
    told = list(unread_syntax(text, "prompt"))
    assert len(told) == bool(found)
    assert all(each.en.startswith(f"{found} in the prompt is read as plain text") and found in each.zh for each in told)
    plan = make_plan(GenerationRequest(prompt="x", negative=text or "y", seed=1), Z_IMAGE_TURBO)
    assert any("negative prompt is read" in warning.en for warning in plan.warnings) == bool(found)
