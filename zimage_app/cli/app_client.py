"""HTTP client for this user's other programs, which call the running app of a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import httpx

from zimage_app.cli.terminal import language
from zimage_app.domain.errors import StudioError
from zimage_app.domain.text import Text
from zimage_app.service.jobs.folder_lock import RunningApp
from zimage_app.web.language import LOCALES
from zimage_app.web.owner import LOCAL_HEADER

_SECONDS = 60.0
"""Time-out of a call, in seconds."""


class AppClient:
    """Calls ``/api`` of the running app. Its errors are raised as StudioErrors with the app's messages."""

    def __init__(self, app: RunningApp) -> None:
        self.address = app.address
        headers = {LOCAL_HEADER: app.key, "accept-language": LOCALES[language()]}
        self._client = httpx.Client(base_url=f"{app.address}/api", headers=headers, timeout=_SECONDS, trust_env=False)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def call(self, method: str, path: str, body: object = None, **query: Any) -> Any:
        """Make one call and return its parsed JSON; None for status 404.

        Raises:
            StudioError: the app did not answer, or refused the call.
        """
        content = None if body is None else json.dumps(body)
        headers = {"content-type": "application/json"}
        try:
            answer = self._client.request(method, path, content=content, headers=headers, params=query)
        except httpx.HTTPError as error:
            raise self._silent(error) from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.is_error:
            raise _problem(answer)
        return answer.json()

    def events(self, task_id: str) -> Iterator[dict[str, Any]]:
        """Yield a task's state at every change, and about once a second. The last is final, unless the app ended."""
        task: dict[str, Any] | None = None
        try:
            with self._client.stream("GET", f"/generate/{task_id}/events", timeout=None) as answer:
                for line in _lines(answer.iter_text()):
                    if line.startswith("data:"):
                        task = json.loads(line.removeprefix("data:"))
                    if task is not None and line.startswith(("data:", ":")):  # sent while nothing changes
                        yield task
        except httpx.HTTPError as error:
            raise self._silent(error) from error

    def _silent(self, error: httpx.HTTPError) -> StudioError:
        reason = str(error) or type(error).__name__
        return StudioError(
            Text(
                f"The running app at {self.address} doesn't answer ({reason}); what it accepted stays in its queue.",
                f"位于 {self.address} 的程序没有响应（{reason}）；已提交的任务仍在其队列中。",
            )
        )


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    """Yield complete lines. Only line feeds end a line, unlike in httpx, because prompts may contain U+2028."""
    begun = ""
    for piece in pieces:
        *lines, begun = (begun + piece).split("\n")
        yield from lines


def _problem(answer: httpx.Response) -> StudioError:
    try:
        sentence = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        sentence = f"HTTP {answer.status_code}"
    return StudioError(Text(sentence, sentence))
