"""Limits on what Gradio keeps per session; without them, each page that was ever opened takes a megabyte for good.

Each open page has a session, whose name the browser chooses. For each session Gradio keeps a copy of all components'
properties (for its links to a state, which are disabled here), and every result until it is fetched. The page has no
``gr.State``, so nothing of a session is needed after a call.
"""

from __future__ import annotations

import os
from asyncio import TimerHandle, get_running_loop
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
from zimage_app.web.json_bodies import JSON_BODY
from zimage_app.web.language import LanguageChoice
from zimage_app.web.owner import owner_of
from zimage_app.web.refusal import refusal

MAX_SESSIONS = 16
POLL_SECONDS = 0.05 if os.name == "nt" else 0.01
"""Interval at which Gradio's idle queue checks for new calls; Windows rounds it up to its coarser clock."""
IDLE_POLL_SECONDS = 0.5
"""The same without visitors: after ``IDLE_AFTER`` seconds without a request."""
IDLE_AFTER = 30.0
SESSION_EVENTS = 16
"""Maximum calls of one session that wait, run or have unread results; the next three are per owner, address, in all."""
OWNER_EVENTS = 32
CLIENT_EVENTS = 128
ALL_EVENTS = 512
MAX_UNREAD_SESSIONS = 64
"""Maximum of sessions with unread results and no client that listens for them."""

_JOINS = ("/gradio_api/queue/join", "/gradio_api/call/")
_LISTENS = "/gradio_api/queue/data"
_TOO_MANY = Text(
    "Too many calls of yours run or lie unread; wait for them or read their results first.",
    "您有过多调用正在运行或结果未读取，请等待完成或先读取结果。",
)
_FULL = Text("Too many calls run; try again in a moment.", "正在运行的调用过多，请稍后重试。")


class _Session(SessionState):
    """The state of one open page: the component that changed last."""

    _changed: int | None = None

    def __init__(self, blocks: gr.Blocks) -> None:
        # Blocks without components: Gradio would copy their properties, a tenth of a second on the event loop.
        super().__init__(cast("gr.Blocks", SimpleNamespace(default_config=blocks.default_config, blocks={})))
        self._as_built = blocks.default_config.blocks

    def __setitem__(self, key: int, value: Any) -> None:
        """Keep only the component that changed last: Gradio reads a changed copy at once and never again."""
        if not isinstance(value, Block):
            super().__setitem__(key, value)
            return
        if self._changed in self._as_built:
            self.blocks_config.blocks[self._changed] = self._as_built[self._changed]
        self._changed = key
        self.blocks_config.blocks[key] = value

    def _update_config(self, key: int) -> None:
        """Keep no component properties: each one filled in on page load would take a millisecond of the event loop."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Do nothing, for the same reason as ``_update_config``."""


class Sessions(StateHolder):
    """A bounded number of sessions; those that were used longest ago are dropped first."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __getitem__(self, session_id: str) -> SessionState:
        """Return the session; create it where there is none."""
        if session_id not in self.session_data:
            self.session_data[session_id] = _Session(self.blocks)
        return super().__getitem__(session_id)


def limit_sessions(page: gr.Blocks) -> None:
    """Apply the limits to a launched page; call before its first visitor."""
    sessions = Sessions()
    page.state_session_capacity = MAX_SESSIONS
    sessions.set_blocks(page)
    page.app.state_holder = sessions
    # Gradio recomputes a summary of all recorded events after each event; nothing here shows that summary.
    page._queue.ANALYTICS_MAX_EVENTS = 1
    # Gradio looks for calls a thousand times a second, and a hundred times for its own progress bars, which this page
    # doesn't have: that takes a twentieth of a processor even without visitors.
    page._queue.sleep_when_free = POLL_SECONDS
    page._queue.progress_update_sleep_when_free = 1.0


class EventsMiddleware:
    """Limits the calls that wait, run or have unread results in Gradio's queue, per session, owner, address and in all.

    Refuses calls over a limit with status 429, or 503 over the limit for all. Makes Gradio check the queue rarely
    while no requests come; a visible page sends some all the time, so that its buttons don't wait for the next look.
    """

    def __init__(self, app: ASGIApp, page: gr.Blocks, default_language: LanguageChoice = "auto") -> None:
        self._app = app
        self._page = page
        self._default_language = default_language
        self._listeners: Counter[str] = Counter()
        """Number of open streams that listen for each session's results."""
        self._rest: TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a call over a limit; count listening streams; pass everything else on."""
        path = scope["path"] if scope["type"] == "http" else ""
        if path:
            self._poll_often()
        if path.startswith(_JOINS) and scope["method"] == "POST":
            await self._join(scope, receive, send)
        elif path == _LISTENS or (path.startswith("/gradio_api/call/") and scope["method"] == "GET"):
            await self._listen(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    @property
    def _queue(self) -> Queue:
        return self._page._queue

    def _poll_often(self) -> None:
        """Check for calls often from now on; rarely again when no further request comes, even if streams stay open."""
        self._queue.sleep_when_free = POLL_SECONDS
        if self._rest is not None:
            self._rest.cancel()
        self._rest = get_running_loop().call_later(IDLE_AFTER, self._poll_rarely)

    def _poll_rarely(self) -> None:
        self._queue.sleep_when_free = IDLE_POLL_SECONDS

    async def _join(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._drop_unread()
        session = (scope.get(JSON_BODY) or {}).get("session_hash")
        if len(self._queue.event_ids_to_events) >= ALL_EVENTS:
            await refusal(scope, 503, _FULL, self._default_language, **{"retry-after": "5"})(scope, receive, send)
        elif self._has_too_many(scope, session):
            await refusal(scope, 429, _TOO_MANY, self._default_language, **{"retry-after": "5"})(scope, receive, send)
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
        self._listeners[session] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._listeners[session] -= 1
            if not self._listeners[session]:
                del self._listeners[session]

    def _session_of(self, scope: Scope) -> str:
        if scope["path"] == _LISTENS:
            return HTTPConnection(scope).query_params.get("session_hash", "")
        event_id = scope["path"].rsplit("/", 1)[1]
        event = self._queue.event_ids_to_events.get(event_id)
        return event.session_hash if event else event_id

    async def _drop_unread(self) -> None:
        """Drop sessions without open calls, and the oldest of those with results, where no client listens."""
        events = self._queue.pending_event_ids_session
        unwatched = [session for session in list(events) if session not in self._listeners]
        done = [session for session in unwatched if not events[session]]
        waiting = [session for session in unwatched if events[session]]
        for session in (*done, *waiting[:-MAX_UNREAD_SESSIONS]):
            await self._queue.clean_events(session_hash=session)
            events.pop(session, None)
            self._queue.pending_messages_per_session.pop(session, None)
