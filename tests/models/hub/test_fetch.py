"""Models from a hub that works, and from one that does not."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import httpx
import pytest
from huggingface_hub import constants

from tests.models.hub.conftest import HASTY, NEEDED, REPO, SHARDS, big
from tests.models.hub.fake_hub import COMMIT, FakeHub, Fault, serve
from zimage_app.domain.errors import FetchError
from zimage_app.domain.fetching import FetchProgress
from zimage_app.models.find.model_source import ModelSource, PartLocation, Remote
from zimage_app.models.find.model_yaml import hub_source
from zimage_app.models.hub import receipt
from zimage_app.models.hub.fetch import Meter, fetch, plan_fetch
from zimage_app.models.hub.hosts import Host, HuggingFace, ModelScope
from zimage_app.models.hub.listing import RepoFile
from zimage_app.models.hub.transfer import FileDownload, Stopped, Transfer

ROOT = Path(__file__).parents[3]
SHARD = SHARDS[0]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def home(models: Path) -> Path:
    """What the published model is fetched into."""
    return models / "z-image-turbo"


def source(models: Path) -> ModelSource:
    return hub_source(REPO, models)


def fetched(host: Host, models: Path, stopped: threading.Event | None = None) -> list[FetchProgress]:
    """Fetch Z-Image-Turbo; gives what was told on the way."""
    seen: list[FetchProgress] = []
    fetch(plan_fetch(source(models), host, models, HASTY), seen.append, HASTY, stopped)
    return seen


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != receipt.NAME
    }


def right(hub: FakeHub) -> dict[str, bytes]:
    return {path: data for path, data in hub.repos[REPO].items() if path in NEEDED}


@pytest.mark.parametrize("kind", [HuggingFace, ModelScope])
def test_a_model_comes_whole(hub: FakeHub, models: Path, home: Path, kind: type[HuggingFace | ModelScope]) -> None:
    host = kind(hub.url)
    plan = plan_fetch(source(models), host, models, HASTY)
    assert (plan.files, plan.size, plan.left) == (len(NEEDED), sum(map(len, right(hub).values())), plan.size)
    seen = fetched(host, models)
    assert files_of(home) == right(hub)
    assert source(models).present
    last = seen[-1]
    assert (last.files_done, last.done, last.fraction) == (plan.files, plan.size, 1.0)
    assert [step.done for step in seen] == sorted(step.done for step in seen)
    assert [path for path, _ in hub.asked if path in NEEDED][-1] == "model_index.json"
    note = json.loads((home / receipt.NAME).read_text(encoding="utf-8"))
    assert (note["source"], note["repo"]) == (host.key, REPO)
    assert set(note["files"]) == NEEDED
    assert {checked.state for checked in receipt.check(home, threading.Event())} == {"right"}


def test_a_files_address_is_that_of_the_listed_commit(hub: FakeHub) -> None:
    host = HuggingFace(hub.url)
    listing = host.listing(REPO, HASTY)
    assert host.url(listing, "a b/c.json") == f"{hub.url}/{REPO}/resolve/{COMMIT}/a%20b/c.json"


def test_only_what_is_missing_is_fetched(hub: FakeHub, models: Path, home: Path) -> None:
    for path, data in right(hub).items():
        if not path.startswith("vae/"):
            (home / path).parent.mkdir(parents=True, exist_ok=True)
            (home / path).write_bytes(data)
    fetched(HuggingFace(hub.url), models)
    assert {path for path, _ in hub.asked if path != REPO} == {
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    }


def test_files_that_are_here_are_checked_and_kept_or_replaced(hub: FakeHub, models: Path, home: Path) -> None:
    wrong = bytes(len(hub.repos[REPO][SHARD]))
    for path, data in ((SHARD, wrong), (SHARDS[1], hub.repos[REPO][SHARDS[1]])):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_bytes(data)
    seen = fetched(HuggingFace(hub.url), models)
    assert hub.ranges(SHARD) == [""]
    assert hub.ranges(SHARDS[1]) == []
    assert files_of(home) == right(hub)
    assert seen[-1].done == seen[-1].size


def test_a_broken_connection_is_taken_up_again(hub: FakeHub, models: Path, home: Path) -> None:
    hub.faults[SHARD] = [Fault(cut=100_000), Fault(cut=50_000), Fault(cut=0)]
    seen = fetched(HuggingFace(hub.url), models)
    assert hub.ranges(SHARD) == ["", "bytes=100000-", "bytes=150000-", "bytes=150000-"]
    assert files_of(home) == right(hub)
    assert seen[-1].done == seen[-1].size


def test_a_connection_that_breaks_for_ever_is_said_and_what_came_is_kept(
    hub: FakeHub, models: Path, home: Path
) -> None:
    hub.faults[SHARD] = [Fault(cut=100_000)]
    hub.always[SHARD] = Fault(cut=0)
    with pytest.raises(FetchError, match=r"breaks off again and again \(transformer/.*it goes on where it stopped"):
        fetched(HuggingFace(hub.url), models)
    assert not source(models).present
    del hub.always[SHARD]
    hub.asked.clear()
    fetched(HuggingFace(hub.url), models)
    assert hub.ranges(SHARD) == ["bytes=100000-"]
    assert files_of(home) == right(hub)


def test_a_hub_that_knows_no_ranges_sends_all_again(hub: FakeHub, models: Path, home: Path) -> None:
    hub.faults[SHARD] = [Fault(cut=100_000), Fault(no_ranges=True)]
    seen = fetched(HuggingFace(hub.url), models)
    assert files_of(home) == right(hub)
    assert seen[-1].done == seen[-1].size


def test_the_beginning_from_one_hub_the_rest_from_the_other(hub: FakeHub, models: Path, home: Path) -> None:
    hub.faults[SHARD] = [Fault(cut=100_000)]
    hub.always[SHARD] = Fault(status=404)
    with pytest.raises(FetchError, match=r"has no transformer/.*\(Tongyi-MAI/Z-Image-Turbo\)"):
        fetched(HuggingFace(hub.url), models)
    del hub.always[SHARD]
    fetched(ModelScope(hub.url), models)
    assert hub.ranges(SHARD)[-1] == "bytes=100000-"
    assert files_of(home) == right(hub)


@pytest.mark.parametrize("path", [SHARD, "vae/config.json"])
def test_wrong_bytes_are_fetched_once_more(hub: FakeHub, models: Path, home: Path, path: str) -> None:
    hub.faults[path] = [Fault(garble=True)]
    seen = fetched(HuggingFace(hub.url), models)
    assert hub.ranges(path) == ["", ""]
    assert files_of(home) == right(hub)
    assert seen[-1].done == seen[-1].size


def test_a_wrong_beginning_is_found_out_after_the_rest(hub: FakeHub, models: Path, home: Path) -> None:
    hub.faults[SHARD] = [Fault(cut=100_000, garble=True)]
    fetched(HuggingFace(hub.url), models)
    assert hub.ranges(SHARD) == ["", "bytes=100000-", ""]
    assert files_of(home) == right(hub)


@pytest.mark.parametrize("host", [HuggingFace, ModelScope])
def test_a_file_that_stays_wrong_is_named_and_deleted(
    hub: FakeHub, models: Path, home: Path, host: type[HuggingFace | ModelScope]
) -> None:
    hub.sums[SHARD] = "0" * 64
    with pytest.raises(FetchError, match=rf"{SHARD} .*published checksum, twice over") as caught:
        fetched(host(hub.url), models)
    assert SHARD in caught.value.text.zh
    assert SHARD not in files_of(home)
    assert not [path for path in files_of(home) if "00001-of-00002" in path]
    assert not (home / "model_index.json").exists()


def test_a_killed_program_goes_on_where_it_was(hub: FakeHub, models: Path, home: Path) -> None:
    hub.faults[SHARD] = [Fault(hold=threading.Event())]
    code = (
        "from pathlib import Path; from zimage_app.models.hub.fetch import fetch, plan_fetch;"
        "from zimage_app.models.hub.hosts import HuggingFace; from zimage_app.models.find.model_yaml import hub_source;"
        f"models = Path({str(models)!r}); host = HuggingFace({hub.url!r});"
        f"fetch(plan_fetch(hub_source({REPO!r}, models), host, models), lambda progress: None)"
    )
    program = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    growing = home / ".fetching"
    try:
        while not any(path.stat().st_size >= 100_000 for path in growing.glob("*00001-of-00002*")):
            assert program.poll() is None
            time.sleep(0.02)
    finally:
        program.kill()
        program.wait()
    hub.asked.clear()
    fetched(HuggingFace(hub.url), models)
    (wanted,) = hub.ranges(SHARD)
    assert int(wanted.removeprefix("bytes=").rstrip("-")) >= 100_000
    assert files_of(home) == right(hub)


def test_a_fetch_can_be_stopped_and_taken_up(hub: FakeHub, models: Path, home: Path) -> None:
    stopped, held = threading.Event(), threading.Event()
    hub.faults[SHARD] = [Fault(hold=held)]

    def tell(progress: FetchProgress) -> None:
        if progress.done > progress.size - 200_000:  # all but the half that is held back
            stopped.set()
            held.set()

    plan = plan_fetch(source(models), HuggingFace(hub.url), models, HASTY)
    with pytest.raises(Stopped):
        fetch(plan, tell, HASTY, stopped)
    assert not source(models).present
    hub.asked.clear()
    fetched(HuggingFace(hub.url), models)
    assert hub.ranges(SHARD)[0].startswith("bytes=")
    assert files_of(home) == right(hub)


def test_a_fetch_can_be_stopped_while_nothing_comes(hub: FakeHub, models: Path) -> None:
    """The hub stays silent for as long as it is waited for: only hanging up ends that."""
    stopped, never = threading.Event(), threading.Event()
    hub.faults[SHARD] = [Fault(hold=never)]
    retry_policy = replace(HASTY, silence=600.0)

    def tell(progress: FetchProgress) -> None:
        if progress.done > progress.size - 200_000:
            stopped.set()

    try:
        with pytest.raises(Stopped):
            fetch(plan_fetch(source(models), HuggingFace(hub.url), models, HASTY), tell, retry_policy, stopped)
    finally:
        never.set()


def test_a_connection_that_the_next_file_uses_already_is_hung_up_too(
    hub: FakeHub, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is free for the next file before the thread of the last one has noted that it came to its end."""
    host, never, waiting, noted = HuggingFace(hub.url), threading.Event(), threading.Event(), threading.Event()
    listing = host.listing(REPO, HASTY)
    sizes = {path: len(hub.repos[REPO][path]) for path in SHARDS}
    hub.faults[SHARDS[1]] = [Fault(hold=never)]

    def fsync(_: int) -> None:
        """Keep the first file's thread here until the second file comes through the same connection."""
        assert waiting.wait(20)

    def moved(count: int) -> None:
        if (models / "2.part").exists() and count:
            waiting.set()

    monkeypatch.setattr("zimage_app.models.hub.transfer.os.fsync", fsync)
    stopped = threading.Event()
    with httpx.Client(limits=httpx.Limits(max_connections=1), timeout=600) as client:
        transfer = Transfer(client, HASTY, moved, stopped)

        def task(number: int) -> FileDownload:
            path = SHARDS[number]
            return FileDownload(
                file=RepoFile(path, sizes[path], None),
                url=host.url(listing, path),
                repo=REPO,
                page="",
                host="",
                headers={},
                target=models / f"{number + 1}",
                part=models / f"{number + 1}.part",
            )

        def first() -> None:
            transfer.fetch(task(0))
            noted.set()

        def second() -> None:
            with suppress(Stopped):
                transfer.fetch(task(1))

        threads = [threading.Thread(target=run) for run in (first, second)]
        threads[0].start()
        while not (models / "1.part").exists():
            time.sleep(0.01)
        threads[1].start()
        assert noted.wait(20)
        stopped.set()
        transfer.hang_up()
        threads[1].join(20)
        still_waiting = threads[1].is_alive()
        never.set()
        for thread in threads:
            thread.join(20)
    assert not still_waiting


def test_two_at_once_do_not_get_in_each_others_way(hub: FakeHub, models: Path, home: Path) -> None:
    said: list[str] = []
    held = threading.Event()
    hub.faults[SHARD] = [Fault(hold=held)]

    def tell(_: FetchProgress) -> None:
        if not said:
            with pytest.raises(FetchError, match="z-image-turbo is being fetched by another") as caught:
                fetched(HuggingFace(hub.url), models)
            said.append(caught.value.text.zh)
            held.set()

    fetch(plan_fetch(source(models), HuggingFace(hub.url), models, HASTY), tell, HASTY)
    assert "z-image-turbo" in said[0]
    assert files_of(home) == right(hub)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("name", [REPO, SHARD, "vae/config.json"])
def test_a_busy_hub_is_asked_again(hub: FakeHub, models: Path, home: Path, name: str, status: int) -> None:
    hub.faults[name] = [Fault(status=status, headers=(("retry-after", "7"),)), Fault(status=status)]
    fetched(HuggingFace(hub.url), models)
    assert files_of(home) == right(hub)


@pytest.mark.parametrize("name", [REPO, SHARD])
@pytest.mark.parametrize("host", [HuggingFace, ModelScope])
def test_a_hub_that_stays_busy_is_said(
    hub: FakeHub, models: Path, name: str, host: type[HuggingFace | ModelScope]
) -> None:
    hub.always[name] = Fault(status=503)
    with pytest.raises(FetchError, match="answers with status 503 again and again") as caught:
        fetched(host(hub.url), models)
    assert "503" in caught.value.text.zh


GATED = (("x-error-code", "GatedRepo"),)


@pytest.mark.parametrize(
    ("name", "fault", "says"),
    [
        (REPO, Fault(status=404, headers=(("x-error-code", "RepoNotFound"),)), "There is no model Tongyi-MAI/Z-Image"),
        (REPO, Fault(status=401, headers=(("x-error-code", "RepoNotFound"),)), "There is no model Tongyi-MAI/Z-Image"),
        (REPO, Fault(status=404), "There is no model Tongyi-MAI/Z-Image"),
        (REPO, Fault(status=418), "does not answer as a model hub does"),
        (REPO, Fault(status=403, headers=GATED), "accepted its terms: do so at http.*/Tongyi-MAI/Z-Image-Turbo"),
        (REPO, Fault(status=403), "refuses Tongyi-MAI/Z-Image-Turbo .status 403.: set HF_TOKEN"),
        (REPO, Fault(page=True), "does not answer as a model hub does: check the address of the mirror"),
        (SHARD, Fault(status=401), "refuses transformer/diffusion.* .status 401."),
        (SHARD, Fault(status=403, headers=GATED), "accepted its terms: do so at http.*/Tongyi-MAI/Z-Image-Turbo"),
        (SHARD, Fault(status=404), "has no transformer/diffusion"),
        (SHARD, Fault(status=418), "does not answer as a model hub does"),
        (SHARD, Fault(status=302, headers=(("location", "?again"),)), "does not answer as a model hub does"),
    ],
)
def test_every_refusal_is_one_sentence(hub: FakeHub, models: Path, name: str, fault: Fault, says: str) -> None:
    hub.always[name] = fault
    with pytest.raises(FetchError, match=says) as caught:
        fetched(HuggingFace(hub.url), models)
    assert "\n" not in str(caught.value)
    assert caught.value.text.zh.endswith("。")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(status=404), "There is no model"),
        (Fault(page=True), "does not answer as a model hub does"),
        (Fault(status=418), "does not answer as a model hub does"),
    ],
)
def test_modelscope_refuses_in_the_same_words(hub: FakeHub, models: Path, fault: Fault, says: str) -> None:
    hub.always[REPO] = fault
    with pytest.raises(FetchError, match=says):
        fetched(ModelScope(hub.url), models)


@pytest.mark.parametrize("part", ["transformer", "vae"])
@pytest.mark.parametrize("left", ["", ".bin"])
def test_a_part_that_a_repository_does_not_have_is_named(hub: FakeHub, models: Path, part: str, left: str) -> None:
    for path in [path for path in hub.repos[REPO] if path.startswith(f"{part}/")]:
        data = hub.repos[REPO].pop(path)
        if left and path.endswith((".json", ".bin")):
            hub.repos[REPO][path] = data
    with pytest.raises(FetchError, match=rf"has no safetensors weights in {part}/ \(Tongyi-MAI/Z-Image-Turbo\)"):
        fetched(HuggingFace(hub.url), models)


@pytest.mark.parametrize("host", [HuggingFace, ModelScope])
@pytest.mark.parametrize("name", ["../outside.json", "/outside.json"])
def test_a_hub_cannot_write_outside(
    hub: FakeHub, models: Path, tmp_path: Path, host: type[HuggingFace | ModelScope], name: str
) -> None:
    hub.names["vae/config.json"] = name
    with pytest.raises(FetchError, match="does not answer as a model hub does"):
        fetched(host(hub.url), models)
    assert not list(tmp_path.rglob("outside.json"))


def test_a_disk_without_room_is_said_before_anything_comes(hub: FakeHub, models: Path, home: Path) -> None:
    hub.sizes[SHARD] = 10**18
    with pytest.raises(FetchError, match=r"disk of .*models is too full: 1000000000\.0 GB are needed") as caught:
        fetched(HuggingFace(hub.url), models)
    assert "1000000000.0 GB" in caught.value.text.zh
    assert not home.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_fills_up_meanwhile_is_said(hub: FakeHub, models: Path) -> None:
    (repo_download,) = plan_fetch(source(models), HuggingFace(hub.url), models, HASTY).repo_downloads
    part = repo_download.part(next(file for file in repo_download.files if file.path == SHARD))
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    with pytest.raises(FetchError, match=r"too full: .* are free; make room and start again"):
        fetched(HuggingFace(hub.url), models)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs permissions that hold")
def test_a_folder_that_cannot_be_written_to_is_said(hub: FakeHub, models: Path) -> None:
    models.mkdir()
    models.chmod(0o500)
    with pytest.raises(FetchError, match="cannot be written"):
        fetched(HuggingFace(hub.url), models)


@pytest.mark.parametrize("name", [Path(SHARD).name, receipt.NAME])
def test_a_file_that_another_program_holds_is_said(
    hub: FakeHub, models: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    replace_file = os.replace

    def refused(fresh: Path, target: Path) -> None:
        if target.name == name:
            raise PermissionError(errno.EACCES, "used by another process")
        replace_file(fresh, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refused)
        with pytest.raises(
            FetchError, match=r"cannot be written \(used by another process\); .*close what has it open"
        ):
            fetched(HuggingFace(hub.url), models)
    fetched(HuggingFace(hub.url), models)
    assert len(hub.ranges(SHARD)) == 1, "nothing that came is fetched again"


def test_a_disk_that_is_full_at_the_note_is_said(hub: FakeHub, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("zimage_app.models.hub.fetch.note", full)
    with pytest.raises(FetchError, match="too full"):
        fetched(HuggingFace(hub.url), models)


def test_the_token_goes_to_the_hub_and_no_further(
    hub: FakeHub, models: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serve(FakeHub(hub.repos)) as cdn:
        hub.cdn = cdn.url
        fetched(HuggingFace(hub.url), models)
        assert {headers.get("authorization") for _, headers in hub.asked} == {"Bearer hf_secret"}
        assert cdn.asked
        assert not any("authorization" in headers for _, headers in cdn.asked)
    assert files_of(home) == right(hub)


def test_a_single_file_of_a_repository(hub: FakeHub) -> None:
    hub.repos["Comfy-Org/z_image_turbo"] = {"split_files/vae/ae.safetensors": big(9), "split_files/vae/b.json": b"{}"}
    listing = HuggingFace(hub.url).listing("Comfy-Org/z_image_turbo", HASTY)
    remote = Remote("Comfy-Org/z_image_turbo", "split_files/vae/ae.safetensors", is_file=True)
    assert [file.path for file in listing.needed([remote])] == [remote.path]


@pytest.mark.parametrize("kind", [HuggingFace, ModelScope])
def test_the_hubs_own_switch_forbids_the_network(
    hub: FakeHub, models: Path, monkeypatch: pytest.MonkeyPatch, kind: type[HuggingFace | ModelScope]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket.socket, "connect", _no_network)
    with pytest.raises(FetchError, match=r"Tongyi-MAI/Z-Image-Turbo has to be fetched, .*HF_HUB_OFFLINE"):
        plan_fetch(source(models), kind(hub.url), models, HASTY)


def _no_network(*_: object) -> NoReturn:
    raise AssertionError("the network was used")


def test_a_folder_that_is_half_full_does_not_look_whole(hub: FakeHub, models: Path, home: Path) -> None:
    hub.always["tokenizer/tokenizer_config.json"] = Fault(status=404)
    with pytest.raises(FetchError, match="tokenizer_config"):
        fetched(HuggingFace(hub.url), models)
    for name in ("vocab.json", "merges.txt"):
        (home / "tokenizer").mkdir(exist_ok=True)
        (home / "tokenizer" / name).write_bytes(hub.repos[REPO][f"tokenizer/{name}"])
    assert "tokenizer" in source(models).missing
    hub.always.clear()
    fetched(HuggingFace(hub.url), models)
    assert source(models).present
    assert not (home / ".fetching").exists()


def test_a_part_that_comes_meanwhile_leaves_what_was_begun(hub: FakeHub, models: Path, home: Path) -> None:
    hub.faults[SHARD] = [Fault(cut=100_000)]
    hub.always[SHARD] = Fault(cut=0)
    with pytest.raises(FetchError, match="breaks off"):
        fetched(HuggingFace(hub.url), models)
    before = source(models)
    places = replace(
        before.places, transformer=PartLocation(home), text_encoder=PartLocation(home), vae=PartLocation(home)
    )
    shutil.rmtree(home / "tokenizer", ignore_errors=True)
    fetch(plan_fetch(replace(before, places=places), HuggingFace(hub.url), models, HASTY), lambda _: None, HASTY)
    assert "tokenizer" not in source(models).missing
    assert "transformer" in source(models).missing
    hub.always.clear()
    hub.asked.clear()
    fetched(HuggingFace(hub.url), models)
    assert hub.ranges(SHARD) == ["bytes=100000-"]
    assert files_of(home) == right(hub)


def test_speed_is_that_of_the_last_seconds() -> None:
    times = iter((0.0, 0.0, 2.0, 4.0, 6.0, 8.0))
    meter = Meter(FetchProgress(files=1, size=1000, done=100), lambda: next(times))
    first = meter.read()
    assert (first.speed, first.remaining) == (0.0, None)
    meter.moved(200)
    second = meter.read()
    assert (second.speed, second.remaining, second.fraction) == (100.0, 7.0, 0.3)
    meter.read()
    meter.read()
    assert meter.read().speed == 0.0  # nothing came for longer than the window
