"""YAML files that people write by hand, read strictly: no aliases, no key twice, none unknown; errors name the line.

Knows nothing of what the keys mean.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from zimage_app.domain.errors import ModelError
from zimage_app.domain.text import Text
from zimage_app.models.folders import shown

_PLAIN_MAPPING = "tag:yaml.org,2002:map"
_DEEPEST = 50
"""Of brackets in brackets. PyYAML takes a minute to complain of thousands."""


@dataclass(frozen=True, slots=True)
class YamlReader:
    """Reads one file, and says where something is wrong in it."""

    path: Path
    columns: bool = False
    """Whether errors name the column too."""

    def wrong(self, node: yaml.Node, en: str, zh: str) -> ModelError:
        """An error at the line of ``node``."""
        return self.wrong_at(node.start_mark, en, zh)

    def wrong_at(self, mark: Any, en: str, zh: str) -> ModelError:
        """An error at a YAML mark; at the file's first line where there is none."""
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        column_en, column_zh = (f", column {column}", f"第 {column} 列") if self.columns else ("", "")
        place = f"{shown(self.path)}, line {line}{column_en}"
        return ModelError(Text(f"{place}: {en}.", f"{shown(self.path)} 第 {line} 行{column_zh}：{zh}。"))

    def tree(self) -> yaml.Node:
        """The whole file as YAML nodes."""
        try:
            text = self.path.read_text(encoding="utf-8")
            if _depth(text) > _DEEPEST:
                raise self.wrong_at(None, "nested too deeply", "嵌套过深")
            for event in yaml.parse(text, Loader=yaml.SafeLoader):
                if isinstance(event, yaml.AliasEvent):
                    raise self.wrong_at(
                        event.start_mark,
                        "aliases are not allowed; write the value out",
                        "不允许使用别名；请直接写出内容",
                    )
            root: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            raise self.wrong_at(
                error.problem_mark, f"not valid YAML ({error.problem})", f"不是有效的 YAML（{error.problem}）"
            ) from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise self.wrong_at(None, f"cannot be read ({reason})", f"无法读取（{reason}）") from error
        except RecursionError as error:
            raise self.wrong_at(None, "nested too deeply", "嵌套过深") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = str(error).splitlines()[0]
            raise self.wrong_at(None, f"not readable as YAML ({reason})", f"无法作为 YAML 读取（{reason}）") from error
        if root is None:
            raise self.wrong_at(None, "the file is empty; delete it or fill it in", "文件为空；请删除或填写")
        return root

    def fields(self, node: yaml.Node, allowed: tuple[str, ...]) -> dict[str, yaml.Node]:
        """A mapping's nodes by key; every key once, and one of ``allowed``."""
        if not isinstance(node, yaml.MappingNode) or node.tag != _PLAIN_MAPPING:
            raise self.wrong(node, f"expected keys ({', '.join(allowed)})", f"此处应为键值（{', '.join(allowed)}）")
        fields: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = str(key.value)
            if name not in allowed:
                known = ", ".join(allowed)
                raise self.wrong(key, f"unknown key {name!r}; allowed are {known}", f"未知的键 {name!r}；可用：{known}")
            if name in fields:
                raise self.wrong(key, f"key {name!r} stands here twice; keep one", f"键 {name!r} 重复；请只保留一个")
            fields[name] = value
        return fields

    def items(self, node: yaml.Node) -> list[yaml.Node]:
        """A list's nodes."""
        if not isinstance(node, yaml.SequenceNode):
            raise self.wrong(node, "expected a list", "此处应为列表")
        return list(node.value)

    def string(self, node: yaml.Node) -> str:
        """A text that is not empty."""
        value = self.plain(node)
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(node, "expected a text", "此处应为文字")
        return value

    def text(self, node: yaml.Node) -> Text:
        """A text in both languages."""
        fields = self.fields(node, ("en", "zh"))
        for language in ("en", "zh"):
            if language not in fields:
                raise self.wrong(
                    node, f"{language!r} is missing; give en and zh", f"缺少 {language!r}；请同时给出 en 和 zh"
                )
        return Text(self.string(fields["en"]), self.string(fields["zh"]))

    def plain(self, node: yaml.Node) -> Any:
        """A scalar's value, or a mapping of scalars."""
        if isinstance(node, yaml.MappingNode):
            names = tuple(dict.fromkeys(str(key.value) for key, _ in node.value))
            return {name: self.plain(value) for name, value in self.fields(node, names).items()}
        try:
            return yaml.constructor.SafeConstructor().construct_object(node, deep=True)
        except yaml.YAMLError as error:
            reason = str(getattr(error, "problem", error)).splitlines()[0]
            raise self.wrong(node, reason, reason) from error


def _depth(text: str) -> int:
    """How many brackets are open at once, at most."""
    opened = itertools.accumulate((letter in "[{") - (letter in "]}") for letter in text if letter in "[]{}")
    return max(opened, default=0)
