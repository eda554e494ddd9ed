"""Jobs on the disk: nothing is lost, what is refused changes nothing, and nobody waits for one who asked for much."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from zimage_app.domain.errors import BusyError, StorageError
from zimage_app.domain.text import Text
from zimage_app.service.jobs import store as module
from zimage_app.service.jobs.state import TRANSITIONS, JobEvent, JobState
from zimage_app.service.jobs.store import STORE_NAME, Job, JobStore, round_robin
from zimage_app.service.rules.limits import PRIVATE_LIMITS

PATHS = {
    JobState.WAITING: (),
    JobState.LOADING: (JobEvent.CLAIM,),
    JobState.RUNNING: (JobEvent.CLAIM, JobEvent.START),
    JobState.STOPPING: (JobEvent.CLAIM, JobEvent.START, JobEvent.STOP),
    JobState.SAVING: (JobEvent.CLAIM, JobEvent.START, JobEvent.FINISH),
    JobState.DONE: (JobEvent.CLAIM, JobEvent.START, JobEvent.FINISH, JobEvent.SAVE),
    JobState.FAILED: (JobEvent.CLAIM, JobEvent.FAIL),
    JobState.CANCELLED: (JobEvent.STOP,),
}
"""How a job comes to each state."""


def job(name: str, owner: str = "", model: str = "tiny", cost: float = 10.0) -> Job:
    return Job(name, owner, model, '{"prompt": "船"}', cost)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    with closing(JobStore(tmp_path)) as store:
        yield store


def add(store: JobStore, *names: str, owner: str = "") -> None:
    for name in names:
        store.add([job(name, owner)], PRIVATE_LIMITS)


def go(store: JobStore, name: str, *events: JobEvent) -> None:
    for event in events:
        assert store.apply([name], event), event


def run_all(store: JobStore) -> list[str]:
    """Run what waits, one after another; gives the order."""
    found = []
    while waiting := store.queued():
        found.append(waiting[0].id)
        go(store, waiting[0].id, *PATHS[JobState.DONE])
    return found


def names(store: JobStore) -> list[str]:
    return [each.id for each in store.queued()]


def test_what_was_accepted_is_there_for_the_next_program(store: JobStore, tmp_path: Path) -> None:
    add(store, "a", "b")
    with closing(JobStore(tmp_path)) as again:
        again.refresh()
        assert [again.find("a"), again.find("b")] == [store.find("a"), store.find("b")]
        assert names(again) == ["a", "b"]


def test_numbers_go_on_where_the_program_before_stopped(store: JobStore, tmp_path: Path) -> None:
    add(store, "a")
    go(store, "a", *PATHS[JobState.DONE])
    with closing(JobStore(tmp_path)) as again:
        add(again, "b")
        found = again.find("b")
        assert found is not None
        assert found.number == 2


@pytest.mark.parametrize(("state", "event"), list(itertools.product(JobState, JobEvent)))
def test_an_event_changes_file_and_memory_as_the_table_says_or_nothing(
    store: JobStore, tmp_path: Path, state: JobState, event: JobEvent
) -> None:
    add(store, "a")
    go(store, "a", *PATHS[state])
    before = store.find("a")
    changed = store.apply(["a"], event)
    assert [each.state for each in changed] == ([TRANSITIONS[state, event]] if (state, event) in TRANSITIONS else [])
    assert store.find("a") == (changed[0] if changed else before)
    with closing(JobStore(tmp_path)) as again:
        assert again.find("a") == store.find("a")


def test_owners_take_turns_and_each_ones_jobs_keep_their_order(store: JobStore) -> None:
    add(store, *(f"a{n}" for n in range(5)), owner="a")
    add(store, "b0", "b1", owner="b")
    add(store, "c0", owner="c")
    expected = ["a0", "b0", "c0", "a1", "b1", "a2", "a3", "a4"]
    assert names(store) == expected
    assert run_all(store) == expected


def test_one_who_comes_later_is_served_next(store: JobStore) -> None:
    """L2, in small: five hundred of one owner don't keep another waiting."""
    add(store, *(f"a{n}" for n in range(50)), owner="a")
    go(store, "a0", JobEvent.CLAIM)
    add(store, "b0", owner="b")
    assert names(store)[:2] == ["b0", "a1"]
    go(store, "b0", *PATHS[JobState.DONE])
    # Who was just served goes to the end of the round, with a new job as well.
    add(store, "b1", owner="b")
    assert names(store)[:2] == ["a1", "b1"]


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
    jobs = [replace(job(str(number), owner), number=number, sort_key=float(number)) for number, owner in waiting]
    assert [each.number for each in round_robin(jobs, last)] == order


def test_a_job_moves_up_among_its_owners_only(store: JobStore, tmp_path: Path) -> None:
    add(store, "a0", "a1", "a2", owner="a")
    add(store, "b0", "b1", owner="b")
    assert not store.move("a0", first=False), "it is the first already"
    assert store.move("a2", first=False)
    assert names(store) == ["a0", "b0", "a2", "b1", "a1"]
    assert store.move("a1", first=True)
    assert names(store) == ["a1", "b0", "a0", "b1", "a2"]
    assert not store.move("nobody", first=True)
    go(store, "a1", JobEvent.CLAIM)
    assert not store.move("a1", first=True), "it doesn't wait"
    with closing(JobStore(tmp_path)) as again:
        again.refresh()
        assert names(again) == names(store)


def test_an_interrupted_job_comes_first_again_within_its_owners_turns(store: JobStore, tmp_path: Path) -> None:
    add(store, "a0", "a1", "a2", owner="a")
    add(store, "b0", owner="b")
    assert store.move("a2", first=True)
    go(store, "a2", JobEvent.CLAIM, JobEvent.START)
    assert store.move("a1", first=True)
    with closing(JobStore(tmp_path)) as again:
        again.refresh()
        assert [each.id for each in again.active()] == ["a2"]
        go(again, "a2", JobEvent.REQUEUE)
        assert names(again) == ["a2", "b0", "a1", "a0"], "and its owner has lost no turn"


def test_more_than_may_wait_is_refused_with_when_to_come_back(store: JobStore) -> None:
    limits = replace(PRIVATE_LIMITS, waiting_of_owner=2, waiting=3)
    for name in ("a0", "a1"):
        store.add([job(name, "a")], limits)
    with pytest.raises(BusyError, match="which has 2 already") as own:
        store.add([job("a2", "a")], limits)
    assert own.value.own
    assert own.value.retry_after > 0
    store.add([job("b0", "b")], limits)
    with pytest.raises(BusyError, match="holds 3 pictures of at most 3"):
        store.add([job("c0", "c")], limits)
    assert store.find("c0") is None
    with pytest.raises(BusyError, match="which has 1 already; there is no room for 2 more"):
        store.add([job("b1", "b"), job("b2", "b")], limits)
    assert store.find("b1") is None
    go(store, "a0", JobEvent.CLAIM)
    store.add([job("c0", "c")], limits)


def test_a_pause_outlives_the_program(store: JobStore, tmp_path: Path) -> None:
    assert not store.paused
    store.pause(True)
    with closing(JobStore(tmp_path)) as again:
        again.refresh()
        assert again.paused
        again.pause(False)
    with closing(JobStore(tmp_path)) as last:
        last.refresh()
        assert not last.paused


def test_a_stop_does_not_count_as_an_attempt_and_a_crash_does(store: JobStore) -> None:
    add(store, "a")
    go(store, "a", JobEvent.CLAIM)
    store.apply(["a"], JobEvent.REQUEUE, attempts=0)
    go(store, "a", JobEvent.CLAIM, JobEvent.REQUEUE)
    go(store, "a", JobEvent.CLAIM)
    found = store.find("a")
    assert found is not None
    assert found.attempts == 2


def test_an_end_is_remembered_without_the_prompt(store: JobStore, tmp_path: Path) -> None:
    add(store, "a", "b", "c")
    go(store, "a", JobEvent.CLAIM, JobEvent.START)
    store.apply(["a"], JobEvent.FINISH, picture="20260101-000000-00000000")
    store.apply(["a"], JobEvent.SAVE, seconds=3.0)
    go(store, "b", JobEvent.CLAIM)
    store.apply(["b"], JobEvent.FAIL, error=Text("broken", "坏了"))
    go(store, "c", JobEvent.STOP)
    with closing(JobStore(tmp_path)) as again:
        found = [again.find(name) for name in "abc"]
    assert [each and (each.state, each.request) for each in found] == [("done", ""), ("failed", ""), ("cancelled", "")]
    assert found[0] is not None
    assert (found[0].picture, found[0].seconds) == ("20260101-000000-00000000", 3.0)
    assert found[1] is not None
    assert found[1].error == Text("broken", "坏了")


def test_old_ends_are_forgotten_and_waiting_jobs_never(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENDED", 3)
    all_names = [f"j{n}" for n in range(8)]
    add(store, *all_names)
    for name in all_names[1:]:
        go(store, name, *PATHS[JobState.DONE])
    assert [name for name in all_names if store.find(name)] == ["j0", "j5", "j6", "j7"]


def test_times_of_finished_jobs_make_the_estimate(store: JobStore) -> None:
    assert store.rate("tiny") is None
    for number, seconds in enumerate((20.0, 30.0, 500.0)):
        store.add([job(f"t{number}", cost=10.0)], PRIVATE_LIMITS)
        go(store, f"t{number}", *PATHS[JobState.SAVING])
        store.apply([f"t{number}"], JobEvent.SAVE, seconds=seconds)
    assert store.rate("tiny") == pytest.approx(3.0)
    assert store.rate("other") is None


@pytest.mark.parametrize("how", ["deleted", "emptied", "garbage", "another"])
def test_open_jobs_are_put_in_again_when_the_file_was_lost(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("zimage_app.service.storage.database._RETRY_SECONDS", 0.0)
    add(store, "a", "b")
    go(store, "a", JobEvent.CLAIM)
    store.pause(True)
    with closing(JobStore(tmp_path / "other")) as other:
        add(other, "x", "y", "z")
    path = tmp_path / STORE_NAME
    match how:
        case "deleted":
            for each in tmp_path.glob(f"{STORE_NAME}*"):
                each.unlink()
        case "emptied":
            path.write_bytes(b"")
        case "garbage":
            path.write_bytes(b"garbage" * 1000)
        case "another":
            for each in tmp_path.glob(f"{STORE_NAME}*"):
                each.unlink()
            (tmp_path / "other" / STORE_NAME).replace(path)
    for _ in range(3):  # the first look may only find out that the file is damaged
        with suppress(StorageError):
            store.refresh()
    add(store, "c")
    with closing(JobStore(tmp_path)) as again:
        again.refresh()
        assert [each.id for each in again.active()] == ["a"]
        assert [name for name in names(again) if name in "abc"] == ["b", "c"]
        assert again.paused
        assert len({each.number for each in (*again.active(), *again.queued())}) == (6 if how == "another" else 3)


@pytest.mark.parametrize("first", ["a look", "an event", "a move"])
def test_jobs_of_a_time_without_a_file_go_into_it_once_it_can_be_had(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed: list[bool] = []

    def admit() -> None:
        if not allowed:
            raise PermissionError(13, "not yet")

    with closing(JobStore(tmp_path)) as before:
        add(before, "old")
    with closing(JobStore(tmp_path, admit)) as store:
        add(store, "new")
        assert [bool(store.warning), names(store)] == [True, ["new"]]
        with pytest.raises(StorageError, match="can't be used"):
            store.find("old")  # neither known nor unknown yet
        found = store.find("new")
        assert found is not None
        allowed.append(True)
        monkeypatch.setattr("zimage_app.service.storage.database._RETRY_SECONDS", 0.0)
        if first == "an event":  # of a job whose number is another's in the file
            (claimed,) = store.apply(["new"], JobEvent.CLAIM)
            store.apply(["new"], JobEvent.REQUEUE)
            assert claimed.number == 2
        elif first == "a move":
            assert store.move("new", first=False)
        else:
            store.refresh()
        order = ["old", "new"] if first == "a look" else ["new", "old"]
        assert [bool(store.warning), names(store)] == [False, order]
        assert store.find("none") is None
    with closing(JobStore(tmp_path)) as again:
        again.refresh()
        assert names(again) == order


def test_a_store_that_cannot_be_written_refuses_and_changes_nothing(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    add(store, "a")
    store.close()
    with pytest.raises(StorageError):
        add(store, "b")
    with pytest.raises(StorageError):
        store.apply(["a"], JobEvent.STOP)
    with pytest.raises(StorageError):
        store.pause(True)
    assert names(store) == ["a"]
    assert not store.paused
