"""What goes wrong in the world: floods, kills, full disks, errors of the system. Nothing is lost, and it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service import faults


def test_l1_every_client_gets_their_own_pictures(tmp_path: Path) -> None:
    faults.clients(tmp_path, 8, 6)


def test_l2_a_flood_of_one_owner_keeps_nobody_waiting(tmp_path: Path) -> None:
    faults.flood(tmp_path, 150)


def test_c1_killed_again_and_again(tmp_path: Path) -> None:
    faults.kills(tmp_path, 4)


def test_c2_every_call_may_fail_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults.failing_calls(tmp_path, monkeypatch, 1, 1) >= 40


def test_s1_nothing_grows(tmp_path: Path) -> None:
    faults.soak(tmp_path, 60)


def test_c6_c13_clients_that_go_away_change_nothing_and_a_polite_end_keeps_the_queue(tmp_path: Path) -> None:
    with faults.served(tmp_path) as (program, client):
        faults.clients_gone(client, 5)
        faults.sigterm(program, client, tmp_path, "2")
