"""Attacks and visits with the big numbers: ``python -m pytest tests/long``."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.service import faults
from tests.ui.conftest import Visit, arrive
from tests.web import attacks
from tests.web.test_attacks import port_of

pytestmark = pytest.mark.timeout(7200)


def test_heavy_json_stalls_nobody(tmp_path: Path) -> None:
    with faults.served(tmp_path) as (_, client):
        attacks.heavy_json(port_of(client), 10)


def test_more_half_open_requests_than_files_stall_nobody(tmp_path: Path) -> None:
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, usual[1]))
    try:
        with faults.served(tmp_path) as (_, client):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, usual[1]), usual[1]))
            attacks.half_open(port_of(client), 1100)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)


def test_watchers_stall_nobody(tmp_path: Path) -> None:
    with faults.served(tmp_path) as (_, client):
        attacks.watchers(client, port_of(client), 500)


def test_sessions_of_nobody_fill_no_memory(tmp_path: Path) -> None:
    with faults.served(tmp_path) as served:
        attacks.finish_a_job(served[1])
        attacks.sessions(*served, 1000)


def test_a_thousand_visits_leave_nothing_behind(tmp_path: Path) -> None:
    attacks.soak(tmp_path, 50, 1000)


def test_three_hundred_reloads_leave_nothing_behind(visitor: Visit, tmp_path: Path) -> None:
    with faults.served(tmp_path) as (program, client):
        page = visitor(str(client.base_url))
        for _ in range(50):
            arrive(page)
        begun = attacks.memory(program)
        for _ in range(250):
            arrive(page)
        assert attacks.memory(program) - begun <= 0.1 * begun
