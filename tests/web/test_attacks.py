"""Attacks in a small size, against ``app.py`` in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service import faults
from tests.web import attacks


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[faults.Served]:
    with faults.served(tmp_path_factory.mktemp("attacked")) as program:
        attacks.finish_a_job(program[1])
        yield program


def port_of(client: httpx.Client) -> int:
    port = client.base_url.port
    assert port is not None
    return port


def test_heavy_json_stalls_nobody(served: faults.Served) -> None:
    attacks.heavy_json(port_of(served[1]), 2)


def test_half_open_requests_stall_nobody(served: faults.Served) -> None:
    attacks.half_open(port_of(served[1]), 100)


def test_watchers_stall_nobody(served: faults.Served) -> None:
    attacks.watchers(served[1], port_of(served[1]), 110)


def test_sessions_of_nobody_fill_no_memory(served: faults.Served) -> None:
    attacks.sessions(*served, 20)


def test_visits_leave_nothing_behind(tmp_path: Path) -> None:
    attacks.soak(tmp_path, 10, 25)
