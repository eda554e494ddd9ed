"""Attacks in a small size, against ``app.py`` in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.service import faults
from tests.web import attacks

FILES = 320
"""That the app may have open."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[faults.Served]:
    """Its jobs stay open for longer than the tests take."""
    with attacks.served_with_files(tmp_path_factory.mktemp("attacked"), FILES, loading=600) as program:
        yield program


def port_of(client: httpx.Client) -> int:
    port = client.base_url.port
    assert port is not None
    return port


def test_heavy_json_stalls_nobody(served: faults.Served) -> None:
    attacks.heavy_json(port_of(served[1]), 2)


def test_more_half_open_requests_than_files_stall_nobody(served: faults.Served) -> None:
    attacks.half_open(served[0], port_of(served[1]), FILES + 80, most=FILES - 256)


def test_watchers_stall_nobody(served: faults.Served) -> None:
    attacks.watchers(served[1], port_of(served[1]), 140)
