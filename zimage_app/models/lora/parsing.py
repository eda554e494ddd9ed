"""Turns the tensors of a LoRA file into checked patches of the model's weights.

A key consists of prefix, module and suffix: ``names.py`` parses the first two, this module the suffix, and
``adapters.py`` checks and combines the tensors of one module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from zimage_app.domain.errors import LoraError
from zimage_app.domain.text import Text
from zimage_app.models.lora import foreign
from zimage_app.models.lora.adapters import AdapterTensors, adapter, direct, family
from zimage_app.models.lora.files import fault, read_lora_file, shown
from zimage_app.models.lora.names import Names, Target
from zimage_app.models.lora.updates import Update

_SUFFIX = re.compile(
    r"""(?:
        \.lora_(?P<letter>[AB])(?:\.(?!weight$|bias$)[\w-]+)?(?:\.weight)?
      | [._]lora[._](?P<side>down|up)(?:\.weight)?
      | \.lora_linear_layer\.(?P<linear>down|up)(?:\.weight)?
      | (?P<bias>(?:\.lora_B(?:\.[\w-]+)?|[._]lora[._]up|\.lora_linear_layer\.up)\.bias)
      | \.(?P<peft>lora_magnitude_vector)(?:\.[\w-]+){0,2}
      | \.(?P<plain>alpha|dora_scale|lokr_w[12](?:_[ab])?|hada_w[12]_[ab]|diff|diff_b|w_norm|b_norm|set_weight)
      | (?P<other>\.lora_mid\.weight|\.lokr_t[12]|\.hada_t[12]|\.[ab][12]\.weight|\.on_input
          |\.b?oft_(?:blocks|diag|R|S|m)(?:\.(?!weight$)[\w-]+)?(?:\.weight)?)
    )$""",
    re.VERBOSE,
)
_SIDES = {"A": "down", "B": "up"}
_PAIR = ("up", "down")
_SHOWN_KEYS = 3
_DIRECT_WEIGHT = ("w_norm", "diff", "set_weight")
_DIRECT_BIAS = ("b_norm", "diff_b")


@dataclass(frozen=True, slots=True)
class Patch:
    """An update of one target."""

    target: Target
    update: Update


@dataclass(frozen=True, slots=True)
class Unused:
    """Keys of a file that have no effect, and the reason."""

    reason: Text
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoraFile:
    """A LoRA file parsed and checked for one model."""

    name: str
    patches: tuple[Patch, ...]
    unused: tuple[Unused, ...]
    declared_factor: float = 1.0
    """Alpha / rank of a file whose header says it while its tensors don't; it is not applied."""

    def warnings(self) -> list[Text]:
        """Return one message per reason for keys that have no effect, and one if ``declared_factor`` isn't 1."""
        texts = [_unused_sentence(self.name, item) for item in self.unused]
        return texts if self.declared_factor == 1.0 else [*texts, _declared_sentence(self.name, self.declared_factor)]


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    patch: Patch
    rank: tuple[int, int]
    """Priority of (spelling, kind of update); like ComfyUI, the highest entry per target is used. Kinds in rising order
    are adapter, w_norm, diff, set_weight."""
    keys: tuple[str, ...]


def read_lora(path: Path, names: Names) -> LoraFile:
    """Read, parse and check a LoRA's file for one model; raises LoraError as ``read_lora_file`` and ``parse_lora``."""
    tensors, factor = read_lora_file(path)
    file = parse_lora(path.name, tensors, names)
    return file if factor is None else replace(file, declared_factor=factor)


def parse_lora(file: str, tensors: Mapping[str, Tensor], names: Names) -> LoraFile:
    """Parse and check a LoRA's tensors for one model.

    Args:
        file: the file's name, for messages.
        tensors: key -> tensor, as in the file.
        names: the model's modules.

    Raises:
        LoraError: nothing fits the model, a factor is missing, or a shape or a value is wrong.
    """
    groups, unused = _grouped(file, tensors, names)
    entries: list[_Entry] = []
    for group in groups:
        _leave_out(group, unused)
        entries.extend(_entries(group))
    kept = _one_reading(_one_per_target(entries, unused), unused)
    if not kept:
        raise _nothing_fits(file, tensors, unused)
    # ComfyUI patches the fused matrix before its slices; DoRA's result depends on the order.
    ordered = sorted(kept, key=lambda entry: not entry.patch.target.fused)
    reasons = tuple(Unused(reason, tuple(sorted(keys))) for reason, keys in unused.items())
    return LoraFile(file, tuple(entry.patch for entry in ordered), reasons)


def _grouped(
    file: str, tensors: Mapping[str, Tensor], names: Names
) -> tuple[list[AdapterTensors], dict[Text, list[str]]]:
    groups: dict[str, AdapterTensors] = {}
    unused: dict[Text, list[str]] = {}
    for key, tensor in tensors.items():
        match = _SUFFIX.search(key)
        found = names.find(key[: match.start()]) if match else None
        if match is None or found is None:
            unused.setdefault(_why_unused(key, names), []).append(key)
            continue
        group = groups.setdefault(key[: match.start()], AdapterTensors(file, found))
        group.add(_role(match, group, key), key, tensor)
    return list(groups.values()), unused


def _why_unused(key: str, names: Names) -> Text:
    if names.find(key.removesuffix(".weight").removesuffix(".bias")) is not None:
        return foreign.PLAIN_WEIGHTS
    parts = key.split(".")
    if any(names.find(".".join(parts[:-cut])) is not None for cut in (1, 2, 3)):
        return foreign.UNKNOWN_PART
    reason = foreign.likely_reason(key)
    return foreign.UNKNOWN_NAME if reason == foreign.NO_SUCH_LAYER and names.has_layer(key) else reason


def _role(match: re.Match[str], group: AdapterTensors, key: str) -> str:
    groups = match.groupdict()
    if groups["other"]:
        raise fault(
            group.file,
            f"{shown(key)} belongs to a kind of adapter that is not supported ({groups['other'].strip('.')});"
            " choose a LoRA, LoHa, LoKr or DoRA",
            f"{shown(key)} 属于不支持的适配器类型（{groups['other'].strip('.')}）；请使用 LoRA、LoHa、LoKr 或 DoRA",
        )
    if groups["bias"]:
        return "adapter_bias"
    half = groups["side"] or groups["linear"] or _SIDES.get(groups["letter"] or "")
    return half or groups["peft"] or groups["plain"]


def _leave_out(group: AdapterTensors, unused: dict[Text, list[str]]) -> None:
    """Move keys without effect to ``unused``: adapter biases, missing biases, an alpha alone, factors of rank 0."""
    reasons = {"adapter_bias": foreign.ADAPTER_BIAS}
    if any(group.tensors[role].numel() == 0 for role in _PAIR if role in group.keys):
        reasons |= dict.fromkeys((*_PAIR, "alpha"), foreign.NO_RANK)
    if group.found.place.bias is None:
        reasons |= dict.fromkeys(_DIRECT_BIAS, foreign.NO_BIAS)
    if not any(family(role) for role in group.keys):
        reasons["alpha"] = foreign.ALPHA_ALONE
    for role in reasons.keys() & group.keys.keys():
        unused.setdefault(reasons[role], []).append(group.keys.pop(role))


def _entries(group: AdapterTensors) -> Iterator[_Entry]:
    place, keys = group.found.place, group.keys
    adapter_roles = [role for role in keys if role not in _DIRECT_WEIGHT + _DIRECT_BIAS]
    if adapter_roles:
        update = adapter(group, place.weight.shape)
        yield _Entry(Patch(place.weight, update), (group.found.rank, 0), tuple(keys[role] for role in adapter_roles))
    for roles, target in ((_DIRECT_WEIGHT, place.weight), (_DIRECT_BIAS, place.bias)):
        for kind, role in enumerate(roles, start=1):
            if role in keys and target is not None:
                yield _Entry(Patch(target, direct(group, role, target.shape)), (group.found.rank, kind), (keys[role],))


def _one_per_target(entries: Iterable[_Entry], unused: dict[Text, list[str]]) -> list[_Entry]:
    best: dict[Target, _Entry] = {}
    for entry in entries:
        other = best.get(entry.patch.target)
        loser = None
        if other is None or entry.rank > other.rank:
            best[entry.patch.target], loser = entry, other
        else:
            loser = entry
        if loser is not None:
            unused.setdefault(foreign.SECOND_SPELLING, []).extend(loser.keys)
    return list(best.values())


def _one_reading(entries: list[_Entry], unused: dict[Text, list[str]]) -> list[_Entry]:
    """For attentions with both fused qkv and split q, k, v entries, keep those that ComfyUI reads (maybe both).

    If ComfyUI reads neither, the split ones are kept: some tools write a fused copy of them, which diffusers drops too.
    """
    fused = {entry.patch.target.unit: entry for entry in entries if entry.patch.target.fused}
    split: dict[tuple[str, ...], list[_Entry]] = {}
    for entry in entries:
        if entry.patch.target.unit in fused and not entry.patch.target.fused:
            split.setdefault(entry.patch.target.unit, []).append(entry)
    dropped: list[_Entry] = []
    for unit, parts in split.items():
        whole, unread = fused[unit], [entry for entry in parts if not entry.rank[0]]
        if whole.rank[0]:
            dropped.extend(unread)
        else:
            dropped.append(whole)
    if dropped:
        unused.setdefault(foreign.REDUNDANT, []).extend(key for entry in dropped for key in entry.keys)
    return [entry for entry in entries if entry not in dropped]


def _nothing_fits(file: str, tensors: Mapping[str, Tensor], unused: Mapping[Text, list[str]]) -> LoraError:
    reason, keys = max(unused.items(), key=lambda item: len(item[1]), default=(foreign.ALPHA_ALONE, list(tensors)))
    first = shown(keys[0])
    return fault(
        file,
        f"nothing in it fits Z-Image; its keys are {reason.en} (such as {first}); choose a LoRA made for Z-Image",
        f"其中没有适用于 Z-Image 的内容：{reason.zh}（例如 {first}）；请选择为 Z-Image 训练的 LoRA",
    )


def _unused_sentence(file: str, item: Unused) -> Text:
    first = ", ".join(map(shown, item.keys[:_SHOWN_KEYS]))
    more = len(item.keys) - _SHOWN_KEYS
    return Text(
        f"{shown(file)}: {len(item.keys)} keys have no effect, {item.reason.en}: {first}"
        + (f" and {more} more." if more > 0 else "."),
        f"{shown(file)}：{len(item.keys)} 个键没有作用，{item.reason.zh}：{first}"
        + (f" 等另外 {more} 个。" if more > 0 else "。"),
    )


def _declared_sentence(file: str, factor: float) -> Text:
    return Text(
        f"{file}: its header says that it was trained with alpha / rank = {factor:g}, and no tensor does. As in ComfyUI"
        f" it is applied at the strength that you set; for diffusers' result multiply that by {factor:g}.",
        f"{file}：文件头写明训练时 alpha / rank = {factor:g}，但张量中没有。这里与 ComfyUI 一样按所设强度应用；"
        f"想得到 diffusers 的结果，请把强度乘以 {factor:g}。",
    )
