"""Names, passwords and the API key: reading them from flags, file and environment, and comparing them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from zimage_app.domain.errors import RequestError
from zimage_app.domain.text import Text

AUTH = "ZIMAGE_AUTH"
API_KEY = "ZIMAGE_API_KEY"
"""Environment variables; unlike flags, they don't show in the list of processes."""
_SHORTEST_PASSWORD = 8
_SHORTEST_KEY = 16


@dataclass(frozen=True, slots=True)
class Credentials:
    """Names with passwords, and keys. With neither a name nor an API key, access is open to everybody."""

    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Passwords by name."""
    api_key: str = field(default="", repr=False)
    local_key: str = field(default="", repr=False)
    """The key of other programs of the user who runs the app; drawn at every start, in a file of that user."""

    def fits(self, name: str, password: str) -> bool:
        """Whether ``password`` belongs to ``name``; takes the same time for an unknown name."""
        wanted = self.users.get(name)
        equal = _equal(password, wanted if wanted is not None else secrets.token_hex())
        return equal and wanted is not None

    def is_key(self, key: str) -> bool:
        """Whether ``key`` is the API key."""
        return bool(self.api_key) and _equal(key, self.api_key)

    def is_local_key(self, key: str) -> bool:
        """Whether ``key`` is the key of the user's own programs."""
        return bool(self.local_key) and _equal(key, self.local_key)


def _equal(given: str, wanted: str) -> bool:
    """Compare in constant time, so that response times reveal nothing."""
    return secrets.compare_digest(given.encode(errors="replace"), wanted.encode(errors="replace"))


def read_credentials(
    auth: Iterable[str], auth_file: Path | None, api_key: str | None, environment: Mapping[str, str]
) -> Credentials:
    """Collect the credentials of flags, environment and a file with one ``USER:PASSWORD`` per line.

    Raises:
        RequestError: a line has another form, a password or key is too short, or the file can't be read.
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
                f"只有 {len(key)} 个字符，至少需要 {_SHORTEST_KEY} 个",
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
    """Parse USER:PASSWORD; errors never quote the line, because it holds a password."""
    name, colon, password = line.strip().partition(":")
    if not (name and colon):
        raise RequestError(source, Text("must have the form USER:PASSWORD", "格式必须为 用户名:密码"))
    if len(password) < _SHORTEST_PASSWORD:
        raise RequestError(
            source,
            Text(
                f"the password of {name} is too short; use at least {_SHORTEST_PASSWORD} characters",
                f"{name} 的密码太短，至少需要 {_SHORTEST_PASSWORD} 个字符",
            ),
        )
    return name, password
