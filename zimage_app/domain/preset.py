"""Presets: parts of a request under a name, and how they differ from given settings. No file access.

A preset's settings are plain data under the names of a request's fields; other fields stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from zimage_app.domain.card import ModelCard
from zimage_app.domain.catalogue import unread_options
from zimage_app.domain.errors import wrong_field
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.settings.knob import knob_of
from zimage_app.domain.settings.lora_use import MAX_STRENGTH, LoraUse
from zimage_app.domain.settings.stage import REFERENCE_STAGES, STAGE_GROUPS, Stage
from zimage_app.domain.sizes import final_stage, size_from, sized_data, with_sizes
from zimage_app.domain.text import Text

REQUEST_FIELDS = tuple(name for name in GenerationRequest.model_fields if name not in ("template", "start"))
SETTINGS = ("model", *REQUEST_FIELDS, "size", "lora_strength")
"""Settings that a preset may hold. ``model`` is the name of a model or of a family; without ``stages`` it implies that
model's own stages. ``lora_strength`` applies to whichever LoRAs are chosen, for workflows where users bring their own.
``size`` is the picture's, as in 672x864 or 3:4: the preset's stages without a size follow it; without ``stages``, the
stages in use do."""
NO_WORDS = Text("", "")
_OFF = Stage(enabled=False)
_ANY_PROMPT = "-"
_OF_ONE_PICTURE = ("prompt", "seed", "variation_strength", "variation_seed")

Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Preset:
    """One preset."""

    name: str
    title: Text
    description: Text = NO_WORDS
    settings: Settings = field(default_factory=dict)
    mine: bool = False
    """Whether the user made the preset; only those can be changed from within the app."""
    problem: Text | None = None
    """Why the preset's file can't be read; ``settings`` is then empty."""

    @property
    def stages(self) -> tuple[Stage, ...] | None:
        """The preset's stages; None where it names none."""
        return parse_request({"prompt": _ANY_PROMPT, "stages": self.settings.get("stages")}).stages


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting whose value in a preset differs from the given one."""

    path: str
    """The setting's path in a request, as in ``stages.1.denoise``."""
    preset: str
    given: str

    @property
    def title(self) -> Text:
        """The setting's title for display."""
        return setting_title(self.path)


def setting_title(path: str) -> Text:
    """The title of the setting at ``path``, as in ``stages.1.denoise``."""
    parts = path.split(".")
    if parts == ["model"]:
        return Text("Model", "模型")
    if parts == ["size"]:
        return Text("Size", "尺寸")
    if parts == ["lora_strength"]:
        return knob_of(LoraUse, "strength").title
    owner = STAGE_GROUPS[parts[2]] if len(parts) == 4 else Stage if len(parts) == 3 else GenerationRequest
    title = knob_of(owner, parts[-1]).title
    if len(parts) == 1:
        return title
    number = int(parts[1]) + 1
    return Text(f"Stage {number}: {title.en}", f"第 {number} 阶段 {title.zh}")


def checked(data: Mapping[str, Any]) -> Settings:
    """Validate a preset's settings and return them as they are stored.

    Stages keep eight common knobs, and others where they differ from the default.

    Raises:
        RequestError: a setting is unknown or out of bounds; names the first one, and what is allowed.
    """
    unknown = next((name for name in data if name not in SETTINGS), None)
    if unknown is not None:
        known = ", ".join(SETTINGS)
        raise wrong_field(unknown, f"there is no such setting; allowed are {known}", f"没有这个设置；可用：{known}")
    settings: Settings = {}
    if "model" in data:
        if not isinstance(data["model"], str) or not data["model"].strip():
            raise wrong_field("model", "must be a model's name", "必须是模型名称")
        settings["model"] = data["model"].strip()
    given = {name: data[name] for name in REQUEST_FIELDS if name in data}
    if "size" in data:
        size = str(data["size"]).strip()
        size_from(size, REFERENCE_STAGES)
        if isinstance(given.get("stages"), list | tuple):
            given["stages"] = with_sizes(given["stages"], size)
        else:
            settings["size"] = size
    request = parse_request({"prompt": _ANY_PROMPT} | given)
    plain = request.model_dump(mode="json", exclude_defaults=True)
    settings |= {name: plain.get(name, given[name]) for name in given}
    if request.stages is not None:
        settings["stages"] = [stage_data(stage) for stage in request.stages]
    if "lora_strength" in data:
        settings["lora_strength"] = _strength(data["lora_strength"])
    return settings


_SHOWN = ("width", "height", "steps", "cfg", "denoise", "sampler", "scheduler", "shift")


def stage_data(stage: Stage) -> Settings:
    """A stage as plain data: eight common knobs, and others where they differ from the default."""
    if not stage.enabled:
        return stage.model_dump(mode="json", exclude_defaults=True)
    return stage.model_dump(mode="json", include=set(_SHOWN)) | stage.model_dump(mode="json", exclude_defaults=True)


def suits(card: ModelCard, model: str) -> bool:
    """Whether a preset's ``model`` matches the model of ``card``, by name or by family."""
    return model in (card.name, card.family)


def with_strength(loras: object, strength: float) -> list[Any]:
    """LoRA uses as plain data, all set to ``strength``."""
    uses = loras if isinstance(loras, list | tuple) else []
    return [{**use, "strength": strength} if isinstance(use, Mapping) else use for use in uses]


def request_settings(model: str, request: GenerationRequest, *, whole: bool) -> Settings:
    """A request as a preset's settings; prompt, seed and variation are left out unless ``whole``.

    Trailing stages that are switched off are left out, because they change nothing. Choices and wildcards are kept as
    typed.
    """
    request = request.typed
    names = [name for name in REQUEST_FIELDS if whole or name not in _OF_ONE_PICTURE]
    data = request.model_dump(mode="json", exclude_defaults=True, include=set(names))
    stages = list(request.stages or ())
    while stages and not stages[-1].enabled:
        stages.pop()
    if stages:
        data["stages"] = [stage_data(stage) for stage in stages]
    return {"model": model} | {name: data[name] for name in names if name in data}


def applied(settings: Mapping[str, Any], data: Mapping[str, Any]) -> Settings:
    """A request's plain data, which has ``stages``, with a preset's settings applied."""
    result = dict(data) | {name: settings[name] for name in REQUEST_FIELDS if name in settings}
    if "size" in settings:
        result["stages"] = sized_data(result.get("stages") or [], settings["size"])
    if "lora_strength" in settings:
        result["loras"] = with_strength(result.get("loras"), settings["lora_strength"])
    return result


def differences(
    settings: Mapping[str, Any], request: GenerationRequest, card: ModelCard, own: tuple[Stage, ...] | None = None
) -> tuple[Difference, ...]:
    """The settings of a preset whose value differs in ``request``, which is for the model of ``card``.

    ``own`` are the stages of the model that the preset names; they count where the preset has no stages. Knobs that
    have no effect on either side are left out.
    """
    request = request.typed
    data = {key: value for key, value in settings.items() if key in REQUEST_FIELDS}
    preset = parse_request({"prompt": _ANY_PROMPT} | data)
    found: list[Difference] = []
    model = settings.get("model")
    if model is not None and not suits(card, model):
        found.append(Difference("model", model, card.name))
    for name in data:
        if name != "stages":
            ours, theirs = (shown_value(name, getattr(each, name)) for each in (preset, request))
            found += [Difference(name, ours, theirs)] if ours != theirs else []
    strength = settings.get("lora_strength")
    if strength is not None and any(use.strength != strength for use in request.loras):
        used = ", ".join(f"{use.name} {use.strength:g}" for use in request.loras)
        found.append(Difference("lora_strength", f"{strength:g}", used))
    if "size" in settings:
        given = request.stages or card.stages
        last, (width, height) = final_stage(given), size_from(settings["size"], given)
        if (last.width, last.height) != (width, height):
            found.append(Difference("size", f"{width}x{height}", f"{last.width}x{last.height}"))
    stages = preset.stages or (own if "model" in settings else None)
    if stages is not None:
        found += _stages(stages, request.stages or card.stages)
    return tuple(found)


def _stages(preset: tuple[Stage, ...], given: tuple[Stage, ...]) -> Iterator[Difference]:
    for number in range(max(len(preset), len(given))):
        ours, theirs = (stages[number] if number < len(stages) else _OFF for stages in (preset, given))
        prefix = f"stages.{number}"
        if not (ours.enabled and theirs.enabled):
            yield from _fields(prefix, ours, theirs, ("enabled",))
            continue
        names = dict.fromkeys((*stage_knobs(ours), *stage_knobs(theirs)))
        yield from _fields(prefix, ours, theirs, names)
        for group, model in STAGE_GROUPS.items():
            mine, other = getattr(ours, group), getattr(theirs, group)
            if mine and other:
                yield from _fields(f"{prefix}.{group}", mine, other, model.model_fields)
            elif mine != other:
                yield Difference(f"{prefix}.{group}", *(shown_value("", each is not None) for each in (mine, other)))


def stage_knobs(stage: Stage) -> list[str]:
    """Names of a stage's knobs that have an effect with its sampler and hand-over rule, without the groups' knobs."""
    unused = unread_options(stage.sampler, stage.handover)
    return [name for name in Stage.model_fields if name not in unused and name not in STAGE_GROUPS]


def _fields(prefix: str, ours: BaseModel, theirs: BaseModel, names: Any) -> Iterator[Difference]:
    for name in names:
        one, other = getattr(ours, name), getattr(theirs, name)
        if one != other:
            yield Difference(f"{prefix}.{name}", shown_value(name, one), shown_value(name, other))


def shown_value(name: str, value: Any) -> str:
    """The value of the setting ``name`` as text, for comparison and display."""
    match value:
        case bool():
            return "✓" if value else "✗"
        case float():
            return f"{value:g}"
        case tuple() if name == "loras":
            return ", ".join(map(_use, value)) or "—"
        case tuple():
            return ", ".join(map(str, value)) or "—"
    return str(value) or "—"


def _use(use: LoraUse) -> str:
    stages = "" if use.stages is None else f" @{','.join(map(str, use.stages))}"
    words = f" ({', '.join(use.triggers)})" if use.triggers else ""
    return f"{use.name} {use.strength:g}{stages}{words}"


def _strength(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -MAX_STRENGTH <= value <= MAX_STRENGTH:
        raise wrong_field(
            "lora_strength",
            f"{value!r} must be a number from {-MAX_STRENGTH:g} to {MAX_STRENGTH:g}",
            f"{value!r} 必须是 {-MAX_STRENGTH:g} 到 {MAX_STRENGTH:g} 的数字",
        )
    return float(value)
