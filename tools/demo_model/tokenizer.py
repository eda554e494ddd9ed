"""Trains the demo model's tokenizer: byte-level BPE with Qwen's chat template, trained on captions.

    python -m tools.demo_model.tokenizer --out WORK/tokenizer

Chinese characters are separate tokens, so that prompts worded unlike any caption still consist of known tokens.
"""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tools.demo_model.captions import caption
from tools.demo_model.scene import sample_scene
from zimage_app.models.find.tokenizers import QWEN_PATTERN

CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)
CJK = Regex(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")
CAPTIONS = 20000
"""Number of captions to train on."""


def captions(count: int) -> Iterator[str]:
    """Yield the training captions and the words of the chat template."""
    rng = random.Random(1)
    for _ in range(count):
        yield caption(sample_scene(rng), rng)
    for _ in range(count // 10):
        yield "user\n"
        yield "assistant\n"


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Train a tokenizer of up to 1100 tokens, including all 256 bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(CJK, "isolated"),
            pre_tokenizers.Split(Regex(QWEN_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1100,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        min_frequency=5,
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions(CAPTIONS), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="right",
        model_max_length=1024,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    train_tokenizer().save_pretrained(parser.parse_args().out)


if __name__ == "__main__":
    main()
