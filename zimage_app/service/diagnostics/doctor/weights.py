"""Checks of the models: installed, complete and, where known, identical to the published ones."""

from __future__ import annotations

from collections.abc import Iterator

from zimage_app.domain.text import Text
from zimage_app.service.diagnostics.doctor.finding import Finding, make_finding
from zimage_app.service.library.models import ModelLibrary, ModelView
from zimage_app.service.setup.config import StudioConfig


def check_models(config: StudioConfig, deep: bool) -> Iterator[Finding]:
    """Check the headers of installed models; deep: every part against its network, every download's checksum."""
    library = ModelLibrary(config)
    views = library.views()
    for view in views:
        if view.state == "broken" and view.reason is not None:
            yield Finding("problem", _about(view), view.reason)
        elif view.state == "ready":
            yield from _closely(library, view) if deep else _ready(view)
    if not any(view.state == "ready" for view in views):
        yield make_finding(
            "problem",
            Text("Models", "模型"),
            "there is none to make pictures with; get one with 'python -m zimage_app models fetch z-image-turbo',"
            " or restore models/demo/ of the repository.",
            "没有可用的模型；请运行「python -m zimage_app models fetch z-image-turbo」下载，"
            "或恢复仓库自带的 models/demo/。",
        )


def _about(view: ModelView) -> Text:
    return Text(f"Model {view.name}", f"模型 {view.name}")


def _ready(view: ModelView) -> Iterator[Finding]:
    yield make_finding("ok", _about(view), "ready", "可用")


def _closely(library: ModelLibrary, view: ModelView) -> Iterator[Finding]:
    for verdict in library.check(view.name):
        yield Finding("ok" if verdict.good else "problem", _about(view), verdict.text)
