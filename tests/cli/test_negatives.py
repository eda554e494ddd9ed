"""Negative prompts on the command line: listed, searched, used."""

from __future__ import annotations

import argparse
import json

import pytest

from zimage_app.cli.main import build_parser, main
from zimage_app.cli.request_flags import build_request
from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.errors import RequestError


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")


def test_the_library_is_listed_by_category(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["negatives"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert "Anatomy" in lines
    assert "  多余的手指  extra fingers (Hands close to the camera)" in lines


def test_search_takes_either_language(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["negatives", "FINGERS", "多余", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry == {
        "text": "多余的手指",
        "meaning": "extra fingers",
        "when": "Hands close to the camera",
        "category": "Anatomy",
    }
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert main(["negatives", "没有这样的词"]) == 1
    assert "没有与 '没有这样的词' 匹配" in capsys.readouterr().err


def generate(*flags: str) -> argparse.Namespace:
    return build_parser().parse_args(["generate", "a boat", *flags])


def test_entries_join_what_was_typed_without_doubles() -> None:
    flags = ("--negative", "text, 水印", "--negative-preset", "watermark", "--negative-preset", "模糊")
    assert build_request(generate(*flags), Z_IMAGE_TURBO).negative == "text, 水印，模糊"
    assert build_request(generate(), Z_IMAGE_TURBO).negative == ""


def test_an_unknown_entry_is_refused_with_a_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RequestError, match=r"--negative-preset: 'watermrk' .* did you mean 水印,"):
        build_request(generate("--negative-preset", "watermrk"), Z_IMAGE_TURBO)
    assert main(["generate", "a boat", "--model", "demo", "--negative-preset", "zzz"]) == 2
    assert "--negative-preset: 'zzz' is no entry" in capsys.readouterr().err
