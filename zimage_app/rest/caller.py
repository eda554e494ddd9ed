"""Who calls and in which language, for the endpoints to depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from zimage_app.domain.text import Language
from zimage_app.service.backend import Backend
from zimage_app.web.language import language_of
from zimage_app.web.owner import owner_of


@dataclass(frozen=True, slots=True)
class Caller:
    """One request's side of things."""

    studio: Backend
    owner: str
    """Whose tasks and pictures these are; empty for who can't be told apart."""
    language: Language


def _caller(request: Request) -> Caller:
    return Caller(request.app.state.studio, owner_of(request), language_of(request, request.app.state.first))


Calling = Annotated[Caller, Depends(_caller)]
