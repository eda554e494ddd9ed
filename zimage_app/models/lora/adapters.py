"""Checks the tensors of one module's adapter and combines them into an update. Independent of key layouts and files.

Tensors are addressed by their role (up, down, alpha, lokr_w1, …); the file's own keys are kept for messages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from zimage_app.domain.errors import LoraError
from zimage_app.models.lora.files import fault, shown
from zimage_app.models.lora.names import Shape, SpelledModule
from zimage_app.models.lora.updates import Delta, Dora, Full, Hadamard, Kronecker, LowRank, Replacement, Update

ABSURD = 1e4
"""Maximum absolute value of a factor; trained LoRAs stay far below, so a larger value means a broken file."""

_MAX_RANKS = 1024
"""Maximum rank for small weights, whose sides are often exceeded by a rank that is set for all modules."""

_ADAPTERS = {"up": "LoRA", "down": "LoRA", "hada": "LoHa", "lokr": "LoKr"}


@dataclass(slots=True)
class AdapterTensors:
    """The tensors of a file for one spelling of one module, by role."""

    file: str
    found: SpelledModule
    keys: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def add(self, role: str, key: str, tensor: Tensor) -> None:
        """Add a tensor of the file; raises LoraError if its role is already taken."""
        if role in self.keys:
            raise self.fault(
                role,
                f"says the same as {shown(key)}; keep one adapter per module",
                f"与 {shown(key)} 重复；每个模块只能保留一份",
            )
        self.keys[role] = key
        self.tensors[role] = tensor

    def fault(self, role: str, en: str, zh: str) -> LoraError:
        """Make an error about the tensor of a role."""
        key = shown(self.keys.get(role, self.found.place.name))
        return fault(self.file, f"{key} {en}", f"{key} {zh}")

    def checked(self, role: str) -> Tensor:
        """Return the tensor of a role; raises LoraError if it isn't floating point, finite and of sane size."""
        tensor = self.tensors[role]
        if not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise self.fault(
                role, f"holds {kind}, not real numbers; choose another file", f"是 {kind}，不是实数；请换一个文件"
            )
        low, high = (float(value) for value in torch.aminmax(tensor.float())) if tensor.numel() else (0.0, 0.0)
        largest = max(-low, high)
        if not math.isfinite(low) or not math.isfinite(high):
            raise self.fault(
                role,
                "has NaN or infinite values; the file is broken, train or download it again",
                "含有 NaN 或无穷大；文件已损坏，请重新训练或下载",
            )
        if largest > ABSURD:
            raise self.fault(
                role,
                f"reaches {largest:.3g}, and no sound LoRA exceeds {ABSURD:g}; the file is broken",
                f"数值达到 {largest:.3g}，正常的 LoRA 不会超过 {ABSURD:g}；文件已损坏",
            )
        return tensor

    def matrix(self, role: str) -> Tensor:
        """Return a factor as a matrix; trailing dimensions from tools that use 1×1 convolutions are flattened."""
        tensor = self.checked(role)
        if tensor.ndim < 2 or tensor.numel() == 0:
            raise self.fault(
                role,
                f"has shape {_by(tensor.shape)}, but a factor is a matrix; the file is broken",
                f"形状为 {_by(tensor.shape)}，而因子应是矩阵；文件已损坏",
            )
        return tensor.flatten(1)

    def need(self, role: str, partner: str) -> None:
        """Raise LoraError if the file lacks the tensor of ``role``, which ``partner`` is multiplied with."""
        if role not in self.keys:
            module = self.found.place.name
            raise self.fault(
                partner,
                f"has no other half: the {role} factor of {module} is missing; download the file again",
                f"缺少另一半：没有 {module} 的 {role} 因子；请重新下载文件",
            )

    def scale(self, rank: int | None) -> float:
        """Return alpha / rank; 1 without an alpha or without a rank (HOW-IT-COMPUTES.md section 8)."""
        if "alpha" not in self.keys or rank is None:
            return 1.0
        tensor = self.tensors["alpha"]
        alpha = float(tensor) if tensor.numel() == 1 else math.nan
        if not math.isfinite(alpha) or abs(alpha / rank) > ABSURD:
            raise self.fault(
                "alpha",
                f"is not a usable number ({_value(tensor)}); the file is broken",
                f"不是可用的数值（{_value(tensor)}）；文件已损坏",
            )
        return alpha / rank


def direct(group: AdapterTensors, role: str, shape: Shape) -> Update:
    """Return the update for a full difference (``diff``, …) or a replacement value (``set_weight``).

    Raises:
        LoraError: the tensor has a wrong shape or invalid values.
    """
    value = group.checked(role)
    _match(group, role, tuple(value.shape), shape)
    return Replacement(value) if role == "set_weight" else Delta(Full(value))


def family(role: str) -> str | None:
    """Return the kind of adapter that a role belongs to: LoRA, LoHa, LoKr or None."""
    return _ADAPTERS.get(role.partition("_")[0])


def adapter(group: AdapterTensors, shape: Shape) -> Update:
    """Return the LoRA, LoHa or LoKr update of a module, with its DoRA magnitude if there is one.

    Args:
        group: the file's tensors for the module.
        shape: shape of the weight that is changed.

    Raises:
        LoraError: a factor is missing, or a tensor has a wrong shape or invalid values.
    """
    families = sorted({name for name in map(family, group.keys) if name})
    lengths = [role for role in ("dora_scale", "lora_magnitude_vector") if role in group.keys]
    if not families:
        group.need("down", lengths[0])
    if len(families) > 1:
        module = group.found.place.name
        raise fault(
            group.file,
            f"{module} has {' and '.join(families)} at once; keep one adapter per module",
            f"{module} 同时有 {' 与 '.join(families)}；每个模块只能保留一种",
        )
    delta = {"LoRA": _lora, "LoHa": _loha, "LoKr": _lokr}[families[0]](group, shape)
    return _dora(group, delta, lengths[0], shape) if lengths else delta


def _lora(group: AdapterTensors, shape: Shape) -> Delta:
    group.need("up", "down")
    group.need("down", "up")
    product = _pair(group, "up", "down")
    _match_product(group, "up", "down", product, shape)
    return Delta(product, group.scale(product.down.shape[0]))


def _loha(group: AdapterTensors, shape: Shape) -> Delta:
    present = next(role for role in group.keys if role.startswith("hada"))
    for role in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"):
        group.need(role, present)
    w1, w2 = _pair(group, "hada_w1_a", "hada_w1_b"), _pair(group, "hada_w2_a", "hada_w2_b")
    for number, product in (("1", w1), ("2", w2)):
        _match_product(group, f"hada_w{number}_a", f"hada_w{number}_b", product, shape)
    return Delta(Hadamard(w1, w2), group.scale(w1.down.shape[0]))


def _lokr(group: AdapterTensors, shape: Shape) -> Delta:
    w1, w2 = _lokr_factor(group, "lokr_w1"), _lokr_factor(group, "lokr_w2")
    outer, inner = _product_shape(w1), _product_shape(w2)
    key = next(role for role in group.keys if role.startswith("lokr_w2"))
    _match(group, key, (outer[0] * inner[0], outer[1] * inner[1]), shape)
    # If both factors are low-rank, alpha is divided by the second one's rank.
    ranks = [factor.down.shape[0] for factor in (w2, w1) if isinstance(factor, LowRank)]
    return Delta(Kronecker(w1, w2), group.scale(ranks[0] if ranks else None))


def _lokr_factor(group: AdapterTensors, name: str) -> LowRank | Full:
    if name in group.keys:
        return Full(group.matrix(name))
    present = next(role for role in group.keys if role.startswith("lokr"))
    if f"{name}_a" not in group.keys and f"{name}_b" not in group.keys:
        group.need(name, present)
    group.need(f"{name}_a", present)
    group.need(f"{name}_b", present)
    return _pair(group, f"{name}_a", f"{name}_b")


def _product_shape(factor: LowRank | Full) -> Shape:
    if isinstance(factor, Full):
        return tuple(factor.value.shape)
    return factor.up.shape[0], factor.down.shape[1]


def _pair(group: AdapterTensors, up: str, down: str) -> LowRank:
    """Return two factors as a low-rank product; raises LoraError if their ranks differ or are too large."""
    pair = LowRank(group.matrix(up), group.matrix(down))
    if pair.up.shape[1] != pair.down.shape[0]:
        other = shown(group.keys[down])
        raise group.fault(
            up,
            f"has shape {_by(pair.up.shape)} and {other} {_by(pair.down.shape)}: the ranks differ; the file is broken",
            f"形状为 {_by(pair.up.shape)}，而 {other} 为 {_by(pair.down.shape)}：秩不一致；文件已损坏",
        )
    rank, max_rank = pair.down.shape[0], max(_MAX_RANKS, pair.up.shape[0], pair.down.shape[1])
    if rank > max_rank:
        raise group.fault(
            down,
            f"has rank {rank}, and a weight of this size can use {max_rank} at most; the file is broken",
            f"的秩为 {rank}，而这种大小的权重最多只能用到 {max_rank}；文件已损坏",
        )
    return pair


def _dora(group: AdapterTensors, delta: Delta, role: str, shape: Shape) -> Dora:
    magnitude = group.checked(role)
    if magnitude.ndim == 1:
        magnitude = magnitude[:, None]
    if tuple(magnitude.shape) not in {(shape[0], 1), (1, *shape[1:])}:
        raise group.fault(
            role,
            f"has shape {_by(magnitude.shape)}, and {shape[0]}×1 or 1×{_by(shape[1:])} is needed;"
            " the file is for another model",
            f"形状为 {_by(magnitude.shape)}，应为 {shape[0]}×1 或 1×{_by(shape[1:])}；该文件属于其他模型",
        )
    return Dora(delta, magnitude, "original" if role == "dora_scale" else "sum")


def _match_product(group: AdapterTensors, up: str, down: str, pair: LowRank, shape: Shape) -> None:
    rows, columns = pair.up.shape[0], pair.down.shape[1]
    role = up if len(shape) != 2 or rows != shape[0] else down
    _match(group, role, (rows, columns), shape)


def _match(group: AdapterTensors, role: str, given: Shape, needed: Shape) -> None:
    if given != needed:
        place = group.found.place.name
        raise group.fault(
            role,
            f"makes a {_by(given)} change, and {place} of this model is {_by(needed)}; choose a LoRA for this model",
            f"给出 {_by(given)} 的改动，而此模型的 {place} 是 {_by(needed)}；请选择适用于此模型的 LoRA",
        )


def _by(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _value(tensor: Tensor) -> str:
    return f"{float(tensor):g}" if tensor.numel() == 1 else _by(tuple(tensor.shape))
