"""Roles of nodes that process texts. An unknown part makes the result unknown, except in joins, which leave it out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from zimage_app.domain.text import Text
from zimage_app.domain.wildcards import escaped
from zimage_app.service.imports.comfy.node_call import MAX_TEXT, NodeCall
from zimage_app.service.imports.comfy.roles.switches import truth
from zimage_app.service.imports.comfy.values import Missing, Note, Plain, Value, merged

_NOT_WRITTEN = Text(
    "its text is made when the workflow runs and is not in the file", "它的文字在运行时才生成，文件里没有"
)
_REWRITES = Text(
    "a language model rewrites this text when the workflow runs; the text as it was typed is taken",
    "运行时会有语言模型改写这段文字；这里取用改写前的文字",
)
_STYLES = Text(
    "the words of its style are in its own files; the typed text is taken",
    "它的风格用词在它自己的文件里；这里只取用输入的文字",
)
_ESCAPES = {"\\n": "\n", "\\t": "\t"}
_UNTIDY = (("  ", " "), (" ,", ","), (",,", ","), (",,", ","))
_NO_PART = Text("a part of the text is not in the prompt", "有一部分文字没有带进提示词")


def text_of(call: NodeCall, *names: str) -> Plain | Missing | None:
    """Return the first existing one of the named inputs as text; numbers are converted."""
    value = next((found for name in names if (found := call.given(name)) is not None), None)
    return None if value is None else as_text(call, value)


def as_text(call: NodeCall, given: Value) -> Plain | Missing | None:
    """Return a value as text; None if it has no text form."""
    value = call.as_plain(given)
    if isinstance(value, Plain) and not isinstance(value.data, str):
        scalar = isinstance(value.data, int | float)
        return replace(value, data=_number(value.data)) if scalar else None
    return value


def join(call: NodeCall) -> Mapping[str, Value]:
    """Join the texts of the option ``parts`` (names or patterns of names) with the node's delimiter."""
    return {call.kind.gives[0]: joined(call, call.option("parts"), _delimiter(call))}


def joined(call: NodeCall, patterns: str, between: str) -> Plain | Missing:
    """Join the texts of the inputs that fit ``patterns``; unknown parts are left out, with a note."""
    parts: list[Plain] = []
    lost: list[Missing] = []
    for name in _names(call, patterns):
        part = as_text(call, call.inputs[name])
        if isinstance(part, Missing):
            lost.append(part)
        elif part is not None and (part.data.strip() or not call.option("skips_empty")):
            parts.append(replace(part, data=part.data.strip()) if truth(call.known("clean_whitespace", "no")) else part)
    if not any(part.data for part in parts) and lost:
        return lost[0]
    notes = merged(*(part.notes for part in parts))
    notes = merged(notes, (_without(call, part) for part in lost), _join_notes(call, parts))
    return Plain(_run_together(_as_drawn(parts), between), notes=notes, choices=any(part.choices for part in parts))


def _names(call: NodeCall, patterns: str) -> list[str]:
    found = [call.matching(call.kind.takes.get(pattern, pattern)) for pattern in patterns.split()]
    return [name for several in found for _, name in several]


def _as_drawn(parts: list[Plain]) -> Iterator[str]:
    """Yield the parts' texts; if any part has choices, braces in the others are escaped."""
    drawn = any(part.choices for part in parts)
    return (part.data if part.choices or not drawn else escaped(part.data) for part in parts)


def _run_together(texts: Iterable[str], between: str) -> str:
    """Join texts, up to the length that is read: one text may be linked to thousands of inputs."""
    whole, length = [], 0
    for text in texts:
        whole.append(text)
        length += len(text) + len(between)
        if length >= MAX_TEXT + len(between):
            break
    return between.join(whole)[:MAX_TEXT]


def _join_notes(call: NodeCall, parts: list[Plain]) -> list[Note]:
    if sum(bool(part.data.strip()) for part in parts) < 2:
        return []
    return [call.note(Text("it joins several texts into one", "它把几段文字拼成了一段"), translated=True)]


def _without(call: NodeCall, part: Missing) -> Note:
    return call.note(Text(f"{_NO_PART.en}, {part.reason.en}", f"{_NO_PART.zh}，{part.reason.zh}"))


def _delimiter(call: NodeCall) -> str:
    given = call.known("delimiter", call.option("between", ""))
    given = given if isinstance(given, str) else ""
    if call.option("named") and given in call.option("named"):
        return str(call.option("named")[given])
    for written, meant in _ESCAPES.items():
        given = given.replace(written, meant)
    return given


def function(call: NodeCall) -> Mapping[str, Value]:
    """Apply one of ``_FUNCTIONS`` to a text."""
    value = text_of(call, "text")
    if not isinstance(value, Plain):
        return {} if value is None else {call.kind.gives[0]: value}
    needs = [call.plain(name) for name in call.inputs]
    unknown = next((need for need in needs if isinstance(need, Missing) and not need.nothing), None)
    if unknown is not None:
        return {call.kind.gives[0]: unknown}
    changed = _FUNCTIONS[call.option("function")](call, value.data)
    if changed is None:
        return {
            call.kind.gives[0]: call.missing(Text("what it does to the text isn't known", "无法得知它如何处理文字"))
        }
    return {call.kind.gives[0]: replace(value, data=changed[:MAX_TEXT])}


def _replaced(call: NodeCall, text: str) -> str | None:
    return _with(text, *(str(call.known(name, "")) for name in ("find", "replace")))


def _with(text: str, find: str, new: str) -> str | None:
    """Replace ``find`` in a text; None if the result would be far longer than what is read."""
    if not find:
        return text
    return text.replace(find, new) if text.count(find) * len(new) <= 10 * MAX_TEXT else None


def _cased(call: NodeCall, text: str) -> str | None:
    ways: dict[str, Callable[[str], str]] = {
        "upper": str.upper, "lower": str.lower, "capit": str.capitalize, "title": str.title
    }  # fmt: skip
    mode = str(call.known("mode", "")).lower()
    return next((way(text) for word, way in ways.items() if word in mode), None)


def _trimmed(call: NodeCall, text: str) -> str:
    mode = str(call.known("mode", "both")).lower()
    if "left" in mode or "start" in mode:
        return text.lstrip()
    return text.rstrip() if "right" in mode or "end" in mode else text.strip()


def _cut(call: NodeCall, text: str) -> str:
    start, end = call.known("start", 0), call.known("end", len(text))
    bounds = [each if isinstance(each, int) else None for each in (start, end)]
    return text[bounds[0] : bounds[1]]


def _function_of_name(call: NodeCall, text: str) -> str | None:
    """Apply pysssss's node, which appends or replaces by its ``action``; None for a regular expression."""
    second, third = (str(call.known(name, "") or "") for name in ("text_b", "text_c"))
    tags = truth(call.known("tidy_tags", "no"))
    if call.known("action") == "append":
        out: str | None = (", " if tags else "").join(part for part in (text, second, third) if part.strip())
    elif call.known("action") == "replace" and not second.startswith("/"):
        out = _with(text, second, third)
    else:
        return None
    for untidy, tidy in _UNTIDY if tags else ():
        out = out and out.replace(untidy, tidy)
    return out


def _line(call: NodeCall, text: str) -> str | None:
    lines, number = text.split("\n"), call.known("select", 0)
    return lines[number % len(lines)] if isinstance(number, int) and not call.known("multiline") else None


def _all_replaced(call: NodeCall, text: str) -> str | None:
    changed: str | None = text
    for number in (1, 2, 3):
        find, new = (str(call.known(f"{name}{number}") or "") for name in ("find", "replace"))
        changed = None if changed is None else _with(changed[:MAX_TEXT], find, new)
    return changed


def _uncommented(_at: NodeCall, text: str) -> str:
    """Drop the lines that begin with a number sign."""
    return "\n".join(line for line in text.split("\n") if not line.strip().startswith("#"))


_FUNCTIONS: dict[str, Callable[[NodeCall, str], str | None]] = {
    "replace": _replaced,
    "case": _cased,
    "trim": _trimmed,
    "cut": _cut,
    "action": _function_of_name,
    "line": _line,
    "replace all": _all_replaced,
    "drop comments": _uncommented,
    "strip newlines": lambda call, text: text.replace("\n", "").strip() if call.known("strip_newlines", True) else text,
    "length": lambda _at, text: str(len(text)),
    "not known": lambda _at, _text: None,
}


def made_at_run(call: NodeCall) -> Mapping[str, Value]:
    """Return the typed input of nodes whose text is made at run time, such as by language models or from files."""
    typed = text_of(call, call.option("typed", ""))
    if isinstance(typed, Plain) and typed.data.strip():
        made: Value = typed.noted(call.note(_REWRITES))
    else:
        made = call.missing(_NOT_WRITTEN)
    return dict.fromkeys(call.kind.gives, made)


def drawn_text(call: NodeCall) -> Mapping[str, Value]:
    """Return a text with choices as drawn last, if the file has that, or else undrawn, with a note."""
    drawn, typed = text_of(call, "drawn"), text_of(call, "text")
    if isinstance(drawn, Plain) and drawn.data.strip():
        return dict.fromkeys(call.kind.gives, replace(drawn, choices=False))
    if not isinstance(typed, Plain):
        return {} if typed is None else dict.fromkeys(call.kind.gives, typed)
    note = call.note(
        Text(
            "its choices are drawn by this app, so they come out otherwise with the same seed",
            "其中的选项由本程序抽取，同一种子的结果会不同",
        ),
        translated=True,
    )
    has_choices = "{" in typed.data or "__" in typed.data
    return dict.fromkeys(call.kind.gives, replace(typed, choices=True).noted(note) if has_choices else typed)


def styled(call: NodeCall) -> Mapping[str, Value]:
    """Return the typed text of the same name for each output; a style's words aren't in the file."""
    made: dict[str, Value] = {}
    for name in call.kind.gives:
        value = text_of(call, name)
        if value is not None:
            made[name] = value.noted(call.note(_STYLES)) if _has_style(call) else value
    return made


def _has_style(call: NodeCall) -> bool:
    return str(call.known("style", "none")).strip().lower() not in ("", "none", "base", "no style", "-", "[]")


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) and value.is_integer() else str(value)


ROLES = {
    "join": join,
    "text function": function,
    "text made at run": made_at_run,
    "drawn text": drawn_text,
    "styled texts": styled,
}
