"""Floods, kills, failing calls and the soak with the big numbers: ``python -m pytest tests/long``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service import faults
from tests.service.jobs.test_runners import claims_by_many
from tests.service.quick import PATIENCE
from tests.service.same_pixels import cancels, same_pixels
from zimage_app import load_generator
from zimage_app.domain.request import GenerationRequest
from zimage_app.service.setup.config import StudioConfig

pytestmark = pytest.mark.timeout(7200)


@pytest.mark.parametrize(("count", "each"), [(16, 25), (50, 4)])
def test_l1_every_client_gets_their_own_pictures(tmp_path: Path, count: int, each: int) -> None:
    faults.clients(tmp_path, count, each)


def test_l2_a_flood_of_one_owner_keeps_nobody_waiting(tmp_path: Path) -> None:
    faults.flood(tmp_path, 500)


def test_l3_every_job_is_claimed_once(tmp_path: Path) -> None:
    claims_by_many(tmp_path, 20)


def test_c1_killed_again_and_again(tmp_path: Path) -> None:
    faults.kills(tmp_path, 500)


def test_c2_every_call_may_fail_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for turn in range(5):
        assert faults.failing_calls(tmp_path / str(turn), monkeypatch, 1, 1) >= 40


def test_c5_a_stop_at_any_point_leaves_the_next_run_as_it_is(models_dir: Path) -> None:
    assert cancels(load_generator("tiny", StudioConfig(models=models_dir, stage_memory=0)), every=1) >= 24


def test_c6_clients_that_go_away_change_nothing(tmp_path: Path) -> None:
    with faults.served(tmp_path) as (_, client):
        faults.clients_gone(client, 50)


@pytest.mark.parametrize("when", ["loading", "1", "2", "3"])
def test_c13_a_polite_end_keeps_the_queue(tmp_path: Path, when: str) -> None:
    with faults.served(tmp_path, loading=PATIENCE if when == "loading" else 0.0) as (program, client):
        faults.sigterm(program, client, tmp_path, when)


def test_d1_every_way_gives_the_same_pixels(models_dir: Path, small_request: GenerationRequest, tmp_path: Path) -> None:
    same_pixels(models_dir, tmp_path, small_request, 20)


def test_s1_nothing_grows(tmp_path: Path) -> None:
    faults.soak(tmp_path, 500)
