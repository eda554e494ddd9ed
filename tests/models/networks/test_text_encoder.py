"""Prompt to tokens as ComfyUI reads it, and the features of a model without its last layer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.stock import rel
from zimage_app.domain.errors import ModelError, RequestError
from zimage_app.models.find.tokenizers import check_tokenizer
from zimage_app.models.networks.networks import TEXT_ENCODER
from zimage_app.models.networks.text_encoder import Qwen3TextEncoder, Tokenizer, load_tokenizer
from zimage_app.models.tiny import TINY_TEXT
from zimage_app.models.weights.packing import text_names

ROOT = Path(__file__).parents[3]
QWEN = ROOT.parent / "shared" / "data" / "qwen25_tokenizer"
"""The published model's tokenizer; not part of the repository."""
CPU = torch.device("cpu")
DEMO = ROOT / "models" / "demo" / "tokenizer"


@pytest.fixture
def full_model() -> Any:
    """A whole Qwen3 of three layers with random weights."""
    from transformers import Qwen3Config, Qwen3Model

    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Qwen3Model(Qwen3Config(**TINY_TEXT)).eval().requires_grad_(False)


@pytest.fixture
def tiny_tokenizer(tiny_folder: Path) -> Tokenizer:
    """A token per byte."""
    return load_tokenizer(tiny_folder / "tokenizer")


def shortened(model: Any) -> Any:
    config = model.config.to_dict()
    short = TEXT_ENCODER.build_empty(config)
    short.load_state_dict(text_names(model.state_dict(), config), strict=True, assign=True)
    return short.eval()


def read_back(folder: Path, prompt: str) -> str:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return str(tokenizer.decode(load_tokenizer(folder).ids(prompt), clean_up_tokenization_spaces=False))


@pytest.mark.parametrize(
    ("prompt", "inside"),
    [
        ("a red boat", "a red boat"),
        ("", ""),
        ("一只红色小船，(a:1.3)", "一只红色小船，(a:1.3)"),
        (r"\(plain\) (kept) \x", r"(plain) (kept) \x"),
        ("{braces} %s", "{braces} %s"),
        ("style, embedding:foo bar", "style,embedding:foo bar"),
        ("a" * 3000, "a" * 3000),
    ],
)
def test_template(tiny_folder: Path, prompt: str, inside: str) -> None:
    expected = f"<|im_start|>user\n{inside}<|im_end|>\n<|im_start|>assistant\n"
    assert read_back(tiny_folder / "tokenizer", prompt) == expected
    assert read_back(DEMO, prompt) == expected


def test_special_tokens_in_a_prompt_are_read_as_such(tiny_tokenizer: Tokenizer) -> None:
    assert len(tiny_tokenizer.ids("<|im_end|>")) == len(tiny_tokenizer.ids("")) + 1


def test_golden_ids(tiny_tokenizer: Tokenizer) -> None:
    """ComfyUI's ids where its tokenizer is at hand; everywhere else, that bytes are split in the same places."""
    prompts = json.loads((ROOT / "tests" / "golden" / "tokens.json").read_text(encoding="utf-8"))["prompts"]
    assert len(prompts) == 10
    if QWEN.is_dir():
        qwen = load_tokenizer(QWEN)
        assert {name: qwen.ids(case["text"]) for name, case in prompts.items()} == {
            name: case["ids"] for name, case in prompts.items()
        }
    for case in prompts.values():
        plain = case["text"].replace("\\(", "(").replace("\\)", ")").replace(" embedding:", "embedding:")
        plain = plain.replace("<|im_end|>", "#")
        # Two start marks, an end mark, and the words and line feeds of the template.
        assert len(tiny_tokenizer.ids(case["text"])) == len(plain.encode()) + 3 + len("user\n\nassistant\n")


def test_features_equal_the_full_models_second_to_last_state(full_model: Any, tiny_tokenizer: Tokenizer) -> None:
    encoder = Qwen3TextEncoder(shortened(full_model), tiny_tokenizer, max_tokens=600, device=CPU)
    features = encoder.encode("a boat 船")
    ids = torch.tensor([tiny_tokenizer.ids("a boat 船")])
    mask = torch.ones_like(ids)
    states = full_model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    assert rel(features, states[-2][0]) < 1e-6
    assert rel(features, states[-1][0]) > 1e-2
    assert rel(features, states[-3][0]) > 1e-2
    assert features.dtype == torch.float32


class _Counting(Tokenizer):
    """A tokenizer that counts how often it is asked."""

    calls = 0

    def ids(self, prompt: str) -> list[int]:
        """Ask the real one."""
        self.calls += 1
        return super().ids(prompt)


def test_features_are_remembered_within_bounds(full_model: Any, tiny_tokenizer: Tokenizer) -> None:
    asked = _Counting(tiny_tokenizer._tokenizer)
    encoder = Qwen3TextEncoder(shortened(full_model), asked, max_tokens=600, device=CPU)
    first = encoder.encode("0")
    assert encoder.encode("0") is first
    assert asked.calls == 1
    for number in range(1, 64):
        encoder.encode(str(number))
    encoder.encode("0")  # still there, and now the freshest
    encoder.encode("64")
    assert asked.calls == 65
    encoder.encode("0")
    assert asked.calls == 65
    encoder.encode("1")  # the oldest had to go
    assert asked.calls == 66


def test_a_prompt_too_long_is_refused(full_model: Any, tiny_tokenizer: Tokenizer) -> None:
    encoder = Qwen3TextEncoder(shortened(full_model), tiny_tokenizer, max_tokens=64, device=CPU)
    overhead = len(tiny_tokenizer.ids(""))
    assert encoder.encode("a" * (64 - overhead)).shape == (64, 32)
    most = 64 - overhead
    with pytest.raises(RequestError, match=rf"prompt: {most + 1} tokens.* at most {most}; make it shorter"):
        encoder.encode("a" * (most + 1))


def test_a_broken_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}', encoding="utf-8")
    with pytest.raises(ModelError, match=f"{tmp_path.name} holds no usable tokenizer"):
        load_tokenizer(tmp_path)


def test_a_folders_own_code_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``auto_map`` names a class in the folder; on a terminal, transformers would ask, and take ``y`` for an answer."""
    folder = tmp_path / "tokenizer"
    shutil.copytree(DEMO, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n", encoding="utf-8")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    assert load_tokenizer(folder).ids("a") == load_tokenizer(DEMO).ids("a")
    assert not (tmp_path / "ran").exists()


def test_only_qwens_pattern_cuts_texts(tmp_path: Path) -> None:
    check_tokenizer(DEMO)
    for place in ("normalizer", "pre_tokenizer", "decoder"):
        folder = tmp_path / place
        shutil.copytree(DEMO, folder)
        data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        data[place] = {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "(a|a)*$"}}]}
        (folder / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
        with pytest.raises(ValueError, match=r"\(a\|a\)\*\$.*not Qwen's pattern"):
            check_tokenizer(folder)
