"""Benchmark of the latency of status requests while pictures are generated (L4): the real app, over HTTP.

python -m benchmarks.status --calls 500 --watchers 8
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
_PATIENCE = 120.0


@contextmanager
def running() -> Iterator[str]:
    """Run ``app.py`` with the demo model on a free port; yields the base URL of its REST API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as outputs:
        flags = ["--port", str(port), "--model", "demo", "--offline", "--outputs", outputs]
        with subprocess.Popen([sys.executable, "app.py", *flags], cwd=ROOT, stdout=subprocess.DEVNULL) as app:
            try:
                wait_for(f"http://127.0.0.1:{port}/health")
                yield f"http://127.0.0.1:{port}/api"
            finally:
                app.terminate()


def wait_for(address: str) -> None:
    """Wait until the app answers; raises TimeoutError."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            httpx.get(address)
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(address)


def ask(client: httpx.Client) -> str:
    """Request a picture of three stages; return the task's id once it runs."""
    task_id = str(client.post("/generate", json={"prompt": "a red boat", "seed": 7}).json()["task_id"])
    while client.get(f"/generate/{task_id}").json()["state"] in ("waiting", "loading"):
        time.sleep(0.1)
    return task_id


def watch(address: str, task_id: str) -> None:
    """Read a task's event stream to its end."""
    with httpx.stream("GET", f"{address}/generate/{task_id}/events", timeout=None) as stream:
        for _ in stream.iter_lines():
            pass


def measure(address: str, calls: int, watchers: int) -> list[float]:
    """Return the seconds of each status request, all of them made while a picture is being generated."""
    seconds: list[float] = []
    with httpx.Client(base_url=address, timeout=_PATIENCE) as client:
        while len(seconds) < calls:
            task_id = ask(client)
            threads = [threading.Thread(target=watch, args=(address, task_id)) for _ in range(watchers)]
            for thread in threads:
                thread.start()
            status = "running"
            while status == "running" and len(seconds) < calls:
                begun = time.perf_counter()
                status = client.get(f"/generate/{task_id}").json()["state"]
                seconds.append(time.perf_counter() - begun)
                time.sleep(0.02)
            client.delete(f"/generate/{task_id}")
            for thread in threads:
                thread.join()
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure; print a readable line, and the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--watchers", type=int, default=8, help="event streams that are open meanwhile")
    options = parser.parse_args(arguments)
    with running() as address:
        seconds = sorted(measure(address, options.calls, options.watchers))
    figures = {
        "calls": len(seconds),
        "watchers": options.watchers,
        "median_ms": round(1000 * statistics.median(seconds), 1),
        "p99_ms": round(1000 * seconds[int(0.99 * (len(seconds) - 1))], 1),
        "max_ms": round(1000 * seconds[-1], 1),
    }
    sys.stdout.write(
        "status call while generating: median {median_ms} ms, p99 {p99_ms} ms, longest {max_ms} ms\n".format(**figures)
    )
    sys.stdout.write(f"{json.dumps(figures)}\n")


if __name__ == "__main__":
    main()
