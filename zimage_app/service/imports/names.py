"""Translates other programs' names of samplers, schedulers, resize methods and models."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import get_args

from zimage_app.domain.card import Z_IMAGE, Z_IMAGE_TURBO
from zimage_app.domain.catalogue import SAMPLER_TRAITS
from zimage_app.domain.schedules import SCHEDULERS
from zimage_app.domain.settings.stage import UpscaleMethod

_SAMPLERS = {
    "euler a": "euler_ancestral",
    "k euler": "euler",
    "k euler a": "euler_ancestral",
    "dpm2": "dpm_2",
    "dpm2 a": "dpm_2_ancestral",
    "kdpm 2": "dpm_2",
    "kdpm 2 a": "dpm_2_ancestral",
    "dpm++ 2s a": "dpmpp_2s_ancestral",
    "dpm++ 2m": "dpmpp_2m",
    "dpm++ sde": "dpmpp_sde",
    "dpm++ 2m sde": "dpmpp_2m_sde",
    "dpm++ 2m sde heun": "dpmpp_2m_sde_heun",
    "dpm++ 3m sde": "dpmpp_3m_sde",
    "dpmpp 2s": "dpmpp_2s_ancestral",
    "unipc": "uni_pc",
    "res multistep": "res_multistep",
    "res multistep a": "res_multistep_ancestral",
    "heun++2": "heunpp2",
    "euler flowmatch": "euler",
    "euler flow match": "euler",
    "flowmatcheulerdiscretescheduler": "euler",
    "heun flowmatch": "heun",
    "dpm++ 2m flowmatch": "dpmpp_2m",
    "dpm++2m": "dpmpp_2m",
    "dpm++2s a": "dpmpp_2s_ancestral",
    "unipc flowmatch": "uni_pc",
    "unipc trailing": "uni_pc",
    "euler a trailing": "euler_ancestral",
    "euler ancestral": "euler_ancestral",
    "dpm++ 2m trailing": "dpmpp_2m",
    "dpm++ sde trailing": "dpmpp_sde",
    "unipc ays": "uni_pc",
    "k lms": "lms",
    "k heun": "heun",
    "k dpm 2": "dpm_2",
    "k dpm 2 a": "dpm_2_ancestral",
    "k dpmpp 2m": "dpmpp_2m",
    "k dpmpp sde": "dpmpp_sde",
    "k dpmpp 2 a": "dpmpp_2s_ancestral",
}
"""Other programs' sampler name, normalised by ``_words`` -> name here. Names that equal ComfyUI's need no entry."""

_SCHEDULERS = {
    "flowmatcheulerdiscretescheduler": "flow_match_linear",
    "sgm uniform": "sgm_uniform",
    "ddim": "ddim_uniform",
    "ddim uniform": "ddim_uniform",
    "kl optimal": "kl_optimal",
    "linear quadratic": "linear_quadratic",
    "k": "karras",
    "discrete": "normal",
    "sgm": "sgm_uniform",
}
_OURS = frozenset(name for name in SCHEDULERS if name.startswith("flow_match"))
"""Schedulers that only this app has."""

_METHODS = {
    "latent": "bilinear",
    "latent (antialiased)": "bilinear",
    "latent (bicubic)": "bicubic",
    "latent (bicubic antialiased)": "bicubic",
    "latent (nearest)": "nearest-exact",
    "latent (nearest-exact)": "nearest-exact",
    "nearest": "nearest-exact",
}
_PARTS = (
    "qwen_3_4b", "qwen3-4b", "qwen3_4b", "qwen_3-4b", "qwen 3 4b", "qwen3 4b", "ae", "flux_vae", "flux-vae", "z_image",
    "z-image", "zimage",
)  # fmt: skip
_NO_PART = frozenset({"", "none", "automatic", "default", "baked vae", "default (model)", "pixel_space"})
METHODS = get_args(UpscaleMethod)


def is_ours(name: str | None) -> bool:
    """Whether only this app has a scheduler of this name."""
    return name in _OURS


def usual_part(file: str) -> bool:
    """Whether a text encoder's or VAE's file name is a usual one of Z-Image, or means the default."""
    return stem_of(file).lower().startswith(_PARTS) or file.strip().lower() in _NO_PART


def sampler_and_scheduler(name: str) -> tuple[str, str | None] | None:
    """Translate a sampler's name; return (sampler, scheduler if the name has one, as in "DPM++ 2M Karras") or None."""
    if name in SAMPLER_TRAITS:
        return name, None
    words = _words(name)
    sampler = _sampler(words)
    if sampler:
        return sampler, None
    for size in (2, 1):
        parts = words.split(" ")
        tail = " ".join(parts[-size:])
        found, kind = _sampler(" ".join(parts[:-size])), scheduler(tail)
        if found and kind:
            return found, kind
    return None


def scheduler(name: str) -> str | None:
    """Translate a scheduler's name; None if it isn't known."""
    if name in SCHEDULERS and name not in _OURS:
        return name
    words = _words(name)
    known = _SCHEDULERS.get(words) or words.replace(" ", "_")
    return known if known in SCHEDULERS and (words in _SCHEDULERS or known not in _OURS) else None


def resize_method(name: str) -> str | None:
    """Translate the name of a latent resize method; None for others, such as upscale models."""
    folded = name.strip().lower()
    return folded if folded in METHODS else _METHODS.get(folded)


def family_of(model: str) -> str:
    """Return the family (published model) recognised in a model's or file's name; empty for others."""
    words = re.sub(r"[^a-z0-9]", "", stem_of(model).lower())
    if "zimage" not in words and not words.startswith("zit"):
        return ""
    return Z_IMAGE_TURBO.family if "turbo" in words or words.startswith("zit") else Z_IMAGE.family


def stem_of(model: str) -> str:
    """Return a model file's name without folder and suffix."""
    name = PurePosixPath(model.strip().replace("\\", "/")).name
    return re.sub(r"\.(safetensors|sft|gguf|ckpt|pth|pt|bin)$", "", name, flags=re.IGNORECASE)


def _sampler(words: str) -> str | None:
    plain = words.replace(" ", "_")
    return _SAMPLERS.get(words) or (plain if plain in SAMPLER_TRAITS else None)


def _words(name: str) -> str:
    return " ".join(name.strip().lower().replace("_", " ").split())
