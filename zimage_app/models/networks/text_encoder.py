"""Prompt to text features: chat template, tokens, and the second to last hidden state of a Qwen3 model.

Knows nothing of the transformer but how many tokens it takes. What ComfyUI does with a prompt:
HOW-IT-COMPUTES.md section 5.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zimage_app.domain.errors import RequestError
from zimage_app.domain.text import Text
from zimage_app.models.find.tokenizers import check_tokenizer
from zimage_app.models.networks.libraries import FIRST_IMPORT
from zimage_app.models.networks.offload import StreamedLayer
from zimage_app.models.weights.packed_weights import PackedLinear
from zimage_app.models.weights.weight_file import damaged

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Qwen3Model

_TEMPLATE = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
"""Written out, because the template that comes with a tokenizer may add a system message or an empty thought."""
_EMBEDDING = "embedding:"
_REMEMBERED = 64


class Tokenizer:
    """The folder's own tokenizer, with ComfyUI's way of reading a prompt."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer: Any = tokenizer

    @property
    def size(self) -> int:
        """How many tokens it knows; ids are below."""
        return len(self._tokenizer)

    @property
    def knows_chat(self) -> bool:
        """Whether the marks of the chat template are one token each, as they were in training."""
        marks = ("<|im_start|>", "<|im_end|>")
        return all(len(self._tokenizer(mark, add_special_tokens=False).input_ids) == 1 for mark in marks)

    def ids(self, prompt: str) -> list[int]:
        """Token ids of a prompt in the chat template; nothing padded, nothing cut off.

        ``\\(`` and ``\\)`` are plain brackets. ComfyUI cuts a text before " embedding:", drops the space and reads the
        pieces one by one; a name behind it stays literal text here, as it does there when no file is called so.
        """
        text = _TEMPLATE.format(prompt.replace("\\(", "(").replace("\\)", ")"))
        first, *others = text.split(f" {_EMBEDDING}")
        pieces = [first, *(_EMBEDDING + other for other in others)]
        return [number for piece in pieces for number in self._tokenizer(piece, add_special_tokens=False).input_ids]


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder; reads only that folder.

    Raises ModelError when it cannot be used.
    """
    try:
        check_tokenizer(folder)
        with FIRST_IMPORT:
            from transformers import AutoTokenizer

            read = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
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


class Qwen3TextEncoder:
    """Features of a prompt: hidden state -2 of Qwen3, (tokens, channels) in float32.

    ``model`` has neither the last layer nor the final norm of the full model, so that its output is that state. It
    computes on ``device``; its layers may visit that one by one (``streaming.py``).
    """

    def __init__(self, model: Qwen3Model, tokenizer: Tokenizer, max_tokens: int, device: torch.device) -> None:
        self.module: Any = model
        self._device = device
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._features: OrderedDict[str, Tensor] = OrderedDict()

    @torch.no_grad()
    def encode(self, prompt: str) -> Tensor:
        """Features of a prompt in the chat template; those of the last prompts are remembered.

        Raises:
            RequestError: more tokens than the transformer takes.
        """
        if prompt not in self._features:
            self._features[prompt] = self._encode(prompt)
        self._features.move_to_end(prompt)
        while len(self._features) > _REMEMBERED:
            self._features.popitem(last=False)
        return self._features[prompt]

    def offload(self) -> bool:
        """Keep the weights in the computer's memory; the layers visit the device one by one (``streaming.py``)."""
        if any(isinstance(layer, StreamedLayer) for layer in self.module.layers):
            return False
        home = torch.device("cpu")
        with torch.inference_mode(False), torch.no_grad():
            self.module.to(home)
            for item in self.module.modules():
                if isinstance(item, PackedLinear):
                    item.weight = item.weight.to(home)
            self.module.rotary_emb.to(self._device)
            self.module.layers = torch.nn.ModuleList(StreamedLayer(each, self._device) for each in self.module.layers)
        return True

    def _encode(self, prompt: str) -> Tensor:
        ids = self._tokenizer.ids(prompt)
        if len(ids) > self._max_tokens:
            raise RequestError(
                "prompt",
                Text(
                    f"has {len(ids)} tokens, but this model takes at most {self._max_tokens}; make it shorter",
                    f"有 {len(ids)} 个词元，而此模型最多接受 {self._max_tokens} 个；请缩短提示词",
                ),
            )
        table = self.module.embed_tokens
        # The table may have stayed behind in the computer's memory; what is looked up in it is small.
        words = table(torch.tensor([ids], device=table.weight.device)).to(self._device)
        features: Tensor = self.module(inputs_embeds=words, use_cache=False).last_hidden_state[0]
        return features.float()


def shortened(config: Any) -> Any:
    """A Qwen3 config without its last layer: hidden state -2 of the full model comes before that."""
    config.num_hidden_layers -= 1
    config.layer_types = config.layer_types[: config.num_hidden_layers]
    return config


def without_norm(model: Any) -> Any:
    """The model without its final norm, which hidden state -2 has not been through."""
    model.norm = torch.nn.Identity()
    return model
