"""Choices and wildcards in a text: ``{a|b}``, ``{2::a|b}``, ``__name__``; drawn by the seed. No file access.

``{a|b}`` and the escapes ``\\{``, ``\\}``, ``\\|`` work as on ComfyUI's page, except that the seed decides. Weights
follow the Dynamic Prompts extension. ``\\__`` is two plain underscores. Full-width ｛｜｝ are accepted too.
Braces stay plain text without a ``|``, where they begin with a quoted key and a colon (JSON), and where they hold a
formula: a LaTeX command, or a relation such as ``>`` between spaces. ``__init__(`` stays, because it is code. In a text
without anything to draw, backslashes stay too.

A wildcard is replaced by one of its lines, which may contain choices and wildcards.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

from zimage_app.domain.errors import RequestError, wrong_field, wrong_part
from zimage_app.domain.seeded_random import Stream
from zimage_app.domain.text import Text, shortened

Lines = Callable[[str], Sequence[str]]
"""Returns the lines of a wildcard by its name; for an unknown name raises RequestError that lists the known ones."""

MAX_DEPTH = 16
"""Deepest nesting of choices in choices, and of wildcards in wildcards."""
_MAX_DRAWS = 1000
"""Draws per text: where lines refer to two wildcards each, the result would grow exponentially."""
_MAX_LENGTH = 100_000
"""Characters of a drawn text, before the request's own limit is checked; for the same reason."""
_SHOWN = 60

_REFERENCE = re.compile(
    r"""(?<!\.)(?<!def\ )(?<!==\ ["'])
        __([^\W_](?:(?:(?!__)[\w\-./\x20])*?[^\W_])??)__
        (?!\(|\ ?==)""",
    re.VERBOSE,
)
_KEY = re.compile(r"""[{｛]\s{0,40}(?:["'“][^"'”\n]{1,120}["'”]\s{0,4}[:：](?!:)|\w{1,40}\s{0,4}:\s{0,4}["'{\[])""")
_COMMAND_BEFORE = re.compile(r"(?:\\[A-Za-z]{2,20}\*?|[\^_])$")
_FORMULA = re.compile(r"\\[A-Za-z]{2}|(?<!\S)(?:[<>=]=?|[≤≥≠∈∉⊂⊆])(?!\S)|\b[A-Za-z]\s?[<>=≤≥≠∈]=?\s?-?\w")
_MAX_FORMULA = 300
_WEIGHT = re.compile(r"\s*(\d{1,6}(?:\.\d{1,6})?)::")
_SEVERAL = re.compile(r"\s*\d*(?:-\d*)?\$\$")
_OPEN, _BAR, _CLOSE = "{｛", "|｜", "}｝"
_ESCAPED = re.compile(rf"\\(__|[{re.escape(_OPEN + _BAR + _CLOSE)}])")
_MARK = re.compile(rf"__|[{re.escape(_OPEN + _BAR + _CLOSE)}]")
_PLAIN = re.compile(rf"[^\\_{re.escape(_OPEN + _BAR + _CLOSE)}]+")
_SEPARATORS = ",，、\n"


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A reference by name to a list, replaced by one of its lines."""

    name: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Options, one of which is drawn in proportion to the weights."""

    options: tuple[Parts, ...]
    weights: tuple[float, ...]


Parts = tuple["str | Wildcard | Choice", ...]
"""A parsed text."""


def parse(text: str) -> Parts:
    """Parse a text into plain pieces, choices and wildcards.

    Raises:
        RequestError: for ``prompt``; a choice is not closed, nested too deeply, or has weights of 0 only.
    """
    if not _MARK.search(text):
        return (text,)
    parts = _WildcardParser(text).parts(0)[0]
    unescaped = "".join(part for part in parts if isinstance(part, str))
    nothing_drawn = all(isinstance(part, str) for part in parts)
    # Backslashes are removed only from a text that would have something to draw without them.
    return (text,) if nothing_drawn and unescaped != text and not _draws(unescaped) else parts


def _draws(text: str) -> bool:
    """Whether a text has choices or wildcards, or would have some without its backslashes."""
    for _ in range(MAX_DEPTH):
        try:
            parts = _WildcardParser(text).parts(0)[0]
        except RequestError:
            return True
        unescaped = "".join(part for part in parts if isinstance(part, str))
        if any(not isinstance(part, str) for part in parts) or unescaped == text:
            return unescaped != text
        text = unescaped
    return True


def drawn_pieces(text: str) -> tuple[str, ...]:
    """The choices and wildcards of a text as written, without those nested in others.

    Raises the same errors as ``parse``.
    """
    reader = _WildcardParser(text)
    reader.parts(0)
    return tuple(text[begin:end] for begin, end in reader.drawn)


def draw(text: str, seed: int, lines: Lines, number: int = 0) -> str:
    """The text with all choices drawn, determined by ``seed`` and ``number``, the text's stream number.

    Raises:
        RequestError: for ``prompt``; the syntax is wrong, or a wildcard is unknown or refers to itself.
    """
    parts = parse(text)
    combinations(parts, lines)  # reports mistakes in options that are not drawn, too
    return _Draw(Stream(seed, number), lines).text(parts, ())


def combinations(parts: Parts, lines: Lines) -> int:
    """The number of ways in which the choices can be drawn; equal lines count separately.

    Raises the same errors as ``draw``.
    """
    return _CombinationCounter(lines).of(parts, ())


def wildcards_in(parts: Parts) -> tuple[str, ...]:
    """The names of the wildcards that the text itself refers to, each once."""
    names: list[str] = []
    for part in parts:
        match part:
            case Wildcard(name):
                names.append(name)
            case Choice(options):
                names += [name for option in options for name in wildcards_in(option)]
    return tuple(dict.fromkeys(names))


def is_plain(text: str) -> bool:
    """Whether drawing leaves the text unchanged; False for invalid syntax."""
    try:
        return parse(text) == (text,)
    except RequestError:
        return False


def escaped(text: str) -> str:
    """Escape a literal text, so that drawing returns it unchanged."""
    return text if is_plain(text) else _MARK.sub(lambda match: f"\\{match[0]}", text)


def split_words(text: str) -> list[str]:
    """Split a text at commas (full-width ones too) and line ends, but not inside a choice."""
    words, depth, word = [], 0, ""
    for place, letter in enumerate(text):
        plain = place > 0 and text[place - 1] == "\\"
        depth += 0 if plain else (letter in _OPEN) - (letter in _CLOSE and depth > 0)
        if letter in _SEPARATORS and not depth:
            words.append(word)
            word = ""
        else:
            word += letter
    if depth:  # never closed, so the braces are plain characters
        return [each for piece in re.split(f"[{_SEPARATORS}]", text) if (each := piece.strip())]
    return [each for piece in (*words, word) if (each := piece.strip())]


class _WildcardParser:
    """Parses a text in one pass from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.drawn: list[tuple[int, int]] = []
        """(start, end) of each choice and wildcard that is not nested in another."""

    def parts(self, depth: int, ends: str = _BAR + _CLOSE) -> tuple[Parts, str]:
        """Parse to the end of the text or, inside braces, of the option; returns pieces and ending character."""
        found: list[str | Wildcard | Choice] = []
        while self._at < len(self._text):
            if plain := _PLAIN.match(self._text, self._at):
                found.append(plain[0])
                self._at = plain.end()
                continue
            escape = _ESCAPED.match(self._text, self._at)
            reference = _REFERENCE.match(self._text, self._at)
            letter = self._text[self._at]
            if escape:
                found.append(escape[1])
                self._at = escape.end()
            elif reference:
                found.append(Wildcard(reference[1]))
                self._drawn(self._at, reference.end(), depth)
                self._at = reference.end()
            elif letter in _OPEN and not (depth == 0 and self._is_plain_group()):
                found += self._braces(depth + 1)
            elif depth and letter in ends:
                break
            else:
                found.append(letter)
                self._at += 1
        ended = self._text[self._at : self._at + 1]
        self._at += 1
        return _joined(found), ended

    def _braces(self, depth: int) -> Parts:
        start = self._at
        shown = shortened(self._text[start : start + _SHOWN + 1].partition("\n")[0], _SHOWN)
        if depth > MAX_DEPTH:
            raise wrong_part(shown, f"is nested more than {MAX_DEPTH} deep", f"嵌套超过 {MAX_DEPTH} 层")
        if self._is_plain_group():
            self._at += 1
            inner, ended = self.parts(depth, _CLOSE)
            return (self._text[start], *inner, ended)
        self._at += 1
        several = _SEVERAL.match(self._text, self._at)
        options: list[Parts] = []
        weights: list[float] = []
        bars: list[str] = []
        while True:
            weight = _WEIGHT.match(self._text, self._at)
            begin = self._at
            self._at = weight.end() if weight else begin
            option, ended = self.parts(depth)
            options.append(option)
            weights.append(float(weight[1]) if weight else 1.0)
            bars.append(weight[0] if weight else "")
            if ended not in _BAR or not ended:
                break
        if len(options) == 1:
            return (self._text[start], bars[0], *options[0], ended)
        if not ended:
            raise wrong_part(
                shown,
                r"the choice is not closed; end it with }, or write \{ for a plain brace",
                r"选项没有结束；请以 } 结尾，普通花括号请写成 \{",
            )
        if several:
            raise wrong_part(
                shown,
                "taking several with $$ is not known here; write one choice for each",
                "不支持用 $$ 选取多项；请分别写成多个选项",
            )
        if not any(weights):
            raise wrong_part(shown, "has no option with a weight above 0", "所有选项的权重都是 0")
        self._drawn(start, self._at, depth - 1)
        return (Choice(tuple(options), tuple(weights)),)

    def _drawn(self, begin: int, end: int, depth: int) -> None:
        if depth == 0:
            self.drawn.append((begin, end))

    def _is_plain_group(self) -> bool:
        """Whether the braces that open here are JSON or a formula, whose bars do not separate options."""
        start = self._at
        if _KEY.match(self._text, start) or _COMMAND_BEFORE.search(self._text, max(0, start - 24), start):
            return True
        end = self._text.find("}", start, start + _MAX_FORMULA)
        return end >= 0 and _FORMULA.search(self._text, start + 1, end) is not None


class _Draw:
    """Draws the choices of one text."""

    def __init__(self, stream: Stream, lines: Lines) -> None:
        self._stream = stream
        self._lines = lines
        self._draws = 0

    def text(self, parts: Parts, inside: tuple[str, ...]) -> str:
        """Draw parsed parts; ``inside`` are the wildcards whose lines are being drawn."""
        pieces: list[str] = []
        for part in parts:
            match part:
                case str():
                    pieces.append(part)
                case Choice():
                    pieces.append(self._option(part, inside))
                case Wildcard(name):
                    pieces.append(self._option(_choice_of(name, self._lines, inside), (*inside, name)))
        text = "".join(pieces)
        if self._draws > _MAX_DRAWS or len(text) > _MAX_LENGTH:
            raise wrong_field(
                "prompt",
                f"its wildcards draw on each other more than {_MAX_DRAWS} times; use fewer of them",
                f"通配符互相引用超过 {_MAX_DRAWS} 次；请减少使用",
            )
        return text

    def _option(self, choice: Choice, inside: tuple[str, ...]) -> str:
        self._draws += 1
        ends = list(accumulate(choice.weights))
        place = bisect_right(ends, self._stream.draw() * ends[-1])
        # Rounding may give the sum itself, which lies past the last option.
        last = max(place for place, weight in enumerate(choice.weights) if weight)
        return self.text(choice.options[min(place, last)], inside)


class _CombinationCounter:
    """Counts the ways to draw one text; each wildcard is counted once and cached."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._known: dict[str, int] = {}

    def of(self, parts: Parts, inside: tuple[str, ...]) -> int:
        ways = 1
        for part in parts:
            match part:
                case Choice():
                    ways *= self._options(part, inside)
                case Wildcard(name):
                    if name not in self._known:
                        choice = _choice_of(name, self._lines, inside)
                        self._known[name] = self._options(choice, (*inside, name))
                    ways *= self._known[name]
        return ways

    def _options(self, choice: Choice, inside: tuple[str, ...]) -> int:
        ways = [self.of(option, inside) for option in choice.options]
        return sum(count for count, weight in zip(ways, choice.weights, strict=True) if weight)


def _choice_of(name: str, lines: Lines, inside: tuple[str, ...]) -> Choice:
    """The choice among a wildcard's lines; ``inside`` are the wildcards whose lines led to it."""
    path = " → ".join(f"__{each}__" for each in (*inside, name))
    if name in inside:
        raise wrong_field("prompt", f"{path} refers to itself", f"{path} 循环引用")
    if len(inside) >= MAX_DEPTH:
        raise wrong_field("prompt", f"{path} is nested more than {MAX_DEPTH} deep", f"{path} 嵌套超过 {MAX_DEPTH} 层")
    options: list[Parts] = []
    weights: list[float] = []
    for line in lines(name):
        weight = _WEIGHT.match(line)
        try:
            options.append(parse(line[weight.end() :] if weight else line))
        except RequestError as error:
            where = Text(f"__{name}__, {shortened(line, _SHOWN)!r}:", f"__{name}__ 的 {shortened(line, _SHOWN)!r}：")
            raise _wrong_in(where, error) from error
        weights.append(float(weight[1]) if weight else 1.0)
    if not any(weights):
        raise wrong_field("prompt", f"the wildcard __{name}__ has no line to draw", f"通配符 __{name}__ 没有可选的行")
    return Choice(tuple(options), tuple(weights))


def _joined(parts: Iterable[str | Wildcard | Choice]) -> Parts:
    """Join neighbouring pieces of plain text."""
    joined: list[str | Wildcard | Choice] = []
    for plain, run in groupby(parts, lambda part: isinstance(part, str)):
        pieces = list(run)
        joined += filter(None, ["".join(map(str, pieces))]) if plain else pieces
    return tuple(joined)


def _wrong_in(where: Text, error: RequestError) -> RequestError:
    return wrong_field("prompt", f"{where.en} {error.reason.en}", f"{where.zh}{error.reason.zh}")
