"""Which keys of LoRA files ComfyUI applies to Z-Image. Imports no torch, so that exports can say it quickly."""

from __future__ import annotations

COMFY_RANKS = {
    ("lora_unet_", "original"): 1,
    ("diffusion_model.", "original"): 2,
    ("diffusion_model.", "diffusers"): 3,
    ("transformer.", "diffusers"): 4,
    ("lycoris_", "diffusers"): 5,
}
"""(prefix of a key, whose module names follow it) -> rank; of several keys for one module, ComfyUI uses the highest."""
COMFY_PREFIXES = frozenset(prefix for prefix, _ in COMFY_RANKS)
"""Prefixes that ComfyUI knows; it ignores keys with others, and some with these (LORAS.md)."""
