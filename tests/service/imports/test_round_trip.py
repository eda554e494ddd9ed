"""What this app writes into its pictures comes back as it was: the record, and the text that other tools read too."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.records import a_record
from zimage_app.domain.catalogue import SAMPLER_TRAITS
from zimage_app.domain.record import parameters_text
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.schedules import SCHEDULERS
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.wildcard_expansion import drawn, no_wildcards
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


def _text(request: GenerationRequest, *ran: int) -> str:
    last = (request.stages or ())[ran[-1]]
    return parameters_text(request, ran, (last.width, last.height), "z-image-turbo", "1.0")


SAVED = GenerationRequest(
    prompt="a red boat",
    negative="fog",
    triggers=("soft",),
    loras=(LoraUse(name="ink", strength=0.8, stages=(1,), triggers=("ink wash",)), LoraUse(name="moss", strength=0.0)),
    seed=42,
    stages=(
        Stage(width=176, height=224, cfg=1.23456789),
        Stage(width=336, height=432, steps=7, seed=5, enabled=False),
        Stage(denoise=0.6, steps=8, cfg=1.0),
    ),
    keep_stages=True,
)


def _of_last(**changes: object) -> dict[str, object]:
    stages = SAVED.stages or ()
    return {"stages": (*stages[:2], stages[2].model_copy(update=changes))}


@pytest.mark.parametrize(
    ("before", "after", "changed", "told"),
    [
        ("a red boat", "a green tree", {"prompt": "a green tree"}, "Prompt: ink wash, soft, a red boat → ink wash"),
        ("Seed: 42,", "Seed: 7,", {"seed": 7}, "Seed: 42 → 7"),
        ("Seed: 42,", "Seed: -1,", {"seed": "random"}, "Seed: 42 → none"),
        ("Negative prompt: fog", "Negative prompt: rain", {"negative": "rain"}, "Negative prompt: fog → rain"),
        ("Negative prompt: fog\n", "", {"negative": ""}, "Negative prompt: fog → none"),
        ("CFG scale: 1,", "CFG scale: 2,", _of_last(cfg=2.0), "Stage 3, CFG: 1 → 2"),
        ("Steps: 8,", "Steps: 4,", _of_last(steps=4), "Stage 3, Steps: 8 → 4"),
        ("strength: 0.6,", "strength: 0.5,", _of_last(denoise=0.5), "Stage 3, Denoise: 0.6 → 0.5"),
        ("Size: 672x", "Size: 688x", _of_last(width=688), "Stage 3, Width: 672 → 688"),
        ("euler", "Euler a", _of_last(sampler="euler_ancestral"), "Stage 3, Sampler: euler → euler_ancestral"),
    ],
)
def test_what_was_changed_in_the_text_counts_and_all_else_stays(
    before: str, after: str, changed: dict[str, object], told: str
) -> None:
    text = _text(SAVED, 0, 2)
    assert read_settings(text.encode(), "a.txt").exact
    assert read_settings(text.replace("\n", "  ").encode(), "a.txt").exact
    assert before in text
    imported = read_settings(text.replace(before, after, 1).encode(), "a.txt")
    assert not imported.exact
    assert imported.request() == SAVED.model_copy(update=changed)
    assert "changed after it was saved" in imported.translated[0].en
    assert any(line.en.startswith(told) for line in imported.translated[1:])
    assert not imported.left


def test_the_first_stages_text_changes_the_first_stage() -> None:
    stages = SAVED.stages or ()
    text = _text(SAVED, 0).replace("Steps: 9,", "Steps: 3,", 1)
    changed = {"stages": (stages[0].model_copy(update={"steps": 3}), *stages[1:])}
    assert read_settings(text.encode(), "a.txt").request() == SAVED.model_copy(update=changed)


def test_a_seed_that_only_one_stage_has_is_changed_there() -> None:
    request = SAVED.model_copy(update={"stages": (Stage(seed=5), Stage(denoise=0.6))})
    changed = read_settings(_text(request, 0, 1).replace("Seed: 5,", "Seed: 6,").encode(), "a.txt").request()
    assert (changed.seed, [stage.seed for stage in changed.stages or ()]) == (42, [6, "follow"])


def test_trigger_words_that_were_removed_from_the_text_dont_come_back() -> None:
    imported = read_settings(_text(SAVED, 0, 2).replace("ink wash, ", "", 1).encode(), "a.txt").request()
    assert imported.full_prompt == "soft, a red boat"
    assert imported.loras[0].stages == (1,)


def test_loras_changed_in_the_text_keep_what_it_does_not_show() -> None:
    tag = "<lora:ink:0.8:stages=1>"
    imported = read_settings(_text(SAVED, 0, 2).replace(tag, "<lora:rain:0.5> <lora:ink:0.3>", 1).encode(), "a.txt")
    rain, ink, off = imported.request().loras
    assert (rain, off) == (LoraUse(name="rain", strength=0.5), SAVED.loras[1])
    assert ink == SAVED.loras[0].model_copy(update={"strength": 0.3, "stages": None})
    assert imported.translated[1].en == f"LoRAs: {tag} → <lora:rain:0.5> <lora:ink:0.3>"


def test_an_edit_that_is_not_allowed_leaves_the_saved_value_and_is_told() -> None:
    text = _text(SAVED, 0, 2)
    for before, after, told in (
        ("Sampler: euler", "Sampler: magic", "Stage 3, Sampler: magic does not exist here; euler is filled in"),
        ("Steps: 8", "Steps: 90000", "Stage 3, Steps: "),
    ):
        imported = read_settings(text.replace(before, after, 1).encode(), "a.txt")
        assert imported.request() == SAVED
        (line,) = imported.left
        assert line.en.startswith(told)
    assert line.en.endswith("; 8 is filled in")


def test_a_drawn_prompt_that_was_changed_is_not_drawn_again() -> None:
    typed = GenerationRequest(
        prompt=r"a {red|red} boat \{x|y\}",
        negative=r"\{fog|mist\}",
        triggers=(r"\{soft|dim\}",),
        seed=1,
        stages=(Stage(),),
    )
    request = drawn(typed, 1, no_wildcards)
    assert request.template is not None
    text = _text(request, 0)
    other_seed = read_settings(text.replace("Seed: 1,", "Seed: 2,", 1).encode(), "a.txt").request()
    assert other_seed == request.model_copy(update={"seed": 2})
    changed = read_settings(text.replace("red boat", "blue boat", 1).encode(), "a.txt").request()
    assert changed.template is None
    again = drawn(changed, 1, no_wildcards)
    assert (again.full_prompt, again.negative) == ("{soft|dim}, a blue boat {x|y}", "{fog|mist}")


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
