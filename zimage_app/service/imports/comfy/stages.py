"""Converts a picture's passes to a draft: a stage per sampler, and one prompt, model and list of LoRAs for all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.guidance import is_guided_by_one
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.knob import knob_of
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.roles.loras import tags_as_here
from zimage_app.service.imports.comfy.roles.schedules import OPTIONS
from zimage_app.service.imports.comfy.values import (
    Conditioning,
    LoraValue,
    Missing,
    ModelValue,
    Note,
    Pass,
    Plain,
    Size,
    Value,
)
from zimage_app.service.imports.draft import Draft, of_stage, shown, stage_title, unknown_name
from zimage_app.service.imports.names import resize_method, sampler_and_scheduler, scheduler

_PLAIN_FIELDS = ("seed", "steps", "cfg", "denoise", "shift", *OPTIONS)


def add_stages(draft: Draft, passes: Sequence[Pass], picture: Size | None) -> None:
    """Add all settings of the passes to the draft; ``picture`` is the size of the picture file with the graph."""
    for number, done in enumerate(passes):
        stage: dict[str, Any] = {}
        _fields(draft, number, done, stage)
        _shift(draft, number, done, stage)
        _size(draft, number, passes, stage, picture)
        if number:
            _method(draft, number, done, stage)
        for field, given in done.guidance.items():
            if isinstance(given, Mapping):
                stage[field] = _group(draft, number, field, given)
            elif (found := _known(draft, number, field, given)) is not None:
                stage[field] = found
        _limit_alone(draft, number, stage)
        draft.stages.append(stage)
    for number in range(len(passes)):
        _easycache(draft, passes, number)
    _prompts(draft, passes)
    _loras(draft, passes)
    _models(draft, passes)
    for done in passes:
        report_notes(draft, (*done.notes, *done.model.notes))


def report_notes(draft: Draft, notes: Iterable[Note]) -> None:
    """Add notes to the draft's lists."""
    for note in notes:
        (draft.translated if note.translated else draft.left).append(note.text)


def _fields(draft: Draft, number: int, done: Pass, stage: dict[str, Any]) -> None:
    for name in _PLAIN_FIELDS:
        value = done.fields.get(name)
        if value is not None:
            found = _known(draft, number, name, value)
            if found is not None:
                stage[name] = found
    _named(draft, number, done, stage)


def _known(draft: Draft, number: int, name: str, value: Value) -> Any:
    """Return a field's value; if it isn't known, return None and report that."""
    if isinstance(value, Plain):
        report_notes(draft, value.notes)
        return value.data
    if isinstance(value, Missing):
        filled = f"; {shown(getattr(Stage(), name))}" if name != "seed" else ""
        en, zh = (f"{filled} is filled in", f"{filled.replace(';', '；改填')}") if filled else ("", "")
        knob = knob_of(GenerationRequest, name) if name == "seed" else knob_of(Stage, name)
        draft.report_left_out(of_stage(number, knob.title), f"{value.reason.en}{en}", f"{value.reason.zh}{zh}")
    return None


def _named(draft: Draft, number: int, done: Pass, stage: dict[str, Any]) -> None:
    """Add sampler and scheduler under this app's names."""
    if (value := done.fields.get("own_scheduler")) is not None and isinstance(value, Plain):
        stage["scheduler"] = value.data
    for field in ("sampler", "scheduler"):
        value = done.fields.get(field)
        name = None if value is None else _known(draft, number, field, value)
        if name is None:
            continue
        ours = _ours(field, name)
        if ours is None:
            unknown_name(draft, number, field, name)
            continue
        stage[field] = ours
        if ours != name:
            draft.report_translated(stage_title(number, field), name, ours)


def _ours(field: str, name: object) -> str | None:
    if not isinstance(name, str):
        return None
    if field == "scheduler":
        return scheduler(name)
    found = sampler_and_scheduler(name)
    return found[0] if found else None


def _shift(draft: Draft, number: int, done: Pass, stage: dict[str, Any]) -> None:
    if "shift" in done.fields:
        return
    shift = (done.schedule_model or done.model).shift
    if shift is not None and (found := _known(draft, number, "shift", shift)) is not None:
        stage["shift"] = found


def _size(draft: Draft, number: int, passes: Sequence[Pass], stage: dict[str, Any], picture: Size | None) -> None:
    """Add the stage's size; if it isn't known, the picture's (last stage) or the previous stage's."""
    size, why = passes[number].size, passes[number].size_reason
    if size is None and number == len(passes) - 1:
        size = picture
    if size is None and number and "width" in draft.stages[-1]:
        size = (draft.stages[-1]["width"], draft.stages[-1]["height"])
    if passes[number].size is None and why is not None:
        filled = size or (Stage().width, Stage().height)
        summary = f"{filled[0]}×{filled[1]}"
        title = of_stage(number, Text("size", "尺寸"))
        draft.report_left_out(title, f"{why.en}; {summary} is filled in", f"{why.zh}；改填 {summary}")
    if size is not None:
        stage |= {"width": size[0], "height": size[1]}


def _method(draft: Draft, number: int, done: Pass, stage: dict[str, Any]) -> None:
    """Add the method of resizing, if the latent was resized."""
    if done.method is None:
        return
    theirs = done.method.data if isinstance(done.method, Plain) and isinstance(done.method.data, str) else ""
    ours = resize_method(theirs) or "nearest-exact"
    stage["upscale"] = ours
    title = stage_title(number, "upscale")
    if done.decoded_by:
        draft.report_translated(title, f"{shown(done.decoded_by)} + {theirs}", ours)
    elif ours != theirs:
        draft.report_translated(title, theirs, ours)


def _easycache(draft: Draft, passes: Sequence[Pass], number: int) -> None:
    """Add EasyCache; its window depends on the shift of the previous sampler's model (HOW-IT-COMPUTES.md section 6)."""
    given = passes[number].model.easycache
    if given is None:
        return
    title = stage_title(number, "easycache")
    cache = _group(draft, number, "easycache", given)
    if number:
        on_model = _shift_of(passes[number - 1].model)
        if on_model != draft.stages[number - 1].get("shift", Z_IMAGE_TURBO.shift):
            cache["window_shift"] = on_model
            draft.report_translated(title, "EasyCache", f"window_shift {shown(on_model)}")
    draft.stages[number]["easycache"] = cache


def _group(draft: Draft, number: int, field: str, given: Mapping[str, Value]) -> dict[str, Any]:
    """Return the known values of a group of a stage's settings; unknown ones are reported."""
    title = stage_title(number, field)
    group: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Plain):
            group[name] = value.data
        elif isinstance(value, Missing):
            draft.report_left_out(title, f"{name}: {value.reason.en}", f"{name}：{value.reason.zh}")
    return group


def _limit_alone(draft: Draft, number: int, stage: Mapping[str, Any]) -> None:
    """Report a limit of CFG that ComfyUI's RenormCFG applies without CFG, too."""
    most = stage.get("cfg_limit", {}).get("most")
    if _by_one(stage.get("cfg")) and isinstance(most, int | float) and most < 1:
        draft.report_left_out(
            stage_title(number, "cfg_limit"),
            f"at CFG 1 ComfyUI multiplies the denoised latent by {shown(most)}; here the limit acts with CFG only",
            f"CFG 为 1 时 ComfyUI 会把去噪结果乘以 {shown(most)}；这里的限制只在 CFG 起作用时生效",
        )


def _shift_of(model: ModelValue) -> Any:
    return model.shift.data if isinstance(model.shift, Plain) else Z_IMAGE_TURBO.shift


# Settings of all stages.


def _prompts(draft: Draft, passes: Sequence[Pass]) -> None:
    positives, negatives = [done.positive for done in passes], [done.negative for done in passes]
    guided = [not _by_one(stage.get("cfg")) or bool({"nag", "negpip"} & set(stage)) for stage in draft.stages]
    prompt, draft.prompt_choices = _first(reversed(positives))
    draft.prompt = prompt and tags_as_here(prompt)
    acting = [words for words, on in zip(negatives, guided, strict=True) if on and not words.zeroed]
    resting = [words for words in negatives if not words.zeroed]
    draft.negative, draft.negative_choices = _first((*acting, *resting))
    _report_words(draft, "prompt", positives)
    _report_words(draft, "negative", [words for words in negatives if not words.zeroed])
    for number, words in enumerate(positives):
        if _text(words) and _text(words) != prompt:
            summary = shown(_text(words))
            draft.report_left_out(
                Text(f"Stage {number + 1}", f"阶段 {number + 1}"),
                f"has another prompt; all stages share the last one's, this is left out: {summary}",
                f"用了另一段提示词；这里各阶段共用最后一段，未带入：{summary}",
            )
    for number, words in enumerate(negatives):
        text = _text(words)
        if guided[number] and words.zeroed:
            draft.report_left_out(
                Text(f"Stage {number + 1}", f"阶段 {number + 1}"),
                "its negative prompt is zeroed (ConditioningZeroOut); here it is the negative prompt of all stages, and"
                " an empty one is not zeroed",
                "其反向提示词被清零（ConditioningZeroOut）；这里使用各阶段共用的反向提示词，留空也不等于清零",
            )
        elif guided[number] and text and text != draft.negative:
            draft.report_left_out(
                Text(f"Stage {number + 1}", f"阶段 {number + 1}"),
                "has another negative prompt; all stages share one",
                "用了另一段反向提示词；这里各阶段共用一段",
            )


def _first(found: Iterable[Conditioning]) -> tuple[str | None, bool]:
    words = next((each for each in found if _text(each).strip()), None)
    if words is None or not isinstance(words.text, Plain):
        return None, False
    return _text(words), words.text.choices


def _text(words: Conditioning) -> str:
    return words.text.data if isinstance(words.text, Plain) and isinstance(words.text.data, str) else ""


def _by_one(cfg: object) -> bool:
    return isinstance(cfg, int | float) and is_guided_by_one(cfg)


def _report_words(draft: Draft, name: str, found: Iterable[Conditioning]) -> None:
    title = knob_of(GenerationRequest, name).title
    for words in found:
        report_notes(draft, words.notes)
        if isinstance(words.text, Plain):
            report_notes(draft, words.text.notes)
        elif isinstance(words.text, Missing):
            draft.report_left_out(title, words.text.reason.en, words.text.reason.zh)


def _loras(draft: Draft, passes: Sequence[Pass]) -> None:
    """Add LoRAs with the stages in which they act, or without stages if they act in all."""
    uses: dict[tuple[str, str, int], list[int]] = {}
    strengths: dict[tuple[str, str, int], Any] = {}
    for number, done in enumerate(passes):
        seen: dict[tuple[str, str], int] = {}
        for lora in done.model.loras:
            found = _lora(draft, lora)
            if found is None:
                continue
            key = (found[0], repr(found[1]))
            seen[key] = seen.get(key, 0) + 1
            uses.setdefault((*key, seen[key]), []).append(number + 1)
            strengths[(*key, seen[key])] = found[1]
    for use, stages in uses.items():
        if strengths[use] != 0:
            acts = {} if len(stages) == len(passes) else {"stages": stages}
            draft.loras.append({"name": use[0], "strength": strengths[use], **acts})


def _lora(draft: Draft, lora: LoraValue) -> tuple[str, Any] | None:
    """Return a LoRA's file and strength; unknown values are reported."""
    if isinstance(lora.file, Missing):
        draft.report_left_out(Text("LoRA", "LoRA"), lora.file.reason.en, lora.file.reason.zh)
        return None
    if not isinstance(lora.file, Plain) or not isinstance(lora.file.data, str):
        return None
    file = lora.file.data
    title = Text(f"LoRA {shown(file)}", f"LoRA {shown(file)}")
    if not isinstance(lora.strength, Plain):
        reason = lora.strength.reason if isinstance(lora.strength, Missing) else Text("?", "?")
        draft.report_left_out(title, f"{reason.en}; strength 1 is filled in", f"{reason.zh}；强度改填 1")
        return file, 1.0
    text = lora.text_encoder.data if isinstance(lora.text_encoder, Plain) else lora.strength.data
    if text != lora.strength.data:
        draft.report_left_out(
            title,
            f"{shown(text)} for the text encoder, which this model's LoRAs leave as it is",
            f"{shown(text)} 针对文本编码器，而这个模型的 LoRA 不改动它",
        )
    return file, lora.strength.data


def _models(draft: Draft, passes: Sequence[Pass]) -> None:
    files = [_file(done.model) for done in passes]
    draft.model = next((file for file in reversed(files) if file), None)
    for number, file in enumerate(files):
        why = passes[number].model.file
        if isinstance(why, Missing):
            draft.report_left_out(Text("Model", "模型"), why.reason.en, why.reason.zh)
        if file and file != draft.model:
            draft.report_left_out(
                Text(f"Stage {number + 1}", f"阶段 {number + 1}"),
                f"uses {shown(file)}; all stages share one model",
                f"使用 {shown(file)}；这里各阶段共用一个模型",
            )


def _file(model: ModelValue) -> str:
    return model.file.data if isinstance(model.file, Plain) and isinstance(model.file.data, str) else ""
