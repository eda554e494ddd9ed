"""The flags of app.py and the port it opens."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.log_state import kept_logging
from zimage_app.domain.errors import StudioError
from zimage_app.serve import main, parse_arguments
from zimage_app.service.setup.network import DEFAULT_PORT, choose_port

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
    port = choose_port("127.0.0.1", None)
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


def test_the_page_is_built_before_anything_heavy_is_imported() -> None:
    code = (
        "import sys; import zimage_app.serve;"
        " heavy = {'torch', 'diffusers', 'transformers'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
