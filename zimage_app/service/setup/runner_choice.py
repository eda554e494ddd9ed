"""The values of ``--runner`` and ``--fallback``: a kind of runner and its addresses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from zimage_app.domain.text import Text
from zimage_app.domain.validation_errors import refusal


@dataclass(frozen=True, slots=True)
class RunnerChoice:
    """Who makes the pictures."""

    kind: str = "local"
    addresses: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether this process makes the pictures; otherwise models need not be on this machine."""
        return self.kind == "local"


LOCAL = RunnerChoice()


def runner_choice(text: str) -> RunnerChoice:
    """Parse ``comfyui=http://127.0.0.1:8188,http://127.0.0.1:8189``; raises ValueError that names what is allowed."""
    kind, _, rest = text.partition("=")
    addresses = tuple(filter(None, (each.strip().rstrip("/") for each in rest.split(","))))
    if kind not in _ALLOWED or not _ALLOWED[kind](addresses):
        raise refusal(
            Text(
                "must be local, or comfyui= and addresses, as in comfyui=http://127.0.0.1:8188,http://127.0.0.1:8189,"
                " or ray=auto or ray=ray://head:10001",
                "必须是 local，或 comfyui= 加地址，如 comfyui=http://127.0.0.1:8188,http://127.0.0.1:8189，"
                "或 ray=auto、ray=ray://head:10001",
            )
        )
    return RunnerChoice(kind, addresses)


def _none(addresses: tuple[str, ...]) -> bool:
    return not addresses


def _web(addresses: tuple[str, ...]) -> bool:
    return bool(addresses) and all(map(_is_web, addresses))


def _is_web(address: str) -> bool:
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return False
    plain = not (parts.query or parts.fragment or parts.username)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and plain and port != 0


def _cluster(addresses: tuple[str, ...]) -> bool:
    return len(addresses) == 1 and (addresses == ("auto",) or addresses[0].startswith("ray://"))


_ALLOWED: dict[str, Callable[[tuple[str, ...]], bool]] = {"local": _none, "comfyui": _web, "ray": _cluster}
"""Kinds, and whether these are addresses for one."""
