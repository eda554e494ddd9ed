"""LoRA tags in prompts: read, taken out, merged with the list, refused."""

from __future__ import annotations

import contextlib
import random
import re

import pytest

from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.errors import LoraError, RequestError
from zimage_app.domain.plan import make_plan
from zimage_app.domain.prompt_tags import Tag, split_tags, tag_of, take_tags
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.text import Text

WORDS = ("一艘红色小船", "a red boat", "水墨", "snow (heavy:1.2)", "a < b", "<b>bold</b>", "3:4", "=", "half\nand half")
NAMES = ("ink", "风格/水墨 v1.5", "style\\snow", "a.b_c-d", "lora", "ink.safetensors")


@pytest.mark.parametrize(
    ("prompt", "text", "tags"),
    [
        ("a boat", "a boat", ()),
        ("a  boat ,, <b>", "a  boat ,, <b>", ()),
        ("a boat <lora:ink>", "a boat", (Tag("ink", 1.0, None, None),)),
        ("<lora:ink:0.8> a boat", "a boat", (Tag("ink", 0.8, None, None),)),
        ("a, <lora:ink:0.8>, b", "a, b", (Tag("ink", 0.8, None, None),)),
        ("a，<lora:ink:0.8>，b", "a，b", (Tag("ink", 0.8, None, None),)),
        ("水墨、<lora:ink>远山", "水墨、远山", (Tag("ink", 1.0, None, None),)),
        ("a<lora:ink>b", "ab", (Tag("ink", 1.0, None, None),)),
        ("a\n<lora:ink>\nb", "a\nb", (Tag("ink", 1.0, None, None),)),
        ("a <lora:x:1> <lora:y:-.5> b", "a b", (Tag("x", 1.0, None, None), Tag("y", -0.5, None, None))),
        ("a <lora:x:1><lora:x:0.5>", "a", (Tag("x", 1.0, None, None), Tag("x", 0.5, None, None))),
        ("<LoRA: ink : 0.8 >a", "a", (Tag("ink", 0.8, None, None),)),
        ("<lyco:ink:0.8>a", "a", (Tag("ink", 0.8, None, None),)),
        ("＜lora：水墨：0.8＞小船", "小船", (Tag("水墨", 0.8, None, None),)),
        ("<lora:ink:0.5:0.8>a", "a", (Tag("ink", 0.8, None, 0.5),)),
        ("<lora:ink:0.8:0.8>a", "a", (Tag("ink", 0.8, None, None),)),
        ("<lora:ink:te=0.5:unet=0.8>a", "a", (Tag("ink", 0.8, None, 0.5),)),
        ("<lora:ink:unet=0.8>a", "a", (Tag("ink", 0.8, None, 1.0),)),
        ("<lora:ink:te=0.5>a", "a", (Tag("ink", 0.5, None, None),)),
        ("<lora:ink:0.8:stages=2,1>a", "a", (Tag("ink", 0.8, (1, 2), None),)),
        ("<lora:ink:stages=3>a", "a", (Tag("ink", 1.0, (3,), None),)),
        ("<lora:ink:2>a<lora:ink:-2>", "a", (Tag("ink", 2.0, None, None), Tag("ink", -2.0, None, None))),
    ],
)
def test_reads(prompt: str, text: str, tags: tuple[Tag, ...]) -> None:
    assert split_tags(prompt) == (text, tags)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a <lora:>", "names no LoRA"),
        ("a <lora::0.8>", "names no LoRA"),
        ("a <lora:ink:strong>", "'strong' must be a number from -2 to 2"),
        ("a <lora:ink:>", "'' must be a number"),
        ("a <lora:ink:2.01>", "from -2 to 2"),
        ("a <lora:ink:nan>", "from -2 to 2"),
        ("a <lora:ink:-inf>", "from -2 to 2"),
        ("a <lora:ink:9:0.5>", "from -2 to 2"),
        ("a <lora:ink:0.5:0.5:0.5>", "more than two numbers"),
        ("a <lora:ink:0.5:lbw=MIDD>", "lbw= is not supported"),
        ("a <lora:ink:stages=0>", "must be stage numbers"),
        ("a <lora:ink:stages=>", "must be stage numbers"),
        ("a <lora:ink:stages=1.5>", "must be stage numbers"),
        ("a <lora:ink:stages=" + "9" * 5000 + ">", "must be stage numbers"),
        ("a <lora:ink:0.8, a boat", "<lora:ink:0.8, a boat the tag is not closed"),
        ("a <lora:ink <lora:snow>", "not closed"),
        ("a <lora:ink:" + "x" * 500 + ">", "must be a number"),
    ],
)
def test_a_broken_tag_is_one_sentence_about_the_prompt(prompt: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        split_tags(prompt)
    assert caught.value.field == "prompt"
    assert words in caught.value.text.en
    assert len(caught.value.text.en) < 250
    assert caught.value.text.zh.startswith("prompt：")


@pytest.mark.parametrize("seed", range(200))
def test_generated_prompts_come_apart_as_they_were_put_together(seed: int) -> None:
    draw = random.Random(seed)
    uses = [
        LoraUse(
            name=draw.choice(NAMES),
            strength=round(draw.uniform(-2, 2), 2),
            stages=draw.choice((None, (1,), (1, 3), (2,))),
        )
        for _ in range(draw.randint(0, 4))
    ]
    words = [draw.choice(WORDS) for _ in range(draw.randint(1, 4))]
    parts = words + [tag_of(use) for use in uses]
    if seed % 2:
        places = sorted(draw.sample(range(len(parts)), len(uses)))
        parts = words.copy()
        for place, use in zip(places, uses, strict=True):
            parts.insert(place, tag_of(use))
    text, tags = split_tags(", ".join(parts))
    assert text == ", ".join(words)
    assert [(tag.name, tag.strength, tag.stages) for tag in tags] == [
        (use.name, use.strength, use.stages) for use in uses
    ]


@pytest.mark.parametrize("seed", range(300))
def test_any_text_is_read_or_refused_in_words(seed: int) -> None:
    draw = random.Random(seed)
    pieces = (
        "<lora:",
        "<",
        ">",
        ":",
        "：",
        "＜lora:",
        "＞",
        "ink",
        "0.8",
        "stages=",
        "te=",
        "1",
        ",",
        " ",
        "\n",
        "\0",
        "-",
    )
    prompt = "".join(draw.choice(pieces) for _ in range(draw.randint(1, 14)))
    with contextlib.suppress(RequestError):  # and no other error
        _, tags = split_tags(prompt)
        assert len(tags) == len(re.findall("[<＜]lora[:：]", prompt.replace("＜lora:", "<lora:")))
        assert all(-2 <= tag.strength <= 2 and tag.name for tag in tags)


def _request(prompt: str, *loras: LoraUse) -> GenerationRequest:
    return GenerationRequest(prompt=prompt, loras=loras, seed=1)


def test_a_tag_joins_the_list_behind_it() -> None:
    request, warnings = take_tags(_request("a <lora:snow:0.5>", LoraUse(name="ink")))
    assert request == _request("a", LoraUse(name="ink"), LoraUse(name="snow", strength=0.5))
    assert warnings == ()


def test_where_list_and_prompt_name_a_lora_the_tag_counts_in_the_lists_place() -> None:
    listed = LoraUse(name="ink.safetensors", strength=1.0, stages=(1,), triggers=("水墨",))
    other = LoraUse(name="snow")
    request, _ = take_tags(_request("a <lora:ink:0.3>", listed, other))
    assert request.loras == (LoraUse(name="ink", strength=0.3, stages=(1,), triggers=("水墨",)), other)
    request, _ = take_tags(_request("a <lora:ink:0.3:stages=2>", listed, other))
    assert request.loras[0].stages == (2,)


def test_two_tags_of_one_lora_are_two_uses() -> None:
    request, _ = take_tags(_request("a <lora:ink:0.8:stages=1><lora:ink:0.4:stages=2,3>", LoraUse(name="ink")))
    assert request.loras == (
        LoraUse(name="ink", strength=0.8, stages=(1,)),
        LoraUse(name="ink", strength=0.4, stages=(2, 3)),
    )


def test_names_are_asked_for_in_full_but_not_of_a_lora_that_is_off() -> None:
    def full(name: str) -> str:
        if name == "gone":
            raise LoraError(Text("gone: there is no such LoRA", "没有"))
        return f"style/{name}"

    request, _ = take_tags(_request("a <lora:ink>", LoraUse(name="gone", strength=0.0), LoraUse(name="snow")), full)
    assert [use.name for use in request.loras] == ["gone", "style/snow", "style/ink"]
    with pytest.raises(LoraError, match="no such LoRA"):
        take_tags(_request("a <lora:gone:0.1>"), full)


def test_a_tag_at_strength_0_takes_off_the_listed_lora_that_it_names_in_short() -> None:
    def full(name: str) -> str:
        return f"style/{name}" if "/" not in name else name

    request, _ = take_tags(_request("a <lora:ink:0>", LoraUse(name="style/ink")), full)
    assert request.loras == (LoraUse(name="style/ink", strength=0.0),)


def test_a_strength_for_the_text_encoder_is_told_to_have_no_effect() -> None:
    plan = make_plan(_request("a <lora:ink:0.5:0.8>"), Z_IMAGE_TURBO)
    assert plan.request.loras[0].strength == 0.8
    assert any("0.5 is for a text encoder" in warning.en for warning in plan.warnings)


@pytest.mark.parametrize(
    ("request_", "field", "words"),
    [
        (_request("<lora:ink>"), "prompt", "only LoRA tags"),
        (_request(" , <lora:ink> ,"), "prompt", "only LoRA tags"),
        (GenerationRequest(prompt="a", negative="<lora:ink>"), "negative", "acts in the prompt only"),
        (_request("a" + "<lora:ink>" * 17), "loras", "17 LoRAs"),
        (_request("a", LoraUse(name="ink", stages=(1, 4))), "loras.0.stages", "no stage 4; the stages are 1 to 3"),
    ],
)
def test_requests_that_cannot_be_settled(request_: GenerationRequest, field: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        make_plan(request_, Z_IMAGE_TURBO)
    assert caught.value.field == field


def test_the_plan_of_a_plan_is_the_same() -> None:
    plan = make_plan(_request("a, <lora:ink:0.5:stages=1>", LoraUse(name="snow", triggers=("雪",))), Z_IMAGE_TURBO)
    assert plan.request.full_prompt == "雪, a"
    assert make_plan(plan.request, Z_IMAGE_TURBO).request == plan.request


def test_a_lora_whose_stages_are_off_is_told() -> None:
    stages = (Stage(), Stage(enabled=False))
    request = GenerationRequest(prompt="a", stages=stages, loras=(LoraUse(name="ink", stages=(2,)),))
    (warning,) = (text for text in make_plan(request, Z_IMAGE_TURBO).warnings if "ink" in text.en)
    assert "acts in stage 2 only, which does not run" in warning.en
    assert "只作用于第 2 阶段" in warning.zh


def test_stages_and_hash_of_a_use_are_checked() -> None:
    use = {"name": "ink", "stages": [3, 1, 3], "sha256": "0" * 64}
    (parsed,) = parse_request({"prompt": "a", "loras": [use]}).loras
    assert parsed.stages == (1, 3)
    assert [parsed.acts_in(number) for number in range(3)] == [True, False, True]
    assert not parsed.model_copy(update={"strength": 0.0}).acts_in(0)
    for change, field in (
        ({"stages": []}, "loras.0.stages"),
        ({"stages": [0]}, "loras.0.stages.0"),
        ({"stages": [9]}, "loras.0.stages.0"),
        ({"sha256": "abc"}, "loras.0.sha256"),
        ({"triggers": [""]}, "loras.0.triggers.0"),
        ({"strength": 2.1}, "loras.0.strength"),
    ):
        with pytest.raises(RequestError) as caught:
            parse_request({"prompt": "a", "loras": [use | change]})
        assert caught.value.field == field


@pytest.mark.parametrize(
    ("prompt", "words", "read"),
    [
        ("a boat", ("ink",), "ink, a boat"),
        ("Ink painting", ("ink",), "Ink painting"),
        ("a drink", ("ink",), "ink, a drink"),
        ("ink水墨", ("ink",), "ink水墨"),
        ("ＩＮＫ ｗａｓｈ", ("ink  wash",), "ＩＮＫ ｗａｓｈ"),
        ("一幅水墨画", ("水墨",), "一幅水墨画"),
        ("小船", ("水墨", "水墨 ", "ＳＮＯＷ", "snow"), "水墨, ＳＮＯＷ, 小船"),
        ("a+b", ("a+b", "(x)"), "(x), a+b"),
        ("straße", ("STRASSE",), "straße"),
    ],
)
def test_trigger_words_stand_in_front_exactly_once(prompt: str, words: tuple[str, ...], read: str) -> None:
    assert GenerationRequest(prompt=prompt, triggers=words).full_prompt == read
    again = GenerationRequest(prompt=read, triggers=words)
    assert again.full_prompt == read


def test_the_words_of_the_stack_come_before_the_free_ones() -> None:
    loras = (
        LoraUse(name="b", triggers=("second", "Shared")),
        LoraUse(name="off", strength=0.0, triggers=("never",)),
        LoraUse(name="a", triggers=("first", "shared")),
    )
    request = GenerationRequest(prompt="x", loras=loras, triggers=("free", "first"))
    assert request.full_prompt == "second, Shared, first, free, x"
