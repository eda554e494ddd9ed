"""Attention over rows of tokens. A row may hold several packed sequences, the first of which may be guided.

A guided sequence has a second caption, whose attention is combined with that of the first. Shapes: q, k, v
(rows, N, heads, head); the result is (rows, N, D), with the heads concatenated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from zimage_app.models.components import Combine

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Attention of (q, k, v), each (rows, heads, N, head) -> the same shape."""


class Guided(NamedTuple):
    """Attention guidance of the first sequence, which is [picture, caption, other caption].

    The picture attends to itself and its caption, and separately to itself and the other caption; ``combine`` merges
    both results. The other caption attends to the picture and itself.
    """

    picture: int
    """Number of the picture's tokens, with padding."""
    caption: int
    """Number of the caption's tokens, with padding."""
    combine: Combine
    captions: bool
    """Whether the caption's tokens are also combined with those at the same positions of the other caption."""


class Sequences(NamedTuple):
    """The sequences in the rows, and further inputs of attention."""

    lengths: tuple[int, ...] | None = None
    """Lengths of the sequences packed in a single row; None if every row is one sequence.

    They are computed separately, because masks would rule out the fast kernels.
    """
    guided: Guided | None = None
    value_scale: Tensor | None = None
    """(rows, N, 1, 1): factors of the values; None means ones."""


WHOLE = Sequences()
"""One sequence per row."""


def attention(q: Tensor, k: Tensor, v: Tensor, sequences: Sequences, attend: Attend) -> Tensor:
    """Compute attention of every token to its whole sequence."""
    if sequences.value_scale is not None:
        v = v * sequences.value_scale
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if sequences.lengths is None:
        return _side_by_side(attend(q, k, v))
    parts = list(zip(*(torch.split(item, list(sequences.lengths), 2) for item in (q, k, v)), strict=True))
    guided = sequences.guided
    done = []
    if guided is not None:
        q, k, v = parts[0]
        done.append(_guided((q, k, v), guided, attend))
    done += [_side_by_side(attend(*part)) for part in parts[len(done) :]]
    return torch.cat(done, 1)


def _side_by_side(attended: Tensor) -> Tensor:
    """(rows, heads, N, head) -> (rows, N, D)."""
    return attended.transpose(1, 2).flatten(2)


def _guided(parts: tuple[Tensor, Tensor, Tensor], guided: Guided, attend: Attend) -> Tensor:
    if parts[0].device.type in _KERNELS:
        both = _with_shared_scores(*parts, guided)
    else:
        both = _in_two_passes(*parts, guided, attend)
    own, other = (_side_by_side(part) for part in both)
    rows = guided.picture
    if guided.captions:
        rows += min(guided.caption, other.shape[1] - guided.picture)
    combined = guided.combine(own[:, :rows], other[:, :rows])
    return torch.cat([combined, own[:, rows:], other[:, guided.picture :]], 1)


def _without_caption(x: Tensor, guided: Guided) -> Tensor:
    """Cut [picture, other caption] out of [picture, caption, other caption]."""
    return torch.cat([x[:, :, : guided.picture], x[:, :, guided.picture + guided.caption :]], 2)


def _in_two_passes(q: Tensor, k: Tensor, v: Tensor, guided: Guided, attend: Attend) -> tuple[Tensor, Tensor]:
    """Compute attention within [picture, caption] and within [picture, other caption] separately."""
    until = guided.picture + guided.caption
    own = attend(q[:, :, :until], k[:, :, :until], v[:, :, :until])
    return own, attend(_without_caption(q, guided), _without_caption(k, guided), _without_caption(v, guided))


def _with_shared_scores(q: Tensor, k: Tensor, v: Tensor, guided: Guided) -> tuple[Tensor, Tensor]:
    """Compute the same as ``_in_two_passes``, but attention to the picture, most of the work, only once.

    Attention to keys A and B together is z_a + sigmoid(l_b - l_a) (z_b - z_a), where l_a and l_b are the log-sum-exps
    of the scores over A and B.
    """
    picture, until = guided.picture, guided.picture + guided.caption
    kernel = _KERNELS[q.device.type]
    seen, seen_sum = kernel(q, k[:, :, :picture], v[:, :, :picture])
    own = kernel(q[:, :, :until], k[:, :, picture:until], v[:, :, picture:until])
    other = kernel(_without_caption(q, guided), k[:, :, until:], v[:, :, until:])
    return (
        _merged(seen[:, :, :until], seen_sum[:, :, :until], *own),
        _merged(_without_caption(seen, guided), _without_caption(seen_sum, guided), *other),
    )


def _merged(first: Tensor, first_sum: Tensor, second: Tensor, second_sum: Tensor) -> Tensor:
    share = torch.sigmoid(second_sum - first_sum)[..., None].to(first.dtype)
    return torch.lerp(first, second, share)


def _cpu_kernel(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    done: tuple[Tensor, Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)
    return done


_KERNELS: dict[str, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]] = {"cpu": _cpu_kernel}
"""Device type -> attention (rows, heads, N, head) with its log-sum-exp (rows, heads, N), unlike torch's public API."""
