"""The queue on disk: nothing is lost, nothing is run twice, and nobody has to wait for one who asked for much."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from zimage_app.domain.errors import BusyError, StorageError
from zimage_app.domain.text import Text
from zimage_app.service import jobs as module
from zimage_app.service.jobs import QUEUE_NAME, Job, JobQueue, Outcome, fair_order
from zimage_app.service.limits import HOME


def job(name: str, owner: str = "", model: str = "tiny", cost: float = 10.0) -> Job:
    return Job(name, owner, model, '{"prompt": "船"}', cost)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    queue = JobQueue(tmp_path)
    yield queue
    queue.close()


def add(queue: JobQueue, *names: str, owner: str = "") -> None:
    for name in names:
        queue.add(job(name, owner), HOME)


def claim_all(queue: JobQueue) -> list[str]:
    found = []
    while (claimed := queue.claim()) is not None:
        found.append(claimed.id)
        queue.finish(claimed.id, Outcome("done"))
    return found


def test_what_was_accepted_is_there_for_the_next_program(queue: JobQueue, tmp_path: Path) -> None:
    add(queue, "a", "b")
    again = JobQueue(tmp_path)
    assert again.find("a") == job("a")
    assert [turn.id for turn in again.turns()] == ["a", "b"]
    again.close()


def test_owners_take_turns_and_each_ones_jobs_keep_their_order(queue: JobQueue) -> None:
    add(queue, *(f"a{n}" for n in range(5)), owner="a")
    add(queue, "b0", "b1", owner="b")
    add(queue, "c0", owner="c")
    expected = ["a0", "b0", "c0", "a1", "b1", "a2", "a3", "a4"]
    assert [turn.id for turn in queue.turns()] == expected
    assert claim_all(queue) == expected


def test_one_who_comes_later_is_served_next(queue: JobQueue) -> None:
    """L2, in small: five hundred of one owner don't keep another waiting."""
    add(queue, *(f"a{n}" for n in range(50)), owner="a")
    first = queue.claim()
    add(queue, "b0", owner="b")
    assert first is not None
    assert [turn.id for turn in queue.turns()][:3] == ["a0", "b0", "a1"]
    queue.finish(first.id, Outcome("done"))
    second = queue.claim()
    assert second is not None
    assert second.id == "b0"
    # Who was just served goes to the end of the round, with a new job as well.
    add(queue, "b1", owner="b")
    third = queue.claim()
    assert third is not None
    assert third.id == "a1"


@pytest.mark.parametrize(
    ("waiting", "last", "order"),
    [
        ([], {}, []),
        ([(3, "a"), (1, "a"), (2, "b")], {}, [1, 2, 3]),
        ([(1, "a"), (2, "b")], {"a": 9}, [2, 1]),
        ([(1, "a"), (2, "b"), (3, "c")], {"a": 9, "b": 8, "c": 7}, [3, 2, 1]),
        ([(1, "a"), (2, "a"), (3, "b")], {"a": 1, "b": 2}, [1, 3, 2]),
    ],
)
def test_the_order_of_turns(waiting: list[tuple[int, str]], last: dict[str, int], order: list[int]) -> None:
    assert fair_order(waiting, last) == order


@pytest.mark.parametrize("rounds", [2])
def test_every_job_is_claimed_once(tmp_path: Path, rounds: int) -> None:
    """L3: threads of several programs at one queue."""
    claims_by_many(tmp_path, rounds)


def claims_by_many(folder: Path, rounds: int, threads: int = 8, count: int = 50) -> None:
    """``threads`` workers, each with its own queue on the same file, take ``count`` jobs: none twice, none lost."""
    for number in range(rounds):
        place = folder / str(number)
        queues = [JobQueue(place) for _ in range(threads)]
        names = [f"{number}-{n}" for n in range(count)]
        add(queues[0], *names)
        with ThreadPoolExecutor(threads) as pool:
            taken = [name for names_of_one in pool.map(claim_all, queues) for name in names_of_one]
        assert sorted(taken) == sorted(names)
        assert [queues[0].find(name).state for name in names] == ["done"] * count  # type: ignore[union-attr]
        for queue in queues:
            queue.close()


def test_more_than_may_wait_is_refused_with_when_to_come_back(queue: JobQueue) -> None:
    limits = replace(HOME, waiting_of_owner=2, waiting=3)
    for name in ("a0", "a1"):
        queue.add(job(name, "a"), limits)
    with pytest.raises(BusyError, match="2 pictures of yours") as own:
        queue.add(job("a2", "a"), limits)
    assert own.value.own
    assert own.value.retry_after > 0
    queue.add(job("b0", "b"), limits)
    with pytest.raises(BusyError, match="3 pictures are waiting already"):
        queue.add(job("c0", "c"), limits)
    assert queue.find("c0") is None
    claimed = queue.claim()
    assert claimed is not None
    queue.add(job("c0", "c"), limits)


def test_a_job_is_stopped_wherever_it_is(queue: JobQueue) -> None:
    add(queue, "a", "b")
    queue.claim()
    assert queue.stop("b") == "cancelled"
    assert queue.stop("a") == "running"
    assert [(turn.id, turn.stop) for turn in queue.turns()] == [("a", True)]
    queue.finish("a", Outcome("cancelled"))
    assert queue.stop("a") == "cancelled"
    assert queue.stop("nobody") is None


def test_clearing_leaves_the_running_one(queue: JobQueue) -> None:
    add(queue, "a", "b", "c")
    queue.claim()
    assert queue.clear() == 2
    assert [turn.id for turn in queue.turns()] == ["a"]


def test_a_stop_does_not_count_as_an_attempt_and_a_crash_does(queue: JobQueue) -> None:
    add(queue, "a", "b")
    queue.claim()
    queue.put_back("a")
    again = queue.claim()
    assert again is not None
    assert (again.id, again.attempts) == ("a", 1)
    assert [each.id for each in queue.running()] == ["a"]
    queue.run_again("a")
    third = queue.claim()
    assert third is not None
    assert (third.id, third.attempts) == ("a", 2)


def test_an_end_is_remembered_without_the_prompt(queue: JobQueue, tmp_path: Path) -> None:
    add(queue, "a", "b", "c")
    queue.finish("a", Outcome("done", picture="20260101-000000-00000000", seconds=3.0))
    queue.finish("b", Outcome("failed", error=Text("broken", "坏了")))
    queue.stop("c")
    again = JobQueue(tmp_path)
    found = [again.find(name) for name in "abc"]
    assert [each and (each.state, each.request) for each in found] == [("done", ""), ("failed", ""), ("cancelled", "")]
    assert found[0] is not None
    assert found[0].picture == "20260101-000000-00000000"
    assert found[1] is not None
    assert found[1].error == Text("broken", "坏了")
    again.close()


def test_what_is_over_stays_over(queue: JobQueue) -> None:
    add(queue, "a")
    queue.finish("a", Outcome("cancelled"))
    queue.finish("a", Outcome("done", picture="x"))
    queue.put_back("a")
    queue.run_again("a")
    found = queue.find("a")
    assert found is not None
    assert (found.state, found.picture) == ("cancelled", None)


def test_old_ends_are_forgotten_and_waiting_jobs_never(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT", 3)
    names = [f"j{n}" for n in range(8)]
    add(queue, *names)
    for name in names[1:]:
        queue.finish(name, Outcome("done"))
    assert [name for name in names if queue.find(name)] == ["j0", "j5", "j6", "j7"]


def test_times_of_finished_jobs_make_the_estimate(queue: JobQueue) -> None:
    assert queue.rate("tiny") is None
    for number, seconds in enumerate((20.0, 30.0, 500.0)):
        queue.add(job(f"t{number}", cost=10.0), HOME)
        queue.finish(f"t{number}", Outcome("done", seconds=seconds))
    queue.add(job("other", model="other"), HOME)
    queue.finish("other", Outcome("done", seconds=1.0))
    assert queue.rate("tiny") == pytest.approx(3.0)


def test_jobs_are_put_in_again_when_the_file_was_lost(queue: JobQueue, tmp_path: Path) -> None:
    add(queue, "a", "b")
    for path in tmp_path.glob(f"{QUEUE_NAME}*"):
        path.unlink()
    queue.restore([job("a"), job("b")])
    queue.restore([job("a")])
    assert claim_all(queue) == ["a", "b"]


def test_a_queue_that_cannot_be_written_refuses(tmp_path: Path) -> None:
    queue = JobQueue(tmp_path)
    queue.close()
    with pytest.raises(StorageError):
        queue.add(job("a"), HOME)
    again = JobQueue(tmp_path)
    assert again.find("a") is None
    again.close()
