"""Draws a request's choices and wildcards by its seed, and keeps the texts as typed beside. No file access."""

from __future__ import annotations

from math import prod
from typing import NoReturn

from zimage_app.domain.errors import RequestError, wrong_field
from zimage_app.domain.request import GenerationRequest, Template, parse_request
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.wildcards import Lines, combinations, draw, is_plain, parse

_PROMPT, _NEGATIVE, _TRIGGERS, _LORAS = range(4)
"""Stream numbers of the texts: each has its own draws, so that a choice in one does not change the others."""


def no_wildcards(name: str) -> NoReturn:
    """A ``Lines`` function without any wildcards; always raises RequestError."""
    raise wrong_field(
        "prompt",
        rf"there is no wildcard __{name}__ here; for plain underscores write \__",
        rf"这里没有通配符 __{name}__；普通下划线请写成 \__",
    )


def drawn(request: GenerationRequest, seed: int, lines: Lines) -> GenerationRequest:
    """The request with all choices drawn, and a template that holds its texts as typed.

    A request without choices, or one that was drawn already, is returned unchanged.

    Raises:
        RequestError: a text's syntax is wrong, a wildcard is unknown, or the prompt becomes empty; names the field.
    """
    if request.template is not None:
        return request
    loras = tuple(_drawn_use(use, place, seed, lines) for place, use in enumerate(request.loras))
    changed = {
        "prompt": _drawn("prompt", request.prompt, seed, lines, _PROMPT),
        "negative": _drawn("negative", request.negative, seed, lines, _NEGATIVE),
        "triggers": _drawn_words("triggers", request.triggers, seed, lines, _TRIGGERS),
        "loras": loras,
    }
    if all(getattr(request, name) == value for name, value in changed.items()):
        return request
    template = Template(**{name: getattr(request, name) for name in Template.model_fields})
    return _checked(request.model_copy(update={**changed, "template": template}))


def request_combinations(request: GenerationRequest, lines: Lines) -> int:
    """The number of ways to draw a request; raises RequestError for invalid texts, as ``drawn`` does."""
    texts = {"prompt": (request.prompt,), "negative": (request.negative,), "triggers": request.triggers}
    texts |= {f"loras.{place}.triggers": use.triggers for place, use in enumerate(request.loras)}
    if request.template is not None:
        return 1
    return prod(_combinations(field, text, lines) for field, several in texts.items() for text in several)


def with_literal_template(request: GenerationRequest) -> GenerationRequest:
    """The request with a template equal to its texts, so that nothing is drawn; for records older than wildcards."""
    words = (*request.triggers, *(word for use in request.loras for word in use.triggers))
    if request.template is not None or all(map(is_plain, (request.prompt, request.negative, *words))):
        return request
    template = Template(**{name: getattr(request, name) for name in Template.model_fields})
    return request.model_copy(update={"template": template})


def _drawn_use(use: LoraUse, place: int, seed: int, lines: Lines) -> LoraUse:
    words = _drawn_words(f"loras.{place}.triggers", use.triggers, seed, lines, _LORAS + place)
    return use if words == use.triggers else use.model_copy(update={"triggers": words})


def _drawn_words(field: str, words: tuple[str, ...], seed: int, lines: Lines, number: int) -> tuple[str, ...]:
    """The words with their choices drawn; words that become empty are dropped."""
    texts = [_drawn(field, word, seed, lines, number + 1000 * place) for place, word in enumerate(words, 1)]
    return tuple(text for text in texts if text.strip())


def _drawn(field: str, text: str, seed: int, lines: Lines, number: int) -> str:
    if is_plain(text):
        return text
    try:
        return draw(text, seed, lines, number)
    except RequestError as error:
        raise error.at(field) from error


def _combinations(field: str, text: str, lines: Lines) -> int:
    try:
        return combinations(parse(text), lines)
    except RequestError as error:
        raise error.at(field) from error


def _checked(request: GenerationRequest) -> GenerationRequest:
    """Validate the drawn request; raises RequestError where a text became empty or too long."""
    if not request.prompt.strip():
        raise wrong_field(
            "prompt",
            "comes out empty with this seed; write something outside the braces too",
            "用这个种子抽取后为空；请在花括号外也写一些内容",
        )
    return parse_request(request.model_dump(mode="json"))
