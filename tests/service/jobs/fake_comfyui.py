"""A ComfyUI that speaks the protocol of one, draws plain pictures, and has the faults that a test gives it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.service.exports.comfy_nodes import faults, object_info
from tests.service.quick import PATIENCE

_KEY = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
_STEPS = 3

FILES = {
    "unet_name": ("z_image_turbo_bf16.safetensors",),
    "clip_name": ("qwen_3_4b.safetensors",),
    "vae_name": ("ae.safetensors",),
    "lora_name": ("style\\ink.safetensors",),
}


@dataclass
class FakeComfy:
    """What the server knows, and what is wrong with it."""

    files: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(FILES))
    lacks: frozenset[str] = frozenset()
    """Node classes."""
    refuses: str = ""
    fails: str = ""
    """What the last node says when it is run."""
    dies: int = 0
    """So many jobs end with the server, in their middle."""
    loses_socket: bool = False
    """In the middle of a job, and takes no other."""
    picture_size: tuple[int, int] | None = None
    """Instead of the one that is asked for."""
    another_workflow: bool = False
    redirects: str = ""
    """To where every question is sent on."""
    hold: threading.Event | None = None
    """What a job waits for in its middle."""
    chats: bool = False
    """An extension sends messages all the time."""
    statuses: Mapping[str, int] = field(default_factory=dict)
    """Path -> the HTTP status with which it is always answered."""
    asked: list[str] = field(default_factory=list)
    """Method and path of each question."""
    prompts: list[dict[str, Any]] = field(default_factory=list)
    uploads: list[bytes] = field(default_factory=list)
    interrupts: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    port: int = 0
    _history: dict[str, Any] = field(default_factory=dict)
    _running: str = ""
    _pending: list[str] = field(default_factory=list)
    _files: dict[str, bytes] = field(default_factory=dict)
    _sockets: list[_Socket] = field(default_factory=list)
    _stopped: set[str] = field(default_factory=set)
    _server: ThreadingHTTPServer | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _joining: threading.Lock = field(default_factory=threading.Lock)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Answer; at the same port after a stop."""
        fake = self
        handler = type("Handler", (_Handler,), {"fake": fake})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        if self.chats:
            threading.Thread(target=self._chat, daemon=True).start()

    def stop(self) -> None:
        """End, and forget all jobs."""
        server, self._server = self._server, None
        if server is not None:
            for socket in self._sockets:
                socket.close()
            self._sockets.clear()
            self._history.clear()
            self._running, self._pending = "", []
            server.shutdown()
            server.server_close()

    @property
    def running(self) -> bool:
        return self._server is not None

    def submit(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.prompts.append(body["prompt"])
        prompt = f"00000000-0000-4000-8000-{len(self.prompts):012d}"
        self._pending.append(prompt)
        threading.Thread(target=self._make, args=(prompt, body["prompt"]), daemon=True).start()
        return {"prompt_id": prompt, "number": len(self.prompts), "node_errors": {}}

    def queue(self) -> dict[str, Any]:
        running = [[0, self._running, {}]] if self._running else []
        return {"queue_running": running, "queue_pending": [[0, each, {}] for each in self._pending]}

    def history(self, prompt: str) -> dict[str, Any]:
        return {prompt: self._history[prompt]} if prompt in self._history else {}

    def interrupt(self, body: dict[str, Any]) -> None:
        self.interrupts.append(body)
        self._stopped.add(self._running)

    def delete(self, prompts: list[str]) -> None:
        self.deleted += prompts
        self._pending = [each for each in self._pending if each not in prompts]

    def file(self, name: str) -> bytes | None:
        return self._files.get(name)

    def join(self, socket: _Socket, greet: Callable[[], None]) -> None:
        """Send the greeting and add the socket; no message is sent in between, so that it misses none."""
        with self._joining:
            greet()
            self._sockets.append(socket)

    def _chat(self) -> None:
        pause = threading.Event()
        while self.running:
            self._tell("crystools.monitor", {"cpu_utilization": 7})
            pause.wait(0.01)

    def _make(self, prompt: str, nodes: dict[str, Any]) -> None:
        with self._turn:
            if prompt not in self._pending:
                return
            self._pending.remove(prompt)
            self._running = prompt
            for key, node in nodes.items():
                if node["class_type"] in ("KSampler", "SamplerCustom") and not self._sampled(prompt, key):
                    break
            else:
                self._finished(prompt, nodes)
            self._running = ""

    def _sampled(self, prompt: str, node: str) -> bool:
        """Whether it came through."""
        self._tell("executing", {"node": node, "prompt_id": prompt})
        for step in range(1, _STEPS + 1):
            if self.hold is not None and step == 2:
                self.hold.wait(PATIENCE)
            if self.dies and step == 2:
                self.dies -= 1
                threading.Thread(target=self.stop, daemon=True).start()
                return False
            if prompt in self._stopped:
                self._over(prompt, ["execution_interrupted", {"prompt_id": prompt}])
                return False
            self._tell("progress", {"value": step, "max": _STEPS, "node": node, "prompt_id": prompt})
            self._preview()
            if self.loses_socket and step == 1:
                for socket in self._sockets:
                    socket.close()
        return True

    def _finished(self, prompt: str, nodes: dict[str, Any]) -> None:
        if self.fails:
            fault = {"node_type": "VAEDecode", "exception_message": self.fails}
            self._over(prompt, ["execution_error", fault])
            return
        name = f"{prompt}.png"
        self._files[name] = self._picture(nodes)
        self._history[prompt] = {
            "status": {"status_str": "success", "completed": True, "messages": []},
            "outputs": {"9": {"images": [{"filename": name, "subfolder": "", "type": "temp"}]}},
        }
        self._tell("execution_success", {"prompt_id": prompt})

    def _over(self, prompt: str, message: list[Any]) -> None:
        self._history[prompt] = {"status": {"status_str": "error", "messages": [message]}, "outputs": {}}
        self._tell(message[0], {"prompt_id": prompt})

    def _picture(self, nodes: dict[str, Any]) -> bytes:
        sizes = [node["inputs"] for node in nodes.values() if "width" in node["inputs"]]
        size = self.picture_size or (sizes[-1]["width"], sizes[-1]["height"])
        texts = PngInfo()
        texts.add_text("prompt", json.dumps({} if self.another_workflow else nodes))
        file = io.BytesIO()
        Image.new("RGB", size, (200, 30, 40)).save(file, "PNG", pnginfo=texts)
        return file.getvalue()

    def _preview(self) -> None:
        file = io.BytesIO()
        Image.new("RGB", (32, 32), (10, 200, 30)).save(file, "JPEG")
        for socket in list(self._sockets):
            socket.send(0x82, struct.pack(">II", 1, 1) + file.getvalue())

    def _tell(self, kind: str, data: dict[str, Any]) -> None:
        with self._joining:
            sockets = list(self._sockets)
        for socket in sockets:
            socket.send(0x81, json.dumps({"type": kind, "data": data}).encode())


class _Socket:
    """A WebSocket as its server sees it, which only sends."""

    def __init__(self, file: Any, connection: Any) -> None:
        self._file = file
        self._connection = connection
        self.over = threading.Event()

    def send(self, kind: int, data: bytes) -> None:
        size = len(data)
        head = bytes([kind, size]) if size < 126 else bytes([kind, 126]) + struct.pack(">H", size)
        with suppress(OSError, ValueError):
            self._file.write(head + data)
            self._file.flush()

    def close(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(2)
        self.over.set()


class _Handler(BaseHTTPRequestHandler):
    fake: FakeComfy
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        del format, args

    def do_GET(self) -> None:
        path, fake = urlsplit(self.path), self.fake
        fake.asked.append(f"GET {path.path}")
        if path.path in fake.statuses:
            self._answer(fake.statuses[path.path], b"wrong", {})
        elif fake.redirects:
            self._answer(302, b"", {"location": fake.redirects + path.path})
        elif path.path == "/ws":
            self._upgrade()
        elif path.path == "/system_stats":
            system = {"comfyui_version": "0.33.0", "pytorch_version": "2.13.0"}
            self._json({"system": system, "devices": [{"type": "cuda"}]})
        elif path.path == "/object_info":
            info = object_info(fake.files)
            self._json({name: each for name, each in info.items() if name not in fake.lacks})
        elif path.path == "/queue":
            self._json(fake.queue())
        elif path.path.startswith("/history/"):
            self._json(fake.history(path.path.rpartition("/")[2]))
        else:
            data = fake.file(parse_qs(path.query)["filename"][0])
            self._answer(404 if data is None else 200, data or b"", {})

    def do_POST(self) -> None:
        fake = self.fake
        fake.asked.append(f"POST {self.path}")
        data = self.rfile.read(int(self.headers["content-length"]))
        if self.path in fake.statuses:
            self._answer(fake.statuses[self.path], b"wrong", {})
            return
        if self.path == "/upload/image":
            fake.uploads.append(data)
            self._json({"name": "handed-in.png", "subfolder": "", "type": "input"})
            return
        body = json.loads(data)
        if self.path == "/prompt":
            wrong = fake.refuses or "; ".join(faults(body["prompt"], frozenset({"run"})))
            if wrong:
                errors = {"3": {"errors": [{"message": "Value not in list", "details": wrong}]}}
                self._json({"error": {"message": "invalid"}, "node_errors": errors}, 400)
            else:
                self._json(fake.submit(body))
        elif self.path == "/interrupt":
            fake.interrupt(body)
            self._answer(200, b"", {})
        else:
            fake.delete(body["delete"])
            self._answer(200, b"", {})

    def _json(self, data: Any, status: int = 200) -> None:
        self._answer(status, json.dumps(data).encode(), {"content-type": "application/json"})

    def _answer(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _upgrade(self) -> None:
        fake = self.fake
        if fake.loses_socket and fake.asked.count("GET /ws") > 1:
            self._answer(503, b"", {})
            return
        accept = base64.b64encode(hashlib.sha1(self.headers["sec-websocket-key"].encode() + _KEY).digest())
        self.send_response(101)
        for name, value in (("upgrade", "websocket"), ("connection", "Upgrade")):
            self.send_header(name, value)
        self.send_header("sec-websocket-accept", accept.decode())
        socket = _Socket(self.wfile, self.connection)
        fake.join(socket, self.end_headers)
        socket.over.wait(PATIENCE)
        self.close_connection = True


@contextmanager
def serving(fake: FakeComfy) -> Iterator[FakeComfy]:
    """The fake while it answers."""
    fake.start()
    try:
        yield fake
    finally:
        if fake.hold is not None:
            fake.hold.set()
        fake.stop()
