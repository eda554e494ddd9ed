"""Do the runners answer that the settings name?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import httpx

from zimage_app.domain.text import Text
from zimage_app.service.diagnostics.doctor.finding import Finding, make_finding
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.setup.runner_choice import RunnerChoice

_SECONDS = 3.0


def check_runners(config: StudioConfig, deep: bool) -> Iterator[Finding]:
    """Check each configured address of ComfyUI; for a cluster, check whether Ray is installed."""
    del deep
    for choice in (config.runner, config.fallback):
        if choice is not None and choice.kind in _KINDS:
            yield from _KINDS[choice.kind](choice)


def _comfyui(choice: RunnerChoice) -> Iterator[Finding]:
    for address in choice.addresses:
        about = Text(f"Runner {choice.kind} {address}", f"生成器 {choice.kind} {address}")
        try:
            httpx.get(f"{address}/system_stats", timeout=_SECONDS, trust_env=False).raise_for_status()
        except httpx.HTTPError as error:
            yield make_finding(
                "problem",
                about,
                f"it does not answer ({error}); start it, or change --runner or --fallback.",
                f"没有响应（{error}）；请启动它，或修改 --runner、--fallback。",
            )
        else:
            yield make_finding("ok", about, "it answers", "可以连接")


def _ray(choice: RunnerChoice) -> Iterator[Finding]:
    about = Text(f"Runner ray {choice.addresses[0]}", f"生成器 ray {choice.addresses[0]}")
    if find_spec("ray") is not None:
        yield make_finding("ok", about, "Ray is installed", "已安装 Ray")
        return
    cure = 'pip install ".[cluster]"'
    yield make_finding("problem", about, f"Ray is not installed: {cure}.", f"未安装 Ray：请运行 {cure}。")


_KINDS: dict[str, Callable[[RunnerChoice], Iterator[Finding]]] = {"comfyui": _comfyui, "ray": _ray}
