"""Who calls and in which language, for the endpoints to depend on."""

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
    """One request's side of things."""

    studio: Studio
    owner: str
    """Whose tasks and pictures these are; empty for who can't be told apart."""
    language: Language
    local: bool = False
    """It is a program of the user whose app this is."""

    @property
    def stranger(self) -> bool:
        """Whether others share the app with this caller, who must not see or change what is theirs."""
        return self.studio.shared and not self.local


def _caller(request: Request) -> Caller:
    return Caller(
        request.app.state.studio, owner_of(request), language_of(request, request.app.state.first), is_local(request)
    )


Calling = Annotated[Caller, Depends(_caller)]


def told_owner(caller: Caller, request: Request, response: Response) -> str:
    """Whose a thing is that is about to be kept; who comes without an id among strangers is given one, and told."""
    if caller.owner or not caller.stranger:
        return caller.owner
    # Otherwise nobody could ask for it again: strangers share the address.
    owner = new_owner()
    response.headers[OWNER_HEADER] = owner
    response.headers["set-cookie"] = owner_cookie(request, owner)
    return owner
