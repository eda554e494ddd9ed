"""Pipes, sparse files and links in circles in the app's folders: told or passed over, and nobody waits for them."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.odd_files import pipe, sparse
from tests.service import faults
from tests.service.lora_files import write_lora
from zimage_app.domain.errors import ImportedFileError, LoadingCancelled, LoraError, ModelError, StorageError
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.text import Text
from zimage_app.models.find.catalogue import ModelFolders, list_models, read_models
from zimage_app.models.lora.files import read_lora_file
from zimage_app.models.weights.lookalikes import MAX_BYTES
from zimage_app.service.generation.start_pictures import PictureInputs
from zimage_app.service.imports import read_file
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.library.negatives import NegativeLibrary
from zimage_app.service.library.presets import PresetLibrary
from zimage_app.service.library.wildcards import WildcardLibrary
from zimage_app.service.pictures.history import History
from zimage_app.service.setup.settings import load_settings

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[3]
PNG = b"\x89PNG\r\n\x1a\n"
HUGE = 50 * 2**30

if os.name != "posix":
    pytest.skip("folders hold no pipes here", allow_module_level=True)


def test_presets_and_lists_are_there_beside_pipes_and_sparse_files(tmp_path: Path) -> None:
    folder = tmp_path / "presets"
    shutil.copytree(ROOT / "presets", folder)
    for name in ("a.yaml", "negative/a.yaml", "models/a.yaml", "wildcards/a.txt", "my/a.yaml"):
        pipe(folder / name)
        sparse((folder / name).with_stem("b"), HUGE)
    negatives, before = NegativeLibrary(folder / "negative"), NegativeLibrary(ROOT / "presets" / "negative")
    assert len(negatives.categories()) >= len(before.categories())
    presets = {preset.name: preset.problem for preset in PresetLibrary(folder).presets()}
    assert None in presets.values()
    assert presets["a"] is not None
    lists = {each.name: each.problem for each in WildcardLibrary(folder / "wildcards").lists()}
    assert None in lists.values()
    assert lists["b"] is not None
    model_folders = ModelFolders(ROOT / "models", folder / "models")
    assert "demo" in {source.card.name for source in list_models(model_folders)}
    assert all(isinstance(read_models(model_folders)[name], ModelError) for name in "ab")


def test_settings_and_files_that_are_named_are_refused(tmp_path: Path) -> None:
    odd = [pipe(tmp_path / "pipe.yaml"), sparse(tmp_path / "sparse.yaml", HUGE)]
    for path in odd:
        with pytest.raises(StorageError, match=path.name):
            load_settings({"config": str(path)}, {})
        with pytest.raises(ImportedFileError, match=path.name):
            read_file(path)
        with pytest.raises(ImportedFileError, match=path.name):
            PictureInputs(tmp_path).save_file(path)


def test_loras_are_listed_beside_what_is_none(tmp_path: Path) -> None:
    write_lora(tmp_path / "ink.safetensors")
    for ending in (".yaml", ".json", ".png"):
        pipe(tmp_path / f"ink{ending}")
    pipe(tmp_path / "pipe.safetensors")
    sparse(tmp_path / "sparse.safetensors", HUGE)
    (tmp_path / "old").symlink_to(".")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "above").symlink_to("..")
    library = LoraLibrary(tmp_path)
    assert {entry.name: entry.problem is None for entry in library.entries()} == {
        "ink": True,
        "sparse": False,
        "old": False,
        "self": False,
        "above": False,
    }
    with pytest.raises(LoraError, match="old: is a link that leads in a circle"):
        library.find("old")
    library.thumbnail("ink")


def test_a_lora_larger_than_the_model_is_refused_before_it_is_hashed(tmp_path: Path) -> None:
    path = sparse_lora(tmp_path / "large.safetensors", MAX_BYTES + 4)
    with pytest.raises(LoraError, match="larger than 16 GB, more than a whole model"):
        LoraLibrary(tmp_path).find("large")
    with pytest.raises(LoraError, match="larger than"):
        read_lora_file(path)


def test_hashing_a_large_lora_is_told_and_can_be_cancelled(tmp_path: Path) -> None:
    size = 4 * 10**9
    sparse_lora(tmp_path / "large.safetensors", size)
    library, told = LoraLibrary(tmp_path), list[Text]()
    entry = library.find("large")
    with pytest.raises(LoadingCancelled):
        library.sha256(entry, lambda: bool(told), told.append)
    assert [text.en for text in told] == ["hashing LoRA large (7%)"]
    with pytest.raises(LoadingCancelled):
        library.hash_files([LoraUse(name="large")], told.append, lambda: True)
    library.hash_files([LoraUse(name="large", strength=0)], told.append)
    assert library.known_sha256(entry) is None


def sparse_lora(path: Path, size: int) -> Path:
    """A LoRA of one tensor of so many bytes, a multiple of four, all of them zero."""
    header = b'{"a.lora_down.weight":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}' % (size // 4, size)
    begin = len(header).to_bytes(8, "little") + header
    return sparse(path, len(begin) + size, begin)


def test_a_history_is_read_beside_what_is_no_picture(tmp_path: Path) -> None:
    day = tmp_path / "2026-01-02"
    pipe(day / "20260102-030405-00000001.png")
    sparse(day / "20260102-030405-00000002.png", HUGE)
    sparse(day / "20260102-030405-00000003.png", HUGE, PNG)
    sparse(day / "20260102-030405-00000004.png", HUGE, PNG + b"\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0")
    pipe(tmp_path / ".favourites.json")
    history = History(tmp_path)
    assert history.refresh(30.0)
    assert history.page(None).total == 0
    assert history.find("20260102-030405-00000001", None) is None
    with pytest.raises(StorageError, match="not a readable PNG"):
        history.find("20260102-030405-00000002", None)
    history.close()


@pytest.mark.timeout(200)
def test_the_app_ends_within_seconds_whatever_lies_in_its_folders(tmp_path: Path) -> None:
    pipe(tmp_path / ".favourites.json")
    sparse(tmp_path / "2026-01-02" / "20260102-030405-00000001.png", HUGE, PNG)
    with faults.served(tmp_path) as (program, client):
        assert client.get("/api/history").json()["total"] == 0
        program.send_signal(signal.SIGTERM)
        assert program.wait(5.0) == 0


def test_weights_are_read_from_regular_files_only(tmp_path: Path) -> None:
    from zimage_app.models.weights.weight_file import open_file, read_json

    for read in (open_file, read_json):
        with pytest.raises(ModelError):
            read(pipe(tmp_path / read.__name__))
