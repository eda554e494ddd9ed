"""Batch files: each form, what entries come to, and all errors at once with file, line and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import RequestError
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.text import Text
from zimage_app.service.many.batch.items import BatchError, BatchItem, BatchOptions, batch_items
from zimage_app.service.many.batch.manifest import Manifest
from zimage_app.service.many.batch.reading import batch_of, read_batch

CARD = ModelCard("quick", Text("Quick", "快速"), Text("Quick.", "快速。"))
SETTINGS = {"stages": [Stage(steps=2).model_dump(mode="json")], "triggers": ["base"], "loras": []}
TWEETS = {
    "persona": {
        "name": "小美",
        "bio": "a painter",
        "trigger_word": "xiaomei",
        "lora": "mei",
        "lora_strength": 0.7,
        "negative_prompt": "模糊",
    },
    "tweets": [
        {"id": "t1", "text": "早安", "image_prompt": "morning light"},
        {"id": "t2", "scene_hint": "in the rain", "negative_prompt": "sun", "stages.0.steps": 5, "lora_strength": 0.3},
    ],
}


def plan(request: GenerationRequest) -> GenerationPlan:
    return make_plan(request, CARD)


def items(path: Path, **options: Any) -> list[BatchItem]:
    asked: dict[str, Any] = {"settings": SETTINGS, "plan": plan, "seed": 10} | options
    return batch_items(path.name, read_batch(path), BatchOptions(**asked))[0]


def written(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


FORMS: dict[str, object] = {
    "a.txt": "\ufeff# a comment\nred\n\n  blue  \n",
    "a.csv": 'prompt,seed,stages.0.cfg\nred,,\nblue,77,"2.5"\n',
    "a.json": ["red", {"prompt": "blue", "seed": 77, "stages.0.cfg": 2.5}],
    "a.jsonl": '"red"\n\n{"prompt": "blue", "seed": 77, "stages.0.cfg": 2.5}\n',
    "a.yaml": "- red\n- prompt: blue\n  seed: 77\n  stages.0.cfg: 2.5\n",
}


@pytest.mark.parametrize("name", list(FORMS))
def test_each_form_is_read(name: str, tmp_path: Path) -> None:
    first, second = items(written(tmp_path, name, FORMS[name]))
    assert [first.plan.request.prompt, second.plan.request.prompt] == ["red", "blue"]
    assert (first.plan.request.seed, first.name) == (10, "001-1-10")
    told = second.plan.request.seed, second.plan.stages[0].settings.cfg
    assert told == ((11, 1.0) if name == "a.txt" else (77, 2.5))


def test_a_persona_goes_with_every_post_which_may_say_otherwise(tmp_path: Path) -> None:
    path = written(tmp_path, "tweets.json", TWEETS)
    found, notes = batch_items("tweets.json", read_batch(path), BatchOptions(SETTINGS, plan, 1))
    first, second = found
    one, two = first.plan.request, second.plan.request
    assert (first.id, first.text, one.prompt, one.negative) == ("t1", "早安", "morning light", "模糊")
    assert one.triggers == two.triggers == ("base", "xiaomei")
    assert [(use.name, use.strength) for use in (*one.loras, *two.loras)] == [("mei", 0.7), ("mei", 0.3)]
    assert (two.prompt, two.negative, second.plan.stages[0].steps) == ("in the rain", "sun", 5)
    assert [note.en for note in notes] == ["tweets.json, persona: not used: bio"]


def test_seeds_are_counted_fixed_or_drawn(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "x\ny\n")
    assert [each.plan.request.seed for each in items(path)] == [10, 11]
    assert [each.plan.request.seed for each in items(path, seed_mode="fixed")] == [10, 10]
    one, two = items(path, seed_mode="random")
    assert one.plan.request.seed != two.plan.request.seed
    again = items(path, seed_mode="random")
    assert [each.key for each in again] == [one.key, two.key], "what was drawn changes no key"


def test_a_size_is_short_for_all_stages(tmp_path: Path) -> None:
    (item,) = items(written(tmp_path, "a.json", [{"prompt": "x", "size": "1:1"}]))
    settings = item.plan.stages[0].settings
    assert (settings.width, settings.height) == (768, 768)


def test_keys_follow_what_is_asked_for_not_where(tmp_path: Path) -> None:
    def keys(text: str) -> dict[str, str]:
        return {each.key: each.plan.request.prompt for each in items(written(tmp_path, "a.txt", text))}

    before, after = keys("red\nblue\nblue\n"), keys("green\nblue\nred\n")
    assert len(before) == 3
    assert sorted(before[key] for key in before.keys() & after.keys()) == ["blue", "red"]


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "bad.csv",
        "prompt,seed,stages.0.denoise,colour\nred,1,3,\n,2,,\nblue,x,,\ngreen,,,teal\nfine,,,\nwhite,,,,more\n",
    )
    with pytest.raises(BatchError) as wrong:
        items(path)
    lines = wrong.value.text.en.removeprefix("FILE: ").splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        "bad.csv, line 7",
        "bad.csv, line 2, stages.0.denoise",
        "bad.csv, line 3, prompt",
        "bad.csv, line 4, seed",
        "bad.csv, line 5, colour",
    ]


def test_lines_of_structured_files_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, "bad.json", '{"tweets": [\n  {"image_prompt": "x"},\n  {"text": "y"}\n]}')
    with pytest.raises(BatchError, match=r"bad\.json, line 3, prompt: is missing"):
        items(path)
    with pytest.raises(BatchError, match="line 2: is no JSON"):
        items(written(tmp_path, "bad.jsonl", '"x"\n{'))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.docx", "x", "a batch is one of .txt, .csv"),
        ("a.txt", "# nothing\n", "asks for no picture"),
        ("a.json", "{", "is no JSON"),
        ("a.yaml", "a: [", r"a\.yaml, line 1, column 5: not valid YAML"),
        ("a.json", {"a": 1}, "must hold a list"),
    ],
)
def test_files_that_are_no_batch(name: str, content: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=words):
        read_batch(written(tmp_path, name, content))
    with pytest.raises(RequestError, match="can't be read"):
        read_batch(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.yaml", "- &all [x]\n- *all\n", "line 2, column 3: aliases are not allowed"),
        ("a.yaml", "- prompt: x\n  prompt: y\n", "line 2, column 3: key 'prompt' stands here twice"),
        ("a.yaml", "- x\n" * 70_000, "too long for YAML"),
        ("a.json", '[{"prompt": "x", "prompt": "y"}]', "prompt stands here twice; keep one"),
        ("a.jsonl", '"x"\n{"prompt": "x", "prompt": "y"}\n', "line 2: prompt stands here twice; keep one"),
        ("a.csv", "prompt,seed, prompt\nx,1,y\n", "line 1: prompt stands here twice; keep one"),
    ],
)
def test_what_could_be_meant_in_two_ways_or_grow_is_refused(
    name: str, content: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=words):
        items(written(tmp_path, name, content))


def test_dates_and_ratios_in_yaml_stay_texts(tmp_path: Path) -> None:
    text = "- prompt: x\n  id: 2026-02-30\n  negative: 2026-02-20\n  size: 3:4\n"
    (item,) = items(written(tmp_path, "a.yaml", text))
    settings = item.plan.stages[0].settings
    assert (item.id, item.plan.request.negative) == ("2026-02-30", "2026-02-20")
    assert (settings.width, settings.height) == (656, 880)


@pytest.mark.parametrize("letter", ["\u2028", "\u0085"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_only_line_feeds_end_lines(name: str, letter: str, tmp_path: Path) -> None:
    lines = [f"a{letter}b", "c"]
    shown = lines if name == "a.txt" else [json.dumps(line, ensure_ascii=False) for line in lines]
    path = written(tmp_path, name, "\r\n".join(shown))
    assert [item.plan.request.prompt for item in items(path)] == lines


def test_entries_of_json_are_found_by_their_lines(tmp_path: Path) -> None:
    text = '{"a": [[1,\n2], {"tweets": []}], "tweets" :\n[ "x", {"seed":\n{"b": "]"}},\n\n{"colour": 1}] }'
    with pytest.raises(BatchError) as wrong:
        items(written(tmp_path, "a.json", text))
    lines = wrong.value.text.en.removeprefix("FILE: ").splitlines()
    assert [line.split(": ")[0] for line in lines] == ["a.json, line 3, prompt", "a.json, line 6, prompt"]


def test_names_are_files_names_and_differ(tmp_path: Path) -> None:
    (item,) = items(written(tmp_path, "a.json", [{"prompt": "x", "id": "../a:b"}]), name="{id}")
    assert item.name == "_a_b"
    with pytest.raises(BatchError, match=r"entries 1 and 2 have the same name x; put .index. into --name"):
        items(written(tmp_path, "a.txt", "x\ny\n"), name="x")
    with pytest.raises(BatchError, match=r"may hold .index., .id. and .seed."):
        items(written(tmp_path, "a.txt", "x\n"), name="{nothing}")


def test_posts_without_a_persona_are_a_batch_too() -> None:
    found = batch_of({"tweets": [{"image_prompt": "x"}, 3]})
    assert found.persona is None
    assert len(found.entries) == 1
    assert found.problems[0].en == "entry tweets.2: must be a prompt or a group of settings"


def test_a_manifest_outlives_a_line_that_was_cut_off(tmp_path: Path) -> None:
    manifest = Manifest.of(tmp_path)
    manifest.add("begun", seed=7)
    manifest.add("done", "a", file="a.png")
    with (tmp_path / "manifest.jsonl").open("ab") as file:
        file.write(b'{"state": "done", "key": "b", "fi')
    again = Manifest.of(tmp_path)
    assert (again.seed, list(again.last)) == (7, ["a"])
    again.add("done", "c", file="c.png")
    assert list(Manifest.of(tmp_path).last) == ["a", "c"]
