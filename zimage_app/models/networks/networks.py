"""Builds the three networks of a model from their configs, and fills them with the weights in their files.

Modules are built on the device ``meta``, so that the files' headers can be checked against them before weights are
read; then they are filled tensor by tensor.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from zimage_app.domain.errors import ModelError
from zimage_app.domain.text import Text
from zimage_app.models.find.model_files import PartFiles
from zimage_app.models.networks.autoencoder import LEVELS, Autoencoder, AutoencoderConfig
from zimage_app.models.networks.config_bounds import check_bounds
from zimage_app.models.networks.qwen3 import Qwen3, Qwen3Config
from zimage_app.models.networks.zimage import ZImage, ZImageConfig, checked
from zimage_app.models.weights.packed_weights import GgufWeight, PackedEmbedding, PackedLinear, PackedWeight
from zimage_app.models.weights.packing import (
    GGUF_BLOCKS,
    Stored,
    architecture,
    stored_tensors,
    text_names,
    transformer_names,
    vae_names,
)
from zimage_app.models.weights.placement import MemoryPlan, PackedMode
from zimage_app.models.weights.weight_file import Tensors, Weights, damaged
from zimage_app.models.weights.weight_slices import WeightReader, WeightSlice

_Z_IMAGE = Text("a Z-Image transformer", " Z-Image 扩散模型")
_OTHER_FAMILIES = {
    "lora_": Text("a LoRA", " LoRA"),
    "double_blocks.": Text("Flux", " Flux"),
    "joint_blocks.": Text("Stable Diffusion 3", " Stable Diffusion 3"),
    "input_blocks.": Text("Stable Diffusion 1/2/XL", " Stable Diffusion 1/2/XL"),
    "decoder.conv_in": Text("a VAE", " VAE"),
    "down_blocks.": Text("Stable Diffusion 1/2/XL (diffusers)", " Stable Diffusion 1/2/XL（diffusers）"),
    "attn.add_q_proj": Text("Qwen-Image / Flux / SD3 (diffusers)", " Qwen-Image / Flux / SD3（diffusers）"),
    "transformer_blocks.": Text("Flux / LTX / PixArt (diffusers)", " Flux / LTX / PixArt（diffusers）"),
    "blocks.0.self_attn": Text("Wan", " Wan"),
    "embed_tokens": Text("a language model", "语言模型"),
    "blk.0.": Text("a language model", "语言模型"),
    "attention.qkv": _Z_IMAGE,
}
"""Parts of keys that identify other models, most reliable first."""
_PASSED_OVER = ("_class_name", "_diffusers_version", "_name_or_path")


@dataclass(frozen=True, slots=True)
class NetworkKind:
    """One of the three networks."""

    title: Text
    prefixes: tuple[str, ...]
    """Prefixes of the keys in other tools' files, longest first."""
    build_empty: Callable[[Mapping[str, Any]], Any]
    """Builds a module on ``meta`` from a config; raises ValueError or TypeError for an invalid config."""
    names: Callable[[Tensors, Mapping[str, Any]], Tensors]
    """Renames other tools' keys to the module's."""
    stays_packed: re.Pattern[str]
    """Matches weights that may stay packed; others are small, and are unpacked when they are read."""
    streamable: re.Pattern[str]
    """Matches weights of the blocks that can be streamed; the group is the block's number."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network whose files are checked, ready to be read."""

    kind: NetworkKind
    files: PartFiles
    module: Any
    """The module; on the device ``meta`` until ``fill`` is called."""
    slices: Mapping[str, WeightSlice]
    """The module's key -> the location of the weight in the file."""

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(math.prod(weight_slice.shape) for weight_slice in self.slices.values())

    def reader(self, plan: MemoryPlan) -> WeightReader:
        """Return a reader of the network's weights that places them according to ``plan``."""
        return WeightReader(self.files.weights, self.slices, plan)

    def fill(self, plan: MemoryPlan, each: Callable[[int], None]) -> Any:
        """Read the weights into the module, with the plan's devices and dtype, and return the module.

        Weights that need no conversion stay memory-mapped; others are converted one by one. ``each`` is called with
        every tensor's number of elements before it is read, and may raise.
        """
        reader_here, reader_on_host = self.reader(plan), self.reader(plan.on_host)
        blocks = {name: int(found[1]) for name in self.slices if (found := self.kind.streamable.match(name))}
        waiting = plan.waiting(len(set(blocks.values())))
        placed: Tensors = {}
        for name, weight_slice in self.slices.items():
            each(math.prod(weight_slice.shape))
            reader = reader_on_host if blocks.get(name) in waiting else reader_here
            if self._may_stay_packed(name) and reader.packed_mode(name) is not PackedMode.UNPACKED:
                self._pack(name, reader.packed(name), weight_slice)
            else:
                placed[name] = reader.plain(name)
        self.module.load_state_dict(placed, strict=True, assign=True)
        return self.module.eval().requires_grad_(False)

    def notes(self, plan: MemoryPlan) -> tuple[Text, ...]:
        """Return messages for the user about how packed weights are held."""
        reader = self.reader(plan)
        found: dict[PackedMode, dict[str, None]] = {}
        for name, weight_slice in self.slices.items():
            if weight_slice.stored.format and self.kind.stays_packed.fullmatch(name):
                found.setdefault(reader.packed_mode(name), {})[weight_slice.stored.format] = None
        return tuple(_packed_mode_message(self.kind.title, list(names), held, plan) for held, names in found.items())

    def _may_stay_packed(self, name: str) -> bool:
        """Return whether the weight is packed, and its layer can and should compute with it packed."""
        stored = self.slices[name].stored
        if not stored.format or self.kind.stays_packed.fullmatch(name) is None:
            return False
        layer = self.module.get_submodule(name.removesuffix(".weight"))
        return stored.format in GGUF_BLOCKS or not isinstance(layer, nn.Embedding)

    def _pack(self, name: str, weight: PackedWeight, weight_slice: WeightSlice) -> None:
        """Replace the plain layer by one that computes with a packed weight."""
        path = name.removesuffix(".weight")
        if isinstance(weight, GgufWeight) and isinstance(self.module.get_submodule(path), nn.Embedding):
            self.module.set_submodule(path, PackedEmbedding(weight))
            return
        layer = PackedLinear(weight, weight_slice.rows)
        layer.bias = self.module.get_submodule(path).bias
        self.module.set_submodule(path, layer)


def _inside(title: Text) -> str:
    """A title inside a Chinese sentence, where Latin words stand between spaces."""
    return f" {title.zh} " if title.zh.isascii() else title.zh


def _packed_mode_message(title: Text, packings: list[str], packed_mode: PackedMode, plan: MemoryPlan) -> Text:
    names, dtype = ", ".join(packings), str(plan.dtype).removeprefix("torch.")
    if packed_mode is PackedMode.NATIVE:
        return Text(
            f"The {title.en}'s {names} weights stay packed and are multiplied as they are.",
            f"{_inside(title).lstrip()}的 {names} 权重保持量化，并直接参与运算。",
        )
    if packed_mode is PackedMode.AT_USE:
        return Text(
            f"The {title.en}'s {names} weights stay packed and are unpacked to {dtype} each time they are used.",
            f"{_inside(title).lstrip()}的 {names} 权重保持量化，每次使用时反量化为 {dtype}。",
        )
    return Text(
        f"The {title.en}'s {names} weights are unpacked to {dtype}: {plan.device.type} has no arithmetic for them,"
        " so they save disk space but no memory.",
        f"{_inside(title).lstrip()}的 {names} 权重已反量化为 {dtype}："
        f"{plan.device.type} 不支持此格式的运算，只省磁盘，不省内存。",
    )


def open_network(kind: NetworkKind, files: PartFiles) -> Network:
    """Build a part's module from its config and check its files against it, without reading weights.

    Raises:
        ModelError: the config is invalid, or tensors are missing, unknown, of a wrong shape or of another model.
    """
    _refuse_quantised_config(files)
    try:
        check_bounds(files.config)
        module = kind.build_empty(files.config)
    except (TypeError, ValueError, KeyError, IndexError, AssertionError, RuntimeError, ZeroDivisionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise damaged(
            files.config_file,
            f"does not describe a {kind.title.en} that can be used ({reason}); take the config of the published model",
            f"描述的不是可用的{_inside(kind.title).rstrip()}（{reason}）；请使用官方模型的配置文件",
        ) from error
    found = _slices(kind, files)
    _compare(kind, files.weights, module, {key: weight_slice.shape for key, weight_slice in found.items()})
    return Network(kind, files, module, {key: found[key] for key in module.state_dict()})


def _slices(kind: NetworkKind, files: PartFiles) -> dict[str, WeightSlice]:
    """Return the location of each weight in the file, by the module's names.

    The keys are converted on empty tensors. The results are views of these, which tell the tensor and the offset.
    """
    stored = stored_tensors(files.weights, kind.prefixes)
    with torch.inference_mode(False):
        empty = {key: item.empty for key, item in stored.items()}
        try:
            named = kind.names(empty, files.config)
        except (KeyError, IndexError, ValueError, RuntimeError) as error:
            raise _foreign(kind, files.weights) from error
    roots = {id(tensor): key for key, tensor in empty.items()}
    return dict(_located(named, roots, stored))


def _located(
    named: Tensors, roots: Mapping[int, str], stored: Mapping[str, Stored]
) -> Iterator[tuple[str, WeightSlice]]:
    for key, tensor in named.items():
        root = tensor if id(tensor) in roots else tensor._base
        yield key, WeightSlice(stored[roots[id(root)]], int(tensor.storage_offset()), tuple(tensor.shape))


def _refuse_quantised_config(files: PartFiles) -> None:
    declared = files.config.get("quantization_config")
    if declared is not None:
        tool = str(declared.get("quant_method", declared)) if isinstance(declared, Mapping) else str(declared)
        raise damaged(
            files.config_file,
            f"says that the weights were quantised with {tool}, whose files only that tool reads;"
            " use the bf16, fp8, int8 or GGUF file of this model",
            f"表明权重由 {tool} 量化，只有该工具能读取；请使用此模型的 bf16、fp8、int8 或 GGUF 文件",
        )


def _compare(kind: NetworkKind, weights: Weights, module: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    wanted = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    lost = sorted(set(wanted) - set(shapes))
    unknown = sorted(set(shapes) - set(wanted))
    if 2 * len(lost) > len(wanted) and not (kind is TRANSFORMER and _family(weights) is _Z_IMAGE):
        raise _foreign(kind, weights)
    if lost:
        raise damaged(
            weights.path,
            f"lacks {len(lost)} of {len(wanted)} tensors of the {kind.title.en}, first {lost[0]}; download it again",
            f"缺少{_inside(kind.title)}的 {len(wanted)} 个张量中的 {len(lost)} 个，首个为 {lost[0]}；请重新下载",
        )
    if unknown:
        raise damaged(
            weights.path,
            f"holds {len(unknown)} tensors that the {kind.title.en} has no place for, first {unknown[0]};"
            " use weights and config of the same model",
            f"含有{_inside(kind.title)}用不到的 {len(unknown)} 个张量，首个为 {unknown[0]}；请使用同一模型的权重和配置",
        )
    for key, shape in wanted.items():
        found = shapes[key]
        if found != shape:
            raise damaged(
                weights.path,
                f"holds {key} with shape {found}, but the config asks for {shape};"
                " use weights and config of the same model",
                f"中 {key} 的形状为 {found}，而配置要求 {shape}；请使用同一模型的权重和配置",
            )


def _family(weights: Weights) -> Text | None:
    """Return the kind of model in a file, by its keys or its stated architecture; None if unknown."""
    declared = architecture(weights)
    found = (name for mark, name in _OTHER_FAMILIES.items() if any(mark in key for key in weights.entries))
    return next(found, Text(declared, f" {declared}") if declared else None)


def _foreign(kind: NetworkKind, weights: Weights) -> ModelError:
    family = _family(weights)
    first = next(iter(weights.entries), "-")
    looks, looks_zh = (
        (f"it looks like {family.en}", f"看起来是{family.zh}")
        if family
        else (f"first key {first}", f"首个键为 {first}")
    )
    return damaged(
        weights.path,
        f"does not hold a Z-Image {kind.title.en} ({looks}); put the file of the right model here",
        f"不是 Z-Image 的{_inside(kind.title).rstrip()}（{looks_zh}）；请放入正确的模型文件",
    )


def _settings(config: Mapping[str, Any], class_name: str, known: set[str]) -> dict[str, Any]:
    """Return a diffusers config without keys that only diffusers uses; raises ValueError for unknown settings."""
    given = config.get("_class_name", class_name)
    if given != class_name:
        raise ValueError(f"_class_name is {given}, not {class_name}")
    settings = {key: value for key, value in config.items() if key not in _PASSED_OVER}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]}")
    return settings


def _names(config: type) -> set[str]:
    return {item.name for item in fields(config)}


def _build_transformer(config: Mapping[str, Any]) -> ZImage:
    known = _names(ZImageConfig) | {"all_patch_size", "all_f_patch_size", "n_kv_heads", "qk_norm", "siglip_feat_dim"}
    made = checked(_settings(config, "ZImageTransformer2DModel", known))
    with torch.device("meta"):
        return ZImage(made)


_VAE_UNUSED = {"sample_size", "force_upcast", "latents_mean", "latents_std"}


def _build_vae(config: Mapping[str, Any]) -> Autoencoder:
    kinds = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D", "act_fn": "silu"}
    settings = _settings(config, "AutoencoderKL", _names(AutoencoderConfig) | _VAE_UNUSED | set(kinds))
    for name, kind in kinds.items():
        if set(_listed(settings.pop(name, kind))) != {kind}:
            raise ValueError(f"{name} differs from {kind}")
    used = {key: value for key, value in settings.items() if key not in _VAE_UNUSED}
    widths = tuple(used.pop("block_out_channels", AutoencoderConfig.block_out_channels))
    made = AutoencoderConfig(**used, block_out_channels=widths)
    if len(widths) != LEVELS or made.out_channels != 3:
        raise ValueError("it must enlarge eightfold and give three colours")
    for name in ("scaling_factor", "shift_factor"):
        if not isinstance(getattr(made, name), int | float):
            raise ValueError(f"{name} is not a number")
    with torch.device("meta"):
        return Autoencoder(made)


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value)


def _build_text_encoder(config: Mapping[str, Any]) -> Qwen3:
    made = Qwen3Config.read(config)
    with torch.device("meta"):
        return Qwen3(made)


TRANSFORMER = NetworkKind(
    Text("transformer", "扩散模型"),
    ("model.diffusion_model.", "diffusion_model."),
    _build_transformer,
    transformer_names,
    re.compile(
        r"(layers|noise_refiner|context_refiner)\.\d+\.(attention\.(to_[qkv]|to_out\.0)|feed_forward\.w[123])\.weight"
    ),
    re.compile(r"layers\.(\d+)\.(?:attention|feed_forward)\."),
)
_NONE = re.compile("(?!)")
VAE = NetworkKind(Text("VAE", "VAE"), ("first_stage_model.", "vae."), _build_vae, vae_names, _NONE, _NONE)
TEXT_ENCODER = NetworkKind(
    Text("text encoder", "文本编码器"),
    ("text_encoders.qwen3_4b.transformer.model.", "text_encoder.model.", "model."),
    _build_text_encoder,
    text_names,
    re.compile(r"embed_tokens\.weight|layers\.\d+\.(self_attn\.[qkvo]|mlp\.(gate|up|down))_proj\.weight"),
    _NONE,
)
