"""Applies a user's changes in the readable part of this app's own text to the complete request stored in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from zimage_app.domain.prompt_tags import plain_name, tag_of
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.settings.knob import knob_of
from zimage_app.domain.text import Text
from zimage_app.domain.wildcards import escaped
from zimage_app.service.imports.draft import Imported, shown, stage_title, taken_lines

_CHANGED = Text(
    "The text was changed after it was saved: the changes count, and everything else is as it was saved",
    "文本在保存后被修改过：采用修改之处，其余均与保存时相同",
)
_NONE = Text("none", "无")


def edited(saved: Imported, before: Imported, after: Imported) -> Imported:
    """Return the saved settings with the differences between two readings of the readable part.

    Args:
        saved: the whole request.
        before: settings in the unchanged readable part, which shows the last of these stages.
        after: settings in the readable part now.
    """
    settings, old, new = dict(saved.settings), before.settings, after.settings
    changed = [name for name in ("prompt", "negative", "seed") if old.get(name) != new.get(name)]
    changes = [_CHANGED, *(_change(knob_of(GenerationRequest, name).title, old, new, name) for name in changed)]
    if {"prompt", "negative"} & set(changed):
        settings = _without_template(settings)
    if "prompt" in changed:
        settings = _with_prompt(settings, old["prompt"], new.get("prompt"))
    if "negative" in changed:
        settings["negative"] = new.get("negative", "")
    if "seed" in changed:
        settings = _with_seed(settings, old["seed"], new.get("seed", "random"))
    # Websites drop all tags, so a text without any doesn't mean that the user removed them.
    if new.get("loras") and old.get("loras") != new["loras"]:
        settings["loras"] = list(_loras(settings.get("loras", []), new["loras"]))
        changes.append(_change(knob_of(GenerationRequest, "loras").title, _tags(old), _tags(new), "loras"))
    place = len(old["stages"]) - 1
    was, now = old["stages"][place], new["stages"][place]
    fields = [name for name in was if name in now and was[name] != now[name]]
    settings["stages"] = list(settings["stages"])
    settings["stages"][place] = settings["stages"][place] | {name: now[name] for name in fields}
    changes += [_change(stage_title(place, name), was, now, name) for name in fields]
    return replace(
        saved,
        settings=settings,
        taken=tuple(taken_lines(settings, saved.model)),
        translated=tuple(changes),
        left=tuple(line for line in after.left if line not in before.left),
        exact=False,
    )


def _change(what: Text, old: Mapping[str, Any], new: Mapping[str, Any], name: str) -> Text:
    before, after = (Text(shown(each[name]), shown(each[name])) if name in each else _NONE for each in (old, new))
    return Text(f"{what.en}: {before.en} → {after.en}", f"{what.zh}：{before.zh} → {after.zh}")


def _tags(settings: Mapping[str, Any]) -> dict[str, str]:
    uses = settings.get("loras")
    return {"loras": " ".join(map(tag_of, parse_request({"prompt": "-", "loras": uses}).loras))} if uses else {}


def _without_template(settings: dict[str, Any]) -> dict[str, Any]:
    """Make the drawn texts those that count, with their braces as plain text."""
    if settings.get("template") is None:
        return settings
    kept = {name: escaped(settings[name]) for name in ("prompt", "negative") if name in settings}
    loras = [use | _plain_words(use) for use in settings.get("loras", ())]
    kept |= _plain_words(settings) | ({"loras": loras} if loras else {})
    return {name: value for name, value in (settings | kept).items() if name != "template"}


def _plain_words(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"triggers": [escaped(word) for word in part["triggers"]]} if "triggers" in part else {}


def _with_prompt(settings: dict[str, Any], old: str, new: str | None) -> dict[str, Any]:
    """Replace the prompt; remove the trigger words if the new prompt doesn't begin with them."""
    words = old.removesuffix(settings["prompt"])
    if new is None:
        return {name: value for name, value in settings.items() if name != "prompt"}
    if new.startswith(words):
        return settings | {"prompt": new[len(words) :]}
    loras = [{**use, "triggers": []} for use in settings.get("loras", ())]
    return settings | {"prompt": new, "triggers": []} | ({"loras": loras} if loras else {})


def _with_seed(settings: dict[str, Any], old: int, new: int | str) -> dict[str, Any]:
    """Replace the seed, which is the request's or a stage's own."""
    stages = [stage | {"seed": new} if stage.get("seed") == old else stage for stage in settings["stages"]]
    return settings | {"stages": stages} | ({"seed": new} if settings["seed"] == old else {})


def _loras(saved: list[dict[str, Any]], shown_uses: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the LoRAs that the text shows, with what was saved about them, then those that are off."""
    rest = list(saved)
    for use in shown_uses:
        same = next((each for each in rest if plain_name(each["name"]) == plain_name(use["name"])), None)
        if same is None:
            yield use
            continue
        rest.remove(same)
        yield {**same, "strength": use["strength"], "stages": use.get("stages")}
    yield from (use for use in rest if use.get("strength") == 0)
