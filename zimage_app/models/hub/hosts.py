"""The hubs: Hugging Face, its mirrors and ModelScope. Lists repositories and builds the URLs of their files.

Covers the two hubs' APIs; doesn't touch the disk.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote, urlsplit
from urllib.request import getproxies

import httpx

from zimage_app.domain.text import Text
from zimage_app.domain.version import __version__
from zimage_app.models.hub import errors
from zimage_app.models.hub.listing import Checksum, RepoFile, RepoListing, is_inside
from zimage_app.models.hub.retry_policy import Busy, RetryPolicy

HUGGINGFACE_URL = "https://huggingface.co"
MODELSCOPE_URL = "https://modelscope.cn"
_PROGRAM = "zimage-progressive-studio"
AGENT = {"user-agent": f"{_PROGRAM}/{__version__}"}
"""Header of every request, because some hubs reject requests without a user agent."""
_REVISION = "master"
"""ModelScope's name of the newest revision."""
_OTHER = {
    "huggingface": Text(
        "try the other source with --source modelscope, or a mirror with --mirror",
        "换用 --source modelscope，或用 --mirror 指定镜像",
    ),
    "modelscope": Text("try the other source with --source huggingface", "换用 --source huggingface"),
}

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Host(ABC):
    """A hub that repositories are downloaded from."""

    endpoint: str
    """Its base URL."""
    key: ClassVar[str]
    """Its name in ``--source``."""

    @property
    def name(self) -> str:
        """The host name, for messages."""
        return urlsplit(self.endpoint).netloc

    @abstractmethod
    def listing(self, repo: str, retry_policy: RetryPolicy) -> RepoListing:
        """List the files of a repository ``owner/name``; raises FetchError, or Busy if it should be retried."""

    def url(self, listing: RepoListing, path: str) -> str:
        """Return the download URL of a file."""
        return f"{self.page(listing.repo)}/resolve/{listing.revision}/{quote(path)}"

    @abstractmethod
    def page(self, repo: str) -> str:
        """Return the URL of the repository's web page."""

    def headers(self) -> dict[str, str]:
        """Return the authentication headers of a request; empty if there are none."""
        return {}


@dataclass(frozen=True)
class HuggingFace(Host):
    """huggingface.co, or a mirror with the same API. Repositories are listed by huggingface_hub."""

    endpoint: str = field(default_factory=lambda: os.environ.get("HF_ENDPOINT") or HUGGINGFACE_URL)
    key: ClassVar[str] = "huggingface"

    def listing(self, repo: str, retry_policy: RetryPolicy) -> RepoListing:
        """List the files of a repository at its newest commit."""
        from huggingface_hub import HfApi, constants
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            RepositoryNotFoundError,
        )

        # Otherwise huggingface_hub sends a request to huggingface.co, whatever the endpoint, about agents to name in
        # its headers.
        constants.HF_HUB_DISABLE_TELEMETRY = True
        api = HfApi(self.endpoint.rstrip("/"), library_name=_PROGRAM, library_version=__version__)

        def ask() -> Any:
            return api.model_info(repo, files_metadata=True, timeout=retry_policy.answer)

        try:
            info = _requested(self, ask)
        except GatedRepoError as error:
            raise errors.gated(repo, self.page(repo)) from error
        except (RepositoryNotFoundError, HFValidationError) as error:
            raise errors.no_repo(repo, self.name) from error
        except HfHubHTTPError as error:
            raise self._refused(repo, error.response.status_code, error.response.headers) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise errors.unexpected_answer(self.name) from error
        files = [_hugging_file(item) for item in info.siblings or ()]
        if not info.sha or None in files:
            raise errors.unexpected_answer(self.name)
        return RepoListing(repo, info.sha, tuple(file for file in files if file is not None))

    def _refused(self, repo: str, status: int, headers: Any) -> Exception:
        if status in Busy.STATUSES:
            return Busy.of(status, headers)
        if status in (401, 403):
            return errors.forbidden(repo, self.name, status)
        return errors.no_repo(repo, self.name) if status == 404 else errors.unexpected_answer(self.name)

    def page(self, repo: str) -> str:
        """Return the URL of the repository's web page."""
        return f"{self.endpoint.rstrip('/')}/{repo}"

    def headers(self) -> dict[str, str]:
        """Return the authorization header with the token of HF_TOKEN or ``hf auth login``; empty without a token."""
        from huggingface_hub import get_token

        token = get_token()
        return {"authorization": f"Bearer {token}"} if token else {}


def _hugging_file(item: Any) -> RepoFile | None:
    """Convert one item of Hugging Face's listing; None if its path is unsafe or its size is missing."""
    if not is_inside(item.rfilename) or item.size is None:
        return None
    if item.lfs is not None:
        return RepoFile(item.rfilename, item.size, Checksum("sha256", item.lfs.sha256))
    checksum = Checksum("git-sha1", item.blob_id) if item.blob_id else None
    return RepoFile(item.rfilename, item.size, checksum)


@dataclass(frozen=True)
class ModelScope(Host):
    """modelscope.cn, which mirrors the same repositories and is fast for users in China."""

    endpoint: str = MODELSCOPE_URL
    key: ClassVar[str] = "modelscope"

    def listing(self, repo: str, retry_policy: RetryPolicy) -> RepoListing:
        """List the files of a repository at its newest revision."""
        url = f"{self.endpoint}/api/v1/models/{repo}/repo/files"
        timeout = httpx.Timeout(retry_policy.answer)

        def ask() -> httpx.Response:
            wanted = {"Revision": _REVISION, "Recursive": "true"}
            return httpx.get(url, params=wanted, headers=AGENT, timeout=timeout, follow_redirects=True)

        answer = _requested(self, ask)
        if answer.status_code in Busy.STATUSES:
            raise Busy.of(answer.status_code, answer.headers)
        if answer.status_code in (401, 403, 404):
            raise errors.no_repo(repo, self.name)
        try:
            items = answer.raise_for_status().json()["Data"]["Files"]
            files = [_scope_file(item) for item in items if item["Type"] != "tree"]
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as error:
            raise errors.unexpected_answer(self.name) from error
        return RepoListing(repo, _REVISION, tuple(files))

    def page(self, repo: str) -> str:
        """Return the URL of the repository's web page."""
        return f"{self.endpoint}/models/{repo}"


def _scope_file(item: Any) -> RepoFile:
    path, size, value = str(item["Path"]), int(item["Size"]), str(item.get("Sha256") or "")
    if not is_inside(path):
        raise ValueError(path)
    return RepoFile(path, size, Checksum("sha256", value) if value else None)


HOSTS: dict[str, Callable[[], Host]] = {"huggingface": HuggingFace, "modelscope": ModelScope}
"""Name in ``--source`` -> how to make the host; the first one is the default."""


def host_of(source: str, mirror: str | None = None) -> Host:
    """Return the host to download from; ``mirror`` is the URL of a mirror with Hugging Face's API.

    Raises FetchError for an unknown source, or an invalid URL of a mirror, given or in HF_ENDPOINT.
    """
    if mirror is None:
        return _named_host(source)
    if source == "modelscope" or not _is_address(mirror):
        raise errors.fetch_error(
            f"{mirror!r} cannot be used as a mirror: give the address of a copy of Hugging Face,"
            " as https://example.org, without --source modelscope.",
            f"{mirror!r} 不能用作镜像：请给出 Hugging Face 镜像的地址，如 https://example.org，"
            "且不要同时使用 --source modelscope。",
        )
    return HuggingFace(mirror.rstrip("/"))


def _named_host(source: str) -> Host:
    if source not in HOSTS:
        known = ", ".join(HOSTS)
        raise errors.fetch_error(
            f"There is no source {source!r}; use one of {known}.", f"没有来源 {source!r}；可选：{known}。"
        )
    host = HOSTS[source]()
    if not _is_address(host.endpoint):
        raise errors.fetch_error(
            f"HF_ENDPOINT: {host.endpoint!r} is no address of a hub; write it with https://, as"
            " https://example.org, or unset the variable.",
            f"HF_ENDPOINT：{host.endpoint!r} 不是模型站的地址；请连同 https:// 一起写，如 https://example.org，"
            "或删除该变量。",
        )
    return host


def _is_address(text: str) -> bool:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return False
    return url.scheme in ("http", "https") and bool(url.host)


def check_connection(host: Host, seconds: float) -> None:
    """Raise FetchError unless a connection to ``host``, or to its proxy, is established within ``seconds``.

    Also raises FetchError where the settings of the proxy can't be used.

    Waits for the connection only, because a hub's response may take longer. Runs on its own thread, because DNS lookups
    have no timeout and may take half a minute without network.
    """
    try:
        client = httpx.Client(timeout=seconds)
    except (ValueError, httpx.InvalidURL) as error:  # from the addresses of proxies
        raise errors.invalid_proxy(*_invalid_proxy()) from error
    settled, connected = threading.Event(), threading.Event()
    failures: list[Exception] = []

    def trace(event: str, _: object) -> None:
        if event.endswith(".connect_tcp.complete"):  # of "connection", or of "socks", the connection to such a proxy
            connected.set()
            settled.set()

    def run() -> None:
        try:
            with client:
                client.head(host.endpoint, headers=AGENT, extensions={"trace": trace})
            connected.set()
        except Exception as error:  # noqa: BLE001 - reported by the waiting thread
            failures.append(error)
        finally:
            settled.set()

    threading.Thread(target=run, name="hub-first-contact", daemon=True).start()
    settled.wait(seconds)
    if not connected.is_set():
        raise errors.no_network(host.name, _OTHER[host.key]) from (failures[0] if failures else None)


def _invalid_proxy() -> tuple[str, str]:
    """The name of the variable whose proxy can't be used, and its value; the name is empty for a system's setting."""
    proxies = getproxies()
    for scheme in ("http", "https", "all"):
        address = proxies.get(scheme, "")
        try:
            httpx.Proxy(address if "://" in address else f"http://{address}")
        except (ValueError, httpx.InvalidURL):
            names = (f"{scheme}_proxy", f"{scheme}_PROXY".upper())
            return next((name for name in names if os.environ.get(name)), ""), address
    return "NO_PROXY", proxies.get("no", "")


def _requested(host: Host, ask: Callable[[], _Answer]) -> _Answer:
    """Return ``ask()``; raises FetchError if the request fails at network level."""
    import httpx2  # huggingface_hub's HTTP client

    try:
        return ask()
    except (httpx.RequestError, httpx2.RequestError) as error:
        raise errors.no_network(host.name, _OTHER[host.key]) from error
