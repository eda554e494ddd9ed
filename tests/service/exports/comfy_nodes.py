"""The nodes of ComfyUI, and of its extension for GGUF files, that the app uses.

What each must be given, of which type, and what it gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zimage_app.domain.catalogue import SAMPLER_TRAITS
from zimage_app.domain.schedules import SCHEDULERS

NODES: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "UNETLoader": ({"unet_name": "FILE", "weight_dtype": "CHOICE"}, ("MODEL",)),
    "CLIPLoader": ({"clip_name": "FILE", "type": "CHOICE", "device": "CHOICE"}, ("CLIP",)),
    "VAELoader": ({"vae_name": "FILE"}, ("VAE",)),
    "UnetLoaderGGUF": ({"unet_name": "FILE"}, ("MODEL",)),
    "CLIPLoaderGGUF": ({"clip_name": "FILE", "type": "CHOICE"}, ("CLIP",)),
    "LoraLoaderModelOnly": ({"model": "MODEL", "lora_name": "FILE", "strength_model": "FLOAT"}, ("MODEL",)),
    "ModelSamplingAuraFlow": ({"model": "MODEL", "shift": "FLOAT"}, ("MODEL",)),
    "EasyCache": (
        {
            "model": "MODEL",
            "reuse_threshold": "FLOAT",
            "start_percent": "FLOAT",
            "end_percent": "FLOAT",
            "verbose": "BOOLEAN",
        },
        ("MODEL",),
    ),
    "CLIPTextEncode": ({"text": "STRING", "clip": "CLIP"}, ("CONDITIONING",)),
    "PrimitiveStringMultiline": ({"value": "STRING"}, ("STRING",)),
    "EmptySD3LatentImage": ({"width": "INT", "height": "INT", "batch_size": "INT"}, ("LATENT",)),
    "LoadImage": ({"image": "FILE"}, ("IMAGE", "MASK")),
    "ImageScale": (
        {"image": "IMAGE", "upscale_method": "CHOICE", "width": "INT", "height": "INT", "crop": "CHOICE"},
        ("IMAGE",),
    ),
    "VAEEncode": ({"pixels": "IMAGE", "vae": "VAE"}, ("LATENT",)),
    "LatentUpscale": (
        {"samples": "LATENT", "upscale_method": "CHOICE", "width": "INT", "height": "INT", "crop": "CHOICE"},
        ("LATENT",),
    ),
    "KSampler": (
        {
            "model": "MODEL",
            "seed": "INT",
            "steps": "INT",
            "cfg": "FLOAT",
            "sampler_name": "CHOICE",
            "scheduler": "CHOICE",
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "latent_image": "LATENT",
            "denoise": "FLOAT",
        },
        ("LATENT",),
    ),
    "SamplerCustom": (
        {
            "model": "MODEL",
            "add_noise": "BOOLEAN",
            "noise_seed": "INT",
            "cfg": "FLOAT",
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "sampler": "SAMPLER",
            "sigmas": "SIGMAS",
            "latent_image": "LATENT",
        },
        ("LATENT", "LATENT"),
    ),
    "KSamplerSelect": ({"sampler_name": "CHOICE"}, ("SAMPLER",)),
    "SamplerEulerAncestral": ({"eta": "FLOAT", "s_noise": "FLOAT"}, ("SAMPLER",)),
    "SamplerDPMPP_2S_Ancestral": ({"eta": "FLOAT", "s_noise": "FLOAT"}, ("SAMPLER",)),
    "SamplerDPMPP_SDE": (
        {"eta": "FLOAT", "s_noise": "FLOAT", "r": "FLOAT", "noise_device": "CHOICE"},
        ("SAMPLER",),
    ),
    "SamplerDPMPP_2M_SDE": (
        {"solver_type": "CHOICE", "eta": "FLOAT", "s_noise": "FLOAT", "noise_device": "CHOICE"},
        ("SAMPLER",),
    ),
    "SamplerDPMPP_3M_SDE": ({"eta": "FLOAT", "s_noise": "FLOAT", "noise_device": "CHOICE"}, ("SAMPLER",)),
    "SamplerER_SDE": (
        {"solver_type": "CHOICE", "max_stage": "INT", "eta": "FLOAT", "s_noise": "FLOAT"},
        ("SAMPLER",),
    ),
    "SamplerSEEDS2": (
        {"solver_type": "CHOICE", "eta": "FLOAT", "s_noise": "FLOAT", "r": "FLOAT"},
        ("SAMPLER",),
    ),
    "BasicScheduler": (
        {"model": "MODEL", "scheduler": "CHOICE", "steps": "INT", "denoise": "FLOAT"},
        ("SIGMAS",),
    ),
    "ManualSigmas": ({"sigmas": "STRING"}, ("SIGMAS",)),
    "VAEDecode": ({"samples": "LATENT", "vae": "VAE"}, ("IMAGE",)),
    "PreviewImage": ({"images": "IMAGE"}, ()),
    "SaveImage": ({"images": "IMAGE", "filename_prefix": "STRING"}, ()),
}

CHOICES: dict[str, tuple[str, ...]] = {
    "weight_dtype": ("default", "fp8_e4m3fn"),
    "type": ("stable_diffusion", "lumina2"),
    "device": ("default", "cpu"),
    "upscale_method": ("nearest-exact", "bilinear", "area", "bicubic", "bislerp", "lanczos"),
    "crop": ("disabled", "center"),
    "sampler_name": tuple(SAMPLER_TRAITS),
    "scheduler": tuple(name for name in SCHEDULERS if not name.startswith("flow_match")),
    "solver_type": ("midpoint", "heun", "ER-SDE", "phi_1"),
    "noise_device": ("gpu", "cpu"),
}
"""Of the fields of type CHOICE, by their names."""


def object_info(files: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """What ``GET /object_info`` answers; ``files`` are those of the fields of type FILE, by their names."""
    lists = {**CHOICES, **files}
    return {
        kind: {
            "input": {"required": {name: _described(name, each, lists) for name, each in wanted.items()}},
            "output": list(given),
        }
        for kind, (wanted, given) in NODES.items()
    }


def _described(name: str, kind: str, lists: Mapping[str, tuple[str, ...]]) -> list[Any]:
    """Newer nodes have their choices among the options, older ones in the place of the type."""
    if kind == "CHOICE":
        return ["COMBO", {"multiselect": False, "options": list(lists[name])}]
    return [list(lists.get(name, ()))] if kind == "FILE" else [kind, {}]


_PLAIN: dict[str, type | tuple[type, ...]] = {
    "FILE": str, "CHOICE": str, "STRING": str, "INT": int, "FLOAT": (int, float), "BOOLEAN": bool,
}  # fmt: skip


def faults(nodes: Mapping[str, Mapping[str, Any]], undeclared: frozenset[str] = frozenset()) -> list[str]:
    """What is wrong with a graph; ComfyUI itself ignores inputs that a node does not declare."""
    found: list[str] = []
    for key, node in nodes.items():
        wanted, _ = NODES[node["class_type"]]
        inputs = node["inputs"]
        if set(inputs) - undeclared != set(wanted):
            found.append(f"{key}: {sorted(set(inputs) ^ set(wanted))}")
        for name, kind in wanted.items():
            value = inputs.get(name)
            if isinstance(value, list):
                begin, slot = value
                if NODES[nodes[begin]["class_type"]][1][slot] != kind:
                    found.append(f"{key}.{name} is linked to another type")
            elif not isinstance(value, _PLAIN.get(kind, ())):
                found.append(f"{key}.{name} is {value!r}")
    return found
