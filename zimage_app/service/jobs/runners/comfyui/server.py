"""Client for a ComfyUI server over HTTP and WebSocket. Connects to the configured address only."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import websocket

from zimage_app.domain.errors import GenerationError
from zimage_app.domain.text import Text
from zimage_app.service.exports.comfy.workflow import Nodes
from zimage_app.service.jobs.runners.remote import Unreachable

_ANSWER_SECONDS = 20.0
_ALIVE_SECONDS = 3.0
_MAX_RESPONSE = 200 * 2**20
"""Maximum bytes of a response."""
_PREVIEW, _PREVIEW_WITH_FACTS = 1, 4
"""Types of the binary messages that contain a preview."""
_FAULT_LETTERS = 400
_NOT_NOW = (502, 503, 504)
"""HTTP statuses with which a proxy reports that the server behind it is temporarily unavailable."""


class UnexpectedResponse(Unreachable):
    """The server responds, but not as ComfyUI does when a request succeeds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a job on the server."""

    images: tuple[Mapping[str, str], ...] = ()
    """Filename, subfolder and type of each picture on the server."""
    fault: str = ""
    """Error message if the job failed."""
    interrupted: bool = False
    """Whether the job was stopped on the server."""
    lost: bool = False
    """Whether the server doesn't know the job, as after a restart."""


Message = tuple[str, dict[str, Any]] | bytes
"""A message's type and data, or the image file of a preview."""


class ComfyServer:
    """Client for one address, such as ``http://127.0.0.1:8188``. Only ``alive`` is thread-safe."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        # No proxies and no redirects, so that only the configured address is contacted.
        self._client = httpx.Client(timeout=_ANSWER_SECONDS, trust_env=False, follow_redirects=False)

    def close(self) -> None:
        """Close the HTTP connections."""
        self._client.close()

    def alive(self) -> bool:
        """Return whether the server responds now."""
        try:
            answer = httpx.get(f"{self.address}/system_stats", timeout=_ALIVE_SECONDS, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    def versions(self) -> tuple[str, str, str]:
        """Return the versions of ComfyUI and of torch, and the device type; empty strings if unknown."""
        stats = self._json("GET", "/system_stats")
        system, devices = stats.get("system") or {}, stats.get("devices") or [{}]
        version, torch = (str(system.get(name, ""))[:100] for name in ("comfyui_version", "pytorch_version"))
        return version, torch, str(devices[0].get("type", ""))[:100]

    def object_info(self) -> Mapping[str, Any]:
        """Return the server's node classes with their fields."""
        return self._json("GET", "/object_info")

    def upload(self, name: str, png: bytes) -> str:
        """Upload a picture; return its name on the server."""
        files = {"image": (name, png, "image/png")}
        answer = self._json("POST", "/upload/image", files=files, data={"overwrite": "true"})
        return str(answer.get("name", name))

    def submit(self, nodes: Nodes, client: str) -> str:
        """Queue a workflow; return its id on the server.

        Raises:
            GenerationError: the server refuses the workflow; contains the server's message.
            UnexpectedResponse, Unreachable: as for all requests.
        """
        body = {"prompt": nodes, "client_id": client, "extra_data": {"preview_method": "latent2rgb"}}
        answer = self._ask("POST", "/prompt", json=body)
        if answer.status_code == 400:
            raise _refused(self.address, _rejection_reasons(answer))
        return str(_parsed(answer, "POST /prompt").get("prompt_id"))

    def outcome(self, prompt: str) -> Outcome | None:
        """Return the outcome of a job; None while it waits or runs, or if the server doesn't know it."""
        found = self._json("GET", f"/history/{prompt}").get(prompt)
        return None if found is None else _outcome(found)

    def place(self, prompt: str) -> str:
        """Return ``running`` or ``pending``; empty if the job has ended or isn't known."""
        queue = self._json("GET", "/queue")
        for place in ("running", "pending"):
            if any(prompt in entry[1:2] for entry in queue.get(f"queue_{place}", ())):
                return place
        return ""

    def cancel(self, prompt: str) -> None:
        """Stop a waiting or running job, and no other.

        One request may not be enough: a waiting job may start while it is being removed from the queue.
        """
        place = self.place(prompt)
        if place == "running":  # older servers ignore the id and interrupt the running job
            self._ask("POST", "/interrupt", json={"prompt_id": prompt})
        elif place:
            self._ask("POST", "/queue", json={"delete": [prompt]})

    def fetch(self, image: Mapping[str, str]) -> bytes:
        """Return the bytes of a picture's file."""
        where = {name: str(image.get(name, "")) for name in ("filename", "subfolder", "type")}
        answer = self._ask("GET", "/view", params=where)
        if answer.status_code != 200:
            raise Unreachable(f"the picture is not there (HTTP {answer.status_code})")
        return answer.content

    def listen(self, client: str, seconds: float) -> Socket:
        """Open a WebSocket for a client's messages; raises Unreachable if that fails."""
        address = f"ws{self.address.removeprefix('http')}/ws?clientId={client}"
        try:
            return Socket(websocket.create_connection(address, timeout=seconds, http_no_proxy=["*"], redirect_limit=0))
        except (OSError, websocket.WebSocketException) as error:
            raise Unreachable(str(error)) from error

    def _json(self, method: str, path: str, **more: Any) -> Mapping[str, Any]:
        return _parsed(self._ask(method, path, **more), f"{method} {path}")

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a request; return the response, of any status.

        Raises:
            UnexpectedResponse: the response is too long.
            Unreachable: there is none.
        """
        try:
            with self._client.stream(method, f"{self.address}{path}", **more) as answer:
                content = bytearray()
                for piece in answer.iter_bytes():
                    content += piece
                    if len(content) > _MAX_RESPONSE:
                        raise UnexpectedResponse(f"its answer to {method} {path} is too long")
        except httpx.HTTPError as error:
            raise Unreachable(str(error) or type(error).__name__) from error
        return httpx.Response(answer.status_code, content=bytes(content))


class Socket:
    """An open WebSocket."""

    def __init__(self, connection: websocket.WebSocket) -> None:
        self._connection = connection

    def receive(self) -> Message | None:
        """Return the next message; None after the timeout or for unknown messages. Raises Unreachable on errors."""
        try:
            kind, data = self._connection.recv_data()
        except websocket.WebSocketTimeoutException:
            return None
        except (OSError, websocket.WebSocketException) as error:
            raise Unreachable(str(error)) from error
        if kind == websocket.ABNF.OPCODE_BINARY:
            return _preview(data)
        return _message(data) if kind == websocket.ABNF.OPCODE_TEXT else None

    def close(self) -> None:
        """Close the socket; ignores errors."""
        with suppress(OSError, websocket.WebSocketException):
            self._connection.close(timeout=0)


def _message(data: bytes) -> Message | None:
    try:
        message = json.loads(data)
    except ValueError:
        return None
    if not isinstance(message, dict) or not isinstance(message.get("data"), dict):
        return None
    return str(message.get("type")), message["data"]


def _preview(data: bytes) -> bytes | None:
    """Return the image file in a binary message; None for messages of other types."""
    if len(data) < 8:
        return None
    kind, number = struct.unpack_from(">II", data)
    if kind == _PREVIEW:  # the number is the image format
        return data[8:]
    return data[8 + number :] if kind == _PREVIEW_WITH_FACTS else None  # the number is the length of the metadata


def _parsed(answer: httpx.Response, request: str) -> Mapping[str, Any]:
    """Return the object in a response; raises UnexpectedResponse, or Unreachable if the server doesn't respond now."""
    if answer.status_code != 200:
        kind = Unreachable if answer.status_code in _NOT_NOW else UnexpectedResponse
        raise kind(f"it answers HTTP {answer.status_code} to {request}")
    try:
        data = answer.json()
    except ValueError as error:
        raise UnexpectedResponse(f"it answers with something else than JSON to {request}") from error
    if not isinstance(data, dict):
        raise UnexpectedResponse(f"it answers with something else than a ComfyUI does to {request}")
    return data


def _outcome(found: Mapping[str, Any]) -> Outcome:
    status = found.get("status") or {}
    messages = {each[0]: each[1] for each in status.get("messages", ()) if isinstance(each, list) and len(each) == 2}
    if "execution_interrupted" in messages:
        return Outcome(interrupted=True)
    if (fault := messages.get("execution_error")) is not None:
        said = f"{fault.get('node_type', '')}: {fault.get('exception_message', '')}".strip()
        return Outcome(fault=said[:_FAULT_LETTERS])
    outputs = (found.get("outputs") or {}).values()
    images = tuple(image for output in outputs for image in output.get("images", ()) if isinstance(image, dict))
    return Outcome(images, "" if images else "it made no picture")


def _rejection_reasons(answer: httpx.Response) -> str:
    """Return the server's reasons for refusing a workflow."""
    try:
        data = answer.json()
        nodes = data.get("node_errors") or {}
        said = [f"{fault['message']}: {fault['details']}" for node in nodes.values() for fault in node["errors"]]
        return "; ".join(said or [str(data["error"]["message"])])[:_FAULT_LETTERS]
    except (ValueError, KeyError, TypeError, AttributeError):
        return answer.text[:_FAULT_LETTERS]


def _refused(address: str, reason: str) -> GenerationError:
    return GenerationError(
        Text(f"The ComfyUI at {address} refuses the workflow: {reason}", f"{address} 的 ComfyUI 拒绝了工作流：{reason}")
    )
