"""Generates the pages of docs/ that come from the app's own tables: settings, and ComfyUI's nodes.

python tools/docs_pages.py          lists the pages that are out of date
python tools/docs_pages.py --write  writes them
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.knob import Knob
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import STAGE_GROUPS, Stage
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.service.imports.comfy import catalogue
from zimage_app.service.imports.comfy.catalogue import NodeKind

DOCS = Path(__file__).resolve().parents[1] / "docs"

_SETTINGS = """# Every setting / 全部参数

Made by `python tools/docs_pages.py --write` from the declarations in `zimage_app/domain/settings/` and `request.py`.
The names are those of REST bodies, presets, `--set NAME=VALUE` on the command line and the axes of grids:
`stages.2.denoise` is the denoise of stage 3, since places in a list are counted from 0 there; the page counts from 1.

由 `python tools/docs_pages.py --write` 根据 `zimage_app/domain/settings/` 和 `request.py` 中的声明生成。
表中的名称用于 REST 请求、预设、命令行的 `--set 名称=值` 和网格的轴：列表从 0 数起，`stages.2.denoise`
即第 3 阶段的重绘幅度；页面上从 1 数起。
"""
_NODES = """# ComfyUI, node by node / ComfyUI 节点对照

What becomes of each node when a workflow or a ComfyUI picture is dropped on the page. Made by
`python tools/docs_pages.py --write` from the tables in `zimage_app/service/imports/comfy/nodes/`. A node that is not
listed here is named when it is met, with the settings that hang on it; nothing is guessed. How to import:
[IMPORTING.md](IMPORTING.md).

把工作流或 ComfyUI 图片拖到页面上时，各节点会变成什么。由 `python tools/docs_pages.py --write` 根据
`zimage_app/service/imports/comfy/nodes/` 中的表生成。
未列出的节点会在导入时点名，并说明受影响的参数，绝不猜测。导入方法见 [IMPORTING.md](IMPORTING.md)。
"""

_MEANINGS: dict[tuple[str, ...], tuple[str, str]] = {
    ("sampler", "text sampler"): (
        "A stage: steps, CFG, sampler, scheduler, denoise and seed.",
        "一个阶段：步数、CFG、采样器、调度器、重绘幅度与种子。",
    ),
    ("wrapped sampler",): (
        "The sampler inside it; what the wrapper adds is told as not carried over.",
        "取其中的采样器；外层附加的效果会说明未带入。",
    ),
    ("sampler object", "flow match", "sigmas"): ("The stage's sampler or scheduler.", "该阶段的采样器或调度器。"),
    ("split sigmas", "changed sigmas", "own sigmas"): (
        "Steps and denoise where they can be told; a list that no scheduler of ours makes is named.",
        "能换算时取步数与重绘幅度；没有对应调度器的序列会点名。",
    ),
    ("noise", "seed"): ("The seed.", "种子。"),
    ("guider",): ("CFG, prompt and negative prompt.", "CFG、提示词与反向提示词。"),
    ("guide",): ("The guidance of the same kind: CFG limits, seed variance.", "对应的引导参数：CFG 限幅、种子差异。"),
    ("no effect", "guidance"): (
        "Told: on Z-Image this node changes nothing in ComfyUI either.",
        "会说明：该节点在 ComfyUI 中对 Z-Image 也不起作用。",
    ),
    ("shift",): ("Shift.", "Shift。"),
    ("easycache",): ("EasyCache: threshold, start and end.", "EasyCache：阈值、起点与终点。"),
    ("other cache", "speed"): (
        "Passed through: it changes the speed; what differs in the picture is told.",
        "直接跳过：只影响速度；对画面的差别会说明。",
    ),
    ("feature", "change model"): ("Named as not carried over.", "点名说明未带入。"),
    ("empty latent", "size"): ("The first stage's width and height.", "第一阶段的宽和高。"),
    ("resize", "scale", "resize by kind", "scale to area", "scale to side", "size of picture"): (
        "The next stage's size, and the method that latents are resized by.",
        "下一阶段的尺寸，以及潜空间缩放方法。",
    ),
    ("encode", "encode drawn", "styled encode", "zero"): ("The prompt or the negative prompt.", "提示词或反向提示词。"),
    ("subtracting encode",): (
        "A negative prompt that acts at CFG 1 (NegPiP).",
        "CFG 为 1 时起作用的反向提示词（NegPiP）。",
    ),
    ("combine", "change prompt"): (
        "The text where one text remains; else named.",
        "能合成一段文字时取该文字，否则点名。",
    ),
    ("drawn text", "join", "text function", "styled texts", "shown text"): (
        "A part of the prompt, worked out as ComfyUI does.",
        "提示词的一部分，按 ComfyUI 的规则算出。",
    ),
    ("text made at run",): (
        "Named: the text exists only while that workflow runs.",
        "点名：文字只在运行工作流时产生。",
    ),
    ("lora", "apply loras", "listed loras", "numbered loras", "written loras", "lora texts"): (
        "LoRAs with their strengths, in order, in the stages that they act in.",
        "LoRA 及强度、顺序与所作用的阶段。",
    ),
    ("load model", "load part", "whole loader"): ("The model, by its files.", "按文件识别模型。"),
    ("load upscaler",): (
        "The factor that its file's name tells; stages are resized as latents here.",
        "取文件名中的放大倍数；本程序在潜空间缩放。",
    ),
    ("load picture", "picture as mask", "change mask", "pad", "mask latent", "differential"): (
        "The start picture, the mask of what is redrawn, how far the canvas is extended.",
        "起始图片、局部重绘的蒙版、扩图的范围。",
    ),
    ("pass picture", "decode"): ("Passed through.", "直接跳过。"),
    ("change picture", "remake picture", "add noise"): (
        "Named: the picture is changed in a way that has no setting here.",
        "点名：此处没有对应参数。",
    ),
    ("bundle", "merged bundle"): ("What the bundle holds.", "取其中打包的各项。"),
    ("reroute", "same"): ("What comes in.", "取其输入。"),
    ("either", "first of", "fork", "numbered"): ("The branch that is switched on.", "取被选中的分支。"),
    ("arithmetic", "compare", "convert"): ("Its result.", "取其计算结果。"),
    ("nothing",): ("Nothing that the picture depends on.", "与成片无关。"),
}
"""Roles of ``imports/comfy/roles`` -> description of what they import, in English and Chinese."""


def settings_page() -> str:
    """Return the page of all settings."""
    parts = [_SETTINGS, _section("A picture / 一张图片", "", GenerationRequest)]
    parts.append(_section("A stage / 阶段", "stages.N.", Stage))
    for name, group in STAGE_GROUPS.items():
        title = _knob(Stage.model_fields[name]).title
        parts.append(_section(f"{title.en} / {title.zh}", f"stages.N.{name}.", group))
    parts.append(_section("A LoRA / LoRA", "loras.N.", LoraUse))
    parts.append(_section("Start picture / 起始图片", "start.", StartPicture))
    return "\n".join(parts)


def _section(title: str, prefix: str, model: type[BaseModel]) -> str:
    schemas = model.model_json_schema()["properties"]
    fields = {name: field for name, field in model.model_fields.items() if _has_knob(field)}
    rows = "\n".join(_row(prefix + name, field, schemas[name]) for name, field in fields.items())
    head = "| name | | what it does | 作用 | allowed 取值 | default 默认 |\n|---|---|---|---|---|---|"
    return f"## {title}\n\n{head}\n{rows}\n"


def _row(name: str, field: FieldInfo, schema: Mapping[str, Any]) -> str:
    knob = _knob(field)
    title = knob.title.en if knob.title.en == knob.title.zh else f"{knob.title.en} / {knob.title.zh}"
    cells = (f"`{name}`", title, knob.help.en, knob.help.zh, _allowed(schema), _default(field))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _has_knob(field: FieldInfo) -> bool:
    return any(isinstance(each, Knob) for each in field.metadata)


def _knob(field: FieldInfo) -> Knob:
    return next(each for each in field.metadata if isinstance(each, Knob))


def _allowed(schema: Mapping[str, Any]) -> str:
    choices = [part for part in (_kind(each) for each in schema.get("anyOf", [schema])) if part]
    return "; ".join(dict.fromkeys(choices))


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    bounds = [_bound(schema, *each) for each in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"))]
    if "multipleOf" in schema:
        bounds.append(f"× {schema['multipleOf']}")
    if "maxLength" in schema:
        bounds.append(f"≤ {schema['maxLength']} letters 字")
    if "maxItems" in schema:
        bounds.append(f"≤ {schema['maxItems']} entries 项")
    return " ".join((_TYPES.get(schema.get("type", ""), ""), *(each for each in bounds if each))).strip()


_TYPES = {"boolean": "`true`, `false`", "null": "`null` off 关闭"}


def _bound(schema: Mapping[str, Any], key: str, sign: str) -> str:
    return f"{sign} {schema[key]}" if key in schema else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "–"
    default = field.get_default(call_default_factory=False)
    if default is None or default == () or default == "":
        return ""
    return f"`{json.dumps(default) if not isinstance(default, str) else default}`"


def nodes_page() -> str:
    """Return the page of ComfyUI's nodes."""
    return "\n".join((_NODES, *_node_sections()))


def _node_sections() -> Iterator[str]:
    packs = _packs()
    kinds = list(catalogue.catalogue().values())
    for roles, (english, chinese) in _MEANINGS.items():
        nodes = [kind for kind in kinds if kind.does in roles]
        yield f"## {english.rstrip('.')} / {chinese.rstrip('。')}\n"
        for pack, names in _by_pack(nodes, packs).items():
            yield f"- {pack}: {', '.join(f'`{name}`' for name in names)}"
        yield ""


def _by_pack(kinds: Sequence[NodeKind], packs: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind in kinds:
        found.setdefault(packs[kind.name], []).append(kind.name)
    return found


def _packs() -> dict[str, str]:
    """Return node class -> title of its table, which is the table's first comment."""
    packs: dict[str, str] = {}
    for path in sorted((Path(catalogue.__file__).parent / "nodes").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        title = text.partition("\n")[0].removeprefix("#").strip().rstrip(".")
        packs |= dict.fromkeys(yaml.safe_load(text), title)
    return packs


def described_roles() -> frozenset[str]:
    """Return the roles that the page of nodes describes."""
    return frozenset(role for roles in _MEANINGS for role in roles)


PAGES = {"SETTINGS.md": settings_page, "NODES.md": nodes_page}


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or list those that are out of date; return the exit status."""
    old = [name for name, page in PAGES.items() if not _is_todays(name, page())]
    if "--write" in arguments:
        for name in old:
            (DOCS / name).write_text(PAGES[name](), encoding="utf-8")
        return 0
    for name in old:
        sys.stderr.write(f"docs/{name} is not today's: python tools/docs_pages.py --write\n")
    return 1 if old else 0


def _is_todays(name: str, page: str) -> bool:
    path = DOCS / name
    return path.is_file() and path.read_text(encoding="utf-8") == page


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
