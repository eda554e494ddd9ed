"""Attacks and visits with the big numbers: ``python -m pytest tests/long``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service import faults
from tests.ui.conftest import Visit, arrive
from tests.web import attacks
from tests.web.test_attacks import port_of

pytestmark = pytest.mark.timeout(7200)

WAIT = 1.0
"""Seconds that others may wait for an answer, on a machine that has nothing else to do."""


def test_heavy_json_stalls_nobody(tmp_path: Path) -> None:
    with faults.served(tmp_path) as (_, client):
        assert max(attacks.heavy_json(port_of(client), 10)) <= WAIT


def test_more_half_open_requests_than_files_stall_nobody(tmp_path: Path) -> None:
    with attacks.served_with_files(tmp_path, 1024) as (program, client):
        assert max(attacks.half_open(program, port_of(client), 1100, most=1024 - 256)) <= WAIT


def test_watchers_stall_nobody(tmp_path: Path) -> None:
    with faults.served(tmp_path) as (_, client):
        assert max(attacks.watchers(client, port_of(client), 500)) <= WAIT


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
