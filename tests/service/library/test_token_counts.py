"""Tokens of a text, counted without the model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from zimage_app.models.find.catalogue import find_model
from zimage_app.models.find.model_source import PartLocation
from zimage_app.models.networks.text_encoder import load_tokenizer
from zimage_app.service.library.token_counts import TokenCounter


def test_a_texts_tokens_are_those_that_it_adds_to_an_empty_prompt(models_dir: Path, tmp_path: Path) -> None:
    source = find_model("tiny", models_dir)
    ids = load_tokenizer(models_dir / "tiny" / "tokenizer").ids
    counter = TokenCounter()
    assert counter.count(source, "") == 0
    for text in ("模糊", "模糊，多余的手指", "blurry, \\(text\\)"):
        assert counter.count(source, text) == len(ids(text)) - len(ids("")) > 0
    folder = tmp_path / "tokenizer"
    shutil.copytree(models_dir / "tiny" / "tokenizer", folder)
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    broken = replace(source, places=replace(source.places, tokenizer=PartLocation(folder)))
    assert counter.count(broken, "模糊") is None
    assert counter.count(source, "模糊") == len(ids("模糊")) - len(ids(""))
