"""The three networks of a model: from a config to an empty module, from a file's tensors to that module's weights.

Modules are built on the device ``meta``, so that files are compared with them before anything is read. diffusers and
transformers are imported only when a module is built: that takes seconds.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from zimage_app.domain.errors import ModelError
from zimage_app.domain.text import Text
from zimage_app.models.files import Tensors, Weights, damaged
from zimage_app.models.formats import (
    check_quantisation,
    descaled,
    text_names,
    transformer_names,
    vae_names,
    without_prefix,
)
from zimage_app.models.layout import PartFiles
from zimage_app.models.text import shortened, without_norm

_OTHER_FAMILIES = {
    "double_blocks.": "Flux",
    "joint_blocks.": "Stable Diffusion 3",
    "input_blocks.": "Stable Diffusion 1/2/XL",
    "lora_": "LoRA",
    "transformer_blocks.": "Qwen-Image / Flux / SD3 (diffusers)",
    "blocks.0.self_attn": "Wan",
}
"""Keys that give another model away."""
_PASSED_OVER = ("_class_name", "_diffusers_version", "_name_or_path")


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the three networks."""

    title: Text
    prefixes: tuple[str, ...]
    """What other tools put in front of its keys, longest first."""
    outline: Callable[[Mapping[str, Any]], Any]
    """Config -> module without content; raises ValueError or TypeError for a config that makes no sense."""
    names: Callable[[Tensors, Mapping[str, Any]], Tensors]
    """Other tools' keys -> the module's."""


@dataclass(frozen=True, slots=True)
class Part:
    """A network whose files fit together, ready to be read."""

    kind: Kind
    files: PartFiles
    module: Any
    """On the device ``meta`` until ``fill``."""

    def fill(self, device: torch.device, dtype: torch.dtype) -> Any:
        """The module with its weights, on its device and in its dtype; mapped from the file where nothing changes."""
        tensors = _normal(self.kind, self.files, self.files.weights.read(), dtype)
        placed = {key: tensor.to(device, dtype) for key, tensor in tensors.items()}
        self.module.load_state_dict(placed, strict=True, assign=True)
        return self.module.eval().requires_grad_(False)


def open_part(kind: Kind, files: PartFiles) -> Part:
    """Compare a part's files with the module that its config describes; nothing big is read.

    Raises:
        ModelError: the config makes no sense, or tensors are missing, unknown, of a wrong shape or of another model.
    """
    try:
        module = kind.outline(files.config)
    except (TypeError, ValueError, KeyError, IndexError, AssertionError, RuntimeError, ZeroDivisionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise damaged(
            files.config_file,
            f"does not describe a {kind.title.en} that can be used ({reason}); take the config of the published model",
            f"描述的不是可用的{kind.title.zh}（{reason}）；请使用官方模型的配置文件",
        ) from error
    outline = files.weights.outline()
    check_quantisation(files.weights, outline)
    _compare(kind, files.weights, module, _normal(kind, files, outline, torch.bfloat16))
    return Part(kind, files, module)


def _normal(kind: Kind, files: PartFiles, tensors: Tensors, dtype: torch.dtype) -> Tensors:
    """A file's tensors under the module's names, without scales."""
    plain = descaled(without_prefix(tensors, kind.prefixes), dtype)
    try:
        return kind.names(plain, files.config)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise _foreign(kind, files.weights) from error


def _compare(kind: Kind, weights: Weights, module: Any, tensors: Tensors) -> None:
    wanted = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    lost = sorted(set(wanted) - set(tensors))
    unknown = sorted(set(tensors) - set(wanted))
    if 2 * len(lost) > len(wanted):
        raise _foreign(kind, weights)
    if lost:
        raise damaged(
            weights.path,
            f"lacks {len(lost)} of {len(wanted)} tensors of the {kind.title.en}, first {lost[0]}; download it again",
            f"缺少{kind.title.zh}的 {len(wanted)} 个张量中的 {len(lost)} 个，首个为 {lost[0]}；请重新下载",
        )
    if unknown:
        raise damaged(
            weights.path,
            f"holds {len(unknown)} tensors that the {kind.title.en} has no place for, first {unknown[0]};"
            " use weights and config of the same model",
            f"含有{kind.title.zh}用不到的 {len(unknown)} 个张量，首个为 {unknown[0]}；请使用同一模型的权重和配置",
        )
    for key, shape in wanted.items():
        found = tuple(tensors[key].shape)
        if found != shape:
            raise damaged(
                weights.path,
                f"holds {key} with shape {found}, but the config asks for {shape};"
                " use weights and config of the same model",
                f"中 {key} 的形状为 {found}，而配置要求 {shape}；请使用同一模型的权重和配置",
            )


def _foreign(kind: Kind, weights: Weights) -> ModelError:
    family = next((name for mark, name in _OTHER_FAMILIES.items() if any(mark in key for key in weights.entries)), "")
    first = next(iter(weights.entries), "-")
    looks, looks_zh = (
        (f"it looks like {family}", f"看起来是 {family}") if family else (f"first key {first}", f"首个键为 {first}")
    )
    return damaged(
        weights.path,
        f"does not hold a Z-Image {kind.title.en} ({looks}); put the file of the right model here",
        f"不是 Z-Image 的{kind.title.zh}（{looks_zh}）；请放入正确的模型文件",
    )


def _arguments(config: Mapping[str, Any], constructor: type) -> dict[str, Any]:
    """A diffusers config as all the arguments of its class."""
    given = config.get("_class_name", constructor.__name__)
    if given != constructor.__name__:
        raise ValueError(f"_class_name is {given}, not {constructor.__name__}")
    parameters = inspect.signature(constructor).parameters
    settings = {key: value for key, value in config.items() if key not in _PASSED_OVER}
    unknown = sorted(set(settings) - set(parameters))
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]}")
    return {name: parameter.default for name, parameter in parameters.items()} | settings


def _transformer_outline(config: Mapping[str, Any]) -> Any:
    from diffusers import ZImageTransformer2DModel

    made = _arguments(config, ZImageTransformer2DModel)
    width = made["n_heads"] * sum(made["axes_dims"])
    if list(made["all_patch_size"]) != [2] or list(made["all_f_patch_size"]) != [1]:
        raise ValueError("only patches of 2 x 2 in one frame are supported")
    if made["siglip_feat_dim"] is not None or not made["qk_norm"] or made["n_kv_heads"] != made["n_heads"]:
        raise ValueError("siglip_feat_dim, qk_norm or n_kv_heads differ from Z-Image's")
    if width != made["dim"] or len(made["axes_lens"]) != len(made["axes_dims"]):
        raise ValueError(f"n_heads x axes_dims is {width}, but dim is {made['dim']}")
    with torch.device("meta"):
        return ZImageTransformer2DModel(**made)


def _vae_outline(config: Mapping[str, Any]) -> Any:
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        module = AutoencoderKL(**_arguments(config, AutoencoderKL))
    if len(module.config.block_out_channels) != 4 or module.config.out_channels != 3:
        raise ValueError("it must enlarge eightfold and give three colours")
    for name in ("scaling_factor", "shift_factor"):
        if not isinstance(module.config[name], int | float):
            raise ValueError(f"{name} is not a number")
    return module


def _text_outline(config: Mapping[str, Any]) -> Any:
    from transformers import Qwen3Config, Qwen3Model

    if config.get("model_type") != "qwen3":
        raise ValueError(f"model_type is {config.get('model_type')}, not qwen3")
    made = shortened(Qwen3Config(**config))
    with torch.device("meta"):
        module = without_norm(Qwen3Model(made))
    # Not among the weights: worked out here, and kept in float32, because bfloat16 angles change the features.
    module.rotary_emb = type(module.rotary_emb)(made)
    return module


TRANSFORMER = Kind(
    Text("transformer", "变换器"),
    ("model.diffusion_model.", "diffusion_model."),
    _transformer_outline,
    transformer_names,
)
VAE = Kind(Text("VAE", "VAE"), ("first_stage_model.", "vae."), _vae_outline, vae_names)
TEXT_ENCODER = Kind(
    Text("text encoder", "文本编码器"),
    ("text_encoders.qwen3_4b.transformer.model.", "text_encoder.model.", "model."),
    _text_outline,
    text_names,
)
