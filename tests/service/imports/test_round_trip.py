"""What this app writes into its pictures comes back as it was: the record, and the text that other tools read too."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.records import a_record
from zimage_app.domain.catalogue import SAMPLER_TRAITS
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.schedules import SCHEDULERS
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import Stage
from zimage_app.service.imports import read_settings

LETTERS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), include_characters="\n"), min_size=1, max_size=60
)
PROMPTS = st.one_of(
    LETTERS,
    st.sampled_from(
        [
            "Negative prompt: none", "a\nNegative prompt: b", "Steps: 3, easy", "a {b|c} d",
            '{"a": "b | c"}', "__time__",
            "<lora:x:1> in words", r"\{a\}", "a\nSteps: 4, Sampler: Euler, Seed: 1", 'say "hi", Studio: no', "红色小船",
        ]
    ),
)  # fmt: skip
STAGES = st.builds(
    Stage,
    width=st.integers(4, 128).map(lambda n: n * 16),
    height=st.integers(4, 128).map(lambda n: n * 16),
    steps=st.integers(1, 60),
    cfg=st.floats(0.5, 12).map(lambda value: round(value, 3)),
    denoise=st.floats(0.05, 1).map(lambda value: round(value, 3)),
    shift=st.floats(0.5, 9).map(lambda value: round(value, 3)),
    sampler=st.sampled_from(sorted(SAMPLER_TRAITS)),
    scheduler=st.sampled_from(sorted(SCHEDULERS)),
    seed=st.one_of(st.just("follow"), st.integers(0, 2**64 - 1)),
)
LORAS = st.builds(
    LoraUse, name=st.sampled_from(["ink", "a/b c", "雪"]), strength=st.floats(-2, 2).map(lambda value: round(value, 2))
)
REQUESTS = st.builds(
    GenerationRequest,
    prompt=PROMPTS.filter(lambda text: bool(text.strip())),
    negative=st.one_of(st.just(""), PROMPTS),
    triggers=st.lists(st.sampled_from(["ink wash", "雪景", "soft"]), max_size=2, unique=True).map(tuple),
    loras=st.lists(LORAS, max_size=3).map(tuple),
    seed=st.integers(0, 2**64 - 1),
    stages=st.lists(STAGES, min_size=1, max_size=3).map(tuple),
)


@given(REQUESTS)
@settings(max_examples=120, deadline=None)
def test_the_parameters_text_reads_back_exactly(request: GenerationRequest) -> None:
    record = a_record()
    stages = (record.stages[0].model_copy(update={"number": 0}),)
    first = (request.stages or ())[0]
    made = {"request": request, "stages": stages, "width": first.width, "height": first.height}
    text = record.model_copy(update=made).parameters_text
    imported = read_settings(text.encode(), "a.txt")
    assert imported.exact
    assert imported.request() == request
    assert (imported.translated, imported.left) == ((), ())


@given(REQUESTS)
@settings(max_examples=60, deadline=None)
def test_a_request_as_json_reads_back_exactly(request: GenerationRequest) -> None:
    assert read_settings(request.model_dump_json().encode(), "a.json").request() == request


def test_texts_from_before_they_held_the_whole_request_give_the_last_stage() -> None:
    text = (
        "a heron <lora:moss:0.5>\nSteps: 4, Sampler: dpmpp_sde, Schedule type: flow_match_linear, CFG scale: 1,"
        " Seed: 9, Size: 672x864, Model: z-image-turbo, Denoising strength: 0.6, Shift: 7, Stages: {stages},"
        " Version: Z-Image Progressive Studio 0.1.0"
    )
    imported = read_settings(text.format(stages="176x224 > 672x864").encode(), "a.txt")
    (stage,) = imported.settings["stages"]
    assert (stage["scheduler"], stage["sampler"], stage["shift"]) == ("flow_match_linear", "dpmpp_sde", 7)
    assert "denoise" not in stage
    assert "holds the last stage only" in "\n".join(line.en for line in imported.left)
    (stage,) = read_settings(text.format(stages="672x864").encode(), "a.txt").settings["stages"]
    assert stage["denoise"] == 0.6


@pytest.mark.parametrize(
    ("before", "after", "field", "value"),
    [
        ("a red boat", "a green tree", "prompt", "a green tree"),
        ("Seed: 42,", "Seed: 7,", "seed", 7),
        ("Negative prompt: fog", "Negative prompt: rain", "negative", "rain"),
        ("Negative prompt: fog\n", "", "negative", None),
        ("CFG scale: 1,", "CFG scale: 2,", "cfg", 2),
        ("Steps: 8,", "Steps: 4,", "steps", 4),
    ],
)
def test_what_was_changed_in_the_text_counts(before: str, after: str, field: str, value: object) -> None:
    request = GenerationRequest(prompt="a red boat", negative="fog", seed=42, stages=(Stage(cfg=1.0, steps=8),))
    record = a_record()
    made = {"request": request, "stages": (record.stages[0].model_copy(update={"number": 0}),)}
    text = record.model_copy(update=made | {"width": 672, "height": 864}).parameters_text
    assert read_settings(text.encode(), "a.txt").exact
    assert read_settings(text.replace("\n", "  ").encode(), "a.txt").exact
    assert before in text
    imported = read_settings(text.replace(before, after, 1).encode(), "a.txt")
    assert not imported.exact
    found = imported.settings | imported.settings["stages"][0] if field in ("cfg", "steps") else imported.settings
    assert found.get(field) == value
    assert "changed after it was saved" in "\n".join(line.en for line in imported.left)


def test_a_website_that_drops_tags_changes_nothing() -> None:
    request = GenerationRequest(
        prompt="a red boat", loras=(LoraUse(name="ink", strength=0.8),), seed=1, stages=(Stage(),)
    )
    stages = (a_record().stages[0].model_copy(update={"number": 0}),)
    text = a_record().model_copy(update={"request": request, "stages": stages}).parameters_text
    assert "<lora:ink:0.8>" in text
    assert read_settings(text.replace("<lora:ink:0.8>", "").encode(), "a.txt").request() == request
    edited = read_settings(text.replace("<lora:ink:0.8>", "<lora:ink:0.3>", 1).encode(), "a.txt")
    assert [use["strength"] for use in edited.settings["loras"]] == [0.3]
