"""Role of all-in-one loaders: a model with a LoRA, both prompts and an empty latent, also combined as a pipe."""

from __future__ import annotations

from collections.abc import Mapping

from zimage_app.service.imports.comfy.at import At
from zimage_app.service.imports.comfy.roles.conditioning import encoded
from zimage_app.service.imports.comfy.roles.loras import ROLES as LORA_ROLES
from zimage_app.service.imports.comfy.roles.loras import put_on, with_tags_on
from zimage_app.service.imports.comfy.roles.models import part_notes
from zimage_app.service.imports.comfy.roles.sizes import empty
from zimage_app.service.imports.comfy.roles.texts import text_of
from zimage_app.service.imports.comfy.values import Bundle, Clip, Conditioning, Loras, Model, Vae, Value


def whole_loader(at: At) -> Mapping[str, Value]:
    """Return all parts by name, and ``pipe``, which holds them."""
    model = at.flow("model_override", Model) or Model(at.plain("file"))
    stack = LORA_ROLES["lora"](at.giving("stack"))["stack"]
    model = put_on(model, stack) if isinstance(stack, Loras) else model
    if at.option("tags"):
        model = with_tags_on(model, text_of(at, "positive"))
    parts: dict[str, Value] = {
        "model": model.noted(*part_notes(at, "vae_name", "clip_name")),
        "clip": Clip(),
        "vae": Vae(),
        **empty(at.giving("latent")),
        **{name: _prompt(at, name) for name in ("positive", "negative")},
    }
    if (seed := at.plain("seed")) is not None:
        parts["seed"] = seed
    return {**parts, "pipe": Bundle(parts)}


def _prompt(at: At, name: str) -> Conditioning:
    return at.flow(f"optional_{name}", Conditioning) or encoded(at, text_of(at, name))


ROLES = {"whole loader": whole_loader}
