"""A fast forward for Z-Image's transformer, which computes everything that doesn't change only once.

* once per prompt: the caption's embedding and refiner, which don't depend on noise level and picture size;
* once per stage: rotary positions, padding, and the modulations of all blocks for all noise levels;
* per evaluation: the blocks, with static shapes, no masks, and no transfers between host and device.

Computes the same as diffusers' ``ZImageTransformer2DModel``, with that module's weights. Shapes: ``D`` the model's
width, ``L`` tokens of a padded caption, ``N`` tokens of a sequence, ``T`` noise levels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zimage_app.domain.errors import wrong_field
from zimage_app.domain.token_limit import check_tokens
from zimage_app.models.components import AttentionGuidance, PreparedPrompt
from zimage_app.models.device import is_out_of_memory
from zimage_app.models.networks.attention import WHOLE, Guided, Sequences
from zimage_app.models.networks.block import BlockShape, BlockWeights, block
from zimage_app.models.networks.kernels import DEFAULT, KernelChoice, Kernels, Step
from zimage_app.models.networks.linears import Weight, weight_of
from zimage_app.models.networks.streaming import Blocks
from zimage_app.models.weights.packed_weights import PackedLinear, StackedLinear, packed_linears

TOKEN_MULTIPLE = 32
"""Captions and pictures are padded to a multiple of this, with learned tokens that take part in attention."""
_PATCH = 2
_PIXELS = 8
"""Pixels along the edge of a latent cell."""
_HEAD_KEY = "2-1"
"""The module's key for patches of 2 x 2 cells in one frame."""
_FINAL_EPS = 1e-6
_QK_EPS = torch.finfo(torch.float32).eps
"""Epsilon of the norms of queries and keys, as in ComfyUI; diffusers uses 1e-5."""
_COPIED_AT_MOST = 4 * 10**9
"""On a CPU, weights are copied for fusing if the model takes fewer bytes than this."""


@dataclass(frozen=True, slots=True)
class _Norms:
    """The parts of a block that are used once per stage."""

    weights: tuple[Tensor, Tensor, Tensor, Tensor]
    """Norm weights before and after attention, before and after the feed-forward network."""
    adaln: nn.Module | None
    """Maps the time embedding to this block's modulation; None in the context refiner."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A refined caption: ``features`` (L, D) including padding; ``tokens`` is the number before padding."""

    features: Tensor
    tokens: int
    version: int
    """``FastTransformer.version`` of the weights used."""
    value_scale: Tensor | None = None
    """(L,): factors of the tokens' values in every attention; None means ones."""


class _Modulation(NamedTuple):
    """The norm weights modulated for one noise level: ``blocks`` (blocks, 4, D), ``final`` (D)."""

    blocks: Tensor
    final: Tensor


@dataclass(frozen=True, slots=True)
class _Layout:
    """The arrangement of a stage's tokens."""

    rows: int
    """Number of pictures evaluated at once."""
    grid: tuple[int, int]
    """Number of patches (down, across)."""
    image_pads: int
    """Number of padding tokens of each picture."""
    image_rope: Tensor
    """Rotary embedding (rows, N, 1, head/2, 2) of the padded pictures alone."""
    rope: Tensor
    """Rotary embedding of [picture, caption]: one row each, or a single row of all if they are packed."""
    captions: tuple[Tensor, ...]
    """The tokens after each picture: its caption's, and for a guided first row also the other caption's."""
    sequences: Sequences
    """Packed into a single row if they differ in length or the first is guided."""
    kernels: Kernels = DEFAULT

    @property
    def image_tokens(self) -> int:
        """Number of a picture's tokens, without padding."""
        return self.grid[0] * self.grid[1]


def _no_files(name: str) -> Tensor:
    raise LookupError(f"{name} wasn't read from a file, so LoRAs can't be applied to this model")


class FastTransformer:
    """Implements the Transformer protocol.

    Makes ``to_q``, ``to_k``, ``to_v`` views of one fused matrix, and ``w1``, ``w3`` of another, unless that would copy
    a large memory-mapped model. Weights written in place (``parameter.copy_``) take effect at once; call
    ``weights_changed`` afterwards. The module must already have its device and dtype, because moving or casting it
    later would separate the views; ``weights_changed`` detects that.

    Args:
        module: ``ZImage``, or diffusers' module, which has the same parts; its weights may be packed, and those of main
            blocks may be in the computer's memory.
        origin: returns a weight by name as it was loaded; without it, the model takes no LoRAs.
    """

    def __init__(self, module: Any, origin: Callable[[str], Tensor] = _no_files) -> None:
        self.module = module
        self.origin = origin
        self.kernels: KernelChoice | None = None
        """Chooses the kernels of blocks; None: plain kernels."""
        self.version = 0
        self._embed = module.all_x_embedder[_HEAD_KEY]
        self._final = module.all_final_layer[_HEAD_KEY]
        self.shape = BlockShape(self.module.n_heads, self.module.layers[0].attention_norm1.eps, _QK_EPS)
        # Tensors created in inference mode can't be written to outside it, as LoRAs do.
        with torch.inference_mode(False), torch.no_grad():
            join = partial(_joined, may_copy=_may_copy(module))
            self._context = self._blocks(self.module.context_refiner, join)
            self._noise = self._blocks(self.module.noise_refiner, join)
            self._main = self._blocks(self.module.layers, join)
        self._context_norms = [_norms(item) for item in self.module.context_refiner]
        self._norms = [_norms(item) for item in (*self.module.noise_refiner, *self.module.layers)]
        self._addresses = _addresses(module)

    def _blocks(self, layers: nn.ModuleList, join: Callable[[BlockWeights], BlockWeights]) -> Blocks[BlockWeights]:
        return Blocks([_weights(item) for item in layers], self.device, join)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of computation."""
        dtype: torch.dtype = self._embed.weight.dtype
        return dtype

    @property
    def device(self) -> torch.device:
        """The device that computes."""
        device: torch.device = self._embed.weight.device
        return device

    @property
    def description(self) -> str:
        """The properties on which the speed of the blocks depends, as a text."""
        packed = next((type(item.weight).__name__ for item in packed_linears(self.module).values()), "plain")
        config, dtype = self.module.config, str(self.dtype).removeprefix("torch.")
        return f"{config.dim} wide, {config.n_heads} heads, {dtype}, {packed}"

    @property
    def max_tokens(self) -> int:
        """Maximum number of caption tokens, see ``longest_caption``."""
        return longest_caption(self.module.config.axes_lens[0])

    def weights_changed(self) -> None:
        """Invalidate everything derived from the weights: prompts and stages must be prepared again.

        Raises RuntimeError if a parameter was replaced or moved instead of being written in place.
        """
        if self._addresses != _addresses(self.module):
            raise RuntimeError("a weight of the transformer was replaced or moved; write weights in place (copy_)")
        self.version += 1

    @property
    def streamed(self) -> int:
        """Number of main blocks that are streamed: each is copied to the device while another one computes."""
        return self._main.streamed

    def offload(self) -> bool:
        """Stream half of the main blocks that are still on the device from now on."""
        try:
            return self._main.offload()
        finally:
            self._addresses = _addresses(self.module)

    @torch.no_grad()
    def prompt(self, features: Tensor, value_scale: Tensor | None = None) -> Prompt:
        """Convert text features (tokens, channels) to refined caption tokens.

        ``value_scale`` (tokens,) are factors of the tokens' values in the attention of the refiner and all later
        blocks.

        Raises:
            RequestError: the caption has more than ``max_tokens`` tokens.
        """
        tokens = features.shape[0]
        check_tokens("prompt", tokens, self.max_tokens)
        hidden: Tensor = self.module.cap_embedder(features.to(self.device, self.dtype))
        pads = -tokens % TOKEN_MULTIPLE
        hidden = torch.cat([hidden, self.module.cap_pad_token.expand(pads, -1)])[None]
        rope = self._rope(_caption_positions(tokens + pads))[None]
        scale = None if value_scale is None else F.pad(value_scale.to(self.device, self.dtype), (0, pads), value=1.0)
        sequences = WHOLE if scale is None else Sequences(value_scale=scale[None, :, None, None])
        for weights, norms in zip(self._context, self._context_norms, strict=True):
            hidden = block(hidden, weights, norms.weights, rope, self.shape, sequences)
        return Prompt(hidden[0], tokens, self.version, scale)

    @torch.no_grad()
    def evaluation(
        self,
        size: tuple[int, int],
        prompts: Sequence[PreparedPrompt],
        sigmas: Sequence[float],
        guidance: AttentionGuidance | None = None,
    ) -> StageEvaluation:
        """Prepare evaluations of latents (rows, 16, *size), row i with prompt i, at the noise levels ``sigmas``.

        ``guidance`` applies to the first row only.

        Raises:
            ValueError: the size is odd, there is no prompt, or a prompt was prepared with other weights.
            RequestError: the picture has more rows or columns than there are rotary positions.
        """
        mine = [self._checked_prompt(prompt) for prompt in prompts]
        layout = self._layout(size, mine, guidance)
        if self.kernels is not None and len(self._noise):
            layout = replace(layout, kernels=self.kernels.kernels(_description(layout), partial(self._trial, layout)))
        return StageEvaluation(self, size, layout, sigmas)

    def _trial(self, layout: _Layout, kernels: Kernels) -> Tensor:
        """Compute a block with given kernels at the stage's shape; noise refiner blocks are always on the device."""
        generator = torch.Generator(self.device).manual_seed(0)
        rows, tokens = layout.rope.shape[:2]
        x = torch.randn(rows, tokens, self.module.config.dim, generator=generator, device=self.device).to(self.dtype)
        run, shape = self._block_with(kernels)
        return run(x, self._noise[0], self._norms[0].weights, layout.rope, shape, layout.sequences)

    def _block_with(self, kernels: Kernels) -> tuple[Callable[..., Tensor], BlockShape]:
        """Return the function that computes a block, and its parameters."""
        if kernels.block is None:
            return block, self.shape._replace(kernels=kernels)
        # A whole block's compiler fuses the small parts itself.
        return kernels.block, self.shape._replace(kernels=DEFAULT._replace(attend=kernels.attend))

    def _checked_prompt(self, prompt: PreparedPrompt) -> Prompt:
        if not isinstance(prompt, Prompt):
            raise TypeError(f"not a prompt of this transformer: {type(prompt).__name__}")
        if prompt.version != self.version:
            raise ValueError("this prompt was prepared before the weights changed; prepare it again")
        return prompt

    def _layout(self, size: tuple[int, int], prompts: Sequence[Prompt], guidance: AttentionGuidance | None) -> _Layout:
        if size[0] % _PATCH or size[1] % _PATCH:
            raise ValueError(f"latent size {size[0]} x {size[1]}: height and width must be even")
        if not prompts:
            raise ValueError("an evaluation needs at least one prompt")
        grid = (size[0] // _PATCH, size[1] // _PATCH)
        self._check_grid(grid)
        row_prompts = [[item] for item in prompts]
        if guidance is not None:
            row_prompts[0].append(self._checked_prompt(guidance.prompt))
        image = [_image_positions(grid, item.features.shape[0]) for item in prompts]
        captions = [[_caption_positions(item.features.shape[0]) for item in each] for each in row_prompts]
        image_ropes = [self._rope(positions) for positions in image]
        ropes = [self._rope(torch.cat([picture, *texts])) for picture, texts in zip(image, captions, strict=True)]
        packed = guidance is not None or len({rope.shape[0] for rope in ropes}) > 1
        return _Layout(
            rows=len(prompts),
            grid=grid,
            image_pads=-(grid[0] * grid[1]) % TOKEN_MULTIPLE,
            image_rope=torch.stack(image_ropes),
            rope=torch.cat(ropes)[None] if packed else torch.stack(ropes),
            captions=tuple(torch.cat([item.features for item in each]) for each in row_prompts),
            sequences=Sequences(
                lengths=tuple(rope.shape[0] for rope in ropes) if packed else None,
                guided=_guided(guidance, image[0].shape[0], prompts[0]),
                value_scale=_value_scale(row_prompts, image[0].shape[0], packed=packed),
            ),
        )

    def _check_grid(self, grid: tuple[int, int]) -> None:
        for field, name_zh, patches, max_patches in zip(
            ("height", "width"), ("高", "宽"), grid, self.module.config.axes_lens[1:], strict=True
        ):
            if patches > max_patches:
                pixels, limit = patches * _PATCH * 8, max_patches * _PATCH * 8
                raise wrong_field(
                    field,
                    f"{pixels} pixels are more than the {limit} that this model takes; make it smaller",
                    f"{name_zh} {pixels} 像素超过此模型的上限 {limit}；请改小",
                )

    def _rope(self, positions: Tensor) -> Tensor:
        """Return cosines and sines (N, 1, head/2, 2), float32, of positions (N, 3); angles are computed in float64."""
        angles = []
        for axis, channels in enumerate(self.module.config.axes_dims):
            exponents = torch.arange(0, channels, 2, dtype=torch.float64) / channels
            frequencies = 1.0 / self.module.config.rope_theta**exponents
            angles.append(torch.outer(positions[:, axis].double(), frequencies))
        angle = torch.cat(angles, 1).float()
        return torch.stack((angle.cos(), angle.sin()), -1)[:, None].to(self.device)

    def modulations(self, sigmas: Sequence[float]) -> list[_Modulation]:
        """Compute the modulations of T noise levels at once, multiplied into the norm weights.

        A block computes gate * norm(x, weight) with gate = tanh(g), which equals norm(x, gate * weight). The product
        is computed here, in float32, so that evaluations don't multiply by modulations.
        """
        time = (1.0 - torch.tensor(list(sigmas), dtype=torch.float32)).to(self.device)
        embedded = self.module.t_embedder(time * self.module.t_scale).to(self.dtype)
        folded = torch.stack([_fold(item, embedded) for item in self._norms], 1)
        final = 1.0 + self._final.adaLN_modulation(embedded)
        return [_Modulation(*pair) for pair in zip(folded.unbind(0), final.unbind(0), strict=True)]

    def velocity(self, x: Tensor, modulation: _Modulation, layout: _Layout) -> Tensor:
        """Compute v = -net(x) for latents ``x`` (rows, 16, height, width); as in ComfyUI, denoised = x - sigma v."""
        hidden = self._embed(_patches(x, layout.grid))
        pads = self.module.x_pad_token.expand(layout.rows, layout.image_pads, -1)
        run, shape = self._block_with(layout.kernels)
        hidden = torch.cat([hidden, pads], 1)
        for weights, norms in zip(self._noise, modulation.blocks[: len(self._noise)], strict=True):
            hidden = run(hidden, weights, norms.unbind(0), layout.image_rope, shape, WHOLE)
        hidden = _join(hidden, layout)
        for weights, norms in zip(self._main, modulation.blocks[len(self._noise) :], strict=True):
            hidden = run(hidden, weights, norms.unbind(0), layout.rope, shape, layout.sequences)
        hidden = _image_part(hidden, layout)
        hidden = F.layer_norm(hidden, hidden.shape[-1:], None, None, _FINAL_EPS) * modulation.final
        return -_unpatched(self._final.linear(hidden), x.shape, layout.grid)


class StageEvaluation:
    """Implements the Evaluation protocol: evaluates the transformer for a fixed latent size and prompts.

    From the second call on, the whole evaluation may be computed by a faster candidate, such as a CUDA graph. The first
    one also initialises the device's libraries, which can't be done while a graph is captured.
    """

    def __init__(
        self, transformer: FastTransformer, size: tuple[int, int], layout: _Layout, sigmas: Sequence[float]
    ) -> None:
        self._transformer = transformer
        self._shape = (layout.rows, int(transformer.module.in_channels), *size)
        self._layout = layout
        self._version = transformer.version
        announced = list(dict.fromkeys(sigmas))
        self._modulations = dict(zip(announced, transformer.modulations(announced), strict=True)) if announced else {}
        self._calls = 0
        self._step: Step | None = None
        """A faster version of ``_plain``, chosen at the second call."""

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Return the velocity (rows, 16, height, width) at a noise level.

        Modulations of a level that wasn't given at construction are computed and cached. Raises ValueError for another
        shape, or if the weights have changed since this stage was prepared.
        """
        if tuple(x.shape) != self._shape:
            raise ValueError(f"latent of shape {tuple(x.shape)}; this stage was prepared for {self._shape}")
        if self._version != self._transformer.version:
            raise ValueError("the weights have changed since this stage was prepared; prepare it again")
        if sigma not in self._modulations:
            (self._modulations[sigma],) = self._transformer.modulations([sigma])
        return self._compute(x, *self._modulations[sigma])

    def _compute(self, *inputs: Tensor) -> Tensor:
        if self._transformer.streamed:  # weights move, so a graph that was captured before reads the wrong memory
            self._step = None
        elif self._calls == 1 and self._transformer.kernels is not None:
            self._step = self._transformer.kernels.step(_description(self._layout), self._plain, inputs)
        self._calls += 1
        if self._step is not None:
            return self._step(*inputs)
        try:
            return self._plain(*inputs)
        except Exception as error:
            kernels = self._transformer.kernels
            if kernels is None or is_out_of_memory(error):
                raise
            if not kernels.without_kernels(_description(self._layout), error):
                raise
        self._layout = replace(self._layout, kernels=DEFAULT)
        return self._plain(*inputs)

    def _plain(self, x: Tensor, blocks: Tensor, final: Tensor) -> Tensor:
        return self._transformer.velocity(x, _Modulation(blocks, final), self._layout)


def _description(layout: _Layout) -> str:
    """Describe a stage's shape as a text, without the length of its captions, which changes with each prompt."""
    width, height = layout.grid[1] * _PATCH * _PIXELS, layout.grid[0] * _PATCH * _PIXELS
    rows = "" if layout.rows == 1 else f" x {layout.rows}"
    return f"{width} x {height}{rows}" + ("" if layout.sequences.lengths is None else ", packed")


def _may_copy(module: Any) -> bool:
    """Return whether weights may be copied for fusing: on an accelerator, or if the model is small.

    On a CPU a large model is mapped from its file, and copies would take additional memory.
    """
    first = next(iter(module.parameters()))
    return bool(first.device.type != "cpu" or sum(item.nbytes for item in module.parameters()) < _COPIED_AT_MOST)


def _weights(module: Any) -> BlockWeights:
    """Return a block's weights in the module, not fused."""
    attn, feed = module.attention, module.feed_forward
    return BlockWeights(
        qkv=(weight_of(attn.to_q), weight_of(attn.to_k), weight_of(attn.to_v)),
        norm_q=attn.norm_q.weight,
        norm_k=attn.norm_k.weight,
        out=weight_of(attn.to_out[0]),
        w13=(weight_of(feed.w1), weight_of(feed.w3)),
        w2=weight_of(feed.w2),
    )


def _norms(module: Any) -> _Norms:
    norms = (module.attention_norm1, module.attention_norm2, module.ffn_norm1, module.ffn_norm2)
    first, second, third, fourth = (norm.weight for norm in norms)
    return _Norms((first, second, third, fourth), module.adaLN_modulation[0] if module.modulation else None)


def _joined(weights: BlockWeights, *, may_copy: bool) -> BlockWeights:
    """Fuse a block's q, k, v and its w1, w3 if possible, see ``_stacked``."""
    return weights._replace(qkv=_stacked(weights.qkv, may_copy), w13=_stacked(weights.w13, may_copy))


def _stacked(parts: tuple[Weight, ...], may_copy: bool) -> tuple[Weight, ...]:
    """Stack the weights of several linears into one matrix, and make parameters views of it.

    Returns the weights unchanged if they can't be stacked, or if that needs a copy and ``may_copy`` is False.
    """
    packed = [part for part in parts if isinstance(part, PackedLinear)]
    if packed:
        together = StackedLinear.of(packed) if len(packed) == len(parts) else None
        return parts if together is None else (together,)
    plain = [part for part in parts if isinstance(part, Tensor)]
    whole = _contiguous(plain)
    if whole is not None:
        return (whole,)
    if not may_copy or not all(isinstance(part, nn.Parameter) for part in plain):
        return parts
    whole = torch.cat(plain)
    for part, rows in zip(plain, torch.split(whole, [part.shape[0] for part in plain]), strict=True):
        part.data = rows
    return (whole,)


def _contiguous(parts: Sequence[Tensor]) -> Tensor | None:
    """Return the matrix that the parts form if they are already adjacent in memory, else None."""
    first = parts[0]
    end = first.data_ptr()
    for part in parts:
        together = part.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not together or not part.is_contiguous() or part.data_ptr() != end:
            return None
        end += part.nbytes
    rows = sum(part.shape[0] for part in parts)
    return first.detach().as_strided((rows, first.shape[1]), first.stride())


def _addresses(module: Any) -> list[int]:
    """Return the address of each parameter's memory."""
    return [parameter.data_ptr() for parameter in module.parameters()]


def _fold(item: _Norms, embedded: Tensor) -> Tensor:
    """Return the modulated norm weights (T, 4, D) of a block for time embeddings (T, channels)."""
    if item.adaln is None:
        raise TypeError("this block has no modulation")
    scale_attention, gate_attention, scale_feed, gate_feed = item.adaln(embedded).float().chunk(4, 1)
    factors = (1.0 + scale_attention, gate_attention.tanh(), 1.0 + scale_feed, gate_feed.tanh())
    folded = [weight.float() * factor for weight, factor in zip(item.weights, factors, strict=True)]
    return torch.stack(folded, 1).to(embedded.dtype)


def _caption_positions(length: int) -> Tensor:
    """Return positions (length, 3) of a padded caption: 1, 2, … along the first axis."""
    positions = torch.zeros(length, 3, dtype=torch.int64)
    positions[:, 0] = torch.arange(1, length + 1)
    return positions


def longest_caption(positions: int) -> int:
    """Return the maximum number of caption tokens: the padded caption and one more position have to fit."""
    return (positions - 2) // TOKEN_MULTIPLE * TOKEN_MULTIPLE


def _image_positions(grid: tuple[int, int], caption: int) -> Tensor:
    """Return positions (padded tokens, 3) of a picture, directly after its caption; padding is at (0, 0, 0)."""
    height, width = grid
    tokens = height * width
    positions = torch.zeros(tokens + -tokens % TOKEN_MULTIPLE, 3, dtype=torch.int64)
    positions[:tokens, 0] = caption + 1
    positions[:tokens, 1] = torch.arange(height).repeat_interleave(width)
    positions[:tokens, 2] = torch.arange(width).repeat(height)
    return positions


def _patches(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Convert (rows, channels, h, w) to (rows, patches, 4 channels), each patch ordered (row, column, channel)."""
    rows, channels = x.shape[:2]
    cells = x.reshape(rows, channels, grid[0], _PATCH, grid[1], _PATCH)
    return cells.permute(0, 2, 4, 3, 5, 1).reshape(rows, grid[0] * grid[1], -1)


def _unpatched(tokens: Tensor, shape: torch.Size, grid: tuple[int, int]) -> Tensor:
    """The inverse of ``_patches``."""
    cells = tokens.reshape(shape[0], grid[0], grid[1], _PATCH, _PATCH, shape[1])
    return cells.permute(0, 5, 1, 3, 2, 4).reshape(shape)


def _join(hidden: Tensor, layout: _Layout) -> Tensor:
    """Concatenate padded pictures (rows, N, D) and captions to [picture, caption] per row, packed if the layout is."""
    if layout.sequences.lengths is None:
        return torch.cat([hidden, torch.stack(layout.captions)], 1)
    pairs = zip(hidden.unbind(0), layout.captions, strict=True)
    return torch.cat([part for pair in pairs for part in pair])[None]


def _image_part(hidden: Tensor, layout: _Layout) -> Tensor:
    """Cut out the pictures' tokens (rows, image tokens, D), without padding."""
    lengths = layout.sequences.lengths
    if lengths is None:
        return hidden[:, : layout.image_tokens]
    return torch.stack([row[: layout.image_tokens] for row in torch.split(hidden[0], list(lengths))])


def _guided(guidance: AttentionGuidance | None, image: int, prompt: Prompt) -> Guided | None:
    if guidance is None:
        return None
    return Guided(image, prompt.features.shape[0], guidance.combine, guidance.captions)


def _value_scale(row_prompts: Sequence[Sequence[Prompt]], image: int, *, packed: bool) -> Tensor | None:
    """Return the factors (rows, N, 1, 1) of the values of pictures and captions; None if all are 1."""
    scaled = [item.value_scale for each in row_prompts for item in each if item.value_scale is not None]
    if not scaled:
        return None
    ones = scaled[0].new_ones
    rows = [
        torch.cat(
            [
                ones(image),
                *(ones(len(item.features)) if item.value_scale is None else item.value_scale for item in each),
            ]
        )
        for each in row_prompts
    ]
    scale = torch.cat(rows)[None] if packed else torch.stack(rows)
    return scale[:, :, None, None]
