"""The result of an import: settings as plain data, and reports on what was taken, translated or left out.

The formats' readers fill a ``Draft`` without validating values; ``Draft.settled`` keeps what the request's own
validation allows, and reports why the rest is left out. Independent of formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from zimage_app.domain.errors import ImportedFileError, RequestError
from zimage_app.domain.plan import stage_seed
from zimage_app.domain.prompt_syntax import WEIGHT
from zimage_app.domain.prompt_tags import Tag, split_tags, tag_of, without_refused_tags
from zimage_app.domain.request import MAX_PROMPT, GenerationRequest, parse_request
from zimage_app.domain.settings.knob import knob_of
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import MAX_SIDE, MAX_STAGES, MIN_DENOISE, STAGE_GROUPS, Stage, parse_stage
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.domain.sizes import GRID, MIN_SIDE
from zimage_app.domain.text import Text
from zimage_app.domain.wildcards import escaped, parse
from zimage_app.service.imports.names import stem_of

_SHOWN = 120
_MAX_LINES = 200
"""Maximum lines of each list, for graphs with thousands of unknown nodes."""
_MAX_PROMPT = 10 * MAX_PROMPT
"""Maximum characters of a prompt with its tags; longer ones are rejected."""
_EXPECTED = ("width", "height", "steps", "cfg", "sampler", "scheduler")
"""Settings that every stage in a file is expected to have."""
_PLAIN_TAG = Text(
    "no node of the workflow puts this LoRA on, so that the tag is left out; add the LoRA yourself if it should act",
    "工作流中没有节点加载这个 LoRA，因此去掉了该标签；如需使用请自行添加",
)
_SIZE = Text("size", "尺寸")
_NOT_FOUND = Text("none was found in the file", "文件中没有找到")
_ANY_DIGEST = "0" * 64


@dataclass(frozen=True, slots=True)
class NamedStartPicture:
    """A start picture that the imported file names but doesn't contain."""

    file: str = ""
    """The picture's file name; empty if it isn't known."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Known settings of ``StartPicture``, except the picture and its mask."""
    mask_file: str = ""
    """File name of the mask."""
    own_mask: bool = False
    """Whether the picture's transparent part is the mask."""

    def start_settings(self, picture: str) -> dict[str, Any]:
        """Return a request's ``start`` for the picture with that SHA-256."""
        return {**self.settings, "picture": picture, **({"mask": picture} if self.own_mask else {})}


@dataclass(frozen=True, slots=True)
class Imported:
    """Valid settings found in a file, with reports on them."""

    source: Text
    """The program that wrote the settings."""
    settings: dict[str, Any]
    """Plain data for ``parse_request``: those of prompt, negative, seed, stages, loras and triggers that were found."""
    model: str
    """The model's name or file in the imported file; empty if there is none."""
    taken: tuple[Text, ...]
    translated: tuple[Text, ...]
    left: tuple[Text, ...]
    """Messages about settings that were left out, with reasons."""
    exact: bool = False
    """Whether this app wrote the settings, so that they reproduce the same picture."""
    start: NamedStartPicture | None = None

    def request(self) -> GenerationRequest:
        """Return the settings as a request; raises RequestError if no prompt was found."""
        return parse_request({"prompt": "", **self.settings})


@dataclass
class Draft:
    """Settings that a reader has found so far. Values are unvalidated and may have any type."""

    source: Text
    prompt: object = None
    negative: object = None
    seed: object = None
    """The base seed; None means the first stage's seed."""
    stages: list[dict[str, Any]] = field(default_factory=list)
    """Settings found for each stage, in order."""
    loras: list[dict[str, Any]] = field(default_factory=list)
    model: object = None
    start: NamedStartPicture | None = None
    prompt_choices: bool = False
    """Whether ``{a|b}`` in the prompt is to be drawn; otherwise braces are plain text."""
    negative_choices: bool = False
    tags_act: bool = True
    """Whether a LoRA tag in the prompt puts its LoRA on; ComfyUI encodes it as plain text."""
    ours: bool = False
    """Whether this app wrote the file, so that all names in it are this app's."""
    stage_defaults: Stage = field(default_factory=Stage)
    """The values that are filled in where a stage's are missing or invalid."""
    translated: list[Text] = field(default_factory=list)
    left: list[Text] = field(default_factory=list)

    def report_translated(self, what: Text, theirs: object, ours: object) -> None:
        """Report that something has another name or value in this app."""
        before, after = shown(theirs), shown(ours)
        self.translated.append(Text(f"{what.en}: {before} → {after}", f"{what.zh}：{before} → {after}"))

    def report_left_out(self, what: Text, en: str, zh: str) -> None:
        """Report a setting that is left out, and why."""
        self.left.append(Text(f"{what.en}: {en}", f"{what.zh}：{zh}"))

    def settled(self) -> Imported:
        """Return the valid settings with reports.

        Raises:
            ImportedFileError: no valid setting is left.
        """
        settings: dict[str, Any] = {}
        self._texts(settings)
        self._first_stages()
        seeds = self._seeds(settings)
        stages = [self._stage(given, number) for number, given in enumerate(self.stages)]
        self._report_defaults(stages)
        for stage, seed in zip(stages, seeds, strict=True):
            if seed is not None:
                stage["seed"] = seed
        if any(stages):
            settings["stages"] = stages
        loras = [use for use in map(self._lora, self.loras) if use]
        if loras:
            settings["loras"] = self._allowed({"loras": loras}, knob_of(GenerationRequest, "loras").title)
        settings = {name: value for name, value in settings.items() if value is not None}
        if not settings:
            raise nothing_found(self.source)
        model = shown(self.model) if isinstance(self.model, str) else ""
        self._report_missing({**settings, "model": model})
        taken = tuple(taken_lines(settings, ""))  # ``fitting`` decides later whether the model is available
        start = self._start()
        taken += tuple(_start_lines(start.settings)) if start else ()
        return Imported(self.source, settings, model, taken, _few(self.translated), _few(self.left), start=start)

    # Helpers.

    def _start(self) -> NamedStartPicture | None:
        if self.start is None:
            return None
        allowed = {
            name: value
            for name, value in self.start.settings.items()
            if self._allowed({"start": {"picture": _ANY_DIGEST, name: value}}, knob_of(StartPicture, name).title)
        }
        return replace(self.start, settings=allowed)

    def _texts(self, settings: dict[str, Any]) -> None:
        for name in ("prompt", "negative"):
            text = getattr(self, name)
            title = knob_of(GenerationRequest, name).title
            if not isinstance(text, str) or not text.strip():
                continue
            if len(text) > _MAX_PROMPT:
                self._allowed({name: text}, title)
                continue
            text = self._untagged(text, name, title)
            if text.strip():
                drawn = getattr(self, f"{name}_choices") and self._can_be_drawn(text, title)
                settings[name] = self._allowed({name: text if drawn else escaped(text)}, title)
            if WEIGHT.search(text):
                self.report_left_out(
                    title,
                    "weights such as (word:1.2) mean nothing to this model; it reads them as plain text",
                    "这个模型不支持 (词:1.2) 形式的权重，会把它当作普通文字",
                )

    def _can_be_drawn(self, text: str, title: Text) -> bool:
        try:
            parse(text)
        except RequestError as error:
            self.report_left_out(title, f"{error.reason.en}; taken as plain text", f"{error.reason.zh}；当作普通文字")
            return False
        return True

    def _untagged(self, text: str, name: str, title: Text) -> str:
        """Return a prompt without its LoRA tags, which are added to the LoRAs."""
        text, refused = without_refused_tags(text)
        for error in refused:
            self.report_left_out(title, error.reason.en, error.reason.zh)
        try:
            words, tags = split_tags(text)
        except RequestError as error:
            self.report_left_out(title, error.reason.en, error.reason.zh)
            return text
        listed = {stem_of(use["name"]).lower() for use in self.loras if isinstance(use.get("name"), str)}
        for tag in tags:
            written = tag_of(LoraUse(name=tag.name, strength=tag.strength, stages=tag.stages))
            if name != "prompt":
                self.report_left_out(title, f"{written} acts in the prompt only", f"{written} 只在提示词里起作用")
            elif stem_of(tag.name).lower() in listed:
                self.translated.append(
                    Text(
                        f"{title.en}: {written} → LoRA {tag.name}, which is put on already and counts once",
                        f"{title.zh}：{written} → LoRA {tag.name}，已经加载，只计一次",
                    )
                )
            elif self.tags_act:
                self.loras.append(_tagged_use(tag))
                self.report_translated(title, written, f"LoRA {tag.name}")
            else:
                self.report_left_out(title, f"{written}: {_PLAIN_TAG.en}", f"{written}：{_PLAIN_TAG.zh}")
        return words

    def _first_stages(self) -> None:
        more = len(self.stages) - MAX_STAGES
        if more > 0:
            self.report_left_out(
                knob_of(GenerationRequest, "stages").title,
                f"there are {len(self.stages)} samplers in a row; the first {MAX_STAGES} are taken",
                f"共有 {len(self.stages)} 个串联的采样器；只取前 {MAX_STAGES} 个",
            )
            del self.stages[MAX_STAGES:]

    def _seeds(self, settings: dict[str, Any]) -> list[object]:
        """Set the base seed; return each stage's own seed, or None if it follows from the base seed."""
        title = knob_of(GenerationRequest, "seed").title
        given = [stage.pop("seed", None) for stage in self.stages]
        base = self.seed if self.seed is not None else next((seed for seed in given if seed is not None), None)
        if base is not None and base != -1:
            base = self._allowed({"seed": _whole(base)}, title)
            if base is not None:
                settings["seed"] = base
        own: list[object] = []
        for number, seed in enumerate(given):
            value = _whole(seed)
            follows = value is None or (isinstance(base, int) and value == stage_seed(base, number))
            own.append(None if follows else self._allowed_of_stage({"seed": value}, number, "seed"))
        return own

    def _stage(self, given: Mapping[str, Any], number: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        given = self._within_sides(given, number)
        for name in (name for name in Stage.model_fields if name in given):
            value = given[name]
            whole = Stage.model_fields[name].annotation is int
            value = _whole(value) if whole else value
            if name in ("width", "height") and isinstance(value, int) and not isinstance(value, bool):
                value = self._on_grid(value, number, name)
            if name == "denoise" and isinstance(value, int | float) and 0 <= value < MIN_DENOISE:
                self.report_translated(stage_title(number, name), value, MIN_DENOISE)
                value = MIN_DENOISE
            allowed = self._allowed_of_stage({name: value}, number, name)
            if allowed is not None:
                kept[name] = allowed
        return kept

    def _report_defaults(self, stages: list[dict[str, Any]]) -> None:
        """Report expected settings that a stage lacks, with the defaults used for them."""
        for number, (stage, given) in enumerate(zip(stages, self.stages, strict=True)):
            for name in _EXPECTED if stage else ():
                title = stage_title(number, name)
                size = of_stage(number, _SIZE).en if name in ("width", "height") else title.en
                reported = any(line.en.startswith((f"{title.en}: ", f"{size}: ")) for line in self.left)
                if name not in stage and name not in given and not reported:
                    default = shown(getattr(self.stage_defaults, name))
                    self.report_left_out(
                        title, f"the file doesn't say it; {default} is filled in", f"文件中没有写；填入 {default}"
                    )

    def _report_missing(self, found: Mapping[str, Any]) -> None:
        """Report that prompt, seed or model is missing, unless a line says why."""
        titles = {name: knob_of(GenerationRequest, name).title for name in ("prompt", "seed")}
        for name, title in {**titles, "model": Text("Model", "模型")}.items():
            drawn = name == "seed" and self.seed == -1
            if (
                found.get(name) in (None, "")
                and not drawn
                and not any(f"{title.en}: " in line.en for line in self.left)
            ):
                self.report_left_out(title, _NOT_FOUND.en, _NOT_FOUND.zh)

    def _within_sides(self, given: Mapping[str, Any], number: int) -> Mapping[str, Any]:
        """Shrink a size with a side that is too long, keeping the aspect ratio."""
        width, height = (_whole(given.get(name)) for name in ("width", "height"))
        if not isinstance(width, int) or not isinstance(height, int) or min(width, height) < 1:
            return given
        factor = MAX_SIDE / max(width, height)
        sides = [round(side * factor / GRID) * GRID for side in (width, height)]
        if factor >= 1 or min(sides) < MIN_SIDE:
            return given
        title = of_stage(number, _SIZE)
        reason = Text(f"sides have at most {MAX_SIDE} pixels", f"边长不超过 {MAX_SIDE} 像素")
        summary = f"{width}×{height} → {sides[0]}×{sides[1]}"
        self.translated.append(Text(f"{title.en}: {summary}, {reason.en}", f"{title.zh}：{summary}，{reason.zh}"))
        return {**given, "width": sides[0], "height": sides[1]}

    def _on_grid(self, pixels: int, number: int, name: str) -> int:
        """Round a side to the nearest multiple of 16, as the model's patches require."""
        rounded = (pixels + GRID // 2) // GRID * GRID
        if rounded != pixels:
            self.report_translated(stage_title(number, name), pixels, rounded)
        return rounded

    def _lora(self, use: dict[str, Any]) -> dict[str, Any] | None:
        name = use.get("name")
        if not isinstance(name, str) or not name.strip():
            return None
        use["name"] = lora_name(name)
        allowed = self._allowed({"loras": [use]}, Text(f"LoRA {shown(use['name'])}", f"LoRA {shown(use['name'])}"))
        return None if allowed is None else use

    def _allowed(self, data: dict[str, Any], title: Text) -> Any:
        """Return the single value of ``data`` if it is valid in a request; otherwise report why and return None."""
        try:
            parse_request({"prompt": "-"} | data)
        except RequestError as error:
            self.report_left_out(title, error.reason.en, error.reason.zh)
            return None
        return next(iter(data.values()))

    def _allowed_of_stage(self, data: dict[str, Any], number: int, name: str) -> Any:
        try:
            stage = parse_stage(data)
        except RequestError as error:
            default = getattr(self.stage_defaults, name)
            reason = error.reason
            self.report_left_out(
                stage_title(number, name),
                f"{reason.en}; {shown(default)} is filled in",
                f"{reason.zh}；改填 {shown(default)}",
            )
            return None
        return stage.model_dump(mode="json")[name]


def of_stage(number: int, what: Text) -> Text:
    """Return "Stage N, ``what``" for a stage number counted from 0."""
    return Text(f"Stage {number + 1}, {what.en}", f"阶段 {number + 1}，{what.zh}")


def stage_title(number: int, field: str) -> Text:
    """Return "Stage N, " with a setting's title, for a stage number counted from 0."""
    return of_stage(number, knob_of(Stage, field).title)


def unknown_name(draft: Draft, number: int, field: str, name: object) -> None:
    """Report a sampler or scheduler that this app doesn't have."""
    default = getattr(draft.stage_defaults, field)
    draft.report_left_out(
        stage_title(number, field),
        f"{shown(name)} does not exist here; {default} is filled in, choose another if it doesn't suit",
        f"这里没有 {shown(name)}；先填入 {default}，不合适请另选",
    )


def report_start_strength(draft: Draft, strength: object) -> None:
    """Report how far a start picture was redrawn; these programs' files don't hold that picture."""
    summary = shown(strength)
    reason = Text(
        f"{summary} was for a start picture, which the file doesn't hold",
        f"{summary} 针对起始图片，而文件中没有那张图片",
    )
    draft.report_left_out(knob_of(Stage, "denoise").title, reason.en, reason.zh)


def lora_name(file: str) -> str:
    """Return a LoRA file's name as this app writes it: forward slashes, no suffix."""
    name = file.strip().replace("\\", "/")
    return name[: -len(".safetensors")] if name.lower().endswith(".safetensors") else name


def shown(value: object) -> str:
    """Return a value as short text on one line, for messages."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    text = " ".join(text[: 2 * _SHOWN].encode(errors="replace").decode().split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def import_error(en: str, zh: str) -> ImportedFileError:
    """Make the error for a file that isn't imported."""
    return ImportedFileError(Text(en, zh))


def nothing_found(source: Text) -> ImportedFileError:
    """Make the error for a file of a known program without usable settings."""
    return import_error(
        f"This is {source.en}'s, but it holds no prompt and no sampler that could be read;"
        " choose another picture or workflow.",
        f"这是 {source.zh} 的文件，但其中没有可读取的提示词或采样器；请换一张图片或一个工作流。",
    )


def _tagged_use(tag: Tag) -> dict[str, Any]:
    stages = {} if tag.stages is None else {"stages": list(tag.stages)}
    return {"name": tag.name, "strength": tag.strength, **stages}


def _whole(value: object) -> object:
    """Convert a whole number (20, 20.0, "20") to int; return anything else unchanged."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,20}\s*", value, re.ASCII):
        return int(value)
    return value


def _start_lines(settings: Mapping[str, Any]) -> Iterator[Text]:
    for name, value in settings.items():
        title = knob_of(StartPicture, name).title
        yield _line(Text(f"Start picture, {title.en}", f"起始图片，{title.zh}"), value)


def _few(lines: list[Text]) -> tuple[Text, ...]:
    unique = tuple(dict.fromkeys(lines))
    more = len(unique) - _MAX_LINES
    return unique if more <= 0 else (*unique[:_MAX_LINES], Text(f"… and {more} more", f"……以及另外 {more} 项"))


def taken_lines(settings: Mapping[str, Any], model: str) -> Iterator[Text]:
    """Yield a line per setting that was found, without defaults."""
    for name in ("prompt", "negative", "triggers", "seed", "variation_strength", "variation_seed"):
        if settings.get(name):
            yield _line(knob_of(GenerationRequest, name).title, settings[name])
    for number, stage in enumerate(settings.get("stages") or ()):
        words = [_shown_value(name, value) for name, value in stage.items() if value is not None and name != "enabled"]
        if words:
            yield Text(
                f"Stage {number + 1}: {', '.join(word.en for word in words)}",
                f"阶段 {number + 1}：{'，'.join(word.zh for word in words)}",
            )
    for use in settings.get("loras", ()):
        yield _line(Text("LoRA", "LoRA"), tag_of(parse_request({"prompt": "-", "loras": [use]}).loras[0]))
    if start := settings.get("start"):
        stage = start.get("stage", 1)
        yield _line(knob_of(GenerationRequest, "start").title, f"{start['picture'][:10]} @{stage}")
    if model:
        yield _line(Text("Model", "模型"), model)


def _shown_value(name: str, value: Any) -> Text:
    if isinstance(value, dict):
        settings = STAGE_GROUPS[name].model_validate(value)  # fills in defaults
        value = "/".join(str(shown(each)) for each in list(settings.model_dump().values())[:3])
    title = knob_of(Stage, name).title
    return Text(f"{title.en} {shown(value)}", f"{title.zh} {shown(value)}")


def _line(title: Text, value: object) -> Text:
    text = shown(", ".join(map(str, value)) if isinstance(value, list | tuple) else value)
    return Text(f"{title.en}: {text}", f"{title.zh}：{text}")
