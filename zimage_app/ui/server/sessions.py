"""What Gradio keeps of each visit, bounded: it holds a megabyte for each page that was ever opened, for ever.

A session is a page's; its name is the page's to choose. Gradio keeps for each a copy of every component's properties,
for links to a state that are closed here, and every result until somebody fetches it.
"""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
from gradio.blocks import Block
from gradio.queueing import Queue
from gradio.state_holder import SessionState, StateHolder
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from zimage_app.domain.text import Text
from zimage_app.web.client import client_of, is_this_machine
from zimage_app.web.json_bodies import PARSED
from zimage_app.web.language import LanguageChoice
from zimage_app.web.owner import owner_of
from zimage_app.web.refusal import refusal

MAX_SESSIONS = 500
MAX_ENDED = 16
"""Sessions of closed pages that are kept, for pages whose connection is back in a moment."""
SESSION_EVENTS = 16
"""Calls of one session that run, wait or whose results lie there."""
OWNER_EVENTS = 32
CLIENT_EVENTS = 128
ALL_EVENTS = 512
MAX_UNHEARD = 64
"""Sessions whose results nobody listens for."""

_JOINS = ("/gradio_api/queue/join", "/gradio_api/call/")
_LISTENS = "/gradio_api/queue/data"
_TOO_MANY = Text(
    "Too many calls of yours run or lie unread; wait for them or read their results first.",
    "您有过多调用正在运行或结果未读取，请等待完成或先读取结果。",
)
_FULL = Text("Too many calls run; try again in a moment.", "正在运行的调用过多，请稍后重试。")


class _Session(SessionState):
    """What is kept for one page: the values of ``gr.State``, and of changed components the last."""

    _changed: int | None = None

    def __init__(self, blocks: gr.Blocks) -> None:
        # Without components, of whose properties it would make a copy: a tenth of a second on the event loop.
        super().__init__(cast("gr.Blocks", SimpleNamespace(default_config=blocks.default_config, blocks={})))
        self._as_built = blocks.default_config.blocks

    def __setitem__(self, key: int, value: Any) -> None:
        """Gradio puts in a changed copy of a component and reads it again at once; nothing asks for it later."""
        if not isinstance(value, Block):
            super().__setitem__(key, value)
            return
        if self._changed in self._as_built:
            self.blocks_config.blocks[self._changed] = self._as_built[self._changed]
        self._changed = key
        self.blocks_config.blocks[key] = value

    def _update_config(self, key: int) -> None:
        """Keep no properties of components: each that opening a page fills in costs the event loop a millisecond."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """As ``_update_config``."""


class Sessions(StateHolder):
    """A bounded number of sessions, of which those of closed pages go first."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __getitem__(self, session_id: str) -> SessionState:
        """The session, made where it isn't there."""
        if session_id not in self.session_data:
            self._forget_ended()
            self.session_data[session_id] = _Session(self.blocks)
        return super().__getitem__(session_id)

    def _forget_ended(self) -> None:
        ended = [name for name, session in list(self.session_data.items()) if session.is_closed]
        for name in ended[:-MAX_ENDED]:
            self.session_data.pop(name, None)
            self.time_last_used.pop(name, None)


def bound_sessions(page: gr.Blocks) -> None:
    """Have a page that was launched keep little; call before it is visited."""
    sessions = Sessions()
    page.state_session_capacity = MAX_SESSIONS
    sessions.set_blocks(page)
    page.app.state_holder = sessions
    # A summary of all events that nothing here shows is made anew after each of them.
    page._queue.ANALYTICS_MAX_EVENTS = 1


class EventsMiddleware:
    """Bounds the calls that wait, run or lie unread in Gradio's queue: by session, owner, address and in all."""

    def __init__(self, app: ASGIApp, page: gr.Blocks, first: LanguageChoice = "auto") -> None:
        self._app = app
        self._page = page
        self._first = first
        self._heard: Counter[str] = Counter()
        """How many listen for each session's results."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        path = scope["path"] if scope["type"] == "http" else ""
        if path.startswith(_JOINS) and scope["method"] == "POST":
            await self._join(scope, receive, send)
        elif path == _LISTENS or (path.startswith("/gradio_api/call/") and scope["method"] == "GET"):
            await self._listen(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    @property
    def _queue(self) -> Queue:
        return self._page._queue

    async def _join(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._forget_unheard()
        session = (scope.get(PARSED) or {}).get("session_hash")
        if len(self._queue.event_ids_to_events) >= ALL_EVENTS:
            await refusal(scope, 503, _FULL, self._first, **{"retry-after": "5"})(scope, receive, send)
        elif self._has_too_many(scope, session):
            await refusal(scope, 429, _TOO_MANY, self._first, **{"retry-after": "5"})(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _has_too_many(self, scope: Scope, session: str | None) -> bool:
        if len(self._queue.pending_event_ids_session.get(session or "", ())) >= SESSION_EVENTS:
            return True
        owner, client = owner_of(HTTPConnection(scope)), client_of(scope)
        scopes = [event.request.scope for event in self._queue.event_ids_to_events.values()]
        owned = sum(owner_of(HTTPConnection(each)) == owner for each in scopes) if owner else 0
        near = 0 if is_this_machine(scope) else sum(client_of(each) == client for each in scopes)
        return owned >= OWNER_EVENTS or near >= CLIENT_EVENTS

    async def _listen(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = self._session_of(scope)
        self._heard[session] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._heard[session] -= 1
            if not self._heard[session]:
                del self._heard[session]

    def _session_of(self, scope: Scope) -> str:
        if scope["path"] == _LISTENS:
            return HTTPConnection(scope).query_params.get("session_hash", "")
        event_id = scope["path"].rsplit("/", 1)[1]
        event = self._queue.event_ids_to_events.get(event_id)
        return event.session_hash if event else event_id

    async def _forget_unheard(self) -> None:
        """Drop what is done with, and the oldest results that nobody listens for."""
        events = self._queue.pending_event_ids_session
        unheard = [session for session in list(events) if session not in self._heard]
        done = [session for session in unheard if not events[session]]
        waiting = [session for session in unheard if events[session]]
        for session in (*done, *waiting[:-MAX_UNHEARD]):
            await self._queue.clean_events(session_hash=session)
            events.pop(session, None)
            self._queue.pending_messages_per_session.pop(session, None)
