"""Runs a ZeroGPU Space in one process: the real ``spaces`` package, a fake device API, torch on the CPU.

Run as ``python -m tests.service.borrowing MODELS LORAS OUTPUTS``; prints one JSON object.
"""

from __future__ import annotations

import contextvars
import hashlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit


class DeviceApi(BaseHTTPRequestHandler):
    """Fake device API that grants every request for a GPU, or refuses all if ``refuses`` is set."""

    asked: ClassVar[list[dict[str, str]]] = []
    idle = False
    refuses = False

    def do_POST(self) -> None:
        address = urlsplit(self.path)
        if address.path != "/schedule":
            self._answer(200, {})
            return
        self.asked.append({name: values[0] for name, values in parse_qs(address.query).items()})
        if self.refuses:
            self._answer(429, {"left": 3, "wait": 60})
        else:
            self._answer(200, {"idle": self.idle, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "lent"})

    def _answer(self, status: int, data: dict[str, object]) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@contextmanager
def device_api() -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), DeviceApi)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["SPACES_ZERO_DEVICE_API_URL"] = f"http://127.0.0.1:{server.server_port}"
    yield
    server.shutdown()


def begin_without_cuda() -> None:
    """Initialize as a Space does, but hide torch from ``spaces``, which would patch it to emulate a GPU."""
    from zimage_app.service.setup.space import import_spaces

    sys.modules["torch"] = None  # type: ignore[assignment]
    import_spaces()
    del sys.modules["torch"]


def main(models: Path, loras: Path, outputs: Path) -> dict[str, object]:
    begin_without_cuda()
    import torch

    torch.set_num_threads(1)
    from zimage_app.domain.request import GenerationRequest
    from zimage_app.domain.settings.lora_use import LoraUse
    from zimage_app.domain.settings.stage import Stage
    from zimage_app.service.setup.config import StudioConfig
    from zimage_app.service.studio import Studio

    studio = Studio(StudioConfig(models=models, loras=loras, outputs=outputs, model="tiny", borrowed_gpu=True))
    studio.prepare()
    transformer = studio._slots[0]._generator._components.transformer.module  # type: ignore[union-attr]
    before = _state(transformer)
    stages = (Stage(width=64, height=96, steps=2), Stage(width=128, height=192, steps=2, denoise=0.7))
    plain = GenerationRequest(prompt="a boat", seed=5, stages=stages)
    inked = plain.model_copy(update={"loras": (LoraUse(name="ink", strength=1.0),)})

    def run(request: GenerationRequest, visitor: str, stop: bool = False) -> dict[str, object]:
        return contextvars.copy_context().run(_run, studio, request, visitor, stop)

    results: dict[str, object] = {"first": run(plain, "anna")}
    DeviceApi.idle = True  # the worker process is reused
    results["ink"] = run(inked, "ben")
    results["after ink"] = run(plain, "anna")
    many = plain.model_copy(update={"stages": (Stage(width=128, height=192, steps=100),)})
    results["stopped"] = run(many, "ben", stop=True)
    DeviceApi.idle = False  # a new worker process is started
    results["fresh"] = run(inked, "ben")
    results["parent unchanged"] = _state(transformer) == before
    DeviceApi.refuses = True
    results["refused"] = run(plain, "anna")
    results["asked"] = DeviceApi.asked
    studio.close()
    return results


def _run(studio: Any, request: Any, visitor: str, stop: bool) -> dict[str, object]:
    from gradio.context import LocalContext

    LocalContext.request.set(SimpleNamespace(headers=_Headers({"x-ip-token": visitor})))  # type: ignore[arg-type]
    view = studio.view(studio.submit(request, "tiny", visitor))
    while not view.ended:
        view = studio.wait(view.id, view.version, 60)
        if stop and any(stage.step for stage in view.stages):
            studio.cancel(view.id)
    pixels = "" if view.picture is None else hashlib.sha256(_pixels(view.picture.path)).hexdigest()
    steps = sum(stage.step for stage in view.stages)
    return {"state": view.state, "pixels": pixels, "steps": steps, "error": str(view.error or "")}


class _Headers(dict[str, str]):
    """Headers that allow attributes, like those of a request."""


def _pixels(path: Path) -> bytes:
    from PIL import Image

    with Image.open(path) as image:
        return image.tobytes()


def _state(module: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + tensor.detach().float().numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    with device_api():
        print(json.dumps(main(*map(Path, sys.argv[1:]))))  # noqa: T201
