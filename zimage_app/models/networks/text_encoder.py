"""Converts a prompt to text features: chat template, tokens, and the second to last hidden state of a Qwen3 model.

HOW-IT-COMPUTES.md section 5 describes what ComfyUI does with a prompt.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import tokenizers
import torch
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from torch import Tensor

from zimage_app.domain.errors import RequestError
from zimage_app.domain.token_limit import check_tokens
from zimage_app.models.disk.regular_file import read_regular
from zimage_app.models.find.tokenizers import MAX_LIST, QWEN_PATTERN, check_tokenizer
from zimage_app.models.networks.qwen3 import Qwen3, features
from zimage_app.models.weights.packed_weights import PackedEmbedding
from zimage_app.models.weights.weight_file import damaged

_TEMPLATE = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
"""Hard-coded, because a tokenizer's own template may add a system message or an empty thinking block."""
_EMBEDDING = "embedding:"
_REMEMBERED = 64
_AHEAD = 32
"""Maximum number of prompts encoded ahead in one pass, so that none is forgotten before it is used."""
_AHEAD_TOKENS = 4096
"""Maximum number of their tokens, whose hidden states take about 20 MB of the device."""


class Tokenizer:
    """The model folder's tokenizer, which handles prompts as ComfyUI does."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer

    @cached_property
    def empty(self) -> int:
        """Number of tokens of an empty prompt in the chat template."""
        return len(self._ids(_TEMPLATE.format("")))

    @property
    def size(self) -> int:
        """Number of tokens; all ids are below it."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    @property
    def knows_chat(self) -> bool:
        """Whether each marker of the chat template is a single token, as in training."""
        marks = ("<|im_start|>", "<|im_end|>")
        return all(len(self._ids(mark)) == 1 for mark in marks)

    def ids(self, prompt: str) -> list[int]:
        """Return the token ids of a prompt in the chat template, without padding or truncation.

        ``\\(`` and ``\\)`` become plain brackets. Splits the text before " embedding:", drops the space and tokenizes
        the pieces separately, as ComfyUI's tokenizer does without a folder of embeddings (``tests/golden``). With one,
        which a real ComfyUI has, it also drops the name and the template's line feeds after it; here every word that
        is written is read, and ``domain.prompt_syntax`` warns.
        """
        text = _TEMPLATE.format(prompt.replace("\\(", "(").replace("\\)", ")"))
        first, *others = text.split(f" {_EMBEDDING}")
        pieces = [first, *(_EMBEDDING + other for other in others)]
        return [number for piece in pieces for number in self._ids(piece)]

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load the tokenizer of a model folder, from local files only; raises ModelError if it can't be used."""
    try:
        check_tokenizer(folder)
        whole = folder / "tokenizer.json"
        if whole.is_file():
            read = tokenizers.Tokenizer.from_buffer(read_regular(whole, MAX_LIST))
        else:
            read = _from_words(folder)
        read.no_truncation()
        read.no_padding()
        tokenizer = Tokenizer(read)
    # The tokenizers library raises bare Exception for a file that it cannot parse.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise damaged(
            folder,
            f"holds no usable tokenizer ({reason}); download or copy it again",
            f"中的分词器无法使用（{reason}）；请重新下载或复制",
        ) from error
    if not tokenizer.knows_chat:
        raise damaged(
            folder,
            "holds a tokenizer without <|im_start|> and <|im_end|>, so of another model; copy the right one",
            "中的分词器没有 <|im_start|> 和 <|im_end|>，属于其他模型；请复制正确的分词器",
        )
    return tokenizer


def _from_words(folder: Path) -> tokenizers.Tokenizer:
    """Build Qwen's tokenizer from ``vocab.json``, ``merges.txt`` and the added tokens in ``tokenizer_config.json``."""
    lines = read_regular(folder / "merges.txt", MAX_LIST).decode().replace("\r\n", "\n").split("\n")
    pairs = [line.partition(" ") for line in lines if line and not line.startswith("#version")]
    merges = [(left, right) for left, _, right in pairs]
    made = tokenizers.Tokenizer(models.BPE(json.loads(read_regular(folder / "vocab.json", MAX_LIST)), merges))
    made.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(QWEN_PATTERN), "isolated")
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([split, letters])
    made.decoder = decoders.ByteLevel()
    config = json.loads(read_regular(folder / "tokenizer_config.json", MAX_LIST))
    added = sorted(config.get("added_tokens_decoder", {}).items(), key=lambda item: int(item[0]))
    for number, token in added:
        made.add_tokens([AddedToken(token["content"], normalized=False, special=bool(token.get("special")))])
        if made.token_to_id(token["content"]) != int(number):
            raise ValueError(f"the token {token['content']} cannot have the number {number}")
    return made


class Qwen3TextEncoder:
    """Computes the features of a prompt: hidden state -2 of Qwen3, (tokens, channels) in float32, on the CPU.

    Computes on ``device``; layers in the computer's memory are streamed to it one by one (``streaming.py``).
    """

    def __init__(self, module: Qwen3, tokenizer: Tokenizer, max_tokens: int, device: torch.device) -> None:
        self.module = module
        self._device = device
        self._layers = module.blocks(device)
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._features: OrderedDict[str, Tensor] = OrderedDict()

    @property
    def streamed(self) -> int:
        """Number of streamed layers."""
        return self._layers.streamed

    @torch.no_grad()
    def encode(self, prompt: str) -> Tensor:
        """Return the features of a prompt in the chat template; caches those of the last prompts.

        Raises:
            RequestError: the prompt has more tokens than the transformer takes.
        """
        if prompt not in self._features:
            (self._features[prompt],) = self._encode([self._ids(prompt)])
        self._features.move_to_end(prompt)
        while len(self._features) > _REMEMBERED:
            self._features.popitem(last=False)
        return self._features[prompt]

    @torch.no_grad()
    def encode_ahead(self, prompts: Iterable[str]) -> None:
        """See ``TextEncoder.encode_ahead``."""
        if not self.streamed:
            return
        coming: dict[str, list[int]] = {}
        for prompt in prompts:
            if prompt in self._features:
                self._features.move_to_end(prompt)
                continue
            if prompt in coming:
                continue
            try:
                ids = self._ids(prompt)
            except RequestError:  # raised again by ``encode`` where the prompt is used
                continue
            if len(coming) == _AHEAD or sum(map(len, coming.values())) + len(ids) > _AHEAD_TOKENS:
                break
            coming[prompt] = ids
        self._features.update(zip(coming, self._encode(list(coming.values())), strict=True))

    def offload(self) -> bool:
        """Move all weights to the computer's memory, since each prompt is encoded only once."""
        saved = False
        while self._layers.offload():
            saved = True
        table = self.module.embed_tokens
        with torch.inference_mode(False), torch.no_grad():
            if isinstance(table, PackedEmbedding):
                table.weight = table.weight.moved(lambda tensor: tensor.cpu())
            else:
                table.to("cpu")
        return saved

    def _ids(self, prompt: str) -> list[int]:
        """Return the token ids of a prompt; raises RequestError if they are too many."""
        ids, empty = self._tokenizer.ids(prompt), self._tokenizer.empty
        check_tokens("prompt", len(ids) - empty, self._max_tokens - empty)
        return ids

    def _encode(self, texts: Sequence[Sequence[int]]) -> list[Tensor]:
        """Return the features of texts given by their token ids."""
        if not texts:
            return []
        table = self.module.embed_tokens
        # The embedding table may be in the computer's memory; the rows looked up are small.
        words = [table(torch.tensor(ids, device=table.weight.device)).to(self._device) for ids in texts]
        try:
            # Those of many long prompts would take hundreds of megabytes of the device, which no memory plan counts.
            return [each.float().cpu() for each in features(words, self._layers, self.module.config)]
        finally:
            self._layers.release()
