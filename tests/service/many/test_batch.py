"""Batch files: each form, what entries come to, and all errors at once with file, line and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.service.quick import record_of
from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import RequestError, StorageError
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.text import Text
from zimage_app.service.many.batch.item_files import count_replaced, save_item, unfinished_items
from zimage_app.service.many.batch.items import BatchError, BatchItem, BatchOptions, batch_items
from zimage_app.service.many.batch.manifest import Manifest
from zimage_app.service.many.batch.reading import batch_of, parse_batch, read_batch
from zimage_app.service.pictures.views import SavedPicture

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
    "b.csv": "prompt;seed;stages.0.cfg\nred;;\nblue;77;2.5\n",
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
        ("a.txt", "# nothing\n", "contains no entries"),
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
        ("a.yaml", "- prompt: x\n  prompt: y\n", "line 2, column 3: key 'prompt' appears twice"),
        ("a.yaml", "- x\n" * 70_000, "too long for YAML"),
        ("a.json", '[{"prompt": "x", "prompt": "y"}]', "prompt appears twice; keep one"),
        ("a.jsonl", '"x"\n{"prompt": "x", "prompt": "y"}\n', "line 2: prompt appears twice; keep one"),
        ("a.csv", "prompt,seed, prompt\nx,1,y\n", "line 1: prompt appears twice; keep one"),
    ],
)
def test_what_could_be_meant_in_two_ways_or_grow_is_refused(
    name: str, content: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=words):
        items(written(tmp_path, name, content))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "prompt" + "," * 4000 + "\n" + "x\n" * 20_000, "line 1: has 4001 columns; at most 200 are allowed"),
        ("a.csv", "prompt\n" + "x,y\n" * 20_000, "has more than 10000 entries"),
        ("a.txt", "x\n" * 20_000, "has more than 10000 entries"),
        ("a.jsonl", "x\n" * 20_000, "has more than 10000 entries"),
        ("a.json", json.dumps([1] * 20_000), "has more than 10000 entries"),
    ],
)
def test_a_file_of_too_much_is_refused_before_all_of_it_is_kept(name: str, content: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        batch_items("", parse_batch(name, content.encode()), BatchOptions(SETTINGS, plan, 1))


def test_empty_rows_and_columns_of_a_csv_are_passed_over(tmp_path: Path) -> None:
    rows = "prompt,,\n" + ",,,,\n" + "\n" + "red,,\n" + "blue\n"
    assert [each.plan.request.prompt for each in items(written(tmp_path, "a.csv", rows))] == ["red", "blue"]
    for row in ("green,,x", "green,,,x"):
        with pytest.raises(BatchError, match="line 6: has more cells than the first line has names"):
            items(written(tmp_path, "a.csv", f"{rows}{row}\n"))


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


def test_a_name_is_cut_to_what_a_disk_takes(tmp_path: Path) -> None:
    (item,) = items(written(tmp_path, "a.json", [{"prompt": "x", "id": "猫" * 200}]))
    assert item.name == "001-" + "猫" * 58
    (tmp_path / f".{item.file_name}.01234567.part").touch()


@pytest.mark.parametrize("name", ["id", "text"])
def test_half_a_character_is_refused(name: str) -> None:
    batch = batch_of([{"prompt": "x", name: "a\ud800"}])
    with pytest.raises(BatchError, match=f"entry 1, {name}: contains an incomplete Unicode character"):
        batch_items("", batch, BatchOptions(SETTINGS, plan, 1))


def test_null_is_as_if_left_out_and_a_text_is_no_list() -> None:
    nulls = {"id": None, "text": None, "triggers": None, "loras": None, "stages": None, "lora_strength": None}
    batch = batch_of([{"prompt": "x", "trigger_word": "y", "lora": "mei", "size": "1:1", **nulls}])
    (item,), _ = batch_items("", batch, BatchOptions(SETTINGS | {"loras": None}, plan, 1))
    request = item.plan.request
    assert (item.id, item.text, request.triggers, [use.strength for use in request.loras]) == (
        "1",
        "",
        ("base", "y"),
        [1.0],
    )
    for name, other in (("triggers", "trigger_word"), ("loras", "lora"), ("stages", "size")):
        with pytest.raises(BatchError, match=f"entry 1, {name}: must be a list"):
            batch_items("", batch_of([{"prompt": "x", name: "abc", other: "y"}]), BatchOptions(SETTINGS, plan, 1))


def test_common_settings_are_refused_once_not_in_every_entry() -> None:
    with pytest.raises(RequestError, match=r"^colour: there is no such setting$"):
        batch_items("", batch_of(["x"] * 50), BatchOptions(SETTINGS | {"colour": 1}, plan, 1))


def test_drawn_seeds_do_not_follow_the_common_one(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "x\ny\n")
    one, two = items(path, seed_mode="random", settings=SETTINGS | {"seed": 5})
    assert one.plan.request.seed != two.plan.request.seed


def test_keys_tell_what_the_pictures_are_made_with(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "x\n")
    keys = {items(path, made_with=each)[0].key for each in ("demo", "demo --nag", "other")}
    assert len(keys) == 3


def test_posts_without_a_persona_are_a_batch_too() -> None:
    found = batch_of({"tweets": [{"image_prompt": "x"}, 3]})
    assert found.persona is None
    assert len(found.entries) == 1
    assert found.problems[0].en == "entry tweets.2: must be a prompt or a group of settings"


def test_another_picture_is_never_called_done(tmp_path: Path) -> None:
    """An entry is edited, and the edit taken back: the file shows the edited one."""

    def asked(*prompts: str) -> list[BatchItem]:
        return items(written(tmp_path, "a.json", list(prompts)), name="{index}")

    def make(*prompts: str) -> list[str]:
        manifest = Manifest.read(tmp_path / "made")
        left = unfinished_items(asked(*prompts), manifest)
        counted = count_replaced(left, manifest)
        for item in left:
            saved = SavedPicture(tmp_path / "none", record_of(item.plan, "quick"), item.plan.request.prompt.encode())
            save_item(item, saved, manifest)
        return [*(item.file_name for item in left), str(counted)]

    def shown() -> dict[str, str]:
        return {path.name: path.read_text() for path in (tmp_path / "made").glob("*.png")}

    (tmp_path / "made").mkdir()
    assert make("cat", "dog") == ["1.png", "2.png", "0"]
    assert make("cat", "dog") == ["0"]
    assert make("cat", "fox") == ["2.png", "1"]
    assert make("cat", "dog") == ["2.png", "1"]
    assert shown() == {"1.png": "cat", "2.png": "dog"}
    assert make("hen", "cat", "dog") == ["1-2.png", "0"], "the cat keeps its name"
    assert shown() == {"1.png": "cat", "2.png": "dog", "1-2.png": "hen"}
    assert make("hen", "cat", "dog") == ["0"]


def test_lines_of_a_manifest_that_were_edited_are_no_reason_to_stop(tmp_path: Path) -> None:
    (item,) = items(written(tmp_path, "a.txt", "x\n"))
    lines = [{"state": "done", "key": item.key}, {"state": "done"}, [], {"key": 1}, {"state": "begun", "seed": "x"}]
    for line in lines:
        (tmp_path / "manifest.jsonl").write_text(json.dumps(line) + "\n" + "[" * 100_000 + "\n")
        assert unfinished_items([item], Manifest.read(tmp_path)) == [item]


@pytest.mark.parametrize("text", ["a\u2028b", "a\u0085b", "\udcff"])
def test_a_manifest_gives_every_text_back(text: str, tmp_path: Path) -> None:
    Manifest.read(tmp_path).add("done", "a", file="a.png", text=text)
    Manifest.read(tmp_path).add("begun", seed=1, file=text)
    again = Manifest.read(tmp_path)
    assert (again.last["a"]["text"], again.file, again.holders) == (text, text, {"a.png": "a"})


def test_what_to_do_about_a_folder_is_said_by_who_knows_it(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").mkdir()
    with pytest.raises(StorageError, match=r"can't be used \([^)]+\)\.$"):
        Manifest.read(tmp_path)
    with pytest.raises(StorageError, match=r"can't be used \([^)]+\)\. Choose another\.$") as caught:
        Manifest.read(tmp_path, Text("Choose another.", "请换一个。"))
    assert caught.value.text.zh.endswith("。请换一个。")


def test_a_manifest_outlives_a_line_that_was_cut_off(tmp_path: Path) -> None:
    manifest = Manifest.read(tmp_path)
    manifest.add("begun", seed=7)
    manifest.add("done", "a", file="a.png")
    with (tmp_path / "manifest.jsonl").open("ab") as file:
        file.write(b'{"state": "done", "key": "b", "fi')
    again = Manifest.read(tmp_path)
    assert (again.seed, list(again.last)) == (7, ["a"])
    again.add("done", "c", file="c.png")
    assert list(Manifest.read(tmp_path).last) == ["a", "c"]
