"""Ways to spoil bytes, texts and plain data, drawn from a seeded generator. Knows no format of files."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

DEEP = 100_000
BIG = 10**4000
ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 0.5, 2**31, 2**63, 2**64, 2**70, -(2**70), BIG, 1e-320, 1e308, -1e308, float("nan"),
    float("inf"), float("-inf"), "", " ", "\0", "\ud800", "\udfff\ud800", "x" * 9000, "猫" * 5000, "\u202e\u2066",
    "🧑‍🚀", "<lora:", "<lora:a:nan>", "__a__", "{a|", "../../etc/passwd", "/etc/passwd", "C:\\x", "~nobody/x", "1e999",
    "NaN", "１２", "٣", "0x10", "1_000", "true", "euler", "simple", [], {}, [[]], [["1", 0]], ["1", 0], ["1", -9],
    [1, 2**70], {"": ""}, {"a": {"a": {}}}, {"__value__": [{}]}, {"lora": 3, "on": True}, [None] * 300,
)  # fmt: skip
_LETTERS = "\"',:;<>(){}[]|\\/=_-+*#&!%@`~.\n\r\t \0x9e∞＜：＞，｛｜｝\u2028\ufeff\u00a0猫"
_ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "gb18030", "latin-1", "utf-7")


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of plain data."""
    waiting = [data]
    while waiting:
        at = waiting.pop()
        for key in list(at) if isinstance(at, dict) else range(len(at)):
            yield at, key
            if isinstance(at[key], dict | list):
                waiting.append(at[key])


def odd(chance: random.Random) -> Any:
    """A value that nobody expects."""
    value = chance.choice(ODD)
    return json.loads(json.dumps(value)) if isinstance(value, dict | list) else value


def changed_data(data: Any, chance: random.Random) -> Any:
    """Plain data in which some values are others, doubled, gone, or under another name. Changes ``data`` itself."""
    found = list(places(data)) if isinstance(data, dict | list) else []
    for container, key in chance.sample(found, min(len(found), chance.choice((1, 1, 3, 12)))):
        match chance.randrange(5):
            case 0 | 1:
                container[key] = odd(chance)
            case 2 if isinstance(container, dict):
                container.pop(key, None)
            case 3 if isinstance(container, dict):
                container[str(odd(chance))[:50]] = container.get(key)
            case _:
                other, place = chance.choice(found)
                if isinstance(other, dict) == isinstance(place, str) and (
                    not isinstance(other, dict) or place in other
                ):
                    container[key] = _copy(other[place])
    return data


def _copy(value: Any) -> Any:
    """Values are copied, so that data stays a tree."""
    return json.loads(json.dumps(value)) if isinstance(value, dict | list) else value


def as_json(data: Any, chance: random.Random) -> str:
    """JSON, sometimes with keys that stand twice or half characters as they are."""
    text = json.dumps(data, ensure_ascii=chance.random() < 0.7)
    if chance.random() < 0.1:
        text = text.replace("{", '{"prompt": 1, "prompt": "a",', 1)
    return text


def changed_text(text: str, chance: random.Random) -> str:
    """A text in which letters are others, parts are gone, doubled or changed about."""
    for _ in range(chance.choice((1, 1, 4, 30))):
        at = chance.randrange(len(text) + 1)
        length = chance.choice((1, 1, 5, 60))
        piece = text[at : at + length]
        match chance.randrange(4):
            case 0:
                text = text[:at] + chance.choice(_LETTERS) + text[at + 1 :]
            case 1:
                text = text[:at] + text[at + length :]
            case 2:
                text = text[:at] + piece * chance.choice((2, 3, 200)) + text[at + length :]
            case _:
                other = chance.randrange(len(text) + 1)
                text = text[:other] + piece + text[other:]
    return text[:200_000]


def changed_bytes(data: bytes, chance: random.Random) -> bytes:
    """Bytes with some flipped, cut out, doubled or cut off."""
    spoilt = bytearray(data)
    for _ in range(chance.choice((1, 1, 3, 20))):
        at = chance.randrange(len(spoilt) + 1)
        length = chance.choice((1, 4, 64))
        match chance.randrange(5):
            case 0 | 1 if at < len(spoilt):
                spoilt[at] ^= 1 << chance.randrange(8)
            case 2:
                del spoilt[at : at + length]
            case 3:
                spoilt[at:at] = chance.choice((b"\0", b"\xff", chance.randbytes(1))) * length
            case _ if chance.random() < 0.2:
                del spoilt[at:]
            case _:
                spoilt[at:at] = spoilt[at : at + length]
    return bytes(spoilt)


def encoded(text: str, chance: random.Random) -> bytes:
    """A text as bytes, mostly in UTF-8."""
    if chance.random() < 0.8:
        return text.encode("utf-8", "surrogatepass")
    return text.encode(chance.choice(_ENCODINGS), "replace")


def repeated(pieces: Sequence[str], chance: random.Random, most: int) -> str:
    """One piece over and over, up to ``most`` letters, with another behind: what slow patterns stumble on."""
    piece = chance.choice(pieces)
    return (piece * (most // len(piece) + 1))[:most] + chance.choice(("", "x", "\nx", *pieces))
