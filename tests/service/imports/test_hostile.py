"""Files that nobody meant well with: reading them always ends, in settings that are allowed or in our own error."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.imports.test_imports import FORMS, INFOTEXT, graph, picture
from zimage_app.domain.errors import ImportedFileError
from zimage_app.domain.request import parse_request
from zimage_app.service.imports import read as imports_read
from zimage_app.service.imports import read_settings
from zimage_app.service.imports.comfy.editor import editor_graph
from zimage_app.service.imports.comfy.graph import MAX_NODES
from zimage_app.service.imports.comfy.node_call import MAX_TEXT, written

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 2**70, 1e308, float("nan"), float("inf"), "", "\ud800", "x" * 9000, "<lora:", [], {}, [["1", 0]],
    ["316", 0], ["303", -9], [307, 0], {"lora": 3, "on": True}, {"__value__": [{}]}, "euler", -10, -20, 4, 2,
)  # fmt: skip
ROUNDS = 250


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of plain data."""
    for key, value in list(data.items()) if isinstance(data, dict) else list(enumerate(data)):
        yield data, key
        if isinstance(value, dict | list):
            yield from places(value)


def survives(data: bytes) -> bool:
    """Whether settings came of it; anything but those and our own error is a failure."""
    try:
        imported = read_settings(data, "x")
    except ImportedFileError:
        return False
    parse_request({"prompt": "-"} | imported.settings)
    for line in (*imported.taken, *imported.translated, *imported.left):
        assert len(line.en) < 1000
        (line.en + line.zh).encode()
    return True


@pytest.mark.parametrize("name", FORMS)
def test_graphs_with_anything_anywhere(name: str) -> None:
    chance = random.Random(name)
    outcomes = set()
    for _ in range(ROUNDS):
        data = graph(name)
        for container, key in chance.sample(list(places(data)), chance.choice((1, 3, 30))):
            container[key] = chance.choice(ODD)
        outcomes.add(survives(json.dumps(data).encode()))
    assert outcomes == {True, False} or outcomes == {True}


@pytest.mark.parametrize("name", FORMS)
def test_graphs_wired_at_random(name: str) -> None:
    """Links of any node to any other: circles, latents where a model belongs, nodes that feed themselves."""
    chance = random.Random(name)
    for _ in range(ROUNDS):
        data = graph(name)
        if name == FORMS[0]:
            for node in data.values():
                for key, value in node["inputs"].items():
                    if isinstance(value, list) or chance.random() < 0.05:
                        node["inputs"][key] = [chance.choice(list(data)), chance.randrange(3)]
        else:
            for link in data["links"]:
                link[1] = chance.choice(data["nodes"])["id"]
            for node in data["nodes"]:
                node["mode"] = chance.choice((0, 0, 0, 2, 4))
        survives(json.dumps(data).encode())


def test_texts_and_bytes_with_anything_in_them() -> None:
    chance = random.Random(0)
    for _ in range(ROUNDS):
        letters = list(INFOTEXT)
        for _ in range(chance.choice((1, 5, 40))):
            letters[chance.randrange(len(letters))] = chance.choice('",:<>()\\\nx9\0∞')
        survives("".join(letters).encode())
        png = bytearray(picture({"parameters": INFOTEXT, "prompt": json.dumps(graph())}))
        for _ in range(chance.choice((1, 5, 40))):
            png[chance.randrange(len(png))] = chance.randrange(256)
        survives(bytes(png))


def test_flat_settings_with_anything_in_them() -> None:
    chance = random.Random(1)
    names = ("prompt", "seed", "steps", "cfgscale", "width", "sampler", "scheduler", "loras", "loraweights", "model",
             "refinercontrolpercentage", "refinerupscale", "refinermethod", "refinersteps", "refinerupscalemethod",
             "positive_prompt", "cfg_scale", "guidance")  # fmt: skip
    for _ in range(ROUNDS):
        data = {name: chance.choice(ODD) for name in names if chance.random() < 0.8}
        survives(json.dumps({"sui_image_params": data}).encode())
        survives(json.dumps(data | {"positive_prompt": chance.choice(ODD)}).encode())


def test_depth_and_number_are_bounded() -> None:
    chain = {
        f"c{n}": {"class_type": "X", "inputs": {"text": [f"c{n + 1}", 0], "b": [f"c{n + 1}", 0]}} for n in range(3000)
    }
    data = graph() | chain
    data["6"]["inputs"]["text"] = ["c0", 0]
    assert survives(json.dumps(data).encode())
    many = graph() | {str(n): {"class_type": "X", "inputs": {}} for n in range(1000, 1001 + MAX_NODES)}
    with pytest.raises(ImportedFileError, match="more than 5000 nodes"):
        read_settings(json.dumps(many).encode(), "x")
    bomb = graph(FORMS[1])
    bomb["definitions"] = {
        "subgraphs": [
            {"id": f"s{n}", "nodes": [{"id": k, "type": f"s{n + 1}"} for k in range(20)], "links": []} for n in range(9)
        ]
    }
    bomb["nodes"].append({"id": 9000, "type": "s0"})
    with pytest.raises(ImportedFileError, match="more than 5000 nodes"):
        read_settings(json.dumps(bomb).encode(), "x")


def test_a_text_chunk_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", " " * (80 * 2**20), zip=True)
    path = tmp_path / "bomb.png"
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    assert not survives(path.read_bytes())


@pytest.mark.parametrize(
    "text",
    [
        "a " * 100_000 + "\nSteps: 1",
        "Steps: 1, " + "a " * 100_000,
        "Steps: 1 " * 30_000 + "\nx",
        "Steps: 1" + "\n" * 200_000 + "x",
        "a <lora:ink>" + " " * 60_000 + "b\nSteps: 1",
        "{a " * 30_000 + "\nSteps: 1",
        "_" * 300_000 + "\nSteps: 1",
    ],
)
@pytest.mark.timeout(60)
def test_texts_on_which_patterns_would_take_hours(text: str) -> None:
    survives(text.encode())
    survives(picture({"parameters": text}))


def test_a_million_values_are_told_of_and_not_read() -> None:
    many = '{"prompt":[' + "[]," * 400_000 + "1]}"
    for data in (many.encode(), picture({"workflow": many}), picture({"prompt": "{}", "parameters": many})):
        with pytest.raises(ImportedFileError, match="more than 200000 values"):
            read_settings(data, "x")


def test_too_many_settings_are_refused_before_each_is_complained_of() -> None:
    many: dict[str, Any] = {f"k{number}": {} for number in range(3000)}
    with pytest.raises(ImportedFileError, match="more than 2000 settings"):
        read_settings(json.dumps({"prompt": "a", "seed": 1} | many).encode(), "x")
    with pytest.raises(ImportedFileError, match="too long to be this app's"):
        read_settings(picture({"zimage_studio": json.dumps(many)}), "x")
    with pytest.raises(ImportedFileError, match="too long to be this app's"):
        read_settings(picture({"zimage_studio": " " * 2**21}), "x")


def test_a_cache_of_which_only_a_part_is_given_is_told_of_whole() -> None:
    data = {"prompt": "a", "seed": 1, "stages": [{"easycache": {"threshold": 0.3}}]}
    imported = read_settings(json.dumps(data).encode(), "x")
    assert "0.3/0.15/0.95" in "\n".join(line.en for line in imported.taken)


def test_a_picture_with_more_text_than_is_read_says_so() -> None:
    with pytest.raises(ImportedFileError, match="more than 8 MB of text"):
        read_settings(picture({"a": "x" * 5_000_000, "b": "x" * 5_000_000}), "x")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "9" * 400])
def test_numbers_that_are_none_are_told_of(number: str) -> None:
    settings = {
        "comfy": {**graph(), "9": {"class_type": "KSampler", "inputs": {"seed": "#", "steps": "#", "denoise": "#"}}},
        "switch": {**graph(), "3": {"class_type": "CR Text Input Switch", "inputs": {"Input": "#", "text1": "a"}}},
        "swarm": {"sui_image_params": {"prompt": "a", "width": "#", "height": "#", "steps": "#"}},
        "wangp": {"type": "WanGP v1 by DeepBeepMeep - Z-Image", "prompt": "a", "guidance_scale": "#", "seed": "#"},
    }
    for data in settings.values():
        survives(json.dumps(data).replace('"#"', number).encode())


@pytest.mark.parametrize(
    "tags", ["<exif:UserComment><rdf:li>", "<exif:UserComment>" + "<rdf:li>" * 40, "<exif:UserComment><rdf:li"]
)
@pytest.mark.timeout(60)
def test_xmp_of_nothing_but_tags(tags: str) -> None:
    assert not survives(picture({"XML:com.adobe.xmp": tags * (2**20 // len(tags))}))


@pytest.mark.timeout(60)
def test_comments_that_are_not_closed() -> None:
    note = {"type": "CLIPTextEncode", "widgets_values": ["/*x" * (MAX_TEXT // 3)]}
    nodes = [note | {"id": number} for number in range(60)]
    assert not survives(json.dumps({"nodes": nodes, "links": []}).encode())


@pytest.mark.parametrize(
    ("text", "kept"),
    [("/* a */b//c\nd", "b\nd"), ("a/*b//c\n/*d", "a/*b\n/*d"), ("a//b /*c\nd*/e", "a\nd*/e"), ("/*/", "/*/")],
)
def test_comments_are_removed_as_the_page_does(text: str, kept: str) -> None:
    assert written(text, drawn=True).data == kept
    assert written(text, drawn=False).data == text


def nodes_of(kind: str, count: int, **inputs: Any) -> dict[str, Any]:
    """The reference workflow and some more nodes that nothing uses."""
    return graph() | {f"n{number}": {"class_type": kind, "inputs": inputs} for number in range(count)}


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("StringFunction|pysssss", {"action": "replace", "text_a": "a" * 20_000, "text_b": "a", "text_c": "b" * 2000}),
        ("StringReplace", {"string": "a" * 20_000, "find": "a", "replace": "b" * 2000}),
        ("CR Text Replace", {"text": "a" * 20_000, "find1": "a", "replace1": "b" * 2000}),
    ],
)
def test_a_text_that_grows_without_end_is_not_made(kind: str, inputs: dict[str, Any]) -> None:
    data = nodes_of(kind, 1, **inputs)
    data["6"]["inputs"]["text"] = ["n0", 0]
    left = read_settings(json.dumps(data).encode(), "x").left
    assert any("what it does to the text isn't known" in line.en for line in left)


def test_a_text_of_many_parts_is_joined_as_far_as_it_is_read() -> None:
    parts = {f"string_{number}": "a" for number in range(1000)}
    data = json.dumps(nodes_of("JoinStringMulti", 1, delimiter="b" * MAX_TEXT, **parts)).encode()
    assert survives(data)
    tracemalloc.start()
    try:
        survives(data)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("kind", "given"), [("StringConcatenate", "x" * MAX_TEXT), ("Any Switch (rgthree)", ["x" * MAX_TEXT])]
)
def test_data_that_thousands_of_nodes_share_is_counted_for_each(kind: str, given: Any) -> None:
    data = nodes_of(kind, 1000, string_a=["all", 0])
    data["all"] = {"class_type": "Any Switch (rgthree)", "inputs": {"any_01": given}}
    with pytest.raises(ImportedFileError, match="handle more than 50000000 characters"):
        read_settings(json.dumps(data).encode(), "x")


def test_pipes_that_grow_from_node_to_node_are_counted() -> None:
    data = nodes_of("Context Big (rgthree)", 2000)
    for number in range(1, 2000):
        data[f"n{number}"]["inputs"] = {"base_ctx": [f"n{number - 1}", 0], f"own{number}": 1}
    with pytest.raises(ImportedFileError, match="handle more than 50000000 characters"):
        read_settings(json.dumps(data).encode(), "x")


def test_a_file_that_takes_too_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(imports_read, "_imported", too_much)
    with pytest.raises(ImportedFileError, match="takes too much memory"):
        read_settings(b"x", "a.txt")


@pytest.mark.timeout(60)
def test_file_names_full_of_blanks() -> None:
    assert survives(json.dumps(nodes_of("LoadImage", 70, image="a" + " " * 99_000 + "b")).encode())


@pytest.mark.timeout(60)
def test_a_node_of_thousands_of_loras() -> None:
    names: dict[str, Any] = {f"lora_name_{'0' * zeros}{number}": {} for number in range(1000) for zeros in range(20)}
    assert survives(json.dumps(nodes_of("CR LoRA Stack", 1, **names)).encode())


def stored(pairs: int, others: int, links: int) -> dict[str, Any]:
    """A sheet whose Get and Set nodes lead to each other, among other Set nodes, and many links to the first."""
    nodes: list[Any] = [{"id": 10**6 + n, "type": "SetNode", "widgets_values": [f"other {n}"]} for n in range(others)]
    for n in range(pairs):
        nodes.append({"id": 2 * n, "type": "SetNode", "widgets_values": [f"{n}"], "inputs": [{"link": n}]})
        nodes.append({"id": 2 * n + 1, "type": "GetNode", "widgets_values": [f"{n + 1}"]})
    nodes.append({"id": "first", "type": "GetNode", "widgets_values": ["0"]})
    nodes.append({"id": "end", "type": "X", "inputs": [{"name": "a", "link": pairs}] * links})
    chain = [[n, 2 * n + 1, 0, 2 * n, 0, "*"] for n in range(pairs)]
    return {"nodes": nodes, "links": [*chain, [pairs, "first", 0, "end", 0, "*"]]}


def bypassed(count: int, width: int, links: int) -> dict[str, Any]:
    """A sheet of bypassed nodes in a row, with many inputs each, and many links to the first."""
    nodes: list[Any] = [
        {"id": n, "type": "X", "mode": 4, "inputs": [{"type": "M", "link": n + 1}, *[{}] * width]} for n in range(count)
    ]
    nodes.append({"id": "end", "type": "X", "inputs": [{"name": "a", "link": 0}] * links})
    return {"nodes": nodes, "links": [[n, n, width + 9, n, 0, "M"] for n in range(count)]}


def broadcast(count: int) -> dict[str, Any]:
    """A sheet whose nodes are fed by name, without links."""
    fed = {"downstream": 0, "downstream_slot": 0, "upstream": 4999, "upstream_slot": 0}
    nodes = [{"id": n, "type": "X", "inputs": [{"name": "a"}]} for n in range(5000)]
    return {"nodes": nodes, "links": [], "extra": {"ue_links": [fed] * count}}


@pytest.mark.parametrize("data", [stored(140, 4000, 20_000), bypassed(140, 300, 20_000), broadcast(34_000)])
@pytest.mark.timeout(60)
def test_sheets_whose_links_lead_far(data: dict[str, Any]) -> None:
    assert not survives(json.dumps(data).encode())


def test_links_through_many_nodes_still_arrive() -> None:
    data = stored(60, 10, 2)
    data["links"].append([60 + 1, "begin", 0, 118, 0, "*"])
    data["nodes"] += [
        {"id": "begin", "type": "X"},
        {"id": "last", "type": "SetNode", "widgets_values": ["60"], "inputs": [{"link": 61}]},
    ]
    assert editor_graph(data)["end"].links == {"a": ("begin", 0)}
    data = bypassed(60, 3, 2)
    data["links"].append([60, "begin", 0, 59, 0, "M"])
    data["nodes"].append({"id": "begin", "type": "X"})
    assert editor_graph(data)["end"].links == {"a": ("begin", 0)}


@pytest.mark.timeout(60)
def test_a_large_subgraph_that_is_used_thousands_of_times_is_told_of() -> None:
    data: dict[str, Any] = {"nodes": [{"id": n, "type": "s"} for n in range(4000)], "links": []}
    data["definitions"] = {"subgraphs": [{"id": "s", "nodes": [], "links": [{"id": 1}] * 20_000}]}
    with pytest.raises(ImportedFileError, match="more than 8 million characters"):
        read_settings(json.dumps(data).encode(), "x")


def test_an_id_of_great_length_is_not_copied_into_each_node_of_a_subgraph() -> None:
    inner = {"id": "s", "nodes": [{"id": 1, "type": "X"}], "links": []}
    data: dict[str, Any] = {
        "nodes": [{"id": "x" * 9000, "type": "s"}],
        "links": [],
        "definitions": {"subgraphs": [inner]},
    }
    assert editor_graph(data) == {}
