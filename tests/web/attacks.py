"""What a stranger may try, in any size, and whether others are still answered: small in a run, large in tests/long."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.service import faults

JSON = {"content-type": "application/json"}


@contextmanager
def others_are_answered(port: int) -> Iterator[list[float]]:
    """Ask for a sign of life all the time, from another address of this machine, and at least three times.

    Gives how many seconds each answer took. Not judged here: a busy machine takes its time.
    """
    ended = threading.Event()
    waits: list[float] = []

    def look() -> None:
        while not ended.wait(0.02) or len(waits) < 3:
            begun = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", port, 60, source_address=("127.0.0.2", 0))
            connection.request("GET", "/health")
            assert connection.getresponse().status == 200
            connection.close()
            waits.append(time.monotonic() - begun)

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            yield waits
        finally:
            ended.set()
        looking.result()


@contextmanager
def served_with_files(outputs: Path, files: int, loading: float = 0.0) -> Iterator[faults.Served]:
    """``app.py`` in a process that may have so many files open, of which this one may have more."""
    resource = pytest.importorskip("resource")
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, usual)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, usual[1]))
        program = stack.enter_context(faults.served(outputs, loading))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(usual[0], min(4096, usual[1])), usual[1]))
        yield program


def heavy_json(port: int, at_once: int) -> list[float]:
    """Row 3: bodies of JSON that are short to send and long to check, by every route that reads some.

    Gives how long others waited.
    """
    call = {"component_id": 14, "fn_name": "models", "session_hash": "abc"}
    texts = "[" + "{}," * 42_000 + "0]"
    bodies = [
        ("/api/generate", 413, b'{"prompt":"x","loras":[' + b"0," * 1_900_000 + b"0]}"),
        ("/api/generate", 413, b'{"prompt":"x","loras":[' + b"{}," * 1_200_000 + b"{}]}"),
        ("/api/generate", 422, b'{"prompt":"x","loras":[' + b"0," * 4900 + b"0]}"),
        ("/api/generate", 422, b'"' * 500_000),
        ("/gradio_api/queue/join", 413, json.dumps({"data": [[]] * 400_000, "session_hash": "abc"}).encode()),
        ("/gradio_api/component_server", 413, json.dumps({"data": "x" * 3_900_000, **call}).encode()),
        ("/gradio_api/component_server", 422, b"[" * 500_000),
        ("/gradio_api/call/generate", 200, json.dumps({"data": ["x", 1, "", texts, False]}).encode()),
    ]

    def send(path: str, body: bytes) -> int:
        return httpx.post(f"http://127.0.0.1:{port}{path}", content=body, headers=JSON, timeout=120).status_code

    with others_are_answered(port) as waits, ThreadPoolExecutor(at_once) as pool:
        for path, status, body in bodies:
            statuses = list(pool.map(send, [path] * at_once, [body] * at_once))
            assert statuses == [status] * at_once, path
    return waits


def half_open(program: subprocess.Popen[bytes], port: int, count: int, most: int) -> list[float]:
    """Row 12: requests that don't end, of which ``most`` may be open. Gives how long others waited."""
    with ExitStack() as stack, others_are_answered(port) as waits:
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            try:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
            except ConnectionError:  # its place was needed
                continue
        assert httpx.get(f"http://127.0.0.1:{port}/health", timeout=60).status_code == 200
        held = psutil.Process(program.pid).net_connections("tcp")
        assert sum(each.status == psutil.CONN_ESTABLISHED for each in held) <= most
    return waits


def watchers(client: httpx.Client, port: int, count: int) -> list[float]:
    """Row 5: one visitor joins the page's load function again and again while a job is open; others use the page.

    Gives how long others waited.
    """
    visitor = httpx.Client(base_url=client.base_url, timeout=60)
    visitor.get("/")
    load = next(each for each in _loads(visitor.get("/config").json()) if each["queue"] is not False)
    visitor.post("/api/generate", json=faults.BODY).raise_for_status()
    with others_are_answered(port) as waits:
        joined = [visitor.post("/gradio_api/queue/join", json=_call(load, f"s{at}")).status_code for at in range(count)]
        assert set(joined) == {200, 429}
        assert visit(client) > 0
    return waits


def sessions(program: subprocess.Popen[bytes], client: httpx.Client, count: int) -> None:
    """Row 6: each request with a session of its own, as long as may be, whose result nobody fetches."""
    load = next(each for each in _loads(client.get("/config").json()) if each["queue"] is not False)
    call = {"component_id": 14, "fn_name": "models", "data": {"do": "x", "text": "x" * 120_000}}
    client.post("/gradio_api/component_server", json={**call, "session_hash": "first"}).raise_for_status()
    begun = memory(program)
    for number in range(count):
        long = {**call, "session_hash": "x" * 100_000}
        assert client.post("/gradio_api/component_server", json=long).status_code == 422
        client.post("/gradio_api/component_server", json={**call, "session_hash": f"s{number}"})
        client.post("/gradio_api/queue/join", json={**_call(load, f"t{number}"), "event_data": "x" * 120_000})
    assert memory(program) - begun < 60e6


def visit(client: httpx.Client) -> int:
    """What a browser asks when the page is opened, until its load function has answered; gives the page's bytes."""
    session = secrets.token_hex(6)
    page = client.get("/").text
    found = re.search(r"window\.gradio_config = (\{.*?\});</script>", page, re.DOTALL)
    assert found is not None
    for load in _loads(json.loads(found[1])):
        way = "queue/join" if load["queue"] is not False else "run/predict"
        client.post(f"/gradio_api/{way}", json=_call(load, session)).raise_for_status()
    client.get("/gradio_api/queue/data", params={"session_hash": session}).raise_for_status()
    return len(page)


def soak(tmp_path: Path, first: int, count: int) -> None:
    """Row 7: pages are opened and closed, and the memory stays what it was after the first."""
    with faults.served(tmp_path) as (program, client):
        for _ in range(first):
            visit(client)
        begun = memory(program)
        for _ in range(count):
            visit(client)
        grown = memory(program) - begun
        assert grown <= 0.1 * begun, f"{begun / 1e6:.0f} MB, {grown / 1e6:+.0f} MB after {count} visits"


def finish_a_job(client: httpx.Client) -> None:
    """Have everything in memory that is brought there by the first picture."""
    task = client.post("/api/generate", json=faults.BODY).json()["task_id"]
    with client.stream("GET", f"/api/generate/{task}/events") as events:
        assert '"state":"done"' in "".join(events.iter_text()).replace(" ", "")


def memory(program: subprocess.Popen[bytes]) -> int:
    """Bytes that a program and its children have in memory."""
    process = psutil.Process(program.pid)
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))


def _loads(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in config["dependencies"] if any(target[1] == "load" for target in each["targets"])]


def _call(function: dict[str, Any], session: str) -> dict[str, Any]:
    data = [None] * len(function["inputs"])
    return {"data": data, "event_data": None, "fn_index": function["id"], "trigger_id": 0, "session_hash": session}
