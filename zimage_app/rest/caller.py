"""Who sent a request and in which language, as a dependency of the endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response

from zimage_app.domain.text import Language
from zimage_app.service.studio import Studio
from zimage_app.web.language import language_of
from zimage_app.web.owner import OWNER_HEADER, is_local, new_owner, owner_cookie, owner_of


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request."""

    studio: Studio
    owner: str
    """The id that the sender's tasks and pictures belong to; empty where the request has none."""
    language: Language
    local: bool = False
    """Whether the sender is a program of the user who runs the app."""

    @property
    def stranger(self) -> bool:
        """Whether the app is shared, so that this caller may see and change only their own things."""
        return self.studio.shared and not self.local


def _caller(request: Request) -> Caller:
    return Caller(
        request.app.state.studio,
        owner_of(request),
        language_of(request, request.app.state.default_language),
        is_local(request),
    )


CurrentCaller = Annotated[Caller, Depends(_caller)]


def ensure_owner(caller: Caller, request: Request, response: Response) -> str:
    """The owner for something that is about to be stored; on a shared app, a caller without an id gets a new one."""
    if caller.owner or not caller.stranger:
        return caller.owner
    # Without an id the caller could not find it again, and all callers without one would share it.
    owner = new_owner()
    response.headers[OWNER_HEADER] = owner
    response.headers["set-cookie"] = owner_cookie(request, owner)
    return owner
