"""Role of all-in-one loaders: a model with a LoRA, both prompts and an empty latent, also combined as a pipe."""

from __future__ import annotations

from collections.abc import Mapping

from zimage_app.service.imports.comfy.node_call import NodeCall
from zimage_app.service.imports.comfy.roles.conditioning import encoded
from zimage_app.service.imports.comfy.roles.loras import ROLES as LORA_ROLES
from zimage_app.service.imports.comfy.roles.loras import put_on, with_tags_on
from zimage_app.service.imports.comfy.roles.models import part_notes
from zimage_app.service.imports.comfy.roles.sizes import size
from zimage_app.service.imports.comfy.roles.texts import text_of
from zimage_app.service.imports.comfy.values import Bundle, Clip, Conditioning, Loras, ModelValue, Vae, Value


def whole_loader(call: NodeCall) -> Mapping[str, Value]:
    """Return all parts by name, and ``pipe``, which holds them."""
    model = call.flow("model_override", ModelValue) or ModelValue(call.plain("file"))
    stack = LORA_ROLES["lora"](call.giving("stack"))["stack"]
    model = put_on(model, stack) if isinstance(stack, Loras) else model
    if call.option("tags"):
        model = with_tags_on(model, text_of(call, "positive"))
    parts: dict[str, Value] = {
        "model": model.noted(*part_notes(call, "vae_name", "clip_name")),
        "clip": Clip(),
        "vae": Vae(),
        **size(call.giving("latent")),
        **{name: _prompt(call, name) for name in ("positive", "negative")},
    }
    if (seed := call.plain("seed")) is not None:
        parts["seed"] = seed
    return {**parts, "pipe": Bundle(parts)}


def _prompt(call: NodeCall, name: str) -> Conditioning:
    return call.flow(f"optional_{name}", Conditioning) or encoded(call, text_of(call, name))


ROLES = {"whole loader": whole_loader}
