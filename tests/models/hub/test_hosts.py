"""Finding a host, waiting for one, and what its answers mean."""

from __future__ import annotations

import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from huggingface_hub import close_session

from tests.models.hub.conftest import HASTY, REPO
from tests.models.hub.fake_hub import FakeHub
from zimage_app.domain.errors import FetchError
from zimage_app.models.find.model_source import Remote
from zimage_app.models.hub.hosts import HuggingFace, ModelScope, check_connection, host_of
from zimage_app.models.hub.listing import Checksum, RepoFile, RepoListing, is_inside
from zimage_app.models.hub.retry_policy import Busy, RetryPolicy


def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_no_network_is_known_within_five_seconds() -> None:
    assert RetryPolicy().first < 5.0


@pytest.mark.parametrize(
    ("kind", "offers"), [(HuggingFace, "--source modelscope, or a mirror"), (ModelScope, "--source huggingface")]
)
def test_without_network_the_other_source_is_offered(kind: type[HuggingFace | ModelScope], offers: str) -> None:
    with pytest.raises(FetchError, match=rf"127\.0\.0\.1:\d+ cannot be reached: .*{offers}") as caught:
        kind(nobody()).listing(REPO, HASTY)
    assert "--source" in caught.value.text.zh


class _Endless(socketserver.StreamRequestHandler):
    """Takes connections and says nothing."""

    silent: threading.Event

    def handle(self) -> None:
        self.silent.wait(60.0)


@contextmanager
def answering(kind: type[_Endless]) -> Iterator[str]:
    """The address of a server that handles connections so, and ends with the context."""
    released = threading.Event()

    class Handler(kind):  # type: ignore[misc, valid-type]
        silent = released

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a hub that can be reached and never answers."""
    with answering(_Endless) as address:
        yield address


class _Lost(HuggingFace):
    """A hub whose name is looked up for as long as nobody gives up."""

    name = "lost.example"

    def __init__(self) -> None:
        self.given_up = threading.Event()

    @property
    def endpoint(self) -> str:
        self.given_up.wait(60.0)
        return "http://127.0.0.1:1"


def test_a_name_that_is_looked_up_for_ever_is_waited_for_no_longer() -> None:
    lost = _Lost()
    with pytest.raises(FetchError, match=r"lost\.example cannot be reached"):
        check_connection(lost, 0.05)
    lost.given_up.set()


def test_whoever_is_there_is_reached(hub: FakeHub, silent: str) -> None:
    check_connection(HuggingFace(hub.url), 10.0)
    check_connection(ModelScope(silent), 10.0)  # slow is not gone


def test_nobody_is_reached() -> None:
    with pytest.raises(FetchError, match=r"127\.0\.0\.1:\d+ cannot be reached"):
        check_connection(HuggingFace(nobody()), 10.0)


def test_a_silent_hub_is_waited_for_no_longer(silent: str) -> None:
    with pytest.raises(FetchError, match="cannot be reached"):
        HuggingFace(silent).listing(REPO, RetryPolicy(answer=0.1))


def test_mirrors(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert HuggingFace().endpoint == "https://huggingface.co"
    monkeypatch.setenv("HF_ENDPOINT", hub.url)  # after huggingface_hub was imported
    assert host_of("huggingface").name == hub.url.removeprefix("http://")
    assert host_of("huggingface").listing(REPO, HASTY).files
    assert host_of("huggingface", "https://example.org/").page("a/b") == "https://example.org/a/b"
    assert host_of("modelscope").name == "modelscope.cn"


@pytest.mark.parametrize("kind", [HuggingFace, ModelScope])
def test_a_socks_proxy_that_is_not_there_is_no_network(
    kind: type[HuggingFace | ModelScope], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("ALL_PROXY", nobody().replace("http:", "socks5:"))
    close_session()  # huggingface_hub keeps one, made before
    try:
        with pytest.raises(FetchError, match="cannot be reached: check the network or the proxy"):
            kind("http://example.org").listing(REPO, HASTY)
    finally:
        close_session()


@pytest.mark.parametrize(
    ("variable", "address", "says"),
    [
        (
            "ALL_PROXY",
            "socks://me:secret@127.0.0.1:1080",
            "ALL_PROXY: 'socks://127.0.0.1:1080' .*socks5:",
        ),
        ("http_proxy", "http://host:port", "http_proxy: 'http://host:port' can't be used"),
        ("NO_PROXY", "::1[", "NO_PROXY: .* names of hosts"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, variable: str, address: str, says: str
) -> None:
    monkeypatch.setenv(variable, address)
    with pytest.raises(FetchError, match=says) as caught:
        check_connection(HuggingFace(hub.url), 10.0)
    assert "secret" not in str(caught.value)
    assert variable in caught.value.text.zh


class _Socks(_Endless):
    """A SOCKS5 proxy that lets everybody in, and whose hub says nothing."""

    def handle(self) -> None:
        self.rfile.read(3)  # version, and the one method that is offered
        self.wfile.write(b"\x05\x00")
        self.silent.wait(60.0)


def test_a_socks_proxy_with_a_slow_hub_behind_it_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(_Socks) as address:
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("ALL_PROXY", address.replace("http:", "socks5:"))
        check_connection(HuggingFace("http://example.org"), 5.0)


@pytest.mark.parametrize("endpoint", ["hf-mirror.com", "https://", "ftp://example.org", "https://[::1"])
def test_a_mirror_in_the_environment_has_an_address(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(FetchError, match=rf"HF_ENDPOINT: '{re.escape(endpoint)}' .* as https://example\.org"):
        host_of("huggingface")
    assert host_of("modelscope").name == "modelscope.cn"


@pytest.mark.parametrize("mirror", ["example.org", "ftp://example.org", "https://", "", "https://[::1"])
def test_a_mirror_has_an_address(mirror: str) -> None:
    with pytest.raises(FetchError, match="cannot be used as a mirror"):
        host_of("huggingface", mirror)


def test_a_mirror_is_no_modelscope() -> None:
    with pytest.raises(FetchError, match="without --source modelscope"):
        host_of("modelscope", "https://example.org")


def test_an_unknown_source_is_refused_with_those_there_are() -> None:
    with pytest.raises(FetchError, match="'elsewhere'; use one of huggingface, modelscope"):
        host_of("elsewhere")


def test_pauses() -> None:
    retry_policy = RetryPolicy(pause=1.0, max_pause=60.0)
    assert [retry_policy.after(failures) for failures in (1, 2, 3, 9)] == [1.0, 2.0, 4.0, 60.0]
    assert retry_policy.after(1, asked=30.0) == 30.0
    assert retry_policy.after(1, asked=9999.0) == 60.0


def test_retry_after_is_a_number_or_a_date() -> None:
    assert Busy.of(429, {"retry-after": "17"}).after == 17.0
    assert Busy.of(429, {}).after is None
    assert Busy.of(429, {"retry-after": "soon"}).after is None
    later = Busy.of(503, {"retry-after": format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)}).after
    assert later is not None
    assert 60.0 < later <= 90.0
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=90), usegmt=True)
    assert Busy.of(503, {"retry-after": past}).after == 0.0


def test_checksums_are_those_that_hubs_publish() -> None:
    for checksum in (
        Checksum("git-sha1", "ce013625030ba8dba906f756967f9e9ca394464a"),  # git hash-object of "hello\n"
        Checksum("sha256", "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"),
    ):
        hasher = checksum.hasher(6)
        hasher.update(b"hello\n")
        assert hasher.hexdigest() == checksum.value


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../a", "a/../../b", "..", "..\\a", "C:/a"])
def test_paths_that_lead_outside(path: str) -> None:
    assert not is_inside(path)
    assert is_inside("transformer/config.json")


def listing(*paths: str) -> RepoListing:
    return RepoListing("a/b", "main", tuple(RepoFile(path, 1, None) for path in paths))


def test_of_two_copies_of_the_weights_one_is_taken() -> None:
    vae = Remote("a/b", "vae")
    both = listing("vae/config.json", "vae/m.safetensors", "vae/m.fp16.safetensors", "vae/m.bin", "vaegue/config.json")
    assert [file.path for file in both.needed([vae])] == ["vae/config.json", "vae/m.safetensors"]
    shards = [f"vae/m-0000{number}-of-00002.safetensors" for number in (1, 2)]
    assert [file.path for file in listing("vae/m.safetensors", *shards).needed([vae])] == shards
    assert listing("vae/m.safetensors").needed([Remote("c/d", "vae")]) == ()
