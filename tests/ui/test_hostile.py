"""F5: every function of the page, called by hand with what no page sends: nothing out of range, no foreign file.

X1: where strangers can reach the page, none of it changes what all visitors use.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from tests.ui.conftest import served
from tests.ui.doubles import QuickPageStudio
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.service.setup.config import ROOT
from zimage_app.web.json_bodies import MAX_JSON, exceeded_bound

FOREIGN = "http://127.0.0.1:{port}/asked"
"""Stands for a machine that only the app could reach."""


def hostile(port: int) -> list[object]:
    """25 values."""
    foreign = FOREIGN.format(port=port)
    nested: object = "x"
    for _ in range(60):
        nested = [nested]
    return [
        None,
        True,
        -1,
        2**70,
        1e308,
        "NaN",
        "",
        "\x00\x1b[2J",
        "../../../../etc/passwd",
        "/etc/passwd",
        "..\\..\\windows\\win.ini",
        "file:///etc/passwd",
        foreign,
        {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
        {"path": foreign, "url": foreign, "meta": {"_type": "gradio.FileData"}},
        {"path": str(ROOT / "app.py"), "meta": {"_type": "gradio.FileData"}},
        "<img src=x onerror=alert(1)>",
        "{{7*7}}${7*7}{0.__class__}%s%n",
        "__import__('os').system('id')",
        "x" * 50_000,
        [],
        {},
        nested,
        {"__class__": {"__init__": {"__globals__": "x"}}},
        [{"name": "../../etc/passwd", "strength": 1e9, "stages": [99], "sha256": "x"}] * 40,
    ]


PRIVATE = {"private": "/home/anna/secret-client/weights.gguf", "plain": "/secret-weights.gguf"}
"""Models whose files are missing: a folder that nobody may read of, and a name outside all folders."""


class Watched(QuickPageStudio):
    """Remembers what it was asked for, and draws none of it."""

    def __init__(self, folder: Path, *, shared: bool) -> None:
        super().__init__(folder, step_seconds=0.0, shared=shared)
        self.folder = folder
        self.asked: list[GenerationRequest] = []

    def submit_group(self, requests: Sequence[GenerationRequest], *given: Any, **named: Any) -> list[str]:
        self.asked.extend(requests)
        ids = super().submit_group(requests, *given, **named)
        for job_id in ids:
            self.cancel(job_id)
        return ids


@pytest.fixture(scope="module", params=["home", "shared"])
def studio(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("hostile")
    for name in ("loras", "presets", "negative", "models", "named"):
        (folder / name).mkdir()
    for name, place in PRIVATE.items():
        files = "".join(f"{part}: {{file: {place}}}\n" for part in ("transformer", "text_encoder", "vae"))
        (folder / "named" / f"{name}.yaml").write_text(f"{files}tokenizer: {{folder: {place}}}\n")
    studio = Watched(folder, shared=request.param == "shared")
    yield studio
    studio.settle()
    studio.close()


@pytest.fixture(scope="module")
def address(studio: Watched) -> Iterator[str]:
    with served(studio) as address:
        yield address.rstrip("/")


class _Neighbour(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Whoever asks has let itself be sent here."""
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def neighbour() -> Iterator[HTTPServer]:
    """A server that nobody has any business with."""
    server = HTTPServer(("127.0.0.1", 0), _Neighbour)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
    assert _Neighbour.asked == []


def files(folder: Path) -> dict[str, bytes]:
    """What all visitors use together."""
    return {
        str(path): path.read_bytes()
        for name in ("loras", "presets", "negative", "models", "named")
        for path in (folder / name).rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def tells_nothing(text: str, studio: Watched) -> None:
    """No place on this machine but one that was sent, no content of a foreign file, no trace."""
    text = text.replace(f"{ROOT}/app.py", "")
    private = ("secret-client", "/home/anna") if studio.shared else ()
    for secret in (
        *private,
        str(studio.folder),
        str(ROOT),
        "root:x:0",
        "root:*:0",
        "Traceback",
        'File "/',
        "site-packages",
    ):
        assert secret not in text, text[:2000]


def is_read(answer: httpx.Response) -> bool:
    """Whether what was asked is within the bounds of JSON."""
    asked = answer.request.content
    return len(asked) <= MAX_JSON and exceeded_bound(asked) is None


def called(client: httpx.Client, order: dict[str, Any], *, queued: bool) -> str:
    """All that a browser is sent for one event."""
    if not queued:
        return client.post("/run/predict", json=order).text
    joined = client.post("/queue/join", json=order)
    assert (joined.status_code == 200) is is_read(joined)
    if joined.status_code != 200:  # so much text in each of the page's fields
        return joined.text
    return client.get("/queue/data", params={"session_hash": order["session_hash"]}).text


@pytest.mark.parametrize("studio", ["shared"], indirect=True)
def test_f5_every_handler(studio: Watched, address: str, neighbour: HTTPServer) -> None:
    config = httpx.get(f"{address}/config").json()
    # A function that serves several buttons has a name for each: f, f_1, f_2.
    found = {
        (each["api_visibility"], re.sub(r"_\d+$", "", each["api_name"])): each
        for each in config["dependencies"]
        if each["backend_fn"]
    }
    handlers = list(found.values())
    assert len(handlers) > 12
    before = files(studio.folder)
    with httpx.Client(base_url=f"{address}/gradio_api", timeout=30) as client:
        for handler in handlers:
            for value in hostile(neighbour.server_port):
                event = {"id": value, "name": value, "settings": value, "model": value, "text": value}
                order = {
                    "data": [value] * len(handler["inputs"]),
                    "fn_index": handler["id"],
                    "session_hash": "hostile",
                    "event_data": event,
                }
                tells_nothing(called(client, order, queued=handler["queue"]), studio)
    for request in studio.asked:
        assert parse_request(request.model_dump(mode="json")) == request
    assert files(studio.folder) == before, "a handler of the page writes nothing"


ORDERS: dict[str, tuple[str, ...]] = {
    "hints": (),
    "models": ("view", "offer", "fetch", "cancel", "unload", "devices", "device"),
    "negatives": ("library", "state", "toggle", "refresh", "add", "remove", "mark", "unmark"),
    "presets": ("list", "state", "save", "rename", "delete"),
    "prompt": ("preview", "wildcards"),
    "save_note": (),
}
"""What each function of the page's scripts can be told to do."""


def test_f5_every_function_of_the_scripts(studio: Watched, address: str, neighbour: HTTPServer) -> None:
    config = httpx.get(f"{address}/config").json()
    functions = [(each["id"], name) for each in config["components"] for name in each["props"].get("server_fns") or []]
    assert {name for _, name in functions} == set(ORDERS)
    before = files(studio.folder)
    names = ("name", "new", "text", "entry", "meaning", "settings", "notes", "model", "source", "example", "replace")
    with httpx.Client(base_url=f"{address}/gradio_api", timeout=30) as client:
        for component, function in functions:
            for value in hostile(neighbour.server_port):
                for order in [value, *({"do": do} for do in ORDERS[function])]:
                    data = {**dict.fromkeys(names, value), **order} if isinstance(order, dict) else order
                    call = {"data": data, "component_id": component, "session_hash": "x", "fn_name": function}
                    answer = client.post("/component_server", json=call)
                    assert (answer.status_code == 200) is is_read(answer), (function, order, answer.text)
                    tells_nothing(answer.text, studio)
    changed = {path for path, data in files(studio.folder).items() if before.get(path) != data}
    own = set() if studio.shared else {studio.folder / "presets" / "my", studio.folder / "negative"}
    assert {Path(path).parent for path in changed} <= own


def test_x1_no_answer_of_a_shared_page_names_a_private_file(studio: Watched, address: str) -> None:
    config = httpx.get(f"{address}/config").json()
    functions = {name: each["id"] for each in config["components"] for name in each["props"].get("server_fns") or []}

    def ask(function: str, order: dict[str, Any]) -> str:
        call = {"data": order, "component_id": functions[function], "session_hash": "x", "fn_name": function}
        return httpx.post(f"{address}/gradio_api/component_server", json=call, timeout=60).text

    for model in PRIVATE:
        values = {"prompt": "a", "negative": "", "triggers": "", "loras": [], "seed": "", "stages": [], "model": model}
        named = {"name": model, "model": model, "text": "x", "settings": values, "page": values, "language": "en"}
        answers = [ask(name, named | {"do": do}) for name, orders in ORDERS.items() for do in orders or ("",)]
        answers.append(httpx.get(f"{address}/loras.json", params={"model": model}, timeout=60).text)
        called = {"data": ["x", 1, model, "", True]}
        answers.append(httpx.post(f"{address}/gradio_api/run/generate", json=called, timeout=60).text)
        answers.append(httpx.get(f"{address}/history", params={"stars": "x", "day": "/home/anna/secret-client"}).text)
        assert any(model in answer for answer in answers)
        for answer in answers:
            tells_nothing(answer, studio)
    models = {each["name"]: each for each in json.loads(ask("models", {"do": "view"}))["models"]}
    assert all(bool(models[name]["details"]) is not studio.shared for name in PRIVATE)


def test_x1_strangers_are_told_so_and_nobody_at_home(studio: Watched, address: str) -> None:
    config = httpx.get(f"{address}/config").json()
    functions = {name: each["id"] for each in config["components"] for name in each["props"].get("server_fns") or []}
    orders: list[tuple[str, dict[str, Any]]] = [
        ("presets", {"do": "delete", "name": "x"}),
        ("presets", {"do": "rename", "name": "x", "new": "y"}),
        ("negatives", {"do": "add", "entry": "x"}),
        ("negatives", {"do": "remove", "entry": "x"}),
        ("negatives", {"do": "mark", "entry": "x"}),
        ("models", {"do": "fetch", "name": "z-image-turbo"}),
        ("models", {"do": "cancel"}),
        ("models", {"do": "unload"}),
        ("save_note", {"name": "x", "notes": {}}),
    ]
    for function, order in orders:
        call = {"data": order, "component_id": functions[function], "session_hash": "x", "fn_name": function}
        answer = httpx.post(f"{address}/gradio_api/component_server", json=call).json()
        assert ("shared page" in json.dumps(answer)) is studio.shared, (function, order)


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../etc/passwd",
        f"/gradio_api/file={ROOT}/app.py",
        "/gradio_api/file=http://127.0.0.1:{port}/asked",
        "/gradio_api/proxy=http://127.0.0.1:{port}/asked",
        "/gradio_api/proxy=https://somebody.hf.space/",
        "/static/..%2f..%2froutes.py",
        "/assets/..%2f..%2froutes.py",
        "/pictures/..%2f..%2fetc%2fpasswd.png",
        "/docs/files/..%2f..%2f..%2fsetup.py",
        "/history/..%2f..%2fetc%2fpasswd.json",
        "/lora.jpg?name=../../etc/passwd",
        "/lora.sha256?name=../../etc/passwd",
        "/loras.json?model=../../etc/passwd",
    ],
)
def test_f5_no_route_serves_foreign_files(path: str, studio: Watched, address: str, neighbour: HTTPServer) -> None:
    answer = httpx.get(address + path.format(port=neighbour.server_port))
    assert 400 <= answer.status_code < 500
    tells_nothing(answer.text, studio)
