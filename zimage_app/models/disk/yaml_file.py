"""Strict reader for hand-written YAML files, independent of what the keys mean.

Aliases, duplicate keys, unknown keys and anything but plain data are errors that name line and column. Limits on size
and nesting keep the time and memory for any file small.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import yaml

from zimage_app.domain.errors import ModelError, system_reason
from zimage_app.domain.text import Text, shortened
from zimage_app.models.disk.folders import shown
from zimage_app.models.disk.regular_file import open_regular

_PLAIN_MAPPING = "tag:yaml.org,2002:map"
_PLAIN_LIST = "tag:yaml.org,2002:seq"
_DATE = "tag:yaml.org,2002:timestamp"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_MAX_DEPTH = 50
"""Maximum nesting. PyYAML would take a minute to reject thousands of levels."""
_MAX_BYTES = 64 * 2**10
"""Maximum size of a file in bytes; PyYAML parses about 200,000 bytes per second of dense YAML."""
_MAX_REMEMBERED = 16 * 2**10
"""Maximum length of a text whose nodes are remembered; they take about twenty times as much memory."""
_MAX_TEXT = 1000
"""Maximum length of a title or a description in characters."""
_MAX_SHOWN = 120
_MAX_REASON = 600
"""Maximum length of an error's text in characters; the list of allowed keys may be long."""
_MAX_BITS = 1024
"""Maximum size of an integer. Python refuses to convert integers of several thousand digits to text."""


class _InvalidYaml(Exception):
    """The file holds something that isn't allowed; raised while it is parsed."""

    def __init__(self, mark: Any, text: Text) -> None:
        super().__init__(text.en)
        self.mark = mark
        self.text = text


class _Loader(yaml.SafeLoader):
    """Loader that rejects aliases, deep nesting and lone surrogates as soon as they are parsed."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Override of PyYAML's step from events to a node."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise _InvalidYaml(
                mark, Text("aliases are not allowed; write the value out", "不允许使用别名；请直接写出内容")
            )
        if self._depth >= _MAX_DEPTH:
            raise _InvalidYaml(None, _TOO_DEEP)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.ScalarNode) and any("\ud800" <= letter <= "\udfff" for letter in node.value):
            text = Text("contains an incomplete Unicode character; type it again", "含有残缺字符；请重新输入")
            raise _InvalidYaml(node.start_mark, text)
        return node


_TOO_DEEP = Text("nested too deeply", "嵌套过深")


def _parsed(text: str) -> yaml.Node | None:
    """Parse a file's text."""
    if _depth(text) > _MAX_DEPTH:
        raise _InvalidYaml(None, _TOO_DEEP)
    root: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    return root


_remembered = lru_cache(maxsize=128)(_parsed)
"""Short files are cached by content, because each page and picture looks up all models."""


@dataclass(frozen=True, slots=True)
class YamlReader:
    """Reads one file and makes errors that name line and column."""

    path: Path
    max_length: int = _MAX_BYTES
    """Maximum size of the file in bytes."""
    as_written: bool = False
    """Whether dates (``2026-01-31``) and numbers to the base 60 (``3:4``) are the texts that they look like; otherwise
    a date is refused, and ``3:4`` is 184."""
    whole_path: bool = False
    """Whether errors name the file by its whole path, for files whose errors only the owner's terminal shows."""

    def wrong(self, node: yaml.Node, en: str, zh: str) -> ModelError:
        """Make an error at the position of ``node``."""
        return self.wrong_at(node.start_mark, en, zh)

    def wrong_at(self, mark: Any, en: str, zh: str) -> ModelError:
        """Make an error at a YAML mark; without a mark, at the file's first line."""
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        en, zh = _short(en, _MAX_REASON), _short(zh, _MAX_REASON)
        place = f"{self._name}, line {line}, column {column}"
        return ModelError(Text(f"{place}: {en}.", f"{self._name} 第 {line} 行第 {column} 个字符：{zh}。"))

    @property
    def _name(self) -> str:
        return str(self.path) if self.whole_path else shown(self.path)

    def tree(self) -> yaml.Node:
        """Parse the file and return its root node, which must not be changed; raises ModelError if it isn't valid."""
        try:
            with open_regular(self.path) as file:
                data = file.read(self.max_length + 1)
            if len(data) > self.max_length:
                raise self.wrong_at(None, "the file is too long", "文件太长")
            text = data.decode("utf-8")
        except OSError as error:
            reason = system_reason(error)
            name = self._name
            raise ModelError(Text(f"{name} can't be read ({reason}).", f"{name} 无法读取（{reason}）。")) from error
        except ValueError as error:  # not UTF-8
            raise self._unreadable(error) from error
        return self._root(text, _remembered if len(text) <= _MAX_REMEMBERED else _parsed)

    def tree_of(self, text: str) -> yaml.Node:
        """Parse a text that was read from the file, of any length; otherwise as ``tree``."""
        return self._root(text, _parsed)

    def _root(self, text: str, parse: Callable[[str], yaml.Node | None]) -> yaml.Node:
        try:
            root = parse(text)
        except _InvalidYaml as error:
            raise self.wrong_at(error.mark, error.text.en, error.text.zh) from error
        except yaml.MarkedYAMLError as error:
            problem = _short(str(error.problem))
            raise self.wrong_at(
                error.problem_mark, f"not valid YAML ({problem})", f"不是有效的 YAML（{problem}）"
            ) from error
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a bad number in a directive
            raise self._unreadable(error) from error
        if root is None:
            raise self.wrong_at(None, "the file is empty; delete it or fill it in", "文件为空；请删除或填写")
        return root

    def _unreadable(self, error: Exception) -> ModelError:
        problem = _short(str(error))
        return self.wrong_at(None, f"not readable as YAML ({problem})", f"无法作为 YAML 读取（{problem}）")

    def fields(self, node: yaml.Node, allowed: tuple[str, ...]) -> dict[str, yaml.Node]:
        """Return a mapping's nodes by key; raises ModelError for duplicate keys and keys not in ``allowed``."""
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
                quoted = _short(repr(name))
                raise self.wrong(key, f"key {quoted} appears twice; keep one", f"键 {quoted} 重复；请只保留一个")
            fields[name] = value
        return fields

    def _unknown(self, key: yaml.Node, name: str, allowed: tuple[str, ...]) -> NoReturn:
        quoted, known = _short(repr(name)), ", ".join(allowed)
        raise self.wrong(key, f"unknown key {quoted}; allowed are {known}", f"未知的键 {quoted}；可用：{known}")

    def items(self, node: yaml.Node) -> list[yaml.Node]:
        """Return a list's nodes; raises ModelError if the node isn't a list."""
        if not isinstance(node, yaml.SequenceNode) or node.tag != _PLAIN_LIST:
            raise self.wrong(node, "expected a list", "此处应为列表")
        return list(node.value)

    def string(self, node: yaml.Node) -> str:
        """Return a non-empty string; raises ModelError for anything else."""
        value = self.plain(node)
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(node, "expected a text", "此处应为文字")
        return value

    def text(self, node: yaml.Node) -> Text:
        """Return a text in both languages, from a mapping with ``en`` and ``zh``."""
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
        """Return plain data: strings, numbers, true, false, null, and lists and mappings of these."""
        if isinstance(node, yaml.MappingNode):
            names = tuple(dict.fromkeys(str(key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)))
            return {name: self.plain(value) for name, value in self.fields(node, names).items()}
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item) for item in self.items(node)]
        if self.as_written and _looks_like_text(node):
            return node.value
        try:
            value = yaml.constructor.SafeConstructor().construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError, LookupError, ArithmeticError, AttributeError):  # from PyYAML's constructors
            value = _NO_VALUE
        if isinstance(value, int) and value.bit_length() > _MAX_BITS:
            value = _NO_VALUE
        if value is not None and not isinstance(value, str | int | float):
            quoted = _short(repr(node.value))
            raise self.wrong(
                node,
                f"{quoted} is no number and no plain text; put texts in quotes",
                f"{quoted} 既不是数字也不是普通文字；文字请加引号",
            )
        return value


_NO_VALUE = object()


def _looks_like_text(node: yaml.Node) -> bool:
    """Whether a scalar is a date, or a number to the base 60: YAML 1.1 takes ``3:4`` for 3 * 60 + 4."""
    return node.tag == _DATE or (node.tag in _NUMBERS and ":" in node.value)


def _short(text: str, max_length: int = _MAX_SHOWN) -> str:
    return shortened(text.encode(errors="replace").decode(), max_length)


def _depth(text: str) -> int:
    """Return the maximum number of brackets that are open at once."""
    opened = itertools.accumulate((letter in "[{") - (letter in "]}") for letter in text if letter in "[]{}")
    return max(opened, default=0)
