"""The flags of app.py and the port it opens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.log_state import kept_logging
from tests.ports import free_port
from tests.ui.doubles import QuickPageStudio
from zimage_app.domain.errors import StudioError
from zimage_app.serve import main, open_page, parse_arguments
from zimage_app.service.setup.network import DEFAULT_PORT, address_of, choose_port
from zimage_app.web.middleware import MiddlewareConfig

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    with kept_logging():
        yield


def test_nothing_given_means_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACE_ID", raising=False)
    options = parse_arguments([])
    assert (options.host, options.port, options.share, options.lang) == ("127.0.0.1", None, False, "auto")


def test_a_space_is_open_to_its_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "somebody/studio")
    assert parse_arguments([]).host == "0.0.0.0"


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--port", "0"], '--port: "0" must be at least 1'),
        (["--port", "many"], '--port: "many" must be a whole number'),
        (["--lang", "fr"], '--lang: "fr" must be'),
        (["--colour"], "--colour"),
        (["--model"], "--model"),
        (["--model", "no-such-model"], "no-such-model"),
        (["--host", "192.0.2.1"], "192.0.2.1"),
    ],
)
def test_bad_flags_end_with_one_sentence(
    flags: list[str], named: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*flags, "--outputs", str(tmp_path)])
    said = capsys.readouterr()
    assert stopped.value.code == 2
    assert named in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.parametrize(("flag", "below"), [("--home", "outputs"), ("--outputs", "")])
def test_a_folder_that_cannot_be_made_ends_the_start_with_one_sentence(
    flag: str, below: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "below"
    with pytest.raises(SystemExit) as stopped:
        main([flag, str(folder)])
    said = capsys.readouterr()
    assert stopped.value.code == 2
    assert said.err.startswith(f"{flag}: the folder {folder / below} can't be made or written (")
    assert (said.err.count("\n"), said.out) == (1, "")


def test_bad_flags_are_told_in_the_terminals_language_though_its_locale_is_not_installed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    for flags, named in ((["--port", "many"], "必须是整数"), (["--colour"], "没有这样的选项：--colour")):
        with pytest.raises(SystemExit):
            main(flags)
        assert named in capsys.readouterr().err


def test_a_port_that_was_asked_for_is_never_exchanged() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(StudioError, match=f"Port {taken} is taken"):
            choose_port("127.0.0.1", taken)


def test_without_a_wish_the_next_free_port_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRADIO_SERVER_PORT", raising=False)
    first = choose_port("127.0.0.1", None)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", first))
        other.listen()
        assert DEFAULT_PORT <= first < choose_port("127.0.0.1", None)


def test_app_py_prints_one_line_with_the_address_and_serves_the_page(tmp_path: Path) -> None:
    port = free_port()
    flags = ["--port", str(port), "--outputs", str(tmp_path), "--model", "demo", "--lang", "zh", "--offline"]
    with subprocess.Popen([sys.executable, "app.py", *flags], cwd=ROOT, stdout=subprocess.PIPE, text=True) as app:
        assert app.stdout is not None
        try:
            assert app.stdout.readline() == f"Z-Image Progressive Studio: http://127.0.0.1:{port}/\n"
            page = httpx.get(f"http://127.0.0.1:{port}/", headers={"accept-language": "en"})
            assert '"language": "zh"' in page.text
            assert httpx.get(f"http://127.0.0.1:{port}/health").json() == {
                "status": "healthy",
                "service": "Z-Image Progressive Studio",
            }
        finally:
            app.terminate()
        assert app.stdout.read() == ""


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:7860"),
        ("0.0.0.0", "http://localhost:7860"),
        ("", "http://localhost:7860"),
        ("::", "http://[::1]:7860"),
        ("[::]", "http://[::1]:7860"),
        ("fd00::2", "http://[fd00::2]:7860"),
        ("studio.lan", "http://studio.lan:7860"),
    ],
)
def test_the_address_of_a_host(host: str, address: str) -> None:
    assert address_of(host, 7860) == address
    assert address_of(host, 7860, "127.0.0.1") == address.replace("localhost", "127.0.0.1")
    assert httpx.URL(address).port == 7860


def test_the_page_is_served_on_all_ipv6_addresses(tmp_path: Path) -> None:
    try:
        port = choose_port("::", free_port())
    except StudioError:
        pytest.skip("no IPv6 here")
    page = open_page(QuickPageStudio(tmp_path), "en", MiddlewareConfig(), server_name="::", server_port=port)
    try:
        assert page.local_url == f"http://[::1]:{port}/"
        assert httpx.get(page.local_url).status_code == 200
    finally:
        page.close(verbose=False)


def test_a_file_takes_chinese_sentences_whatever_the_systems_encoding() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
    command = [sys.executable, "app.py", "--host", "192.0.2.1", "--lang", "zh"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert "无法监听 --host 192.0.2.1" in done.stderr.decode()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows sends none")
def test_a_closed_terminal_ends_the_app_in_order_unless_nohup_holds_it() -> None:
    """One process, in which the signal is first ignored, as under nohup, and then acts as usual."""
    code = (
        "import os, signal\nfrom zimage_app.serve import _ending_on_signals\n"
        "for before in ('SIG_IGN', 'SIG_DFL'):\n"
        "    signal.signal(signal.SIGHUP, getattr(signal, before))\n"
        "    with _ending_on_signals():\n"
        "        try:\n            os.kill(os.getpid(), signal.SIGHUP)\n            print('still here', end=', ')\n"
        "        finally:\n            print('closed', end='; ')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "still here, closed; closed; ")


def test_the_page_is_built_before_anything_heavy_is_imported() -> None:
    code = (
        "import sys; import zimage_app.serve;"
        " heavy = {'torch', 'diffusers', 'transformers'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
