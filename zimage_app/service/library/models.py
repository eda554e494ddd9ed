"""The installed and downloadable models: their states, and downloads in the background.

Page and command line both use this module. One model is downloaded at a time, and only on request.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import FetchError, ModelError, StudioError
from zimage_app.domain.fetching import FetchProgress, shown_size
from zimage_app.domain.text import Text
from zimage_app.models.disk.folders import shown
from zimage_app.models.find.card_file import plain_card
from zimage_app.models.find.catalogue import list_models, look_up, read_models
from zimage_app.models.find.model_source import ModelSource, PartLocation, repo_folder
from zimage_app.models.find.model_yaml import local_source, write_named
from zimage_app.service.setup.config import StudioConfig

if TYPE_CHECKING:
    from zimage_app.models.hub.fetch import FetchPlan
    from zimage_app.models.hub.retry_policy import RetryPolicy

log = logging.getLogger(__name__)

SOURCES = ("huggingface", "modelscope")
"""Sources of downloads; the first is the default."""

ModelState = Literal["ready", "fetch", "broken"]
FetchState = Literal["asking", "fetching", "done", "failed", "cancelled"]

_BF16 = {"transformer": 12_309_817_472, "text_encoder": 8_044_936_192, "vae": 167_639_302}
"""Bytes of the published weights in memory, as bf16; weights stored with more bits are converted to it."""
_PACKED = 0.9
"""Weights below this fraction of ``_BF16`` are packed in fewer than 16 bits."""
_BROKEN = Text("something is wrong with it that the log tells of", "存在问题，详见日志")


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model in a list."""

    name: str
    """The name for ``--model``."""
    card: ModelCard
    state: ModelState
    """``ready`` to use, ``fetch`` where parts must be downloaded, or ``broken``."""
    reason: Text | None = None
    """Why a model is broken, and how to fix it."""
    missing: tuple[str, ...] = ()
    """The parts to download: transformer, text_encoder, vae, tokenizer."""
    about: float | None = None
    """Approximate bytes to download, if the big parts are missing and the size is known without a request."""
    notes: tuple[Text, ...] = ()
    """The files that were chosen, where there was a choice."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The size of a download, for the user to confirm before it starts."""

    model: str
    host: str
    files: int
    size: int
    """Bytes left to download."""
    free: int
    """Free bytes of the disk that they go to."""
    memory: int
    """Bytes of memory for all weights together, as stored."""

    @property
    def text(self) -> Text:
        """The offer in one sentence."""
        unpacked = shown_size(sum(_BF16.values()))
        more = Text("", "")
        if self.memory < _PACKED * sum(_BF16.values()):
            more = Text(f", or up to {unpacked} on a device that has to unpack them", f"，设备需解包时最多 {unpacked}")
        size, free, memory = map(shown_size, (self.size, self.free, self.memory))
        files = "file" if self.files == 1 else "files"
        return Text(
            f"{self.model}: {self.files} {files}, {size} to fetch from {self.host}; {free} of disk are free;"
            f" its weights take {memory} of memory{more.en}.",
            f"{self.model}：共 {self.files} 个文件，需从 {self.host} 下载 {size}；磁盘剩余 {free}；"
            f"权重占用内存 {memory}{more.zh}。",
        )


@dataclass(frozen=True, slots=True)
class FetchView:
    """The state of a download; ``version`` grows with every change."""

    model: str
    state: FetchState = "asking"
    version: int = 0
    progress: FetchProgress | None = None
    """None until the hub has listed the files."""
    error: StudioError | None = None

    @property
    def ended(self) -> bool:
        """Whether this state is final."""
        return self.state in ("done", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of checking one file or part."""

    text: Text
    good: bool


class ModelLibrary:
    """All functions of page, REST and command line for models. The constructor opens no file and no connection."""

    def __init__(self, config: StudioConfig, retry_policy: RetryPolicy | None = None) -> None:
        self._config = config
        self._retry_policy = retry_policy
        self._changed = threading.Condition()
        self._fetch: FetchView | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def views(self) -> tuple[ModelView, ...]:
        """Every model and its state, by name. Reads the headers of installed models; uses no network."""
        return tuple(
            ModelView(name, plain_card(name), "broken", reason=found.text)
            if isinstance(found, ModelError)
            else self._view(found)
            for name, found in read_models(self._config.model_folders).items()
        )

    def view(self, name: str) -> ModelView:
        """One model, by name, folder, or ``owner/name`` on the hub; raises ModelError for an unknown one."""
        return self._view(look_up(name, self._config.visitors_model_folders))

    def _view(self, source: ModelSource) -> ModelView:
        name, missing = source.card.name, tuple(source.missing)
        if missing:
            about = source.about if set(missing) >= {"transformer", "text_encoder"} else None
            return ModelView(name, source.card, "fetch", missing=missing, about=about, notes=source.notes)
        from zimage_app.models.find.model_files import model_files  # imports torch, which takes a second

        try:
            model_files(source)
        except ModelError as error:
            return ModelView(name, source.card, "broken", reason=error.text, notes=source.notes)
        return ModelView(name, source.card, "ready", notes=source.notes)

    def offer(self, name: str, source: str = SOURCES[0], mirror: str | None = None) -> Offer | None:
        """Ask the hub for the size of a download; None where there is nothing to download.

        Raises:
            ModelError: there is no such model.
            FetchError: the hub can't be reached within five seconds or lacks the model, or the app is offline.
        """
        model = look_up(name, self._config.visitors_model_folders)
        if model.present:
            return None
        from zimage_app.models.hub.fetch import free_space

        plan = self._plan(name, model, source, mirror, threading.Event())
        return Offer(
            model=name,
            host=plan.host.name,
            files=plan.files,
            size=plan.left,
            free=free_space(self._config.models),
            memory=_memory(model, plan),
        )

    def _plan(
        self, name: str, model: ModelSource, source: str, mirror: str | None, stopped: threading.Event
    ) -> FetchPlan:
        from zimage_app.models.hub import errors
        from zimage_app.models.hub.fetch import plan_fetch
        from zimage_app.models.hub.hosts import host_of

        if self._config.offline:
            raise errors.offline(f"{name} ({', '.join(model.missing)})")
        return plan_fetch(model, host_of(source, mirror), self._config.models, self._retry_policy, stopped)

    def start(self, name: str, source: str = SOURCES[0], mirror: str | None = None) -> FetchView:
        """Start to download a model in the background and return the first state. Later errors are in the states.

        Raises FetchError while another model is being downloaded, ModelError for an unknown model.
        """
        model = look_up(name, self._config.visitors_model_folders)
        with self._changed:
            if self._fetch is not None and not self._fetch.ended:
                raise FetchError(
                    Text(
                        f"{self._fetch.model} is being fetched: wait until it is here, or stop it first.",
                        f"正在下载 {self._fetch.model}：请等待完成，或先停止它。",
                    )
                )
            version = 0 if self._fetch is None else self._fetch.version + 1
            self._fetch = FetchView(name, version=version)
            self._stopped = threading.Event()
            self._thread = threading.Thread(
                target=self._work, args=(name, model, source, mirror), name="model-fetch", daemon=True
            )
            self._thread.start()
            return self._fetch

    def fetching(self) -> FetchView | None:
        """The current or last download; None before the first."""
        with self._changed:
            return self._fetch

    def wait(self, version: int, timeout: float) -> FetchView | None:
        """Wait up to ``timeout`` seconds for a state newer than ``version``; returns the newest either way."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._fetch is not None and (self._fetch.version > version or self._fetch.ended), timeout
            )
            return self._fetch

    def cancel(self) -> None:
        """Cancel the current download. Returns at once; the files so far are kept, and the next download resumes."""
        self._stopped.set()

    def close(self) -> None:
        """Cancel the download, and wait up to five seconds for its thread to stop writing."""
        self.cancel()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def _work(self, name: str, model: ModelSource, source: str, mirror: str | None) -> None:
        """Run a download in its thread; every error ends in the state ``failed``."""
        from zimage_app.models.hub.fetch import fetch
        from zimage_app.models.hub.transfer import Stopped

        stopped = self._stopped
        try:
            if not model.present:
                plan = self._plan(name, model, source, mirror, stopped)
                fetch(plan, lambda now: self._set(state="fetching", progress=now), self._retry_policy, stopped)
            self._set(state="done")
        except Stopped:
            self._set(state="cancelled")
        except StudioError as error:
            self._set(state="failed", error=error)
        except Exception:
            log.exception("fetching %s failed", name)
            self._set(state="failed", error=FetchError(Text(f"{name}: {_BROKEN.en}.", f"{name}：{_BROKEN.zh}。")))

    def _set(self, **changes: object) -> None:
        with self._changed:
            assert self._fetch is not None
            self._fetch = replace(self._fetch, version=self._fetch.version + 1, **changes)  # type: ignore[arg-type]
            self._changed.notify_all()

    def check(self, name: str) -> Iterator[CheckResult]:
        """Check every part of a model against its network, and every downloaded file against its checksum.

        Reads all downloaded files, which takes a while. Raises ModelError for an unknown model.
        """
        model = look_up(name, self._config.visitors_model_folders)
        if missing := model.missing:
            parts = ", ".join(missing)
            yield CheckResult(
                Text(
                    f"{name}: {parts} missing; get it with 'python -m zimage_app models fetch {name}'.",
                    f"{name}：缺少 {parts}；请运行「python -m zimage_app models fetch {name}」下载。",
                ),
                good=False,
            )
        else:
            yield from check_parts(model)
        yield from self._sums(model)

    def _sums(self, model: ModelSource) -> Iterator[CheckResult]:
        from zimage_app.models.hub import receipt

        repos = {place.remote.repo for place in model.places.by_name.values() if place.remote is not None}
        for repo in sorted(repos):
            for checked in receipt.check(self._config.models / repo_folder(repo), threading.Event()):
                words, path = _SUMS[checked.state], shown(checked.path)
                yield CheckResult(Text(words.en.format(path), words.zh.format(path)), good=checked.state == "right")

    def add(self, name: str, parts: Mapping[str, Path], card: str | None = None) -> Path:
        """Check a model's files, given by part, and register it under a name; returns the YAML file.

        Raises ModelError: a file does not fit, the name is taken or not allowed, or the card is unknown.
        """
        model = local_source(name, parts, card, self._config.models)
        if name in {source.card.name for source in list_models(self._config.model_folders)}:
            raise ModelError(
                Text(f"There is a model {name} already; choose another name.", f"已有名为 {name} 的模型；请换个名称。")
            )
        for verdict in check_parts(model):
            if not verdict.good:
                raise ModelError(verdict.text)
        return write_named(self._config.named_models, name, parts, card)


_SUMS = {
    "right": Text("{} has the published checksum.", "{} 的校验和正确。"),
    "wrong": Text(
        "{} is not what was fetched: delete it and fetch the model again.",
        "{} 与下载时不一致：请删除它并重新下载该模型。",
    ),
    "missing": Text("{} was fetched and is gone: fetch the model again.", "{} 曾下载但已不在：请重新下载该模型。"),
}
"""Sentences by ``receipt.Checked.state``; the placeholder is the file."""


def check_parts(model: ModelSource) -> Iterator[CheckResult]:
    """Check each part of a model against its network, then all together; only headers are read.

    Imports diffusers, which takes seconds.
    """
    from zimage_app.models.find.model_files import part_files
    from zimage_app.models.load.loader import check_model
    from zimage_app.models.networks.networks import TEXT_ENCODER, TRANSFORMER, VAE, open_network
    from zimage_app.models.networks.text_encoder import load_tokenizer

    good = True
    for kind, name in ((TRANSFORMER, "transformer"), (TEXT_ENCODER, "text_encoder"), (VAE, "vae")):
        try:
            part = part_files(model, name)
            open_network(kind, part)
        except ModelError as error:
            yield CheckResult(error.text, good=False)
            good = False
            continue
        path = shown(part.weights.path)
        yield CheckResult(Text(f"{path}: {kind.title.en}, fits.", f"{path}：{kind.title.zh}，匹配。"), good=True)
    folder = model.places.tokenizer.path
    if not model.places.tokenizer.present:
        return
    try:
        load_tokenizer(folder)
    except ModelError as error:
        yield CheckResult(error.text, good=False)
        return
    path = shown(folder)
    yield CheckResult(Text(f"{path}: tokenizer, can be read.", f"{path}：分词器，可以读取。"), good=True)
    if good:
        try:
            check_model(model)
        except ModelError as error:
            yield CheckResult(error.text, good=False)


def _memory(model: ModelSource, plan: FetchPlan) -> int:
    """The maximum memory of a model's weights in bytes, from the stored size of each part."""
    return sum(min(_stored(model.places.by_name[part], plan), most) for part, most in _BF16.items())


def _stored(place: PartLocation, plan: FetchPlan) -> int:
    if place.present:
        files = place.path.glob("*") if place.path.is_dir() else (place.path,)
        return sum(file.stat().st_size for file in files)
    return sum(
        file.size
        for repo_download in plan.repo_downloads
        for file in repo_download.files
        if place.remote is not None
        and place.remote.repo == repo_download.listing.repo
        and place.remote.holds(file.path)
    )
