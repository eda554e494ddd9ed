"""Names, passwords and the key for programs: where they are given, and whether they fit. Knows no requests."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from zimage_app.domain.errors import RequestError
from zimage_app.domain.text import Text

AUTH = "ZIMAGE_AUTH"
API_KEY = "ZIMAGE_API_KEY"
"""Environment variables: unlike flags they don't stand in the list of processes."""
_SHORTEST_PASSWORD = 8
_SHORTEST_KEY = 16


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where there is neither name nor key, everybody may come in."""

    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Names with their passwords."""
    api_key: str = field(default="", repr=False)
    local_key: str = field(default="", repr=False)
    """Lets in the other programs of the user whose app this is: drawn at every start, kept in a file of theirs."""

    def fits(self, name: str, password: str) -> bool:
        """Whether this is the password of somebody of that name. Takes as long for an unknown name."""
        wanted = self.users.get(name)
        equal = _equal(password, wanted if wanted is not None else secrets.token_hex())
        return equal and wanted is not None

    def is_key(self, key: str) -> bool:
        """Whether this is the key."""
        return bool(self.api_key) and _equal(key, self.api_key)

    def is_local_key(self, key: str) -> bool:
        """Whether this is the key of the user's own programs."""
        return bool(self.local_key) and _equal(key, self.local_key)


def _equal(given: str, wanted: str) -> bool:
    """In constant time, so that the answer's time tells nothing."""
    return secrets.compare_digest(given.encode(errors="replace"), wanted.encode(errors="replace"))


def read_credentials(
    auth: Iterable[str], auth_file: Path | None, api_key: str | None, environment: Mapping[str, str]
) -> Credentials:
    """Those of the flags, of the file with a ``USER:PASSWORD`` a line, and of the environment, all together.

    Raises:
        RequestError: one has another form or is too short to keep anybody out, or the file can't be read.
    """
    lines = [("--auth", line) for line in auth]
    lines += [(AUTH, line) for line in environment.get(AUTH, "").splitlines() if line.strip()]
    if auth_file is not None:
        lines += [("--auth-file", line) for line in _file_lines(auth_file)]
    users = dict(_user(source, line) for source, line in lines)
    key = environment.get(API_KEY, "") if api_key is None else api_key
    if (key or api_key is not None) and len(key) < _SHORTEST_KEY:
        raise RequestError(
            API_KEY if api_key is None else "--api-key",
            Text(
                f"has {len(key)} characters; use at least {_SHORTEST_KEY}",
                f"只有 {len(key)} 位，至少需要 {_SHORTEST_KEY} 位",
            ),
        )
    return Credentials(users, key)


def _file_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise RequestError(
            "--auth-file", Text(f"{path} cannot be read: {reason}", f"无法读取 {path}：{reason}")
        ) from error
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _user(source: str, line: str) -> tuple[str, str]:
    """Never quotes the line: it holds a password."""
    name, colon, password = line.strip().partition(":")
    if not (name and colon):
        raise RequestError(source, Text("must have the form USER:PASSWORD", "格式必须为 用户名:密码"))
    if len(password) < _SHORTEST_PASSWORD:
        raise RequestError(
            source,
            Text(
                f"the password of {name} is too short; use at least {_SHORTEST_PASSWORD} characters",
                f"{name} 的密码太短，至少需要 {_SHORTEST_PASSWORD} 位",
            ),
        )
    return name, password
