"""What the LoRA tests share: the golden model, files made on the spot, weights by their original names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.models.stock import golden_module, normal

GOLDEN = Path(__file__).parents[1] / "golden"
MANIFEST: dict[str, Any] = json.loads((GOLDEN / "lora_manifest.json").read_text())
OUT = "layers.0.attention.out"
_DIFFUSERS = {
    "layers.0.attention.out.weight": "layers.0.attention.to_out.0.weight",
    "layers.0.attention.q_norm.weight": "layers.0.attention.norm_q.weight",
    "x_embedder.weight": "all_x_embedder.2-1.weight",
    "final_layer.linear.weight": "all_final_layer.2-1.linear.weight",
}


def case_tensors(case: str) -> dict[str, Tensor]:
    """The file of one numeric golden case, by the file's keys."""
    tensors = load_file(GOLDEN / "lora_cases.safetensors")
    return {key.removeprefix(f"{case}/"): value for key, value in tensors.items() if key.startswith(f"{case}/")}


def write(folder: Path, tensors: Mapping[str, Tensor], name: str = "file") -> Path:
    """A LoRA file."""
    path = folder / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    return path


def low_rank(module: str, shape: tuple[int, int], rank: int = 4, seed: int = 0) -> dict[str, Tensor]:
    """A LoRA for one module, in the commonest spelling."""
    return {
        f"{module}.lora_A.weight": 0.05 * normal(rank, shape[1], seed=seed),
        f"{module}.lora_B.weight": 0.05 * normal(shape[0], rank, seed=seed + 1),
    }


def weight(source: nn.Module | Mapping[str, Tensor], original: str) -> Tensor:
    """A copy of a parameter by its name in the original checkpoint; q, k and v stacked by rows."""
    parameters = dict(source.named_parameters()) if isinstance(source, nn.Module) else source
    if original.endswith("qkv.weight"):
        stem = original.removesuffix("qkv.weight")
        return torch.cat([parameters[f"{stem}to_{letter}.weight"].detach() for letter in "qkv"])
    return parameters[_DIFFUSERS.get(original, original)].detach().clone()


def state(module: nn.Module) -> dict[str, Tensor]:
    """A copy of every parameter."""
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def changed(before: Mapping[str, Tensor], module: nn.Module) -> set[str]:
    """Names of the parameters that differ in any bit."""
    now = dict(module.named_parameters())
    return {name for name, tensor in before.items() if not torch.equal(tensor, now[name])}


def patchable(module: nn.Module) -> Any:
    """What ``LoraManager`` needs of a transformer, around any module; ``changes`` counts the reported changes."""
    parameter = next(module.parameters())
    transformer = SimpleNamespace(
        module=module, device=parameter.device, dtype=parameter.dtype, origin=state(module).__getitem__, changes=0
    )

    def weights_changed() -> None:
        transformer.changes += 1

    transformer.weights_changed = weights_changed
    return transformer


def float32_module() -> nn.Module:
    """The golden model in float32."""
    module: nn.Module = golden_module()
    return module
