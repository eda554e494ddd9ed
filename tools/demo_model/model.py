"""The two networks of the demo model, and a batched forward pass to train them.

The classes are those of diffusers and transformers at a small size, 6.9 million parameters together. The original
forward processes pictures one by one; :func:`predict` computes the same for a batch, fast enough to train on a CPU.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import ZImageTransformer2DModel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

CAPTION_DIM = 128
HEAD_DIM = 64
PATCH = "2-1"
"""Name under which Z-Image keeps its embedder for 2x2 patches of single frames."""
CAPTION_MULTIPLE = 32
"""Z-Image pads captions and picture tokens to multiples of this."""
LONG = 1024
"""Above this number of tokens the attention matrix dominates the time, and is computed in strips."""

CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
"""Qwen's chat template for a single prompt."""

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines, each (1, tokens, 1, HEAD_DIM / 2)."""
Block = Callable[[nn.Module, Tensor, Rotation, Tensor | None], Tensor]


def build_text_encoder(vocabulary: int) -> Qwen3Model:
    """Build a Qwen3 of three layers; Z-Image uses the hidden states before the last layer."""
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=CAPTION_DIM,
        intermediate_size=2 * CAPTION_DIM,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=1024,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        initializer_range=0.05,
    )
    return Qwen3Model(config)


def build_transformer(layers: int = 8) -> ZImageTransformer2DModel:
    """Build a Z-Image transformer of 192 channels, initialised so that it predicts zero."""
    transformer = ZImageTransformer2DModel(
        dim=3 * HEAD_DIM,
        n_layers=layers,
        n_refiner_layers=1,
        n_heads=3,
        n_kv_heads=3,
        cap_feat_dim=CAPTION_DIM,
        axes_dims=[16, 24, 24],
        axes_lens=[640, 128, 128],
    )
    net = cast("Any", transformer)
    nn.init.normal_(net.x_pad_token, std=0.02)
    nn.init.normal_(net.cap_pad_token, std=0.02)
    for layer in [*net.layers, *net.noise_refiner]:
        modulation = layer.adaLN_modulation[0]
        nn.init.normal_(modulation.weight, std=0.01)
        nn.init.zeros_(modulation.bias)
        # Rows: scale and gate of the attention, scale and gate of the feed-forward. Gates start part open.
        modulation.bias.data.view(4, -1)[1::2] = 0.35
    final = net.all_final_layer[PATCH].linear
    nn.init.zeros_(final.weight)
    nn.init.zeros_(final.bias)
    return transformer


def main_blocks(weights: Iterable[str]) -> int:
    """Return the number of main blocks of the transformer that weights with these names belong to."""
    return len({name.split(".")[2] for name in weights if name.startswith("transformer.layers.")})


def deepened(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Return the weights of a network with more main blocks that computes the same.

    A new block is a copy of the one before it whose gates are closed, so that it adds nothing until it is trained.
    Weights of as many or more blocks are returned as they are.
    """
    blocks = main_blocks(weights)
    if not 0 < blocks < layers:
        return weights
    result = {name: value for name, value in weights.items() if not name.startswith("transformer.layers.")}
    for layer in range(layers):
        source = layer * blocks // layers
        copied = layer > 0 and (layer - 1) * blocks // layers == source
        start = f"transformer.layers.{source}."
        for name, value in weights.items():
            if not name.startswith(start):
                continue
            part = name.removeprefix(start)
            value = value.clone()
            if copied and part.startswith("adaLN_modulation"):
                # Rows: scale and gate of the attention, scale and gate of the feed-forward.
                value.view(4, -1)[1::2] = 0
            result[f"transformer.layers.{layer}.{part}"] = value
    return result


# ------------------------------------------------------------------------------------------------------- the captions


def caption_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Return the token ids of a prompt inside the chat template."""
    return cast("list[int]", tokenizer(CHAT.format(text)).input_ids)


def pad_captions(captions: Sequence[Sequence[int]], length: int) -> tuple[Tensor, Tensor]:
    """Return padded token ids (batch, length) and a mask of real tokens (batch, length)."""
    ids = torch.zeros(len(captions), length, dtype=torch.long)
    for row, caption in zip(ids, captions, strict=True):
        row[: len(caption)] = torch.tensor(caption)
    return ids, torch.arange(length)[None] < torch.tensor([len(caption) for caption in captions])[:, None]


def encode_captions(text_encoder: Qwen3Model, ids: Tensor) -> Tensor:
    """Return caption states (batch, length, CAPTION_DIM)."""
    output = text_encoder(input_ids=ids, output_hidden_states=True, use_cache=False)
    return cast("Tensor", output.hidden_states[-2])


# ---------------------------------------------------------------------------------------------------- the transformer


@functools.cache
def _places(tokens: int, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Return the positions of the caption's tokens (tokens, 3) and of the picture's (rows * columns, 3).

    Axis 0 counts caption tokens (the picture is one frame after them), axes 1 and 2 the picture's rows and columns.
    """
    caption = torch.zeros(tokens, 3)
    caption[:, 0] = torch.arange(1, tokens + 1)
    grid = torch.meshgrid(
        torch.tensor([tokens + 1.0]), torch.arange(rows).float(), torch.arange(columns).float(), indexing="ij"
    )
    return caption, torch.stack(grid, -1).view(-1, 3)


def _turns(caption: Tensor, picture: Tensor, device: torch.device) -> tuple[Rotation, Rotation, Rotation, int]:
    """Return the rotary tables of caption, picture and both, and the number of the picture's padding tokens."""
    padding = -len(picture) % CAPTION_MULTIPLE
    picture = torch.cat([picture, torch.zeros(padding, 3)]).to(device)
    caption = caption.to(device)
    return _rotation(caption), _rotation(picture), _rotation(torch.cat([picture, caption])), padding


@functools.cache
def _whole_turns(
    tokens: int, rows: int, columns: int, device: torch.device
) -> tuple[Rotation, Rotation, Rotation, int]:
    return _turns(*_places(tokens, rows, columns), device)


def _rotation(places: Tensor) -> Rotation:
    angles: list[Tensor] = []
    for axis, dim in enumerate((16, 24, 24)):
        frequencies = 1.0 / 256.0 ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        angles.append(places[:, axis : axis + 1].double() * frequencies)
    angle = torch.cat(angles, 1).float()
    return angle.cos()[None, :, None, :], angle.sin()[None, :, None, :]


def _rotate(x: Tensor, rotation: Rotation) -> Tensor:
    cos, sin = rotation
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


def _normalise(norm: Any, x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), norm.weight.to(x.dtype), norm.eps)


class _LongAttention(torch.autograd.Function):
    """Attention of long sequences on a CPU: half the time of plain matrix products, a third of the fused kernel's.

    Computes the attention matrix in strips of rows that stay in the CPU's cache, forward and backward (backward
    formulas: Dao et al., "FlashAttention", 2022, appendix B.4).
    """

    STRIP = 256

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Compute attention; all are (groups, tokens, HEAD_DIM) and contiguous, ``q`` is already scaled."""
        out, weights = torch.empty_like(q), q.new_empty(q.shape[0], q.shape[1], k.shape[1])
        for group in range(len(q)):
            for start in range(0, q.shape[1], _LongAttention.STRIP):
                strip = slice(start, start + _LongAttention.STRIP)
                torch.softmax(q[group, strip] @ k[group].t(), -1, out=weights[group, strip])
                torch.mm(weights[group, strip], v[group], out=out[group, strip])
        ctx.save_for_backward(q, k, v, out, weights)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, out, weights = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        along = (gradient.float() * out.float()).sum(-1, keepdim=True).to(q.dtype)
        to_q = torch.empty_like(q)
        to_k, to_v = torch.zeros_like(k, dtype=torch.float32), torch.zeros_like(v, dtype=torch.float32)
        for group in range(len(q)):
            for start in range(0, q.shape[1], _LongAttention.STRIP):
                strip = slice(start, start + _LongAttention.STRIP)
                part = weights[group, strip]
                to_v[group] += part.t() @ gradient[group, strip]
                scores = gradient[group, strip] @ v[group].t()
                scores.sub_(along[group, strip]).mul_(part)
                torch.mm(scores, k[group], out=to_q[group, strip])
                to_k[group] += scores.t() @ q[group, strip]
        return to_q, to_k.to(k.dtype), to_v.to(v.dtype)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute attention: inputs (batch, tokens, heads, HEAD_DIM) -> (batch, tokens, heads * HEAD_DIM).

    On a CPU, plain matrix products are two to three times faster than the fused kernel, forward and backward. When
    compiled, the float32 softmax keeps the compiler from fusing them anyway.
    """
    if q.is_cuda:
        fused = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return fused.transpose(1, 2).flatten(2)
    q = q * HEAD_DIM**-0.5
    if q.shape[1] > LONG and not torch.compiler.is_compiling():
        groups = (part.transpose(1, 2).flatten(0, 1).contiguous() for part in (q, k, v))
        out = cast("Tensor", _LongAttention.apply(*groups))  # type: ignore[no-untyped-call]
        return out.view(len(q), -1, *out.shape[1:]).transpose(1, 2).flatten(2)
    scores = q.transpose(1, 2) @ k.transpose(1, 2).transpose(-1, -2)
    weights: Tensor = scores.float().softmax(-1).to(v.dtype) if torch.compiler.is_compiling() else scores.softmax(-1)
    return (weights @ v.transpose(1, 2)).transpose(1, 2).flatten(2)


def _inwards(module: nn.Module, x: Tensor, rotation: Rotation, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values of a block, each (batch, tokens, heads, HEAD_DIM)."""
    block = cast("Any", module)
    attention = block.attention
    h = _normalise(block.attention_norm1, x) * scale
    q, k, v = (
        F.linear(h, projection.weight).unflatten(-1, (-1, HEAD_DIM))  # type: ignore[no-untyped-call]
        for projection in (attention.to_q, attention.to_k, attention.to_v)
    )
    q = _rotate(_normalise(attention.norm_q, q), rotation).to(v.dtype)
    k = _rotate(_normalise(attention.norm_k, k), rotation).to(v.dtype)
    return q, k, v


def _outwards(module: nn.Module, x: Tensor, attended: Tensor, gates: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Compute the rest of a block: add the attention's output, then the feed-forward."""
    block = cast("Any", module)
    forward = block.feed_forward
    gate_a, scale_f, gate_f = gates
    x = x + _normalise(block.attention_norm2, F.linear(attended, block.attention.to_out[0].weight)) * gate_a
    h = _normalise(block.ffn_norm1, x) * scale_f
    out = F.linear(F.silu(F.linear(h, forward.w1.weight)) * F.linear(h, forward.w3.weight), forward.w2.weight)
    return x + _normalise(block.ffn_norm2, out) * gate_f


def _modulations(x: Tensor, modulation: Tensor | None) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Return (attention scale, (attention gate, feed-forward scale, feed-forward gate))."""
    if modulation is None:
        one = torch.ones((), dtype=x.dtype, device=x.device)
        return one, (one, one, one)
    scale_a, gate_a, scale_f, gate_f = modulation.unsqueeze(1).chunk(4, 2)
    return 1 + scale_a, (gate_a.tanh(), 1 + scale_f, gate_f.tanh())


def _block(module: nn.Module, x: Tensor, rotation: Rotation, modulation: Tensor | None) -> Tensor:
    """Apply one transformer block to (batch, tokens, dim); ``modulation`` (batch, 4 * dim) depends on the time."""
    scale, gates = _modulations(x, modulation)
    return _outwards(module, x, attention(*_inwards(module, x, rotation, scale)), gates)


@functools.cache
def _compiled_block() -> Block:
    return cast("Block", _compiled(_block))


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function for all sizes; a few are compiled on their own, as those with one picture or a square one."""
    torch._dynamo.config.recompile_limit = 64
    return torch.compile(function, dynamic=True)


@functools.cache
def _compiled_around_attention() -> Block:
    """Return the block for long sequences, with everything except the attention compiled."""
    inwards, outwards = _compiled(_inwards), _compiled(_outwards)

    def run(module: nn.Module, x: Tensor, rotation: Rotation, modulation: Tensor | None) -> Tensor:
        scale, gates = _modulations(x, modulation)
        return cast("Tensor", outwards(module, x, attention(*inwards(module, x, rotation, scale)), gates))

    return run


def _block_for(tokens: int, compiled: bool) -> Block:
    if not compiled:
        return _block
    return _compiled_block() if tokens <= LONG else _compiled_around_attention()


def patchify(x: Tensor) -> Tensor:
    """Convert (batch, channels, rows, columns) to tokens of 2x2 pixels (batch, rows * columns / 4, 4 * channels)."""
    batch, channels, height, width = x.shape
    cells = x.view(batch, channels, height // 2, 2, width // 2, 2)
    return cells.permute(0, 2, 4, 3, 5, 1).reshape(batch, height * width // 4, -1)


def unpatchify(tokens: Tensor, height: int, width: int) -> Tensor:
    """Invert :func:`patchify`."""
    cells = tokens.view(len(tokens), height // 2, width // 2, 2, 2, -1)
    return cells.permute(0, 5, 1, 3, 2, 4).reshape(len(tokens), -1, height, width)


def predict(
    transformer: ZImageTransformer2DModel,
    x: Tensor,
    sigma: Tensor,
    caption: tuple[Tensor, Tensor],
    compiled: bool = False,
) -> Tensor:
    """Predict clean latent minus noise for a batch of one size.

    x: (batch, 16, rows, columns) noisy latents in model space; sigma: (batch,) in 0..1.
    caption: states (batch, length, CAPTION_DIM) and mask of real tokens (batch, length), length a multiple of 32.
    """
    height, width = x.shape[-2:]
    turns = _whole_turns(caption[0].shape[1], height // 2, width // 2, x.device)
    return unpatchify(_forward(transformer, patchify(x), turns, sigma, caption, compiled), height, width)


def predict_tokens(
    transformer: ZImageTransformer2DModel,
    x: Tensor,
    keep: Tensor,
    sigma: Tensor,
    caption: tuple[Tensor, Tensor],
    compiled: bool = False,
) -> Tensor:
    """Like :func:`predict`, but the network sees only the tokens ``keep`` (kept,) of the picture.

    Returns (batch, kept, 64), to be compared with the same tokens of the patchified target.
    """
    words, picture = _places(caption[0].shape[1], x.shape[-2] // 2, x.shape[-1] // 2)
    turns = _turns(words, picture[keep], x.device)
    return _forward(transformer, patchify(x)[:, keep], turns, sigma, caption, compiled)


def _forward(
    transformer: ZImageTransformer2DModel,
    patches: Tensor,
    turns: tuple[Rotation, Rotation, Rotation, int],
    sigma: Tensor,
    caption: tuple[Tensor, Tensor],
    compiled: bool,
) -> Tensor:
    """Run the transformer on patches (batch, tokens, 64); return patches of the same shape."""
    net = cast("Any", transformer)
    states, real = caption
    batch, tokens = patches.shape[:2]
    caption_turn, picture_turn, joint_turn, padding = turns
    time = net.t_embedder((1 - sigma) * net.t_scale)

    picture = net.all_x_embedder[PATCH](patches)
    if padding:
        picture = torch.cat([picture, net.x_pad_token.to(picture.dtype).expand(batch, padding, -1)], 1)
    run = _block_for(picture.shape[1] + states.shape[1], compiled)
    for layer in net.noise_refiner:
        picture = run(layer, picture, picture_turn, layer.adaLN_modulation[0](time))

    words = net.cap_embedder[1](_normalise(net.cap_embedder[0], states))
    words = torch.where(real[..., None], words, net.cap_pad_token.to(words.dtype))
    for layer in net.context_refiner:
        words = run(layer, words, caption_turn, None)

    joint = torch.cat([picture, words], 1)
    for layer in net.layers:
        joint = run(layer, joint, joint_turn, layer.adaLN_modulation[0](time))
    final = net.all_final_layer[PATCH]
    out: Tensor = final.linear(final.norm_final(joint[:, :tokens]) * (1 + final.adaLN_modulation(time)).unsqueeze(1))
    return out
