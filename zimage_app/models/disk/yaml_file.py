"""YAML files that people write by hand, read strictly.

No aliases, no key twice, none unknown, nothing but plain data; errors name line and column. Whatever is in a file,
reading it takes a moment and little memory.

Knows nothing of what the keys mean.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from zimage_app.domain.errors import ModelError, system_reason
from zimage_app.domain.text import Text, shortened
from zimage_app.models.disk.folders import shown
from zimage_app.models.disk.regular_file import open_regular

_PLAIN_MAPPING = "tag:yaml.org,2002:map"
_PLAIN_LIST = "tag:yaml.org,2002:seq"
_DEEPEST = 50
"""Of brackets in brackets. PyYAML takes a minute to complain of thousands."""
_LONGEST = 64 * 2**10
"""Bytes, of which PyYAML reads about 200,000 in a second where each is of meaning."""
_MAX_TEXT = 1000
"""Letters of a title or a description."""
_MAX_SHOWN = 120
_MAX_REASON = 600
"""Letters; what is allowed may be a long list."""
_MAX_BITS = 1024
"""Of a whole number. Python itself refuses to write down one of some thousand digits."""


class _Refused(Exception):
    """What a file may not hold, met while it is read."""

    def __init__(self, mark: Any, text: Text) -> None:
        super().__init__(text.en)
        self.mark = mark
        self.text = text


class _Loader(yaml.SafeLoader):
    """Refuses what the files here never hold, as soon as it is met."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """PyYAML's own step from events to a node."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise _Refused(mark, Text("aliases are not allowed; write the value out", "不允许使用别名；请直接写出内容"))
        if self._depth >= _DEEPEST:
            raise _Refused(None, _TOO_DEEP)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.ScalarNode) and any("\ud800" <= letter <= "\udfff" for letter in node.value):
            text = Text("holds half a character; type it again", "含有残缺字符；请重新输入")
            raise _Refused(node.start_mark, text)
        return node


_TOO_DEEP = Text("nested too deeply", "嵌套过深")


@dataclass(frozen=True, slots=True)
class YamlReader:
    """Reads one file, and says where something is wrong in it."""

    path: Path
    longest: int = _LONGEST
    """Bytes."""

    def wrong(self, node: yaml.Node, en: str, zh: str) -> ModelError:
        """An error at the line of ``node``."""
        return self.wrong_at(node.start_mark, en, zh)

    def wrong_at(self, mark: Any, en: str, zh: str) -> ModelError:
        """An error at a YAML mark; at the file's first line where there is none."""
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        en, zh = _short(en, _MAX_REASON), _short(zh, _MAX_REASON)
        place = f"{shown(self.path)}, line {line}, column {column}"
        return ModelError(Text(f"{place}: {en}.", f"{shown(self.path)} 第 {line} 行第 {column} 列：{zh}。"))

    def tree(self) -> yaml.Node:
        """The whole file as YAML nodes."""
        try:
            with open_regular(self.path) as file:
                data = file.read(self.longest + 1)
            if len(data) > self.longest:
                raise self.wrong_at(None, "the file is too long", "文件太长")
            text = data.decode("utf-8")
            if _depth(text) > _DEEPEST:
                raise _Refused(None, _TOO_DEEP)
            root: yaml.Node | None = yaml.compose(text, Loader=_Loader)
        except _Refused as error:
            raise self.wrong_at(error.mark, error.text.en, error.text.zh) from error
        except yaml.MarkedYAMLError as error:
            problem = _short(str(error.problem))
            raise self.wrong_at(
                error.problem_mark, f"not valid YAML ({problem})", f"不是有效的 YAML（{problem}）"
            ) from error
        except OSError as error:
            reason = system_reason(error)
            name = shown(self.path)
            raise ModelError(Text(f"{name} can't be read ({reason}).", f"{name} 无法读取（{reason}）。")) from error
        except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or numbers that are none in a directive
            problem = _short(str(error))
            raise self.wrong_at(
                None, f"not readable as YAML ({problem})", f"无法作为 YAML 读取（{problem}）"
            ) from error
        if root is None:
            raise self.wrong_at(None, "the file is empty; delete it or fill it in", "文件为空；请删除或填写")
        return root

    def fields(self, node: yaml.Node, allowed: tuple[str, ...]) -> dict[str, yaml.Node]:
        """A mapping's nodes by key; every key once, and one of ``allowed``."""
        if not isinstance(node, yaml.MappingNode) or node.tag != _PLAIN_MAPPING:
            raise self.wrong(node, f"expected keys ({', '.join(allowed)})", f"此处应为键值（{', '.join(allowed)}）")
        fields: dict[str, yaml.Node] = {}
        known = frozenset(allowed)
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.wrong(key, "a key must be a plain word", "键必须是普通文字")
            name = str(key.value)
            if name not in known:
                self._unknown(key, name, allowed)
            if name in fields:
                said = _short(repr(name))
                raise self.wrong(key, f"key {said} stands here twice; keep one", f"键 {said} 重复；请只保留一个")
            fields[name] = value
        return fields

    def _unknown(self, key: yaml.Node, name: str, allowed: tuple[str, ...]) -> NoReturn:
        said, known = _short(repr(name)), ", ".join(allowed)
        raise self.wrong(key, f"unknown key {said}; allowed are {known}", f"未知的键 {said}；可用：{known}")

    def items(self, node: yaml.Node) -> list[yaml.Node]:
        """A list's nodes."""
        if not isinstance(node, yaml.SequenceNode) or node.tag != _PLAIN_LIST:
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
        return Text(self._words(fields["en"]), self._words(fields["zh"]))

    def _words(self, node: yaml.Node) -> str:
        value = self.string(node)
        if len(value) > _MAX_TEXT:
            raise self.wrong(node, f"longer than {_MAX_TEXT} letters; shorten it", f"超过 {_MAX_TEXT} 字；请缩短")
        return value

    def plain(self, node: yaml.Node) -> Any:
        """Plain data: texts, numbers, true, false, nothing, and lists and mappings of these."""
        if isinstance(node, yaml.MappingNode):
            names = tuple(dict.fromkeys(str(key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)))
            return {name: self.plain(value) for name, value in self.fields(node, names).items()}
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item) for item in self.items(node)]
        try:
            value = yaml.constructor.SafeConstructor().construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError, LookupError, ArithmeticError, AttributeError):  # as its readers raise them
            value = _NO_VALUE
        if isinstance(value, int) and value.bit_length() > _MAX_BITS:
            value = _NO_VALUE
        if value is not None and not isinstance(value, str | int | float):
            said = _short(repr(node.value))
            raise self.wrong(
                node,
                f"{said} is no number and no plain text; put texts in quotes",
                f"{said} 既不是数字也不是普通文字；文字请加引号",
            )
        return value


_NO_VALUE = object()


def _short(text: str, longest: int = _MAX_SHOWN) -> str:
    return shortened(text.encode(errors="replace").decode(), longest)


def _depth(text: str) -> int:
    """How many brackets are open at once, at most."""
    opened = itertools.accumulate((letter in "[{") - (letter in "]}") for letter in text if letter in "[]{}")
    return max(opened, default=0)
