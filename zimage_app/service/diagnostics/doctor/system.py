"""Checks of the system: Python, packages against requirements.txt, settings, accelerator and driver, port."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Iterator

from packaging.requirements import InvalidRequirement, Requirement

from zimage_app.domain.errors import StudioError
from zimage_app.domain.text import Text
from zimage_app.domain.version import SERVICE
from zimage_app.service.diagnostics.details import installed
from zimage_app.service.diagnostics.doctor.finding import Finding, make_finding
from zimage_app.service.diagnostics.gpus import NvidiaGpus
from zimage_app.service.setup.config import ROOT, SHIPPED, StudioConfig
from zimage_app.service.setup.network import DEFAULT_PORT, choose_port
from zimage_app.service.setup.settings import load_settings, unknown_variables

REQUIREMENTS = SHIPPED / "requirements.txt"
OLDEST_PYTHON = (3, 11)
_LOCAL = "127.0.0.1"
_INSTALL = f"pip install -r {REQUIREMENTS.name if SHIPPED == ROOT else REQUIREMENTS}"


def check_python(config: StudioConfig, deep: bool) -> Iterator[Finding]:
    """Check Python's version."""
    del config, deep
    about = Text("Python", "Python")
    version, oldest = (".".join(map(str, each)) for each in (sys.version_info[:3], OLDEST_PYTHON))
    if sys.version_info >= OLDEST_PYTHON:
        yield make_finding("ok", about, version, version)
    else:
        yield make_finding(
            "problem",
            about,
            f"{version} is too old; install {oldest} or newer, then run '{_INSTALL}' with it.",
            f"{version} 版本过旧；请安装 {oldest} 或更新版本，再用它运行「{_INSTALL}」。",
        )


def check_packages(config: StudioConfig, deep: bool) -> Iterator[Finding]:
    """Check the installed packages against the version ranges in requirements.txt."""
    del config, deep
    wanted = list(_wanted())
    wrong = [finding for requirement in wanted if (finding := _package(requirement))]
    yield from wrong
    if not wrong:
        yield make_finding(
            "ok",
            Text("Packages", "依赖包"),
            f"all {len(wanted)} are as requirements.txt asks",
            f"{len(wanted)} 个依赖均符合 requirements.txt",
        )


def _wanted() -> Iterator[Requirement]:
    try:
        lines = REQUIREMENTS.read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            requirement = Requirement(line.partition("#")[0].strip())
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate():
            yield requirement


def _package(requirement: Requirement) -> Finding | None:
    about = Text(requirement.name, requirement.name)
    version = installed(requirement.name)
    if version is None:
        return make_finding("problem", about, f"is missing; run '{_INSTALL}'.", f"未安装；请运行「{_INSTALL}」。")
    if requirement.specifier.contains(version, prereleases=True):
        return None
    allowed = str(requirement.specifier)
    return make_finding(
        "warning",
        about,
        f"{version} is installed, {allowed} was checked; if something fails, run '{_INSTALL}'.",
        f"已安装 {version}，经过验证的版本是 {allowed}；如遇问题请运行「{_INSTALL}」。",
    )


def check_settings(config: StudioConfig, deep: bool) -> Iterator[Finding]:
    """Check studio.yaml and the variables, also for misspelt ones, and for a missing ComfyUI."""
    del deep
    about = Text("Settings", "设置")
    invalid: list[StudioError] = []
    load_settings({}, os.environ, report=invalid.append)
    yield from (Finding("problem", about, error.text) for error in invalid)
    wrong = unknown_variables(os.environ)
    if config.comfyui is not None and not config.comfyui.is_dir():
        wrong.append(
            Text(
                f"the ComfyUI folder {config.comfyui} is not there; set ZIMAGE_COMFYUI or comfyui in studio.yaml anew.",
                f"ComfyUI 目录 {config.comfyui} 不存在；请修正 ZIMAGE_COMFYUI 或 studio.yaml 中的 comfyui。",
            )
        )
    yield from (Finding("warning", about, text) for text in wrong)
    if not wrong and not invalid:
        yield make_finding("ok", about, "understood", "均可识别")


def check_accelerator(config: StudioConfig, deep: bool) -> Iterator[Finding]:
    """Check whether torch can use the accelerator that the driver reports."""
    del config, deep
    from zimage_app.models.device import best_device, free_memory  # imports torch, which takes seconds

    about = Text("Accelerator", "加速设备")
    nvidia = NvidiaGpus()
    names = ", ".join(gpu.name for gpu in nvidia.all())
    device = best_device()
    if device.type != "cpu":
        free = free_memory(device)
        room = "" if free is None else f", {free / 2**30:.1f} GB"
        shown = f"{names or device.type}"
        yield make_finding(
            "ok", about, f"{shown}{room and room + ' free'}", f"{shown}{room and room.replace(', ', '，剩余 ')}"
        )
    elif names:
        torch = installed("torch") or "-"
        yield make_finding(
            "problem",
            about,
            f"{names} with driver {nvidia.driver()} is here, but PyTorch {torch} can't use it: install PyTorch's"
            " CUDA build with ./run.sh (run.bat) or as pytorch.org says, or a newer driver.",
            f"检测到 {names}（驱动 {nvidia.driver()}），但 PyTorch {torch} 无法使用它："
            "请用 ./run.sh（run.bat）或按 pytorch.org 的说明安装"
            " CUDA 版 PyTorch，或更新显卡驱动。",
        )
    else:
        yield make_finding(
            "ok",
            about,
            "none: pictures are made on the CPU, which suits the demo model; the large models take minutes",
            "没有：使用 CPU 生成，适合演示模型；大模型需要数分钟",
        )


def check_port(config: StudioConfig, deep: bool) -> Iterator[Finding]:
    """Check whether the page's default port is free, or used by this app."""
    del config, deep
    about = Text(f"Port {DEFAULT_PORT}", f"端口 {DEFAULT_PORT}")
    try:
        choose_port(_LOCAL, DEFAULT_PORT)
    except StudioError as error:
        if _is_ours(DEFAULT_PORT):
            yield make_finding("ok", about, "this app is running there", "本程序正在该端口运行")
        else:
            yield Finding("warning", about, error.text)
    else:
        yield make_finding("ok", about, "free", "空闲")


def _is_ours(port: int) -> bool:
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{_LOCAL}:{port}/health", timeout=2) as answer:
            return bool(json.load(answer).get("service") == SERVICE)
    except (OSError, ValueError, AttributeError):
        return False
